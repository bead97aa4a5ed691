//! The provider's own token figures, out of its answer.
//!
//! Sources: OpenAI API reference, "The chat completion object", "The embedding
//! object" and "The response object" (`usage`). Chat, completions and
//! embeddings name the figures `prompt_tokens` and `completion_tokens`,
//! Responses `input_tokens` and `output_tokens`. Anthropic's Messages use the
//! latter names for something else (see `MessageUsage`); only they are of the
//! type `message`.
//!
//! A figure that cannot be true is no figure: then there is no usage at all,
//! and the tokens are counted. A breakdown that cannot be true is left out.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::ledger::record::Tokens;
use crate::meter::message::MessageUsage;

/// No request has used this many tokens; a larger figure is an error.
const LARGEST_FIGURE: u64 = 1_000_000_000;

/// What matters of an answer or of one event, unparsed.
#[derive(Default, Deserialize)]
pub(super) struct Envelope<'a> {
    #[serde(borrow, default, rename = "type")]
    pub(super) kind: Option<&'a RawValue>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
    #[serde(borrow, default)]
    choices: Option<&'a RawValue>,
    #[serde(borrow, default)]
    response: Option<&'a RawValue>,
    #[serde(borrow, default)]
    message: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

impl<'a> Envelope<'a> {
    /// Reads `json`; a text that is no such object gives an empty envelope.
    pub(super) fn read(json: &'a [u8]) -> Self {
        serde_json::from_slice(json).unwrap_or_default()
    }

    /// Whether the event exists for its usage alone.
    pub(super) fn is_usage_only(&self) -> bool {
        self.usage.is_some() && self.choices.is_some_and(is_empty_array)
    }

    /// Whether there is an error object.
    pub(super) const fn has_error(&self) -> bool {
        self.error.is_some()
    }

    /// The value of `type`, if it is a plain string.
    pub(super) fn kind(&self) -> &'a str {
        self.kind.map_or("", |kind| kind.get().trim_matches('"'))
    }

    /// The figures that an event of a message stream gives: in its `message`, where
    /// that begins, or at the top.
    pub(super) fn message_usage(&self) -> Option<&'a RawValue> {
        match self.kind() {
            "message_start" => serde_json::from_str::<Self>(self.message?.get()).ok()?.usage,
            "message_delta" => self.usage,
            _ => None,
        }
    }

    /// The figures, at the top or in `response`.
    pub(super) fn tokens(&self) -> Option<Tokens> {
        if let Some(usage) = self.usage {
            return match self.kind() {
                "message" => message_figures(usage),
                _ => figures(usage),
            };
        }
        let response: Self = serde_json::from_str(self.response?.get()).ok()?;
        figures(response.usage?)
    }
}

/// The usage that a whole answer reports: chat completion, completion,
/// embeddings, response or message. `None` if it reports none, or none that can be
/// true.
pub fn body_usage(body: &[u8]) -> Option<Tokens> {
    let envelope = Envelope::read(body);
    envelope.usage.and_then(|_| envelope.tokens())
}

fn message_figures(usage: &RawValue) -> Option<Tokens> {
    let mut message = MessageUsage::default();
    message.update(usage);
    message.tokens()
}

fn is_empty_array(value: &RawValue) -> bool {
    let inner = value.get().strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    inner.is_some_and(|inner| inner.trim().is_empty())
}

#[derive(Deserialize)]
struct Figures<'a> {
    #[serde(borrow, default)]
    prompt_tokens: Option<&'a RawValue>,
    #[serde(borrow, default)]
    completion_tokens: Option<&'a RawValue>,
    #[serde(borrow, default)]
    input_tokens: Option<&'a RawValue>,
    #[serde(borrow, default)]
    output_tokens: Option<&'a RawValue>,
    #[serde(borrow, default)]
    total_tokens: Option<&'a RawValue>,
    #[serde(borrow, default)]
    prompt_tokens_details: Option<&'a RawValue>,
    #[serde(borrow, default)]
    completion_tokens_details: Option<&'a RawValue>,
    // In realtime events the singular.
    #[serde(borrow, default, alias = "input_token_details")]
    input_tokens_details: Option<&'a RawValue>,
    #[serde(borrow, default, alias = "output_token_details")]
    output_tokens_details: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct Details<'a> {
    #[serde(borrow, default)]
    cached_tokens: Option<&'a RawValue>,
    #[serde(borrow, default)]
    cache_write_tokens: Option<&'a RawValue>,
    #[serde(borrow, default)]
    reasoning_tokens: Option<&'a RawValue>,
}

/// The tokens that the value of `usage` speaks of.
fn figures(usage: &RawValue) -> Option<Tokens> {
    let figures: Figures<'_> = serde_json::from_str(usage.get()).ok()?;
    let total = figure(figures.total_tokens)?;
    let input = figure(figures.prompt_tokens.or(figures.input_tokens))?;
    let output = figure(figures.completion_tokens.or(figures.output_tokens))?;
    let (input, output) = match (input, output, total) {
        (Some(input), Some(output), _) => (input, output),
        // Embeddings have no answer tokens, and say so by leaving them out.
        (Some(input), None, total) => (input, total.unwrap_or(input).checked_sub(input)?),
        (None, Some(output), Some(total)) => (total.checked_sub(output)?, output),
        (None, _, _) => return None,
    };
    if input == 0 && output == 0 {
        // No prompt is empty: this is how some servers say that they did not count.
        return None;
    }
    let prompt = Details::read(figures.prompt_tokens_details.or(figures.input_tokens_details));
    let answer = Details::read(figures.completion_tokens_details.or(figures.output_tokens_details));
    let cached = figure(prompt.cached_tokens).flatten().unwrap_or(0);
    let reasoning = figure(answer.reasoning_tokens).flatten().unwrap_or(0);
    // Some servers count reasoning beside the answer; only the total tells.
    let beside = total == Some(input + output + reasoning);
    let output = if beside { output + reasoning } else { output };
    let cached = if cached <= input { cached } else { 0 };
    let written = figure(prompt.cache_write_tokens).flatten().unwrap_or(0);
    Some(Tokens {
        input,
        cached_input: cached,
        output,
        reasoning: if reasoning <= output { reasoning } else { 0 },
        cache_write: if written <= input - cached { written } else { 0 },
    })
}

impl<'a> Details<'a> {
    fn read(details: Option<&'a RawValue>) -> Self {
        details.and_then(|details| serde_json::from_str(details.get()).ok()).unwrap_or_default()
    }
}

/// A figure, `Some(None)` if it is left out, `None` if it cannot be true.
#[expect(clippy::option_option, reason = "absent and absurd are different answers")]
pub(super) fn figure(value: Option<&RawValue>) -> Option<Option<u64>> {
    let Some(value) = value else { return Some(None) };
    let text = value.get();
    let figure: u64 = text.strip_suffix(".0").unwrap_or(text).parse().ok()?;
    (figure <= LARGEST_FIGURE).then_some(Some(figure))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(figures: &str) -> Option<Tokens> {
        body_usage(format!(r#"{{"id":"x","choices":[{{"n":[1]}}],"usage":{figures}}}"#).as_bytes())
    }

    fn tokens(input: u64, cached_input: u64, output: u64, reasoning: u64) -> Option<Tokens> {
        Some(Tokens { input, cached_input, output, reasoning, cache_write: 0 })
    }

    #[test]
    fn a_chat_completion_reports_everything() {
        let figures = r#"{"prompt_tokens":19,"completion_tokens":10,"total_tokens":29,
            "prompt_tokens_details":{"cached_tokens":5,"audio_tokens":0},
            "completion_tokens_details":{"reasoning_tokens":4,"audio_tokens":0}}"#;
        assert_eq!(usage(figures), tokens(19, 5, 10, 4));
    }

    #[test]
    fn embeddings_report_the_prompt_alone() {
        assert_eq!(usage(r#"{"prompt_tokens":8,"total_tokens":8}"#), tokens(8, 0, 0, 0));
    }

    #[test]
    fn a_response_reports_under_its_own_names() {
        let figures = r#"{"input_tokens":36,"input_tokens_details":{"cached_tokens":30},
            "output_tokens":87,"output_tokens_details":{"reasoning_tokens":80},"total_tokens":123}"#;
        assert_eq!(usage(figures), tokens(36, 30, 87, 80));
    }

    /// Covers E4.
    #[test]
    fn a_message_reports_its_prompt_in_parts() {
        let figures = r#"{"input_tokens":10,"cache_creation_input_tokens":5,
            "cache_read_input_tokens":30,"output_tokens":7}"#;
        let message = format!(r#"{{"id":"msg_1","type":"message","usage":{figures}}}"#);
        let written = tokens(45, 30, 7, 0).map(|tokens| Tokens { cache_write: 5, ..tokens });
        assert_eq!(body_usage(message.as_bytes()), written);
    }

    /// Source: OpenAI API reference, `prompt_tokens_details.cache_write_tokens`.
    #[test]
    fn what_was_written_to_the_providers_cache_is_told_apart() {
        for (written, expected) in [("11", 11), ("14", 14), ("15", 0), ("-1", 0), ("null", 0)] {
            let figures = format!(
                r#"{{"prompt_tokens":19,"completion_tokens":10,
                "prompt_tokens_details":{{"cached_tokens":5,"cache_write_tokens":{written}}}}}"#
            );
            assert_eq!(usage(&figures).unwrap().cache_write, expected, "{written}");
        }
    }

    #[test]
    fn nulls_and_missing_details_are_nothing() {
        let figures = r#"{"prompt_tokens":1,"completion_tokens":2,"total_tokens":null,
            "prompt_tokens_details":null,"completion_tokens_details":{"reasoning_tokens":null}}"#;
        assert_eq!(usage(figures), tokens(1, 0, 2, 0));
        assert_eq!(usage("null"), None);
        assert_eq!(body_usage(br#"{"id":"x"}"#), None);
        assert_eq!(body_usage(b"<html>"), None);
        assert_eq!(body_usage(b"[1]"), None);
    }

    #[test]
    fn a_missing_figure_follows_from_the_total() {
        assert_eq!(usage(r#"{"completion_tokens":2,"total_tokens":9}"#), tokens(7, 0, 2, 0));
        assert_eq!(usage(r#"{"prompt_tokens":7,"total_tokens":9}"#), tokens(7, 0, 2, 0));
        assert_eq!(usage(r#"{"completion_tokens":2}"#), None);
    }

    #[test]
    fn absurd_figures_are_none() {
        for prompt in ["-1", "1e99", "1.5", "\"12\"", "[]", "18446744073709551616", "1000000001"] {
            let figures = format!(r#"{{"prompt_tokens":{prompt},"completion_tokens":2}}"#);
            assert_eq!(usage(&figures), None, "{prompt}");
        }
        assert_eq!(usage(r#"{"prompt_tokens":9,"total_tokens":3}"#), None);
        assert_eq!(usage(r#"{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}"#), None);
        assert_eq!(usage(r#"{"prompt_tokens":12.0,"completion_tokens":2}"#), tokens(12, 0, 2, 0));
    }

    #[test]
    fn an_absurd_breakdown_is_left_out() {
        let figures = r#"{"prompt_tokens":3,"completion_tokens":2,
            "prompt_tokens_details":{"cached_tokens":4},
            "completion_tokens_details":{"reasoning_tokens":-4}}"#;
        assert_eq!(usage(figures), tokens(3, 0, 2, 0));
        assert_eq!(
            usage(r#"{"prompt_tokens":3,"completion_tokens":2,"prompt_tokens_details":[]}"#),
            tokens(3, 0, 2, 0)
        );
    }

    #[test]
    fn reasoning_counted_beside_the_answer_is_added_to_it() {
        let figures = r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":115,
            "completion_tokens_details":{"reasoning_tokens":100}}"#;
        assert_eq!(usage(figures), tokens(10, 0, 105, 100));
    }

    #[test]
    fn usage_deeper_down_is_not_the_answers() {
        assert_eq!(body_usage(br#"{"choices":[{"usage":{"prompt_tokens":1}}]}"#), None);
    }
}
