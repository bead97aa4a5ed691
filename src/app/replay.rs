//! What the ledger's records say of the windows and quotas in force.

use std::time::Duration;

use crate::admission::quota::Calendar;
use crate::admission::rate::Rates;
use crate::base::clock::Clock;
use crate::ledger::record::UsageRecord;

/// The window of tokens.
const MINUTE: Duration = Duration::from_secs(60);
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

/// Counts the tokens of a request of before the start, where their window still
/// holds them. A record does not tell when they were reserved, so they count at
/// the first byte of the answer, or its end where there was none: never before
/// the reservation, and later by what the provider took for it.
pub(super) fn tokens(rates: &Rates, clock: &dyn Clock, record: &UsageRecord) {
    let (used, now) = (record.tokens.total(), clock.wall().0);
    // Milliseconds are rounded down in records.
    let millis = record.first_byte_ms.unwrap_or(record.duration_ms).saturating_add(1);
    let counted = record.time.0.saturating_add(millis.saturating_mul(1_000));
    let age = Duration::from_micros(now.saturating_sub(counted));
    if used > 0
        && age < MINUTE
        && let Some(at) = clock.monotonic().checked_sub(age)
    {
        rates.account(&record.account).restore_tokens(at, used);
    }
}

/// Counts a charged request of before the start in its account's quota and among
/// those of its class, and its price in what the account and its key have spent,
/// where `month`, the present one, is its month.
pub(super) fn month(rates: &Rates, calendar: &Calendar, month: u32, record: &UsageRecord) {
    if record.quantity > 0 && calendar.month(record.time).number == month {
        let quantity = u64::from(record.quantity);
        let account = rates.account(&record.account);
        account.restore_month(month, &record.key_id, quantity, record.price);
        account.volume().restore(&record.endpoint, month, quantity);
    }
}
