//! One request and its answer: the vocabulary that stages share.

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode, request};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::base::clock::Timestamp;
use crate::base::headers::Fields;
use crate::base::id::RecordId;
use crate::config::Class;
use crate::notice::Kind;

/// The client's side of one request, whatever the HTTP version.
///
/// `gateway` implements it on Pingora's session; stages see only this.
pub trait Client: Send {
    /// The request's head.
    fn head(&self) -> &request::Parts;

    /// The address that the request came from, behind trusted proxies: the one
    /// that limits go by.
    fn address(&self) -> Option<IpAddr>;

    /// The next piece of the request's body, `None` at its end. Answers
    /// `expect: 100-continue` before the first read.
    fn read(&mut self) -> impl Future<Output = Result<Option<Bytes>, ReadError>> + Send;

    /// Appends what comes next of the request's body to `whole`; how many bytes that
    /// is, 0 at its end. For a body that is wanted in one piece: it is copied once less
    /// than with [`Self::read`].
    fn read_into(
        &mut self,
        whole: &mut BytesMut,
    ) -> impl Future<Output = Result<usize, ReadError>> + Send;

    /// Resolves when the client has left. To be raced against the provider.
    fn gone(&mut self) -> impl Future<Output = ()> + Send;

    /// Sends a whole answer in as few writes as possible.
    fn send_whole(
        &mut self,
        head: AnswerHead,
        body: Bytes,
    ) -> impl Future<Output = Result<(), Gone>> + Send;

    /// Begins an answer that is sent in pieces. Its length is not known unless
    /// the head has a `content-length`.
    fn send_head(&mut self, head: AnswerHead) -> impl Future<Output = Result<(), Gone>> + Send;

    /// Sends a piece of it at once.
    fn send(&mut self, piece: Bytes) -> impl Future<Output = Result<(), Gone>> + Send;

    /// Ends it properly.
    fn finish(&mut self) -> impl Future<Output = Result<(), Gone>> + Send;

    /// Answers 101 and gives up the connection, which speaks another protocol
    /// from here on; the bytes have come already.
    fn upgrade(
        &mut self,
        head: AnswerHead,
    ) -> impl Future<Output = Result<(Bytes, Box<dyn Raw>), Gone>> + Send;

    /// Whether the head of an answer has been sent.
    fn has_answered(&self) -> bool;
}

/// A connection without HTTP.
pub trait Raw: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Raw for T {}

/// The head of an answer; the gateway adds what HTTP itself needs.
#[derive(Debug)]
pub struct AnswerHead {
    /// The status.
    pub status: StatusCode,
    /// The headers without framing, but for a known length.
    pub headers: HeaderMap,
    /// Further headers, whose names are not among those.
    pub own: Fields,
}

/// The client is not there any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the client has left")]
pub struct Gone;

/// Why a body could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Nothing came for too long.
    #[error("the body came too slowly")]
    Slow,
    /// It ended before its length, or its chunks are malformed.
    #[error("the body is cut or malformed")]
    Broken,
}

/// How an exchange with a client ended, for the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The answer was handed over whole.
    Complete,
    /// The answer broke off: the connection must not look complete.
    Cut,
}

/// What is known of a request before anything is decided, and what the answer's
/// headers say whatever the decision.
#[derive(Debug)]
pub struct Exchange {
    /// The identifier of its record.
    pub id: RecordId,
    /// `x-request-id` of the answer: the client's own where it is sane.
    pub request_id: Arc<str>,
    /// When the head had been read, on the wall clock.
    pub received: Timestamp,
    /// The same moment on the monotonic clock.
    pub started: Duration,
    /// Time spent waiting for the client's body or for a provider so far.
    pub waited: Duration,
    /// The class, once chosen.
    pub class: Option<Arc<Class>>,
    /// The plan's name, once the caller is known.
    pub plan: Option<Arc<str>>,
    /// Whether a bill was opened, which then counts the request.
    pub billed: bool,
    /// The window with the fewest requests remaining, once admitted.
    pub standing: Option<RateStanding>,
    /// Where the account's tokens stand, if it has a limit of them.
    pub token_standing: Option<RateStanding>,
    /// Tokens that this request holds, which `token_standing` is without.
    pub tokens_held: u32,
    /// What the cache had to do with the answer.
    pub cache: CacheResult,
    /// How old the answer is, in seconds, if it came from the cache.
    pub age: Option<u64>,
    /// Requests left in the account's month, once known; `None` where the month
    /// has no limit.
    pub quota_left: Option<u64>,
    /// Whether `quota_left` is without a place that this request holds.
    pub quota_held: bool,
    /// The month's limits of which the account or its key has reached a threshold,
    /// each with the threshold in percent.
    pub warnings: Vec<(Kind, u8)>,
    /// The value of `x-tollgate-route` of an answer that is Tollgate's own.
    pub route: Option<String>,
    /// The shape of refusals.
    pub errors: Errors,
}

/// Whose error object a refusal has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Errors {
    /// OpenAI's.
    #[default]
    OpenAi,
    /// Anthropic's, on the paths of its Messages.
    Anthropic,
}

impl Exchange {
    /// Notes that the request's place in the month's quota is free again, if it
    /// held one.
    pub fn quota_returned(&mut self) {
        if std::mem::take(&mut self.quota_held) {
            self.quota_left = self.quota_left.map(|left| left.saturating_add(1));
        }
    }

    /// Notes that the tokens that the request held are free again.
    pub fn tokens_returned(&mut self) {
        let held = std::mem::take(&mut self.tokens_held);
        if let Some(standing) = &mut self.token_standing {
            standing.remaining = standing.remaining.saturating_add(held).min(standing.limit);
        }
    }
}

/// What the cache had to do with an answer: the value of `x-tollgate-cache`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CacheResult {
    /// Nothing: the answer was not looked up.
    #[default]
    Bypass,
    /// It was looked up and not there.
    Miss,
    /// It came from there.
    Hit,
    /// It came from there, past its time.
    Stale,
    /// It was shared with a request that was running.
    Coalesced,
    /// It was made in one call with those of other requests.
    Batched,
}

impl CacheResult {
    /// Every result, in the order of their declaration.
    pub const ALL: [Self; 6] =
        [Self::Bypass, Self::Miss, Self::Hit, Self::Stale, Self::Coalesced, Self::Batched];

    /// The name in headers, records and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Miss => "miss",
            Self::Hit => "hit",
            Self::Stale => "stale",
            Self::Coalesced => "coalesced",
            Self::Batched => "batched",
        }
    }
}

/// Where a caller stands in one window, for `x-ratelimit-*`: in requests, or in
/// tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateStanding {
    /// What the window holds.
    pub limit: u32,
    /// What is left of it.
    pub remaining: u32,
    /// Until the window is whole again.
    pub reset: Duration,
}
