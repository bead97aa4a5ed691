//! Steps over JSON text without parsing it. Malformed text ends a walk early
//! and never fails it: who needs certainty parses.

/// The first byte from `at` on that is no JSON white space, and where it is.
pub(super) fn token(json: &[u8], at: usize) -> Option<(u8, usize)> {
    let rest = json.get(at..)?;
    let skipped = rest.iter().position(|byte| !matches!(byte, b' ' | b'\n' | b'\r' | b'\t'))?;
    rest.get(skipped).map(|byte| (*byte, at + skipped))
}

/// The string whose opening quote is at `open`: its text, escapes and all, and
/// the place after its closing quote.
pub(super) fn string(json: &[u8], open: usize) -> Option<(&[u8], usize)> {
    let start = open + 1;
    let mut at = start;
    loop {
        let stop = at + memchr::memchr2(b'"', b'\\', json.get(at..)?)?;
        if json.get(stop) == Some(&b'"') {
            return Some((json.get(start..stop)?, stop + 1));
        }
        at = stop + 2;
    }
}

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
