//! What the ledger's records say of the windows and quotas in force.

use std::time::Duration;

use crate::admission::quota::Calendar;
use crate::admission::rate::Rates;
use crate::base::clock::Clock;
use crate::ledger::record::UsageRecord;

/// A day, the longest window.
const DAY: Duration = Duration::from_secs(86_400);

/// Counts an admission of before the start, where a window still holds it.
pub(super) fn windows(rates: &Rates, clock: &dyn Clock, record: &UsageRecord) {
    let age = Duration::from_micros(clock.wall().0.saturating_sub(record.time.0));
    if age < DAY
        && let Some(at) = clock.monotonic().checked_sub(age)
    {
        rates.account(&record.account).restore(at);
    }
}

/// Counts a charged request of before the start in its account's quota and
/// volume, where
/// `month`, the present one, is its month.
pub(super) fn quota(rates: &Rates, calendar: &Calendar, month: u32, record: &UsageRecord) {
    if record.quantity > 0 && calendar.month(record.time).number == month {
        let (account, quantity) = (rates.account(&record.account), u64::from(record.quantity));
        account.restore_quota(month, quantity);
        account.volume().restore(&record.endpoint, month, quantity);
    }
}
