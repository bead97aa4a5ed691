//! The journal: append-only, checksummed segment files.
//!
//! Invariant: a frame whose writing returned is in the kernel's hands, so the
//! end of the process does not lose it; what a reader sees of a segment is whole
//! frames only. A process never appends to another one's segment.

pub(super) mod calls;
pub(super) mod frame;
pub(super) mod media;
pub(super) mod merge;
pub(super) mod recover;
pub(super) mod scan;
pub(super) mod segment;
pub(super) mod shard;
mod sync;
#[cfg(test)]
mod tests;
mod upkeep;

use std::cell::Cell;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use self::calls::Calls;
use self::media::{Disk, Media, Sink};
use self::segment::{Active, Header, Segment};
use self::shard::{Entry, Shard, State};
use self::sync::Groups;
use self::upkeep::Signal;
use super::error::StorageError;
use super::index::Index;
use super::index::gathered::{Gathered, Written};
use crate::base::clock::{Clock, Timestamp};
use crate::base::id::RecordIds;

/// The largest size of a segment that is kept to, in bytes: the index holds
/// places in 32 bits.
const LARGEST: u64 = 1 << 31;

/// What a thread's buffer keeps between frames, in bytes.
const BUFFER: usize = 16 * 1024;

thread_local! {
    /// Where the calling thread encodes its frames.
    static FRAME: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// How the journal is written.
#[derive(Clone)]
pub struct Options {
    /// Files written at the same time. Threads share them out among themselves.
    pub shards: usize,
    /// A segment that has this many bytes is followed by a new one.
    pub segment_bytes: u64,
    /// The longest time between a write and its `fdatasync`, the duration of
    /// that call apart.
    pub sync_interval: Duration,
    pub(super) media: Arc<dyn Media>,
}

impl Default for Options {
    /// One shard a processor (at most 8), 64 MiB, 50 ms.
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(2, usize::from);
        Self {
            shards: processors.min(8),
            segment_bytes: 64 * 1024 * 1024,
            sync_interval: Duration::from_millis(50),
            media: Arc::new(Disk),
        }
    }
}

/// The journal of this process, open for writing, and the segments of earlier
/// ones, open for reading. Dropping it syncs and indexes everything.
pub(super) struct Journal {
    inner: Arc<Inner>,
    threads: Vec<JoinHandle<()>>,
}

struct Inner {
    writer: Writer,
    shards: Box<[Shard]>,
}

/// What the shards share.
pub(super) struct Writer {
    directory: PathBuf,
    clock: Arc<dyn Clock>,
    options: Options,
    process: u128,
    /// The first number that no segment has.
    next_number: Mutex<u64>,
    next_sequence: AtomicU64,
    /// Segments that are written no more.
    sealed: Mutex<Vec<Segment>>,
    /// What the index will keep of those that it does not have yet.
    gathered: Mutex<Vec<(u64, Gathered)>>,
    /// Files among them that are not synced.
    unsynced: Mutex<Vec<Arc<dyn Sink>>>,
    /// Whether the directory has names that are not synced.
    new_names: AtomicBool,
    /// Whether the last write failed.
    failing: AtomicBool,
    groups: Groups,
    /// The provider calls that nothing has settled.
    calls: Calls,
    index: Index,
    upkeep: Signal,
}

impl Journal {
    /// Begins to write in `directory`, which holds `sealed` and no segment with
    /// a number of `next_number` or more.
    ///
    /// # Errors
    /// What the kernel says when it starts no thread.
    pub(super) fn start(
        directory: PathBuf,
        clock: Arc<dyn Clock>,
        options: Options,
        index: Index,
        sealed: Vec<Segment>,
        next_number: u64,
    ) -> io::Result<Self> {
        let interval = options.sync_interval;
        let shards = u32::try_from(options.shards.max(1)).unwrap_or(u32::MAX);
        let process = RecordIds::default().next(clock.wall()).0.as_u128();
        let writer = Writer {
            directory,
            clock,
            options: Options { segment_bytes: options.segment_bytes.min(LARGEST), ..options },
            process,
            next_number: Mutex::new(next_number),
            next_sequence: AtomicU64::new(0),
            sealed: Mutex::new(sealed),
            gathered: Mutex::new(Vec::new()),
            unsynced: Mutex::new(Vec::new()),
            new_names: AtomicBool::new(false),
            failing: AtomicBool::new(false),
            groups: Groups::new(),
            calls: Calls::new(),
            index,
            upkeep: Signal::default(),
        };
        let inner = Arc::new(Inner { writer, shards: (0..shards).map(Shard::new).collect() });
        let mut journal = Self { inner: Arc::clone(&inner), threads: Vec::new() };
        let for_sync = Arc::clone(&inner);
        journal.spawn("journal-sync", move || {
            for_sync.writer.groups.run(interval, || {
                // Those who wait are told by the groups; the next commit tries again.
                for_sync.commit().ok();
            });
        })?;
        journal.spawn("journal-index", move || inner.writer.upkeep.run(|| inner.upkeep()))?;
        Ok(journal)
    }

    fn spawn(&mut self, name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
        self.threads.push(std::thread::Builder::new().name(name.to_owned()).spawn(body)?);
        Ok(())
    }

    /// Hands `entry` to the kernel and returns the group that will sync it.
    ///
    /// # Errors
    /// [`StorageError::Unavailable`]; nothing is then written.
    pub(super) fn append<E: Entry>(&self, entry: &E) -> Result<u64, StorageError> {
        let Inner { writer, shards } = &*self.inner;
        // Encoded before a shard is held: others wait for no more than the writing.
        let mut frame = FRAME.try_with(Cell::take).unwrap_or_default();
        let appended = write(writer, shards, entry, &mut frame);
        frame.shrink_to(BUFFER);
        FRAME.try_with(|kept| kept.set(frame)).ok();
        if writer.failing.load(Ordering::Relaxed) != appended.is_err() {
            writer.failing.store(appended.is_err(), Ordering::Relaxed);
        }
        appended.map_err(StorageError::Unavailable)
    }

    /// Finds out whether every file takes writes, where the last one failed.
    ///
    /// # Errors
    /// [`StorageError::Unavailable`].
    pub(super) fn probe(&self) -> Result<(), StorageError> {
        let Inner { writer, shards } = &*self.inner;
        shards
            .iter()
            .try_for_each(|shard| shard.probe(writer))
            .map_err(StorageError::Unavailable)?;
        writer.failing.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// A group that holds everything written so far.
    pub(super) fn group(&self) -> u64 {
        self.inner.writer.groups.join()
    }

    /// Waits until `group` is on the disk.
    ///
    /// # Errors
    /// [`StorageError::NotDurable`].
    pub(super) async fn durable(&self, group: u64) -> Result<(), StorageError> {
        self.inner.writer.groups.durable(group).await
    }

    /// Waits until the disk has everything written so far.
    ///
    /// # Errors
    /// [`StorageError::NotDurable`].
    pub(super) fn sync(&self) -> Result<(), StorageError> {
        self.inner.commit()
    }

    /// How many groups were synced, or tried to be.
    pub(super) fn groups(&self) -> u64 {
        self.inner.writer.groups.count()
    }

    /// The time.
    pub(super) fn now(&self) -> Timestamp {
        self.inner.writer.clock.wall()
    }

    /// Whether the last write succeeded.
    pub(super) fn available(&self) -> bool {
        !self.inner.writer.failing.load(Ordering::Relaxed)
    }

    /// Every segment, as far as it is written now.
    pub(super) fn segments(&self) -> Vec<Segment> {
        let (active, mut segments) = self.written(&|_| false, 0);
        segments.extend(active.into_iter().map(|(segment, _)| segment));
        segments
    }

    /// The segments that are being written, each with the records in it that
    /// `wanted` wants, the newest first, at most `limit`; and all others.
    pub(super) fn written(
        &self,
        wanted: &dyn Fn(&Written) -> bool,
        limit: usize,
    ) -> (Vec<(Segment, Vec<Written>)>, Vec<Segment>) {
        // Active ones first: one that is sealed meanwhile is then seen twice, not missed.
        // The sealed one counts, which is whole: its successor may be sealed too by
        // now, and must not follow upon half of it.
        let shards = self.inner.shards.iter();
        let mut active: Vec<_> = shards.filter_map(|shard| shard.written(wanted, limit)).collect();
        let sealed = self.inner.writer.sealed.lock().clone();
        active.retain(|(one, _)| !sealed.iter().any(|old| old.number == one.number));
        (active, sealed)
    }

    /// Brings the index up to date with what is written no more.
    pub(super) fn upkeep(&self) {
        self.inner.upkeep();
    }

    /// Ends every segment: the next frame begins new ones.
    fn seal(&self) {
        self.inner.shards.iter().for_each(|shard| shard.seal(&self.inner.writer));
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.inner.writer.groups.stop();
        self.inner.writer.upkeep.stop();
        for thread in self.threads.drain(..) {
            thread.join().ok();
        }
        self.seal();
        // It syncs, too. There is nobody left to tell; the kernel has it all.
        self.inner.upkeep();
    }
}

impl Inner {
    fn commit(&self) -> Result<(), StorageError> {
        let writer = &self.writer;
        writer.groups.commit(|| {
            let mut synced = true;
            for shard in &self.shards {
                if let Some(sink) = shard.take_dirty()
                    && sink.sync().is_err()
                {
                    synced = false;
                    shard.condemn(&sink);
                }
            }
            // After the shards, so that a file that was sealed meanwhile is not missed.
            let sealed = std::mem::take(&mut *writer.unsynced.lock());
            for sink in sealed {
                synced &= sink.sync().is_ok();
            }
            if writer.new_names.swap(false, Ordering::SeqCst)
                && writer.options.media.sync_directory(&writer.directory).is_err()
            {
                synced = false;
                writer.new_names.store(true, Ordering::SeqCst);
            }
            synced
        })
    }
}

impl Writer {
    /// The next frame's place among those of this process.
    fn sequence(&self) -> u64 {
        self.next_sequence.fetch_add(1, Ordering::Relaxed)
    }

    /// A new segment under the next free number. A number is used up by a file
    /// alone, so that a reader can tell when a file is missing.
    fn create(&self, header: Header) -> io::Result<Active> {
        let media = &*self.options.media;
        let mut number = self.next_number.lock();
        loop {
            let created = Active::create(media, &self.directory, *number, header);
            match &created {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => *number += 1,
                Err(_) => return created,
                Ok(_) => {
                    *number += 1;
                    self.new_names.store(true, Ordering::SeqCst);
                    return created;
                }
            }
        }
    }

    /// Takes a segment that is written no more.
    fn retire(&self, old: Active) {
        self.gathered.lock().push((old.segment.number, old.gathered));
        self.sealed.lock().push(old.segment);
        if old.dirty {
            self.unsynced.lock().push(old.sink);
        }
        self.upkeep.wake();
    }
}

/// Hands `entry` to the kernel, encoded in `frame`, and returns the group that will
/// sync it.
///
/// # Errors
/// What the kernel says; nothing is then written.
fn write<E: Entry>(
    writer: &Writer,
    shards: &[Shard],
    entry: &E,
    frame: &mut Vec<u8>,
) -> io::Result<u64> {
    let shortened;
    let entry = match frame::draft(frame, E::KIND, entry) {
        Ok(()) => entry,
        Err(_) => {
            shortened = entry.shortened();
            let drafted = frame::draft(frame, E::KIND, &shortened);
            drafted.map_err(|_| io::ErrorKind::FileTooLarge)?;
            &shortened
        }
    };
    let (shard, state) = held(shards).ok_or(io::ErrorKind::NotFound)?;
    shard.append(state, writer, entry, frame)
}

/// A shard to write to: the thread's own, or, if somebody writes to that just now,
/// another one. A thread that loses the processor while it writes holds up nobody,
/// as long as there is a shard for each processor.
fn held(shards: &[Shard]) -> Option<(&Shard, MutexGuard<'_, State>)> {
    let own = thread_number() % shards.len().max(1);
    let (before, from) = shards.split_at_checked(own)?;
    let free = from.iter().chain(before).find_map(|shard| Some((shard, shard.try_hold()?)));
    free.or_else(|| shards.get(own).map(|shard| (shard, shard.hold())))
}

/// The number of the calling thread: 0 for the first that asks, and so on.
fn thread_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static NUMBER: Cell<Option<usize>> = const { Cell::new(None) };
    }
    NUMBER.get().unwrap_or_else(|| {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        NUMBER.set(Some(number));
        number
    })
}
