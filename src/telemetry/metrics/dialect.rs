//! The metrics of requests that go from one dialect to another.

use prometheus::IntCounterVec;

use super::register::Register;

/// The fields that are told apart: those of the clients' dialects that some provider
/// lacks. Whatever else a client sends is `other`.
const FIELDS: [&str; 38] = [
    "audio",
    "background",
    "best_of",
    "container",
    "conversation",
    "echo",
    "frequency_penalty",
    "functions",
    "include",
    "input",
    "logit_bias",
    "logprobs",
    "mcp_servers",
    "messages",
    "modalities",
    "n",
    "parallel_tool_calls",
    "prediction",
    "presence_penalty",
    "previous_response_id",
    "prompt",
    "reasoning",
    "reasoning_effort",
    "seed",
    "stop",
    "stop_sequences",
    "store",
    "suffix",
    "temperature",
    "text",
    "thinking",
    "tool_choice",
    "tools",
    "top_k",
    "top_logprobs",
    "top_p",
    "truncation",
    "web_search_options",
];

/// The families of translation.
pub(super) struct DialectFamilies {
    /// Fields that calls to providers went without, as the provider's dialect or the
    /// model has nothing like them (`routing.on_unsupported: drop`), by class and by
    /// the field's name at the top of the body.
    dropped: IntCounterVec,
}

impl DialectFamilies {
    pub(super) fn register(register: &Register<'_>) -> Result<Self, prometheus::Error> {
        let dropped = register.counters(
            "dropped_fields_total",
            "Fields that calls to providers went without, by class and field.",
            &["class", "field"],
        )?;
        Ok(Self { dropped })
    }

    /// A call of the class went without what stands at `path`, such as
    /// `messages[3].content[0].input_audio`.
    pub(super) fn dropped(&self, class: &str, path: &str) {
        let field = path.split(['.', '[']).next().unwrap_or_default();
        let field = FIELDS.iter().find(|known| **known == field).map_or("other", |known| known);
        self.dropped.with_label_values(&[class, field]).inc();
    }
}
