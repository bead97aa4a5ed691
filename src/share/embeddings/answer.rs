//! An answer with vectors, taken apart and put together. A vector is never
//! parsed: its entry passes as it is spelt, but for its `index`.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::base::json::span;
use crate::ledger::record::Tokens;

/// The entry of one vector, as it stands around its index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vector {
    before: Bytes,
    after: Bytes,
}

/// All of an answer but its vectors and usage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    text: Bytes,
    data: Range<usize>,
    usage: Option<Range<usize>>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// All but its vectors.
    pub frame: Frame,
    /// The vector of each input that was asked for; `None` was not given.
    pub vectors: Vec<Option<Vector>>,
}

impl Answer {
    /// Takes `body` apart, the answer to a request with `asked` inputs. `None` if
    /// it has no list of vectors. Entries without an index count by their place;
    /// of several with one index the first counts; others have none.
    pub fn read(body: &Bytes, asked: usize) -> Option<Self> {
        let text = std::str::from_utf8(body).ok()?;
        let mut parser = serde_json::Deserializer::from_str(text);
        let fields = parser.deserialize_map(FieldsVisitor).ok()?;
        parser.end().ok()?;
        let data = fields.data?;
        let entries: Vec<&RawValue> = serde_json::from_str(data.get()).ok()?;
        let mut vectors = vec![None; asked];
        for (place, entry) in entries.into_iter().enumerate() {
            if let Some((index, vector)) = Vector::read(body, text, entry, place)
                && let Some(slot) = vectors.get_mut(index)
            {
                slot.get_or_insert(vector);
            }
        }
        let usage = fields.usage.map(|usage| span(text, usage));
        let frame = Frame { text: body.clone(), data: span(text, data), usage };
        Some(Self { frame, vectors })
    }

    /// Whether every input has its vector.
    pub fn is_complete(&self) -> bool {
        self.vectors.iter().all(Option::is_some)
    }
}

impl Vector {
    fn read(body: &Bytes, text: &str, entry: &RawValue, place: usize) -> Option<(usize, Self)> {
        #[derive(serde::Deserialize)]
        struct Entry<'a> {
            #[serde(borrow, default)]
            index: Option<&'a RawValue>,
            #[serde(borrow, default)]
            embedding: Option<&'a RawValue>,
        }
        let at = span(text, entry);
        let fields: Entry<'_> = serde_json::from_str(entry.get()).ok()?;
        let is_vector = |raw: &&RawValue| raw.get().starts_with(['[', '"']);
        fields.embedding.filter(is_vector)?;
        let Some(index) = fields.index else {
            // The entry has a member, so a member and a comma can go first.
            let inside = at.start + 1..at.end;
            let after = [b",".as_slice(), body.get(inside)?].concat().into();
            return Some((place, Self { before: Bytes::from_static(b"{\"index\":"), after }));
        };
        let index_at = span(text, index);
        let before = body.slice(at.start..index_at.start);
        let after = body.slice(index_at.end..at.end);
        Some((index.get().parse().ok()?, Self { before, after }))
    }
}

impl Frame {
    /// The answer with these vectors, which used `tokens`.
    pub fn with<'v>(
        &self,
        vectors: impl Iterator<Item = &'v Vector> + Clone,
        tokens: &Tokens,
    ) -> Bytes {
        let size: usize = vectors.clone().map(|v| v.before.len() + v.after.len() + 6).sum();
        let mut body = BytesMut::with_capacity(self.text.len() - self.data.len() + size + 128);
        let part = |from: usize, to: usize| self.text.get(from..to).unwrap_or_default();
        let end = self.text.len();
        match self.usage.clone() {
            None => {
                body.put_slice(part(0, self.data.start));
                put_vectors(&mut body, vectors);
                body.put_slice(part(self.data.end, end));
            }
            Some(usage) if usage.start < self.data.start => {
                body.put_slice(part(0, usage.start));
                put_usage(&mut body, tokens);
                body.put_slice(part(usage.end, self.data.start));
                put_vectors(&mut body, vectors);
                body.put_slice(part(self.data.end, end));
            }
            Some(usage) => {
                body.put_slice(part(0, self.data.start));
                put_vectors(&mut body, vectors);
                body.put_slice(part(self.data.end, usage.start));
                put_usage(&mut body, tokens);
                body.put_slice(part(usage.end, end));
            }
        }
        body.freeze()
    }
}

fn put_vectors<'v>(body: &mut BytesMut, vectors: impl Iterator<Item = &'v Vector>) {
    body.put_u8(b'[');
    for (index, vector) in vectors.enumerate() {
        if index > 0 {
            body.put_u8(b',');
        }
        body.put_slice(&vector.before);
        body.put_slice(itoa::Buffer::new().format(index).as_bytes());
        body.put_slice(&vector.after);
    }
    body.put_u8(b']');
}

/// Source: OpenAI API reference, "The embedding object" (`usage`).
fn put_usage(body: &mut BytesMut, tokens: &Tokens) {
    let (input, total) = (tokens.input, tokens.total());
    let cached = match tokens.cached_input {
        0 => String::new(),
        cached => format!(",\"prompt_tokens_details\":{{\"cached_tokens\":{cached}}}"),
    };
    let usage = format!("{{\"prompt_tokens\":{input},\"total_tokens\":{total}{cached}}}");
    body.put_slice(usage.as_bytes());
}

#[derive(Default)]
struct Fields<'a> {
    data: Option<&'a RawValue>,
    usage: Option<&'a RawValue>,
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of vectors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Fields::default();
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            let slot = match &*key {
                "data" => &mut fields.data,
                "usage" => &mut fields.usage,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            if slot.replace(map.next_value()?).is_some() {
                return Err(A::Error::custom("a member is repeated"));
            }
        }
        Ok(fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str, asked: usize) -> Option<Answer> {
        Answer::read(&Bytes::copy_from_slice(body.as_bytes()), asked)
    }

    fn tokens(input: u64) -> Tokens {
        Tokens { input, ..Tokens::default() }
    }

    #[test]
    fn vectors_keep_their_spelling_and_get_their_index() {
        let body = r#"{"id":7, "usage":{"prompt_tokens":9,"total_tokens":9}, "data":[
            {"object":"embedding","index": 1,"embedding":[1.50, -0e1]},
            {"embedding":"AAA=" ,"index":0,"x":null}], "model":"m"}"#;
        let answer = read(body, 2).unwrap();
        assert!(answer.is_complete());
        let second = answer.vectors[1].as_ref();
        assert_eq!(
            answer.frame.with(second.into_iter(), &tokens(4)),
            r#"{"id":7, "usage":{"prompt_tokens":4,"total_tokens":4}, "data":[{"object":"embedding","index": 0,"embedding":[1.50, -0e1]}], "model":"m"}"#,
        );
        let turned = answer.vectors.iter().rev().flatten();
        assert_eq!(
            answer.frame.with(turned, &Tokens { cached_input: 1, ..tokens(2) }),
            r#"{"id":7, "usage":{"prompt_tokens":2,"total_tokens":2,"prompt_tokens_details":{"cached_tokens":1}}, "data":[{"object":"embedding","index": 0,"embedding":[1.50, -0e1]},{"embedding":"AAA=" ,"index":1,"x":null}], "model":"m"}"#,
        );
    }

    #[test]
    fn an_entry_without_an_index_counts_by_its_place() {
        let answer = read(r#"{"data":[{"embedding":[1]},{"embedding":[2]}]}"#, 2).unwrap();
        let second = answer.vectors[1].as_ref();
        assert_eq!(
            answer.frame.with(second.into_iter(), &tokens(1)),
            r#"{"data":[{"index":0,"embedding":[2]}]}"#
        );
    }

    #[test]
    fn what_is_missing_is_missed() {
        let given = |body: &str| {
            let vectors = read(body, 3).unwrap().vectors;
            vectors.iter().map(Option::is_some).collect::<Vec<_>>()
        };
        let two = r#"{"data":[{"index":2,"embedding":[1]},{"index":0,"embedding":[2]}]}"#;
        assert_eq!(given(two), [true, false, true]);
        let odd = r#"{"data":[{"index":0,"embedding":null},{"index":1},{"index":9,"embedding":[1]},
            {"index":-1,"embedding":[1]},null,{"index":2,"index":2,"embedding":[1]}]}"#;
        assert_eq!(given(odd), [false; 3]);
        assert_eq!(given(r#"{"data":[]}"#), [false; 3]);
        for none in
            ["", "[]", "{}", r#"{"data":null}"#, r#"{"data":{}}"#, r#"{"data":[],"data":[]}"#]
        {
            assert_eq!(read(none, 1), None, "{none}");
        }
    }
}
