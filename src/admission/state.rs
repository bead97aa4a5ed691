//! What one account is doing right now, and the guard of an admitted request.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::quota::{Allowance, Month, Quota};
use super::volume::Volume;
use super::windows::{Refusal, Standing, WindowLimits, Windows};

/// The windows, the quota and the running requests of one account.
#[derive(Debug, Default)]
pub struct AccountState {
    counts: Mutex<Counts>,
    volume: Volume,
    /// Rises only under the lock of `counts`, so that a check against the limit
    /// holds until the rise; falls without it.
    running: AtomicU32,
}

#[derive(Debug, Default)]
struct Counts {
    windows: Windows,
    quota: Quota,
}

/// An admitted request. It occupies its place among the account's concurrent
/// requests until dropped; its entry in the windows stays unless it is refunded,
/// its place in the quota only if it is charged.
#[derive(Debug)]
#[must_use = "dropping the admission frees the concurrency slot"]
pub struct Admission {
    account: Arc<AccountState>,
    standing: Standing,
    /// The month in which the request has a place reserved.
    reserved: Option<u32>,
    quota_left: Option<u64>,
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
    /// The month's quota is used up.
    #[error("the quota of {limit} requests a month is used up")]
    Quota {
        /// Requests in a month.
        limit: u64,
        /// The month.
        month: Month,
        /// Where the windows stand.
        standing: Standing,
    },
}

impl Denied {
    /// Where the account's windows stand.
    pub const fn standing(&self) -> &Standing {
        match self {
            Self::Rate(refusal) => &refusal.standing,
            Self::Concurrency { standing, .. } | Self::Quota { standing, .. } => standing,
        }
    }
}

impl AccountState {
    /// Admits one request at `now` (of the monotonic clock), with at most
    /// `concurrent` running at once (`u32::MAX` is unlimited). Concurrency is
    /// looked at first, then the quota, then the windows, and everything is taken
    /// in one critical section, so of any number of simultaneous requests exactly
    /// as many pass as the limits say.
    ///
    /// # Errors
    /// [`Denied`]; nothing is then taken.
    pub fn admit(
        self: &Arc<Self>,
        now: Duration,
        limits: &WindowLimits,
        concurrent: u32,
        allowance: &Allowance,
    ) -> Result<Admission, Denied> {
        let (standing, reserved, quota_left) = {
            let mut counts = self.counts.lock();
            let Counts { windows, quota } = &mut *counts;
            if self.running.load(Ordering::Acquire) >= concurrent {
                let standing = windows.standing(now, limits);
                return Err(Denied::Concurrency { limit: concurrent, standing });
            }
            if let Some(limit) = allowance.limit.filter(|_| quota.is_spent(allowance)) {
                let standing = windows.standing(now, limits);
                return Err(Denied::Quota { limit, month: allowance.month, standing });
            }
            let standing = windows.take(now, limits).map_err(Denied::Rate)?;
            let reserved = quota.reserve(allowance);
            self.running.fetch_add(1, Ordering::AcqRel);
            (standing, reserved, quota.left(allowance))
        };
        Ok(Admission { account: Arc::clone(self), standing, reserved, quota_left })
    }

    /// Where the account's windows stand at `now`.
    pub fn standing(&self, now: Duration, limits: &WindowLimits) -> Standing {
        self.counts.lock().windows.standing(now, limits)
    }

    /// Requests left of the allowance; `None` where it has no limit.
    pub fn quota_left(&self, allowance: &Allowance) -> Option<u64> {
        self.counts.lock().quota.left(allowance)
    }

    /// Counts an admission of the past, for rebuilding from the journal.
    pub fn restore(&self, at: Duration) {
        self.counts.lock().windows.restore(at);
    }

    /// Counts charged requests of the past, for rebuilding from the journal.
    pub fn restore_quota(&self, month: u32, quantity: u64) {
        self.counts.lock().quota.restore(month, quantity);
    }

    /// How many requests of each class were charged.
    pub const fn volume(&self) -> &Volume {
        &self.volume
    }

    /// Requests running now.
    pub fn running(&self) -> u32 {
        self.running.load(Ordering::Acquire)
    }

    /// Whether nothing runs, and no admission counts any more at `now` in a
    /// window or in `month`.
    pub fn is_idle(&self, now: Duration, month: u32) -> bool {
        let mut counts = self.counts.lock();
        counts.windows.is_empty(now)
            && counts.quota.is_empty(month)
            && self.volume.is_empty(month)
            && self.running() == 0
    }
}

impl Admission {
    /// Where the account's windows stood once this request was taken.
    pub const fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Requests left in the month once this one was taken; `None` where the
    /// month has no limit.
    pub const fn quota_left(&self) -> Option<u64> {
        self.quota_left
    }

    /// How many requests of each class the account was charged for.
    pub fn volume(&self) -> &Volume {
        &self.account.volume
    }

    /// Keeps the request's place in the quota for good: it is charged.
    pub const fn charge(&mut self) {
        self.reserved = None;
    }

    /// Ends the admission as if it had never been: for a request that is refused
    /// at a later point.
    pub fn refund(self) {
        self.account.counts.lock().windows.give_back(self.standing.at);
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        if let Some(month) = self.reserved {
            self.account.counts.lock().quota.give_back(month);
        }
        self.account.running.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests;
