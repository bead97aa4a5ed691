//! A stream on top of another: bytes that were read ahead come first, and what
//! passes may be watched.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use bytes::{Buf, BytesMut};
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::tls::{SslDigest, TlsRef};
use pingora_core::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    Stream, TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frames::FrameWatch;

/// `inner` with `ahead` put back in front of it.
///
/// Pingora's own streams can be rewound, but not through the trait object that
/// an application gets; and its TLS wants a type, not a trait object.
#[derive(Debug)]
pub(super) struct Layered {
    ahead: BytesMut,
    inner: Stream,
    watch: Option<FrameWatch>,
}

impl Layered {
    /// `inner`, whose first bytes are `ahead`.
    pub(super) fn new(inner: Stream, ahead: BytesMut) -> Self {
        Self { ahead, inner, watch: None }
    }

    /// The same, ended as `watch` says.
    pub(super) fn watched(inner: Stream, ahead: BytesMut, watch: FrameWatch) -> Self {
        Self { ahead, inner, watch: Some(watch) }
    }

    /// Reads what is ahead, then from the stream below.
    fn poll_below(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            return Pin::new(&mut self.inner).poll_read(cx, buf);
        }
        let count = self.ahead.len().min(buf.remaining());
        buf.put_slice(self.ahead.get(..count).unwrap_or_default());
        self.ahead.advance(count);
        if self.ahead.is_empty() {
            // Its memory is not needed for the rest of the connection.
            self.ahead = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }

    /// What has come of writing, if it may still go on.
    fn written<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if let Some(watch) = &mut self.watch {
            watch.poll_unread(written.is_pending(), cx)?;
        }
        written
    }
}

impl AsyncRead for Layered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let filled = buf.filled().len();
        let read = self.poll_below(cx, buf);
        if let Some(watch) = &mut self.watch {
            match &read {
                Poll::Pending => watch.poll_unfinished(cx)?,
                Poll::Ready(_) => watch.came(buf.filled().get(filled..).unwrap_or_default())?,
            }
        }
        read
    }
}

impl AsyncWrite for Layered {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.written(written, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.written(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(cx);
        self.written(flushed, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[async_trait]
impl Shutdown for Layered {
    async fn shutdown(&mut self) {
        Shutdown::shutdown(&mut *self.inner).await;
    }
}

impl UniqueID for Layered {
    fn id(&self) -> UniqueIDType {
        self.inner.id()
    }
}

impl Ssl for Layered {
    fn get_ssl(&self) -> Option<&TlsRef> {
        self.inner.get_ssl()
    }

    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.inner.get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.inner.selected_alpn_proto()
    }
}

impl GetTimingDigest for Layered {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.inner.get_timing_digest()
    }
}

impl GetProxyDigest for Layered {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.inner.get_proxy_digest()
    }
}

impl GetSocketDigest for Layered {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.inner.get_socket_digest()
    }
}

/// Peeking is not supported: what is ahead would have to be told from what is
/// not, and nothing here peeks.
impl Peek for Layered {}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn what_was_read_ahead_comes_first_in_pieces_of_any_size() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        theirs.write_all(b"and the rest").await.unwrap();
        AsyncWriteExt::shutdown(&mut theirs).await.unwrap();
        let mut layered = Layered::new(Box::new(ours), BytesMut::from(&b"ahead "[..]));
        let mut first = [0; 4];
        assert_eq!(layered.read(&mut first).await.unwrap(), 4);
        assert_eq!(&first, b"ahea");
        let mut rest = String::new();
        layered.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "d and the rest");
        layered.write_all(b"back").await.unwrap();
        let mut back = [0; 4];
        theirs.read_exact(&mut back).await.unwrap();
        assert_eq!(&back, b"back");
    }
}
