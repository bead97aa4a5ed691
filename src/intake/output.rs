//! How much answer a request asks for, and how a class's limit is put on it.
//!
//! Each endpoint has fields of its own that limit one answer; `n`, `best_of` and
//! several prompts multiply it. A field of another endpoint limits nothing.

use std::ops::Range;

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::intake::endpoint::Endpoint;

/// The fields that limit an answer, in the order of [`Limits`]. Source: OpenAI and
/// Anthropic API references.
pub(super) const NAMES: [&str; 3] = ["max_completion_tokens", "max_tokens", "max_output_tokens"];

/// The fields as a body gives them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Limits([Given; 3]);

/// One field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Given {
    /// Where its value stands, a null included; `None` if it is not there.
    pub(super) at: Option<Range<usize>>,
    /// Its value.
    pub(super) value: Option<u64>,
}

impl Limits {
    /// The fields in the order of [`NAMES`].
    pub(super) const fn new(given: [Given; 3]) -> Self {
        Self(given)
    }

    /// The most tokens of one answer of `endpoint`; `None` if nothing limits it.
    /// Of two fields the larger counts: which of them a provider obeys is not
    /// known.
    pub(super) fn most(&self, endpoint: Endpoint) -> Option<u64> {
        self.of(endpoint).filter_map(|(_, given)| given.value).max()
    }

    /// Puts the limit `cap` on one answer of `endpoint`: what is above is
    /// lowered, and where nothing limits it a field is set. Gives the edits of
    /// `body` that do so.
    pub(super) fn cap(
        &mut self,
        endpoint: Endpoint,
        cap: u64,
        body: &Bytes,
    ) -> Vec<(Range<usize>, Bytes)> {
        let figure = Bytes::from(cap.to_string());
        let Some(own) = names(endpoint).first().copied() else { return Vec::new() };
        let mut edits = Vec::new();
        if self.most(endpoint).is_some() {
            for index in names(endpoint) {
                let given = self.0.get_mut(*index);
                let above = given.filter(|given| given.value.is_some_and(|value| value > cap));
                let Some(given) = above else { continue };
                given.value = Some(cap);
                edits.extend(given.at.clone().map(|at| (at, figure.clone())));
            }
            return edits;
        }
        let null = names(endpoint).iter().find_map(|index| self.0.get(*index)?.at.clone());
        edits.extend(match null {
            Some(at) => Some((at, figure)),
            None => NAMES.get(own).and_then(|name| member(body, name, cap)),
        });
        if let Some(given) = self.0.get_mut(own) {
            given.value = Some(cap);
        }
        edits
    }

    fn of(&self, endpoint: Endpoint) -> impl Iterator<Item = (usize, &Given)> {
        let all = self.0.iter().enumerate();
        all.filter(move |(index, _)| names(endpoint).contains(index))
    }
}

/// The places in [`NAMES`] of the fields that limit an answer of `endpoint`, the
/// one that is set first.
const fn names(endpoint: Endpoint) -> &'static [usize] {
    match endpoint {
        Endpoint::ChatCompletions => &[0, 1],
        Endpoint::Completions | Endpoint::Messages => &[1],
        Endpoint::Responses => &[2],
        Endpoint::Embeddings | Endpoint::CountTokens => &[],
    }
}

/// The edit that puts `name` first among the members of the object `body`.
fn member(body: &Bytes, name: &str, value: u64) -> Option<(Range<usize>, Bytes)> {
    let inside = memchr::memchr(b'{', body)? + 1;
    let rest = body.get(inside..)?.trim_ascii_start();
    let comma = if rest.starts_with(b"}") { "" } else { "," };
    Some((inside..inside, Bytes::from(format!("\"{name}\":{value}{comma}"))))
}

/// How many prompts the `prompt` of a completion holds: the elements of a list
/// of texts or of lists of tokens, else 1.
pub(super) fn prompts(raw: Option<&str>) -> u64 {
    let list = raw.filter(|text| text.starts_with('['));
    let elements = list.and_then(|text| serde_json::from_str::<Vec<&RawValue>>(text).ok());
    let several = elements.filter(|elements| {
        elements.first().is_some_and(|first| first.get().starts_with(['"', '[']))
    });
    several.map_or(1, |elements| elements.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intake::request::Request;
    use serde_json::{Value, json};

    fn capped(endpoint: Endpoint, cap: u64, body: &str) -> (Option<u64>, Value) {
        let mut request = Request::parse(&Bytes::copy_from_slice(body.as_bytes())).unwrap();
        let fits = request.cap_output(endpoint, cap).is_ok();
        let sent = request.outgoing(None, true).pieces.concat();
        let limit = request.output_limit(endpoint).filter(|_| fits);
        (limit, serde_json::from_slice(&sent).unwrap())
    }

    #[test]
    fn what_is_above_is_lowered_and_what_is_below_stays() {
        let chat = Endpoint::ChatCompletions;
        let (limit, sent) = capped(chat, 100, r#"{"model":"m","max_tokens": 5000 }"#);
        assert_eq!((limit, sent), (Some(100), json!({"model": "m", "max_tokens": 100})));
        let (limit, sent) = capped(chat, 100, r#"{"max_tokens":7,"max_completion_tokens":900}"#);
        let expected = json!({"max_tokens": 7, "max_completion_tokens": 100});
        assert_eq!((limit, sent), (Some(100), expected));
        let (limit, sent) = capped(chat, 100, r#"{"model":"m","max_tokens":100}"#);
        assert_eq!((limit, sent), (Some(100), json!({"model": "m", "max_tokens": 100})));
    }

    #[test]
    fn the_endpoints_own_field_is_set_where_nothing_limits() {
        for (endpoint, name) in [
            (Endpoint::ChatCompletions, "max_completion_tokens"),
            (Endpoint::Completions, "max_tokens"),
            (Endpoint::Responses, "max_output_tokens"),
            (Endpoint::Messages, "max_tokens"),
        ] {
            for body in ["{}", " { } ", r#"{"stream":true}"#, r#"{"a":{}}"#] {
                let (limit, sent) = capped(endpoint, 9, body);
                assert_eq!((limit, &sent[name]), (Some(9), &json!(9)), "{body}");
            }
            let (_, sent) = capped(endpoint, 9, &format!(r#"{{"a":1,"{name}":null}}"#));
            assert_eq!(sent, json!({"a": 1, name: 9}));
        }
        let (_, sent) = capped(Endpoint::Embeddings, 9, r#"{"a":1}"#);
        assert_eq!(sent, json!({"a": 1}));
    }

    #[test]
    fn the_field_of_another_endpoint_limits_nothing() {
        let (limit, sent) = capped(Endpoint::ChatCompletions, 9, r#"{"max_output_tokens":1}"#);
        let expected = json!({"max_output_tokens": 1, "max_completion_tokens": 9});
        assert_eq!((limit, sent), (Some(9), expected));
    }

    #[test]
    fn answers_share_the_limit() {
        let chat = Endpoint::ChatCompletions;
        assert_eq!(capped(chat, 10, r#"{"n":3,"max_tokens":8}"#).0, Some(3));
        assert_eq!(capped(chat, 10, r#"{"n":11,"max_tokens":1}"#).0, None);
        let plain = Endpoint::Completions;
        assert_eq!(capped(plain, 10, r#"{"prompt":"a","best_of":5}"#).0, Some(2));
        assert_eq!(capped(plain, 12, r#"{"prompt":["a","b"],"n":2}"#).0, Some(3));
        assert_eq!(capped(plain, 12, r#"{"prompt":[[1],[2],[3]]}"#).0, Some(4));
        assert_eq!(capped(plain, 12, r#"{"prompt":[1,2,3]}"#).0, Some(12));
    }
}
