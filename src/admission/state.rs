//! What one account is doing right now, and the guard of an admitted request.

mod purses;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::balance::Balance;
use super::quota::{Allowance, Month};
use super::spend::{MonthStanding, Months, Purse};
use super::tokens::{Reservation, TokenStanding, TokenWindow, TokensDenied};
use super::volume::Volume;
use super::warnings::Charged;
use super::windows::{Refusal, Standing, WindowLimits, Windows};
use crate::base::money::Money;

/// The windows, the months and the running requests of one account.
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
    months: Months,
    /// Made by the first that has a limit of tokens.
    tokens: Option<Box<TokenWindow>>,
    /// Made by the first deposit or charge.
    balance: Option<Box<Balance>>,
}

/// An admitted request. It occupies its place among the account's concurrent
/// requests until dropped; its entry in the windows stays unless it is refunded,
/// its place in the quota, and what it costs, only if it is charged.
#[derive(Debug)]
#[must_use = "dropping the admission frees the concurrency slot"]
pub struct Admission {
    account: Arc<AccountState>,
    standing: Standing,
    allowance: Allowance,
    place: Place,
    /// What is reserved of budgets, and for which key.
    held: Option<(Arc<str>, Money)>,
    /// The class whose number goes with the place that is taken.
    numbered: Option<Arc<str>>,
    quota_left: Option<u64>,
    beyond: bool,
    tokens: Option<Reservation>,
}

/// What a request has of a month's places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// None, or none to give back any more.
    None,
    /// One that is reserved in this month.
    Reserved(u32),
    /// One among the charged ones of this month, beyond the quota or within, whose
    /// record is being written.
    Taken(u32, bool),
}

/// What a charged request is among those of its month.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Whether it lies beyond the quota.
    pub beyond: bool,
    /// Which of its class it is, from 1.
    pub number: u64,
}

/// A budget or a balance does not allow a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a budget or balance of ${budget} does not allow ${most} more")]
pub struct OverBudget {
    /// Whose budget.
    pub purse: Purse,
    /// The budget, or what is left of the balance.
    pub budget: Money,
    /// What the request may cost at most.
    pub most: Money,
    /// The month.
    pub month: Month,
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
        let (standing, reserved, quota_left, beyond) = {
            let mut counts = self.counts.lock();
            let Counts { windows, months, .. } = &mut *counts;
            if self.running.load(Ordering::Acquire) >= concurrent {
                let standing = windows.standing(now, limits);
                return Err(Denied::Concurrency { limit: concurrent, standing });
            }
            if let Some(limit) = allowance.limit.filter(|_| months.is_spent(allowance)) {
                let standing = windows.standing(now, limits);
                return Err(Denied::Quota { limit, month: allowance.month, standing });
            }
            let standing = windows.take(now, limits).map_err(Denied::Rate)?;
            let reserved = months.reserve(allowance);
            self.running.fetch_add(1, Ordering::AcqRel);
            (standing, reserved, months.left(allowance), months.is_beyond(allowance))
        };
        let place = reserved.map_or(Place::None, Place::Reserved);
        let (account, allowance) = (Arc::clone(self), *allowance);
        Ok(Admission {
            account,
            standing,
            allowance,
            place,
            held: None,
            numbered: None,
            quota_left,
            beyond,
            tokens: None,
        })
    }

    /// Where the account's windows stand at `now`.
    pub fn standing(&self, now: Duration, limits: &WindowLimits) -> Standing {
        self.counts.lock().windows.standing(now, limits)
    }

    /// Where each of the account's windows stands at `now`, the shortest first.
    pub fn windows(&self, now: Duration, limits: &WindowLimits) -> [Standing; 3] {
        self.counts.lock().windows.standings(now, limits)
    }

    /// Where the account and its key called `key` stand in the allowance's month.
    pub fn month(&self, key: &str, allowance: &Allowance) -> MonthStanding {
        self.counts.lock().months.standing(key, allowance)
    }

    /// Where the account's tokens stand at `now`, under `limit`.
    pub fn token_standing(&self, now: Duration, limit: u32) -> TokenStanding {
        self.counts.lock().tokens.get_or_insert_default().standing(now, limit)
    }

    /// Requests left of the allowance; `None` where it has no limit.
    pub fn quota_left(&self, allowance: &Allowance) -> Option<u64> {
        self.counts.lock().months.left(allowance)
    }

    /// Counts an admission of the past, for rebuilding from the journal.
    pub fn restore(&self, at: Duration) {
        self.counts.lock().windows.restore(at);
    }

    /// Counts charged requests of the past of the key called `key`, and what they
    /// cost together, for rebuilding from the journal.
    pub fn restore_month(&self, month: u32, key: &Arc<str>, quantity: u64, price: Money) {
        self.counts.lock().months.restore(month, key, quantity, price);
    }

    /// Counts tokens of the past, for rebuilding from the journal.
    pub fn restore_tokens(&self, at: Duration, tokens: u64) {
        self.counts.lock().tokens.get_or_insert_default().restore(at, tokens);
    }

    /// How many requests of each class were charged.
    pub const fn volume(&self) -> &Volume {
        &self.volume
    }

    /// Requests running now.
    pub fn running(&self) -> u32 {
        self.running.load(Ordering::Acquire)
    }

    /// Whether nothing runs, no admission counts any more at `now` in a window or
    /// in `month`, and there is no balance.
    pub fn is_idle(&self, now: Duration, month: u32) -> bool {
        if self.running() > 0 {
            return false;
        }
        let mut counts = self.counts.lock();
        // An account may have no limit of tokens any more.
        counts.tokens.take_if(|tokens| tokens.is_empty(now));
        let empty = counts.windows.is_empty(now) && counts.months.is_empty(month);
        // A request that was refused leaves an empty one.
        counts.balance.take_if(|balance| **balance == Balance::default());
        let unpaid = counts.tokens.is_none() && counts.balance.is_none();
        empty && unpaid && self.volume.is_empty(month)
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

    /// Whether the request may lie beyond the quota: more are charged or running
    /// than it has places.
    pub const fn is_beyond(&self) -> bool {
        self.beyond
    }

    /// Whether what the request costs is paid from a prepaid balance.
    pub const fn is_prepaid(&self) -> bool {
        self.allowance.prepaid
    }

    /// Reserves `most` dollars of the budgets of the account and of the key called
    /// `key`, and of the balance of an account that is prepaid, together or not at
    /// all. Call it once.
    ///
    /// # Errors
    /// [`OverBudget`]; nothing is then reserved.
    pub fn hold(&mut self, key: &Arc<str>, most: Money) -> Result<(), OverBudget> {
        let Place::Reserved(month) = self.place else { return Ok(()) };
        let held = self.account.counts.lock().hold(month, key, most, &self.allowance);
        held.map_err(|(purse, budget)| OverBudget {
            purse,
            budget,
            most,
            month: self.allowance.month,
        })?;
        self.held = Some((Arc::clone(key), most));
        Ok(())
    }

    /// The most that may be charged for the request: what is reserved of a budget or
    /// the balance for it; `None` where it spends none.
    pub fn ceiling(&self) -> Option<Money> {
        let Allowance { budget, key_budget, prepaid, .. } = &self.allowance;
        let spends = *prepaid || budget.or(*key_budget).is_some();
        self.held.as_ref().filter(|_| spends).map(|(_, most)| *most)
    }

    /// Takes the request's place among the charged ones, and its number among those
    /// of `class`, as its record is about to be written.
    pub fn take_place(&mut self, class: &Arc<str>) -> Taken {
        let Place::Reserved(month) = self.place else {
            return Taken { beyond: false, number: self.next_number(class) };
        };
        let beyond = self.account.counts.lock().months.take_place(month, &self.allowance);
        self.place = Place::Taken(month, beyond);
        self.numbered = Some(Arc::clone(class));
        Taken { beyond, number: self.account.volume.take(class, month) }
    }

    /// The number that the next charged request of `class` would have.
    pub fn next_number(&self, class: &str) -> u64 {
        self.account.volume.next(class, self.allowance.month.number)
    }

    /// Undoes `take_place`: the record could not be written.
    pub fn return_place(&mut self) {
        let Place::Taken(month, beyond) = self.place else { return };
        self.place = Place::Reserved(month);
        self.account.counts.lock().months.return_place(month, beyond, &self.allowance);
        if let Some(class) = self.numbered.take() {
            self.account.volume.give_back(&class, month);
        }
    }

    /// Keeps the place that was taken for good, with what the request costs: its
    /// record is written.
    pub fn charge(&mut self, key: &Arc<str>, price: Money) -> Charged {
        let Place::Taken(month, _) = self.place else { return Charged::default() };
        self.place = Place::None;
        let mut counts = self.account.counts.lock();
        if let Some((key, most)) = self.held.take() {
            counts.let_go(month, &key, most, &self.allowance);
        }
        if self.allowance.prepaid && !price.is_zero() {
            counts.balance.get_or_insert_default().charge(price);
        }
        let crossings = counts.months.charge(month, key, price, &self.allowance);
        Charged { crossings, levels: counts.months.standing(key, &self.allowance).levels }
    }

    /// The month that the request counts in.
    pub const fn month(&self) -> Month {
        self.allowance.month
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
        self.return_place();
        if let Place::Reserved(month) = self.place {
            let mut counts = self.account.counts.lock();
            if let Some((key, most)) = self.held.take() {
                counts.let_go(month, &key, most, &self.allowance);
            }
            counts.months.release(month);
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
