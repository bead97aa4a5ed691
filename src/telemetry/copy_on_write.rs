//! A map that is read on every request and grows a bounded number of times.

use std::hash::Hash;
use std::sync::Arc;

use arc_swap::ArcSwap;
use hashbrown::{Equivalent, HashMap};
use parking_lot::Mutex;

type Map<K, V> = HashMap<K, Arc<V>, ahash::RandomState>;

/// A map whose readers take no lock. A new key copies the whole map, so the
/// number of keys must be bounded and small.
pub(super) struct CopyOnWrite<K, V> {
    map: ArcSwap<Map<K, V>>,
    growing: Mutex<()>,
}

impl<K: Clone + Eq + Hash, V> CopyOnWrite<K, V> {
    /// An empty map.
    pub(super) fn new() -> Self {
        let map = Map::with_hasher(ahash::RandomState::new());
        Self { map: ArcSwap::from_pointee(map), growing: Mutex::new(()) }
    }

    /// The value of `key`, made by `make` at the first call. `make` runs at
    /// most once for a key, and must return a key that `key` is equivalent to.
    pub(super) fn get_or_insert_with<Q>(&self, key: &Q, make: impl FnOnce() -> (K, V)) -> Arc<V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        if let Some(value) = self.map.load().get(key) {
            return Arc::clone(value);
        }
        let _alone = self.growing.lock();
        let current = self.map.load();
        if let Some(value) = current.get(key) {
            return Arc::clone(value);
        }
        let (key, value) = make();
        let value = Arc::new(value);
        let mut grown = Map::clone(&current);
        grown.insert(key, Arc::clone(&value));
        self.map.store(Arc::new(grown));
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn a_value_is_made_once_however_many_threads_ask() {
        let map = CopyOnWrite::<String, usize>::new();
        let made = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for key in 0..50 {
                        let name = format!("key-{key}");
                        let value = map.get_or_insert_with(name.as_str(), || {
                            made.fetch_add(1, Ordering::SeqCst);
                            (name.clone(), key)
                        });
                        assert_eq!(*value, key);
                    }
                });
            }
        });
        assert_eq!(made.load(Ordering::SeqCst), 50);
    }
}
