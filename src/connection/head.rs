//! The head of an HTTP/1 request, read whole and judged by its bytes before a
//! parser sees it.
//!
//! Parsers are lenient in different ways: they take a bare line feed for an end
//! of line, mend a target with a space in it, or drop one of two lengths. What
//! one of them mends, another may read as something else, so none of it passes
//! here (RFC 9112 §2.2, §3, §6.3). What can be told from the parsed head, and
//! holds for HTTP/2 as well, is left to `gateway`.

use std::ops::Range;

use bytes::{Buf, BytesMut};
use pingora_core::protocols::Stream;
use tokio::io::AsyncReadExt;
use tokio::time::Instant;

use crate::base::framing::trim;

/// Largest head, in bytes.
pub(crate) const LARGEST_HEAD: usize = 32 * 1024;
/// Most fields of a head.
pub(crate) const MOST_FIELDS: usize = 256;
/// What is read at once beyond the first piece, in bytes.
const NEXT_READ: usize = 4_096;
/// The methods that are served, on some path at least.
const METHODS: [&str; 7] = ["GET", "POST", "DELETE", "PUT", "PATCH", "HEAD", "OPTIONS"];

/// Whether `method` is one that is served, on some path at least.
pub(crate) fn is_served(method: &[u8]) -> bool {
    METHODS.iter().any(|served| served.as_bytes() == method)
}

/// Why a head is not taken. The connection ends after it, because where the
/// next request begins may be doubtful.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadHead {
    /// It is not HTTP, or ambiguous; the sentence says what is wrong.
    Malformed(&'static str),
    /// Its method is not served on any path.
    Method,
    /// It is over 32 KB or has over 256 fields.
    TooLarge,
    /// It did not end in time.
    Slow,
}

/// Reads on from `stream` until `head` holds a whole head, which must be there
/// `by` then; gives its length. Bytes behind it stay in `head`; its target has
/// origin form.
///
/// # Errors
/// [`BadHead`] as soon as a byte gives it away.
pub(super) async fn read(
    stream: &mut Stream,
    head: &mut BytesMut,
    by: Instant,
) -> Result<usize, BadHead> {
    let mut scan = Scan::default();
    if scan.go_on(head)? {
        return scan.finish(head);
    }
    let more = async {
        loop {
            head.reserve(NEXT_READ);
            if !matches!(stream.read_buf(head).await, Ok(1..)) {
                return Err(BadHead::Malformed("The request's header ends early."));
            }
            if scan.go_on(head)? {
                return Ok(());
            }
        }
    };
    tokio::time::timeout_at(by, more).await.map_err(|_| BadHead::Slow)??;
    scan.finish(head)
}

/// How far a head has been judged.
#[derive(Debug, Default)]
struct Scan {
    /// Where the line begins that is not whole yet.
    line: usize,
    /// Bytes that hold no end of a line after `line`.
    seen: usize,
    /// The target, once the first line is whole.
    target: Option<Range<usize>>,
    fields: usize,
    has_length: bool,
    has_coding: bool,
    host: Option<Range<usize>>,
}

impl Scan {
    /// Judges what has come since; true once the head is whole.
    fn go_on(&mut self, head: &mut BytesMut) -> Result<bool, BadHead> {
        if self.target.is_none() {
            // Empty lines before a request are to be ignored (RFC 9112 §2.2).
            while head.starts_with(b"\r\n") {
                head.advance(2);
                self.seen = 0;
            }
            if head.first().is_some_and(|first| !first.is_ascii_alphabetic() && *first != b'\r') {
                return Err(BadHead::Malformed("The request is not well-formed HTTP."));
            }
        }
        while let Some(end) = rest(head, self.seen).and_then(|rest| memchr::memchr(b'\n', rest)) {
            let end = self.seen + end;
            if end >= LARGEST_HEAD {
                return Err(BadHead::TooLarge);
            }
            let line = head.get(self.line..end).unwrap_or_default();
            let Some(line) = line.strip_suffix(b"\r") else {
                return Err(BadHead::Malformed("A line of the header does not end with CR LF."));
            };
            if line.is_empty() {
                self.line = end + 1;
                return Ok(true);
            }
            match self.target {
                None => self.target = Some(request_line(line)?),
                Some(_) => self.field(line)?,
            }
            (self.line, self.seen) = (end + 1, end + 1);
        }
        self.seen = head.len();
        if self.seen > LARGEST_HEAD { Err(BadHead::TooLarge) } else { Ok(false) }
    }

    /// Takes note of what frames the request. The rest of a field's syntax is
    /// the parser's.
    fn field(&mut self, line: &[u8]) -> Result<(), BadHead> {
        self.fields += 1;
        if self.fields > MOST_FIELDS {
            return Err(BadHead::TooLarge);
        }
        if line.first().is_some_and(|first| matches!(first, b' ' | b'\t')) {
            return Err(BadHead::Malformed("A field of the header is folded."));
        }
        let is = |name: &[u8]| {
            line.get(name.len()) == Some(&b':')
                && line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name))
        };
        match line.first().map(u8::to_ascii_lowercase) {
            Some(b'c') => self.has_length |= is(b"content-length"),
            Some(b't') => self.has_coding |= is(b"transfer-encoding"),
            Some(b'h') if is(b"host") => {
                if self.host.is_some() {
                    return Err(BadHead::Malformed("The request has more than one Host header."));
                }
                self.host = Some(self.line + 5..self.line + line.len());
            }
            _ => {}
        }
        if self.has_length && self.has_coding {
            return Err(BadHead::Malformed(
                "The request has a content-length and a transfer-encoding.",
            ));
        }
        Ok(())
    }

    /// Judges the whole, and gives a target in absolute form its origin form; the
    /// length of the head then.
    fn finish(self, head: &mut BytesMut) -> Result<usize, BadHead> {
        let target = self.target.unwrap_or_default();
        let text = head.get(target.clone()).unwrap_or_default();
        if text.starts_with(b"/") {
            return Ok(self.line);
        }
        let start = scheme(text).unwrap_or_default();
        let end = rest(text, start)
            .and_then(|rest| rest.iter().position(|byte| matches!(byte, b'/' | b'?')))
            .map_or(text.len(), |at| start + at);
        let authority = text.get(start..end).unwrap_or_default();
        let host = self.host.and_then(|host| head.get(host)).unwrap_or_default();
        let host = trim(host);
        if authority.is_empty() || !authority.eq_ignore_ascii_case(host) {
            return Err(BadHead::Malformed("The target's host is not the Host header's."));
        }
        let slash: &[u8] = if text.get(end) == Some(&b'/') { b"" } else { b"/" };
        let mut origin = BytesMut::with_capacity(head.len() + 1);
        for part in
            [head.get(..target.start), Some(slash), head.get(target.start + end..)].into_iter()
        {
            origin.extend_from_slice(part.unwrap_or_default());
        }
        *head = origin;
        Ok(self.line - end + slash.len())
    }
}

/// Where the target of a first line stands in it.
fn request_line(line: &[u8]) -> Result<Range<usize>, BadHead> {
    let malformed = BadHead::Malformed("The request is not well-formed HTTP.");
    let mut parts = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(malformed);
    };
    let is_word = !method.is_empty() && method.iter().all(u8::is_ascii_alphabetic);
    if !matches!(version, b"HTTP/1.1" | b"HTTP/1.0") || !is_word {
        return Err(malformed);
    }
    if !is_served(method) {
        return Err(BadHead::Method);
    }
    if !is_plain(target) {
        return Err(BadHead::Malformed(
            "The target has a byte that must be encoded there, or a fragment.",
        ));
    }
    if !target.starts_with(b"/") && scheme(target).is_none() {
        return Err(BadHead::Malformed("The target is neither a path nor a URL."));
    }
    Ok(method.len() + 1..method.len() + 1 + target.len())
}

/// Whether a target is visible ASCII without a fragment (RFC 9112 §3.2).
pub(crate) fn is_plain(target: &[u8]) -> bool {
    target.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'#')
}

/// The length of the scheme and its slashes, if a target has absolute form.
fn scheme(target: &[u8]) -> Option<usize> {
    let starts = |with: &&[u8]| {
        target.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with))
    };
    [&b"http://"[..], b"https://"].iter().find(|it| starts(it)).map(|it| it.len())
}

fn rest(bytes: &[u8], from: usize) -> Option<&[u8]> {
    bytes.get(from..)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What becomes of `text` when it comes in pieces that end at `cuts`.
    fn judged(text: &[u8], cuts: &[usize]) -> Result<Option<Vec<u8>>, BadHead> {
        let (mut head, mut scan, mut from) = (BytesMut::new(), Scan::default(), 0);
        for cut in cuts.iter().copied().chain([text.len()]) {
            let cut = cut.clamp(from, text.len());
            head.extend_from_slice(&text[from..cut]);
            from = cut;
            if scan.go_on(&mut head)? {
                head.extend_from_slice(&text[from..]);
                scan.finish(&mut head)?;
                return Ok(Some(head.to_vec()));
            }
        }
        Ok(None)
    }

    #[test]
    fn a_url_becomes_a_path() {
        for (target, path) in [
            ("http://h:1/v1/models?a=b", "/v1/models?a=b"),
            ("HTTPS://H:1/x", "/x"),
            ("http://h:1", "/"),
            ("http://h:1?q", "/?q"),
        ] {
            let text = format!("GET {target} HTTP/1.1\r\nhost: h:1\r\n\r\nbody");
            let expected = format!("GET {path} HTTP/1.1\r\nhost: h:1\r\n\r\nbody");
            assert_eq!(judged(text.as_bytes(), &[]).unwrap().unwrap(), expected.as_bytes());
        }
    }

    #[test]
    fn fields_and_bytes_have_a_limit_at_the_same_place_however_they_come() {
        let head = |fields: usize| {
            let fields = "a: b\r\n".repeat(fields);
            format!("GET / HTTP/1.1\r\n{fields}\r\n").into_bytes()
        };
        assert!(judged(&head(256), &[]).unwrap().is_some());
        assert_eq!(judged(&head(257), &[]), Err(BadHead::TooLarge));
        let sized = |size: usize| {
            let mut text = b"GET / HTTP/1.1\r\na: ".to_vec();
            text.resize(size - 4, b'x');
            text.extend_from_slice(b"\r\n\r\n");
            text
        };
        for cuts in [&[][..], &[10, 20_000], &[LARGEST_HEAD - 1]] {
            assert!(judged(&sized(LARGEST_HEAD), cuts).unwrap().is_some(), "{cuts:?}");
            assert_eq!(judged(&sized(LARGEST_HEAD + 1), cuts), Err(BadHead::TooLarge), "{cuts:?}");
        }
    }

    proptest! {
        #[test]
        fn the_pieces_in_which_a_head_comes_change_nothing(
            text in "(\r\n){0,2}(GET|POST|get|NOPE)  ?(/|/a|http://h/b|\\*|h:1|/\u{e9}|/a#b) HTTP/(1.1|1.0|2.0)\r?\n\
                     ((host: h|content-length: 1|transfer-encoding: chunked| x|a:b)\r?\n){0,4}\r?\nGET",
            mut cuts in prop::collection::vec(0_usize..120, 0..6),
        ) {
            cuts.sort_unstable();
            let (whole, pieces) = (judged(text.as_bytes(), &[]), judged(text.as_bytes(), &cuts));
            prop_assert_eq!(whole, pieces);
        }

        #[test]
        fn no_bytes_make_it_panic(text in prop::collection::vec(any::<u8>(), 0..300)) {
            let _judged = judged(&text, &[1, 2, 3, 50]);
        }
    }
}
