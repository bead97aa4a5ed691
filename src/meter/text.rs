//! The text of an answer, collected without parsing, to be counted if need be.

use crate::meter::estimate;
use crate::meter::scan::{self, Value};

/// Bytes of text that are kept; beyond them bytes are counted and tokens scaled.
const KEPT: usize = 64 * 1024;

/// Text that a model wrote, in the order of the stream.
#[derive(Debug, Default)]
pub(super) struct Text {
    /// Still escaped as in JSON.
    kept: Vec<u8>,
    /// Bytes beyond what is kept.
    more: u64,
}

/// What a walk over an event or an answer met on its way.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Met {
    /// Usage, an error or the end of a response: for a parser to judge.
    pub(super) notable: bool,
}

impl Text {
    /// Walks over `json` once and takes the text in it.
    pub(super) fn collect(&mut self, json: &[u8]) -> Met {
        let before = (self.kept.len(), self.more);
        let mut met = Met::default();
        let mut repeats = false;
        // The field that thinking stands in, of two that hold the same.
        let mut thinking: Option<&[u8]> = None;
        let mut members = scan::members(json);
        while let Some((key, value)) = members.next() {
            match (key, value) {
                (b"thinking_blocks" | b"reasoning_details", Value::Other(b'['))
                    if thinks_in_words(json) =>
                {
                    members.step_over();
                }
                (b"reasoning_content" | b"reasoning", Value::Text(text))
                    if !text.is_empty() && *thinking.get_or_insert(key) == key =>
                {
                    self.keep(text);
                }
                (b"usage" | b"error", value) => {
                    met.notable |= !matches!(value, Value::Other(b'n'));
                }
                (b"type", Value::Text(kind)) => {
                    met.notable |= kind == b"error" || is_end(kind);
                    repeats |= kind.starts_with(b"response.") && !kind.ends_with(b".delta");
                }
                // Chat, completions and tool calls; then Responses; then Messages.
                (
                    b"content" | b"text" | b"refusal" | b"arguments" | b"name" | b"delta"
                    | b"thinking" | b"partial_json",
                    Value::Text(text),
                ) => self.keep(text),
                _ => {}
            }
        }
        if repeats {
            // Such an event holds again what the deltas held.
            self.kept.truncate(before.0);
            self.more = before.1;
        }
        met
    }

    /// The number of tokens of the text.
    pub(super) fn tokens(&self) -> u64 {
        let quoted = [b"\"", self.kept.as_slice(), b"\""].concat();
        let tokens = serde_json::from_slice::<String>(&quoted)
            .map_or_else(|_| estimate::quick(self.kept.len()), |text| estimate::text_tokens(&text));
        tokens + estimate::scale(tokens, self.kept.len() as u64, self.more)
    }

    fn keep(&mut self, text: &[u8]) {
        if self.kept.len() + text.len() <= KEPT {
            self.kept.extend_from_slice(text);
        } else {
            self.more += text.len() as u64;
        }
    }
}

/// Whether `json` has thinking as a text, so that blocks of it hold the same again.
fn thinks_in_words(json: &[u8]) -> bool {
    scan::members(json).any(|(key, value)| {
        matches!(key, b"reasoning_content" | b"reasoning")
            && matches!(value, Value::Text(text) if !text.is_empty())
    })
}

/// Whether an event of type `kind` is the last of its stream.
pub(super) fn is_end(kind: &[u8]) -> bool {
    matches!(
        kind,
        b"response.completed" | b"response.failed" | b"response.incomplete" | b"message_stop"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_whole_answer_is_counted_and_nothing_else() {
        let answer = br#"{"id":"chatcmpl-1","model":"gpt","choices":[{"index":0,"message":
            {"role":"assistant","content":"Hello\n\u0077orld"}}]}"#;
        let mut text = Text::default();
        assert_eq!(text.collect(answer), Met { notable: false });
        assert_eq!(text.tokens(), estimate::text_tokens("Hello\nworld"));
    }

    /// A stream that was asked for usage has a null in every event.
    #[test]
    fn null_members_need_no_parser() {
        let notable = |json: &str| Text::default().collect(json.as_bytes()).notable;
        assert!(!notable(r#"{"choices":[],"usage": null,"error":null}"#));
        assert!(notable(r#"{"choices":[],"usage":{}}"#));
        assert!(notable(r#"{"error":"x"}"#));
    }

    #[test]
    fn beyond_what_is_kept_tokens_are_scaled() {
        let event = format!(r#"{{"delta":{{"content":"{}"}}}}"#, " word".repeat(200));
        let mut text = Text::default();
        for _ in 0..1_000 {
            text.collect(event.as_bytes());
        }
        assert!(text.kept.len() <= KEPT);
        let counted = text.tokens();
        let done = event.replace(r#"{"delta""#, r#"{"type":"response.completed","delta""#);
        text.collect(done.as_bytes());
        assert_eq!(text.tokens(), counted, "what is repeated is not counted again");
        assert!((199_000..=201_000).contains(&counted), "{counted}");
    }

    /// Some servers give thinking twice: as a text, and in blocks or under another name.
    #[test]
    fn thinking_is_counted_once() {
        let once = {
            let mut text = Text::default();
            text.collect(
                br#"{"choices":[{"delta":{"content":"x","reasoning_content":"Let me see."}}]}"#,
            );
            text.tokens()
        };
        for event in [
            r#"{"choices":[{"delta":{"content":"x","reasoning_content":"Let me see.","thinking_blocks":[{"index":0,"type":"thinking","thinking":"Let me see."}]}}]}"#,
            r#"{"choices":[{"delta":{"content":"x","thinking_blocks":[{"thinking":"Let me see.","signature":"s"}],"reasoning_content":"Let me see."}}]}"#,
            r#"{"choices":[{"delta":{"content":"x","reasoning":"Let me see.","reasoning_details":[{"type":"reasoning.text","text":"Let me see."}]}}]}"#,
            r#"{"choices":[{"delta":{"content":"x","reasoning":"Let me see.","reasoning_content":"Let me see."}}]}"#,
            r#"{"choices":[{"delta":{"content":"x","thinking_blocks":[{"thinking":"Let me see."}]}}]}"#,
            r#"{"choices":[{"delta":{"content":[{"type":"text","text":"x"},{"type":"thinking","thinking":[{"type":"text","text":"Let me see."}]}]}}]}"#,
        ] {
            let mut text = Text::default();
            text.collect(event.as_bytes());
            assert_eq!(text.tokens(), once, "{event}");
        }
    }

    #[test]
    fn text_that_is_not_utf8_is_still_counted() {
        let mut text = Text::default();
        text.collect(b"{\"content\":\"\xFF\xFF\xFF\xFF\xFF\"}");
        assert_eq!(text.tokens(), 2);
    }
}
