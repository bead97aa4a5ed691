//! A provider's addresses: resolved without blocking, refreshed in the
//! background, kept while the resolver fails.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use pingora_core::upstreams::peer::{ALPN, HttpPeer};

use crate::base::clock::Clock;
use crate::base::network::is_public;
use crate::base::secret::Secret;
use crate::config::{BaseUrl, Manner};
use crate::upstream::head::Credentials;
use crate::upstream::{Failure, Timeouts};

/// How long resolved addresses are used before they are looked up again.
const FRESH: Duration = Duration::from_secs(30);
/// Longest wait for a look-up that a request depends on.
const LOOKUP: Duration = Duration::from_secs(5);

/// Where one provider is.
pub struct Origin {
    base: BaseUrl,
    credentials: Credentials,
    timeouts: Timeouts,
    clock: Arc<dyn Clock>,
    peers: ArcSwapOption<Vec<Arc<HttpPeer>>>,
    /// When `peers` was made, in monotonic milliseconds.
    resolved_at: AtomicU64,
    refreshing: AtomicBool,
    /// Connections are reused within the group alone; 0 is everybody's.
    group: u64,
    /// Whether only addresses of the public internet are called.
    public: bool,
}

impl Origin {
    /// An origin that has not been resolved yet, unless it is an address.
    pub fn new(
        base: BaseUrl,
        key: &Secret,
        manner: &Manner,
        timeouts: Timeouts,
        clock: Arc<dyn Clock>,
    ) -> Arc<Self> {
        let origin = Self {
            credentials: Credentials::new(&base, key, manner),
            peers: ArcSwapOption::empty(),
            resolved_at: AtomicU64::new(0),
            refreshing: AtomicBool::new(false),
            group: 0,
            public: false,
            base,
            timeouts,
            clock,
        };
        if let Some(address) = origin.literal() {
            origin.store(vec![address]);
        }
        Arc::new(origin)
    }

    /// The same with connections that only `group` uses; if `public`, no address is
    /// called that is not one of the public internet, whatever its name resolves to.
    /// `None` if it is in use already.
    pub fn apart(self: Arc<Self>, group: u64, public: bool) -> Option<Arc<Self>> {
        let mut origin = Arc::into_inner(self)?;
        (origin.group, origin.public) = (group, public);
        origin.peers = ArcSwapOption::empty();
        if let Some(address) = origin.literal() {
            origin.keep(vec![address]);
        }
        Some(Arc::new(origin))
    }

    /// Its base URL.
    pub fn base(&self) -> &BaseUrl {
        &self.base
    }

    pub(super) fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    pub(super) fn timeouts(&self) -> Timeouts {
        self.timeouts
    }

    /// The address at place `attempt` (modulo their number), resolving first if
    /// need be.
    ///
    /// # Errors
    /// [`Failure::Unreachable`] if the name cannot be resolved,
    /// [`Failure::TimedOut`] if that takes over 5 s.
    pub(super) async fn peer(self: &Arc<Self>, attempt: usize) -> Result<Arc<HttpPeer>, Failure> {
        if let Some(peers) = self.peers.load_full() {
            self.refresh_if_stale();
            if let Some(peer) = peers.get(attempt % peers.len().max(1)) {
                return Ok(peer.clone());
            }
        }
        match tokio::time::timeout(LOOKUP, self.resolve()).await {
            Ok(true) => {}
            Ok(false) => return Err(Failure::Unreachable),
            Err(_) => return Err(Failure::TimedOut),
        }
        let peers = self.peers.load_full().ok_or(Failure::Unreachable)?;
        peers.get(attempt % peers.len().max(1)).cloned().ok_or(Failure::Unreachable)
    }

    fn literal(&self) -> Option<SocketAddr> {
        let address: IpAddr = self.base.host.parse().ok()?;
        Some(SocketAddr::new(address, self.base.port))
    }

    fn refresh_if_stale(self: &Arc<Self>) {
        let age = self.now().saturating_sub(self.resolved_at.load(Ordering::Relaxed));
        if u128::from(age) < FRESH.as_millis()
            || self.literal().is_some()
            || self.refreshing.swap(true, Ordering::AcqRel)
        {
            return;
        }
        let origin = self.clone();
        tokio::spawn(async move {
            if !origin.resolve().await {
                // The old addresses stay; the next look-up is as far away.
                origin.resolved_at.store(origin.now(), Ordering::Relaxed);
                tracing::warn!(host = %origin.base.host, "a provider's name could not be resolved");
            }
            origin.refreshing.store(false, Ordering::Release);
        });
    }

    async fn resolve(&self) -> bool {
        let Ok(found) = tokio::net::lookup_host((&*self.base.host, self.base.port)).await else {
            return false;
        };
        let found: Vec<SocketAddr> = found.collect();
        let any = !found.is_empty();
        any && self.keep(found)
    }

    /// Stores those of `addresses` that may be called; whether there is any.
    fn keep(&self, mut addresses: Vec<SocketAddr>) -> bool {
        addresses.retain(|address| !self.public || is_public(address.ip()));
        let any = !addresses.is_empty();
        if any {
            self.store(addresses);
        }
        any
    }

    fn store(&self, addresses: Vec<SocketAddr>) {
        let peers = addresses.into_iter().map(|address| Arc::new(self.peer_at(address))).collect();
        self.peers.store(Some(Arc::new(peers)));
        self.resolved_at.store(self.now(), Ordering::Relaxed);
    }

    fn peer_at(&self, address: SocketAddr) -> HttpPeer {
        let server_name = if self.base.tls { self.base.host.to_string() } else { String::new() };
        let mut peer = HttpPeer::new(address, self.base.tls, server_name);
        peer.group_key = self.group;
        if self.base.tls {
            peer.options.alpn = ALPN::H2H1;
        }
        peer.options.connection_timeout = Some(self.timeouts.connect);
        peer.options.total_connection_timeout = Some(self.timeouts.connect);
        peer
    }

    fn now(&self) -> u64 {
        u64::try_from(self.clock.monotonic().as_millis()).unwrap_or(u64::MAX)
    }
}

impl std::fmt::Debug for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Origin").field("host", &self.base.host).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::{TestClock, Timestamp};

    fn origin(host: &str, clock: &Arc<TestClock>) -> Arc<Origin> {
        let base = BaseUrl { tls: false, host: host.into(), port: 80, path: "/v1".into() };
        let second = Duration::from_secs(1);
        let timeouts = Timeouts { connect: second, first_byte: second, chunk: second };
        Origin::new(base, &Secret::default(), &Manner::default(), timeouts, clock.clone())
    }

    fn clock() -> Arc<TestClock> {
        Arc::new(TestClock::at(Timestamp(0)))
    }

    #[tokio::test]
    async fn names_are_resolved_when_needed_and_addresses_at_once() {
        let clock = clock();
        assert!(origin("127.0.0.1", &clock).peers.load().is_some());
        let named = origin("localhost", &clock);
        assert!(named.peers.load().is_none());
        assert!(named.peer(0).await.is_ok());
        assert!(named.peers.load().is_some());
    }

    #[tokio::test]
    async fn stale_addresses_are_used_while_they_are_looked_up_again() {
        let clock = clock();
        let named = origin("localhost", &clock);
        named.peer(0).await.unwrap();
        let before = named.peers.load_full().unwrap();
        clock.advance(FRESH - Duration::from_millis(1));
        named.peer(0).await.unwrap();
        assert!(!named.refreshing.load(Ordering::Relaxed), "not yet");
        clock.advance(Duration::from_millis(1));
        assert!(Arc::ptr_eq(&named.peer(0).await.unwrap(), &before[0]), "nobody waits");
        while Arc::ptr_eq(&named.peers.load_full().unwrap(), &before) {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_name_that_does_not_resolve_fails() {
        let failed = origin("no-such-host.invalid", &clock()).peer(0).await;
        assert!(matches!(failed, Err(Failure::Unreachable | Failure::TimedOut)));
    }
}
