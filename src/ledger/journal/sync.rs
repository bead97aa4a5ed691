//! Group commit: one `fdatasync` a shard for all frames of some time.
//!
//! Every write joins the current group. The thread closes the group, syncs every
//! file that was written to, and announces it. A write joins its group while it
//! holds its shard, and the thread visits every shard after it closed the group,
//! so that a group that is announced misses no write that joined it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread::Thread;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::ledger::error::StorageError;

/// How far the disk is.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    /// The last group that was synced, or tried to be.
    done: u64,
    /// The last group that failed; 0 if none.
    failed: u64,
}

/// The groups of writes.
pub(super) struct Groups {
    /// The group that a write joins now.
    current: AtomicU64,
    /// The last group that has a write.
    wanted: AtomicU64,
    progress: watch::Sender<Progress>,
    /// Whether the thread sleeps until there is a write.
    idle: AtomicBool,
    /// Whether someone waits for the disk.
    urgent: AtomicBool,
    stopped: AtomicBool,
    thread: OnceLock<Thread>,
    /// Held while a group is synced.
    turn: Mutex<()>,
}

impl Groups {
    pub(super) fn new() -> Self {
        Self {
            current: AtomicU64::new(1),
            wanted: AtomicU64::new(0),
            progress: watch::Sender::new(Progress::default()),
            idle: AtomicBool::new(false),
            urgent: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            thread: OnceLock::new(),
            turn: Mutex::new(()),
        }
    }

    /// Joins a write that was just made to the current group. The shard's lock
    /// must be held.
    pub(super) fn join(&self) -> u64 {
        let group = self.current.load(SeqCst);
        if self.wanted.load(SeqCst) < group {
            self.wanted.fetch_max(group, SeqCst);
        }
        // Waking costs a system call: only the first write after a rest pays it.
        if self.idle.load(SeqCst) && self.idle.swap(false, SeqCst) {
            self.wake();
        }
        group
    }

    /// Waits until `group` is on the disk.
    ///
    /// # Errors
    /// [`StorageError::NotDurable`] if it was not synced. A caller who comes late
    /// may be told so because of a later group.
    pub(super) async fn durable(&self, group: u64) -> Result<(), StorageError> {
        let mut progress = self.progress.subscribe();
        if progress.borrow().done < group {
            self.urgent.store(true, SeqCst);
            self.wake();
        }
        let reached = progress.wait_for(|progress| progress.done >= group).await;
        match reached {
            Ok(progress) if progress.failed < group => Ok(()),
            Ok(_) | Err(_) => Err(StorageError::NotDurable),
        }
    }

    /// Closes the current group and syncs it with `sync`, which says whether it
    /// did. Groups are synced one at a time.
    ///
    /// # Errors
    /// [`StorageError::NotDurable`].
    pub(super) fn commit(&self, sync: impl FnOnce() -> bool) -> Result<(), StorageError> {
        let _turn = self.turn.lock();
        let group = self.current.fetch_add(1, SeqCst);
        let synced = sync();
        self.progress.send_modify(|progress| {
            progress.done = group;
            if !synced {
                progress.failed = group;
            }
        });
        if synced { Ok(()) } else { Err(StorageError::NotDurable) }
    }

    /// How many groups were synced, or tried to be.
    pub(super) fn count(&self) -> u64 {
        self.progress.borrow().done
    }

    /// The body of the thread: calls `commit` for as long as there are writes,
    /// `interval` after the first write of a group or when someone waits.
    pub(super) fn run(&self, interval: Duration, commit: impl Fn()) {
        self.thread.get_or_init(std::thread::current);
        while !self.stopped.load(SeqCst) {
            if self.behind() {
                self.gather(interval);
                commit();
                continue;
            }
            self.idle.store(true, SeqCst);
            if !self.behind() && !self.stopped.load(SeqCst) {
                std::thread::park();
            }
            self.idle.store(false, SeqCst);
        }
    }

    /// Waits for `interval`, or until someone waits for the group. What woke the thread
    /// from its rest may reach it only here, and ends no group.
    fn gather(&self, interval: Duration) {
        let until = Instant::now() + interval;
        while !self.urgent.load(SeqCst) && !self.stopped.load(SeqCst) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            std::thread::park_timeout(left);
        }
        self.urgent.store(false, SeqCst);
    }

    /// Makes `run` return soon.
    pub(super) fn stop(&self) {
        self.stopped.store(true, SeqCst);
        self.wake();
    }

    fn behind(&self) -> bool {
        self.wanted.load(SeqCst) > self.progress.borrow().done
    }

    fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The thread's rest may end just before it is woken from it.
    #[test]
    fn a_wake_that_comes_late_ends_no_group() {
        let (groups, interval) = (Groups::new(), Duration::from_millis(20));
        std::thread::current().unpark();
        let begun = Instant::now();
        groups.gather(interval);
        assert!(begun.elapsed() >= interval);
    }

    #[test]
    fn who_waits_for_a_group_ends_it() {
        let groups = Groups::new();
        groups.urgent.store(true, SeqCst);
        groups.gather(Duration::from_secs(3600));
        assert!(!groups.urgent.load(SeqCst), "the next one has its time");
    }
}
