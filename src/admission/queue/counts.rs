//! The counts of [`CallSlots`](super::CallSlots) in one atomic word.

use std::sync::atomic::{AtomicU64, Ordering};

/// Bits of one count: up to 2,097,151 calls, which is more than a process can
/// have connections.
const BITS: u32 = 21;
/// The largest count.
pub(super) const MOST: u32 = (1 << BITS) - 1;

const COMMON: u64 = 1;
const DEDICATED: u64 = 1 << BITS;
const WAITER: u64 = 1 << (2 * BITS);

/// Whose slot it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Of a call that may not have a reserved slot.
    Common,
    /// Of a call that may.
    Dedicated,
}

/// How many may run at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Caps {
    /// Calls of both kinds together.
    pub(super) all: u32,
    /// Common calls; the difference is reserved.
    pub(super) common: u32,
}

/// The counts at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counts(u64);

/// The counts: waiters, and slots taken by calls of either kind.
#[derive(Debug, Default)]
pub(super) struct Word(AtomicU64);

impl Kind {
    const fn one(self) -> u64 {
        match self {
            Self::Common => COMMON,
            Self::Dedicated => DEDICATED,
        }
    }
}

impl Counts {
    /// Slots taken by common calls.
    pub(super) const fn common(self) -> u32 {
        part(self.0)
    }

    /// Slots taken by calls of either kind.
    pub(super) const fn in_use(self) -> u32 {
        self.common() + part(self.0 >> BITS)
    }

    /// Waiters.
    pub(super) const fn waiting(self) -> u32 {
        part(self.0 >> (2 * BITS))
    }

    /// Whether `caps` leave room for one more call of this kind.
    pub(super) const fn has_room(self, kind: Kind, caps: Caps) -> bool {
        self.in_use() < caps.all
            && match kind {
                Kind::Dedicated => true,
                Kind::Common => self.common() < caps.common,
            }
    }
}

impl Word {
    /// The counts now.
    pub(super) fn load(&self) -> Counts {
        Counts(self.0.load(Ordering::Acquire))
    }

    /// Takes a slot if `may`, of the counts just then, says so.
    pub(super) fn take_if(&self, kind: Kind, may: impl Fn(Counts) -> bool) -> bool {
        let take = |word| may(Counts(word)).then(|| word + kind.one());
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).is_ok()
    }

    /// Frees a slot if nobody waits.
    pub(super) fn free_unless_waited_for(&self, kind: Kind) -> bool {
        let free = |word| (Counts(word).waiting() == 0).then(|| word - kind.one());
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, free).is_ok()
    }

    /// Frees a slot.
    pub(super) fn free(&self, kind: Kind) {
        self.0.fetch_sub(kind.one(), Ordering::AcqRel);
    }

    /// One waiter more.
    pub(super) fn join(&self) {
        self.0.fetch_add(WAITER, Ordering::AcqRel);
    }

    /// One waiter fewer.
    pub(super) fn leave(&self) {
        self.0.fetch_sub(WAITER, Ordering::AcqRel);
    }

    /// One waiter fewer and one slot more taken.
    pub(super) fn grant(&self, kind: Kind) {
        self.0.fetch_sub(WAITER - kind.one(), Ordering::AcqRel);
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the lowest bits are what is wanted")]
const fn part(word: u64) -> u32 {
    (word & MOST as u64) as u32
}
