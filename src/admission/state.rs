//! What one account is doing right now, and the guard of an admitted request.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::windows::{Refusal, Standing, WindowLimits, Windows};

/// The windows and the running requests of one account.
#[derive(Debug, Default)]
pub struct AccountState {
    windows: Mutex<Windows>,
    /// Rises only under the lock of `windows`, so that a check against the limit
    /// holds until the rise; falls without it.
    running: AtomicU32,
}

/// An admitted request. It occupies its place among the account's concurrent
/// requests until dropped; its entry in the windows stays unless it is refunded.
#[derive(Debug)]
#[must_use = "dropping the admission frees the concurrency slot"]
pub struct Admission {
    account: Arc<AccountState>,
    standing: Standing,
}

/// Why a request of an account may not run now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// A window is full.
    #[error(transparent)]
    Rate(Refusal),
    /// As many requests as allowed are running.
    #[error("{limit} requests are running already, as many as the plan allows at once")]
    Concurrency {
        /// Requests allowed at once.
        limit: u32,
        /// Where the windows stand.
        standing: Standing,
    },
}

impl Denied {
    /// Where the account's windows stand.
    pub const fn standing(&self) -> &Standing {
        match self {
            Self::Rate(refusal) => &refusal.standing,
            Self::Concurrency { standing, .. } => standing,
        }
    }
}

impl AccountState {
    /// Admits one request at `now` (of the monotonic clock), with at most
    /// `concurrent` running at once (`u32::MAX` is unlimited). Concurrency is
    /// looked at first and everything is taken in one critical section, so of any
    /// number of simultaneous requests exactly as many pass as the limits say.
    ///
    /// # Errors
    /// [`Denied`]; nothing is then taken.
    pub fn admit(
        self: &Arc<Self>,
        now: Duration,
        limits: &WindowLimits,
        concurrent: u32,
    ) -> Result<Admission, Denied> {
        let standing = {
            let mut windows = self.windows.lock();
            if self.running.load(Ordering::Acquire) >= concurrent {
                let standing = windows.standing(now, limits);
                return Err(Denied::Concurrency { limit: concurrent, standing });
            }
            let standing = windows.take(now, limits).map_err(Denied::Rate)?;
            self.running.fetch_add(1, Ordering::AcqRel);
            standing
        };
        Ok(Admission { account: Arc::clone(self), standing })
    }

    /// Where the account's windows stand at `now`.
    pub fn standing(&self, now: Duration, limits: &WindowLimits) -> Standing {
        self.windows.lock().standing(now, limits)
    }

    /// Counts an admission of the past, for rebuilding from the journal.
    pub fn restore(&self, at: Duration) {
        self.windows.lock().restore(at);
    }

    /// Requests running now.
    pub fn running(&self) -> u32 {
        self.running.load(Ordering::Acquire)
    }

    /// Whether nothing runs and no admission counts any more at `now`.
    pub fn is_idle(&self, now: Duration) -> bool {
        self.windows.lock().is_empty(now) && self.running() == 0
    }
}

impl Admission {
    /// Where the account's windows stood once this request was taken.
    pub const fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Ends the admission as if it had never been: for a request that is refused
    /// at a later point.
    pub fn refund(self) {
        self.account.windows.lock().give_back(self.standing.at);
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.account.running.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests;
