//! JSON text without building it: places in it, and steps over it.
//!
//! Malformed text ends a walk early and never fails it: who needs certainty
//! has it read by [`reader`].

mod edit;
mod members;
pub mod reader;
mod run;
mod sinks;

use std::borrow::Cow;
use std::ops::Range;

use serde_json::value::RawValue;

pub use edit::{Edit, joined, pieces};
pub use members::{Member, Members};

/// Where in `text` the value `raw` stands, which was parsed out of it.
pub fn span(text: &str, raw: &RawValue) -> Range<usize> {
    let start = (raw.get().as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
    start..start + raw.get().len()
}

/// The text that `quoted` spells, quotes included; `None` if it spells none.
pub fn decoded(quoted: &[u8]) -> Option<Cow<'_, str>> {
    if let [b'"', inside @ .., b'"'] = quoted
        && !inside.iter().any(|byte| matches!(byte, b'"' | b'\\' | 0..b' '))
    {
        return std::str::from_utf8(inside).ok().map(Cow::Borrowed);
    }
    serde_json::from_slice::<String>(quoted).ok().map(Cow::Owned)
}

/// The first byte from `at` on that is no JSON white space, and where it is.
pub fn token(json: &[u8], at: usize) -> Option<(u8, usize)> {
    let rest = json.get(at..)?;
    let skipped = rest.iter().position(|byte| !matches!(byte, b' ' | b'\n' | b'\r' | b'\t'))?;
    rest.get(skipped).map(|byte| (*byte, at + skipped))
}

/// The string whose opening quote is at `open`: its text, escapes and all, and
/// the place after its closing quote.
pub fn string(json: &[u8], open: usize) -> Option<(&[u8], usize)> {
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

/// The place after the value that starts at `start`, which something follows.
pub fn value_end(json: &[u8], start: usize) -> Option<usize> {
    let mut depth = 0_usize;
    let mut at = start;
    loop {
        match *json.get(at)? {
            b'"' => at = string(json, at)?.1,
            b'{' | b'[' => {
                depth += 1;
                at += 1;
            }
            b'}' | b']' => {
                depth = depth.checked_sub(1)?;
                at += 1;
            }
            _ => {
                let literal = json.get(at..)?;
                let end = |byte: &u8| matches!(byte, b'"' | b'{' | b'[' | b'}' | b']' | b',');
                let length = literal.iter().position(end)?;
                at += length;
                if depth > 0 && json.get(at) == Some(&b',') {
                    at += 1;
                    continue;
                }
                if depth == 0 {
                    let kept = json.get(start..at)?.trim_ascii_end().len();
                    return Some(start + kept);
                }
                continue;
            }
        }
        if depth == 0 {
            return Some(at);
        }
    }
}
