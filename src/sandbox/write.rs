//! Writes the texts.

use serde_json::{Value, json};

use crate::meter::estimate;
use crate::sandbox::request::{Checked, Refused};
use crate::sandbox::schema;
use crate::sandbox::seed::Seed;

const OPENING: &str = "This answer comes from the sandbox of Tollgate, its built-in provider, \
                       which needs no account and no network.";

const SENTENCES: [&str; 8] = [
    " It was metered, priced and recorded like any other answer.",
    " The same request always gets the same text.",
    " The token figures were counted with a real tokenizer.",
    " Give the configuration a provider's key and this text gives way to a real model.",
    " Streams, tool calls, JSON answers and embeddings work here too.",
    " Nothing that you sent was kept.",
    " The headers of this answer tell what is left of the limits.",
    " The ledger knows what it would have cost.",
];

/// Tokens of the shortest and of the longest text.
const SHORTEST: usize = 24;
const LONGEST: usize = 80;

/// A text in parts of one token each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) parts: Vec<String>,
    /// Whether the text was cut at the most tokens allowed.
    pub(super) cut: bool,
}

/// The bounds of a text.
#[derive(Clone, Debug, Default)]
pub(super) struct Bounds<'a> {
    /// The most tokens.
    pub(super) tokens: Option<usize>,
    /// Texts before which it ends.
    pub(super) stops: Vec<&'a str>,
}

/// How the text is to be formed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Format<'a> {
    /// Prose.
    Text,
    /// A JSON object.
    Json,
    /// JSON that fits a schema.
    Schema(&'a Value),
}

impl<'a> Format<'a> {
    /// Reads the value of `response_format` (chat, where the schema is in
    /// `json_schema`) or `text.format` (responses, where it is beside `type`),
    /// called `param`.
    pub(super) fn read(param: &str, value: Option<&'a Value>) -> Checked<Self> {
        let Some(value) = value else { return Ok(Self::Text) };
        let Some(kind) = value.get("type").and_then(Value::as_str) else {
            return Err(Refused::wrong_type(param, "an object with a 'type'", value));
        };
        match kind {
            "text" => Ok(Self::Text),
            "json_object" => Ok(Self::Json),
            "json_schema" => {
                let holder = value.get("json_schema").unwrap_or(value);
                match holder.get("schema") {
                    Some(schema) if schema.is_object() => Ok(Self::Schema(schema)),
                    _ => Err(Refused::missing(&format!("{param}.schema"))),
                }
            }
            _ => Err(Refused::invalid(
                &format!("{param}.type"),
                "supported values are: 'text', 'json_object' and 'json_schema'.",
            )),
        }
    }
}

impl Written {
    /// The text for `seed`.
    pub(super) fn new(seed: Seed, format: Format<'_>, bounds: &Bounds<'_>) -> Self {
        let text = match format {
            Format::Text => prose(seed),
            Format::Json => json!({ "answer": prose(seed) }).to_string(),
            Format::Schema(schema) => schema::example(schema).to_string(),
        };
        Self::bounded(&text, bounds)
    }

    /// `text` within `bounds`.
    fn bounded(text: &str, bounds: &Bounds<'_>) -> Self {
        let ends = bounds.stops.iter().filter(|stop| !stop.is_empty());
        let end = ends.filter_map(|stop| text.find(stop)).min().unwrap_or(text.len());
        let mut parts = estimate::split(text.get(..end).unwrap_or(text));
        let most = bounds.tokens.unwrap_or(usize::MAX);
        let cut = parts.len() > most;
        parts.truncate(most);
        Self { parts, cut }
    }

    /// The whole text.
    pub(super) fn text(&self) -> String {
        self.parts.concat()
    }
}

/// 20 to 80 tokens of whole sentences.
fn prose(seed: Seed) -> String {
    let most = SHORTEST + seed.below(LONGEST - SHORTEST + 1);
    let first = seed.choice(0).below(SENTENCES.len());
    let mut text = OPENING.to_owned();
    let mut tokens = estimate::text_tokens(OPENING);
    for sentence in SENTENCES.iter().cycle().skip(first).take(SENTENCES.len()) {
        tokens += estimate::text_tokens(sentence);
        if tokens > most as u64 {
            break;
        }
        text.push_str(sentence);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seed(prompt: usize) -> Seed {
        Seed::of("/v1/chat/completions", "m", &Value::from(prompt))
    }

    #[test]
    fn texts_have_20_to_80_tokens_and_differ() {
        let texts: Vec<String> = (0..200).map(|prompt| prose(seed(prompt))).collect();
        let lengths: Vec<u64> = texts.iter().map(|text| estimate::text_tokens(text)).collect();
        assert!(lengths.iter().all(|length| (20..=80).contains(length)), "{lengths:?}");
        assert!(lengths.iter().max().unwrap() - lengths.iter().min().unwrap() > 40);
        assert!(texts.iter().collect::<std::collections::HashSet<_>>().len() > 20);
    }

    #[test]
    fn bounds_hold() {
        let whole = Written::new(seed(1), Format::Text, &Bounds::default());
        assert!(!whole.cut);
        assert!(whole.parts.len() >= 20);
        let most = whole.parts.len();
        for tokens in [1, 5, most - 1, most, most + 1] {
            let bounds = Bounds { tokens: Some(tokens), stops: Vec::new() };
            let cut = Written::new(seed(1), Format::Text, &bounds);
            assert_eq!(cut.parts, whole.parts[..tokens.min(most)]);
            assert_eq!(cut.cut, tokens < most);
        }
        let bounds = Bounds { tokens: None, stops: vec!["", "network", "sandbox"] };
        let stopped = Written::new(seed(1), Format::Text, &bounds);
        assert_eq!(stopped.text(), "This answer comes from the ");
        assert!(!stopped.cut);
    }
}
