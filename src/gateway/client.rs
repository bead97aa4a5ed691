//! A client on a Pingora session.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http::header::{CONTENT_LENGTH, EXPECT, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderValue, StatusCode, Version, request};
use pingora_core::protocols::http::ServerSession;
use pingora_http::ResponseHeader;

use crate::base::network::Networks;
use crate::connection::client_ip::client_address;
use crate::connection::{Next, close_lingering};
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

/// Whether an answer with this status ends with its head (RFC 9110 §6.4.1).
fn head_has_no_body(status: StatusCode) -> bool {
    status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
}

/// A client on a Pingora session.
pub(super) struct DownstreamClient {
    session: ServerSession,
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
    pub(super) fn new(mut session: ServerSession, stall: Duration) -> Self {
        session.set_read_timeout(Some(stall));
        session.set_write_timeout(Some(stall));
        Self { session, stall, address: None, answered: false, continued: false, broken: false }
    }

    /// Parses the head; false if there is none.
    pub(super) async fn read_head(&mut self) -> pingora_core::Result<bool> {
        let read = self.session.read_request().await?;
        if read && self.session.get_header(UPGRADE).is_some() && !upgrades(self.head()) {
            self.session.req_header_mut().remove_header(&UPGRADE);
        }
        Ok(read)
    }

    /// Ends the connection after the answer.
    pub(super) fn close_after(&mut self) {
        self.session.set_keepalive(None);
    }

    /// The session alone.
    pub(super) fn into_session(self) -> ServerSession {
        self.session
    }

    /// Finds out whose request it is, behind proxies that are `trusted`.
    pub(super) fn learn_address(&mut self, trusted: &Networks) {
        let peer = self.session.client_addr().and_then(|address| address.as_inet());
        let headers = &self.session.req_header().headers;
        self.address = peer.map(|peer| client_address(peer.ip(), headers, trusted));
    }

    /// Answers `expect: 100-continue` once, so that the client sends its body.
    async fn invite_body(&mut self) -> Result<(), ReadError> {
        // On HTTP/2 a client that waits for it has a window to send in already.
        if self.continued || self.session.is_http2() {
            return Ok(());
        }
        self.continued = true;
        // The only expectation that passes the police, and not of HTTP/1.0.
        let head = self.session.req_header();
        if head.headers.contains_key(EXPECT) && head.version == Version::HTTP_11 {
            // An interim answer is no reason to close the connection.
            self.session.set_close_on_response_before_downstream_finish(false);
            self.session.write_continue_response().await.map_err(|_| ReadError::Broken)?;
            self.session.set_close_on_response_before_downstream_finish(true);
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
        let headers = &self.session.req_header().headers;
        if headers.contains_key(EXPECT) && !self.continued {
            return;
        }
        let length = headers
            .get(CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.parse::<u64>().ok());
        if length.is_some_and(|length| length <= DRAIN_BYTES) {
            // What is not here in time is discarded after the answer instead.
            let _late = tokio::time::timeout(DRAIN_TIME, self.session.drain_request_body()).await;
        }
    }

    /// Ends the exchange: the connection is kept, closed so that the answer can
    /// be read, or cut.
    pub(super) async fn close(self, ending: Ending) -> Next {
        if ending == Ending::Cut {
            return Next::Cut(self.session);
        }
        let mut session = self.session;
        // On HTTP/2 the rest of a body ends with its stream: the drop resets it
        // with NO_ERROR once the answer is out (RFC 9113 §8.1).
        if !session.is_http2() && (self.broken || !session.is_body_done()) {
            // Boxed, as what only some requests need: its future is large.
            Box::pin(close_lingering(session)).await;
            return Next::Over;
        }
        match session.finish().await {
            Ok(Some(reusable)) => Next::Request(reusable),
            Ok(None) | Err(_) => Next::Over,
        }
    }

    async fn write_head(&mut self, head: AnswerHead, length: Option<usize>) -> Result<(), Gone> {
        let mut parts = http::Response::new(()).into_parts().0;
        (parts.status, parts.headers) = (head.status, head.headers);
        let headers = &mut parts.headers;
        match length {
            _ if head_has_no_body(head.status) => {}
            Some(length) => _ = headers.insert(CONTENT_LENGTH, HeaderValue::from(length)),
            None if headers.contains_key(CONTENT_LENGTH) => {}
            // An HTTP/1.0 client reads until the end of the connection.
            None if self.session.req_header().version == Version::HTTP_10 => {}
            // On HTTP/2 the stream ends by itself.
            None if self.session.is_http2() => {}
            None => _ = headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked")),
        }
        self.answered = true;
        let header = Box::new(ResponseHeader::from(parts));
        self.session.write_response_header(header).await.map_err(|_| Gone)
    }

    /// Writes `body` in pieces, each of which may take as long as a stall.
    async fn write(&mut self, mut body: Bytes, end: bool) -> Result<(), Gone> {
        while body.len() > PIECE {
            let piece = body.split_to(PIECE);
            self.session.write_response_body(piece, false).await.map_err(|_| Gone)?;
        }
        self.session.write_response_body(body, end).await.map_err(|_| Gone)
    }
}

impl Client for DownstreamClient {
    fn head(&self) -> &request::Parts {
        self.session.req_header()
    }

    fn address(&self) -> Option<IpAddr> {
        self.address
    }

    async fn read(&mut self) -> Result<Option<Bytes>, ReadError> {
        self.invite_body().await?;
        let multiplexed = self.session.is_http2();
        let read = self.session.read_request_body();
        // Pingora times the reads of HTTP/1 alone.
        let read = if multiplexed {
            tokio::time::timeout(self.stall, read).await.map_err(|_| ReadError::Slow)?
        } else {
            read.await
        };
        self.broken |= read.is_err();
        read.map_err(|error| match error.etype() {
            pingora_core::ErrorType::ReadTimedout => ReadError::Slow,
            _ => ReadError::Broken,
        })
    }

    async fn gone(&mut self) {
        // With pipelining on, bytes of a next request leave this pending; only
        // a client that has left ends it.
        let _left = self.session.read_body_or_idle(true).await;
    }

    async fn send_whole(&mut self, head: AnswerHead, body: Bytes) -> Result<(), Gone> {
        self.write_head(head, Some(body.len())).await?;
        if self.session.is_http2() && self.session.req_header().method == http::Method::HEAD {
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
        self.session.set_pipelining_enabled(false);
        self.write_head(head, None).await?;
        // What came behind the request's head is no request: it belongs to the
        // new protocol.
        let begun = self.session.read_request_body().now_or_never();
        let begun = begun.transpose().map_err(|_| Gone)?.flatten().unwrap_or_default();
        let nothing = ServerSession::new_http1(Box::new(tokio::io::duplex(1).0));
        match std::mem::replace(&mut self.session, nothing) {
            ServerSession::H1(session) => Ok((begun, Box::new(session.into_inner()))),
            _ => Err(Gone),
        }
    }

    fn has_answered(&self) -> bool {
        self.answered
    }
}
