//! A provider's connection in two hands: Pingora's session reads the answer
//! while the body of the request is still written.
//!
//! A session borrows its stream for as long as it waits for an answer, so one
//! that waits could not send. Both hands are used by one task, so the lock is
//! never waited for.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use async_trait::async_trait;
use parking_lot::Mutex;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream,
    TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

/// One hand on a connection.
#[derive(Clone)]
pub(super) struct Hand {
    held: Arc<Held>,
}

struct Held {
    stream: Mutex<Stream>,
    /// Whether a request stands in it half sent.
    spoilt: AtomicBool,
}

impl Hand {
    /// Says whether a request stands in the connection half sent: it can then
    /// serve no other.
    pub(super) fn spoil(&self, spoilt: bool) {
        self.held.spoilt.store(spoilt, Ordering::Relaxed);
    }
}

/// Both hands on `stream`.
pub(super) fn both(stream: Stream) -> (Hand, Hand) {
    let held = Held { stream: Mutex::new(stream), spoilt: AtomicBool::new(false) };
    let hand = Hand { held: Arc::new(held) };
    (hand.clone(), hand)
}

/// The connection that `stream` is the last hand on, or `stream` itself if it is
/// none; `None` while another hand holds it, or if it is spoilt.
pub(super) fn whole(stream: Stream) -> Option<Stream> {
    if !stream.as_any().is::<Hand>() {
        return Some(stream);
    }
    let hand = stream.into_any().downcast::<Hand>().ok()?;
    let held = Arc::into_inner(hand.held)?;
    (!held.spoilt.into_inner()).then(|| held.stream.into_inner())
}

impl AsyncRead for Hand {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.held.stream.lock()).poll_read(cx, buf)
    }
}

impl AsyncWrite for Hand {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.held.stream.lock()).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.held.stream.lock()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.held.stream.lock()).poll_shutdown(cx)
    }
}

#[async_trait]
impl Shutdown for Hand {
    async fn shutdown(&mut self) {
        // A connection that cannot be ended properly is closed by its drop.
        let _unclean = AsyncWriteExt::shutdown(self).await;
    }
}

impl UniqueID for Hand {
    fn id(&self) -> UniqueIDType {
        self.held.stream.lock().id()
    }
}

impl GetTimingDigest for Hand {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.held.stream.lock().get_timing_digest()
    }
}

impl GetProxyDigest for Hand {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.held.stream.lock().get_proxy_digest()
    }
}

impl GetSocketDigest for Hand {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.held.stream.lock().get_socket_digest()
    }
}

impl Ssl for Hand {}
impl Peek for Hand {}

impl fmt::Debug for Hand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hand")
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn one_hand_writes_while_the_other_reads() {
        let (near, mut far) = tokio::io::duplex(4);
        let (mut reader, mut writer) = both(Box::new(near));
        let mut read = [0; 2];
        let reading = reader.read_exact(&mut read);
        let talk = async {
            writer.write_all(b"ask").await.unwrap();
            let mut asked = [0; 3];
            far.read_exact(&mut asked).await.unwrap();
            far.write_all(b"ok").await.unwrap();
            asked
        };
        let (done, asked) = tokio::join!(reading, talk);
        assert_eq!((done.unwrap(), &asked, &read), (2, b"ask", b"ok"));

        let stream: Stream = Box::new(reader);
        assert!(whole(stream).is_none(), "the other hand holds it");
        assert!(whole(Box::new(writer)).is_some());
        let (spoilt, other) = both(Box::new(tokio::io::duplex(1).0));
        spoilt.spoil(true);
        drop(other);
        assert!(whole(Box::new(spoilt)).is_none());
        assert!(whole(Box::new(far)).is_some());
    }
}
