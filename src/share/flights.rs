//! Which calls are running that others may join.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::flight::{Flight, Pilot};
use super::passenger::Passenger;

/// Parts with a lock of their own.
const SHARDS: usize = 64;
/// Bytes of answers that may be held for those who join late, of all flights
/// together.
const HELD: usize = 64 * 1024 * 1024;

/// What makes two requests the same: the hash of all that can change an answer,
/// and the form in which it is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlightKey {
    /// The hash of the request.
    pub request: [u8; 32],
    /// Whether the answer is streamed.
    pub stream: bool,
}

type Shard = Mutex<HashMap<FlightKey, Weak<Flight>, ahash::RandomState>>;

/// The flights that may be joined.
#[derive(Clone)]
pub struct Flights {
    shared: Arc<Shared>,
}

struct Shared {
    hasher: ahash::RandomState,
    shards: [Shard; SHARDS],
    held: AtomicUsize,
}

/// A way to an answer.
pub enum Boarding<F> {
    /// The answer is there by now.
    Found(F),
    /// Nobody asks for the same: the caller makes the call.
    Lead(Pilot, Passenger),
    /// The call runs.
    Join(Passenger),
}

/// Where a flight can be found; dropped, it cannot be any more.
pub(super) struct Entry {
    shared: Arc<Shared>,
    key: FlightKey,
    flight: Weak<Flight>,
}

/// What a flight takes of the memory for those who join late; given back on
/// drop.
pub(super) struct Budget {
    shared: Arc<Shared>,
    taken: usize,
}

impl Flights {
    /// No flight.
    pub fn new() -> Self {
        let hasher = ahash::RandomState::new();
        let shards = std::array::from_fn(|_| Mutex::new(HashMap::with_hasher(hasher.clone())));
        Self { shared: Arc::new(Shared { hasher, shards, held: AtomicUsize::new(0) }) }
    }

    /// Joins the call that runs for `key`, or begins it. `plain` is the answer
    /// without what Tollgate asked for itself; a flight that `stays` is not
    /// abandoned when all have left. `find` is asked, where no call runs, whether
    /// one has brought the answer since the caller looked; it runs under a lock and
    /// must be quick.
    pub fn board<F>(
        &self,
        key: FlightKey,
        plain: bool,
        stays: bool,
        find: impl FnOnce() -> Option<F>,
    ) -> Boarding<F> {
        let Some(shard) = self.shared.shard(&key) else {
            let (pilot, passenger) = super::flight::alone(plain, stays);
            return Boarding::Lead(pilot, passenger);
        };
        let mut flights = shard.lock();
        let running = flights.get(&key).and_then(Weak::upgrade);
        if let Some(passenger) = running.and_then(|flight| flight.join(plain)) {
            return Boarding::Join(passenger);
        }
        // Under the lock: an answer is kept before its flight is struck off.
        if let Some(found) = find() {
            return Boarding::Found(found);
        }
        let budget = Budget { shared: Arc::clone(&self.shared), taken: 0 };
        let (flight, passenger) = Flight::begin(Some(budget), plain, stays);
        let weak = Arc::downgrade(&flight);
        // One that takes nobody aboard any more makes room for this.
        flights.insert(key, weak.clone());
        let entry = Entry { shared: Arc::clone(&self.shared), key, flight: weak };
        Boarding::Lead(Pilot::at(flight, entry), passenger)
    }

    /// Joins the call that runs for `key`; `None` if there is none, or it takes
    /// nobody aboard any more.
    pub fn join(&self, key: FlightKey, plain: bool) -> Option<Passenger> {
        let running = self.shared.shard(&key)?.lock().get(&key).and_then(Weak::upgrade);
        running?.join(plain)
    }

    /// Flights that are listed.
    pub fn running(&self) -> usize {
        self.shared.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    /// Bytes held for those who join late.
    pub fn held(&self) -> usize {
        self.shared.held.load(Ordering::Relaxed)
    }
}

impl Default for Flights {
    fn default() -> Self {
        Self::new()
    }
}

impl Shared {
    /// Always present: the remainder is below the number of shards.
    fn shard(&self, key: &FlightKey) -> Option<&Shard> {
        // A hash map chooses the place by the lowest bits and compares the highest.
        let middle = (self.hasher.hash_one(key) >> 32) % SHARDS as u64;
        self.shards.get(usize::try_from(middle).unwrap_or(0))
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let Some(shard) = self.shared.shard(&self.key) else { return };
        let mut flights = shard.lock();
        if flights.get(&self.key).is_some_and(|listed| listed.ptr_eq(&self.flight)) {
            flights.remove(&self.key);
        }
        if flights.capacity() > 64 && flights.capacity() > flights.len() * 8 {
            flights.shrink_to_fit();
        }
    }
}

impl Budget {
    /// Takes `size` bytes more; false if there is no room.
    pub(super) fn take(&mut self, size: usize) -> bool {
        let more = |held: usize| held.checked_add(size).filter(|held| *held <= HELD);
        let taken = self.shared.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        if taken.is_ok() {
            self.taken += size;
        }
        taken.is_ok()
    }
}

impl Drop for Budget {
    fn drop(&mut self) {
        self.shared.held.fetch_sub(self.taken, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for Budget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Budget").field("taken", &self.taken).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Flights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Flights").field("held", &self.held()).finish_non_exhaustive()
    }
}
