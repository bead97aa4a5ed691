//! Checks a data directory that nobody has open: every frame of every segment,
//! the index against the segments, and that nothing in between is missing.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use super::error::{OpenError, StorageError};
use super::index::summary::Summary;
use super::index::{Flaw, Index};
use super::journal::frame::Kind;
use super::journal::merge::{Item, Merge};
use super::journal::recover::{self, Orphans};
use super::journal::scan::{Damage, Fault};
use super::journal::segment::Segment;
use super::record::{Attempt, UsageRecord, Void};
use super::report::{IndexFlaw, Report};

/// Reads the journal in `directory` and the index beside it and changes nothing.
/// Memory is bounded by the longest segment's index and the calls in flight.
///
/// # Errors
/// See [`OpenError`].
pub(super) fn verify(
    directory: &Path,
    index: &Index,
    each: &mut dyn FnMut(&UsageRecord),
) -> Result<Report, OpenError> {
    let mut report = Report::default();
    let listed = recover::list(directory, &mut report)?;
    let mut known = HashMap::new();
    for segment in &listed.segments {
        let flaw = check_index(index, segment)?;
        known.insert(segment.path.clone(), flaw.is_none());
        report.flaws.extend(flaw.map(|flaw| IndexFlaw { path: index.path(segment.number), flaw }));
    }
    let mut numbers = index.numbers();
    numbers.sort_unstable();
    for number in numbers {
        if number >= listed.next_number || !super::journal::segment::exists(directory, number) {
            report.flaws.push(IndexFlaw { path: index.path(number), flaw: Flaw::Orphaned });
        }
    }
    let mut walk = Walk { report, orphans: Orphans::default(), gaps: Gaps::of(&listed.segments) };
    walk.all(listed.segments, each).map_err(OpenError::reading)?;
    let Walk { mut report, orphans, gaps } = walk;
    gaps.close(&mut report);
    report.lost = orphans.count();
    let torn = report.damages.iter().filter(|damage| damage.fault == Fault::Torn);
    report.torn_known = torn.filter(|damage| known.get(&damage.path) == Some(&true)).count() as u64;
    Ok(report)
}

/// What is wrong with what the index keeps of `segment`.
fn check_index(index: &Index, segment: &Segment) -> Result<Option<Flaw>, OpenError> {
    if let Err(flaw) = index.head(segment) {
        return Ok(Some(flaw));
    }
    let summary = Summary::of(segment).map_err(OpenError::reading)?;
    Ok(index.agrees(segment, &summary).err())
}

struct Walk {
    report: Report,
    orphans: Orphans,
    gaps: Gaps,
}

impl Walk {
    fn all(
        &mut self,
        segments: Vec<Segment>,
        each: &mut dyn FnMut(&UsageRecord),
    ) -> Result<(), StorageError> {
        let mut merge = Merge::new(segments);
        while let Some(item) = merge.next()? {
            let misplaced = !self.gaps.pass(&item);
            let understood = self.take(&item, each);
            if misplaced {
                merge.refuse(Fault::Misplaced);
            }
            if !understood {
                merge.refuse(Fault::Undecodable);
            }
            merge.damages.drain(..).for_each(|damage| self.damaged(damage));
        }
        merge.damages.drain(..).for_each(|damage| self.damaged(damage));
        Ok(())
    }

    fn damaged(&mut self, damage: Damage) {
        self.gaps.explain(&damage);
        self.report.add(damage);
    }

    /// Takes a frame; false if its content is not understood.
    fn take(&mut self, item: &Item<'_>, each: &mut dyn FnMut(&UsageRecord)) -> bool {
        match item.kind {
            Some(Kind::Attempt) => match minicbor::decode::<Attempt>(item.payload) {
                Ok(attempt) => self.orphans.begun(attempt),
                Err(_) => return false,
            },
            Some(Kind::Settle) => match minicbor::decode::<UsageRecord>(item.payload) {
                Ok(record) if self.orphans.settled(record.id) => {
                    self.report.settled += 1;
                    each(&record);
                }
                Ok(_) => self.report.repeated += 1,
                Err(_) => return false,
            },
            Some(Kind::Void) => return minicbor::decode::<Void>(item.payload).is_ok(),
            None => self.report.unknown += 1,
        }
        true
    }
}

/// Looks for frames that are missing. The frames of a process have the numbers
/// 0, 1, 2 and so on over all its shards; at its end, each shard may have taken
/// a number without having written its frame.
struct Gaps {
    processes: BTreeMap<u128, Process>,
    owners: HashMap<std::sync::Arc<Path>, u128>,
    paths: HashMap<u64, std::sync::Arc<Path>>,
}

#[derive(Default)]
struct Process {
    next: u64,
    /// The last number of each shard.
    last: BTreeMap<u32, Option<u64>>,
    missing: u64,
    /// The first gap that is too wide or too early for an end: where it was noticed.
    first: Option<(std::sync::Arc<Path>, u64)>,
    /// The lowest number that is missing.
    lowest: Option<u64>,
    /// Whether damage was found in its segments, which may be why.
    explained: bool,
}

impl Gaps {
    fn of(segments: &[Segment]) -> Self {
        let mut processes: BTreeMap<u128, Process> = BTreeMap::new();
        let (mut owners, mut paths) = (HashMap::new(), HashMap::new());
        for segment in segments {
            let process = processes.entry(segment.header.process).or_default();
            process.last.insert(segment.header.shard, None);
            owners.insert(segment.path.clone(), segment.header.process);
            paths.insert(segment.number, segment.path.clone());
        }
        Self { processes, owners, paths }
    }

    /// Notes a frame; false if it is not after those before it.
    fn pass(&mut self, item: &Item<'_>) -> bool {
        let Some(process) = self.processes.get_mut(&item.process) else { return true };
        if item.sequence < process.next {
            return false;
        }
        if item.sequence > process.next {
            process.missing += item.sequence - process.next;
            process.lowest.get_or_insert(process.next);
            if let Some(path) = self.paths.get(&item.segment) {
                process.first.get_or_insert((path.clone(), item.offset));
            }
        }
        process.next = item.sequence.saturating_add(1);
        process.last.insert(item.shard, Some(item.sequence));
        true
    }

    fn explain(&mut self, damage: &Damage) {
        let owner = self.owners.get(&damage.path);
        if let Some(process) = owner.and_then(|owner| self.processes.get_mut(owner)) {
            process.explained = true;
        }
    }

    fn close(self, report: &mut Report) {
        for process in self.processes.into_values() {
            let (Some((path, offset)), Some(lowest)) = (process.first, process.lowest) else {
                continue;
            };
            let ended = process.last.values().filter(|last| last.is_none_or(|last| last < lowest));
            let cut_off = process.missing <= ended.count() as u64;
            if cut_off && !process.explained {
                continue;
            }
            report.missing_frames += process.missing;
            if !process.explained {
                report.add(Damage { path, offset, length: 0, fault: Fault::Missing });
            }
        }
    }
}
