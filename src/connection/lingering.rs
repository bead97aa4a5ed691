//! Closing a connection whose client may still be sending.
//!
//! If a socket is closed with unread bytes in it, the kernel sends a reset, and
//! the client may lose the answer that explains why. So the sending side is
//! closed first, and what still comes is read and thrown away for a while
//! (RFC 9112 §9.6).

use std::time::Duration;

use pingora_core::protocols::Stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Http1;

/// Most that is read and thrown away, in bytes.
const DISCARD_BYTES: usize = 256 * 1024;
/// Longest that is waited for it.
const DISCARD_TIME: Duration = Duration::from_secs(1);

/// Half-closes the connection and discards up to 256 KB or 1 s of what comes.
pub(crate) async fn close_lingering(connection: Box<Http1>) {
    let mut stream = connection.into_stream();
    // Time over is the expected end with a client that keeps sending, or reads nothing.
    let _over = tokio::time::timeout(DISCARD_TIME, async {
        if stream.shutdown().await.is_ok() {
            discard(&mut stream).await;
        }
    })
    .await;
}

async fn discard(stream: &mut Stream) {
    let mut scratch = vec![0; 16 * 1024];
    let mut left = DISCARD_BYTES;
    while left > 0 {
        match stream.read(&mut scratch).await {
            Ok(0) | Err(_) => return,
            Ok(count) => left = left.saturating_sub(count),
        }
    }
}
