//! Which records were settled lately, so that none counts twice.

use std::collections::HashSet;

use crate::base::id::RecordId;

/// How many identifiers are remembered.
const CAPACITY: usize = 65_536;

type Ids = HashSet<RecordId, ahash::RandomState>;

/// The identifiers of the last 65,536 settlements at least, and of twice as many at
/// most (4 MiB). Two settlements of one record come from two paths that end the same
/// request, so they lie close together.
///
/// They are in two sets; when the newer one is full, it is the older one from then
/// on, and what was that is forgotten at once.
#[derive(Debug)]
pub(super) struct Recent {
    newer: Ids,
    older: Ids,
    capacity: usize,
}

impl Default for Recent {
    fn default() -> Self {
        Self::of(CAPACITY)
    }
}

impl Recent {
    /// Remembers the last `capacity` identifiers at least.
    pub(super) fn of(capacity: usize) -> Self {
        Self { newer: Ids::default(), older: Ids::default(), capacity }
    }

    /// Remembers `id`; false if it was known.
    pub(super) fn insert(&mut self, id: RecordId) -> bool {
        if self.older.contains(&id) || !self.newer.insert(id) {
            return false;
        }
        if self.newer.len() > self.capacity {
            std::mem::swap(&mut self.newer, &mut self.older);
            self.newer.clear();
            // The newest alone begins the new set, so that it can be undone.
            self.older.remove(&id);
            self.newer.insert(id);
        }
        true
    }

    /// Forgets `id`, which was inserted last.
    pub(super) fn undo(&mut self, id: RecordId) {
        self.newer.remove(&id);
    }

    /// Whether `id` is remembered.
    pub(super) fn contains(&self, id: RecordId) -> bool {
        self.newer.contains(&id) || self.older.contains(&id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Timestamp;
    use crate::base::id::RecordIds;

    #[test]
    fn at_least_as_many_as_asked_for_are_remembered_and_the_oldest_forgotten() {
        let ids: Vec<_> = (0..9).map(|_| RecordIds::default().next(Timestamp(1))).collect();
        let mut recent = Recent::of(2);
        for (at, id) in ids.iter().enumerate() {
            assert!(recent.insert(*id));
            let last = ids.get(at.saturating_sub(2)..=at).unwrap();
            assert!(last.iter().all(|id| recent.contains(*id) && !recent.insert(*id)));
            assert!(recent.newer.len() <= 2 && recent.older.len() <= 2);
            recent.undo(*id);
            assert!(!recent.contains(*id) && recent.insert(*id));
        }
        assert!(!recent.contains(ids[0]));
    }
}
