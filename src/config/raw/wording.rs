//! How servers of one dialect want requests to be worded.

use schemars::JsonSchema;
use serde::Deserialize;

/// How a model is told to think.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Thinking")]
pub(crate) enum RawThinking {
    /// It does not think.
    None,
    /// `reasoning_effort`.
    Effort,
    /// `budget_tokens`, or `thinkingBudget`.
    Budget,
    /// `thinking.type: adaptive` with `output_config.effort`.
    Adaptive,
    /// `thinkingLevel`.
    Level,
}

/// The field that limits a chat's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "TokenLimit")]
pub(crate) enum RawTokenLimit {
    /// `max_tokens`.
    MaxTokens,
    /// `max_completion_tokens`.
    MaxCompletionTokens,
}

/// The field of a message that thinking stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "ThinkingField")]
pub(crate) enum RawThinkingField {
    /// `reasoning_content`.
    ReasoningContent,
    /// `reasoning`.
    Reasoning,
}
