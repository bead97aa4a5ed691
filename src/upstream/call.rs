//! One call: connect or reuse, send, wait for the header.

use std::sync::Arc;
use std::time::Duration;

use bytes::Buf;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use pingora_core::ErrorType;
use pingora_core::connectors::{ConnectorOptions, TransportConnector};
use pingora_core::protocols::http::v2::client::Http2Session;
use pingora_core::protocols::{ALPN, Stream};
use pingora_core::upstreams::peer::{HttpPeer, Peer};
use tokio::io::AsyncWriteExt;

use crate::base::patience::within;
use crate::upstream::head::Wire;
use crate::upstream::http1::Http1;
use crate::upstream::idle::Idle;
use crate::upstream::multiplexed::Lanes;
use crate::upstream::reply::{Connection, Session};
use crate::upstream::{Body, Failure, Origin, Prepared, Reply};

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
    connector: TransportConnector,
    lanes: Lanes,
    idle: Arc<Idle>,
}

impl Default for Connections {
    fn default() -> Self {
        // Nothing goes into the connector's own pool.
        let connector = TransportConnector::new(Some(ConnectorOptions::new(1)));
        Self { connector, lanes: Lanes::default(), idle: Arc::default() }
    }
}

/// What a request can be sent on.
enum Line {
    /// A connection of its own, for HTTP/1.1.
    Whole(Stream),
    /// A stream of a connection with HTTP/2.
    Shared(Box<Http2Session>),
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
        let (line, reused) = match self.reused(origin, &peer).await {
            Some(line) => (line, true),
            None => (self.connect(origin, &peer).await?, false),
        };
        before_send()?;
        match exchange(line, origin, request).await {
            Err(Failure::NoAnswer) if reused => {
                let line = self.connect(origin, &peer).await?;
                before_send()?;
                let session = exchange(line, origin, request).await?;
                Ok(self.reply(session, peer, origin.timeouts().chunk))
            }
            Err(failure) => Err(failure.into()),
            Ok(session) => Ok(self.reply(session, peer, origin.timeouts().chunk)),
        }
    }

    /// What is there already.
    async fn reused(&self, origin: &Origin, peer: &Arc<HttpPeer>) -> Option<Line> {
        if origin.base().tls
            && let Some(stream) = Box::pin(self.lanes.to(peer.reuse_hash()).stream()).await
        {
            return Some(Line::Shared(stream));
        }
        self.idle.take(peer.reuse_hash()).map(Line::Whole)
    }

    /// A fresh connection, or one with HTTP/2 that came about meanwhile. Boxed:
    /// connecting is rare, and its future is large.
    async fn connect(&self, origin: &Origin, peer: &Arc<HttpPeer>) -> Result<Line, Failure> {
        if !origin.base().tls {
            let stream = Box::pin(self.connector.new_stream(&**peer)).await;
            return stream.map(Line::Whole).map_err(|error| connect_failure(&error));
        }
        let connected = Box::pin(self.connect_secure(peer));
        let patience = origin.timeouts().connect;
        tokio::time::timeout(patience, connected).await.unwrap_or(Err(Failure::TimedOut))
    }

    async fn connect_secure(&self, peer: &Arc<HttpPeer>) -> Result<Line, Failure> {
        let lane = self.lanes.to(peer.reuse_hash());
        let mut turn = None;
        if !lane.is_http1() {
            turn = Some(lane.turn.lock().await);
            if let Some(stream) = lane.stream().await {
                return Ok(Line::Shared(stream));
            }
            if lane.is_http1() {
                turn = None;
            }
        }
        let stream = self.connector.new_stream(&**peer).await;
        let stream = stream.map_err(|error| connect_failure(&error))?;
        if stream.selected_alpn_proto() == Some(ALPN::H2) {
            let session = lane.begin(stream).await?;
            drop(turn);
            return Ok(Line::Shared(session));
        }
        lane.set_http1();
        Ok(Line::Whole(stream))
    }

    /// A fresh connection for HTTP/1.1, to a peer that offers nothing else.
    pub(super) async fn connect_plain(&self, peer: &Arc<HttpPeer>) -> Result<Stream, Failure> {
        Box::pin(self.connector.new_stream(&**peer)).await.map_err(|error| connect_failure(&error))
    }

    pub(super) fn reply(
        &self,
        mut session: Session,
        peer: Arc<HttpPeer>,
        chunk: Duration,
    ) -> Reply {
        session.set_patience(Some(chunk));
        let (status, headers) = session.take_head();
        let close_delimited = matches!(session, Session::H1(_))
            && !headers.contains_key(CONTENT_LENGTH)
            && !headers.contains_key(TRANSFER_ENCODING);
        let connection = Connection::new(session, peer, self.idle.clone(), close_delimited);
        Reply { status, headers, body: Body::Connection(Box::new(connection)) }
    }
}

/// Sends the request on `line` and reads the header of the answer.
async fn exchange(line: Line, origin: &Origin, request: &Prepared) -> Result<Session, Failure> {
    match line {
        Line::Whole(stream) => exchange_alone(stream, origin, request).await.map(Session::H1),
        // Boxed, so that those who do not need it do not carry its future.
        Line::Shared(stream) => {
            Box::pin(exchange_shared(stream, origin, request)).await.map(Session::H2)
        }
    }
}

async fn exchange_alone(
    mut stream: Stream,
    origin: &Origin,
    request: &Prepared,
) -> Result<Http1, Failure> {
    // A write that fails is no verdict: a provider may answer and close before
    // it has read a large body, so its answer is looked for all the same.
    let wire = request.wire(origin);
    let _written = within(WRITE, write(&mut stream, &wire)).await.ok_or(Failure::TimedOut)?;
    let mut answer = Http1::new(stream, Some(origin.timeouts().first_byte));
    answer.read_head().await?;
    Ok(answer)
}

async fn exchange_shared(
    mut session: Box<Http2Session>,
    origin: &Origin,
    request: &Prepared,
) -> Result<Box<Http2Session>, Failure> {
    let (head, body) = request.multiplexed(origin).ok_or(Failure::Unreachable)?;
    session.read_timeout = Some(origin.timeouts().first_byte);
    session.write_timeout = Some(WRITE);
    let exchanged = async {
        session.write_request_header(Box::new(head), body.is_empty())?;
        let last = body.len().saturating_sub(1);
        for (place, piece) in body.iter().enumerate() {
            // As above, the answer is looked for even if this fails.
            if session.write_request_body(piece.clone(), place == last).await.is_err() {
                break;
            }
        }
        session.read_response_header().await
    };
    match exchanged.await {
        Ok(()) => Ok(session),
        Err(error) => {
            let failure = answer_failure(&error);
            if failure == Failure::NoAnswer {
                // Whatever broke, nobody else should meet it there.
                session.conn.mark_shutdown();
            }
            Err(failure)
        }
    }
}

async fn write(stream: &mut Stream, wire: &Wire) -> std::io::Result<()> {
    let Wire { first, rest } = wire;
    match rest.split_first() {
        None => stream.write_all(first).await?,
        Some((second, rest)) => {
            // A head that leaves alone is a piece of its own on the way and at its end.
            stream.write_all_buf(&mut first.as_ref().chain(second.as_ref())).await?;
            for piece in rest {
                stream.write_all(piece).await?;
            }
        }
    }
    stream.flush().await
}

fn connect_failure(error: &pingora_core::Error) -> Failure {
    match error.etype() {
        ErrorType::ConnectTimedout | ErrorType::TLSHandshakeTimedout => Failure::TimedOut,
        _ => Failure::Unreachable,
    }
}

fn answer_failure(error: &pingora_core::Error) -> Failure {
    match error.etype() {
        ErrorType::ReadTimedout => Failure::TimedOut,
        ErrorType::InvalidHTTPHeader => Failure::Garbage,
        _ => Failure::NoAnswer,
    }
}
