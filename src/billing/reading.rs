//! Usage as the ledger has it: the charged records of accounts, each month for
//! itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use ahash::AHashMap;

use super::calendar::{Month, Span};
use super::usage::Usage;
use crate::ledger::record::UsageRecord;
use crate::ledger::{Damage, Filter, Ledger, Page, StorageError};

/// Records that are read at once.
const PAGE: usize = 5_000;

/// What the ledger has of the months that an invoice is about.
#[derive(Clone, Debug, Default)]
pub(super) struct Reading {
    months: Vec<(Month, Span)>,
    usage: BTreeMap<Month, Usage>,
    /// What was charged and taken back.
    void: BTreeMap<Month, Usage>,
}

impl Reading {
    /// Nothing yet of `months`, which do not overlap.
    pub(super) fn of(months: Vec<(Month, Span)>) -> Self {
        Self { months, ..Self::default() }
    }

    /// The months and when each begins and ends, the earliest first.
    pub(super) fn months(&self) -> &[(Month, Span)] {
        &self.months
    }

    /// What was used in each of the months in which there was any request, charged
    /// or not.
    pub(super) fn usage(&self) -> &BTreeMap<Month, Usage> {
        &self.usage
    }

    /// What was charged in `month` and taken back.
    pub(super) fn void(&self, month: Month) -> Usage {
        self.void.get(&month).cloned().unwrap_or_default()
    }

    /// Adds a record, if it lies in one of the months.
    pub(super) fn add(&mut self, record: &UsageRecord) {
        let month = self.months.iter().find(|(_, span)| span.holds(record.time));
        if let Some((month, _)) = month {
            self.usage.entry(*month).or_default().add(record);
            if record.void {
                self.void.entry(*month).or_default().add_void(record);
            }
        }
    }
}

/// Readings by account.
pub(super) type ByAccount = AHashMap<Arc<str>, Reading>;

/// Reads what the ledger has of all the months of `wanted`, in one pass. Gives the
/// first damage that may have taken some of it away.
///
/// # Errors
/// [`StorageError::Unreadable`].
pub(super) fn read(
    ledger: &Ledger,
    wanted: &mut ByAccount,
) -> Result<Option<Damage>, StorageError> {
    let spans = || wanted.values().flat_map(Reading::months).map(|(_, span)| span);
    let (from, to) = (spans().map(|span| span.from).min(), spans().map(|span| span.to).max());
    let Some((begin, end)) = from.zip(to) else { return Ok(None) };
    let mut damage = ledger.harmed(&(begin..end));
    let mut accounts = wanted.keys();
    let account = accounts.next().filter(|_| accounts.next().is_none()).cloned();
    let filter = Filter { account, from, to };
    let mut after = None;
    loop {
        let page = ledger.records(&filter, Page { after, limit: PAGE })?;
        for record in &page.records {
            if let Some(reading) = wanted.get_mut(&record.account) {
                reading.add(record);
            }
        }
        damage = damage.or(page.damage);
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(damage),
        }
    }
}
