//! Anthropic's Messages.
//!
//! Sources: Anthropic API reference, "Messages" and "Streaming messages".
//!
//! What a client may send here and no other dialect has, and that changes no
//! answer, is left out: [`request::HARMLESS`].

mod answer;
mod events;
mod request;
mod thinking;
mod write;

pub(super) use answer::{read_answer, write_answer};
pub(super) use events::{Reader, Writer};
pub(super) use request::read_request;
pub(super) use write::write_request;

use crate::dialect::form::{Stop, Usage};
use crate::dialect::json::{Fields, Object};

/// Takes over what `figures` says; what it does not say stays. A stream's later
/// figures are of the whole of it.
fn read_usage(mut figures: Fields<'_>, usage: &mut Figures) {
    for (name, figure) in [
        ("input_tokens", &mut usage.fresh),
        ("cache_read_input_tokens", &mut usage.cached),
        ("cache_creation_input_tokens", &mut usage.written),
        ("output_tokens", &mut usage.output),
    ] {
        if let Ok(Some(given)) = figures.integer(name) {
            *figure = given;
        }
    }
    if let Ok(Some(mut details)) = figures.object("output_tokens_details")
        && let Ok(Some(given)) = details.integer("thinking_tokens")
    {
        usage.thinking = given;
    }
}

/// A usage as it is counted here: the parts of the prompt apart.
#[derive(Clone, Copy, Debug, Default)]
struct Figures {
    fresh: u64,
    cached: u64,
    written: u64,
    output: u64,
    /// Of the output.
    thinking: u64,
}

impl Figures {
    const fn usage(self) -> Usage {
        Usage {
            input: self.fresh.saturating_add(self.cached).saturating_add(self.written),
            cached: self.cached,
            cache_written: self.written,
            output: self.output,
            reasoning: if self.thinking <= self.output { self.thinking } else { 0 },
        }
    }
}

/// Writes a `usage`.
fn usage(usage: &Usage) -> Object<'static> {
    let fresh = usage.input.saturating_sub(usage.cached).saturating_sub(usage.cache_written);
    let details =
        (usage.reasoning > 0).then(|| Object::new().with("thinking_tokens", usage.reasoning));
    Object::new()
        .with("input_tokens", fresh)
        .with("cache_creation_input_tokens", usage.cache_written)
        .with("cache_read_input_tokens", usage.cached)
        .with("output_tokens", usage.output)
        .maybe("output_tokens_details", details)
}

/// What a `stop_reason` says.
fn read_stop(reason: &str, sequence: Option<String>) -> Stop {
    match reason {
        "max_tokens" | "model_context_window_exceeded" => Stop::Length,
        "stop_sequence" => Stop::Sequence(sequence),
        "tool_use" => Stop::Tools,
        "refusal" => Stop::Refused,
        "pause_turn" => Stop::Pause,
        _ => Stop::End,
    }
}

/// The `stop_reason`.
const fn stop_reason(stop: &Stop) -> &'static str {
    match stop {
        Stop::End | Stop::Sequence(None) => "end_turn",
        Stop::Length => "max_tokens",
        Stop::Sequence(Some(_)) => "stop_sequence",
        Stop::Tools => "tool_use",
        Stop::Refused => "refusal",
        Stop::Pause => "pause_turn",
    }
}

/// The `stop_sequence`.
fn stop_sequence(stop: &Stop) -> Option<&String> {
    match stop {
        Stop::Sequence(sequence) => sequence.as_ref(),
        _ => None,
    }
}
