//! The memory tier: answers held in memory, as many as the budget takes.
//!
//! When an answer is too old is decided by Tollgate's own clock, entry by entry.
//! The map's idea of the time only clears away what nobody asks for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use moka::Expiry;
use moka::sync::Cache;

use crate::cache::entry::Entry;
use crate::cache::key::Key;
use crate::telemetry::metrics::Level;

type Map = Cache<Key, Arc<Entry>, ahash::RandomState>;

/// The memory tier.
pub(super) struct Memory {
    map: Map,
    level: Level,
}

impl Memory {
    /// An empty tier for `budget` bytes, whose size is shown in `level`.
    pub(super) fn new(budget: u64, level: Level) -> Self {
        let lower = level.clone();
        let map = Cache::builder()
            .max_capacity(budget)
            .weigher(|_, entry: &Arc<Entry>| entry.weight())
            .expire_after(Lifetime)
            .eviction_listener(move |_, entry: Arc<Entry>, _| lower.sub(entry.weight()))
            .build_with_hasher(ahash::RandomState::new());
        Self { map, level }
    }

    /// The entry of `key` if it may be of use at `now`, a monotonic moment.
    pub(super) fn get(&self, key: &Key, now: Duration) -> Option<Arc<Entry>> {
        let entry = self.map.get(key)?;
        if entry.is_kept(now) {
            return Some(entry);
        }
        self.map.invalidate(key);
        None
    }

    /// Keeps `entry`; it can be had once this returns.
    pub(super) fn insert(&self, key: Key, entry: Arc<Entry>) {
        self.level.add(entry.weight());
        self.map.insert(key, entry);
    }

    /// Shows every entry to `each`.
    pub(super) fn each(&self, mut each: impl FnMut(&Entry)) {
        self.map.iter().for_each(|(_, entry)| each(&entry));
    }

    /// Removes the entry of `key`.
    pub(super) fn take(&self, key: &Key) {
        self.map.invalidate(key);
    }

    /// Removes every entry that `chosen` picks; gives their number.
    pub(super) fn remove(&self, chosen: impl Fn(&Key, &Entry) -> bool) -> u64 {
        let keys = self.map.iter().filter(|(key, entry)| chosen(key, entry));
        let keys: Vec<Key> = keys.map(|(key, _)| *key).collect();
        let removed = keys.iter().filter(|key| self.map.remove(*key).is_some()).count();
        self.map.run_pending_tasks();
        removed as u64
    }
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Memory").field("entries", &self.map.entry_count()).finish_non_exhaustive()
    }
}

/// Clears an entry away after its lifetime.
struct Lifetime;

impl Expiry<Key, Arc<Entry>> for Lifetime {
    fn expire_after_create(&self, _: &Key, entry: &Arc<Entry>, _: Instant) -> Option<Duration> {
        Some(entry.lifetime())
    }

    fn expire_after_update(
        &self,
        _: &Key,
        entry: &Arc<Entry>,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(entry.lifetime())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::entry::tests::entry;
    use crate::cache::key::tests::named;
    use crate::telemetry::metrics::Metrics;

    fn level() -> Level {
        Metrics::new(&[]).unwrap().cache_level("memory")
    }

    const SECOND: Duration = Duration::from_secs(1);
    const BUDGET: u64 = 1024 * 1024;

    #[test]
    fn an_entry_lives_for_its_own_time() {
        let memory = Memory::new(BUDGET, level());
        memory.insert(named("a"), Arc::new(entry("a", 10 * SECOND, 60 * SECOND)));
        assert!(memory.get(&named("a"), 10 * SECOND).is_some());
        assert!(memory.get(&named("b"), 10 * SECOND).is_none());
        assert!(memory.get(&named("a"), 70 * SECOND - Duration::from_micros(1)).is_some());
        assert!(memory.get(&named("a"), 70 * SECOND).is_none());
        assert!(memory.get(&named("a"), 10 * SECOND).is_none(), "it was not removed");
    }

    #[test]
    fn an_entry_is_kept_for_as_long_as_it_may_be_of_use() {
        let memory = Memory::new(BUDGET, level());
        let stale = Entry { stale_for: 30 * SECOND, ..entry("a", SECOND, 60 * SECOND) };
        memory.insert(named("a"), Arc::new(stale));
        assert!(memory.get(&named("a"), 91 * SECOND - Duration::from_micros(1)).is_some());
        assert!(memory.get(&named("a"), 91 * SECOND).is_none());
    }

    /// Covers invariant 8.
    #[test]
    fn the_level_follows_what_is_kept_and_stays_within_the_budget() {
        let level = self::level();
        let weight = u64::from(entry("a", SECOND, SECOND).weight());
        let memory = Memory::new(weight * 10, level.clone());
        for index in 0..100 {
            let key = named(&index.to_string());
            memory.insert(key, Arc::new(entry("a", SECOND, 600 * SECOND)));
            memory.map.run_pending_tasks();
            assert!(level.get() <= weight * 11, "{} bytes", level.get());
        }
        assert!(level.get() >= weight * 5);
        let left = memory.map.iter().count() as u64;
        assert_eq!(memory.remove(|_, _| true), left);
        assert_eq!(level.get(), 0);
        memory.insert(named("x"), Arc::new(entry("a", SECOND, 600 * SECOND)));
        memory.insert(named("x"), Arc::new(entry("a", SECOND, 600 * SECOND)));
        memory.map.run_pending_tasks();
        assert_eq!(level.get(), weight, "a replaced entry is counted once");
    }

    #[test]
    fn what_is_chosen_is_removed_and_nothing_else() {
        let memory = Memory::new(BUDGET, level());
        for name in ["a", "b", "c"] {
            memory.insert(named(name), Arc::new(entry(name, SECOND, 600 * SECOND)));
        }
        assert_eq!(memory.remove(|_, entry| &*entry.account != "b"), 2);
        assert!(memory.get(&named("a"), SECOND).is_none());
        assert!(memory.get(&named("b"), SECOND).is_some());
    }
}
