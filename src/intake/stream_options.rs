//! `stream_options` of a request, and how a stream is made to report its usage.

use std::ops::Range;

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::base::json::{Edit, span};
use crate::intake::fields::Place;
use crate::intake::request::{even_null, part, within, wrong};
use crate::refusal::Refusal;

/// What the body says of `stream_options`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum StreamOptions {
    /// Nothing, or null: where to put them, or what to replace.
    Absent { null_at: Option<Range<usize>> },
    /// An object without `include_usage`.
    Object { at: Range<usize>, empty: bool },
    /// `include_usage` is false or null.
    Off { value_at: Range<usize> },
    /// `include_usage` is true.
    On,
}

impl StreamOptions {
    /// Reads what stands in `body` at `place` far enough to know whether usage is
    /// asked for.
    pub(super) fn read(body: &[u8], place: Place) -> Result<Self, Refusal> {
        #[derive(serde::Deserialize)]
        struct Options<'a> {
            #[serde(borrow, default, deserialize_with = "even_null")]
            include_usage: Option<&'a RawValue>,
        }
        let Some(at) = place else { return Ok(Self::Absent { null_at: None }) };
        let text = part(body, Some(&at)).unwrap_or_default();
        if text == "null" {
            return Ok(Self::Absent { null_at: Some(at) });
        }
        let options: Options<'_> = match serde_json::from_str(text) {
            Ok(options) if text.starts_with('{') => options,
            _ => return Err(wrong("stream_options", "an object with include_usage at most once")),
        };
        match options.include_usage {
            Some(value) => match value.get() {
                "true" => Ok(Self::On),
                "false" | "null" => Ok(Self::Off { value_at: within(&at, span(text, value)) }),
                _ => Err(wrong("stream_options.include_usage", "true or false")),
            },
            None => {
                let inside = |byte: u8| !matches!(byte, b'{' | b'}') && !byte.is_ascii_whitespace();
                let empty = !text.bytes().any(inside);
                Ok(Self::Object { at, empty })
            }
        }
    }

    /// The edit of `body` that makes a stream report its usage.
    pub(super) fn usage_edit(&self, body: &Bytes) -> Option<Edit> {
        const WHOLE: &[u8] = b"{\"include_usage\":true}";
        match self {
            Self::On => None,
            Self::Off { value_at } => Some((value_at.clone(), Bytes::from_static(b"true"))),
            Self::Object { at, empty: true } => Some((at.clone(), Bytes::from_static(WHOLE))),
            Self::Object { at, empty: false } => {
                let inside = at.start + 1;
                Some((inside..inside, Bytes::from_static(b"\"include_usage\":true,")))
            }
            Self::Absent { null_at: Some(at) } => Some((at.clone(), Bytes::from_static(WHOLE))),
            Self::Absent { null_at: None } => {
                // The object has members (`stream` at least), so a member and a
                // comma can go first.
                let inside = memchr::memchr(b'{', body)? + 1;
                let member = b"\"stream_options\":{\"include_usage\":true},";
                Some((inside..inside, Bytes::from_static(member)))
            }
        }
    }
}
