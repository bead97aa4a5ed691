//! Reads a data directory's journal from its beginning: gives out every settled
//! record, and closes the provider calls that no record settled.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::frame::Kind;
use super::merge::Merge;
use super::scan::{self, Damage, Fault};
use super::segment::{self, BadHeader, Segment, Span};
use crate::base::clock::Timestamp;
use crate::base::id::RecordId;
use crate::base::money::Money;
use crate::ledger::error::{OpenError, StorageError};
use crate::ledger::recent::Recent;
use crate::ledger::record::{Attempt, Outcome, Tokens, UsageRecord};

/// The status of a request whose answer the end of the process cut off.
const LOST_STATUS: u16 = 500;

/// How many places of damage are kept; of more, only the number.
const DAMAGES: usize = 100;

/// What was found when the journal was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Segment files.
    pub segments: usize,
    /// Settled records, each counted once.
    pub settled: u64,
    /// Settlements of a record that was settled before; they count for nothing.
    pub repeated: u64,
    /// Records with provider calls that nothing settled.
    pub lost: usize,
    /// Segments that end in a frame whose writing was interrupted.
    pub torn: u64,
    /// Places of damage, torn ends apart.
    pub damaged: u64,
    /// Frames of a kind that this version does not know.
    pub unknown: u64,
    /// The first hundred places of damage, torn ends included.
    pub damages: Vec<Damage>,
}

/// What reading found, for the writer to go on with.
pub(in crate::ledger) struct Recovered {
    /// Segments that can be read.
    pub(in crate::ledger) segments: Vec<Segment>,
    /// The first segment number that is free.
    pub(in crate::ledger) next_number: u64,
    /// Records that close the calls that nothing settled.
    pub(in crate::ledger) lost: Vec<UsageRecord>,
    /// What was found.
    pub(in crate::ledger) report: Report,
}

/// Reads the segments in `directory` and gives every settled record to `replay`
/// once, in the order in which they were settled.
///
/// # Errors
/// [`OpenError::Io`] if a file cannot be read, [`OpenError::Newer`] before
/// anything is replayed. Damaged bytes are no error; they are reported.
pub(in crate::ledger) fn read(
    directory: &Path,
    replay: &mut dyn FnMut(&UsageRecord),
) -> Result<Recovered, OpenError> {
    let mut report = Report::default();
    let (mut segments, next_number) = list(directory, &mut report)?;
    let mut orphans: HashMap<RecordId, Orphan> = HashMap::new();
    let mut settled = Recent::default();
    let mut merge = Merge::new(segments.clone());
    while let Some(item) = merge.next().map_err(failed)? {
        let understood = match item.kind {
            Some(Kind::Attempt) => match minicbor::decode::<Attempt>(item.payload) {
                Ok(attempt) if !settled.contains(attempt.record) => {
                    orphans.entry(attempt.record).or_default().add(attempt);
                    true
                }
                other => other.is_ok(),
            },
            Some(Kind::Settle) => match minicbor::decode::<UsageRecord>(item.payload) {
                Ok(record) => {
                    orphans.remove(&record.id);
                    widen(&mut segments, item.segment, &record);
                    if settled.insert(record.id) {
                        report.settled += 1;
                        replay(&record);
                    } else {
                        report.repeated += 1;
                    }
                    true
                }
                Err(_) => false,
            },
            None => {
                report.unknown += 1;
                true
            }
        };
        if !understood {
            merge.refuse();
        }
        merge.damages.drain(..).for_each(|damage| report.add(damage));
    }
    merge.damages.drain(..).for_each(|damage| report.add(damage));
    let mut lost: Vec<_> = orphans.into_values().filter_map(Orphan::close).collect();
    lost.sort_by_key(|record| record.id);
    report.lost = lost.len();
    Ok(Recovered { segments, next_number, lost, report })
}

/// The segments of `directory` in the order of creation, and the first number
/// that is free.
fn list(directory: &Path, report: &mut Report) -> Result<(Vec<Segment>, u64), OpenError> {
    let mut segments = Vec::new();
    let mut next_number = 0;
    for entry in std::fs::read_dir(directory).map_err(OpenError::io(directory))? {
        let path = entry.map_err(OpenError::io(directory))?.path();
        let Some(number) = segment::number_of(&path) else { continue };
        next_number = next_number.max(number.saturating_add(1));
        report.segments += 1;
        let (header, length) = scan::header(&path).map_err(OpenError::io(&path))?;
        let fault = match header {
            Ok(header) => {
                segments.push(Segment {
                    number,
                    path: Arc::from(path),
                    header,
                    length,
                    span: None,
                });
                continue;
            }
            Err(BadHeader::Newer(found)) => {
                return Err(OpenError::Newer { path, found, supported: segment::VERSION });
            }
            Err(BadHeader::Torn) => Fault::Torn,
            Err(BadHeader::Broken) => Fault::Header,
        };
        report.add(Damage { path: Arc::from(path), offset: 0, length, fault });
    }
    segments.sort_by_key(|segment| segment.number);
    Ok((segments, next_number))
}

fn widen(segments: &mut [Segment], number: u64, record: &UsageRecord) {
    let found = segments.binary_search_by_key(&number, |segment| segment.number);
    if let Some(segment) = found.ok().and_then(|at| segments.get_mut(at)) {
        segment.span = Some(Span::with(segment.span, record));
    }
}

fn failed(error: StorageError) -> OpenError {
    match error {
        StorageError::Unreadable { path, source } => OpenError::Io { path, source },
        other => OpenError::Recovery(other),
    }
}

impl Report {
    fn add(&mut self, damage: Damage) {
        let count = if damage.fault == Fault::Torn { &mut self.torn } else { &mut self.damaged };
        *count += 1;
        if self.damages.len() < DAMAGES {
            self.damages.push(damage);
        }
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
        })
    }
}
