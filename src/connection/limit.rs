//! Open connections of each address, capped.

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::base::tally::{Tallied, Tally};
use crate::config::Config;

/// The open connections of each address. The cap is `limits.ip.connections`;
/// addresses that are exempt and proxies that are trusted have none, since a
/// proxy's connections are many clients'.
pub struct PeerLimit {
    open: Arc<Tally>,
    config: ArcSwap<Config>,
}

/// A connection that may be served, counted until dropped if it has an address
/// to count under.
#[derive(Debug)]
#[must_use = "dropping it ends the counting"]
pub struct Peer {
    _counted: Option<Tallied>,
}

impl PeerLimit {
    /// No connection is open.
    pub fn new(config: Arc<Config>) -> Arc<Self> {
        Arc::new(Self { open: Tally::new(), config: ArcSwap::new(config) })
    }

    /// Puts another configuration in force. Open connections stay open.
    pub fn set(&self, config: Arc<Config>) {
        self.config.store(config);
    }

    /// Counts a connection from `peer`; `None` where it has as many as allowed.
    pub fn enter(&self, peer: Option<IpAddr>) -> Option<Peer> {
        let Some(peer) = peer else { return Some(Peer { _counted: None }) };
        let config = self.config.load();
        let limits = &config.limits.ip;
        if limits.exempt.contains(peer) || config.listen.trusted_proxies.contains(peer) {
            return Some(Peer { _counted: None });
        }
        let counted = self.open.try_enter(peer.into(), limits.connections)?;
        Some(Peer { _counted: Some(counted) })
    }

    /// Addresses that have a connection open.
    pub fn addresses(&self) -> usize {
        self.open.addresses()
    }
}
