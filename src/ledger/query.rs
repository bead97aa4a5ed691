//! Questions to the ledger: single records, and sums by class, model, account or
//! day. Only the answer and the index of one segment are held in memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::base::clock::Timestamp;
use crate::base::id::RecordId;
use crate::base::money::Money;
use crate::ledger::digest::{Digest, Sum};
use crate::ledger::error::StorageError;
use crate::ledger::index::Index;
use crate::ledger::index::summary::{DAY, day_of, request_hash};
use crate::ledger::journal::Journal;
use crate::ledger::journal::frame::Kind;
use crate::ledger::journal::scan::{Damage, Fault, Scan};
use crate::ledger::journal::segment::Segment;
use crate::ledger::read::{self, Voids};
use crate::ledger::record::{Tokens, UsageRecord};
use crate::ledger::savings::CacheSum;

/// How many requests of one account under one name, or two that share a hash,
/// are looked at in a segment.
const ALIKE: usize = 16;

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
    /// The first place met where the index has a record and the segment has none,
    /// because it is damaged. That record is not among these.
    pub damage: Option<Damage>,
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
    /// What the cache had to do with them.
    #[serde(skip)]
    pub cache: CacheSum,
}

impl Filter {
    /// Whether a segment may hold what is meant.
    fn meets(&self, segment: &Segment) -> bool {
        let Some(span) = segment.span else { return false };
        self.from.is_none_or(|from| span.latest >= from)
            && self.to.is_none_or(|to| span.earliest < to)
    }

    /// Whether the sums of a segment's days can tell: no day, as far as the
    /// segment has records of it, is only partly meant.
    fn whole_days(&self, segment: &Segment) -> bool {
        let Some(span) = segment.span else { return true };
        let midnight = |at: Timestamp| at.0.is_multiple_of(DAY);
        self.from.is_none_or(|from| span.earliest >= from || midnight(from))
            && self.to.is_none_or(|to| span.latest < to || midnight(to))
    }

    /// Whether the day of this number is meant, where days are meant wholly or
    /// not at all, or as far as `segment` has records of it.
    fn takes_day(&self, day: u64) -> bool {
        self.from.is_none_or(|from| day >= day_of(from))
            && self.to.is_none_or(|to| day < to.0.div_ceil(DAY))
    }

    fn pays(&self, account: &str) -> bool {
        self.account.as_deref().is_none_or(|wanted| wanted == account)
    }

    fn holds(&self, account: &str, time: Timestamp) -> bool {
        self.pays(account)
            && self.from.is_none_or(|from| time >= from)
            && self.to.is_none_or(|to| time < to)
    }
}

/// What questions are put to.
pub(super) struct View<'l> {
    pub(super) journal: &'l Journal,
    pub(super) index: &'l Index,
    pub(super) voids: Arc<Voids>,
}

/// Where records are: a segment, and the places of some of its frames.
struct Places {
    segment: Segment,
    /// None: as the index has them.
    places: Option<Vec<(RecordId, u32)>>,
}

impl View<'_> {
    /// The records that `filter` means, a page of them.
    ///
    /// # Errors
    /// [`StorageError::Unreadable`].
    pub(super) fn records(&self, filter: &Filter, page: Page) -> Result<Records, StorageError> {
        let wanted = page.limit.saturating_add(1);
        let (active, sealed) = self.journal.written(&|one| Some(one.id) > page.after, usize::MAX);
        let active = active.into_iter().map(|(segment, found)| {
            let mut places: Vec<_> = found.iter().map(|one| (one.id, one.place)).collect();
            places.sort_unstable();
            Places { segment, places: Some(places) }
        });
        let sealed = sealed.into_iter().map(|segment| Places { segment, places: None });
        let mut all: Vec<Places> = sealed.chain(active).collect();
        all.retain(|one| filter.meets(&one.segment));
        all.retain(|one| one.segment.span.map(|span| span.last_id) > page.after);
        all.sort_by_key(|one| one.segment.span.map(|span| span.first_id));
        let (mut found, mut damage) = (BTreeMap::new(), None);
        for one in all {
            let last = found.last_key_value().map(|(id, _)| *id);
            if found.len() >= wanted && one.segment.span.map(|span| span.first_id) > last {
                break;
            }
            let gone = self.fill(&mut found, one, filter, page.after, wanted)?;
            damage = damage.or(gone);
        }
        let mut records: Vec<UsageRecord> = found.into_values().collect();
        let more = records.len() > page.limit;
        records.truncate(page.limit);
        let next = records.last().map(|record| record.id).filter(|_| more);
        Ok(Records { records, next, damage })
    }

    /// Adds to `found` what `one` has after `after`, so that the first `wanted`
    /// of all are in it. Gives the first place at which a record is gone.
    fn fill(
        &self,
        found: &mut BTreeMap<RecordId, UsageRecord>,
        one: Places,
        filter: &Filter,
        after: Option<RecordId>,
        wanted: usize,
    ) -> Result<Option<Damage>, StorageError> {
        let Places { segment, places } = one;
        let places = match places {
            Some(places) => places,
            None => self.index.places(&segment, filter.account.as_deref())?,
        };
        let unreadable = |error| StorageError::unreadable(&segment.path, error);
        let mut scan = Scan::open(&segment).map_err(unreadable)?;
        let mut damage = None;
        let begin = places.partition_point(|(id, _)| Some(*id) <= after);
        for (id, place) in places.get(begin..).unwrap_or_default() {
            let last = found.last_key_value().map(|(id, _)| *id);
            if found.len() >= wanted && Some(*id) >= last {
                break;
            }
            let frame = scan.frame_at(u64::from(*place), Kind::Settle).map_err(unreadable)?;
            let record = frame.and_then(|payload| {
                let digest = Digest::read(payload).filter(|digest| digest.id == *id)?;
                let meant = filter.holds(digest.account, digest.time);
                Some(if meant { Some(minicbor::decode(payload).ok()?) } else { None })
            });
            let Some(record) = record else {
                let (path, offset) = (segment.path.clone(), u64::from(*place));
                damage.get_or_insert(Damage { path, offset, length: 0, fault: Fault::Damaged });
                continue;
            };
            let Some(record): Option<UsageRecord> = record else { continue };
            found.entry(record.id).or_insert_with(|| self.voids.apply(record));
            if found.len() > wanted {
                found.pop_last();
            }
        }
        Ok(damage)
    }

    /// The sums over what `filter` means, in the order of their names.
    ///
    /// # Errors
    /// [`StorageError::Unreadable`].
    pub(super) fn summary(&self, filter: &Filter, by: By) -> Result<Vec<Row>, StorageError> {
        let mut rows = Rows { by, rows: HashMap::default(), day: Day::default() };
        for segment in self.journal.segments().iter().filter(|one| filter.meets(one)) {
            let summed = segment.index.is_some() && !self.voids.touch(segment);
            if summed && filter.whole_days(segment) {
                let totals = self.index.totals(segment)?;
                for (day, sum) in totals.sums() {
                    if filter.takes_day(day) && filter.pays(sum.account) {
                        rows.add(day, &sum);
                    }
                }
            } else {
                read::scan(segment, &self.voids, &mut |digest| {
                    if filter.holds(digest.account, digest.time) {
                        rows.add(day_of(digest.time), &digest.sum());
                    }
                })?;
            }
        }
        let mut rows: Vec<Row> = rows.rows.into_values().collect();
        rows.sort_by(|a, b| a.by.cmp(&b.by));
        Ok(rows)
    }

    /// The record `id`.
    ///
    /// # Errors
    /// [`StorageError::Unreadable`].
    pub(super) fn find(&self, id: RecordId) -> Result<Option<UsageRecord>, StorageError> {
        let (active, sealed) = self.journal.written(&|one| one.id == id, 1);
        for (segment, found) in active {
            for one in found {
                if let Some(record) = self.record_at(&segment, one.place)? {
                    return Ok(Some(record));
                }
            }
        }
        let near = sealed.iter().filter(|one| one.span.is_some_and(|span| span.holds(id)));
        for segment in near {
            let Some(place) = self.index.place_of(segment, id)? else { continue };
            let found = self.record_at(segment, place)?.filter(|record| record.id == id);
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The request that `account` knows under `request_id`; of several a late one.
    ///
    /// # Errors
    /// [`StorageError::Unreadable`].
    pub(super) fn find_request(
        &self,
        account: &str,
        request_id: &str,
    ) -> Result<Option<UsageRecord>, StorageError> {
        let hash = request_hash(account, request_id);
        let meant =
            |record: &UsageRecord| *record.account == *account && *record.request_id == *request_id;
        let (active, mut sealed) = self.journal.written(&|one| one.request == hash, ALIKE);
        let mut latest: Option<UsageRecord> = None;
        for (segment, found) in active {
            for one in found {
                let record = self.record_at(&segment, one.place)?.filter(meant);
                if record.as_ref().map(|record| record.id) > latest.as_ref().map(|one| one.id) {
                    latest = record;
                }
            }
        }
        if latest.is_some() {
            return Ok(latest);
        }
        sealed.sort_by_key(|segment| std::cmp::Reverse(segment.number));
        for segment in &sealed {
            for place in self.index.requests(segment, hash, ALIKE)? {
                let found = self.record_at(segment, place)?.filter(meant);
                if found.is_some() {
                    return Ok(found);
                }
            }
        }
        Ok(None)
    }

    fn record_at(
        &self,
        segment: &Segment,
        place: u32,
    ) -> Result<Option<UsageRecord>, StorageError> {
        let read = Scan::open(segment).and_then(|mut scan| {
            let payload = scan.frame_at(u64::from(place), Kind::Settle)?;
            Ok(payload.and_then(|payload| minicbor::decode::<UsageRecord>(payload).ok()))
        });
        let found = read.map_err(|error| StorageError::unreadable(&segment.path, error))?;
        Ok(found.map(|record| self.voids.apply(record)))
    }
}

/// Sums in the making.
struct Rows {
    by: By,
    rows: HashMap<String, Row, ahash::RandomState>,
    day: Day,
}

impl Rows {
    fn add(&mut self, day: u64, sum: &Sum<'_>) {
        let name = match self.by {
            By::Class => sum.endpoint,
            By::Model => sum.model_used,
            By::Account => sum.account,
            By::Day => self.day.name(day),
        };
        if let Some(row) = self.rows.get_mut(name) {
            row.add(sum);
        } else {
            let mut row = Row { by: name.to_owned(), ..Row::default() };
            row.add(sum);
            self.rows.insert(name.to_owned(), row);
        }
    }
}

impl Row {
    fn add(&mut self, sum: &Sum<'_>) {
        self.requests += sum.requests;
        self.tokens += sum.tokens;
        self.revenue += sum.price;
        self.cost += sum.cost;
        self.margin = self.revenue - self.cost;
        self.cache += sum.cache;
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
    fn name(&mut self, number: u64) -> &str {
        if self.number != Some(number) {
            self.number = Some(number);
            self.name = Timestamp(number.saturating_mul(DAY)).to_string();
            self.name.truncate("2026-11-24".len());
        }
        &self.name
    }
}
