//! Calling providers: addresses, connections, time-outs, and the answer as a
//! stream of bytes.
//!
//! Providers are called over Pingora's own connector (its TLS and HTTP), not
//! over its proxy phases. With TLS, HTTP/2 is offered, and spoken where the
//! provider takes it. Dropping a [`Reply`] before its end closes the provider's
//! connection, or resets the stream, at once; that is how a caller that has left
//! stops a call.

mod call;
mod duplex;
mod head;
mod http1;
mod idle;
mod multiplexed;
mod peer;
mod reply;
pub mod roots;
mod stream_body;

use bytes::Bytes;
use http::{HeaderMap, Method};

pub use call::{Connections, Timeouts};
pub use head::{Prepared, forwarded};
pub use peer::Origin;
pub use reply::{Body, BodyError, Recode, Reply};
pub use stream_body::{Answering, Framing, Opening, Sending};

/// One request to a provider.
#[derive(Debug)]
pub struct Call<'a> {
    /// The method.
    pub method: Method,
    /// The path under the provider's base: `/chat/completions`.
    pub path: &'a str,
    /// The client's query string.
    pub query: Option<&'a str>,
    /// The client's headers; an allow-list of them is passed on.
    pub headers: &'a HeaderMap,
    /// The body in pieces.
    pub body: Vec<Bytes>,
}

/// Why there is no answer. Nothing here names the provider's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// No connection: refused, unresolved, bad certificate.
    #[error("the provider could not be reached")]
    Unreachable,
    /// The connection broke before the answer's header was complete.
    #[error("the provider closed the connection without an answer")]
    NoAnswer,
    /// The connection broke within the answer's header.
    #[error("the provider's answer broke off within its header")]
    Torn,
    /// What came is not HTTP.
    #[error("the provider's answer is not HTTP")]
    Garbage,
    /// No connection, or no answer, in time.
    #[error("the provider did not answer in time")]
    TimedOut,
}
