//! An answer, whole and in steps.

use std::sync::Arc;

use serde_json::value::RawValue;

use crate::dialect::form::ANSWER_TOOL;
use crate::dialect::form::content::Content;

/// An answer.
#[derive(Debug, Default)]
pub(in crate::dialect) struct Answer {
    pub(in crate::dialect) id: Option<String>,
    /// In the order of their numbers; at least one.
    pub(in crate::dialect) choices: Vec<Choice>,
    pub(in crate::dialect) usage: Option<Usage>,
}

/// One of an answer's choices.
#[derive(Debug)]
pub(in crate::dialect) struct Choice {
    pub(in crate::dialect) parts: Vec<Content>,
    pub(in crate::dialect) stop: Stop,
    pub(in crate::dialect) logprobs: Option<Box<RawValue>>,
}

/// Why an answer ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::dialect) enum Stop {
    /// The model was done.
    End,
    /// It was as long as it may be.
    Length,
    /// A stop sequence, if the provider says which.
    Sequence(Option<String>),
    /// It calls tools.
    Tools,
    /// The model or a filter refused.
    Refused,
    /// The provider makes a pause; the client may go on.
    Pause,
}

/// The tokens of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::dialect) struct Usage {
    /// All of the prompt, what is in the cache included.
    pub(in crate::dialect) input: u64,
    /// Read from the provider's cache.
    pub(in crate::dialect) cached: u64,
    /// Written to it.
    pub(in crate::dialect) cache_written: u64,
    /// All of the answer, thinking included.
    pub(in crate::dialect) output: u64,
    pub(in crate::dialect) reasoning: u64,
}

/// One step of a streamed answer.
#[derive(Debug)]
pub(in crate::dialect) enum Event {
    /// It begins.
    Start { id: Option<String>, usage: Option<Usage> },
    /// A choice goes on.
    Delta { choice: u64, delta: Delta },
    /// The log probabilities of what a choice says next.
    Logprobs { choice: u64, logprobs: Box<RawValue> },
    /// A choice ends.
    Stop { choice: u64, stop: Stop },
    /// What it used; the last one counts.
    Usage(Usage),
    /// The provider failed; nothing follows.
    Failed { kind: String, message: String },
    /// It is whole; nothing follows.
    End,
}

/// How a choice goes on.
#[derive(Debug)]
pub(in crate::dialect) enum Delta {
    Text(String),
    Thinking(String),
    /// The thinking so far is signed.
    Signature(String),
    Redacted(String),
    Refusal(String),
    /// Call number `call` of the choice begins, from 0.
    Call {
        call: u64,
        id: String,
        name: String,
    },
    /// Its arguments go on.
    Arguments {
        call: u64,
        text: String,
    },
}

impl Stop {
    /// As the stop of a choice that has calls, or has none: providers differ in
    /// what they say there.
    pub(in crate::dialect) fn with_calls(self, calls: bool) -> Self {
        match self {
            Self::End if calls => Self::Tools,
            other => other,
        }
    }
}

/// Makes ids where a provider gives none: alike for an answer and its stream, and
/// for no other answer.
#[derive(Clone, Debug)]
pub(in crate::dialect) struct Ids(Arc<str>);

impl Ids {
    /// For one answer.
    pub(in crate::dialect) fn new() -> Self {
        Self(format!("{:032x}", rand::random::<u128>()).into())
    }

    /// Such as a test knows beforehand.
    #[cfg(test)]
    pub(in crate::dialect) fn of(text: &str) -> Self {
        Self(text.into())
    }

    /// The `id` that a provider gave to an answer, or another, as one of those that
    /// begin with `prefix`.
    pub(in crate::dialect) fn answer(&self, prefix: &str, id: Option<&str>) -> String {
        let id = id.filter(|id| !id.is_empty()).unwrap_or(&self.0);
        let bare = ["chatcmpl-", "msg_"].iter().find_map(|known| id.strip_prefix(known));
        format!("{prefix}{}", bare.unwrap_or(id))
    }

    /// The id of call `number` of the answer.
    pub(in crate::dialect) fn call(&self, number: u64) -> String {
        format!("call_{}_{number}", self.0)
    }
}

impl Answer {
    /// Turns the call of [`ANSWER_TOOL`] into the text that it carries.
    pub(in crate::dialect) fn unwrap_answer_tool(&mut self) {
        for choice in &mut self.choices {
            for part in &mut choice.parts {
                if let Content::Call(call) = part
                    && call.name == ANSWER_TOOL
                {
                    *part = Content::Text(std::mem::take(&mut call.arguments));
                }
            }
            let calls = choice.parts.iter().any(|part| matches!(part, Content::Call(_)));
            if choice.stop == Stop::Tools && !calls {
                choice.stop = Stop::End;
            }
        }
    }
}
