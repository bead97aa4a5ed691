//! A head that was judged, taken apart.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version, request};

use crate::base::framing::{Body, trim};

/// Fields that a request has room for at first.
const FIELDS: usize = 16;

/// The head in `raw`, which `head::read` has let pass; `None` if it is no HTTP all
/// the same. Its values are slices of `raw`.
pub(super) fn head(raw: &Bytes) -> Option<request::Parts> {
    let mut lines = Lines { raw, at: 0 };
    let first = lines.next()?;
    let mut words = raw.get(first.0..first.1)?.split(|byte| *byte == b' ');
    let method = words.next()?;
    let target = words.next()?;
    let version = words.next()?;
    let start = first.0 + method.len() + 1;
    let target = PathAndQuery::from_maybe_shared(raw.slice(start..start + target.len())).ok()?;
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.method = Method::from_bytes(method).ok()?;
    parts.version = if version == b"HTTP/1.0" { Version::HTTP_10 } else { Version::HTTP_11 };
    parts.uri = Uri::from(target);
    parts.headers = HeaderMap::with_capacity(FIELDS);
    for (start, end) in lines {
        let line = raw.get(start..end)?;
        if line.is_empty() {
            return Some(parts);
        }
        let colon = memchr::memchr(b':', line)?;
        let name = HeaderName::from_bytes(line.get(..colon)?).ok()?;
        let value = line.get(colon + 1..)?;
        let value = HeaderValue::from_maybe_shared(raw.slice_ref(trim(value))).ok()?;
        parts.headers.append(name, value);
    }
    None
}

/// The lines of a head as places in it, their ends left out.
struct Lines<'a> {
    raw: &'a [u8],
    at: usize,
}

impl Iterator for Lines<'_> {
    type Item = (usize, usize);

    fn next(&mut self) -> Option<Self::Item> {
        let start = self.at;
        let length = memchr::memchr(b'\n', self.raw.get(start..)?)?;
        self.at = start + length + 1;
        // Each line ends with CR LF, or it would not have passed.
        Some((start, start + length.checked_sub(1)?))
    }
}

/// How the body behind `head` is framed (RFC 9112 §6.3); what is ambiguous there is
/// refused before it is read.
pub(super) fn body(head: &request::Parts) -> Body {
    if head.headers.contains_key(TRANSFER_ENCODING) {
        return Body::chunked();
    }
    let length = head.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    Body::of(length.and_then(|length| length.parse().ok()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::framing;

    fn parsed(text: &'static str) -> Option<request::Parts> {
        head(&Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn a_head_is_taken_apart() {
        let head = parsed("POST /a?b HTTP/1.0\r\nHost:h\r\nX-A: \t 1 2 \t\r\nx-a:\r\nB: \r\n\r\n");
        let head = head.unwrap();
        assert_eq!((head.method, head.version), (Method::POST, Version::HTTP_10));
        assert_eq!((head.uri.path(), head.uri.query()), ("/a", Some("b")));
        let fields: Vec<_> =
            head.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        assert_eq!(fields, [("host", &b"h"[..]), ("x-a", b"1 2"), ("x-a", b""), ("b", b"")]);
    }

    #[test]
    fn what_is_no_field_is_no_head() {
        for line in [
            "a b: c",
            "a : c",
            ": c",
            "a",
            "a: \u{1}",
            "a: \u{7f}",
            "a: b\rc",
            "a: b\r",
            "a:\rb",
            "a:\u{c}b",
            "a: b\u{c}",
        ] {
            let text = format!("GET / HTTP/1.1\r\n{line}\r\n\r\n");
            assert!(head(&Bytes::from(text)).is_none(), "{line:?}");
        }
        assert!(parsed("GET / HTTP/1.1\r\na: b\u{e9}\r\n\r\n").is_some());
    }

    #[test]
    fn a_connection_is_kept_as_both_sides_may() {
        let keeps = |version, connection: &'static str| {
            let text = format!("GET / {version}\r\n{connection}\r\n\r\n")
                .replace("\r\n\r\n\r\n", "\r\n\r\n");
            let head = head(&Bytes::from(text)).unwrap();
            framing::keeps(&head.headers, head.version == Version::HTTP_11)
        };
        for (version, connection, expected) in [
            ("HTTP/1.1", "", true),
            ("HTTP/1.0", "", false),
            ("HTTP/1.0", "connection: Keep-Alive", true),
            ("HTTP/1.1", "connection: Close", false),
            ("HTTP/1.1", "connection: upgrade, close", false),
            ("HTTP/1.0", "connection: keep-alive\r\nconnection: close", false),
            ("HTTP/1.1", "connection: te", true),
        ] {
            assert_eq!(keeps(version, connection), expected, "{version} {connection}");
        }
    }
}
