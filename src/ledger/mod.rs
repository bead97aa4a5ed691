//! The ledger: what every request was, what it cost and what it earned.
//!
//! Invariants: a record that [`Ledger::settle`] accepted is found by every
//! later reading, also after the end of the process at any instant, and counts
//! once; every provider call that [`Ledger::begin`] accepted ends in a record,
//! at the latest when the data directory is opened again.

mod attempt;
mod codec;
mod digest;
mod error;
mod harm;
mod index;
mod journal;
mod query;
mod read;
mod rebuild;
mod recent;
pub mod record;
mod report;
pub mod savings;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod tokens;
mod verify;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

pub use self::digest::{Digest, Replay, Sum};
pub use self::error::{OpenError, StorageError};
pub use self::index::Flaw;
pub use self::journal::Options;
pub use self::journal::scan::{Damage, Fault};
pub use self::query::{By, Filter, Page, Records, Row};
pub use self::report::{IndexFlaw, Report};

use self::harm::{Harms, Hole};
use self::index::Index;
use self::journal::Journal;
use self::journal::recover::{self, Listed};
use self::journal::segment::Segment;
use self::query::View;
use self::read::Voids;
use self::recent::Recent;
use self::record::{Attempt, UsageRecord, Void};
use crate::base::clock::{Clock, Timestamp};
use crate::base::id::RecordId;
use crate::config::Durability;

/// How many parts the memory of recent settlements has, so that threads rarely
/// meet at one.
const PARTS: usize = 16;

/// How many settlements each part remembers.
const PART: usize = 4096;

/// The ledger of one data directory.
pub struct Ledger {
    // Before the lock: what is dropped first still writes.
    journal: Journal,
    index: Index,
    voids: ArcSwap<Voids>,
    settled: Box<[Mutex<Recent>]>,
    durability: Durability,
    report: Report,
    harms: Harms,
    _lock: File,
}

/// A record that the kernel has; see [`Ledger::durable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the answer may leave only once the record is durable"]
pub struct Settled {
    id: RecordId,
    group: u64,
}

impl Ledger {
    /// Opens the ledger in the data directory `dir`, creating what is missing.
    /// Only what the index does not cover is read, and what `replay` asks for.
    ///
    /// Provider calls that nothing settled are closed by a record with outcome
    /// `lost`, status 500, price and quantity 0 and the estimated cost.
    ///
    /// # Errors
    /// See [`OpenError`]. Damaged bytes are no error: see [`Ledger::report`].
    pub fn open(
        dir: &Path,
        durability: Durability,
        clock: Arc<dyn Clock>,
        replay: Replay<'_>,
    ) -> Result<Self, OpenError> {
        Self::open_with(dir, durability, clock, Options::default(), replay)
    }

    /// [`Ledger::open`] with other options.
    ///
    /// # Errors
    /// As there.
    pub fn open_with(
        dir: &Path,
        durability: Durability,
        clock: Arc<dyn Clock>,
        options: Options,
        mut replay: Replay<'_>,
    ) -> Result<Self, OpenError> {
        let directory = journal_in(dir);
        std::fs::create_dir_all(&directory).map_err(OpenError::io(&directory))?;
        let lock = lock(dir)?;
        let index = Index::in_directory(dir);
        let mut report = Report::default();
        let Listed { mut segments, next_number, mut holes } =
            recover::list(&directory, &mut report)?;
        // Segments at the end that only the index still knows.
        let known = index.numbers().into_iter().map(|number| number + 1).max().unwrap_or_default();
        if known > next_number {
            let path = directory.join(journal::segment::file_name(next_number));
            let damage = Damage { path: path.into(), offset: 0, length: 0, fault: Fault::Missing };
            holes.push(Hole { numbers: next_number..known, damage: damage.clone() });
            report.missing_segments += known - next_number;
            report.add(damage);
        }
        let next_number = next_number.max(known);
        let mut voided = Vec::new();
        for segment in &mut segments {
            voided.extend(attach(&index, segment, &mut report).map_err(OpenError::reading)?);
        }
        let lost = recover::lost(&index, &segments).map_err(OpenError::reading)?;
        report.lost = lost.len();
        let voids = Voids::find(&index, &segments, &voided).map_err(OpenError::reading)?;
        let harms = Harms::of(&index, &segments, holes, (next_number, clock.wall()));
        read::replay(&index, &segments, &voids, &mut replay).map_err(OpenError::reading)?;
        let journal =
            Journal::start(directory, clock, options, index.clone(), segments, next_number)
                .map_err(OpenError::io(dir))?;
        for record in &lost {
            journal.append(record).map_err(OpenError::Recovery)?;
            replay.add(record);
        }
        journal.upkeep();
        let settled = (0..PARTS).map(|_| Mutex::new(Recent::of(PART))).collect();
        let voids = ArcSwap::from_pointee(voids);
        Ok(Self { journal, index, voids, settled, durability, report, harms, _lock: lock })
    }

    /// Checks the ledger in the data directory `dir` and changes nothing of it:
    /// every frame, the index against the segments, and whether anything in
    /// between is missing. Its settled records are given to `each` once, in the
    /// order of settlement.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn verify(dir: &Path, each: &mut dyn FnMut(&UsageRecord)) -> Result<Report, OpenError> {
        let _lock = lock(dir)?;
        verify::verify(&journal_in(dir), &Index::of(dir), each)
    }

    /// Makes the index of the data directory `dir` anew from its segments.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn rebuild(dir: &Path) -> Result<Report, OpenError> {
        let _lock = lock(dir)?;
        rebuild::rebuild(&journal_in(dir), &Index::of(dir))
    }

    /// Writes down a provider call that is about to be made. The kernel has it
    /// when this returns; it takes a few microseconds.
    ///
    /// # Errors
    /// [`StorageError::Unavailable`]; the call must then not be made.
    pub fn begin(&self, attempt: &Attempt) -> Result<(), StorageError> {
        self.journal.append(attempt).map(|_| ())
    }

    /// Writes down how a request ended. The kernel has it when this returns; it
    /// takes a few microseconds. Of two settlements of one record the first
    /// counts, and the second succeeds without effect if fewer than about 60,000
    /// others lie between.
    ///
    /// # Errors
    /// [`StorageError::Unavailable`]; nothing is then written, and it may be
    /// tried again.
    pub fn settle(&self, record: &UsageRecord) -> Result<Settled, StorageError> {
        let Some(part) = self.settled.get(part_of(record.id)) else {
            return self.journal.append(record).map(|group| Settled { id: record.id, group });
        };
        // Held while the record is written: a second settlement must not succeed
        // before the first has.
        let mut recent = part.lock();
        if !recent.insert(record.id) {
            return Ok(Settled { id: record.id, group: self.journal.group() });
        }
        let written = self.journal.append(record);
        if written.is_err() {
            recent.undo(record.id);
        }
        written.map(|group| Settled { id: record.id, group })
    }

    /// Waits until the record is as safe as `store.durability` demands: not at
    /// all for `process`; until the disk has it for `power`.
    ///
    /// # Errors
    /// [`StorageError::NotDurable`]; the answer must then not be given out, and
    /// the record is void: it stays, with its cost, and charges nothing.
    pub async fn durable(&self, settled: Settled) -> Result<(), StorageError> {
        match self.durability {
            Durability::Process => Ok(()),
            Durability::Power => match self.journal.durable(settled.group).await {
                Ok(()) => Ok(()),
                Err(error) => {
                    self.void(settled.id);
                    Err(error)
                }
            },
        }
    }

    /// Takes back what the record `id` charges. Where even that cannot be
    /// written, it counts until the process ends.
    pub(crate) fn void(&self, id: RecordId) {
        let void = Void { record: id, time: self.journal.now() };
        if let Err(error) = self.journal.append(&void) {
            tracing::error!(%error, record = %id, "a charge cannot be taken back");
        }
        let segments = self.journal.segments();
        self.voids.rcu(|voids| {
            let mut voids = Voids::clone(voids);
            // Which of them holds it need not be known: these are scanned, not summed.
            for segment in segments.iter().filter(|one| one.span.is_some_and(|span| span.holds(id)))
            {
                voids.add(id, segment.number);
            }
            voids
        });
    }

    /// Waits until the disk has everything written so far: for the shutdown.
    /// It blocks the calling thread.
    ///
    /// # Errors
    /// [`StorageError::NotDurable`].
    pub fn sync(&self) -> Result<(), StorageError> {
        self.journal.sync()
    }

    /// How many requests were closed as `lost` when the ledger was opened.
    pub fn lost_at_open(&self) -> usize {
        self.report.lost
    }

    /// What was found when the ledger was opened.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// The first damage that may have taken away records of `period`, as far as the
    /// ledger has been read: at its opening, when the index was made, and by what
    /// the index knows of files that are gone. What the index has and a segment does
    /// not is found where records are read: see [`Records::damage`].
    pub fn harmed(&self, period: &std::ops::Range<Timestamp>) -> Option<Damage> {
        let mut segments = self.journal.segments();
        segments.sort_by_key(|segment| segment.number);
        self.harms.within(period, &segments)
    }

    /// Finds out whether writes succeed again, and leaves nothing behind. It
    /// blocks the calling thread.
    ///
    /// # Errors
    /// [`StorageError::Unavailable`].
    pub fn probe(&self) -> Result<(), StorageError> {
        self.journal.probe()
    }

    /// Whether the last write succeeded: for readiness and metrics.
    pub fn available(&self) -> bool {
        self.journal.available()
    }

    /// How many groups of writes were given to the disk since the start.
    pub fn syncs(&self) -> u64 {
        self.journal.groups()
    }

    /// The records that `filter` means, a page of them: in the order of their
    /// identifiers, the newest last. It reads files and blocks the calling thread.
    ///
    /// # Errors
    /// [`StorageError::Unreadable`].
    pub fn records(&self, filter: &Filter, page: Page) -> Result<Records, StorageError> {
        self.view().records(filter, page)
    }

    /// Sums over the records that `filter` means, in the order of their names.
    /// They come from the index, but for segments that are being written and
    /// those of which only a part of a day is meant. It reads files and blocks the
    /// calling thread.
    ///
    /// # Errors
    /// [`StorageError::Unreadable`].
    pub fn summary(&self, filter: &Filter, by: By) -> Result<Vec<Row>, StorageError> {
        self.view().summary(filter, by)
    }

    /// The record `id`. It reads files and blocks the calling thread.
    ///
    /// # Errors
    /// [`StorageError::Unreadable`].
    pub fn find(&self, id: RecordId) -> Result<Option<UsageRecord>, StorageError> {
        self.view().find(id)
    }

    /// The record of the request that `account` knows under `request_id`, the
    /// `x-request-id` of its answer; of several that a client called the same,
    /// one of the latest. It reads files and blocks the calling thread.
    ///
    /// # Errors
    /// [`StorageError::Unreadable`].
    pub fn find_request(
        &self,
        account: &str,
        request_id: &str,
    ) -> Result<Option<UsageRecord>, StorageError> {
        self.view().find_request(account, request_id)
    }

    fn view(&self) -> View<'_> {
        View { journal: &self.journal, index: &self.index, voids: self.voids.load_full() }
    }
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger").field("report", &self.report).finish_non_exhaustive()
    }
}

/// Gives `segment` what the index keeps of it, made anew if need be; the records
/// that it voids.
fn attach(
    index: &Index,
    segment: &mut Segment,
    report: &mut Report,
) -> Result<Vec<RecordId>, StorageError> {
    match index.head(segment) {
        Ok(head) => {
            (segment.span, segment.harm) = (head.span, head.harm);
            report.settled += head.records;
            report.repeated += head.repeated;
            let voids = head.voids.clone();
            segment.index = Some(Arc::new(head));
            Ok(voids)
        }
        Err(flaw) => {
            segment.harm = index.cut_off(segment);
            if flaw != Flaw::Absent {
                report.flaws.push(IndexFlaw { path: index.path(segment.number), flaw });
            }
            let summary = index::index(index, segment)?;
            let voids = summary.voids.clone();
            report.take(summary);
            Ok(voids)
        }
    }
}

fn journal_in(dir: &Path) -> PathBuf {
    dir.join("journal")
}

/// Takes the data directory for this process.
fn lock(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join("lock");
    let open = File::options().create(true).truncate(false).write(true).open(&path);
    let file = open.map_err(OpenError::io(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(OpenError::Locked { path: dir.to_owned() }),
        Err(std::fs::TryLockError::Error(source)) => Err(OpenError::Io { path, source }),
    }
}

/// The last byte of a UUIDv7 is random.
fn part_of(id: RecordId) -> usize {
    let [.., last] = *id.0.as_bytes();
    usize::from(last) % PARTS
}
