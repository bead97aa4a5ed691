//! The calendar months that quotas and budgets count in, and what a request asks
//! of its month.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::ToSpan;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::base::clock::Timestamp;
use crate::base::money::Money;

/// One calendar month of a time zone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Month {
    /// Twelve times the year, plus 1 for January to 12 for December: a later month
    /// has a larger number.
    pub number: u32,
    /// Its first moment.
    pub begins: Timestamp,
    /// The first moment after it.
    pub ends: Timestamp,
}

/// Tells which month a moment lies in. The month that was asked for last is
/// kept, so that an answer usually costs two comparisons.
#[derive(Debug)]
pub struct Calendar {
    zone: TimeZone,
    last: ArcSwap<Month>,
}

impl fmt::Display for Month {
    /// Year and month, such as `2026-11`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let before = self.number.saturating_sub(1);
        write!(f, "{:04}-{:02}", before / 12, before % 12 + 1)
    }
}

impl Calendar {
    /// The calendar of `zone`.
    pub fn new(zone: TimeZone) -> Self {
        Self { zone, last: ArcSwap::default() }
    }

    /// The month that `at` lies in.
    pub fn month(&self, at: Timestamp) -> Month {
        let month = **self.last.load();
        if month.begins <= at && at < month.ends {
            return month;
        }
        let month = self.find(at).unwrap_or_default();
        self.last.store(Arc::new(month));
        month
    }

    /// `None` for moments that no calendar reaches, thousands of years away.
    fn find(&self, at: Timestamp) -> Option<Month> {
        let moment = jiff::Timestamp::from_microsecond(i64::try_from(at.0).ok()?).ok()?;
        let first = self.zone.to_datetime(moment).date().first_of_month();
        let next = first.checked_add(1.month()).ok()?;
        let (year, month) = (u32::try_from(first.year()).ok()?, u32::try_from(first.month()).ok()?);
        let number = year.checked_mul(12)?.checked_add(month)?;
        let (begins, ends) = (self.midnight(first)?, self.midnight(next)?);
        Some(Month { number, begins, ends })
    }

    fn midnight(&self, date: Date) -> Option<Timestamp> {
        let moment = self.zone.to_timestamp(date.at(0, 0, 0, 0)).ok()?;
        u64::try_from(moment.as_microsecond()).ok().map(Timestamp)
    }
}

/// What a request asks of its month, and what holds for its account there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowance {
    /// The month that it counts in.
    pub month: Month,
    /// Requests that the account has in a month; `None` is unlimited.
    pub limit: Option<u64>,
    /// Whether requests beyond `limit` are served, at a price of their own.
    pub overage: bool,
    /// Dollars that the account may spend in a month; `None` is unlimited.
    pub budget: Option<Money>,
    /// Dollars that the key may spend in a month; `None` is unlimited.
    pub key_budget: Option<Money>,
    /// Whether it is paid from the account's prepaid balance.
    pub prepaid: bool,
    /// Whether it counts at all.
    pub counts: bool,
}

impl Allowance {
    /// For what does not count and has no limit.
    pub const NONE: Self = Self {
        month: Month { number: 0, begins: Timestamp(0), ends: Timestamp(0) },
        limit: None,
        overage: false,
        budget: None,
        key_budget: None,
        prepaid: false,
        counts: false,
    };

    /// Whether the month has any limit.
    pub const fn is_limited(&self) -> bool {
        self.limit.is_some() || self.budget.is_some() || self.key_budget.is_some()
    }
}

#[cfg(test)]
mod tests;
