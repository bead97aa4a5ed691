//! OpenAI's Chat Completions.
//!
//! Source: OpenAI API reference, "Chat completions". Thinking goes as
//! `reasoning_content`, as DeepSeek and vLLM have it, and what is signed also as
//! `thinking_blocks`, as LiteLLM has it, so that it comes back whole.
//!
//! What a client may send here and no other dialect has, and that changes no
//! answer, is left out: [`request::HARMLESS`].

mod answer;
mod events;
mod request;
mod write;

pub(super) use answer::{read_answer, write_answer};
pub(super) use events::{Reader, Writer};
pub(super) use request::read_request;
pub(super) use write::write_request;

use serde_json::value::RawValue;

use crate::dialect::form::{Stop, Usage};
use crate::dialect::json::{Fields, Object};

/// Reads a `usage`; what cannot be read is no usage.
pub(super) fn read_usage(usage: &RawValue) -> Option<Usage> {
    let mut usage = Fields::parse(usage.get(), "usage").ok()?;
    let input = usage.integer("prompt_tokens").ok()??;
    let mut output = usage.integer("completion_tokens").ok()?.unwrap_or(0);
    let total = usage.integer("total_tokens").ok()?;
    let mut detail = |of: &str, names: [&str; 2]| {
        let mut details = usage.object(of).ok()??;
        names.iter().find_map(|name| details.integer(name).ok()?)
    };
    let names = ["cache_write_tokens", "cache_creation_tokens"];
    let cache_written = detail("prompt_tokens_details", names);
    let cached = detail("prompt_tokens_details", ["cached_tokens", "cached_tokens"]);
    let names = ["reasoning_tokens", "reasoning_tokens"];
    let reasoning = detail("completion_tokens_details", names).unwrap_or(0);
    // Some servers count reasoning beside the answer; only the total tells.
    let beside = input.saturating_add(output).saturating_add(reasoning);
    if total == Some(beside) {
        output = output.saturating_add(reasoning);
    }
    Some(Usage {
        input,
        cached: cached.unwrap_or(0),
        cache_written: cache_written.unwrap_or(0),
        output,
        reasoning,
    })
}

/// Writes a `usage`.
pub(super) fn usage(usage: &Usage) -> Object<'static> {
    let written = (usage.cache_written > 0).then_some(usage.cache_written);
    Object::new()
        .with("prompt_tokens", usage.input)
        .with("completion_tokens", usage.output)
        .with("total_tokens", usage.input.saturating_add(usage.output))
        .with(
            "prompt_tokens_details",
            Object::new().with("cached_tokens", usage.cached).maybe("cache_write_tokens", written),
        )
        .with("completion_tokens_details", Object::new().with("reasoning_tokens", usage.reasoning))
}

/// What a `finish_reason` says.
fn read_stop(reason: &str) -> Stop {
    match reason {
        "length" => Stop::Length,
        "tool_calls" | "function_call" => Stop::Tools,
        "content_filter" => Stop::Refused,
        _ => Stop::End,
    }
}

/// The `finish_reason`.
const fn finish_reason(stop: &Stop) -> &'static str {
    match stop {
        Stop::End | Stop::Sequence(_) | Stop::Pause => "stop",
        Stop::Length => "length",
        Stop::Tools => "tool_calls",
        Stop::Refused => "content_filter",
    }
}

/// `id` as that of a chat completion.
fn answer_id(id: Option<&str>) -> String {
    let id = id.unwrap_or("translated");
    format!("chatcmpl-{}", id.strip_prefix("msg_").unwrap_or(id))
}
