//! One call: connect or reuse, send, wait for the header.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use pingora_core::connectors::{ConnectorOptions, TransportConnector};
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::v1::client::HttpSession;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{ErrorType, connectors};
use tokio::io::AsyncWriteExt;

use crate::upstream::reply::Connection;
use crate::upstream::{Body, Failure, Origin, Prepared, Reply};

/// Idle connections kept to all providers together.
const POOL: usize = 1_024;
/// Longest that one write of a request may take.
const WRITE: Duration = Duration::from_secs(60);

/// How long a provider may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// To connect, TLS included.
    pub connect: Duration,
    /// From the request sent to the answer's header.
    pub first_byte: Duration,
    /// Between two reads of the answer's body.
    pub chunk: Duration,
}

/// The connections to providers, pooled.
pub struct Connections {
    connector: Arc<TransportConnector>,
}

impl Default for Connections {
    fn default() -> Self {
        let options = ConnectorOptions::new(POOL);
        Self { connector: Arc::new(connectors::TransportConnector::new(Some(options))) }
    }
}

impl Connections {
    /// Sends `request` and waits for the answer's header.
    ///
    /// A pooled connection that turns out to be closed is replaced once by a
    /// fresh one: the provider has not seen the request then. `attempt` picks
    /// among the origin's addresses; `before_send` runs before each time that
    /// bytes go out, and stops the call if it fails.
    ///
    /// # Errors
    /// [`Failure`], or what `before_send` says.
    pub async fn send<E: From<Failure>>(
        &self,
        origin: &Arc<Origin>,
        request: &Prepared,
        attempt: usize,
        mut before_send: impl FnMut() -> Result<(), E>,
    ) -> Result<Reply, E> {
        let peer = origin.peer(attempt).await?;
        let (stream, reused) = match self.connector.reused_stream(&*peer).await {
            Some(stream) => (stream, true),
            None => (self.connect(&peer).await?, false),
        };
        before_send()?;
        match exchange(stream, reused, origin, request).await {
            Ok(session) => Ok(self.reply(session, peer, origin.timeouts().chunk)),
            Err((Failure::NoAnswer, true)) => {
                let stream = self.connect(&peer).await?;
                before_send()?;
                let session = exchange(stream, false, origin, request)
                    .await
                    .map_err(|(failure, _)| failure)?;
                Ok(self.reply(session, peer, origin.timeouts().chunk))
            }
            Err((failure, _)) => Err(failure.into()),
        }
    }

    /// A fresh connection. Boxed: connecting is rare, and its future is large.
    pub(super) async fn connect(&self, peer: &Arc<HttpPeer>) -> Result<Stream, Failure> {
        Box::pin(self.connector.new_stream(&**peer)).await.map_err(|error| connect_failure(&error))
    }

    pub(super) fn reply(
        &self,
        mut session: HttpSession,
        peer: Arc<HttpPeer>,
        chunk: Duration,
    ) -> Reply {
        session.read_timeout = Some(chunk);
        let (status, headers) = match session.resp_header() {
            Some(head) => (head.status, head.headers.clone()),
            None => (StatusCode::BAD_GATEWAY, http::HeaderMap::new()),
        };
        let close_delimited =
            !headers.contains_key(CONTENT_LENGTH) && !headers.contains_key(TRANSFER_ENCODING);
        let connection = Connection::new(session, peer, self.connector.clone(), close_delimited);
        Reply { status, headers, body: Body::Connection(Box::new(connection)) }
    }
}

/// Sends the request on `stream` and reads the header of the answer. A failure
/// says whether the connection was a reused one.
async fn exchange(
    stream: Stream,
    reused: bool,
    origin: &Origin,
    request: &Prepared,
) -> Result<HttpSession, (Failure, bool)> {
    let mut stream = stream;
    let fail = |failure| (failure, reused);
    // A write that fails is no verdict: a provider may answer and close before
    // it has read a large body, so its answer is looked for all the same.
    let _written = tokio::time::timeout(WRITE, write(&mut stream, request))
        .await
        .map_err(|_| fail(Failure::TimedOut))?;
    let mut session = HttpSession::new(stream);
    session.read_timeout = Some(origin.timeouts().first_byte);
    loop {
        session.read_response().await.map_err(|error| fail(answer_failure(&error)))?;
        match session.get_status() {
            Some(status) if status.is_informational() => {}
            Some(_) => return Ok(session),
            None => return Err(fail(Failure::Garbage)),
        }
    }
}

async fn write(stream: &mut Stream, request: &Prepared) -> std::io::Result<()> {
    stream.write_all(&request.first).await?;
    for piece in &request.rest {
        stream.write_all(piece).await?;
    }
    stream.flush().await
}

fn connect_failure(error: &pingora_core::Error) -> Failure {
    match error.etype() {
        ErrorType::ConnectTimedout | ErrorType::TLSHandshakeTimedout => Failure::TimedOut,
        _ => Failure::Unreachable,
    }
}

pub(super) fn answer_failure(error: &pingora_core::Error) -> Failure {
    match error.etype() {
        ErrorType::ReadTimedout => Failure::TimedOut,
        ErrorType::InvalidHTTPHeader => Failure::Garbage,
        _ => Failure::NoAnswer,
    }
}
