//! Writes entries to the disk on a thread of its own, behind a queue that is
//! bounded in entries and in bytes. What finds no room there is not written.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;

use parking_lot::Mutex;

use crate::cache::disk::Disk;
use crate::cache::entry::Entry;
use crate::cache::key::Key;
use crate::telemetry::metrics::Unwritten;

/// Most entries that wait.
const ENTRIES: usize = 1024;
/// Most bytes of them.
const BYTES: usize = 32 * 1024 * 1024;

/// One entry to be written, and how many purges there were when it was asked for.
pub(super) struct Job {
    pub(super) key: Key,
    pub(super) entry: Arc<Entry>,
    pub(super) epoch: u64,
}

/// The queue and its thread.
pub(super) struct Writer {
    queue: Mutex<Option<SyncSender<Job>>>,
    waiting: Arc<AtomicUsize>,
    disk: Arc<Disk>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    /// Begins to write to `disk`; `purges` counts those of the cache.
    ///
    /// # Errors
    /// Those of making a thread.
    pub(super) fn start(disk: Arc<Disk>, purges: Arc<AtomicU64>) -> io::Result<Self> {
        let (queue, jobs) = sync_channel(ENTRIES);
        let waiting = Arc::new(AtomicUsize::new(0));
        let (behind, left) = (disk.clone(), waiting.clone());
        let thread = std::thread::Builder::new()
            .name("cache".to_owned())
            .spawn(move || write(&jobs, &behind, &purges, &left))?;
        Ok(Self { queue: Mutex::new(Some(queue)), waiting, disk, thread: Mutex::new(Some(thread)) })
    }

    /// Writes an entry soon, if there is room in the queue. Never blocks.
    pub(super) fn offer(&self, job: Job) {
        let bytes = job.entry.weight() as usize;
        let full = self.waiting.fetch_add(bytes, Ordering::Relaxed) + bytes > BYTES;
        let taken = match &*self.queue.lock() {
            Some(queue) if !full => queue.try_send(job).is_ok(),
            _ => false,
        };
        if !taken {
            self.waiting.fetch_sub(bytes, Ordering::Relaxed);
            self.disk.metrics().unwritten(Unwritten::QueueFull);
        }
    }

    /// Writes what waits, then ends. Blocks until that is done.
    pub(super) fn close(&self) {
        drop(self.queue.lock().take());
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that writes the cache to the disk has panicked");
        }
    }
}

fn write(jobs: &Receiver<Job>, disk: &Disk, purges: &AtomicU64, waiting: &AtomicUsize) {
    while let Ok(mut job) = jobs.recv() {
        loop {
            disk.put(&job.key, &job.entry, job.epoch, purges);
            waiting.fetch_sub(job.entry.weight() as usize, Ordering::Relaxed);
            job = match jobs.try_recv() {
                Ok(next) => next,
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            };
        }
        disk.show();
    }
}
