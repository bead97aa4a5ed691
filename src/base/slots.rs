//! A counter with a cap for the whole process: requests at once, provider
//! requests at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Slots of which at most `cap` are taken at once.
#[derive(Debug)]
pub struct Slots {
    cap: AtomicU32,
    used: AtomicU32,
}

/// One taken slot; free again once dropped.
#[derive(Debug)]
#[must_use = "dropping the slot frees it"]
pub struct Slot {
    slots: Arc<Slots>,
}

impl Slots {
    /// `cap` free slots.
    pub fn new(cap: u32) -> Arc<Self> {
        Arc::new(Self { cap: AtomicU32::new(cap), used: AtomicU32::new(0) })
    }

    /// Takes a slot; `None` while all are taken.
    pub fn try_acquire(self: &Arc<Self>) -> Option<Slot> {
        let cap = self.cap();
        self.used
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |used| {
                (used < cap).then(|| used.saturating_add(1))
            })
            .ok()
            .map(|_| Slot { slots: Arc::clone(self) })
    }

    /// Slots taken now.
    pub fn in_use(&self) -> u32 {
        self.used.load(Ordering::Acquire)
    }

    /// Slots that may be taken at once.
    pub fn cap(&self) -> u32 {
        self.cap.load(Ordering::Acquire)
    }

    /// Changes the cap. Slots taken stay taken, even above a lower cap.
    pub fn set_cap(&self, cap: u32) {
        self.cap.store(cap, Ordering::Release);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.used.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use super::*;

    #[test]
    fn slots_are_free_again_in_any_order() {
        let slots = Slots::new(3);
        let mut held: Vec<_> = std::iter::from_fn(|| slots.try_acquire()).collect();
        assert_eq!((held.len(), slots.in_use()), (3, 3));
        drop(held.remove(1));
        assert_eq!(slots.in_use(), 2);
        let again = slots.try_acquire();
        assert!(again.is_some() && slots.try_acquire().is_none());
        held.clear();
        drop(again);
        assert_eq!(slots.in_use(), 0);
    }

    #[test]
    fn a_lower_cap_waits_for_slots_to_come_back() {
        let slots = Slots::new(2);
        let (first, second) = (slots.try_acquire(), slots.try_acquire());
        slots.set_cap(1);
        assert_eq!((slots.cap(), slots.in_use()), (1, 2));
        drop(first);
        assert!(slots.try_acquire().is_none());
        drop(second);
        assert!(slots.try_acquire().is_some());
    }

    #[test]
    fn never_more_than_the_cap_are_taken_at_once() {
        let (slots, start) = (Slots::new(5), Barrier::new(64));
        let most = AtomicU32::new(0);
        let held = AtomicU32::new(0);
        thread::scope(|scope| {
            for _ in 0..64 {
                scope.spawn(|| {
                    start.wait();
                    for _ in 0..1_000 {
                        if let Some(slot) = slots.try_acquire() {
                            let now = held.fetch_add(1, Ordering::SeqCst) + 1;
                            most.fetch_max(now, Ordering::SeqCst);
                            thread::yield_now();
                            held.fetch_sub(1, Ordering::SeqCst);
                            drop(slot);
                        }
                    }
                });
            }
        });
        assert_eq!((most.into_inner(), slots.in_use()), (5, 0));
    }
}
