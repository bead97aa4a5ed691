//! A chat completion, or one event of its stream, taken apart by its choices.
//! Nothing is parsed further than needed: what is not the choice's place, the
//! answer's identifier or its usage passes as it is spelt.
//!
//! Source: OpenAI API reference, "The chat completion object" and "The chat
//! completion chunk object".

use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::base::json::span;
use crate::ledger::record::Tokens;

const NO_CHOICES: Bytes = Bytes::from_static(b"[]");

/// An answer, or an event of one, with its choices apart.
#[derive(Clone, Debug)]
pub struct Parted {
    text: Bytes,
    /// Where its identifier ends, before the closing quote.
    id_end: Option<usize>,
    /// The array of choices.
    choices: Range<usize>,
    /// The object with the usage; a null is none.
    usage: Option<Range<usize>>,
    each: Vec<Choice>,
}

#[derive(Clone, Debug)]
struct Choice {
    number: usize,
    at: Range<usize>,
    index: Option<Range<usize>>,
}

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    choices: &'a RawValue,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Place<'a> {
    #[serde(borrow, default)]
    index: Option<&'a RawValue>,
}

/// The figures of a usage object that are a choice's own.
#[derive(Deserialize)]
struct Usage<'a> {
    #[serde(borrow, default)]
    completion_tokens: Option<&'a RawValue>,
    #[serde(borrow, default)]
    total_tokens: Option<&'a RawValue>,
    #[serde(borrow, default)]
    completion_tokens_details: Option<&'a RawValue>,
}

impl Parted {
    /// Takes `text` apart, whose part `json` is an object with choices; `None` if
    /// it is none. A choice without an index counts by its place; one whose index
    /// is no number has none.
    pub fn read(text: &Bytes, json: Range<usize>) -> Option<Self> {
        let whole = std::str::from_utf8(text).ok()?;
        let fields: Fields<'_> = serde_json::from_str(whole.get(json)?).ok()?;
        let all: Vec<&RawValue> = serde_json::from_str(fields.choices.get()).ok()?;
        let mut each = Vec::with_capacity(all.len());
        for (place, choice) in all.into_iter().enumerate() {
            let Ok(Place { index }) = serde_json::from_str::<Place<'_>>(choice.get()) else {
                continue;
            };
            let number = index.map_or(Some(place), |index| index.get().parse().ok());
            if let Some(number) = number {
                let index = index.map(|index| span(whole, index));
                each.push(Choice { number, at: span(whole, choice), index });
            }
        }
        let id = fields.id.filter(|id| id.get().starts_with('"'));
        Some(Self {
            text: text.clone(),
            id_end: id.map(|id| span(whole, id).end - 1),
            choices: span(whole, fields.choices),
            usage: fields.usage.map(|usage| span(whole, usage)),
            each,
        })
    }

    /// The numbers of its choices.
    pub fn numbers(&self) -> impl Iterator<Item = usize> {
        self.each.iter().map(|choice| choice.number)
    }

    /// Whether it says what the answer used.
    pub const fn has_usage(&self) -> bool {
        self.usage.is_some()
    }

    /// The choice of this number as it is spelt, if it is there; of several with
    /// one number, the first.
    pub fn choice(&self, number: usize) -> Option<&[u8]> {
        self.text.get(self.find(number)?.at.clone())
    }

    /// The same with the choice of this number alone, as the first; without any if
    /// it is not there. Its identifier is the number's own. The usage, where there
    /// is one, is that of `tokens`, or null without them.
    pub fn of(&self, number: usize, tokens: Option<&Tokens>) -> Bytes {
        self.with(number, self.only(number), tokens)
    }

    /// The same without choices, for what it says of the usage.
    pub fn usage_alone(&self, number: usize, tokens: &Tokens) -> Bytes {
        self.with(number, NO_CHOICES, Some(tokens))
    }

    fn with(&self, number: usize, choices: Bytes, tokens: Option<&Tokens>) -> Bytes {
        let mut edits = vec![(self.choices.clone(), choices)];
        if let Some(end) = self.id_end.filter(|_| number > 0) {
            edits.push((end..end, format!("-{number}").into()));
        }
        if let Some(usage) = &self.usage {
            let value = tokens.and_then(|tokens| self.usage_of(usage.clone(), tokens));
            edits.push((usage.clone(), value.unwrap_or(Bytes::from_static(b"null"))));
        }
        edit(&self.text, 0..self.text.len(), edits)
    }

    fn find(&self, number: usize) -> Option<&Choice> {
        self.each.iter().find(|choice| choice.number == number)
    }

    /// The array with this choice alone, if it is there.
    fn only(&self, number: usize) -> Bytes {
        let Some(choice) = self.find(number) else { return NO_CHOICES };
        let index = choice.index.clone().map(|index| (index, Bytes::from_static(b"0")));
        let choice = edit(&self.text, choice.at.clone(), index.into_iter().collect());
        [b"[", &*choice, b"]"].concat().into()
    }

    /// The usage with the figures of one choice.
    fn usage_of(&self, at: Range<usize>, tokens: &Tokens) -> Option<Bytes> {
        let text = std::str::from_utf8(&self.text).ok()?;
        let usage: Usage<'_> = serde_json::from_str(text.get(at.clone())?).ok()?;
        let total = tokens.input.saturating_add(tokens.output);
        let details = format!("{{\"reasoning_tokens\":{}}}", tokens.reasoning);
        let edits = [
            (usage.completion_tokens, tokens.output.to_string()),
            (usage.total_tokens, total.to_string()),
            (usage.completion_tokens_details, details),
        ];
        let edits = edits.into_iter().filter_map(|(raw, own)| Some((span(text, raw?), own.into())));
        Some(edit(&self.text, at, edits.collect()))
    }
}

/// The part `within` of `text` with these parts of it replaced.
fn edit(text: &Bytes, within: Range<usize>, mut edits: Vec<(Range<usize>, Bytes)>) -> Bytes {
    edits.sort_by_key(|(at, _)| at.start);
    let size: usize = edits.iter().map(|(_, own)| own.len()).sum();
    let mut edited = BytesMut::with_capacity(within.len() + size);
    let mut from = within.start;
    for (at, own) in edits {
        edited.put_slice(text.get(from..at.start).unwrap_or_default());
        edited.put_slice(&own);
        from = at.end;
    }
    edited.put_slice(text.get(from..within.end).unwrap_or_default());
    edited.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parted(text: &str) -> Option<Parted> {
        Parted::read(&Bytes::copy_from_slice(text.as_bytes()), 0..text.len())
    }

    #[test]
    fn each_has_its_own_choice_identifier_and_figures_and_all_else_as_it_is_spelt() {
        let text = r#"{"usage": {"total_tokens":19,"prompt_tokens":9.0, "completion_tokens": 10,
            "completion_tokens_details":{"audio_tokens":0}} ,"choices" : [
            {"message":{"content":"b \u0041"},"index": 1, "x":1.50},{"index":0,"message":{}}],
            "id":"chat-\"1"}"#;
        let parted = parted(text).unwrap();
        assert_eq!(parted.numbers().collect::<Vec<_>>(), [1, 0]);
        let tokens = Tokens { input: 9, cached_input: 0, output: 7, reasoning: 3, cache_write: 0 };
        assert_eq!(
            parted.of(1, Some(&tokens)),
            r#"{"usage": {"total_tokens":16,"prompt_tokens":9.0, "completion_tokens": 7,
            "completion_tokens_details":{"reasoning_tokens":3}} ,"choices" : [{"message":{"content":"b \u0041"},"index": 0, "x":1.50}],
            "id":"chat-\"1-1"}"#
        );
        assert_eq!(parted.choice(0), Some(br#"{"index":0,"message":{}}"#.as_slice()));
        let first = parted.of(0, None);
        assert!(first.ends_with(
            br#"[{"index":0,"message":{}}],
            "id":"chat-\"1"}"#
        ));
        assert!(first.starts_with(br#"{"usage": null ,"#));
        assert!(
            parted
                .of(5, None)
                .ends_with(b"\"choices\" : [],\n            \"id\":\"chat-\\\"1-5\"}")
        );
    }

    #[test]
    fn what_is_odd_is_taken_for_what_it_may_be() {
        let numbers = |text: &str| parted(text).map(|it| it.numbers().collect::<Vec<_>>());
        assert_eq!(numbers(r#"{"choices":[{},{"index":null},{"index":7}]}"#), Some(vec![0, 1, 7]));
        assert_eq!(numbers(r#"{"choices":[{"index":"1"},{"index":-1},3,null]}"#), Some(vec![]));
        assert_eq!(numbers(r#"{"choices":[]}"#), Some(vec![]));
        for none in [
            "",
            "[]",
            "{}",
            r#"{"choices":null}"#,
            r#"{"choices":{}}"#,
            r#"{"choices":[],"choices":[]}"#,
        ] {
            assert_eq!(numbers(none), None, "{none}");
        }
        let odd = parted(
            r#"{"id":7,"choices":[{}],"usage":{"completion_tokens":null,"prompt_tokens":3}}"#,
        );
        let tokens = Tokens { input: 3, output: 2, ..Tokens::default() };
        assert_eq!(
            odd.unwrap().of(0, Some(&tokens)),
            r#"{"id":7,"choices":[{}],"usage":{"completion_tokens":null,"prompt_tokens":3}}"#
        );
    }

    #[test]
    fn of_several_with_one_number_the_first_counts() {
        let parted = parted(r#"{"choices":[{"index":1,"a":1},{"index":1,"a":2}]}"#).unwrap();
        assert_eq!(parted.of(1, None), r#"{"choices":[{"index":0,"a":1}]}"#);
    }
}
