//! What the ledger's records say of the windows and quotas in force.
//!
//! Three kinds of counters are rebuilt at a start. Those of the calendar month see
//! [`Sum`]s, in which every record of the month is counted once, so that a start
//! need not read a month. Prepaid balances see what was ever paid from them, in
//! sums too, and what was ever paid in. Those of a window see each record of the
//! last day.

use std::sync::Arc;
use std::time::Duration;

use crate::admission::quota::Calendar;
use crate::admission::rate::Rates;
use crate::base::clock::{Clock, Timestamp};
use crate::config::Config;
use crate::ledger::record::Outcome;
use crate::ledger::{Digest, Ledger, OpenError, Replay, Sum};
use crate::store::billing::{Adjustments, Book};
use crate::store::{Store, StoreError};

/// The window of tokens.
const MINUTE: Duration = Duration::from_secs(60);
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
    let mut of_the_month = |sum: &Sum<'_>| spent(rates, month.number, sum);
    let mut paid = |account: &str, amount| rates.account(&account.into()).restore_paid(amount);
    let mut of_the_day = |record: &Digest<'_>| {
        // Nobody asked for a renewal of the cache, and a session asked once.
        if record.outcome == Outcome::Revalidation || record.goes_on() {
            return;
        }
        windows(rates, &**clock, record);
        // What a session uses is not reserved.
        if record.session.is_none() {
            tokens(rates, &**clock, record);
        }
    };
    let replay = Replay::none()
        .sums(month.begins..month.ends, &mut of_the_month)
        .paid(&mut paid)
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

/// Counts the tokens of a request of before the start, where their window still
/// holds them. A record does not tell when they were reserved, so they count at
/// the first byte of the answer, or its end where there was none: never before
/// the reservation, and later by what the provider took for it.
fn tokens(rates: &Rates, clock: &dyn Clock, record: &Digest<'_>) {
    let (used, now) = (record.tokens.total(), clock.wall().0);
    // Milliseconds are rounded down in records.
    let millis = record.first_byte_ms.unwrap_or(record.duration_ms).saturating_add(1);
    let counted = record.time.0.saturating_add(millis.saturating_mul(1_000));
    let age = Duration::from_micros(now.saturating_sub(counted));
    if used > 0
        && age < MINUTE
        && let Some(at) = clock.monotonic().checked_sub(age)
    {
        rates.account(&record.account.into()).restore_tokens(at, used);
    }
}

/// Counts charged requests of the present month, whose number is `month`, in
/// their account's quota and among those of their class, and their price in what
/// the account and its key have spent.
fn spent(rates: &Rates, month: u32, sum: &Sum<'_>) {
    if sum.quantity > 0 {
        let account = rates.account(&sum.account.into());
        account.restore_month(month, &sum.key_id.into(), sum.quantity, sum.price);
        account.volume().restore(&sum.endpoint.into(), month, sum.quantity);
    }
}

/// Counts what was ever paid in to prepaid balances, less what was paid back.
///
/// # Errors
/// [`StoreError`].
pub(super) fn deposits(store: &Store, rates: &Rates) -> Result<(), StoreError> {
    Book::new(store)?.deposited(&mut |account, amount| {
        rates.account(&account.into()).deposit(amount);
    })
}
