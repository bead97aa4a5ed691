//! Slots for calls to providers, and the queue for them.
//!
//! At most so many calls run at once; at most so many more wait, in the order of
//! their rank, which is the order of arrival so far. Invariants: a slot that is
//! free is never kept from a waiter; nobody overtakes a waiter; whoever stops
//! waiting, at whichever instant, leaves neither a place in the queue nor a slot
//! behind.
//!
//! The two counts are one atomic word, so that as long as nobody waits a slot
//! costs one exchange and no lock. The number of waiters changes only under the
//! queue's lock, and while it is not zero all slots change hands there, so no
//! wake-up can be lost.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Slots for calls to providers.
#[derive(Debug)]
pub struct CallSlots {
    cap: AtomicU32,
    /// The number of waiters in the high half, of slots taken in the low half.
    counts: AtomicU64,
    queue: Mutex<Queue>,
}

/// Who asks for a slot. Everybody is equal so far: first come, first served.
#[derive(Clone, Copy, Debug)]
pub struct Who<'a> {
    /// The account.
    pub account: &'a str,
}

/// One taken slot; the next in the queue has it once this is dropped.
#[derive(Debug)]
#[must_use = "dropping the slot frees it"]
pub struct CallSlot {
    slots: Arc<CallSlots>,
}

/// Why there is no slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSlot {
    /// As many wait as may.
    #[error("the queue is full")]
    QueueFull,
    /// None came free in time.
    #[error("no slot came free in time")]
    TimedOut,
}

/// A place in the queue. Dropping it leaves the queue, or frees the slot that
/// was granted meanwhile.
#[derive(Debug)]
#[must_use = "dropping the place leaves the queue"]
pub struct Waiting {
    slots: Arc<CallSlots>,
    rank: Rank,
    granted: oneshot::Receiver<()>,
    /// Whether what it waited for has been handed on to a [`CallSlot`].
    over: bool,
}

/// What a look for a slot gives.
#[derive(Debug)]
pub enum Asked {
    /// A slot that was free.
    Slot(CallSlot),
    /// A place in the queue.
    Wait(Waiting),
}

/// The order of waiters, the least first. Priority and fairness between
/// accounts go before the number, and nothing else changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    number: u64,
}

#[derive(Debug, Default)]
struct Queue {
    waiters: BTreeMap<Rank, oneshot::Sender<()>>,
    places: u32,
    arrivals: u64,
}

const ONE_WAITER: u64 = 1 << 32;

impl CallSlots {
    /// `cap` free slots, and a queue of `places`.
    pub fn new(cap: u32, places: u32) -> Arc<Self> {
        Arc::new(Self {
            cap: AtomicU32::new(cap),
            counts: AtomicU64::new(0),
            queue: Mutex::new(Queue { places, ..Queue::default() }),
        })
    }

    /// A slot, now or after at most `patience`. Dropping the future gives
    /// everything back.
    ///
    /// # Errors
    /// [`NoSlot`]
    pub async fn acquire(
        self: &Arc<Self>,
        who: Who<'_>,
        patience: Duration,
    ) -> Result<CallSlot, NoSlot> {
        match self.ask(who)? {
            Asked::Slot(slot) => Ok(slot),
            Asked::Wait(waiting) => waiting.slot(patience).await,
        }
    }

    /// A slot if one is free and nobody waits, otherwise a place in the queue.
    ///
    /// # Errors
    /// [`NoSlot::QueueFull`]
    pub fn ask(self: &Arc<Self>, _who: Who<'_>) -> Result<Asked, NoSlot> {
        if self.try_take() {
            return Ok(Asked::Slot(CallSlot { slots: Arc::clone(self) }));
        }
        let mut queue = self.queue.lock();
        // One may have come free meanwhile; nobody else can join the queue now.
        if self.try_take() {
            return Ok(Asked::Slot(CallSlot { slots: Arc::clone(self) }));
        }
        if self.waiting() >= queue.places {
            return Err(NoSlot::QueueFull);
        }
        let (grant, granted) = oneshot::channel();
        let rank = Rank { number: queue.arrivals };
        queue.arrivals += 1;
        queue.waiters.insert(rank, grant);
        self.counts.fetch_add(ONE_WAITER, Ordering::AcqRel);
        // Between the look and the joining a slot may have come free unseen.
        self.hand_out(&mut queue);
        drop(queue);
        Ok(Asked::Wait(Waiting { slots: Arc::clone(self), rank, granted, over: false }))
    }

    /// Slots taken now.
    pub fn in_use(&self) -> u32 {
        low(self.counts.load(Ordering::Acquire))
    }

    /// Requests that wait now.
    pub fn waiting(&self) -> u32 {
        high(self.counts.load(Ordering::Acquire))
    }

    /// Changes the caps. Slots taken stay taken and waiters keep waiting, even
    /// above lower ones.
    pub fn set_caps(&self, cap: u32, places: u32) {
        let mut queue = self.queue.lock();
        queue.places = places;
        self.cap.store(cap, Ordering::Release);
        self.hand_out(&mut queue);
    }

    /// Takes a slot if one is free and nobody waits.
    fn try_take(&self) -> bool {
        let cap = self.cap.load(Ordering::Acquire);
        let take = |counts| (high(counts) == 0 && low(counts) < cap).then(|| counts + 1);
        self.counts.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).is_ok()
    }

    /// Frees a slot, or hands it on.
    fn free(&self) {
        let free = |counts| (high(counts) == 0).then(|| counts - 1);
        if self.counts.fetch_update(Ordering::AcqRel, Ordering::Acquire, free).is_ok() {
            return;
        }
        let mut queue = self.queue.lock();
        self.counts.fetch_sub(1, Ordering::AcqRel);
        self.hand_out(&mut queue);
    }

    /// Grants free slots to the first waiters. A grant to a place that is being
    /// dropped is freed by that drop, which waits for the lock.
    fn hand_out(&self, queue: &mut Queue) {
        while !queue.waiters.is_empty() && self.in_use() < self.cap.load(Ordering::Acquire) {
            let Some((_, grant)) = queue.waiters.pop_first() else { return };
            // One waiter fewer, one slot more. The count of slots can only fall
            // meanwhile, since nobody takes one while there are waiters.
            self.counts.fetch_sub(ONE_WAITER - 1, Ordering::AcqRel);
            // A receiver that is gone is being dropped.
            let _gone = grant.send(());
        }
    }
}

impl Waiting {
    /// Waits for the slot, at most for `patience`.
    ///
    /// # Errors
    /// [`NoSlot::TimedOut`]
    pub async fn slot(mut self, patience: Duration) -> Result<CallSlot, NoSlot> {
        match tokio::time::timeout(patience, &mut self.granted).await {
            Ok(Ok(())) => {
                self.over = true;
                Ok(CallSlot { slots: Arc::clone(&self.slots) })
            }
            Ok(Err(_)) | Err(_) => Err(NoSlot::TimedOut),
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let mut queue = self.slots.queue.lock();
        if queue.waiters.remove(&self.rank).is_some() {
            self.slots.counts.fetch_sub(ONE_WAITER, Ordering::AcqRel);
            return;
        }
        drop(queue);
        // It was granted, and nobody has taken it.
        self.slots.free();
    }
}

impl Drop for CallSlot {
    fn drop(&mut self) {
        self.slots.free();
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the low half is what is wanted")]
const fn low(counts: u64) -> u32 {
    counts as u32
}

const fn high(counts: u64) -> u32 {
    (counts >> 32) as u32
}

#[cfg(test)]
mod tests;
