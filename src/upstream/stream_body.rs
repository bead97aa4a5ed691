//! A call whose body is sent as it comes, with its answer looked for meanwhile.
//!
//! The body cannot be sent twice, so it goes over a fresh connection: one from
//! the pool may turn out to be closed. The connection joins the pool once the
//! whole body was sent and the whole answer read.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::HeaderMap;
use http::header::{CONNECTION, UPGRADE};
use pingora_core::protocols::ALPN;
use pingora_core::upstreams::peer::HttpPeer;
use tokio::io::AsyncWriteExt;

use crate::upstream::duplex::{self, Hand};
use crate::upstream::http1::Http1;
use crate::upstream::reply::Session;
use crate::upstream::{Call, Connections, Failure, Origin, Reply};

/// Longest that a provider may take for one piece of a body.
const WRITE: Duration = Duration::from_secs(60);
/// What a browser's client puts its key into, which stays here.
const KEY_PROTOCOL: &[u8] = b"openai-insecure-api-key.";

/// How the end of a streamed body is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// It has this many bytes.
    Length(u64),
    /// It comes in chunks.
    Chunked,
    /// It is no body: the connection becomes a WebSocket.
    Upgrade,
}

/// The head of a call whose body follows.
#[derive(Debug)]
pub struct Opening {
    head: Bytes,
    framing: Framing,
}

impl Opening {
    /// `call` for `origin`, with the origin's credentials; the body of `call`
    /// is left out.
    pub fn new(origin: &Origin, call: &Call<'_>, framing: Framing) -> Self {
        let mut head = BytesMut::with_capacity(1_024);
        let credentials = origin.credentials();
        let target = [call.method.as_str(), " ", &origin.base().path, call.path];
        for part in target.into_iter().chain(credentials.query(call.query)) {
            head.put_slice(part.as_bytes());
        }
        head.put_slice(b" HTTP/1.1\r\n");
        head.put_slice(credentials.lines.expose().as_bytes());
        for (name, value) in credentials.headers(call.headers) {
            put(&mut head, name.as_str(), value.as_bytes());
        }
        match framing {
            Framing::Length(length) => {
                put(&mut head, "content-length", itoa::Buffer::new().format(length).as_bytes());
            }
            Framing::Chunked => put(&mut head, "transfer-encoding", b"chunked"),
            Framing::Upgrade => put_upgrade(&mut head, call.headers),
        }
        head.put_slice(b"\r\n");
        Self { head: head.freeze(), framing }
    }
}

fn put(head: &mut BytesMut, name: &str, value: &[u8]) {
    head.put_slice(name.as_bytes());
    head.put_slice(b": ");
    head.put_slice(value);
    head.put_slice(b"\r\n");
}

/// The headers of a WebSocket's opening handshake (RFC 6455 §4.1), without the
/// client's key, and without extensions: frames are followed, so nothing may be
/// compressed.
fn put_upgrade(head: &mut BytesMut, headers: &HeaderMap) {
    put(head, CONNECTION.as_str(), b"Upgrade");
    put(head, UPGRADE.as_str(), b"websocket");
    for (name, value) in headers.iter().filter(|it| it.0.as_str().starts_with("sec-websocket-")) {
        if name == "sec-websocket-extensions" {
            continue;
        }
        if name != "sec-websocket-protocol" {
            put(head, name.as_str(), value.as_bytes());
            continue;
        }
        let parts = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        let kept: Vec<&[u8]> = parts.filter(|part| !part.starts_with(KEY_PROTOCOL)).collect();
        if !kept.is_empty() {
            put(head, name.as_str(), &kept.join(&b", "[..]));
        }
    }
}

/// The sending half of an open call. Dropped before its end, the provider's
/// connection is closed once the answer is read or dropped too.
pub struct Sending {
    out: Hand,
    framing: Framing,
}

/// The answering half of an open call.
pub struct Answering<'c> {
    connections: &'c Connections,
    session: Http1,
    peer: Arc<HttpPeer>,
    chunk: Duration,
}

impl Connections {
    /// Connects to `origin` and sends the head of a call. `before_send` runs
    /// before bytes go out, and stops the call if it fails.
    ///
    /// # Errors
    /// [`Failure`], or what `before_send` says.
    pub async fn open<E: From<Failure>>(
        &self,
        origin: &Arc<Origin>,
        opening: Opening,
        before_send: impl FnOnce() -> Result<(), E>,
    ) -> Result<(Sending, Answering<'_>), E> {
        let mut peer = HttpPeer::clone(&*origin.peer(0).await?);
        peer.options.alpn = ALPN::H1;
        let peer = Arc::new(peer);
        let stream = self.connect_plain(&peer).await?;
        before_send()?;
        let (reader, out) = duplex::both(stream);
        out.spoil(true);
        let mut sending = Sending { out, framing: opening.framing };
        sending.write(&[&opening.head]).await?;
        let session = Http1::new(Box::new(reader), None);
        let chunk = origin.timeouts().chunk;
        Ok((sending, Answering { connections: self, session, peer, chunk }))
    }
}

impl Sending {
    /// Sends a piece of the body; waits while the provider takes none.
    ///
    /// # Errors
    /// [`Failure::NoAnswer`] if the connection is closed, [`Failure::TimedOut`]
    /// if the provider takes nothing for 60 s. It may have answered all the
    /// same.
    pub async fn send(&mut self, piece: &[u8]) -> Result<(), Failure> {
        if piece.is_empty() {
            return Ok(());
        }
        if let Framing::Length(left) = &mut self.framing {
            // A longer body would be read as the next request.
            *left = left.checked_sub(piece.len() as u64).ok_or(Failure::NoAnswer)?;
        }
        if self.framing != Framing::Chunked {
            return self.write(&[piece]).await;
        }
        let size = format!("{:x}\r\n", piece.len());
        self.write(&[size.as_bytes(), piece, b"\r\n"]).await
    }

    /// Ends the body.
    ///
    /// # Errors
    /// As [`Sending::send`], and [`Failure::NoAnswer`] if it is not as long as
    /// was said: the connection is then not used again.
    pub async fn finish(mut self) -> Result<(), Failure> {
        if self.framing == Framing::Chunked {
            self.write(&[b"0\r\n\r\n"]).await?;
        }
        if matches!(self.framing, Framing::Length(1..)) {
            return Err(Failure::NoAnswer);
        }
        self.out.spoil(false);
        Ok(())
    }

    async fn write(&mut self, parts: &[&[u8]]) -> Result<(), Failure> {
        let out = &mut self.out;
        let written = tokio::time::timeout(WRITE, async {
            for part in parts {
                out.write_all(part).await?;
            }
            out.flush().await
        });
        match written.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Failure::NoAnswer),
            Err(_) => Err(Failure::TimedOut),
        }
    }
}

impl Answering<'_> {
    /// Waits for the answer's head, for as long as the caller does. Safe to
    /// cancel.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn head(&mut self) -> Result<(), Failure> {
        self.session.read_head().await
    }

    /// The answer whose head has come.
    pub fn reply(self) -> Reply {
        self.connections.reply(Session::H1(self.session), self.peer, self.chunk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::TestClock;
    use crate::base::clock::Timestamp;
    use crate::base::secret::Secret;
    use crate::config::{BaseUrl, Manner};
    use crate::upstream::Timeouts;
    use http::Method;

    fn head(method: Method, headers: &[(&'static str, &str)], framing: Framing) -> String {
        let base = BaseUrl { tls: false, host: "a".into(), port: 80, path: "/v1".into() };
        let second = Duration::from_secs(1);
        let timeouts = Timeouts { connect: second, first_byte: second, chunk: second };
        let clock = Arc::new(TestClock::at(Timestamp(0)));
        let origin = Origin::new(base, &Secret::new("sk"), &Manner::default(), timeouts, clock);
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()))
            .collect();
        let call =
            Call { method, path: "/x", query: Some("q=1"), headers: &headers, body: Vec::new() };
        let opening = Opening::new(&origin, &call, framing);
        String::from_utf8(opening.head.to_vec()).unwrap()
    }

    #[test]
    fn a_body_is_framed_as_the_clients_was() {
        let sent = [("content-type", "multipart/form-data; boundary=b"), ("cookie", "c")];
        let common = "POST /v1/x?q=1 HTTP/1.1\r\nhost: a\r\nauthorization: Bearer sk\r\n\
                      content-type: multipart/form-data; boundary=b\r\n";
        assert_eq!(
            head(Method::POST, &sent, Framing::Length(7)),
            format!("{common}content-length: 7\r\n\r\n")
        );
        assert_eq!(
            head(Method::POST, &sent, Framing::Chunked),
            format!("{common}transfer-encoding: chunked\r\n\r\n")
        );
    }

    #[test]
    fn a_websocket_is_asked_for_without_the_clients_key() {
        let protocol = "realtime, openai-insecure-api-key.tg_live_x, openai-beta.realtime-v1";
        let sent = [
            ("sec-websocket-key", "k"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-extensions", "permessage-deflate"),
            ("sec-websocket-protocol", protocol),
            ("origin", "https://evil.example"),
        ];
        assert_eq!(
            head(Method::GET, &sent, Framing::Upgrade),
            "GET /v1/x?q=1 HTTP/1.1\r\nhost: a\r\nauthorization: Bearer sk\r\n\
             connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-key: k\r\n\
             sec-websocket-version: 13\r\n\
             sec-websocket-protocol: realtime, openai-beta.realtime-v1\r\n\r\n"
        );
    }
}
