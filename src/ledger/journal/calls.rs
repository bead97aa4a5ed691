//! The provider calls of this process that nothing has settled yet, and where
//! each was written down: what a checkpoint of the index names.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::base::id::RecordId;

/// How many parts the map has, so that threads rarely meet at one.
const PARTS: usize = 16;

/// A frame's place.
pub(in crate::ledger) type Place = (u64, u64);

/// The open calls, by the record that will settle them: one entry for each
/// request that runs. Changed while the shard that was written to is held, so
/// that who holds every shard sees what the segments say.
pub(in crate::ledger) struct Calls {
    parts: Box<[Mutex<Part>]>,
}

/// The first attempt of a record, and those that followed.
type Part = HashMap<RecordId, (Place, Vec<Place>), ahash::RandomState>;

impl Calls {
    pub(in crate::ledger) fn new() -> Self {
        Self { parts: (0..PARTS).map(|_| Mutex::default()).collect() }
    }

    /// Notes that an attempt of `record` stands at `place`.
    pub(in crate::ledger) fn open(&self, record: RecordId, place: Place) {
        let Some(part) = self.part(record) else { return };
        part.lock()
            .entry(record)
            .and_modify(|(_, more)| more.push(place))
            .or_insert_with(|| (place, Vec::new()));
    }

    /// Notes that `record` is settled.
    pub(in crate::ledger) fn close(&self, record: RecordId) {
        if let Some(part) = self.part(record) {
            part.lock().remove(&record);
        }
    }

    /// Where the open calls stand.
    pub(in crate::ledger) fn places(&self) -> Vec<Place> {
        let mut places = Vec::new();
        for part in &self.parts {
            for (first, more) in part.lock().values() {
                places.push(*first);
                places.extend(more);
            }
        }
        places.sort_unstable();
        places
    }

    fn part(&self, record: RecordId) -> Option<&Mutex<Part>> {
        // The last byte of a UUIDv7 is random.
        let [.., last] = *record.0.as_bytes();
        self.parts.get(usize::from(last) % PARTS)
    }
}
