//! What the ledger's records say of the windows and quotas in force.
//!
//! Two kinds of counters are rebuilt at a start. Those of the calendar month see
//! [`Sum`]s, in which every record of the month is counted once, so that a start
//! need not read a month. Those of a window see each record of the last day.

use std::sync::Arc;
use std::time::Duration;

use crate::admission::quota::Calendar;
use crate::admission::rate::Rates;
use crate::base::clock::{Clock, Timestamp};
use crate::config::Config;
use crate::ledger::{Digest, Ledger, OpenError, Replay, Sum};

/// A day, the longest window.
const DAY: Duration = Duration::from_secs(86_400);

/// Opens the ledger and rebuilds what counts in `rates` from it.
///
/// # Errors
/// See [`OpenError`].
pub(super) fn open(
    config: &Config,
    clock: &Arc<dyn Clock>,
    rates: &Rates,
) -> Result<Ledger, OpenError> {
    let calendar = Calendar::new(config.timezone.clone());
    let now = clock.wall();
    let month = calendar.month(now);
    let mut of_the_month = |sum: &Sum<'_>| quota(rates, month.number, sum);
    let mut of_the_day = |record: &Digest<'_>| windows(rates, &**clock, record);
    let replay = Replay::none()
        .sums(calendar.begin(now)..month.ends, &mut of_the_month)
        .records(windows_from(now), &mut of_the_day);
    Ledger::open(&config.store.path, config.store.durability, clock.clone(), replay)
}

/// The earliest moment of which a window may still hold an admission.
fn windows_from(now: Timestamp) -> Timestamp {
    let day = u64::try_from(DAY.as_micros()).unwrap_or(u64::MAX);
    Timestamp(now.0.saturating_sub(day))
}

/// Counts an admission of before the start, where a window still holds it.
fn windows(rates: &Rates, clock: &dyn Clock, record: &Digest<'_>) {
    let age = Duration::from_micros(clock.wall().0.saturating_sub(record.time.0));
    if age < DAY
        && let Some(at) = clock.monotonic().checked_sub(age)
    {
        rates.account(&record.account.into()).restore(at);
    }
}

/// Counts charged requests of the present month, whose number is `month`, in
/// their account's quota.
fn quota(rates: &Rates, month: u32, sum: &Sum<'_>) {
    if sum.quantity > 0 {
        rates.account(&sum.account.into()).restore_quota(month, sum.quantity);
    }
}
