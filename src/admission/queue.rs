//! Slots for calls to providers, and the queue for them.
//!
//! At most so many calls run at once; at most so many more wait, in the order of
//! `line`. Some of the slots are reserved: as long as anybody has a plan with
//! dedicated capacity, calls of other plans leave that many free. So a dedicated
//! call finds a slot at once while fewer dedicated calls run than are reserved, and
//! takes from the common ones what it needs beyond.
//!
//! Invariants: a slot that is free is never kept from a waiter that may have it;
//! nobody takes a slot past a waiter that may have it; whoever stops waiting, at
//! whichever instant, leaves neither a place in the queue nor a slot behind.
//!
//! The counts are one atomic word, so that as long as nobody waits a slot costs
//! one exchange and no lock. The number of waiters changes only under the queue's
//! lock, and while it is not zero all slots change hands there, so no wake-up can
//! be lost.

mod counts;
mod line;
mod priority;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::base::clock::Clock;
use crate::base::pace::Pace;
use crate::config::GlobalLimits;
use counts::{Caps, Kind, Word};
use line::{Line, Place};

pub use priority::Priority;

/// A waiter moves up a priority after each such part of the longest wait.
const STEPS: u32 = 4;

/// Slots for calls to providers.
#[derive(Debug)]
pub struct CallSlots {
    counts: Word,
    /// The [`Caps`]: all in the high half, common in the low half. They change
    /// under the queue's lock.
    caps: AtomicU64,
    pace: Arc<Pace>,
    queue: Mutex<Queue>,
}

/// Who asks for a slot.
#[derive(Clone, Copy, Debug)]
pub struct Who<'a> {
    /// The account.
    pub account: &'a Arc<str>,
    /// The priority that its plan gives it.
    pub priority: Priority,
}

/// One taken slot; the next in the queue has it once this is dropped.
#[derive(Debug)]
#[must_use = "dropping the slot frees it"]
pub struct CallSlot {
    slots: Arc<CallSlots>,
    kind: Kind,
    since: Duration,
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
    /// The place in the full queue went to an account that has fewer waiters, or
    /// to a higher priority.
    #[error("the place in the queue went to another")]
    Displaced,
}

/// A place in the queue. Dropping it leaves the queue, or frees the slot that
/// was granted meanwhile.
#[derive(Debug)]
#[must_use = "dropping the place leaves the queue"]
pub struct Waiting {
    slots: Arc<CallSlots>,
    place: Place,
    kind: Kind,
    ahead: u32,
    told: oneshot::Receiver<Told>,
    /// Whether it has been told, and nothing is left to be given back.
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

/// What becomes of a waiter that stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Granted,
    Displaced,
}

#[derive(Debug)]
struct Queue {
    line: Line<oneshot::Sender<Told>>,
    places: u32,
    concurrent: u32,
    reserved: u32,
    /// Whether there is anybody for whom slots are reserved.
    reserving: bool,
}

impl Kind {
    const fn of(priority: Priority) -> Self {
        match priority {
            Priority::Dedicated => Self::Dedicated,
            Priority::Preferred | Priority::Standard => Self::Common,
        }
    }
}

impl Queue {
    fn set_limits(&mut self, limits: &GlobalLimits) {
        self.line.set_step(limits.queue_timeout / STEPS);
        self.places = limits.queue.min(counts::MOST);
        self.concurrent = limits.concurrent.min(counts::MOST);
        // At least one is common, or others would never be served.
        self.reserved = limits.reserved.min(self.concurrent.saturating_sub(1));
    }

    fn caps(&self) -> Caps {
        let reserved = if self.reserving { self.reserved } else { 0 };
        Caps { all: self.concurrent, common: self.concurrent - reserved }
    }
}

impl CallSlots {
    /// As many free slots and places to wait as `limits` say; nothing is reserved
    /// before [`CallSlots::reserve`].
    pub fn new(limits: &GlobalLimits, clock: Arc<dyn Clock>) -> Arc<Self> {
        let line = Line::new(Duration::ZERO);
        let mut queue = Queue { line, places: 0, concurrent: 0, reserved: 0, reserving: false };
        queue.set_limits(limits);
        Arc::new(Self {
            counts: Word::default(),
            caps: AtomicU64::new(packed(queue.caps())),
            pace: Pace::new(clock),
            queue: Mutex::new(queue),
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

    /// A slot if one is free and nobody waits who may have it, otherwise a place
    /// in the queue. In a full queue that is the place of the newest waiter of the
    /// account that has most waiters of the lowest priority, if `who` is of a
    /// higher priority, or of the same and its account then still has fewer.
    ///
    /// # Errors
    /// [`NoSlot::QueueFull`]
    pub fn ask(self: &Arc<Self>, who: Who<'_>) -> Result<Asked, NoSlot> {
        let kind = Kind::of(who.priority);
        if self.take_unless_waited_for(kind) {
            return Ok(Asked::Slot(self.taken(kind)));
        }
        let mut queue = self.queue.lock();
        // One may have come free meanwhile. While there are waiters, room can only
        // be what is reserved, and then nobody waits who may have it.
        let caps = self.caps();
        if self.counts.take_if(kind, |counts| counts.has_room(kind, caps)) {
            return Ok(Asked::Slot(self.taken(kind)));
        }
        let now = self.pace.now();
        if self.waiting() >= queue.places {
            let displaced = queue.line.make_room(who.priority, who.account, now);
            let displaced = displaced.ok_or(NoSlot::QueueFull)?;
            self.counts.leave();
            // A receiver that is gone is being dropped.
            let _gone = displaced.send(Told::Displaced);
        }
        let (tell, told) = oneshot::channel();
        let ahead = queue.line.ahead(who.priority, who.account);
        let place = queue.line.join(who.priority, who.account, now, tell);
        self.counts.join();
        // Between the look and the joining a slot may have come free unseen.
        self.hand_out(&mut queue);
        drop(queue);
        Ok(Asked::Wait(Waiting { slots: Arc::clone(self), place, kind, ahead, told, over: false }))
    }

    /// A common slot if one is free and nobody waits, for what nobody is to wait for.
    pub fn spare(self: &Arc<Self>) -> Option<CallSlot> {
        self.take_unless_waited_for(Kind::Common).then(|| self.taken(Kind::Common))
    }

    /// When somebody who found no slot can expect one, from 1 s to 60 s: the mean
    /// time that a slot is held, divided by the slots that `who` may have, times
    /// those ahead and itself (see [`Pace`]).
    pub fn expected_wait(&self, who: Who<'_>) -> Duration {
        let ahead = self.queue.lock().line.ahead(who.priority, who.account);
        let Caps { all, common } = self.caps();
        let slots = match Kind::of(who.priority) {
            Kind::Dedicated => all,
            Kind::Common => common,
        };
        self.pace.expected(ahead, slots)
    }

    /// Slots taken now.
    pub fn in_use(&self) -> u32 {
        self.counts.load().in_use()
    }

    /// Requests that wait now.
    pub fn waiting(&self) -> u32 {
        self.counts.load().waiting()
    }

    /// Changes the limits. Slots taken stay taken and waiters keep waiting, even
    /// above lower ones.
    pub fn set_limits(&self, limits: &GlobalLimits) {
        self.change(|queue| queue.set_limits(limits));
    }

    /// Keeps the reserved slots free for dedicated calls from now on, or no more.
    pub fn reserve(&self, reserving: bool) {
        self.change(|queue| queue.reserving = reserving);
    }

    fn change(&self, change: impl FnOnce(&mut Queue)) {
        let mut queue = self.queue.lock();
        change(&mut queue);
        self.caps.store(packed(queue.caps()), Ordering::Release);
        self.hand_out(&mut queue);
    }

    fn caps(&self) -> Caps {
        let caps = self.caps.load(Ordering::Acquire);
        let half = |word: u64| u32::try_from(word & u64::from(u32::MAX)).unwrap_or(u32::MAX);
        Caps { all: half(caps >> 32), common: half(caps) }
    }

    /// Takes a slot if one is free and nobody waits.
    fn take_unless_waited_for(&self, kind: Kind) -> bool {
        let caps = self.caps();
        self.counts.take_if(kind, |counts| counts.waiting() == 0 && counts.has_room(kind, caps))
    }

    fn taken(self: &Arc<Self>, kind: Kind) -> CallSlot {
        CallSlot { slots: Arc::clone(self), kind, since: self.pace.began() }
    }

    /// Frees a slot, or hands it on.
    fn free(&self, kind: Kind) {
        if self.counts.free_unless_waited_for(kind) {
            return;
        }
        let mut queue = self.queue.lock();
        self.counts.free(kind);
        self.hand_out(&mut queue);
    }

    /// Grants free slots to whoever is next. A grant to a place that is being
    /// dropped is freed by that drop, which waits for the lock.
    fn hand_out(&self, queue: &mut Queue) {
        let (caps, now) = (self.caps(), self.pace.now());
        loop {
            let counts = self.counts.load();
            if counts.waiting() == 0 || !counts.has_room(Kind::Dedicated, caps) {
                return;
            }
            let reserved = !counts.has_room(Kind::Common, caps);
            let Some((priority, waiter)) = queue.line.next(reserved, now) else { return };
            // The count of slots can only fall meanwhile, since nobody takes one
            // without the lock while there are waiters.
            self.counts.grant(Kind::of(priority));
            // A receiver that is gone is being dropped.
            let _gone = waiter.send(Told::Granted);
        }
    }
}

impl Waiting {
    /// How many were ahead when it joined the queue, at most.
    pub const fn ahead(&self) -> u32 {
        self.ahead
    }

    /// Waits for the slot, at most for `patience`.
    ///
    /// # Errors
    /// [`NoSlot::TimedOut`], [`NoSlot::Displaced`]
    pub async fn slot(mut self, patience: Duration) -> Result<CallSlot, NoSlot> {
        let told = tokio::time::timeout(patience, &mut self.told).await;
        let Ok(Ok(told)) = told else { return Err(NoSlot::TimedOut) };
        self.over = true;
        match told {
            Told::Granted => Ok(self.slots.taken(self.kind)),
            Told::Displaced => Err(NoSlot::Displaced),
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let mut queue = self.slots.queue.lock();
        if queue.line.leave(&self.place, self.slots.pace.now()).is_some() {
            self.slots.counts.leave();
            return;
        }
        drop(queue);
        // It was told, under the lock, and has not looked.
        if self.told.try_recv() != Ok(Told::Displaced) {
            self.slots.free(self.kind);
        }
    }
}

impl Drop for CallSlot {
    fn drop(&mut self) {
        self.slots.pace.ended(self.since);
        self.slots.free(self.kind);
    }
}

fn packed(caps: Caps) -> u64 {
    u64::from(caps.all) << 32 | u64::from(caps.common)
}

#[cfg(test)]
mod tests;
