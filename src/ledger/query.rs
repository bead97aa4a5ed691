//! Questions to the ledger: single records, and sums by class, model, account or
//! day. Both stream over the segments; only the answer is held in memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::base::clock::Timestamp;
use crate::base::id::RecordId;
use crate::base::money::Money;
use crate::ledger::codec::timestamp;
use crate::ledger::error::StorageError;
use crate::ledger::journal::merge::Merge;
use crate::ledger::journal::segment::Segment;
use crate::ledger::recent::Recent;
use crate::ledger::record::{Tokens, UsageRecord};

/// Which records are meant. The default is all.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only this account's.
    pub account: Option<Arc<str>>,
    /// Only those of this moment or later.
    pub from: Option<Timestamp>,
    /// Only those before this moment.
    pub to: Option<Timestamp>,
}

/// Which part of a list is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// The last record of the page before; none for the first page.
    pub after: Option<RecordId>,
    /// At most so many records.
    pub limit: usize,
}

/// A page of records in the order of their identifiers: the newest last.
#[derive(Clone, Debug, PartialEq)]
pub struct Records {
    /// The records.
    pub records: Vec<UsageRecord>,
    /// [`Page::after`] of the next page; none if this one is the last.
    pub next: Option<RecordId>,
}

/// What a sum is made by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::EnumString, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum By {
    /// [`UsageRecord::endpoint`].
    Class,
    /// [`UsageRecord::model_used`].
    Model,
    /// [`UsageRecord::account`].
    Account,
    /// The UTC day of [`UsageRecord::time`], as `2026-11-24`.
    Day,
}

/// One sum.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Row {
    /// The class, model, account or day.
    pub by: String,
    /// How many records, charged or not.
    pub requests: u64,
    /// Their tokens.
    pub tokens: Tokens,
    /// What customers owe.
    pub revenue: Money,
    /// What providers charge.
    pub cost: Money,
    /// Revenue less cost.
    pub margin: Money,
}

/// The part of a record that a question needs, without a copy.
#[derive(minicbor::Decode)]
#[cbor(map)]
struct Digest<'b> {
    #[n(0)]
    id: RecordId,
    #[n(1)]
    #[cbor(decode_with = "timestamp::decode")]
    time: Timestamp,
    #[b(3)]
    account: &'b str,
    #[b(7)]
    endpoint: &'b str,
    #[b(10)]
    model_used: &'b str,
    #[n(22)]
    price: Money,
    #[n(23)]
    cost: Money,
    #[n(25)]
    tokens: Tokens,
}

impl Filter {
    /// Whether a segment may hold what is meant.
    fn meets(&self, segment: &Segment) -> bool {
        let Some(span) = segment.span else { return false };
        self.from.is_none_or(|from| span.latest >= from)
            && self.to.is_none_or(|to| span.earliest < to)
    }

    fn holds(&self, digest: &Digest<'_>) -> bool {
        self.account.as_deref().is_none_or(|account| account == digest.account)
            && self.from.is_none_or(|from| digest.time >= from)
            && self.to.is_none_or(|to| digest.time < to)
    }
}

/// The records that `filter` means, a page of them.
///
/// # Errors
/// [`StorageError::Unreadable`].
pub(super) fn records(
    mut segments: Vec<Segment>,
    filter: &Filter,
    page: Page,
) -> Result<Records, StorageError> {
    let wanted = page.limit.saturating_add(1);
    segments.retain(|segment| filter.meets(segment));
    segments.retain(|segment| segment.span.map(|span| span.last_id) > page.after);
    segments.sort_by_key(|segment| segment.span.map(|span| span.first_id));
    let mut found: BTreeMap<RecordId, UsageRecord> = BTreeMap::new();
    for segment in segments {
        let last = found.last_key_value().map(|(id, _)| *id);
        if found.len() >= wanted && segment.span.map(|span| span.first_id) > last {
            break;
        }
        let mut merge = Merge::new(vec![segment]);
        while let Some(item) = merge.next()? {
            let Some(digest) = item.settled().and_then(decode::<Digest<'_>>) else { continue };
            let full = found.len() >= wanted;
            let last = found.last_key_value().map(|(id, _)| *id);
            if Some(digest.id) <= page.after
                || (full && Some(digest.id) >= last)
                || found.contains_key(&digest.id)
                || !filter.holds(&digest)
            {
                continue;
            }
            let Some(record) = decode::<UsageRecord>(item.payload) else { continue };
            found.insert(record.id, record);
            if found.len() > wanted {
                found.pop_last();
            }
        }
    }
    let mut records: Vec<UsageRecord> = found.into_values().collect();
    let more = records.len() > page.limit;
    records.truncate(page.limit);
    let next = records.last().map(|record| record.id).filter(|_| more);
    Ok(Records { records, next })
}

/// The sums over what `filter` means, in the order of their names.
///
/// # Errors
/// [`StorageError::Unreadable`].
pub(super) fn summary(
    mut segments: Vec<Segment>,
    filter: &Filter,
    by: By,
) -> Result<Vec<Row>, StorageError> {
    segments.retain(|segment| filter.meets(segment));
    let mut merge = Merge::new(segments);
    let mut seen = Recent::default();
    let mut rows: HashMap<String, Row, ahash::RandomState> = HashMap::default();
    let mut day = Day::default();
    while let Some(item) = merge.next()? {
        let Some(digest) = item.settled().and_then(decode::<Digest<'_>>) else { continue };
        if !filter.holds(&digest) || !seen.insert(digest.id) {
            continue;
        }
        let name = match by {
            By::Class => digest.endpoint,
            By::Model => digest.model_used,
            By::Account => digest.account,
            By::Day => day.name(digest.time),
        };
        if let Some(row) = rows.get_mut(name) {
            row.add(&digest);
        } else {
            let mut row = Row { by: name.to_owned(), ..Row::default() };
            row.add(&digest);
            rows.insert(name.to_owned(), row);
        }
    }
    let mut rows: Vec<Row> = rows.into_values().collect();
    rows.sort_by(|a, b| a.by.cmp(&b.by));
    Ok(rows)
}

/// What `payload` holds; damage was reported when the ledger was opened.
fn decode<'b, T: minicbor::Decode<'b, ()>>(payload: &'b [u8]) -> Option<T> {
    minicbor::decode(payload).ok()
}

impl Row {
    fn add(&mut self, digest: &Digest<'_>) {
        self.requests += 1;
        self.tokens.input += digest.tokens.input;
        self.tokens.cached_input += digest.tokens.cached_input;
        self.tokens.output += digest.tokens.output;
        self.tokens.reasoning += digest.tokens.reasoning;
        self.revenue += digest.price;
        self.cost += digest.cost;
        self.margin = self.revenue - self.cost;
    }
}

/// The name of the day that was asked for last: most records follow one of the
/// same day.
#[derive(Default)]
struct Day {
    number: Option<u64>,
    name: String,
}

impl Day {
    fn name(&mut self, time: Timestamp) -> &str {
        let number = time.as_secs() / 86_400;
        if self.number != Some(number) {
            self.number = Some(number);
            self.name = time.to_string();
            self.name.truncate("2026-11-24".len());
        }
        &self.name
    }
}
