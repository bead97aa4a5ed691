//! How a provider's server differs from others that speak the same dialect.

use std::sync::Arc;

use crate::config::types::Dialect;

/// The version of its API that Anthropic asks to be named. Source: Anthropic API
/// reference, "Versions".
const ANTHROPIC_VERSION: (&str, &str) = ("anthropic-version", "2023-06-01");

/// What a provider's server wants of a request, besides what its dialect says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manner {
    /// How the key is shown.
    pub auth: Auth,
    /// What stands in every query string, such as `api-version=2024-10-21`.
    pub query: Option<Arc<str>>,
    /// The path between the base and that of an endpoint that names a model, with
    /// `{model}` in it.
    pub model_path: Option<Arc<str>>,
    /// Whether it has `/responses`, where its dialect does.
    pub lacks_responses: bool,
    /// How it wants translated requests to be worded.
    pub wording: Wording,
    /// A header that it needs, where the client sends none of that name.
    pub default_header: Option<(&'static str, &'static str)>,
}

impl Manner {
    /// What the service of a dialect's author wants.
    pub fn usual(dialect: Dialect) -> Self {
        let auth = match dialect {
            Dialect::OpenAi | Dialect::Sandbox => Auth::Bearer,
            Dialect::Anthropic => Auth::XApiKey,
            Dialect::Gemini => Auth::XGoogApiKey,
        };
        let default_header = (dialect == Dialect::Anthropic).then_some(ANTHROPIC_VERSION);
        Self { auth, default_header, ..Self::default() }
    }
}

/// How a provider's server, or one model of it, wants requests to be worded where
/// servers of its dialect differ. What is `None` follows from the model's name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wording {
    /// How it is told to think.
    pub thinking: Option<Thinking>,
    /// The field that limits the answer of a chat.
    pub token_limit: Option<TokenLimit>,
    /// Whether it knows the role `developer`; otherwise that is `system`.
    pub developer_role: Option<bool>,
    /// The field of a chat's message that thinking comes back in.
    pub thinking_field: ThinkingField,
    /// Largest image that it takes, in bytes; `None` is the dialect's own bound.
    pub image_limit: Option<u64>,
}

impl Wording {
    /// Whether chats of the client's own dialect are worded anew too.
    pub fn changes_chats(&self) -> bool {
        self.token_limit.is_some() || self.developer_role == Some(false)
    }
}

/// How a model is told to think.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Thinking {
    /// It does not think.
    None,
    /// A chat's `reasoning_effort`.
    Effort,
    /// A number of tokens: Anthropic's `budget_tokens`, Gemini's `thinkingBudget`.
    Budget,
    /// Anthropic's `adaptive` with an effort.
    Adaptive,
    /// Gemini's `thinkingLevel`.
    Level,
}

/// The field that limits a chat's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum TokenLimit {
    /// The older name, which most compatible servers know alone.
    MaxTokens,
    /// OpenAI's newer name.
    MaxCompletionTokens,
}

/// The field of a chat's message that thinking stands in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum ThinkingField {
    /// As DeepSeek has it.
    #[default]
    ReasoningContent,
    /// As OpenRouter, Groq and newer servers of vLLM have it.
    Reasoning,
}

/// The header that a provider's key stands in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Auth {
    /// `authorization: Bearer KEY`, as OpenAI has it.
    #[default]
    Bearer,
    /// `api-key: KEY`, as Azure has it.
    ApiKey,
    /// `x-api-key: KEY`, as Anthropic has it.
    XApiKey,
    /// `x-goog-api-key: KEY`, as Google has it.
    XGoogApiKey,
}

impl Auth {
    /// The header's name.
    pub const fn header(self) -> &'static str {
        match self {
            Self::Bearer => "authorization",
            Self::ApiKey => "api-key",
            Self::XApiKey => "x-api-key",
            Self::XGoogApiKey => "x-goog-api-key",
        }
    }

    /// What stands before the key in its value.
    pub const fn scheme(self) -> &'static str {
        match self {
            Self::Bearer => "Bearer ",
            Self::ApiKey | Self::XApiKey | Self::XGoogApiKey => "",
        }
    }

    /// The name in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bearer => "bearer",
            Self::ApiKey | Self::XApiKey | Self::XGoogApiKey => self.header(),
        }
    }
}
