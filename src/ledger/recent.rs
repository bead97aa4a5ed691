//! Which records were settled lately, so that none counts twice.

use std::collections::{HashSet, VecDeque};

use crate::base::id::RecordId;

/// How many identifiers are remembered.
const CAPACITY: usize = 65_536;

/// The identifiers of the last 65,536 settlements (2 MiB when full). Two
/// settlements of one record come from two paths that end the same request, so
/// they lie close together.
#[derive(Debug)]
pub(super) struct Recent {
    order: VecDeque<RecordId>,
    known: HashSet<RecordId, ahash::RandomState>,
    capacity: usize,
}

impl Default for Recent {
    fn default() -> Self {
        Self::of(CAPACITY)
    }
}

impl Recent {
    /// Remembers the last `capacity` identifiers.
    pub(super) fn of(capacity: usize) -> Self {
        Self { order: VecDeque::new(), known: HashSet::default(), capacity }
    }

    /// Remembers `id`; false if it was known.
    pub(super) fn insert(&mut self, id: RecordId) -> bool {
        if !self.known.insert(id) {
            return false;
        }
        if self.order.len() >= self.capacity
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        self.order.push_back(id);
        true
    }

    /// Forgets `id`, which was inserted last.
    pub(super) fn undo(&mut self, id: RecordId) {
        if self.order.back() == Some(&id) {
            self.order.pop_back();
            self.known.remove(&id);
        }
    }

    /// Whether `id` is remembered.
    pub(super) fn contains(&self, id: RecordId) -> bool {
        self.known.contains(&id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Timestamp;
    use crate::base::id::RecordIds;

    #[test]
    fn the_oldest_is_forgotten_first() {
        let ids: Vec<_> = (0..3).map(|_| RecordIds::default().next(Timestamp(1))).collect();
        let mut recent = Recent::of(2);
        assert!(ids.iter().all(|id| recent.insert(*id)));
        assert!(!recent.insert(ids[2]));
        assert!(!recent.contains(ids[0]) && recent.contains(ids[1]));
        recent.undo(ids[2]);
        assert!(recent.insert(ids[2]));
    }
}
