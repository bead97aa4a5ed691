//! Steps over JSON text without parsing it. Malformed text ends a walk early
//! and never fails it: who needs certainty parses.

use crate::base::json::{string, token, value_end};

/// A member of an object whose value is a string, or the place of another value.
pub(super) enum Value<'a> {
    /// A string's text, escapes and all.
    Text(&'a [u8]),
    /// The first byte of a value that is no string.
    Other(u8),
}

/// The members of every object in `json`, however deep, in the order of the text.
pub(super) struct Members<'a> {
    json: &'a [u8],
    at: usize,
}

/// See [`Members`].
pub(super) const fn members(json: &[u8]) -> Members<'_> {
    Members { json, at: 0 }
}

impl Members<'_> {
    /// Steps over the array or object whose place the last member was.
    pub(super) fn step_over(&mut self) {
        self.at = value_end(self.json, self.at).unwrap_or(self.json.len());
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = (&'a [u8], Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let open = self.json.get(self.at..)?.iter().position(|byte| *byte == b'"')?;
            let (key, after) = string(self.json, self.at + open)?;
            self.at = after;
            let Some((b':', colon)) = token(self.json, after) else { continue };
            let (first, place) = token(self.json, colon + 1)?;
            if first == b'"' {
                let (text, after) = string(self.json, place)?;
                self.at = after;
                return Some((key, Value::Text(text)));
            }
            self.at = place;
            return Some((key, Value::Other(first)));
        }
    }
}
