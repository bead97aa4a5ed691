//! One client connection: counted, timed, and closed so that the client can
//! read its last answer.
//!
//! This is a `ServerApp` of pingora-core, not an `HttpServerApp`: the scope of
//! the connection is needed for its cap, and HTTP/1 is read and written here
//! (`http1`), so that the wait between requests and the time for a header are
//! two different clocks, and no parser sees a head that is not strictly HTTP.

pub mod client_ip;
mod frames;
pub(crate) mod head;
mod http1;
mod layered;
pub mod limit;
mod lingering;
mod multiplexed;
mod tls;

use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::BytesMut;
use pingora_core::apps::ServerApp;
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::{ALPN, Stream};
use pingora_core::server::ShutdownWatch;
use tokio::io::AsyncReadExt as _;
use tokio::time::Instant;

use crate::base::slots::Slots;
use crate::telemetry::metrics::Metrics;

use head::BadHead;
pub use http1::Http1;
use limit::PeerLimit;
pub(crate) use lingering::close_lingering;
pub use tls::{Certificate, CertificateError, Tls};

/// How long a connection may idle between two requests.
const IDLE: Duration = Duration::from_secs(75);
/// How long an idle connection still takes a request once shutdown has begun:
/// a client that was about to reuse it gets an answer instead of a reset.
const LAST_CALL: Duration = Duration::from_millis(1_500);
/// First read of a connection without TLS, of which either protocol may come.
const FIRST_READ: usize = 4_096;

/// A request and the way to answer it.
pub enum Session {
    /// The one request that its connection serves now.
    Http1(Box<Http1>),
    /// A stream of a connection.
    Http2(Box<ServerSession>),
}

/// What becomes of a connection or stream after a request.
pub enum Next {
    /// It can take another request.
    Request(Box<Http1>),
    /// It has ended.
    Over,
    /// Its answer is not whole and must not look so: it is reset, once what
    /// there is of the answer is on its way.
    Cut(Session),
}

/// What serves the requests of a connection.
pub trait Handler: Send + Sync + 'static {
    /// Longest time that a client may take for what precedes a request.
    fn header_timeout(&self) -> Duration;

    /// Longest time that a client may send nothing that it has begun, or read
    /// nothing of what it is sent.
    fn stall_timeout(&self) -> Duration;

    /// Serves one request whose head is there.
    fn handle(
        &self,
        session: Session,
        shutdown: &ShutdownWatch,
    ) -> impl Future<Output = Next> + Send;

    /// Answers what is no request; the connection ends with the answer.
    fn refuse(&self, session: Box<Http1>, bad: BadHead) -> impl Future<Output = ()> + Send;
}

/// The connections of one listener.
pub struct Connections<H> {
    handler: H,
    open: Arc<Slots>,
    peers: Arc<PeerLimit>,
    metrics: Arc<Metrics>,
    tls: Option<Tls>,
}

impl<H> Connections<H> {
    /// Serves connections with `handler`, at most as many as `open` has slots
    /// and as `peers` lets an address have.
    pub fn new(handler: H, open: Arc<Slots>, peers: Arc<PeerLimit>, metrics: Arc<Metrics>) -> Self {
        Self { handler, open, peers, metrics, tls: None }
    }

    /// Serves them over `tls`, if there is any.
    #[must_use]
    pub fn over(self, tls: Option<Tls>) -> Self {
        Self { tls, ..self }
    }
}

#[async_trait]
impl<H: Handler> ServerApp for Connections<H> {
    async fn process_new(
        self: &Arc<Self>,
        stream: Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        let Some(_open) = self.open.try_acquire() else {
            self.metrics.refused("global", "connections");
            return None;
        };
        let Some(_peer) = self.peers.enter(peer(&stream)) else {
            self.metrics.refused("ip", "connections");
            return None;
        };
        let _counted = self.metrics.connection();
        let mut stream = match &self.tls {
            Some(tls) => Box::pin(tls.accept(stream, self.handler.header_timeout())).await?,
            None => stream,
        };
        // A client that has just connected has something to ask.
        let soon = self.handler.header_timeout();
        // From a head's first byte on, whatever it turns out to be.
        let mut by = None;
        if stream.selected_alpn_proto() == Some(ALPN::H2) {
            Box::pin(multiplexed::serve(self, stream, BytesMut::new(), shutdown)).await;
            return None;
        }
        // One for the whole connection: to register anew with each request that is
        // waited for would take two locks.
        let mut over = pin!(last_call(shutdown.clone()));
        let mut first = BytesMut::new();
        if self.tls.is_none() {
            first = first_bytes(&mut stream, soon, over.as_mut()).await?;
            let end = Instant::now() + soon;
            by = Some(end);
            if multiplexed::has_preface(&mut stream, &mut first, end).await {
                Box::pin(multiplexed::serve(self, stream, first, shutdown)).await;
                return None;
            }
        }
        let peer = peer(&stream);
        let mut connection = Http1::new(stream, peer, first);
        let mut patience = soon;
        loop {
            if !connection.begins(patience, over.as_mut()).await {
                return None;
            }
            patience = IDLE;
            let by = by.take().unwrap_or_else(|| Instant::now() + soon);
            if let Err(bad) = connection.read_head(by).await {
                // Boxed, as what only some requests need: its future is large.
                Box::pin(self.handler.refuse(connection, bad)).await;
                return None;
            }
            // Pinned where it stands: to await it would copy all that a request holds.
            let handled = pin!(self.handler.handle(Session::Http1(connection), shutdown));
            match handled.await {
                Next::Request(again) => connection = again,
                Next::Over => return None,
                Next::Cut(cut) => {
                    if let Session::Http1(mut cut) = cut {
                        cut.cut().await;
                    }
                    return None;
                }
            }
        }
    }
}

/// The address at the other end.
fn peer(stream: &Stream) -> Option<IpAddr> {
    let digest = stream.get_socket_digest()?;
    digest.peer_addr()?.as_inet().map(|address| address.ip())
}

/// Waits for the first bytes of a connection, for at most `patience`. `None` if the
/// client left, idled too long, or `over` has come.
async fn first_bytes(
    stream: &mut Stream,
    patience: Duration,
    over: Pin<&mut impl Future<Output = ()>>,
) -> Option<BytesMut> {
    let mut first = BytesMut::with_capacity(FIRST_READ);
    let read = tokio::select! {
        biased;
        read = tokio::time::timeout(patience, stream.read_buf(&mut first)) => read.ok()?,
        () = over => return None,
    };
    matches!(read, Ok(1..)).then_some(first)
}

/// Resolves a little after shutdown has begun.
async fn last_call(mut shutdown: ShutdownWatch) {
    // A closed channel means that the server is gone: the same.
    drop(shutdown.wait_for(|stopping| *stopping).await);
    tokio::time::sleep(LAST_CALL).await;
}
