//! The members of one object, by their places.

use std::borrow::Cow;
use std::ops::Range;

use super::{decoded, string, token, value_end};

/// One member of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name, quotes included.
    pub name: Range<usize>,
    /// Its value.
    pub value: Range<usize>,
    /// The comma before it; `None` for the first.
    pub comma: Option<usize>,
    /// The comma after it; `None` for the last.
    pub next: Option<usize>,
}

impl Member {
    /// Its name with escapes resolved; `json` is the text that it is in.
    pub fn name<'j>(&self, json: &'j [u8]) -> Cow<'j, str> {
        let quoted = json.get(self.name.clone()).unwrap_or_default();
        decoded(quoted).unwrap_or_default()
    }

    /// Its value as it stands.
    pub fn value<'j>(&self, json: &'j [u8]) -> &'j [u8] {
        json.get(self.value.clone()).unwrap_or_default()
    }
}

/// The members of an object, in the order of the text.
pub struct Members<'a> {
    json: &'a [u8],
    /// Where the next name is looked for; `None` at the end.
    at: Option<usize>,
    comma: Option<usize>,
}

impl<'a> Members<'a> {
    /// Those of the object that begins at `open`; none if there is no object.
    pub fn at(json: &'a [u8], open: usize) -> Self {
        let at = (json.get(open) == Some(&b'{')).then_some(open + 1);
        Self { json, at, comma: None }
    }

    /// Those of the object that `json` is.
    pub fn of(json: &'a [u8]) -> Self {
        let open = token(json, 0).map_or(json.len(), |(_, open)| open);
        Self::at(json, open)
    }
}

impl<'a> Members<'a> {
    /// The places of the elements of the list whose bracket is at `open`.
    pub fn elements(json: &'a [u8], open: usize) -> impl Iterator<Item = Range<usize>> + 'a {
        let mut at = (json.get(open) == Some(&b'[')).then_some(open + 1);
        std::iter::from_fn(move || {
            let (first, start) = token(json, at.take()?)?;
            if first == b']' {
                return None;
            }
            let end = value_end(json, start)?;
            let (then, place) = token(json, end)?;
            at = (then == b',').then_some(place + 1);
            Some(start..end)
        })
    }
}

impl Iterator for Members<'_> {
    type Item = Member;

    fn next(&mut self) -> Option<Member> {
        let json = self.json;
        let (b'"', start) = token(json, self.at.take()?)? else { return None };
        let (_, after) = string(json, start)?;
        let (b':', colon) = token(json, after)? else { return None };
        let (_, value) = token(json, colon + 1)?;
        let end = value_end(json, value)?;
        let (then, place) = token(json, end)?;
        let next = (then == b',').then_some(place);
        let comma = std::mem::replace(&mut self.comma, next);
        self.at = next.map(|next| next + 1);
        Some(Member { name: start..after, value: value..end, comma, next })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(String, String)> {
        let json = text.as_bytes();
        let show = |member: Member| {
            let value = String::from_utf8(member.value(json).to_vec()).unwrap();
            (member.name(json).into_owned(), value)
        };
        Members::of(json).map(show).collect()
    }

    #[test]
    fn members_are_found_with_their_places() {
        let found = read(r#" { "a" : 1.5e3 ,"b\u0063":{"x":[1,"}"]}, "":null,"d":"q\"" } "#);
        let expected =
            [("a", "1.5e3"), ("bc", r#"{"x":[1,"}"]}"#), ("", "null"), ("d", r#""q\"""#)];
        assert_eq!(found, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let json = br#"{"a":1,"b":2}"#;
        let members: Vec<_> = Members::of(json).collect();
        assert_eq!((members[0].comma, members[0].next), (None, Some(6)));
        assert_eq!((members[1].comma, members[1].next), (Some(6), None));
    }

    #[test]
    fn what_is_no_object_has_none() {
        for text in ["", "{}", " { } ", "[1]", "1", "\"a\"", "{\"a\"", "{\"a\":1", "{a:1}"] {
            assert_eq!(read(text), [], "{text}");
        }
    }
}
