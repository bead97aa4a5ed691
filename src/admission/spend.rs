//! What one account, and each of its keys, has used of a calendar month: requests
//! and dollars.
//!
//! A request reserves its place when it is admitted, and the most that it may
//! cost once that is known. Its settlement turns both into what was charged; a
//! request that is not charged gives both back. So a month's figures are those of
//! its charged records plus the requests that run, and the ledger's replay
//! rebuilds them after any end of the process.
//!
//! Invariants: at no moment are more than the limit charged or running, unless
//! overage is sold; at no moment is more than a budget in force at its reservation
//! charged or reserved; of an account that is sold overage, exactly the first
//! requests that are charged, as many as the limit, are within it.

use std::sync::Arc;

use super::quota::Allowance;
use super::warnings::{Crossing, Level, Levels, Marks};
use crate::base::money::Money;
use crate::notice::Kind;

/// Dollars of one month.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spend {
    /// What was charged.
    pub charged: Money,
    /// What running requests may cost at most.
    pub reserved: Money,
}

/// Whose budget does not allow a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purse {
    /// The account's.
    Account,
    /// The key's.
    Key,
    /// The prepaid balance of the account, which has no month.
    Balance,
}

/// Where an account and one of its keys stand in a month.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MonthStanding {
    /// Requests that were charged.
    pub charged: u64,
    /// Requests that run.
    pub running: u64,
    /// The account's dollars.
    pub account: Spend,
    /// The key's dollars.
    pub key: Spend,
    /// The thresholds that they have reached.
    pub levels: Levels,
}

/// What an account has used of one month.
#[derive(Debug, Default)]
struct Used {
    month: u32,
    /// Places of requests that are charged, records that are being written
    /// included.
    places: u64,
    /// Places within the quota that came free after later ones beyond it had been
    /// taken: the next requests have them.
    vacant: u32,
    /// Requests whose charge is in the ledger.
    charged: u64,
    /// Requests that run and may still be charged.
    running: u64,
    spend: Spend,
    marks: Marks,
    /// Only keys that have spent something, in the order of their ids.
    keys: Vec<(Arc<str>, KeyUsed)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct KeyUsed {
    spend: Spend,
    marks: Marks,
}

/// The months of one account that still matter: the present one, and the one
/// before while requests of it run.
#[derive(Debug, Default)]
pub struct Months {
    present: Used,
    last: Option<Box<Used>>,
}

impl Months {
    /// Whether a request that asks for `allowance` finds the quota used up.
    pub fn is_spent(&mut self, allowance: &Allowance) -> bool {
        let used = self.turn(allowance.month.number);
        allowance.counts
            && !allowance.overage
            && allowance.limit.is_some_and(|limit| used.taken() >= limit)
    }

    /// Reserves a place for one request where it counts; the caller has seen that
    /// the quota is not spent. Gives the month to name in what follows.
    pub fn reserve(&mut self, allowance: &Allowance) -> Option<u32> {
        let used = self.turn(allowance.month.number);
        allowance.counts.then(|| {
            used.running = used.running.saturating_add(1);
            used.month
        })
    }

    /// Undoes one `reserve`.
    pub fn release(&mut self, month: u32) {
        if let Some(used) = self.of(month) {
            used.running = used.running.saturating_sub(1);
        }
        self.forget();
    }

    /// Reserves `most` dollars for a request of `key`, on its account and on the
    /// key together or not at all. What costs nothing is never refused.
    ///
    /// # Errors
    /// The budget that does not allow it; nothing is reserved then.
    pub fn hold(
        &mut self,
        month: u32,
        key: &Arc<str>,
        most: Money,
        allowance: &Allowance,
    ) -> Result<(), Purse> {
        let Some(used) = self.of(month) else { return Ok(()) };
        if most.is_zero() {
            return Ok(());
        }
        if !used.spend.has_room(most, allowance.budget) {
            return Err(Purse::Account);
        }
        let of_key = used.key(key).map_or_else(Spend::default, |key| key.spend);
        if !of_key.has_room(most, allowance.key_budget) {
            return Err(Purse::Key);
        }
        used.spend.reserved += most;
        used.change_key(key, |key| key.spend.reserved += most);
        Ok(())
    }

    /// Undoes one `hold`.
    pub fn let_go(&mut self, month: u32, key: &Arc<str>, most: Money) {
        let Some(used) = self.of(month).filter(|_| !most.is_zero()) else { return };
        used.spend.reserved -= most;
        used.change_key(key, |key| key.spend.reserved -= most);
    }

    /// Takes the next place among the month's charged requests for one that ran.
    /// Gives whether it lies beyond the quota.
    pub fn take_place(&mut self, month: u32, allowance: &Allowance) -> bool {
        let Some(used) = self.of(month) else { return false };
        used.running = used.running.saturating_sub(1);
        used.places = used.places.saturating_add(1);
        if used.vacant > 0 {
            used.vacant -= 1;
            return false;
        }
        allowance.limit.is_some_and(|limit| used.places > limit)
    }

    /// Undoes one `take_place`, which gave `beyond`: the record could not be
    /// written.
    pub fn return_place(&mut self, month: u32, beyond: bool, allowance: &Allowance) {
        let Some(used) = self.of(month) else { return };
        used.places = used.places.saturating_sub(1);
        if !beyond && allowance.limit.is_some_and(|limit| used.places >= limit) {
            used.vacant = used.vacant.saturating_add(1);
        }
        used.running = used.running.saturating_add(1);
    }

    /// Counts a request whose place was taken and whose record is written. Gives
    /// the thresholds that it crossed.
    pub fn charge(
        &mut self,
        month: u32,
        key: &Arc<str>,
        price: Money,
        allowance: &Allowance,
    ) -> Vec<Crossing> {
        let mut crossings = Vec::new();
        let Some(used) = self.of(month) else { return crossings };
        let before = used.charged;
        used.charged = before.saturating_add(1);
        if let Some(limit) = allowance.limit {
            let step = (u128::from(before), u128::from(used.charged));
            used.marks.cross(Kind::Quota, step, u128::from(limit), &mut crossings, |requests| {
                requests.to_string()
            });
        }
        if !price.is_zero() {
            let step = used.spend.add(price);
            if let Some(budget) = allowance.budget {
                used.marks.cross_dollars(Kind::Budget, step, budget, &mut crossings);
            }
            used.change_key(key, |key| {
                let step = key.spend.add(price);
                if let Some(budget) = allowance.key_budget {
                    key.marks.cross_dollars(Kind::KeyBudget, step, budget, &mut crossings);
                }
            });
        }
        self.forget();
        crossings
    }

    /// Counts charged requests of the past, for rebuilding from the journal. Any
    /// order will do. No threshold is crossed by it.
    pub fn restore(&mut self, month: u32, key: &Arc<str>, quantity: u64, price: Money) {
        let used = self.turn(month);
        if month != used.month {
            return;
        }
        used.places = used.places.saturating_add(quantity);
        used.charged = used.charged.saturating_add(quantity);
        if !price.is_zero() {
            used.spend.charged += price;
            used.change_key(key, |key| key.spend.charged += price);
        }
    }

    /// Requests left of the allowance; `None` where it has no limit.
    pub fn left(&self, allowance: &Allowance) -> Option<u64> {
        let taken = self.at(allowance).map_or(0, Used::taken);
        allowance.limit.map(|limit| limit.saturating_sub(taken))
    }

    /// Whether more than the limit is charged or running.
    pub fn is_beyond(&self, allowance: &Allowance) -> bool {
        let taken = self.at(allowance).map_or(0, Used::taken);
        allowance.limit.is_some_and(|limit| taken > limit)
    }

    /// Where the account and `key` stand in the month of `allowance`.
    pub fn standing(&self, key: &str, allowance: &Allowance) -> MonthStanding {
        let Some(used) = self.at(allowance) else { return MonthStanding::default() };
        let of_key = used.key(key).map_or_else(Spend::default, |key| key.spend);
        let dollars = |spend: Spend, budget: Option<Money>| {
            budget.map_or(Level::Below, |budget| {
                Level::of(spend.charged.picos().unsigned_abs(), budget.picos().unsigned_abs())
            })
        };
        let requests = |limit: u64| Level::of(u128::from(used.charged), u128::from(limit));
        MonthStanding {
            charged: used.charged,
            running: used.running,
            account: used.spend,
            key: of_key,
            levels: Levels {
                quota: allowance.limit.map_or(Level::Below, requests),
                budget: dollars(used.spend, allowance.budget),
                key_budget: dollars(of_key, allowance.key_budget),
            },
        }
    }

    /// Whether nothing counts in `month` any more.
    pub fn is_empty(&self, month: u32) -> bool {
        let present = &self.present;
        self.last.is_none()
            && present.running == 0
            && (present.month < month || (present.places == 0 && present.spend.is_nothing()))
    }

    /// The month called `number`, or the present one where that is later: a wall
    /// clock that steps back over the edge of a month does not bring the month
    /// before it back.
    fn turn(&mut self, number: u32) -> &mut Used {
        if number > self.present.month {
            let next = Used { month: number, ..Used::default() };
            let over = std::mem::replace(&mut self.present, next);
            self.last = (over.running > 0).then(|| Box::new(over));
        }
        &mut self.present
    }

    fn of(&mut self, month: u32) -> Option<&mut Used> {
        if month == self.present.month {
            return Some(&mut self.present);
        }
        self.last.as_deref_mut().filter(|last| last.month == month)
    }

    /// What counts for a request that asks now, without a turn.
    fn at(&self, allowance: &Allowance) -> Option<&Used> {
        (self.present.month >= allowance.month.number).then_some(&self.present)
    }

    /// Drops the month before once nothing of it runs, its records that are being
    /// written included.
    fn forget(&mut self) {
        let over = |last: &Used| last.running == 0 && last.places == last.charged;
        if self.last.as_deref().is_some_and(over) {
            self.last = None;
        }
    }
}

impl Used {
    /// Places that are charged or reserved.
    const fn taken(&self) -> u64 {
        self.places.saturating_add(self.running)
    }

    fn place(&self, key: &str) -> Result<usize, usize> {
        self.keys.binary_search_by(|(id, _)| (**id).cmp(key))
    }

    fn key(&self, key: &str) -> Option<&KeyUsed> {
        let at = self.place(key).ok()?;
        self.keys.get(at).map(|(_, used)| used)
    }

    fn change_key(&mut self, key: &Arc<str>, change: impl FnOnce(&mut KeyUsed)) {
        match self.place(key) {
            Ok(at) => {
                if let Some((_, used)) = self.keys.get_mut(at) {
                    change(used);
                }
            }
            Err(at) => {
                let mut used = KeyUsed::default();
                change(&mut used);
                // Most accounts have one key, and more come rarely.
                self.keys.reserve_exact(1);
                self.keys.insert(at, (Arc::clone(key), used));
            }
        }
    }
}

impl Spend {
    fn has_room(&self, most: Money, budget: Option<Money>) -> bool {
        budget.is_none_or(|budget| self.charged + self.reserved + most <= budget)
    }

    /// Adds a charge; gives what was charged before and after.
    fn add(&mut self, price: Money) -> (Money, Money) {
        let before = self.charged;
        self.charged += price;
        (before, self.charged)
    }

    const fn is_nothing(&self) -> bool {
        self.charged.is_zero() && self.reserved.is_zero()
    }
}

#[cfg(test)]
mod tests;
