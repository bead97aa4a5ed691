//! The head and the framing of an answer, as bytes (RFC 9112 §4, §6, §7).

use std::cell::RefCell;

use bytes::{BufMut, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, DATE};
use http::{HeaderMap, Method, StatusCode, Version};

use super::SMALL;
use crate::base::clock::{self, Timestamp};

/// Bytes of a head besides its fields: first line, `date`, `connection`, framing.
const BESIDES: usize = 192;

/// How the body of an answer is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// The answer ends with its head.
    None,
    /// So many bytes are to come.
    Length(u64),
    /// In chunks.
    Chunked,
    /// It ends with the connection: an HTTP/1.0 client knows no chunks.
    UntilClose,
}

impl Framing {
    /// That of an answer to `method`, whose body has `length` bytes if that is known.
    pub(super) fn of(
        method: &Method,
        version: Version,
        status: StatusCode,
        length: Option<u64>,
    ) -> Self {
        if method == Method::HEAD || has_no_body(status) {
            return Self::None;
        }
        match length {
            Some(length) => Self::Length(length),
            None if version == Version::HTTP_10 => Self::UntilClose,
            None => Self::Chunked,
        }
    }
}

/// Whether an answer with this status ends with its head (RFC 9110 §6.4.1).
pub(super) fn has_no_body(status: StatusCode) -> bool {
    status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
}

/// Writes a head to `out`: `headers`, the lines of `further` ones, and `length` as its
/// `content-length`, or chunked as `framing` says. Names are in lower case, which is
/// how they are kept.
pub(super) fn put_head(
    out: &mut BytesMut,
    status: StatusCode,
    (headers, further): (&HeaderMap, &[u8]),
    (length, framing): (Option<u64>, Framing),
    keeps: bool,
) {
    let fields = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
    // A small body will follow in the same piece.
    let body =
        length.and_then(|length| usize::try_from(length).ok()).filter(|length| *length <= SMALL);
    out.reserve(BESIDES + further.len() + fields.sum::<usize>() + body.unwrap_or_default());
    out.put_slice(b"HTTP/1.1 ");
    out.put_slice(status.as_str().as_bytes());
    out.put_u8(b' ');
    out.put_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.put_slice(b"\r\n");
    let ours = !status.is_informational();
    for (name, value) in headers {
        if (ours && (name == DATE || name == CONNECTION))
            || (length.is_some() && name == CONTENT_LENGTH)
        {
            continue;
        }
        put_field(out, name.as_str(), value.as_bytes());
    }
    out.put_slice(further);
    if let Some(length) = length.filter(|_| !has_no_body(status)) {
        put_field(out, CONTENT_LENGTH.as_str(), itoa::Buffer::new().format(length).as_bytes());
    }
    if framing == Framing::Chunked {
        put_field(out, "transfer-encoding", b"chunked");
    }
    if ours {
        with_date(clock::machine_wall(), |date| put_field(out, DATE.as_str(), date.as_bytes()));
        let connection: &[u8] = if keeps { b"keep-alive" } else { b"close" };
        put_field(out, CONNECTION.as_str(), connection);
    }
    out.put_slice(b"\r\n");
}

fn put_field(out: &mut BytesMut, name: &str, value: &[u8]) {
    out.put_slice(name.as_bytes());
    out.put_slice(b": ");
    out.put_slice(value);
    out.put_slice(b"\r\n");
}

/// Gives `put` a moment as HTTP writes it. Made once in a second on each thread.
fn with_date(now: Timestamp, put: impl FnOnce(&str)) {
    thread_local! {
        static DATE: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
    }
    DATE.with_borrow_mut(|(second, text)| {
        if *second != now.as_secs() || text.is_empty() {
            (*second, *text) = (now.as_secs(), written(now));
        }
        put(text);
    });
}

/// A moment as `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 §5.6.7).
fn written(now: Timestamp) -> String {
    let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let Ok(moment) = jiff::Timestamp::from_second(seconds) else { return String::new() };
    moment.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// Begins a chunk of `length` bytes.
pub(super) fn put_size(out: &mut BytesMut, length: usize) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let count = (usize::BITS - length.leading_zeros()).div_ceil(4).max(1);
    for place in (0..count).rev() {
        out.put_u8(DIGITS.get(length >> (4 * place) & 15).copied().unwrap_or_default());
    }
    out.put_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_date_is_written_as_http_writes_it() {
        assert_eq!(written(Timestamp(784_111_777_000_000)), "Sun, 06 Nov 1994 08:49:37 GMT");
        for second in [784_111_777, 784_111_778] {
            with_date(Timestamp(second * 1_000_000), |date| {
                assert_eq!(date, written(Timestamp(second * 1_000_000)));
            });
        }
    }

    #[test]
    fn a_size_is_hexadecimal() {
        for size in [0, 1, 9, 10, 15, 16, 255, 256, 65_536, 1_234_567, usize::MAX] {
            let mut out = BytesMut::new();
            put_size(&mut out, size);
            assert_eq!(out, format!("{size:x}\r\n").as_bytes());
        }
    }

    #[test]
    fn what_frames_an_answer_is_ours_alone() {
        let mut headers = HeaderMap::new();
        for name in [DATE, CONNECTION, CONTENT_LENGTH] {
            headers.insert(name, HeaderValue::from_static("7"));
        }
        let mut out = BytesMut::new();
        let framing = Framing::Length(5);
        put_head(&mut out, StatusCode::OK, (&headers, b"x-a: b\r\n"), (Some(5), framing), false);
        let text = String::from_utf8(out.to_vec()).unwrap();
        assert!(
            text.starts_with("HTTP/1.1 200 OK\r\nx-a: b\r\ncontent-length: 5\r\ndate: "),
            "{text}"
        );
        assert!(text.ends_with(" GMT\r\nconnection: close\r\n\r\n"), "{text}");
    }

    #[test]
    fn some_answers_have_no_body() {
        let of = |method, status| Framing::of(&method, Version::HTTP_11, status, Some(3));
        assert_eq!(of(Method::HEAD, StatusCode::OK), Framing::None);
        assert_eq!(of(Method::GET, StatusCode::NO_CONTENT), Framing::None);
        assert_eq!(of(Method::GET, StatusCode::OK), Framing::Length(3));
        let unknown = |version| Framing::of(&Method::GET, version, StatusCode::OK, None);
        assert_eq!(unknown(Version::HTTP_11), Framing::Chunked);
        assert_eq!(unknown(Version::HTTP_10), Framing::UntilClose);
    }
}
