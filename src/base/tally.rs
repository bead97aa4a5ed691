//! How much of something each address has at the moment: connections, requests.
//!
//! Exact. Memory follows the addresses that have some now, not those seen.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use parking_lot::Mutex;

use super::network::AddressKey;

/// Parts with a lock of their own.
const SHARDS: usize = 64;

type Shard = Mutex<HashMap<AddressKey, u32, ahash::RandomState>>;

/// A count for each address that has any.
#[derive(Debug)]
pub struct Tally {
    hasher: ahash::RandomState,
    shards: [Shard; SHARDS],
}

/// One counted thing; counted no more once dropped.
#[derive(Debug)]
#[must_use = "dropping the guard ends the counting"]
pub struct Tallied {
    tally: Arc<Tally>,
    key: AddressKey,
}

impl Tally {
    /// Nothing is counted.
    pub fn new() -> Arc<Self> {
        let hasher = ahash::RandomState::new();
        let shards = std::array::from_fn(|_| Mutex::new(HashMap::with_hasher(hasher.clone())));
        Arc::new(Self { hasher, shards })
    }

    /// Counts one more for `key`; `None` where it has `cap` already.
    pub fn try_enter(self: &Arc<Self>, key: AddressKey, cap: u32) -> Option<Tallied> {
        if cap == 0 {
            return None;
        }
        let mut counts = self.shard(key)?.lock();
        match counts.entry(key) {
            Entry::Occupied(mut count) if *count.get() < cap => *count.get_mut() += 1,
            Entry::Occupied(_) => return None,
            Entry::Vacant(place) => {
                place.insert(1);
            }
        }
        drop(counts);
        Some(Tallied { tally: Arc::clone(self), key })
    }

    /// How many addresses have any.
    pub fn addresses(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    /// Always present: the remainder is below the number of shards.
    fn shard(&self, key: AddressKey) -> Option<&Shard> {
        // A hash map chooses the place by the lowest bits and compares the highest.
        let middle = (self.hasher.hash_one(key) >> 32) % SHARDS as u64;
        self.shards.get(usize::try_from(middle).unwrap_or(0))
    }
}

impl Drop for Tallied {
    fn drop(&mut self) {
        let Some(shard) = self.tally.shard(self.key) else { return };
        let mut counts = shard.lock();
        if let Entry::Occupied(mut count) = counts.entry(self.key) {
            if *count.get() <= 1 {
                count.remove();
            } else {
                *count.get_mut() -= 1;
            }
        }
        // A flood leaves no large table behind.
        if counts.capacity() > 64 && counts.capacity() > counts.len() * 8 {
            counts.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;

    use super::*;

    fn key(number: u32) -> AddressKey {
        IpAddr::from(Ipv4Addr::from_bits(number)).into()
    }

    #[test]
    fn each_address_has_a_cap_of_its_own() {
        let tally = Tally::new();
        let (first, second) = (tally.try_enter(key(1), 2), tally.try_enter(key(1), 2));
        assert!(first.is_some() && second.is_some());
        assert!(tally.try_enter(key(1), 2).is_none());
        assert!(tally.try_enter(key(2), 0).is_none());
        let other = tally.try_enter(key(2), 1);
        assert_eq!(tally.addresses(), 2);
        drop(first);
        let again = tally.try_enter(key(1), 2);
        assert!(again.is_some() && tally.try_enter(key(1), 2).is_none());
        drop((again, second, other));
        assert_eq!(tally.addresses(), 0);
    }

    /// Covers F2: memory follows what is there, not what was.
    #[test]
    fn addresses_that_have_left_leave_nothing() {
        let tally = Tally::new();
        let held: Vec<_> = (0..20_000).map(|number| tally.try_enter(key(number), 1)).collect();
        assert_eq!(tally.addresses(), 20_000);
        drop(held);
        let room: usize = tally.shards.iter().map(|shard| shard.lock().capacity()).sum();
        assert!(tally.addresses() == 0 && room <= 64 * SHARDS, "room for {room}");
    }

    #[test]
    fn never_more_than_the_cap_at_once() {
        let (tally, start) = (Tally::new(), Barrier::new(16));
        let (most, now) = (AtomicU32::new(0), AtomicU32::new(0));
        thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    start.wait();
                    for _ in 0..2_000 {
                        if let Some(held) = tally.try_enter(key(7), 3) {
                            most.fetch_max(
                                now.fetch_add(1, Ordering::SeqCst) + 1,
                                Ordering::SeqCst,
                            );
                            thread::yield_now();
                            now.fetch_sub(1, Ordering::SeqCst);
                            drop(held);
                        }
                    }
                });
            }
        });
        assert!((1..=3).contains(&most.into_inner()));
        assert_eq!(tally.addresses(), 0);
    }
}
