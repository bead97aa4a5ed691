//! Finds the segments of a data directory, and closes the provider calls that
//! no record settled.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use super::frame::Kind;
use super::merge::Merge;
use super::scan::{self, Damage, Fault, Scan};
use super::segment::{self, BadHeader, Segment};
use crate::base::clock::Timestamp;
use crate::base::id::RecordId;
use crate::base::money::Money;
use crate::ledger::digest::Digest;
use crate::ledger::error::{OpenError, StorageError};
use crate::ledger::harm::Hole;
use crate::ledger::index::{Identity, Index};
use crate::ledger::recent::Recent;
use crate::ledger::record::{Attempt, Outcome, Tokens, UsageRecord};
use crate::ledger::report::Report;

/// The status of a request whose answer the end of the process cut off.
const LOST_STATUS: u16 = 500;

/// What a directory holds, for the writer to go on with.
pub(in crate::ledger) struct Listed {
    /// Segments that can be read, in the order of creation.
    pub(in crate::ledger) segments: Vec<Segment>,
    /// The first segment number that is free.
    pub(in crate::ledger) next_number: u64,
    /// What is missing between them or cannot be read.
    pub(in crate::ledger) holes: Vec<Hole>,
}

/// The segments of `directory`. Files that cannot be read, copies and gaps are
/// reported.
///
/// # Errors
/// [`OpenError::Io`] if a file cannot be read, [`OpenError::Newer`].
pub(in crate::ledger) fn list(directory: &Path, report: &mut Report) -> Result<Listed, OpenError> {
    let mut numbered = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(OpenError::io(directory))? {
        let path = entry.map_err(OpenError::io(directory))?.path();
        numbered.extend(segment::number_of(&path).map(|number| (number, path)));
    }
    numbered.sort_unstable();
    let mut segments: Vec<Segment> = Vec::new();
    let mut known: HashMap<_, u64> = HashMap::new();
    let (mut next_number, mut holes) = (0, Vec::new());
    for (number, path) in numbered {
        if number > next_number {
            let path = directory.join(segment::file_name(next_number));
            report.missing_segments += number - next_number;
            let damage = Damage::whole(&path, 0, Fault::Missing);
            holes.push(Hole { numbers: next_number..number, damage: damage.clone() });
            report.add(damage);
        }
        next_number = number.saturating_add(1);
        report.segments += 1;
        let (header, length) = scan::header(&path).map_err(OpenError::io(&path))?;
        let fault = match header {
            Ok(header) => {
                let identity = (header.process, header.shard, header.salt, header.created);
                if let Entry::Vacant(new) = known.entry(identity) {
                    new.insert(number);
                    let path = Arc::from(path);
                    segments.push(Segment {
                        number,
                        path,
                        header,
                        length,
                        span: None,
                        index: None,
                        harm: None,
                    });
                    continue;
                }
                Fault::Duplicate
            }
            Err(BadHeader::Newer(found)) => {
                return Err(OpenError::Newer { path, found, supported: segment::VERSION });
            }
            Err(BadHeader::Torn) => Fault::Torn,
            Err(BadHeader::Broken) => Fault::Header,
        };
        let damage = Damage::whole(&path, length, fault);
        if matches!(fault, Fault::Header | Fault::Torn) {
            holes.push(Hole { numbers: number..number + 1, damage: damage.clone() });
        }
        report.add(damage);
    }
    Ok(Listed { segments, next_number, holes })
}

/// Records that close the provider calls that nothing settled.
///
/// With a checkpoint of the index that fits, only the segments that it does not
/// cover are read; else all of them.
///
/// # Errors
/// [`StorageError::Unreadable`].
pub(in crate::ledger) fn lost(
    index: &Index,
    segments: &[Segment],
) -> Result<Vec<UsageRecord>, StorageError> {
    let mut orphans = Orphans::default();
    let present: HashMap<u64, &Segment> =
        segments.iter().map(|segment| (segment.number, segment)).collect();
    let fits = |identity: &Identity| {
        present.get(&identity.number).is_some_and(|segment| Identity::of(segment) == *identity)
    };
    let checkpoint = index.checkpoint().filter(|found| found.covered.iter().all(fits));
    let checkpoint = checkpoint.unwrap_or_default();
    for (number, offset) in checkpoint.open {
        let Some(segment) = present.get(&number) else { continue };
        let read = Scan::open(segment).and_then(|mut scan| {
            let payload = scan.frame_at(offset, Kind::Attempt)?;
            Ok(payload.and_then(|payload| minicbor::decode::<Attempt>(payload).ok()))
        });
        let attempt = read.map_err(|error| StorageError::unreadable(&segment.path, error))?;
        attempt.into_iter().for_each(|attempt| orphans.begun(attempt));
    }
    let covered: HashSet<u64> = checkpoint.covered.iter().map(|identity| identity.number).collect();
    let tail = segments.iter().filter(|segment| !covered.contains(&segment.number));
    let mut merge = Merge::new(tail.cloned().collect());
    while let Some(item) = merge.next()? {
        match item.kind {
            Some(Kind::Attempt) => {
                minicbor::decode(item.payload).into_iter().for_each(|found| orphans.begun(found));
            }
            Some(Kind::Settle) => {
                if let Some(digest) = Digest::read(item.payload) {
                    orphans.settled(digest.id);
                }
            }
            Some(Kind::Void) | None => {}
        }
    }
    // A settlement may lie in a segment that is covered, its attempt in one that is not.
    for segment in segments {
        orphans.settled_in(index, segment)?;
    }
    Ok(orphans.close())
}

/// The calls that nothing settled so far, by their record.
#[derive(Default)]
pub(in crate::ledger) struct Orphans {
    open: BTreeMap<RecordId, Orphan>,
    settled: Recent,
}

impl Orphans {
    /// Notes an attempt.
    pub(in crate::ledger) fn begun(&mut self, attempt: Attempt) {
        if !self.settled.contains(attempt.record) {
            self.open.entry(attempt.record).or_default().add(attempt);
        }
    }

    /// Notes a settlement; false if it was known.
    pub(in crate::ledger) fn settled(&mut self, id: RecordId) -> bool {
        self.open.remove(&id);
        self.settled.insert(id)
    }

    /// How many records have open calls.
    pub(in crate::ledger) fn count(&self) -> usize {
        self.open.len()
    }

    /// Forgets what `segment` settles.
    fn settled_in(&mut self, index: &Index, segment: &Segment) -> Result<(), StorageError> {
        let Some(span) = segment.span else { return Ok(()) };
        if self.open.range(span.first_id..=span.last_id).next().is_none() {
            return Ok(());
        }
        // All of them, as a checksum holds for all of them together.
        let settled = index.places(segment, None)?;
        let is_settled = |id| settled.binary_search_by_key(&id, |(id, _)| *id).is_ok();
        self.open.retain(|id, _| !is_settled(*id));
        Ok(())
    }

    /// The records that close them.
    fn close(self) -> Vec<UsageRecord> {
        self.open.into_values().filter_map(Orphan::close).collect()
    }
}

impl Damage {
    fn whole(path: &Path, length: u64, fault: Fault) -> Self {
        Self { path: Arc::from(path), offset: 0, length, fault }
    }
}

/// The calls of a request that nothing settled.
#[derive(Default)]
struct Orphan {
    first: Option<Attempt>,
    last: Option<Attempt>,
    attempts: u32,
    began: Option<Timestamp>,
    input: u64,
    cost: Money,
    unpriced: bool,
}

impl Orphan {
    fn add(&mut self, attempt: Attempt) {
        self.attempts += 1;
        self.began = Some(self.began.map_or(attempt.time, |began| began.min(attempt.time)));
        self.input = self.input.saturating_add(attempt.estimated_input);
        self.cost += attempt.estimated_cost;
        self.unpriced |= attempt.unpriced;
        if self.first.is_none() {
            self.first = Some(attempt);
        } else {
            self.last = Some(attempt);
        }
    }

    /// The record that closes them: nothing is charged, the cost is what the
    /// calls were estimated to cost. It answers 500, for the process failed the
    /// client; its cache result is `bypass`, for the real one is not known and
    /// `bypass` weighs nothing in a hit rate. The durations are not known: 0.
    fn close(self) -> Option<UsageRecord> {
        let attempt = self.last.or(self.first)?;
        Some(UsageRecord {
            id: attempt.record,
            time: self.began.unwrap_or(attempt.time),
            request_id: attempt.request_id,
            account: attempt.account,
            key_id: attempt.key_id,
            plan: attempt.plan,
            service: Arc::from("ai_api"),
            endpoint: attempt.endpoint,
            path: attempt.path,
            model_asked: attempt.model_asked,
            model_used: attempt.model_used,
            provider: attempt.provider,
            tier: attempt.tier,
            status: LOST_STATUS,
            outcome: Outcome::Lost,
            cache: Arc::from("bypass"),
            similarity: None,
            stream: attempt.stream,
            attempts: self.attempts,
            quantity: 0,
            unit_price: Money::ZERO,
            list_price: attempt.list_price,
            price: Money::ZERO,
            cost: self.cost,
            unpriced: self.unpriced,
            tokens: Tokens { input: self.input, ..Tokens::default() },
            estimated: true,
            bytes_in: attempt.bytes_in,
            bytes_out: 0,
            duration_ms: 0,
            first_byte_ms: None,
            text_hash: None,
            cache_key: None,
            complexity: None,
            metadata: None,
            rates: None,
            prepaid: false,
            saved: None,
            session: attempt.session,
            void: false,
        })
    }
}
