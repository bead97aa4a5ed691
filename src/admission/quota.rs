//! The monthly quota of one account: requests in a calendar month.
//!
//! A request reserves its place when it is admitted and gives it back unless it
//! is charged, so the count of a month is that of its charged records plus the
//! requests that run: what the ledger's replay rebuilds after any end of the
//! process. Invariant: at no moment are more than the limit reserved or charged.

use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::ToSpan;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::base::clock::Timestamp;

/// One calendar month of a time zone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Month {
    /// Months since the year 0: a later month has a larger number.
    pub number: u32,
    /// The first moment after it.
    pub ends: Timestamp,
}

/// Tells which month a moment lies in. The month that was asked for last is
/// kept, so that an answer usually costs two comparisons.
#[derive(Debug)]
pub struct Calendar {
    zone: TimeZone,
    last: ArcSwap<(Timestamp, Month)>,
}

impl Calendar {
    /// The calendar of `zone`.
    pub fn new(zone: TimeZone) -> Self {
        Self { zone, last: ArcSwap::default() }
    }

    /// The month that `at` lies in.
    pub fn month(&self, at: Timestamp) -> Month {
        let (begins, month) = **self.last.load();
        if begins <= at && at < month.ends {
            return month;
        }
        let (begins, month) = self.find(at).unwrap_or_default();
        self.last.store(Arc::new((begins, month)));
        month
    }

    /// The first moment of the month that `at` lies in.
    pub fn begin(&self, at: Timestamp) -> Timestamp {
        self.find(at).unwrap_or_default().0
    }

    /// `None` for moments that no calendar reaches, thousands of years away.
    fn find(&self, at: Timestamp) -> Option<(Timestamp, Month)> {
        let moment = jiff::Timestamp::from_microsecond(i64::try_from(at.0).ok()?).ok()?;
        let first = self.zone.to_datetime(moment).date().first_of_month();
        let next = first.checked_add(1.month()).ok()?;
        let (year, month) = (u32::try_from(first.year()).ok()?, u32::try_from(first.month()).ok()?);
        let number = year.checked_mul(12)?.checked_add(month)?;
        Some((self.midnight(first)?, Month { number, ends: self.midnight(next)? }))
    }

    fn midnight(&self, date: Date) -> Option<Timestamp> {
        let moment = self.zone.to_timestamp(date.at(0, 0, 0, 0)).ok()?;
        u64::try_from(moment.as_microsecond()).ok().map(Timestamp)
    }
}

/// What a request asks of the quota.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowance {
    /// The month that it counts in.
    pub month: Month,
    /// Requests that the account has in a month; `None` is unlimited.
    pub limit: Option<u64>,
    /// Whether it counts at all.
    pub counts: bool,
}

impl Allowance {
    /// For what does not count and has no limit.
    pub const NONE: Self =
        Self { month: Month { number: 0, ends: Timestamp(0) }, limit: None, counts: false };
}

/// The requests of one account in one month, charged or running.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    month: u32,
    used: u64,
}

impl Quota {
    /// Whether a request that asks for `allowance` finds the quota used up.
    pub fn is_spent(&mut self, allowance: &Allowance) -> bool {
        self.turn(allowance.month.number);
        allowance.counts && allowance.limit.is_some_and(|limit| self.used >= limit)
    }

    /// Reserves one request where it counts; the caller has seen that the quota
    /// is not spent. Gives the month to name when the request is given back.
    pub fn reserve(&mut self, allowance: &Allowance) -> Option<u32> {
        self.turn(allowance.month.number);
        allowance.counts.then(|| {
            self.used = self.used.saturating_add(1);
            self.month
        })
    }

    /// Undoes one `reserve` of `month`; what was reserved in a month that is
    /// over is forgotten with it.
    pub fn give_back(&mut self, month: u32) {
        if month == self.month {
            self.used = self.used.saturating_sub(1);
        }
    }

    /// Counts `quantity` charged requests of `month`, for rebuilding from the
    /// journal. Any order will do.
    pub fn restore(&mut self, month: u32, quantity: u64) {
        self.turn(month);
        if month == self.month {
            self.used = self.used.saturating_add(quantity);
        }
    }

    /// Requests left of the allowance; `None` where it has no limit.
    pub fn left(&self, allowance: &Allowance) -> Option<u64> {
        let used = if self.month >= allowance.month.number { self.used } else { 0 };
        allowance.limit.map(|limit| limit.saturating_sub(used))
    }

    /// Whether nothing counts in `month` any more.
    pub const fn is_empty(&self, month: u32) -> bool {
        self.used == 0 || self.month < month
    }

    /// Begins a later month anew. A wall clock that steps back over the edge of
    /// a month does not bring the month before it back.
    const fn turn(&mut self, month: u32) {
        if month > self.month {
            *self = Self { month, used: 0 };
        }
    }
}

#[cfg(test)]
mod tests;
