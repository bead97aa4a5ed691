//! An answer of HTTP/1 on a provider's connection.
//!
//! It is our own and not Pingora's session, which keeps every name's spelling and a
//! copy of all it reads.

use std::io::{self, ErrorKind};
use std::mem::MaybeUninit;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use pingora_core::protocols::Stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use crate::base::framing::{self, Body, Step};
use crate::base::patience::Timer;
use crate::upstream::Failure;

/// First read of an answer, and least of any other, in bytes.
const FIRST_READ: usize = 4 * 1024;
/// Most of a body that is read at once, in bytes.
const MOST_READ: usize = 64 * 1024;
/// Largest head, with any interim ones before it, in bytes.
const LARGEST_HEAD: usize = 128 * 1024;
/// Most interim heads before the answer's.
const MOST_INTERIM: usize = 16;
/// Most fields of a head.
const MOST_FIELDS: usize = 256;

/// A connection whose request is sent, or is being sent, and the answer to it.
pub(super) struct Http1 {
    stream: Stream,
    status: StatusCode,
    headers: HeaderMap,
    rest: Rest,
    /// What has come and was not taken yet.
    ahead: BytesMut,
    /// Whether the connection may serve another request after this answer.
    keeps: bool,
    /// Longest wait for the head, then for each piece of the body.
    patience: Option<Duration>,
    /// Heads that were none of the answer.
    interim: usize,
    timer: Timer,
}

/// What is still to come of an answer.
enum Rest {
    /// A body that tells its end.
    Framed(Body),
    /// All until the connection is closed.
    UntilClose,
}

/// A head, taken apart.
struct Head {
    status: StatusCode,
    headers: HeaderMap,
    is_http11: bool,
}

impl Http1 {
    /// The answer that comes on `stream`, whose head may take as long as `patience`.
    pub(super) fn new(stream: Stream, patience: Option<Duration>) -> Self {
        Self {
            stream,
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            rest: Rest::Framed(Body::of(0)),
            ahead: BytesMut::new(),
            keeps: false,
            patience,
            interim: 0,
            timer: Timer::default(),
        }
    }

    /// Reads the head, behind any interim ones. Safe to cancel.
    ///
    /// # Errors
    /// [`Failure`] if none comes, or what comes is no HTTP.
    pub(super) async fn read_head(&mut self) -> Result<(), Failure> {
        // One time for all of it, however it comes.
        let by = self.patience.map(|patience| Instant::now() + patience);
        loop {
            match parse(&mut self.ahead).ok_or(Failure::Garbage)? {
                Some(head) => {
                    let interim = head.status.is_informational();
                    if !interim || head.status == StatusCode::SWITCHING_PROTOCOLS {
                        return self.begin(head).ok_or(Failure::Garbage);
                    }
                    self.interim += 1;
                    if self.interim > MOST_INTERIM {
                        return Err(Failure::Garbage);
                    }
                }
                None if self.ahead.len() > LARGEST_HEAD => return Err(Failure::Garbage),
                None => {
                    let begun = self.interim > 0 || !self.ahead.is_empty();
                    let left = by.map(|by| by.saturating_duration_since(Instant::now()));
                    self.fill(FIRST_READ, left).await.map_err(|error| match error.kind() {
                        ErrorKind::TimedOut => Failure::TimedOut,
                        _ if begun => Failure::Torn,
                        _ => Failure::NoAnswer,
                    })?;
                }
            }
        }
    }

    /// Takes note of the answer's head; `None` if its framing has no one meaning.
    fn begin(&mut self, head: Head) -> Option<()> {
        let Head { status, mut headers, is_http11 } = head;
        self.keeps = framing::keeps(&headers, is_http11);
        self.rest = match (coding(&headers), length(&headers)?) {
            _ if matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) => {
                Rest::Framed(Body::of(0))
            }
            // It speaks another protocol from here on, whatever it says of a body.
            _ if status == StatusCode::SWITCHING_PROTOCOLS => {
                self.keeps = false;
                Rest::UntilClose
            }
            // Whoever reads the length may think otherwise (RFC 9112 §6.3).
            (Coding::Chunked, length) => {
                self.keeps &= length.is_none() && is_http11;
                headers.remove(CONTENT_LENGTH);
                Rest::Framed(Body::chunked())
            }
            // Nobody was asked for it.
            (Coding::Other, _) => return None,
            (Coding::None, Some(length)) => Rest::Framed(Body::of(length)),
            (Coding::None, None) => Rest::UntilClose,
        };
        (self.status, self.headers) = (status, headers);
        Some(())
    }

    /// The status and the headers, once they have been read; the headers are taken.
    pub(super) fn take_head(&mut self) -> (StatusCode, HeaderMap) {
        (self.status, std::mem::take(&mut self.headers))
    }

    /// Bounds the wait for each piece of the body.
    pub(super) const fn set_patience(&mut self, patience: Option<Duration>) {
        self.patience = patience;
    }

    /// The next piece of the body, `None` at its end. Safe to cancel.
    ///
    /// # Errors
    /// `TimedOut` if nothing comes for too long; any other if the body is cut or
    /// malformed.
    pub(super) async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            let room = match &mut self.rest {
                Rest::Framed(body) => match body.take(&mut self.ahead) {
                    Step::Piece(piece) => return Ok(Some(piece)),
                    Step::End => return Ok(None),
                    Step::Broken => return Err(ErrorKind::InvalidData.into()),
                    Step::More => body.expected().clamp(FIRST_READ, MOST_READ),
                },
                Rest::UntilClose if self.ahead.is_empty() => FIRST_READ,
                Rest::UntilClose => {
                    let count = self.ahead.len();
                    return Ok(Some(framing::piece(&mut self.ahead, count)));
                }
            };
            match self.fill(room, self.patience).await {
                Err(error)
                    if error.kind() == ErrorKind::UnexpectedEof
                        && matches!(self.rest, Rest::UntilClose) =>
                {
                    return Ok(None);
                }
                filled => filled?,
            }
        }
    }

    /// Waits for more bytes, of which as many as there is `room` for may come.
    async fn fill(&mut self, room: usize, patience: Option<Duration>) -> io::Result<()> {
        let Self { stream, ahead, timer, .. } = self;
        ahead.reserve(room);
        let read = stream.read_buf(ahead);
        let count = match patience {
            Some(patience) => timer.within(patience, read).await.ok_or(ErrorKind::TimedOut)?,
            None => read.await,
        }?;
        if count == 0 { Err(ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    /// The connection, if it can serve another request.
    pub(super) async fn reuse(mut self) -> Option<Stream> {
        let ended = matches!(self.rest, Rest::Framed(body) if body.is_done());
        // More than was announced: it is no answer to the next request.
        if ended && self.keeps && self.ahead.is_empty() {
            return Some(self.stream);
        }
        // A connection that cannot be ended properly is closed by its drop.
        let _unclean = self.stream.shutdown().await;
        None
    }
}

/// Takes the next head out of `ahead`, if it is whole; `None` if there is no HTTP.
fn parse(ahead: &mut BytesMut) -> Option<Option<Head>> {
    if ahead.is_empty() {
        return Some(None);
    }
    let mut config = httparse::ParserConfig::default();
    config.allow_spaces_after_header_name_in_responses(true);
    config.allow_obsolete_multiline_headers_in_responses(true);
    let mut fields = [const { MaybeUninit::uninit() }; MOST_FIELDS];
    let mut response = httparse::Response::new(&mut []);
    let parsed = config.parse_response_with_uninit_headers(&mut response, ahead, &mut fields);
    let httparse::Status::Complete(end) = parsed.ok()? else { return Some(None) };
    let status = StatusCode::from_u16(response.code?).ok()?;
    let is_http11 = response.version == Some(1);
    // Copied, once for all: a slice of what was read would keep all of it.
    let values: usize = response.headers.iter().map(|field| field.value.len()).sum();
    let mut buffer = BytesMut::with_capacity(values);
    let mut headers = HeaderMap::with_capacity(response.headers.len());
    for field in response.headers.iter() {
        buffer.extend_from_slice(field.value);
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        headers.append(name, value(buffer.split())?);
    }
    bytes::Buf::advance(ahead, end);
    Some(Some(Head { status, headers, is_http11 }))
}

/// A field's value; where it was folded there are spaces (RFC 9112 §5.2).
fn value(mut bytes: BytesMut) -> Option<HeaderValue> {
    for byte in bytes.iter_mut().filter(|byte| matches!(byte, b'\r' | b'\n')) {
        *byte = b' ';
    }
    HeaderValue::from_maybe_shared(bytes.freeze()).ok()
}

/// How a body is coded for its way.
enum Coding {
    None,
    Chunked,
    /// In a way that was not asked for, or twice.
    Other,
}

fn coding(headers: &HeaderMap) -> Coding {
    let mut given = headers.get_all(TRANSFER_ENCODING).iter();
    match (given.next(), given.next()) {
        (None, _) => Coding::None,
        (Some(one), None) if framing::trim(one.as_bytes()).eq_ignore_ascii_case(b"chunked") => {
            Coding::Chunked
        }
        _ => Coding::Other,
    }
}

/// The length, if one is given: `None` if several are that differ, or what is given
/// is none.
fn length(headers: &HeaderMap) -> Option<Option<u64>> {
    let mut length = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        for given in value.as_bytes().split(|byte| *byte == b',').map(framing::trim) {
            if !given.iter().all(u8::is_ascii_digit) {
                return None;
            }
            let given = std::str::from_utf8(given).ok()?.parse().ok()?;
            if length.replace(given).is_some_and(|before| before != given) {
                return None;
            }
        }
    }
    Some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an answer of these bytes comes to: status, body, and whether its
    /// connection is kept. The other side closes if `closes`.
    async fn read(text: &str, closes: bool) -> Result<(u16, String, bool), Failure> {
        let (near, mut far) = tokio::io::duplex(1024);
        far.write_all(text.as_bytes()).await.unwrap();
        let far = (!closes).then_some(far);
        let mut answer = Http1::new(Box::new(near), Some(Duration::from_secs(1)));
        answer.read_head().await?;
        let (status, _) = answer.take_head();
        let mut body = Vec::new();
        while let Some(piece) = answer.next().await.map_err(|_| Failure::NoAnswer)? {
            body.extend_from_slice(&piece);
        }
        drop(far);
        Ok((status.as_u16(), String::from_utf8(body).unwrap(), answer.reuse().await.is_some()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_kept_where_the_end_is_certain() {
        for (text, body, kept) in [
            ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", "ok", true),
            ("HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok", "ok", true),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
                "ok",
                true,
            ),
            (
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
                "ok",
                true,
            ),
            ("HTTP/1.1 204 No Content\r\n\r\n", "", true),
            (
                "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok",
                "ok",
                true,
            ),
            ("HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok", "ok", false),
            ("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok", "ok", false),
            ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok more", "ok", false),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 9\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
                "ok",
                false,
            ),
        ] {
            let (status, found, keeps) = read(text, false).await.unwrap();
            assert!(matches!(status, 200 | 204));
            assert_eq!((&*found, keeps), (body, kept), "{text:?}");
        }
        let switched = "HTTP/1.1 101 Switching\r\ncontent-length: 0\r\n\r\nother bytes";
        assert_eq!(read(switched, true).await.unwrap(), (101, "other bytes".into(), false));
        let until_close = "HTTP/1.1 200 OK\r\n\r\nall of it";
        assert_eq!(read(until_close, true).await.unwrap(), (200, "all of it".into(), false));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_whole_or_no_http_is_told_apart() {
        for (text, closes, failure) in [
            ("SSH-2.0-x\r\n", false, Failure::Garbage),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
                false,
                Failure::Garbage,
            ),
            ("HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n", false, Failure::Garbage),
            ("HTTP/1.1 200 OK\r\ncontent", true, Failure::Torn),
            ("HTTP/1.1 100 Continue\r\n\r\n", true, Failure::Torn),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: identity\r\n\r\nok", true, Failure::Garbage),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n", true, Failure::Garbage),
            ("", true, Failure::NoAnswer),
            ("HTTP/1.1 200 OK\r\n", false, Failure::TimedOut),
            ("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok", true, Failure::NoAnswer),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
                false,
                Failure::NoAnswer,
            ),
        ] {
            assert_eq!(read(text, closes).await, Err(failure), "{text:?}");
        }
    }

    /// The time is that of the whole head, and so is the room.
    #[tokio::test(start_paused = true)]
    async fn a_head_that_drips_is_not_waited_for_for_ever() {
        let (near, mut far) = tokio::io::duplex(64);
        let mut answer = Http1::new(Box::new(near), Some(Duration::from_secs(10)));
        let begun = Instant::now();
        let drip = async {
            loop {
                far.write_all(b"HTTP/1.1 103 Early Hints\r\n\r\n").await.unwrap();
                tokio::time::sleep(Duration::from_secs(4)).await;
            }
        };
        let failure = tokio::select! {
            head = answer.read_head() => head.unwrap_err(),
            never = drip => never,
        };
        assert_eq!((failure, begun.elapsed()), (Failure::TimedOut, Duration::from_secs(10)));
        let many = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(MOST_INTERIM + 1);
        assert_eq!(read(&many, true).await, Err(Failure::Garbage));
    }

    #[test]
    fn a_folded_value_has_spaces() {
        let mut ahead = BytesMut::from("HTTP/1.1 200 OK\r\nx: a\r\n b\r\nY : c\r\n\r\nrest");
        let head = parse(&mut ahead).unwrap().unwrap();
        assert_eq!(head.headers.get("y").unwrap(), "c");
        let folded = head.headers.get("x").unwrap().to_str().unwrap();
        assert_eq!(folded.split_whitespace().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(ahead, "rest");
    }
}
