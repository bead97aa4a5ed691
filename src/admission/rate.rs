//! The state of every account that is active.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::state::AccountState;

/// Parts with a lock of their own.
const SHARDS: usize = 64;

type Shard = Mutex<HashMap<Arc<str>, Arc<AccountState>, ahash::RandomState>>;

/// The account states, by account id. Memory follows the accounts that have
/// asked within a day, were charged within the month, run a request or have a
/// prepaid balance; `sweep` forgets the others.
#[derive(Debug)]
pub struct Rates {
    hasher: ahash::RandomState,
    shards: [Shard; SHARDS],
}

impl Rates {
    /// No account is active.
    pub fn new() -> Self {
        let hasher = ahash::RandomState::new();
        let shards = std::array::from_fn(|_| Mutex::new(HashMap::with_hasher(hasher.clone())));
        Self { hasher, shards }
    }

    /// The state of the account `id`, made where there is none. Every caller gets
    /// the same state for as long as one of them holds it, so it may be kept to
    /// save the lookup.
    pub fn account(&self, id: &Arc<str>) -> Arc<AccountState> {
        let Some(shard) = self.shard(id) else { return Arc::default() };
        let mut accounts = shard.lock();
        if let Some(state) = accounts.get(id) {
            return Arc::clone(state);
        }
        let state = Arc::<AccountState>::default();
        accounts.insert(Arc::clone(id), Arc::clone(&state));
        state
    }

    /// The state of the account `id`, if it has one.
    pub fn find(&self, id: &str) -> Option<Arc<AccountState>> {
        self.shard(id)?.lock().get(id).cloned()
    }

    /// Forgets the accounts whose windows are empty at `now`, which have nothing
    /// counted in `month`, and whose state nobody holds. Returns how many. Locks
    /// one shard at a time.
    pub fn sweep(&self, now: Duration, month: u32) -> usize {
        let mut forgotten = 0;
        for shard in &self.shards {
            let mut accounts = shard.lock();
            let before = accounts.len();
            // A count of one is the map's own, and no other can arise while the
            // shard is locked: nobody can be about to use what is dropped here.
            accounts.retain(|_, state| Arc::strong_count(state) > 1 || !state.is_idle(now, month));
            forgotten += before - accounts.len();
            if accounts.capacity() > accounts.len() * 4 {
                accounts.shrink_to_fit();
            }
        }
        forgotten
    }

    /// Accounts that have a state.
    pub fn active(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    /// Always present: the remainder is below the number of shards.
    fn shard(&self, id: &str) -> Option<&Shard> {
        // A hash map chooses the place by the lowest bits and compares the highest.
        let middle = (self.hasher.hash_one(id) >> 32) % SHARDS as u64;
        self.shards.get(usize::try_from(middle).unwrap_or(0))
    }
}

impl Default for Rates {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
