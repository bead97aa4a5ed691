//! What OpenAI's dialects share.

use serde_json::value::RawValue;

use crate::dialect::form::{Stop, Usage};
use crate::dialect::json::{self, Fields, Object};
use crate::dialect::loss::{Bad, Checked};

/// The event that ends a stream of completions.
pub(super) const DONE: &[u8] = b"data: [DONE]\n\n";

/// Reads the `usage` of a completion; what cannot be read is no usage.
pub(super) fn read_usage(usage: &RawValue) -> Option<Usage> {
    let mut usage = Fields::parse(usage.get(), "usage").ok()?;
    let input = usage.integer("prompt_tokens").ok()??;
    let mut output = usage.integer("completion_tokens").ok()?.unwrap_or(0);
    let total = usage.integer("total_tokens").ok()?;
    let mut prompt = usage.object("prompt_tokens_details").ok().flatten();
    let mut answer = usage.object("completion_tokens_details").ok().flatten();
    let detail = |details: &mut Option<Fields<'_>>, name| {
        details.as_mut().and_then(|details| details.integer(name).ok()?)
    };
    let reasoning = detail(&mut answer, "reasoning_tokens").unwrap_or(0);
    // Some servers count reasoning beside the answer; only the total tells.
    let beside = input.saturating_add(output).saturating_add(reasoning);
    if total == Some(beside) {
        output = output.saturating_add(reasoning);
    }
    Some(Usage {
        input,
        cached: detail(&mut prompt, "cached_tokens").unwrap_or(0),
        cache_written: detail(&mut prompt, "cache_write_tokens").unwrap_or(0),
        output,
        reasoning,
    })
}

/// Writes the `usage` of a completion.
pub(super) fn usage(usage: &Usage) -> Object<'static> {
    Object::new()
        .with("prompt_tokens", usage.input)
        .with("completion_tokens", usage.output)
        .with("total_tokens", usage.input.saturating_add(usage.output))
        .with("prompt_tokens_details", cached(usage))
        .with("completion_tokens_details", Object::new().with("reasoning_tokens", usage.reasoning))
}

/// What of the prompt went through the provider's cache.
pub(super) fn cached(usage: &Usage) -> Object<'static> {
    let written = (usage.cache_written > 0).then_some(usage.cache_written);
    Object::new().with("cached_tokens", usage.cached).maybe("cache_write_tokens", written)
}

/// What a `finish_reason` says.
pub(super) fn read_finish(reason: &str) -> Stop {
    match reason {
        "length" => Stop::Length,
        "tool_calls" | "function_call" => Stop::Tools,
        "content_filter" => Stop::Refused,
        _ => Stop::End,
    }
}

/// The `finish_reason`.
pub(super) const fn finish_reason(stop: &Stop) -> &'static str {
    match stop {
        Stop::End | Stop::Sequence(_) | Stop::Pause => "stop",
        Stop::Length => "length",
        Stop::Tools => "tool_calls",
        Stop::Refused => "content_filter",
    }
}

/// One text or several: `stop`.
pub(super) fn read_stop(fields: &mut Fields<'_>) -> Checked<Vec<String>> {
    let Some(stop) = fields.take("stop") else { return Ok(Vec::new()) };
    if let Some(stop) = json::as_text(stop) {
        return Ok(vec![stop]);
    }
    serde_json::from_str(stop.get())
        .map_err(|_| Bad::invalid("stop", "This must be a string or an array of strings."))
}
