//! Which entries are being renewed, so that each is renewed once at a time.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::cache::key::Key;

/// The entries that are being renewed; clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Renewals(Arc<Mutex<HashSet<Key, ahash::RandomState>>>);

/// One renewal, which ends when this is dropped.
#[derive(Debug)]
#[must_use = "dropping it ends the renewal"]
pub struct Renewal {
    all: Renewals,
    key: Key,
}

impl Renewals {
    /// Begins to renew the entry of `key`; `None` if somebody does.
    pub(super) fn begin(&self, key: Key) -> Option<Renewal> {
        self.0.lock().insert(key).then(|| Renewal { all: self.clone(), key })
    }
}

impl Drop for Renewal {
    fn drop(&mut self) {
        self.all.0.lock().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::cache::key::tests::named;

    #[test]
    fn each_entry_is_renewed_once_at_a_time() {
        let renewals = Renewals::default();
        let first = renewals.begin(named("a"));
        assert!(first.is_some());
        assert!(renewals.begin(named("a")).is_none());
        assert!(renewals.begin(named("b")).is_some());
        drop(first);
        assert!(renewals.begin(named("a")).is_some());
        assert!(renewals.0.lock().is_empty());
    }
}
