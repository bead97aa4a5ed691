//! The token figures of a provider's answer, as each API words them.
//!
//! Sources: OpenAI API reference, "The chat completion object", "The embedding
//! object" and "The response object" (`usage`): chat, completions and embeddings
//! name the figures `prompt_tokens` and `completion_tokens`, Responses
//! `input_tokens` and `output_tokens`. Anthropic API reference, "Create a Message"
//! (`usage`), "Prompt caching" ("Tracking cache performance": the whole prompt is
//! `input_tokens` + `cache_read_input_tokens` + `cache_creation_input_tokens`) and
//! "Streaming messages" (the figures of `message_delta` are cumulative).
//!
//! A figure that cannot be true is no figure: then there is no usage at all. A
//! breakdown that cannot be true is left out.

use serde::Deserialize;
use serde_json::value::RawValue;

/// No request has used this many tokens; a larger figure is an error.
const LARGEST_FIGURE: u64 = 1_000_000_000;

/// The tokens of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// All of the prompt, what is in the provider's cache included.
    pub input: u64,
    /// Of the prompt, read from the provider's cache.
    pub cached: u64,
    /// Of the prompt, written to it.
    pub cache_written: u64,
    /// All of the answer, thinking included.
    pub output: u64,
    /// Of the answer, spent on thinking.
    pub reasoning: u64,
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

impl Usage {
    /// What `usage`, the value of that member, says in one of OpenAI's APIs.
    pub fn of_openai(usage: &RawValue) -> Option<Self> {
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
        let answer =
            Details::read(figures.completion_tokens_details.or(figures.output_tokens_details));
        let cached = figure(prompt.cached_tokens).flatten().unwrap_or(0);
        let cached = if cached <= input { cached } else { 0 };
        let written = figure(prompt.cache_write_tokens).flatten().unwrap_or(0);
        let reasoning = figure(answer.reasoning_tokens).flatten().unwrap_or(0);
        // Some servers count reasoning beside the answer; only the total tells.
        let beside = total == Some(input + output + reasoning);
        let output = if beside { output + reasoning } else { output };
        Some(Self {
            input,
            cached,
            cache_written: if written <= input - cached { written } else { 0 },
            output,
            reasoning: if reasoning <= output { reasoning } else { 0 },
        })
    }
}

impl<'a> Details<'a> {
    fn read(details: Option<&'a RawValue>) -> Self {
        details.and_then(|details| serde_json::from_str(details.get()).ok()).unwrap_or_default()
    }
}

/// The figures of one message of Anthropic's; of a stream, the last that were given of
/// each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MessageUsage {
    input: Option<u64>,
    read: Option<u64>,
    created: Option<u64>,
    output: Option<u64>,
    /// Of the output.
    thinking: Option<u64>,
}

#[derive(Deserialize)]
struct MessageFigures<'a> {
    #[serde(borrow, default)]
    input_tokens: Option<&'a RawValue>,
    #[serde(borrow, default)]
    cache_read_input_tokens: Option<&'a RawValue>,
    #[serde(borrow, default)]
    cache_creation_input_tokens: Option<&'a RawValue>,
    #[serde(borrow, default)]
    output_tokens: Option<&'a RawValue>,
    #[serde(borrow, default)]
    output_tokens_details: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct MessageDetails<'a> {
    #[serde(borrow, default)]
    thinking_tokens: Option<&'a RawValue>,
}

impl MessageUsage {
    /// Takes the figures that `usage`, the value of that member, gives. What cannot
    /// be true counts as not given.
    pub fn update(&mut self, usage: &RawValue) {
        let Ok(figures) = serde_json::from_str::<MessageFigures<'_>>(usage.get()) else { return };
        let given = |value| figure(value).flatten();
        self.input = given(figures.input_tokens).or(self.input);
        self.read = given(figures.cache_read_input_tokens).or(self.read);
        self.created = given(figures.cache_creation_input_tokens).or(self.created);
        self.output = given(figures.output_tokens).or(self.output);
        let details = figures.output_tokens_details;
        let details =
            details.and_then(|raw| serde_json::from_str::<MessageDetails<'_>>(raw.get()).ok());
        self.thinking = details.and_then(|of| given(of.thinking_tokens)).or(self.thinking);
    }

    /// The tokens, their prompt counted whole; `None` if the prompt or the answer is
    /// not given, or both are nothing.
    pub fn usage(self) -> Option<Usage> {
        let cached = self.read.unwrap_or(0);
        let cache_written = self.created.unwrap_or(0);
        let input = self.input? + cached + cache_written;
        let output = self.output?;
        let reasoning = self.thinking.filter(|thinking| *thinking <= output).unwrap_or(0);
        let usage = Usage { input, cached, cache_written, output, reasoning };
        (input > 0 || output > 0).then_some(usage)
    }
}

/// A figure, `Some(None)` if it is left out, `None` if it cannot be true.
#[expect(clippy::option_option, reason = "absent and absurd are different answers")]
fn figure(value: Option<&RawValue>) -> Option<Option<u64>> {
    let Some(value) = value else { return Some(None) };
    let text = value.get();
    let figure: u64 = text.strip_suffix(".0").unwrap_or(text).parse().ok()?;
    (figure <= LARGEST_FIGURE).then_some(Some(figure))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(given: &[&str]) -> Option<Usage> {
        let mut usage = MessageUsage::default();
        for text in given {
            usage.update(serde_json::from_str(text).unwrap());
        }
        usage.usage()
    }

    fn tokens(input: u64, cached: u64, output: u64) -> Option<Usage> {
        Some(Usage { input, cached, output, ..Usage::default() })
    }

    /// Covers B1 and E4.
    #[test]
    fn the_prompt_is_what_was_read_written_and_neither() {
        let figures = r#"{"input_tokens":21,"cache_creation_input_tokens":188086,
            "cache_read_input_tokens":1000,"output_tokens":393,"service_tier":"standard"}"#;
        let written = tokens(189_107, 1_000, 393);
        let written = written.map(|usage| Usage { cache_written: 188_086, ..usage });
        assert_eq!(message(&[figures]), written);
        assert_eq!(message(&[r#"{"input_tokens":3,"output_tokens":4}"#]), tokens(3, 0, 4));
        let nulls = r#"{"input_tokens":3,"cache_read_input_tokens":null,"output_tokens":4}"#;
        assert_eq!(message(&[nulls]), tokens(3, 0, 4));
    }

    #[test]
    fn later_figures_take_the_place_of_earlier_ones() {
        let start = r#"{"input_tokens":25,"cache_read_input_tokens":7,"output_tokens":1}"#;
        assert_eq!(message(&[start, r#"{"output_tokens":15}"#]), tokens(32, 7, 15));
        let all = r#"{"input_tokens":30,"cache_read_input_tokens":9,"output_tokens":15}"#;
        assert_eq!(message(&[start, all]), tokens(39, 9, 15));
        let absurd = r#"{"input_tokens":-1,"output_tokens":"15"}"#;
        assert_eq!(message(&[start, absurd]), tokens(32, 7, 1));
    }

    #[test]
    fn thinking_is_a_part_of_the_answer() {
        let with = |thinking: u64| {
            let details = format!(r#"{{"thinking_tokens":{thinking}}}"#);
            message(&[&format!(
                r#"{{"input_tokens":3,"output_tokens":40,"output_tokens_details":{details}}}"#
            )])
        };
        assert_eq!(with(30).unwrap().reasoning, 30);
        assert_eq!(with(41).unwrap().reasoning, 0, "that cannot be true");
        let null = r#"{"input_tokens":3,"output_tokens":4,"output_tokens_details":null}"#;
        assert_eq!(message(&[null]), tokens(3, 0, 4));
    }

    #[test]
    fn what_lacks_a_figure_has_none() {
        assert_eq!(message(&[r#"{"output_tokens":15}"#]), None);
        assert_eq!(message(&[r#"{"input_tokens":15}"#]), None);
        assert_eq!(message(&[r#"{"input_tokens":0,"output_tokens":0}"#]), None);
        assert_eq!(message(&["[]"]), None);
    }

    /// Source: OpenAI API reference, `prompt_tokens_details.cache_write_tokens`.
    #[test]
    fn what_was_written_to_the_providers_cache_is_told_apart() {
        for (written, expected) in [("11", 11), ("14", 14), ("15", 0), ("-1", 0), ("null", 0)] {
            let figures = format!(
                r#"{{"prompt_tokens":19,"completion_tokens":10,
                "prompt_tokens_details":{{"cached_tokens":5,"cache_write_tokens":{written}}}}}"#
            );
            let usage = Usage::of_openai(serde_json::from_str(&figures).unwrap()).unwrap();
            assert_eq!(usage.cache_written, expected, "{written}");
        }
    }
}
