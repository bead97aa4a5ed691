//! Keeps the index in step with the segments, on a thread of its own, so that
//! neither a request nor a sync waits for it.

use parking_lot::{Condvar, Mutex};

use super::Inner;
use super::segment::Segment;
use crate::ledger::index::gathered::Gathered;
use crate::ledger::index::{self, Checkpoint};

/// Wakes the thread.
#[derive(Default)]
pub(super) struct Signal {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    due: bool,
    stopped: bool,
}

impl Signal {
    /// Says that there is something to do.
    pub(super) fn wake(&self) {
        self.state.lock().due = true;
        self.changed.notify_one();
    }

    /// Makes `run` return soon.
    pub(super) fn stop(&self) {
        self.state.lock().stopped = true;
        self.changed.notify_one();
    }

    /// The body of the thread: does `work` whenever there is some.
    pub(super) fn run(&self, work: impl Fn()) {
        let mut state = self.state.lock();
        while !state.stopped {
            if std::mem::take(&mut state.due) {
                parking_lot::MutexGuard::unlocked(&mut state, &work);
            } else {
                self.changed.wait(&mut state);
            }
        }
    }
}

impl Inner {
    /// Sums up every segment that is written no more, then keeps which calls are
    /// open. What cannot be kept is made anew at the next start.
    pub(super) fn upkeep(&self) {
        let (sealed, open) = self.cut();
        if sealed.is_empty() {
            return;
        }
        // The checkpoint says that calls are settled; the settlements are in
        // segments that it does not cover, and must not be less safe than it is.
        let synced = self.commit().is_ok();
        for segment in sealed.iter().filter(|segment| segment.index.is_none()) {
            let mut segment = segment.clone();
            if let Some(summary) = self.gathered(segment.number).and_then(Gathered::finish) {
                index::keep(&self.writer.index, &mut segment, &summary);
                self.take(segment);
                continue;
            }
            match index::index(&self.writer.index, &mut segment) {
                Ok(_) => self.take(segment),
                Err(error) => tracing::warn!(%error, "a segment cannot be indexed"),
            }
        }
        if !synced {
            return;
        }
        if let Err(error) = self.writer.index.put_checkpoint(&Checkpoint::of(&sealed, open)) {
            tracing::warn!(%error, "the checkpoint of the ledger's index cannot be kept");
        }
    }

    /// The segments that are written no more and the open calls, at one moment:
    /// every shard is held.
    fn cut(&self) -> (Vec<Segment>, Vec<(u64, u64)>) {
        let held: Vec<_> = self.shards.iter().map(super::Shard::hold).collect();
        let sealed = self.writer.sealed.lock().clone();
        let open = self.writer.calls.places();
        drop(held);
        (sealed, open)
    }

    /// What was gathered of segment `number` while it was written. It is given once.
    fn gathered(&self, number: u64) -> Option<Gathered> {
        let mut gathered = self.writer.gathered.lock();
        let at = gathered.iter().position(|(of, _)| *of == number)?;
        Some(gathered.swap_remove(at).1)
    }

    /// Takes what is known of a sealed segment now.
    fn take(&self, indexed: Segment) {
        let mut sealed = self.writer.sealed.lock();
        if let Some(known) = sealed.iter_mut().find(|known| known.number == indexed.number) {
            *known = indexed;
        }
    }
}
