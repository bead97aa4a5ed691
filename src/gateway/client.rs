//! A client on a connection, or on a stream of one.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, EXPECT, UPGRADE};
use http::{HeaderValue, StatusCode, Version, request};
use pingora_http::ResponseHeader;

use crate::base::network::Networks;
use crate::base::patience::within;
use crate::connection::client_ip::client_address;
use crate::connection::{Next, Session, close_lingering};
use crate::exchange::{AnswerHead, Client, Ending, Gone, Raw, ReadError};

use super::police::upgrades;

/// A refused body up to this size that has come already is read, so that the
/// connection can be kept.
const DRAIN_BYTES: u64 = 64 * 1024;
/// How long the rest of it is waited for.
const DRAIN_TIME: Duration = Duration::from_millis(20);
/// Most that is written at once, in bytes: the client has `listen.stall_timeout`
/// for each piece, so that a slow one is told from one that has stopped reading.
const PIECE: usize = 64 * 1024;

/// A client on a session.
pub(super) struct DownstreamClient {
    session: Session,
    /// Longest wait for the next piece of a body, and for a client that does
    /// not read its answer.
    stall: Duration,
    address: Option<IpAddr>,
    answered: bool,
    continued: bool,
    /// Whether the body's framing is lost, so that nothing that follows can be
    /// told from it.
    broken: bool,
}

impl DownstreamClient {
    pub(super) fn new(mut session: Session, stall: Duration) -> Self {
        match &mut session {
            Session::Http1(session) => session.set_stall(stall),
            Session::Http2(session) => {
                session.set_read_timeout(Some(stall));
                session.set_write_timeout(Some(stall));
            }
        }
        Self { session, stall, address: None, answered: false, continued: false, broken: false }
    }

    /// Parses the head; false if there is none.
    pub(super) async fn read_head(&mut self) -> pingora_core::Result<bool> {
        match &mut self.session {
            Session::Http1(session) => {
                let ignored = |head| !upgrades(head);
                if session.head().headers.contains_key(UPGRADE) && ignored(session.head()) {
                    session.head_mut().headers.remove(UPGRADE);
                }
                Ok(true)
            }
            Session::Http2(session) => {
                let read = session.read_request().await?;
                if read {
                    // HTTP/2 has none (RFC 9113 §8.2.2).
                    session.req_header_mut().remove_header(&UPGRADE);
                }
                Ok(read)
            }
        }
    }

    /// Ends the connection after the answer.
    pub(super) fn close_after(&mut self) {
        match &mut self.session {
            Session::Http1(session) => session.close_after(),
            Session::Http2(session) => session.set_keepalive(None),
        }
    }

    /// Ends the connection so that the client can read its answer.
    pub(super) async fn close_lingering(self) {
        if let Session::Http1(session) = self.session {
            close_lingering(session).await;
        }
    }

    /// Finds out whose request it is, behind proxies that are `trusted`.
    pub(super) fn learn_address(&mut self, trusted: &Networks) {
        let peer = match &self.session {
            Session::Http1(session) => session.peer(),
            Session::Http2(session) => {
                let peer = session.client_addr().and_then(|address| address.as_inet());
                peer.map(|peer| peer.ip())
            }
        };
        let headers = &self.head().headers;
        self.address = peer.map(|peer| client_address(peer, headers, trusted));
    }

    /// Answers `expect: 100-continue` once, so that the client sends its body.
    async fn invite_body(&mut self) -> Result<(), ReadError> {
        // On HTTP/2 a client that waits for it has a window to send in already.
        let Session::Http1(session) = &mut self.session else { return Ok(()) };
        if std::mem::replace(&mut self.continued, true) {
            return Ok(());
        }
        // The only expectation that passes the police, and not of HTTP/1.0.
        let head = session.head();
        if head.version == Version::HTTP_11 && head.headers.contains_key(EXPECT) {
            session.invite_body().await.map_err(|_| ReadError::Broken)?;
        }
        Ok(())
    }

    /// Reads what has come of a small refused body, so that the connection can
    /// serve the next request. A larger or late one costs the connection.
    pub(super) async fn settle_body(&mut self) {
        if self.broken {
            self.close_after();
            return;
        }
        let headers = &self.head().headers;
        if headers.contains_key(EXPECT) && !self.continued {
            return;
        }
        let length = headers
            .get(CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.parse::<u64>().ok());
        if length.is_some_and(|length| length <= DRAIN_BYTES) {
            // What is not here in time is discarded after the answer instead.
            let _late = within(DRAIN_TIME, self.drain()).await;
        }
    }

    /// Reads the rest of the body and throws it away.
    async fn drain(&mut self) {
        match &mut self.session {
            Session::Http1(session) => while let Ok(Some(_)) = session.read_body().await {},
            // One that is broken ends with its stream.
            Session::Http2(session) => drop(session.drain_request_body().await),
        }
    }

    /// Ends the exchange: the connection is kept, closed so that the answer can
    /// be read, or cut.
    pub(super) async fn close(self, ending: Ending) -> Next {
        match self.session {
            session if ending == Ending::Cut => Next::Cut(session),
            Session::Http1(session) if self.broken || !session.is_body_read() => {
                // Boxed, as what only some requests need: its future is large.
                Box::pin(close_lingering(session)).await;
                Next::Over
            }
            Session::Http1(session) => session.finish().await.map_or(Next::Over, Next::Request),
            // On HTTP/2 the rest of a body ends with its stream: the drop resets it
            // with NO_ERROR once the answer is out (RFC 9113 §8.1).
            Session::Http2(session) => {
                let _over = session.finish().await;
                Next::Over
            }
        }
    }

    async fn write_head(&mut self, head: AnswerHead, length: Option<usize>) -> Result<(), Gone> {
        self.answered = true;
        let AnswerHead { status, mut headers, own } = head;
        let session = match &mut self.session {
            Session::Http1(session) => {
                let own = own.as_lines();
                return session.send_head(status, (&headers, own), length).await.map_err(|_| Gone);
            }
            Session::Http2(session) => session,
        };
        own.put_into(&mut headers);
        let mut parts = http::Response::new(()).into_parts().0;
        (parts.status, parts.headers) = (status, headers);
        if let Some(length) = length.filter(|_| !head_has_no_body(status)) {
            parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        let header = Box::new(ResponseHeader::from(parts));
        session.write_response_header(header).await.map_err(|_| Gone)
    }

    /// Writes `body` in pieces, each of which may take as long as a stall.
    async fn write(&mut self, mut body: Bytes, end: bool) -> Result<(), Gone> {
        while body.len() > PIECE {
            let piece = body.split_to(PIECE);
            self.write_piece(piece, false).await?;
        }
        self.write_piece(body, end).await
    }

    async fn write_piece(&mut self, piece: Bytes, end: bool) -> Result<(), Gone> {
        match &mut self.session {
            Session::Http1(session) => session.send(piece, end).await.map_err(|_| Gone),
            Session::Http2(session) => {
                session.write_response_body(piece, end).await.map_err(|_| Gone)
            }
        }
    }
}

fn read_error(error: io::Error) -> ReadError {
    match error.kind() {
        io::ErrorKind::TimedOut => ReadError::Slow,
        _ => ReadError::Broken,
    }
}

/// Whether an answer with this status ends with its head (RFC 9110 §6.4.1).
fn head_has_no_body(status: StatusCode) -> bool {
    status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
}

impl Client for DownstreamClient {
    fn head(&self) -> &request::Parts {
        match &self.session {
            Session::Http1(session) => session.head(),
            Session::Http2(session) => session.req_header(),
        }
    }

    fn address(&self) -> Option<IpAddr> {
        self.address
    }

    async fn read(&mut self) -> Result<Option<Bytes>, ReadError> {
        self.invite_body().await?;
        let read = match &mut self.session {
            Session::Http1(session) => session.read_body().await.map_err(read_error),
            // Pingora times the reads of HTTP/1 alone.
            Session::Http2(session) => {
                match within(self.stall, session.read_request_body()).await {
                    Some(read) => read.map_err(|_| ReadError::Broken),
                    None => return Err(ReadError::Slow),
                }
            }
        };
        self.broken |= read.is_err();
        read
    }

    async fn read_into(&mut self, whole: &mut BytesMut) -> Result<usize, ReadError> {
        self.invite_body().await?;
        let Session::Http1(session) = &mut self.session else {
            while let Some(piece) = self.read().await? {
                // An empty frame is no end.
                if !piece.is_empty() {
                    whole.extend_from_slice(&piece);
                    return Ok(piece.len());
                }
            }
            return Ok(0);
        };
        let read = session.read_body_into(whole).await.map_err(read_error);
        self.broken |= read.is_err();
        read
    }

    async fn gone(&mut self) {
        match &mut self.session {
            Session::Http1(session) => session.gone().await,
            Session::Http2(session) => {
                let _left = session.read_body_or_idle(true).await;
            }
        }
    }

    async fn send_whole(&mut self, head: AnswerHead, body: Bytes) -> Result<(), Gone> {
        self.write_head(head, Some(body.len())).await?;
        if matches!(self.session, Session::Http2(_)) && self.head().method == http::Method::HEAD {
            return self.write(Bytes::new(), true).await;
        }
        self.write(body, true).await
    }

    async fn send_head(&mut self, head: AnswerHead) -> Result<(), Gone> {
        self.write_head(head, None).await
    }

    async fn send(&mut self, piece: Bytes) -> Result<(), Gone> {
        self.write(piece, false).await
    }

    async fn finish(&mut self) -> Result<(), Gone> {
        self.write(Bytes::new(), true).await
    }

    async fn upgrade(&mut self, head: AnswerHead) -> Result<(Bytes, Box<dyn Raw>), Gone> {
        self.write_head(head, None).await?;
        match &mut self.session {
            Session::Http1(session) => {
                let (begun, stream) = session.upgrade();
                Ok((begun, Box::new(stream)))
            }
            Session::Http2(_) => Err(Gone),
        }
    }

    fn has_answered(&self) -> bool {
        self.answered
    }
}
