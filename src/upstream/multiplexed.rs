//! HTTP/2 connections to providers: few, shared by many requests.
//!
//! Pingora's own pool lends a connection to one opener at a time, and the
//! others, who do not find it meanwhile, connect anew. Here a connection stays
//! where all find it, the first with room is taken, and one caller at a time
//! connects.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use pingora_core::connectors::http::v2::{ConnectionRef, H2HandshakeSettings, handshake};
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::v2::client::Http2Session;

use crate::upstream::Failure;

/// Requests at once on one connection, where the provider allows as many.
const STREAMS: usize = 100;
/// How long an unused connection is kept; it may be twice as long.
const IDLE: Duration = Duration::from_secs(60);
/// How often a connection is asked whether its other end is still there.
const PING: Duration = Duration::from_secs(30);
/// Bytes of one answer that may be under way unread.
const STREAM_WINDOW: u32 = 1024 * 1024;
/// Bytes of all answers of one connection that may be under way unread.
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;

/// The lanes to every address that was ever called with TLS.
#[derive(Default)]
pub(super) struct Lanes {
    lanes: RwLock<HashMap<u64, Arc<Lane>>>,
}

impl Lanes {
    /// The lane to the address with this key of Pingora's pool.
    pub(super) fn to(&self, key: u64) -> Arc<Lane> {
        if let Some(lane) = self.lanes.read().get(&key) {
            return lane.clone();
        }
        self.lanes.write().entry(key).or_default().clone()
    }
}

/// The HTTP/2 connections to one address.
#[derive(Default)]
pub(super) struct Lane {
    connections: Mutex<Vec<Arc<Held>>>,
    /// Held while connecting, as long as HTTP/2 is to be expected: those who
    /// come meanwhile share the connection.
    pub(super) turn: tokio::sync::Mutex<()>,
    /// Whether the last connection made was one of HTTP/1.1.
    one_at_a_time: AtomicBool,
}

struct Held {
    connection: ConnectionRef,
    /// Requests so far.
    taken: AtomicU64,
}

impl Held {
    fn is_usable(&self) -> bool {
        !self.connection.is_closed() && !self.connection.is_shutting_down()
    }
}

impl Lane {
    /// A stream for one request on a connection that is there.
    pub(super) async fn stream(&self) -> Option<Box<Http2Session>> {
        loop {
            let held = {
                let mut connections = self.connections.lock();
                connections.retain(|held| held.is_usable());
                let mut all = connections.iter();
                all.find(|held| held.connection.more_streams_allowed()).cloned()?
            };
            held.taken.fetch_add(1, Ordering::Relaxed);
            match held.connection.spawn_stream().await {
                Ok(Some(stream)) => return Some(Box::new(stream)),
                // Another took the last place: look again.
                Ok(None) => {}
                Err(_) => held.connection.mark_shutdown(),
            }
        }
    }

    /// Whether the provider is known not to speak HTTP/2 there.
    pub(super) fn is_http1(&self) -> bool {
        self.one_at_a_time.load(Ordering::Relaxed)
    }

    /// Notes that the provider chose HTTP/1.1.
    pub(super) fn set_http1(&self) {
        self.one_at_a_time.store(true, Ordering::Relaxed);
    }

    /// Begins HTTP/2 on `stream`, lets others have the connection too, and
    /// gives the stream for one request.
    ///
    /// # Errors
    /// [`Failure::NoAnswer`] if the other end does not speak it after all.
    pub(super) async fn begin(
        self: &Arc<Self>,
        stream: Stream,
    ) -> Result<Box<Http2Session>, Failure> {
        let mut settings = H2HandshakeSettings::new();
        settings.max_streams = STREAMS;
        settings.ping_interval = Some(PING);
        settings.stream_window_size = Some(STREAM_WINDOW);
        settings.connection_window_size = Some(CONNECTION_WINDOW);
        let connection = handshake(stream, settings).await.map_err(|_| Failure::NoAnswer)?;
        let session = connection.spawn_stream().await.ok().flatten().ok_or(Failure::NoAnswer)?;
        self.one_at_a_time.store(false, Ordering::Relaxed);
        let held = Arc::new(Held { connection, taken: AtomicU64::new(1) });
        self.connections.lock().push(held.clone());
        tokio::spawn(self.clone().keep(held));
        Ok(Box::new(session))
    }

    /// Lets go of a connection once it is broken or has not been used for a
    /// while; it closes with its last stream.
    async fn keep(self: Arc<Self>, held: Arc<Held>) {
        let mut before = 0;
        loop {
            tokio::time::sleep(IDLE).await;
            let taken = held.taken.load(Ordering::Relaxed);
            let idle = taken == before && held.connection.is_idle();
            if idle || !held.is_usable() {
                break;
            }
            before = taken;
        }
        self.connections.lock().retain(|other| !Arc::ptr_eq(other, &held));
    }
}
