//! A request for embeddings, taken apart into its inputs.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::groups::MOST_INPUTS;
use crate::base::json::span;
use crate::meter::estimate;

/// Bytes of inputs whose tokens are counted to divide what one call used; those of
/// a larger call are weighed by their length.
const COUNTED: usize = 256 * 1024;

/// What the inputs of a request are; providers do not take both in one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Texts.
    Text,
    /// Arrays of tokens.
    Tokens,
}

/// A request whose inputs can be asked for one by one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// What stands before the value of `input`.
    before: Bytes,
    /// What stands after it.
    after: Bytes,
    /// The inputs, each as it is spelt.
    pub parts: Vec<Bytes>,
    /// What they are.
    pub kind: Kind,
}

impl Split {
    /// Takes `body` apart. `None` where that is not to be done: there is not
    /// exactly one `input`, its inputs are not of one kind, one is empty, or there
    /// are more than a provider takes. Such a request is the provider's to judge.
    pub fn of(body: &Bytes) -> Option<Self> {
        let text = std::str::from_utf8(body).ok()?;
        let input = serde_json::Deserializer::from_str(text).deserialize_map(InputVisitor).ok()?;
        let (kind, parts) = parts(text, input)?;
        let at = span(text, input);
        let before = body.slice(..at.start);
        let after = body.slice(at.end..);
        let parts = parts.into_iter().map(|at| body.slice(at)).collect();
        Some(Self { before, after, parts, kind })
    }

    /// The request for `part` alone.
    pub fn single(&self, part: &[u8]) -> Bytes {
        [&self.before, part, &self.after].concat().into()
    }

    /// The request for all of `parts`.
    pub fn joint<'p>(&self, parts: impl Iterator<Item = &'p Bytes> + Clone) -> Bytes {
        let inputs: usize = parts.clone().map(|part| part.len() + 1).sum();
        let mut body = BytesMut::with_capacity(self.before.len() + inputs + self.after.len() + 2);
        body.extend_from_slice(&self.before);
        let mut separator: &[u8] = b"[";
        for part in parts {
            body.extend_from_slice(separator);
            body.extend_from_slice(part);
            separator = b",";
        }
        body.extend_from_slice(b"]");
        body.extend_from_slice(&self.after);
        body.freeze()
    }
}

/// What each of `parts` is expected to use, in tokens.
pub fn weights(kind: Kind, parts: &[Bytes]) -> Vec<u64> {
    let all: usize = parts.iter().map(Bytes::len).sum();
    let weigh = |part: &Bytes| match kind {
        Kind::Tokens => memchr::memchr_iter(b',', part).count() as u64 + 1,
        Kind::Text if all > COUNTED => estimate::quick(part.len()),
        Kind::Text => serde_json::from_slice::<String>(part)
            .map_or_else(|_| estimate::quick(part.len()), |text| estimate::text_tokens(&text)),
    };
    parts.iter().map(weigh).collect()
}

/// The inputs that the value of `input` holds, as places in `text`.
fn parts(text: &str, input: &RawValue) -> Option<(Kind, Vec<Range<usize>>)> {
    if is_text(input.get()) {
        return Some((Kind::Text, vec![span(text, input)]));
    }
    if is_tokens(input.get()) {
        return Some((Kind::Tokens, vec![span(text, input)]));
    }
    let parts: Vec<&RawValue> = serde_json::from_str(input.get()).ok()?;
    let all = |is: fn(&str) -> bool| parts.iter().all(|part| is(part.get()));
    let kind = match parts.first()?.get() {
        first if is_text(first) && all(is_text) => Kind::Text,
        first if is_tokens(first) && all(is_tokens) => Kind::Tokens,
        _ => return None,
    };
    let parts = parts.into_iter().map(|part| span(text, part)).collect::<Vec<_>>();
    (parts.len() <= MOST_INPUTS).then_some((kind, parts))
}

fn is_text(json: &str) -> bool {
    json.starts_with('"') && json.len() > 2
}

/// Whether `json` is an array of whole numbers, and not empty.
fn is_tokens(json: &str) -> bool {
    let inner = json.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    inner.is_some_and(|inner| {
        let within = |byte: u8| byte.is_ascii_digit() || byte == b',' || byte.is_ascii_whitespace();
        inner.bytes().all(within) && inner.bytes().any(|byte| byte.is_ascii_digit())
    })
}

struct InputVisitor;

impl<'de> Visitor<'de> for InputVisitor {
    type Value = &'de RawValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with one input")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut input = None;
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            if key != "input" {
                map.next_value::<IgnoredAny>()?;
            } else if input.replace(map.next_value()?).is_some() {
                return Err(A::Error::duplicate_field("input"));
            }
        }
        input.ok_or_else(|| A::Error::missing_field("input"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn split(body: &str) -> Option<Split> {
        Split::of(&Bytes::copy_from_slice(body.as_bytes()))
    }

    fn parts_of(body: &str) -> Vec<String> {
        let parts = split(body).unwrap().parts;
        parts.iter().map(|part| String::from_utf8(part.to_vec()).unwrap()).collect()
    }

    #[test]
    fn an_input_is_a_text_or_an_array_of_tokens() {
        assert_eq!(parts_of(r#"{"input":"a"}"#), [r#""a""#]);
        assert_eq!(
            parts_of(r#"{"input": [ "a" , "\u0062" ] ,"model":"m"}"#),
            [r#""a""#, r#""\u0062""#]
        );
        assert_eq!(parts_of(r#"{"input":[1, 2,3]}"#), ["[1, 2,3]"]);
        assert_eq!(parts_of(r#"{"inp\u0075t":[[1],[2,3]]}"#), ["[1]", "[2,3]"]);
        assert_eq!(split(r#"{"input":[[1]]}"#).unwrap().kind, Kind::Tokens);
        assert_eq!(split(r#"{"input":["1"]}"#).unwrap().kind, Kind::Text);
    }

    #[test]
    fn what_a_provider_would_not_take_is_not_taken_apart() {
        let many = json!({"input": vec!["a"; MOST_INPUTS + 1]}).to_string();
        for body in [
            "{}",
            "[]",
            r#"{"input":null}"#,
            r#"{"input":""}"#,
            r#"{"input":[]}"#,
            r#"{"input":["a",""]}"#,
            r#"{"input":["a",[1]]}"#,
            r#"{"input":[1,"a"]}"#,
            r#"{"input":[1.5]}"#,
            r#"{"input":[-1]}"#,
            r#"{"input":[[1],[]]}"#,
            r#"{"input":{"a":1}}"#,
            r#"{"input":"a","input":"a"}"#,
            &many,
        ] {
            assert_eq!(split(body), None, "{body}");
        }
    }

    #[test]
    fn inputs_weigh_their_tokens() {
        let weigh = |body: &str| {
            let split = split(body).unwrap();
            weights(split.kind, &split.parts)
        };
        assert_eq!(weigh(r#"{"input":[[1],[2,3]]}"#), [1, 2]);
        let texts = weigh(r#"{"input":["hello","hello world"]}"#);
        assert_eq!(texts, [1, 2]);
        let long = json!({"input": ["x".repeat(COUNTED), "y"]}).to_string();
        assert_eq!(weigh(&long), [(COUNTED as u64 + 2).div_ceil(4), 1]);
    }

    proptest! {
        #[test]
        fn split_and_joined_it_asks_for_the_same(texts in prop::collection::vec(".{1,20}", 1..20), user in ".{0,9}") {
            let body = json!({"model": "m", "user": user, "input": texts, "dimensions": 7});
            let split = split(&body.to_string()).unwrap();
            let joint: Value = serde_json::from_slice(&split.joint(split.parts.iter())).unwrap();
            prop_assert_eq!(&joint, &body);
            let mut expected = body.clone();
            for (part, text) in split.parts.iter().zip(&texts) {
                expected["input"] = json!(text);
                let single: Value = serde_json::from_slice(&split.single(part)).unwrap();
                prop_assert_eq!(&single, &expected);
            }
        }
    }
}
