//! What one account is doing right now, and the guard of an admitted request.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::quota::{Allowance, Month, Quota};
use super::tokens::{Reservation, TokenStanding, TokenWindow, TokensDenied};
use super::windows::{Refusal, Standing, WindowLimits, Windows};

/// The windows, the quota and the running requests of one account.
#[derive(Debug, Default)]
pub struct AccountState {
    counts: Mutex<Counts>,
    /// Rises only under the lock of `counts`, so that a check against the limit
    /// holds until the rise; falls without it.
    running: AtomicU32,
}

#[derive(Debug, Default)]
struct Counts {
    windows: Windows,
    quota: Quota,
    /// Made by the first that has a limit of tokens.
    tokens: Option<Box<TokenWindow>>,
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
    tokens: Option<Reservation>,
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
            let Counts { windows, quota, .. } = &mut *counts;
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
        let account = Arc::clone(self);
        Ok(Admission { account, standing, reserved, quota_left, tokens: None })
    }

    /// Where the account's windows stand at `now`.
    pub fn standing(&self, now: Duration, limits: &WindowLimits) -> Standing {
        self.counts.lock().windows.standing(now, limits)
    }

    /// Where the account's tokens stand at `now`, under `limit`.
    pub fn token_standing(&self, now: Duration, limit: u32) -> TokenStanding {
        self.counts.lock().tokens.get_or_insert_default().standing(now, limit)
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

    /// Counts tokens of the past, for rebuilding from the journal.
    pub fn restore_tokens(&self, at: Duration, tokens: u64) {
        self.counts.lock().tokens.get_or_insert_default().restore(at, tokens);
    }

    /// Requests running now.
    pub fn running(&self) -> u32 {
        self.running.load(Ordering::Acquire)
    }

    /// Whether nothing runs, and no admission counts any more at `now` in a
    /// window or in `month`.
    pub fn is_idle(&self, now: Duration, month: u32) -> bool {
        if self.running() > 0 {
            return false;
        }
        let mut counts = self.counts.lock();
        // An account may have no limit of tokens any more.
        counts.tokens.take_if(|tokens| tokens.is_empty(now));
        let empty = counts.windows.is_empty(now) && counts.quota.is_empty(month);
        empty && counts.tokens.is_none()
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

    /// Keeps the request's place in the quota for good: it is charged.
    pub const fn charge(&mut self) {
        self.reserved = None;
    }

    /// Reserves `tokens` at `now` under `limit`, in any 60 s, until they are
    /// settled; what is not settled is given back when the admission ends. Call
    /// it once.
    ///
    /// # Errors
    /// [`TokensDenied`]; nothing is then reserved.
    pub fn reserve_tokens(
        &mut self,
        now: Duration,
        limit: u32,
        tokens: u64,
    ) -> Result<TokenStanding, TokensDenied> {
        let mut counts = self.account.counts.lock();
        let window = counts.tokens.get_or_insert_default();
        self.tokens = Some(window.reserve(now, limit, tokens)?);
        Ok(window.standing(now, limit))
    }

    /// Puts the `tokens` that were used in the place of those reserved, if any
    /// were. Gives where the account stands at `now`, with them.
    pub fn settle_tokens(&mut self, now: Duration, tokens: u64) -> Option<TokenStanding> {
        let reservation = self.tokens.take()?;
        let mut counts = self.account.counts.lock();
        let window = counts.tokens.as_mut()?;
        window.settle(reservation, tokens);
        Some(window.standing(now, reservation.limit()))
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
        if let Some(reservation) = self.tokens
            && let Some(window) = &mut self.account.counts.lock().tokens
        {
            window.settle(reservation, 0);
        }
        self.account.running.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests;
