//! The ledger: what every request was, what it cost and what it earned.
//!
//! Invariants: a record that [`Ledger::settle`] accepted is found by every
//! later reading, also after the end of the process at any instant, and counts
//! once; every provider call that [`Ledger::begin`] accepted ends in a record,
//! at the latest when the data directory is opened again.

mod codec;
mod error;
mod journal;
mod query;
mod recent;
pub mod record;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

pub use self::error::{OpenError, StorageError};
pub use self::journal::Options;
pub use self::journal::recover::Report;
pub use self::journal::scan::{Damage, Fault};
pub use self::query::{By, Filter, Page, Records, Row};

use self::journal::Journal;
use self::journal::recover::{self, Recovered};
use self::recent::Recent;
use self::record::{Attempt, UsageRecord};
use crate::base::clock::Clock;
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
    settled: Box<[Mutex<Recent>]>,
    durability: Durability,
    report: Report,
    _lock: File,
}

/// A record that the kernel has; see [`Ledger::durable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the answer may leave only once the record is durable"]
pub struct Settled {
    group: u64,
}

impl Ledger {
    /// Opens the ledger in the data directory `dir`, creating what is missing.
    ///
    /// Every settled record is given to `replay` once, in the order of their
    /// settlement. Provider calls that nothing settled are closed by a record
    /// with outcome `lost`, status 500, price and quantity 0 and the estimated
    /// cost; these are replayed last.
    ///
    /// # Errors
    /// See [`OpenError`]. Damaged bytes are no error: see [`Ledger::report`].
    pub fn open(
        dir: &Path,
        durability: Durability,
        clock: Arc<dyn Clock>,
        replay: &mut dyn FnMut(&UsageRecord),
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
        replay: &mut dyn FnMut(&UsageRecord),
    ) -> Result<Self, OpenError> {
        let directory = dir.join("journal");
        std::fs::create_dir_all(&directory).map_err(OpenError::io(&directory))?;
        let lock = lock(dir)?;
        let Recovered { segments, next_number, lost, report } = recover::read(&directory, replay)?;
        let journal = Journal::start(directory, clock, options, segments, next_number)
            .map_err(OpenError::io(dir))?;
        let settled = (0..PARTS).map(|_| Mutex::new(Recent::of(PART))).collect();
        let ledger = Self { journal, settled, durability, report, _lock: lock };
        for record in &lost {
            ledger.journal.append(record).map_err(OpenError::Recovery)?;
            replay(record);
        }
        Ok(ledger)
    }

    /// Reads the ledger in the data directory `dir` and changes nothing of it. Its settled records are given to `each` as [`Ledger::open`] does.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn verify(dir: &Path, each: &mut dyn FnMut(&UsageRecord)) -> Result<Report, OpenError> {
        let _lock = lock(dir)?;
        recover::read(&dir.join("journal"), each).map(|recovered| recovered.report)
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
            return self.journal.append(record).map(|group| Settled { group });
        };
        // Held while the record is written: a second settlement must not succeed
        // before the first has.
        let mut recent = part.lock();
        if !recent.insert(record.id) {
            return Ok(Settled { group: self.journal.written() });
        }
        let written = self.journal.append(record);
        if written.is_err() {
            recent.undo(record.id);
        }
        written.map(|group| Settled { group })
    }

    /// Waits until the record is as safe as `store.durability` demands: not at
    /// all for `process`; until the disk has it for `power`.
    ///
    /// # Errors
    /// [`StorageError::NotDurable`].
    pub async fn durable(&self, settled: Settled) -> Result<(), StorageError> {
        match self.durability {
            Durability::Process => Ok(()),
            Durability::Power => self.journal.durable(settled.group).await,
        }
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
        query::records(self.journal.segments(), filter, page)
    }

    /// Sums over the records that `filter` means, in the order of their names.
    /// It reads files and blocks the calling thread.
    ///
    /// # Errors
    /// [`StorageError::Unreadable`].
    pub fn summary(&self, filter: &Filter, by: By) -> Result<Vec<Row>, StorageError> {
        query::summary(self.journal.segments(), filter, by)
    }
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger").field("report", &self.report).finish_non_exhaustive()
    }
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
