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

/// Counts a charged request of before the start in its account's quota, and its
/// price in what the account and its key have spent, where `month`, the present
/// one, is its month.
pub(super) fn month(rates: &Rates, calendar: &Calendar, month: u32, record: &UsageRecord) {
    if record.quantity > 0 && calendar.month(record.time).number == month {
        let quantity = u64::from(record.quantity);
        let account = rates.account(&record.account);
        account.restore_month(month, &record.key_id, quantity, record.price);
    }
}
