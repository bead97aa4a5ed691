//! The limits of client addresses: requests a minute and an hour, requests at
//! once, unknown keys a minute.
//!
//! Memory does not follow the addresses seen: the windows are `suspects`, and
//! the requests at once are counted only while they run.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::sketch::WIDEST;
use super::suspects::{AddressWindows, Over, Taken};
use super::windows::{Refusal, Window, WindowLimits};
use crate::base::network::AddressKey;
use crate::base::tally::{Tallied, Tally};
use crate::config::IpLimits;

/// Addresses above half a limit that are counted exactly.
const SUSPECTS: usize = 65_536;
/// The same for unknown keys.
const GUESSERS: usize = 8_192;
/// Places a row of the sketch of unknown keys, which are rarer than requests.
const GUESSES: usize = 16_384;

/// What every address has asked lately, and runs now.
pub struct Addresses {
    requests: AddressWindows<2>,
    unknown_keys: AddressWindows<1>,
    running: Arc<Tally>,
}

/// An admitted request of an address. It occupies its place among those that run
/// at once until dropped; its entry in the windows stays unless it is refunded.
#[must_use = "dropping the admission frees the concurrency slot"]
pub struct AddressAdmission {
    addresses: Arc<Addresses>,
    taken: Option<Taken>,
    _running: Tallied,
}

/// Why a request of an address may not run now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressDenied {
    /// A window is full.
    #[error("{refusal}")]
    Rate {
        /// Which one, and for how long.
        refusal: Refusal,
        /// Whether an estimate decided, for want of room for exact figures.
        estimated: bool,
    },
    /// As many requests as allowed are running.
    #[error("{limit} requests of this address are running already")]
    Concurrency {
        /// Requests allowed at once.
        limit: u32,
    },
}

impl Addresses {
    /// No address is known. Holds about 5 MB, whatever comes, and at most 1.5 kB
    /// for each of 65,536 addresses that ask for more than half a limit.
    pub fn new() -> Arc<Self> {
        let requests = AddressWindows::new([Window::Minute, Window::Hour], WIDEST, SUSPECTS);
        let unknown_keys = AddressWindows::new([Window::Minute], GUESSES, GUESSERS);
        Arc::new(Self { requests, unknown_keys, running: Tally::new() })
    }

    /// Admits one request of `address` at `now` (of the monotonic clock); `None`
    /// where the limits do not apply to the address.
    ///
    /// # Errors
    /// [`AddressDenied`]; nothing is then taken.
    pub fn admit(
        self: &Arc<Self>,
        address: IpAddr,
        limits: &IpLimits,
        now: Duration,
    ) -> Result<Option<AddressAdmission>, AddressDenied> {
        if limits.exempt.contains(address) {
            return Ok(None);
        }
        let key = AddressKey::from(address);
        let Some(running) = self.running.try_enter(key, limits.concurrent) else {
            return Err(AddressDenied::Concurrency { limit: limits.concurrent });
        };
        let windows = WindowLimits {
            minute: limits.per_minute,
            hour: limits.per_hour,
            ..WindowLimits::UNLIMITED
        };
        let denied =
            |Over { refusal, guessed }| AddressDenied::Rate { refusal, estimated: guessed };
        let taken = (windows != WindowLimits::UNLIMITED)
            .then(|| self.requests.take(key, now, &windows).map_err(denied))
            .transpose()?;
        Ok(Some(AddressAdmission { addresses: Arc::clone(self), taken, _running: running }))
    }

    /// Counts an unknown key that `address` has presented.
    ///
    /// # Errors
    /// [`Refusal`] where it has presented as many as allowed; that one is not
    /// counted.
    pub fn unknown_key(
        &self,
        address: IpAddr,
        limits: &IpLimits,
        now: Duration,
    ) -> Result<(), Refusal> {
        let minute = limits.failed_keys_per_minute;
        if minute == u32::MAX || limits.exempt.contains(address) {
            return Ok(());
        }
        let limits = WindowLimits { minute, ..WindowLimits::UNLIMITED };
        let taken = self.unknown_keys.take(address.into(), now, &limits);
        taken.map(|_| ()).map_err(|over| over.refusal)
    }

    /// Forgets what does not count any more at `now`; returns how many addresses
    /// had exact figures for nothing. Locks one shard at a time.
    pub fn sweep(&self, now: Duration) -> usize {
        self.requests.sweep(now) + self.unknown_keys.sweep(now)
    }

    /// Addresses with exact figures.
    pub fn suspects(&self) -> usize {
        self.requests.suspects() + self.unknown_keys.suspects()
    }

    /// Addresses that have a request running.
    pub fn active(&self) -> usize {
        self.running.addresses()
    }
}

impl AddressAdmission {
    /// Whether an estimate decided, for want of room for exact figures.
    pub fn is_estimated(&self) -> bool {
        self.taken.is_some_and(|taken| taken.guessed)
    }

    /// Ends the admission as if it had never been: for a request that is refused
    /// at a later point.
    pub fn refund(self) {
        if let Some(taken) = &self.taken {
            self.addresses.requests.give_back(taken);
        }
    }
}

impl std::fmt::Debug for AddressAdmission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AddressAdmission").field("taken", &self.taken).finish_non_exhaustive()
    }
}
