//! HTTP/1 on one connection: its requests one after another, and their answers.
//!
//! It is our own and not Pingora's session, because a head is judged here byte by
//! byte before anything may parse it, which leaves little to do; because an answer
//! leaves in one piece, head and body; and because an idle connection then needs no
//! buffers.

mod answer;
mod parse;

use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::pin::Pin;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::header::CONTENT_LENGTH;
use http::request::Parts;
use http::{HeaderMap, Request, StatusCode, Version};
use pingora_core::protocols::Stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use crate::base::framing::{self, Body, Step};
use crate::base::patience::Timer;

use super::head::{self, BadHead};
use super::lingering::close_lingering;
use answer::Framing;

/// First read of a request: a header and a small body in one piece.
const FIRST_READ: usize = 4_096;
/// Most of a body that is read at once.
const MOST_READ: usize = 64 * 1024;
/// Most that is read of a next request while one is served.
const MOST_AHEAD: usize = 16 * 1024;
/// What is written together with the bytes before it, at the price of a copy.
const SMALL: usize = 16 * 1024;

/// Longest that is waited for the end of a connection to be written.
const LONGEST_END: Duration = Duration::from_secs(1);

/// One connection and the request that is served on it.
pub struct Http1 {
    stream: Stream,
    /// The address at the other end.
    peer: Option<IpAddr>,
    head: Parts,
    body: Body,
    /// What has come and was not taken yet.
    ahead: BytesMut,
    /// How the answer is framed, once it is begun.
    answer: Option<Framing>,
    /// What is written and was not sent yet.
    out: BytesMut,
    /// Whether the connection may take another request.
    keeps: bool,
    /// Longest wait for the client to send or to read on.
    stall: Duration,
    timer: Timer,
}

impl Http1 {
    /// The connection `stream` to `peer`, of which `ahead` has come already.
    pub(super) fn new(stream: Stream, peer: Option<IpAddr>, ahead: BytesMut) -> Box<Self> {
        Box::new(Self {
            stream,
            peer,
            head: no_head(),
            body: Body::of(0),
            ahead,
            answer: None,
            out: BytesMut::new(),
            keeps: false,
            stall: Duration::MAX,
            timer: Timer::default(),
        })
    }

    /// Waits for the first bytes of a request, for at most `patience`. False if the
    /// client left, idled too long, or `over` has come.
    pub(super) async fn begins(
        &mut self,
        patience: Duration,
        over: Pin<&mut impl Future<Output = ()>>,
    ) -> bool {
        if !self.ahead.is_empty() {
            return true;
        }
        let Self { stream, ahead, timer, .. } = self;
        // Nothing of it is in use any more, as a rule, and it is there again.
        ahead.reserve(FIRST_READ);
        let read = async {
            tokio::select! {
                biased;
                read = stream.read_buf(ahead) => matches!(read, Ok(1..)),
                () = over => false,
            }
        };
        timer.within(patience, read).await.unwrap_or(false)
    }

    /// Reads a head, which must be there `by` then.
    ///
    /// # Errors
    /// [`BadHead`] if it is none.
    pub(super) async fn read_head(&mut self, by: Instant) -> Result<(), BadHead> {
        // For an answer to what is no head: nothing is known of the request then.
        (self.head, self.body, self.answer, self.keeps) = (no_head(), Body::of(0), None, false);
        let length = head::read(&mut self.stream, &mut self.ahead, by).await?;
        let raw = self.ahead.split_to(length).freeze();
        // What the parser finds beyond what was judged quotes the request, so it
        // goes nowhere.
        let malformed = BadHead::Malformed("The request is not well-formed HTTP.");
        self.head = parse::head(&raw).ok_or(malformed)?;
        self.body = parse::body(&self.head);
        self.keeps = framing::keeps(&self.head.headers, self.head.version == Version::HTTP_11);
        Ok(())
    }

    /// The request's head.
    pub(crate) const fn head(&self) -> &Parts {
        &self.head
    }

    /// The request's head.
    pub(crate) const fn head_mut(&mut self) -> &mut Parts {
        &mut self.head
    }

    /// The address at the other end.
    pub(crate) const fn peer(&self) -> Option<IpAddr> {
        self.peer
    }

    /// Waits at most so long for the client to send or to read on.
    pub(crate) const fn set_stall(&mut self, stall: Duration) {
        self.stall = stall;
    }

    /// Ends the connection after the answer.
    pub(crate) const fn close_after(&mut self) {
        self.keeps = false;
    }

    /// Whether the request's body was read to its end.
    pub(crate) const fn is_body_read(&self) -> bool {
        self.body.is_done()
    }

    /// The next piece of the request's body, `None` at its end.
    ///
    /// # Errors
    /// `TimedOut` if the client stalls; any other if the body is cut or malformed.
    pub(crate) async fn read_body(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            match self.body.take(&mut self.ahead) {
                Step::Piece(piece) => return Ok(Some(piece)),
                Step::End => return Ok(None),
                Step::Broken => return Err(ErrorKind::InvalidData.into()),
                Step::More => {}
            }
            let Self { stream, ahead, timer, .. } = self;
            ahead.reserve(self.body.expected().clamp(FIRST_READ, MOST_READ));
            let read = timer.within(self.stall, stream.read_buf(ahead)).await;
            some(read)?;
        }
    }

    /// Appends what comes next of the request's body to `whole`, straight from the
    /// connection where its length is known; how many bytes that is, 0 at its end.
    ///
    /// # Errors
    /// As [`Self::read_body`].
    pub(crate) async fn read_body_into(&mut self, whole: &mut BytesMut) -> io::Result<usize> {
        let Body::Length(left) = self.body else {
            let piece = self.read_body().await?.unwrap_or_default();
            whole.extend_from_slice(&piece);
            return Ok(piece.len());
        };
        let most = usize::try_from(left).unwrap_or(usize::MAX);
        let count = if self.ahead.is_empty() {
            // No more room than for as much as has come: a length is but a word.
            if whole.len() == whole.capacity() {
                whole.reserve(most.min(whole.len().max(MOST_READ)));
            }
            let Self { stream, timer, stall, .. } = self;
            let mut room = (&mut *whole).limit(most);
            some(timer.within(*stall, stream.read_buf(&mut room)).await)?
        } else {
            let count = most.min(self.ahead.len());
            whole.extend_from_slice(&self.ahead.split_to(count));
            count
        };
        self.body = Body::of(left - count as u64);
        Ok(count)
    }

    /// Resolves when the client has left: at the end of what it sends, or when its
    /// connection breaks. What it sends of a next request is kept for that.
    pub(crate) async fn gone(&mut self) {
        while self.ahead.len() < MOST_AHEAD {
            if !matches!(self.stream.read_buf(&mut self.ahead).await, Ok(1..)) {
                self.keeps = false;
                return;
            }
        }
        std::future::pending().await
    }

    /// Answers `expect: 100-continue`.
    ///
    /// # Errors
    /// Those of the connection.
    pub(crate) async fn invite_body(&mut self) -> io::Result<()> {
        self.out.put_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        self.flush().await
    }

    /// Begins an answer with `headers` and the lines of `further` ones. It leaves with
    /// what comes next if its length is known, else at once, as what follows may take
    /// its time.
    ///
    /// # Errors
    /// Those of the connection.
    pub(crate) async fn send_head(
        &mut self,
        status: StatusCode,
        (headers, further): (&HeaderMap, &[u8]),
        length: Option<usize>,
    ) -> io::Result<()> {
        let length = length.map(|length| length as u64);
        let known = || headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok();
        let Parts { method, version, .. } = &self.head;
        let framing = Framing::of(method, *version, status, length.or_else(known));
        // What is left of the request's body could not be told from a next request.
        if !self.body.is_done() || framing == Framing::UntilClose {
            self.keeps = false;
        }
        answer::put_head(&mut self.out, status, (headers, further), (length, framing), self.keeps);
        self.answer = Some(framing);
        if matches!(framing, Framing::Length(_)) { Ok(()) } else { self.flush().await }
    }

    /// Sends a piece of the body, the last one if `end`. A body whose length is known
    /// leaves in large pieces, any other at once.
    ///
    /// # Errors
    /// `TimedOut` if the client does not read it, or those of the connection.
    pub(crate) async fn send(&mut self, mut piece: Bytes, end: bool) -> io::Result<()> {
        let mut chunked = false;
        match &mut self.answer {
            None | Some(Framing::None) => piece.clear(),
            Some(Framing::UntilClose) => {}
            Some(Framing::Chunked) => chunked = true,
            Some(Framing::Length(left)) => {
                piece.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= piece.len() as u64;
            }
        }
        let tail: &[u8] = match (chunked, piece.is_empty(), end) {
            (false, ..) | (true, true, false) => b"",
            (true, true, true) => b"0\r\n\r\n",
            (true, false, true) => b"\r\n0\r\n\r\n",
            (true, false, false) => b"\r\n",
        };
        if chunked && !piece.is_empty() {
            answer::put_size(&mut self.out, piece.len());
        }
        if piece.len() <= SMALL {
            self.out.put_slice(&piece);
            self.out.put_slice(tail);
            let waits = matches!(self.answer, Some(Framing::Length(_))) && self.out.len() < SMALL;
            if end || !waits {
                self.flush().await?;
            }
        } else {
            let Self { stream, out, timer, stall, .. } = self;
            let mut all = out.chain(piece).chain(tail);
            let written = timer.within(*stall, async {
                stream.write_all_buf(&mut all).await?;
                stream.flush().await
            });
            written.await.ok_or(ErrorKind::TimedOut)??;
        }
        if end && !matches!(self.answer, Some(Framing::Length(1..))) {
            self.answer = Some(Framing::None);
        }
        Ok(())
    }

    /// Sends what is written.
    async fn flush(&mut self) -> io::Result<()> {
        let Self { stream, out, timer, stall, .. } = self;
        let written = timer.within(*stall, async {
            // Not `write_all_buf`: a list of one piece costs the kernel more.
            while !out.is_empty() {
                let count = stream.write(out).await?;
                if count == 0 {
                    return Err(ErrorKind::WriteZero.into());
                }
                out.advance(count);
            }
            stream.flush().await
        });
        written.await.ok_or(ErrorKind::TimedOut)?
    }

    /// Ends the exchange: the connection, if it can take another request.
    pub(crate) async fn finish(mut self: Box<Self>) -> Option<Box<Self>> {
        // An answer that is not whole must not look so.
        if self.answer != Some(Framing::None) {
            return None;
        }
        if !self.keeps {
            if self.ahead.is_empty() {
                self.shutdown().await;
            } else {
                close_lingering(self).await;
            }
            return None;
        }
        if self.out.capacity() > FIRST_READ {
            self.out = BytesMut::new();
        }
        Some(self)
    }

    /// Ends an answer that is not whole, once what there is of it is on its way.
    pub(super) async fn cut(&mut self) {
        // To whoever does not read it, nothing more is sent either.
        if self.flush().await.is_ok() {
            self.shutdown().await;
        }
    }

    /// Closes the sending side.
    async fn shutdown(&mut self) {
        let Self { stream, timer, .. } = self;
        // Whoever is gone already needs no end. With TLS an end must be written, and
        // who reads nothing would have it wait for ever.
        let _gone = timer.within(LONGEST_END, AsyncWriteExt::shutdown(stream)).await;
    }

    /// The connection without HTTP.
    pub(super) fn into_stream(self: Box<Self>) -> Stream {
        self.stream
    }

    /// Gives up the connection, which speaks another protocol from here on; the
    /// bytes, of that protocol, have come already.
    pub(crate) fn upgrade(&mut self) -> (Bytes, Stream) {
        let nothing: Stream = Box::new(tokio::io::duplex(1).0);
        self.keeps = false;
        (std::mem::take(&mut self.ahead).freeze(), std::mem::replace(&mut self.stream, nothing))
    }
}

/// How many bytes were read, of which there must be some.
fn some(read: Option<io::Result<usize>>) -> io::Result<usize> {
    match read.ok_or(ErrorKind::TimedOut)?? {
        0 => Err(ErrorKind::UnexpectedEof.into()),
        count => Ok(count),
    }
}

/// The head of no request.
fn no_head() -> Parts {
    Request::new(()).into_parts().0
}

#[cfg(test)]
mod tests;
