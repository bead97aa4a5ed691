//! A provider's answer.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use http::{HeaderMap, StatusCode};
use pingora_core::protocols::http::v2::client::Http2Session;
use pingora_core::upstreams::peer::{HttpPeer, Peer};

use crate::upstream::duplex;
use crate::upstream::http1::Http1;
use crate::upstream::idle::Idle;

/// Chunks are gathered until there are so many bytes.
const GATHERED: usize = 16 * 1024;
/// How long the end of an answer is waited for once its last event is there.
const TAIL: Duration = Duration::from_millis(500);

/// A provider's answer: its head, and its body as it comes.
#[derive(Debug)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The headers as they came.
    pub headers: HeaderMap,
    /// The body.
    pub body: Body,
}

impl Reply {
    /// An answer that the sandbox made.
    pub fn made(status: u16, content_type: &'static str, pieces: Vec<Bytes>) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(content_type));
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { status, headers, body: Body::Made(pieces.into()) }
    }

    /// The same answer with other `headers`, and with a body in the form that
    /// `recode` gives it.
    #[must_use]
    pub fn recoded(self, headers: HeaderMap, recode: Box<dyn Recode>) -> Self {
        let recoded = Recoded { body: Some(self.body), recode, met: None };
        Self { status: self.status, headers, body: Body::Recoded(Box::new(recoded)) }
    }
}

/// Puts a body into another form while it is read.
pub trait Recode: Send {
    /// Appends what the next `piece` comes to.
    ///
    /// # Errors
    /// If the body is not what it should be; what has been appended is right.
    fn push(&mut self, piece: &[u8], out: &mut BytesMut) -> Result<(), BodyError>;

    /// Appends what is left at the end of the body.
    ///
    /// # Errors
    /// If it should have gone on.
    fn end(&mut self, out: &mut BytesMut) -> Result<(), BodyError>;
}

/// The body of a [`Reply`]. Dropped before its end, the call is stopped.
pub enum Body {
    /// From a connection.
    Connection(Box<Connection>),
    /// Made by the sandbox.
    Made(VecDeque<Bytes>),
    /// Another one in another form.
    Recoded(Box<Recoded>),
}

/// Why a body broke off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The connection ended too early, or the framing is malformed.
    #[error("the provider's answer broke off")]
    Cut,
    /// Nothing came for too long.
    #[error("the provider's answer stalled")]
    TimedOut,
    /// It is not what the provider's API describes.
    #[error("the provider's answer makes no sense")]
    Garbled,
}

impl Body {
    /// The next piece, `None` at the proper end.
    ///
    /// # Errors
    /// [`BodyError`] if the answer is not whole.
    pub async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        match self {
            Self::Connection(connection) => connection.next().await,
            Self::Made(pieces) => Ok(pieces.pop_front()),
            // Boxed, as a body that holds a body.
            Self::Recoded(recoded) => Box::pin(recoded.next()).await,
        }
    }

    /// Whether the end of the connection is the end of the body, so that a cut
    /// cannot be told from an end.
    pub fn is_close_delimited(&self) -> bool {
        match self {
            Self::Connection(connection) => connection.close_delimited,
            Self::Made(_) => false,
            Self::Recoded(recoded) => recoded.body.as_ref().is_some_and(Self::is_close_delimited),
        }
    }

    /// Lets the next piece take as long as it likes: what comes is no answer any
    /// more, but another protocol.
    pub fn wait_without_end(&mut self) {
        if let Self::Connection(connection) = self
            && let Some(session) = &mut connection.session
        {
            session.set_patience(None);
        }
    }

    /// Reads on to the end, for a moment, so that the connection can be kept;
    /// what comes is thrown away.
    pub async fn finish(&mut self) {
        // If the end does not come the connection is closed by the drop.
        let _end =
            tokio::time::timeout(TAIL, async { while let Ok(Some(_)) = self.next().await {} })
                .await;
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Body")
    }
}

/// A body that is put into another form while it is read.
pub struct Recoded {
    /// `None` at its end.
    body: Option<Body>,
    recode: Box<dyn Recode>,
    /// What was met behind what the last call gave.
    met: Option<BodyError>,
}

impl Recoded {
    async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        if let Some(error) = self.met.take() {
            return Err(error);
        }
        let mut out = BytesMut::new();
        while let Some(body) = &mut self.body {
            let recoded = match body.next().await? {
                Some(piece) => self.recode.push(&piece, &mut out),
                None => {
                    self.body = None;
                    self.recode.end(&mut out)
                }
            };
            match recoded {
                Err(error) if out.is_empty() => return Err(error),
                Err(error) => self.met = Some(error),
                Ok(()) => {}
            }
            if !out.is_empty() {
                return Ok(Some(out.freeze()));
            }
        }
        Ok(None)
    }
}

/// One request and its answer on a provider's connection.
pub(super) enum Session {
    /// A connection of its own.
    H1(Http1),
    /// A stream; dropped before its end, it is reset.
    H2(Box<Http2Session>),
}

impl Session {
    /// The status and the headers, which have been read and are taken.
    pub(super) fn take_head(&mut self) -> (StatusCode, HeaderMap) {
        match self {
            Self::H1(session) => session.take_head(),
            Self::H2(session) => match session.response_header() {
                Some(head) => (head.status, head.headers.clone()),
                None => (StatusCode::BAD_GATEWAY, HeaderMap::new()),
            },
        }
    }

    /// Bounds the wait for each piece of the body.
    pub(super) fn set_patience(&mut self, patience: Option<Duration>) {
        match self {
            Self::H1(session) => session.set_patience(patience),
            Self::H2(session) => session.read_timeout = patience,
        }
    }

    async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        match self {
            Self::H1(session) => session.next().await.map_err(|error| match error.kind() {
                ErrorKind::TimedOut => BodyError::TimedOut,
                _ => BodyError::Cut,
            }),
            Self::H2(session) => {
                session.read_response_body().await.map_err(|error| match error.etype() {
                    pingora_core::ErrorType::ReadTimedout => BodyError::TimedOut,
                    _ => BodyError::Cut,
                })
            }
        }
    }
}

/// A body on a provider's connection, which can be used again at its end.
pub struct Connection {
    session: Option<Session>,
    peer: Arc<HttpPeer>,
    idle: Arc<Idle>,
    close_delimited: bool,
    /// What was met while looking ahead, for the next call.
    met: Option<BodyError>,
}

impl Connection {
    /// The body of the answer whose header `session` has read.
    pub(super) fn new(
        session: Session,
        peer: Arc<HttpPeer>,
        idle: Arc<Idle>,
        close_delimited: bool,
    ) -> Self {
        Self { session: Some(session), peer, idle, close_delimited, met: None }
    }

    /// The next piece, with what has come behind it already: a burst of chunks
    /// leaves in one write, and nobody waits for more.
    async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        if let Some(error) = self.met.take() {
            return Err(error);
        }
        let Some(first) = self.read().await? else { return Ok(None) };
        let mut all = BytesMut::new();
        while all.len().max(first.len()) < GATHERED {
            match tokio::task::unconstrained(self.read()).now_or_never() {
                Some(Ok(Some(more))) => {
                    if all.is_empty() {
                        all.reserve(GATHERED);
                        all.extend_from_slice(&first);
                    }
                    all.extend_from_slice(&more);
                }
                Some(Err(error)) => {
                    self.met = Some(error);
                    break;
                }
                Some(Ok(None)) | None => break,
            }
        }
        // A copy where much of the buffer is empty: pieces may be held for others.
        Ok(Some(match all.len() {
            0 => first,
            few if few < GATHERED / 2 => Bytes::copy_from_slice(&all),
            _ => all.freeze(),
        }))
    }

    async fn read(&mut self) -> Result<Option<Bytes>, BodyError> {
        let Some(session) = self.session.as_mut() else { return Ok(None) };
        match session.next().await {
            Ok(Some(piece)) => Ok(Some(piece)),
            Ok(None) => {
                self.release().await;
                Ok(None)
            }
            Err(error) => {
                self.session = None;
                Err(error)
            }
        }
    }

    /// Gives the connection back to the pool if it can serve another request.
    async fn release(&mut self) {
        // A stream that has ended leaves its connection by itself.
        let Some(Session::H1(session)) = self.session.take() else { return };
        if let Some(stream) = session.reuse().await.and_then(duplex::whole) {
            self.idle.put(self.peer.reuse_hash(), stream);
        }
    }
}
