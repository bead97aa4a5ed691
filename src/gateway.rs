//! The request loop on Pingora: reads a head, lets `pipeline` serve it, and
//! decides what becomes of the connection. No policy lives here.

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::FutureExt;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, TRANSFER_ENCODING};
use http::{HeaderValue, StatusCode, Version, request};
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::ShutdownWatch;
use pingora_http::ResponseHeader;

use crate::app::App;
use crate::base::network::Networks;
use crate::connection::client_ip::client_address;
use crate::connection::{Handler, Next, close_lingering};
use crate::exchange::{AnswerHead, Client, Ending, Exchange, Gone, Raw, ReadError};
use crate::refusal::{Code, Refusal};
use crate::{pipeline, respond};

/// Largest header block, in bytes.
const HEADER_BLOCK: usize = 32 * 1024;
/// Longest wait for the next piece of a body, and for a client that does not
/// read its answer.
const STALL: Duration = Duration::from_secs(15);
/// Longest that one write to a client may take.
const WRITE: Duration = Duration::from_secs(60);
/// A refused body up to this size that has come already is read, so that the
/// connection can be kept.
const DRAIN_BYTES: u64 = 64 * 1024;
/// How long the rest of it is waited for.
const DRAIN_TIME: Duration = Duration::from_millis(20);

/// Serves requests with the application.
pub struct Gateway {
    app: Arc<App>,
}

impl Gateway {
    /// A gateway to `app`.
    pub fn new(app: Arc<App>) -> Self {
        Self { app }
    }
}

#[async_trait]
impl Handler for Gateway {
    fn header_timeout(&self) -> Duration {
        self.app.snapshot.load().config.listen.header_timeout
    }

    async fn handle(&self, mut session: ServerSession, shutdown: &ShutdownWatch) -> Next {
        session.set_read_timeout(Some(STALL));
        session.set_write_timeout(Some(WRITE));
        let patience = self.header_timeout();
        let head = tokio::time::timeout(patience, session.read_request()).await;
        let mut client = DownstreamClient::new(session);
        let refusal = match head {
            Ok(Ok(true)) => match police(&client.session) {
                Ok(()) => return self.serve(client, shutdown).await,
                Err(refusal) => refusal,
            },
            Ok(Ok(false)) => return Next::Over,
            Ok(Err(error)) => malformed_head(&error),
            Err(_) => {
                Refusal::new(Code::RequestTimeout, "The request's header did not arrive in time.")
            }
        };
        let exchange = self.app.exchange(None);
        if respond::refuse(&self.app, &mut client, &exchange, &refusal).await.is_ok() {
            close_lingering(client.session).await;
        }
        Next::Over
    }
}

impl Gateway {
    /// Serves a request whose head has been read.
    async fn serve(&self, mut client: DownstreamClient, shutdown: &ShutdownWatch) -> Next {
        client.learn_address(&self.app.snapshot.load().config.listen.trusted_proxies);
        let mut exchange = self.app.exchange(client.head().headers.get("x-request-id"));
        let served = AssertUnwindSafe(pipeline::serve(&self.app, &mut client, &mut exchange))
            .catch_unwind()
            .await;
        let ending = match served {
            Ok(Ok(ending)) => ending,
            Ok(Err(refusal)) => self.refuse(&mut client, &exchange, &refusal).await,
            // The panic hook has logged where; its payload may hold anything.
            Err(_) => {
                let refusal = Refusal::new(Code::InternalError, "An internal error occurred.");
                self.refuse(&mut client, &exchange, &refusal).await
            }
        };
        if *shutdown.borrow() {
            client.session.set_keepalive(None);
        }
        client.close(ending).await
    }

    /// Answers a refusal, or cuts an answer that has begun.
    async fn refuse(
        &self,
        client: &mut DownstreamClient,
        exchange: &Exchange,
        refusal: &Refusal,
    ) -> Ending {
        if client.answered {
            return Ending::Cut;
        }
        client.drain_small_body().await;
        if client.broken {
            client.session.set_keepalive(None);
        }
        match respond::refuse(&self.app, client, exchange, refusal).await {
            Ok(()) => Ending::Complete,
            Err(Gone) => Ending::Cut,
        }
    }
}

/// What HTTP itself forbids and Pingora lets pass.
fn police(session: &ServerSession) -> Result<(), Refusal> {
    let head = session.req_header();
    let size = if session.is_http2() { header_list_size(head) } else { session.to_h1_raw().len() };
    if size > HEADER_BLOCK {
        return Err(Refusal::new(
            Code::HeadersTooLarge,
            "The request's header is larger than 32 KB.",
        ));
    }
    if head.version == Version::HTTP_11 && !head.headers.contains_key(http::header::HOST) {
        return Err(Refusal::new(Code::BadRequest, "The request has no Host header."));
    }
    // Stages read the first of several and providers may heed another
    // (RFC 9110 §5.3 allows one of these each).
    for single in [CONTENT_TYPE, AUTHORIZATION] {
        if head.headers.get_all(single).iter().nth(1).is_some() {
            let message = "A header that may stand once is there more than once.";
            return Err(Refusal::new(Code::BadRequest, message));
        }
    }
    if head.method == http::Method::CONNECT || head.method == http::Method::TRACE {
        return Err(Refusal::method_not_allowed("GET, POST"));
    }
    Ok(())
}

/// The size of a head in bytes, as HTTP/2 counts it (RFC 9113 §6.5.2): 32 more
/// for each field.
fn header_list_size(head: &request::Parts) -> usize {
    let fields = head.headers.iter();
    let fields = fields.map(|(name, value)| name.as_str().len() + value.len() + 32);
    let target = head.uri.path_and_query().map_or(0, |target| target.as_str().len());
    fields.sum::<usize>() + target
}

/// The refusal for a head that Pingora could not read. The error's own text
/// quotes the request, so it goes nowhere.
fn malformed_head(error: &pingora_core::Error) -> Refusal {
    let text = error.to_string();
    if text.contains("header larger than") || text.contains("TooManyHeaders") {
        return Refusal::new(
            Code::HeadersTooLarge,
            "The request's header is larger than 32 KB or has more than 256 fields.",
        );
    }
    Refusal::new(Code::BadRequest, "The request is not well-formed HTTP.")
}

/// Whether an answer with this status ends with its head (RFC 9110 §6.4.1).
fn head_has_no_body(status: StatusCode) -> bool {
    status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
}

/// A client on a Pingora session.
struct DownstreamClient {
    session: ServerSession,
    address: Option<IpAddr>,
    answered: bool,
    continued: bool,
    /// Whether the body's framing is lost, so that nothing that follows can be
    /// told from it.
    broken: bool,
}

impl DownstreamClient {
    fn new(session: ServerSession) -> Self {
        Self { session, address: None, answered: false, continued: false, broken: false }
    }

    /// Finds out whose request it is, behind proxies that are `trusted`.
    fn learn_address(&mut self, trusted: &Networks) {
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
        let expects = self
            .session
            .req_header()
            .headers
            .get(EXPECT)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        if expects {
            // An interim answer is no reason to close the connection.
            self.session.set_close_on_response_before_downstream_finish(false);
            self.session.write_continue_response().await.map_err(|_| ReadError::Broken)?;
            self.session.set_close_on_response_before_downstream_finish(true);
        }
        Ok(())
    }

    /// Reads what has come of a small refused body, so that the connection can
    /// serve the next request. A larger or late one costs the connection.
    async fn drain_small_body(&mut self) {
        let headers = &self.session.req_header().headers;
        if self.broken || (headers.contains_key(EXPECT) && !self.continued) {
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
    async fn close(self, ending: Ending) -> Next {
        if ending == Ending::Cut {
            return Next::Cut(self.session);
        }
        let mut session = self.session;
        // On HTTP/2 the rest of a body ends with its stream: the drop resets it
        // with NO_ERROR once the answer is out (RFC 9113 §8.1).
        if !session.is_http2() && (self.broken || !session.is_body_done()) {
            close_lingering(session).await;
            return Next::Over;
        }
        match session.finish().await {
            Ok(Some(reusable)) => Next::Request(reusable),
            Ok(None) | Err(_) => Next::Over,
        }
    }

    async fn write_head(&mut self, head: AnswerHead, length: Option<usize>) -> Result<(), Gone> {
        let mut header = ResponseHeader::build_no_case(head.status, Some(head.headers.len() + 4))
            .map_err(|_| Gone)?;
        let mut name = None;
        for (next, value) in head.headers {
            name = next.or(name);
            if let Some(name) = &name {
                header.append_header(name.clone(), value).map_err(|_| Gone)?;
            }
        }
        let bodiless = head_has_no_body(head.status);
        match length {
            _ if bodiless => {}
            Some(length) => {
                header.insert_header(CONTENT_LENGTH, HeaderValue::from(length)).map_err(|_| Gone)?
            }
            None if header.headers.contains_key(CONTENT_LENGTH) => {}
            // An HTTP/1.0 client reads until the end of the connection.
            None if self.session.req_header().version == Version::HTTP_10 => {}
            // On HTTP/2 the stream ends by itself.
            None if self.session.is_http2() => {}
            None => header
                .insert_header(TRANSFER_ENCODING, HeaderValue::from_static("chunked"))
                .map_err(|_| Gone)?,
        }
        self.answered = true;
        self.session.write_response_header(Box::new(header)).await.map_err(|_| Gone)
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
            tokio::time::timeout(STALL, read).await.map_err(|_| ReadError::Slow)?
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
            return self.session.write_response_body(Bytes::new(), true).await.map_err(|_| Gone);
        }
        self.session.write_response_body(body, true).await.map_err(|_| Gone)
    }

    async fn send_head(&mut self, head: AnswerHead) -> Result<(), Gone> {
        self.write_head(head, None).await
    }

    async fn send(&mut self, piece: Bytes) -> Result<(), Gone> {
        self.session.write_response_body(piece, false).await.map_err(|_| Gone)
    }

    async fn finish(&mut self) -> Result<(), Gone> {
        self.session.write_response_body(Bytes::new(), true).await.map_err(|_| Gone)
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
