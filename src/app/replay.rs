//! What the ledger's records say of the windows and quotas in force.
//!
//! Two kinds of counters are rebuilt at a start. Those of the calendar month see
//! [`Sum`]s, in which every record of the month is counted once, so that a start
//! need not read a month. Those of a window see each record of the last day.

use std::time::Duration;

use crate::admission::rate::Rates;
use crate::base::clock::{Clock, Timestamp};
use crate::ledger::{Digest, Sum};

/// A day, the longest window.
const DAY: Duration = Duration::from_secs(86_400);

/// The earliest moment of which a window may still hold an admission.
pub(super) fn windows_from(now: Timestamp) -> Timestamp {
    let day = u64::try_from(DAY.as_micros()).unwrap_or(u64::MAX);
    Timestamp(now.0.saturating_sub(day))
}

/// Counts an admission of before the start, where a window still holds it.
pub(super) fn windows(rates: &Rates, clock: &dyn Clock, record: &Digest<'_>) {
    let age = Duration::from_micros(clock.wall().0.saturating_sub(record.time.0));
    if age < DAY
        && let Some(at) = clock.monotonic().checked_sub(age)
    {
        rates.account(&record.account.into()).restore(at);
    }
}

/// Counts charged requests of the present month, whose number is `month`, in
/// their account's quota.
pub(super) fn quota(rates: &Rates, month: u32, sum: &Sum<'_>) {
    if sum.quantity > 0 {
        rates.account(&sum.account.into()).restore_quota(month, sum.quantity);
    }
}
