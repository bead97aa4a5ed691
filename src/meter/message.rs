//! The token figures of Anthropic's Messages.
//!
//! Source: Anthropic API reference, "Create a Message" (`usage`), "Prompt caching"
//! ("Tracking cache performance": the whole prompt is `input_tokens` +
//! `cache_read_input_tokens` + `cache_creation_input_tokens`) and "Streaming
//! messages" (the figures of `message_delta` are cumulative).

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::ledger::record::Tokens;
use crate::meter::usage::figure;

/// The figures of one message; of a stream, the last that were given of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct MessageUsage {
    input: Option<u64>,
    read: Option<u64>,
    created: Option<u64>,
    output: Option<u64>,
    /// Of the output.
    thinking: Option<u64>,
}

#[derive(Deserialize)]
struct Details<'a> {
    #[serde(borrow, default)]
    thinking_tokens: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Figures<'a> {
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

impl MessageUsage {
    /// Takes the figures that `usage`, the value of that member, gives. What cannot
    /// be true counts as not given.
    pub(super) fn update(&mut self, usage: &RawValue) {
        let Ok(figures) = serde_json::from_str::<Figures<'_>>(usage.get()) else { return };
        let given = |value| figure(value).flatten();
        self.input = given(figures.input_tokens).or(self.input);
        self.read = given(figures.cache_read_input_tokens).or(self.read);
        self.created = given(figures.cache_creation_input_tokens).or(self.created);
        self.output = given(figures.output_tokens).or(self.output);
        let details = figures.output_tokens_details;
        let details = details.and_then(|raw| serde_json::from_str::<Details<'_>>(raw.get()).ok());
        self.thinking = details.and_then(|of| given(of.thinking_tokens)).or(self.thinking);
    }

    /// The tokens, their prompt counted whole; `None` if the prompt or the answer is
    /// not given, or both are nothing.
    pub(super) fn tokens(self) -> Option<Tokens> {
        let read = self.read.unwrap_or(0);
        let cache_write = self.created.unwrap_or(0);
        let input = self.input? + read + cache_write;
        let output = self.output?;
        let reasoning = self.thinking.filter(|thinking| *thinking <= output).unwrap_or(0);
        let tokens = Tokens { input, cached_input: read, output, reasoning, cache_write };
        (input > 0 || output > 0).then_some(tokens)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(given: &[&str]) -> Option<Tokens> {
        let mut usage = MessageUsage::default();
        for text in given {
            usage.update(serde_json::from_str(text).unwrap());
        }
        usage.tokens()
    }

    fn tokens(input: u64, cached_input: u64, output: u64) -> Option<Tokens> {
        Some(Tokens { input, cached_input, output, ..Tokens::default() })
    }

    /// Covers B1 and E4.
    #[test]
    fn the_prompt_is_what_was_read_written_and_neither() {
        let figures = r#"{"input_tokens":21,"cache_creation_input_tokens":188086,
            "cache_read_input_tokens":1000,"output_tokens":393,"service_tier":"standard"}"#;
        let written = tokens(189_107, 1_000, 393);
        let written = written.map(|tokens| Tokens { cache_write: 188_086, ..tokens });
        assert_eq!(usage(&[figures]), written);
        assert_eq!(usage(&[r#"{"input_tokens":3,"output_tokens":4}"#]), tokens(3, 0, 4));
        let nulls = r#"{"input_tokens":3,"cache_read_input_tokens":null,"output_tokens":4}"#;
        assert_eq!(usage(&[nulls]), tokens(3, 0, 4));
    }

    #[test]
    fn later_figures_take_the_place_of_earlier_ones() {
        let start = r#"{"input_tokens":25,"cache_read_input_tokens":7,"output_tokens":1}"#;
        assert_eq!(usage(&[start, r#"{"output_tokens":15}"#]), tokens(32, 7, 15));
        let all = r#"{"input_tokens":30,"cache_read_input_tokens":9,"output_tokens":15}"#;
        assert_eq!(usage(&[start, all]), tokens(39, 9, 15));
        let absurd = r#"{"input_tokens":-1,"output_tokens":"15"}"#;
        assert_eq!(usage(&[start, absurd]), tokens(32, 7, 1));
    }

    #[test]
    fn thinking_is_a_part_of_the_answer() {
        let with = |thinking: u64| {
            let details = format!(r#"{{"thinking_tokens":{thinking}}}"#);
            usage(&[&format!(
                r#"{{"input_tokens":3,"output_tokens":40,"output_tokens_details":{details}}}"#
            )])
        };
        assert_eq!(with(30).unwrap().reasoning, 30);
        assert_eq!(with(41).unwrap().reasoning, 0, "that cannot be true");
        let null = r#"{"input_tokens":3,"output_tokens":4,"output_tokens_details":null}"#;
        assert_eq!(usage(&[null]), tokens(3, 0, 4));
    }

    #[test]
    fn what_lacks_a_figure_has_none() {
        assert_eq!(usage(&[r#"{"output_tokens":15}"#]), None);
        assert_eq!(usage(&[r#"{"input_tokens":15}"#]), None);
        assert_eq!(usage(&[r#"{"input_tokens":0,"output_tokens":0}"#]), None);
        assert_eq!(usage(&["[]"]), None);
    }
}
