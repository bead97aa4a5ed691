//! Events on their way to those who are told of them.
//!
//! An event is kept until every address that was to be told of it has taken it
//! or it is given up. A mark remembers that something was announced, so that it
//! is announced once.

use minicbor::{Decode, Encode};
use sled::transaction::{ConflictableTransactionError, TransactionError, Transactional};

use crate::base::clock::Timestamp;
use crate::base::id::RecordId;
use crate::store::{Store, StoreError};

/// The tree of events, by id.
const EVENTS: &str = "outbox";
/// The tree of marks: a period, [`SEPARATOR`], a name.
const MARKS: &str = "outbox_marks";
/// Between the parts of a mark; no part holds it.
const SEPARATOR: u8 = 0;

/// An address, in a form that shows nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct Recipient(#[cbor(n(0), with = "minicbor::bytes")] pub [u8; 16]);

/// One event.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Entry {
    /// Its id, by which events sort in the order of their making.
    #[n(0)]
    pub id: RecordId,
    /// When it was made: microseconds since the Unix epoch.
    #[n(1)]
    pub micros: u64,
    /// Its name, such as `quota.warning`.
    #[n(2)]
    pub kind: String,
    /// What it says: JSON.
    #[n(3)]
    pub data: String,
    /// Who has not taken it yet.
    #[n(4)]
    pub pending: Vec<Recipient>,
}

impl Entry {
    /// When it was made.
    pub const fn time(&self) -> Timestamp {
        Timestamp(self.micros)
    }
}

/// What an event announces, where that is to be announced once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Once {
    /// When it happens, in a form that sorts by time, such as `2026-11`.
    pub period: String,
    /// What happens; the same name within a period is the same thing.
    pub name: String,
}

/// Events on their way. Everything blocks.
pub trait Outbox: Send + Sync {
    /// Keeps `entry`, unless what it announces was announced already. Whether it
    /// is kept.
    ///
    /// # Errors
    /// [`StoreError`]; nothing is kept then.
    fn add(&self, entry: &Entry, once: Option<&Once>) -> Result<bool, StoreError>;

    /// The event with this id.
    ///
    /// # Errors
    /// [`StoreError`].
    fn entry(&self, id: RecordId) -> Result<Option<Entry>, StoreError>;

    /// Every event, in the order of their making.
    ///
    /// # Errors
    /// [`StoreError`].
    fn entries(&self) -> Result<Vec<Entry>, StoreError>;

    /// Notes that `recipient` is done with the event; once nobody is left, it is
    /// forgotten.
    ///
    /// # Errors
    /// [`StoreError`].
    fn done(&self, id: RecordId, recipient: Recipient) -> Result<(), StoreError>;

    /// Forgets the event.
    ///
    /// # Errors
    /// [`StoreError`].
    fn remove(&self, id: RecordId) -> Result<(), StoreError>;

    /// Forgets the marks of the periods before `period`.
    ///
    /// # Errors
    /// [`StoreError`].
    fn forget_marks(&self, period: &str) -> Result<(), StoreError>;

    /// Waits until what was kept outlives the process.
    ///
    /// # Errors
    /// [`StoreError`].
    fn flush(&self) -> Result<(), StoreError>;
}

/// [`Outbox`] in the embedded store.
pub struct EmbeddedOutbox {
    store: Store,
    events: sled::Tree,
    marks: sled::Tree,
}

impl EmbeddedOutbox {
    /// The outbox in `store`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(store: &Store) -> Result<Self, StoreError> {
        Ok(Self { events: store.tree(EVENTS)?, marks: store.tree(MARKS)?, store: store.clone() })
    }
}

impl Outbox for EmbeddedOutbox {
    fn add(&self, entry: &Entry, once: Option<&Once>) -> Result<bool, StoreError> {
        let value = bytes(entry)?;
        let mark = once.map(|once| mark(&once.period, &once.name));
        let added = (&self.events, &self.marks).transaction(|(events, marks)| {
            if let Some(mark) = &mark {
                if marks.get(mark.as_slice())?.is_some() {
                    return Ok(false);
                }
                marks.insert(mark.as_slice(), &[])?;
            }
            events.insert(entry.id.0.as_bytes(), value.as_slice())?;
            Ok::<_, ConflictableTransactionError<sled::Error>>(true)
        });
        added.map_err(|error| match error {
            TransactionError::Abort(error) | TransactionError::Storage(error) => error.into(),
        })
    }

    fn entry(&self, id: RecordId) -> Result<Option<Entry>, StoreError> {
        self.events.get(id.0.as_bytes())?.map(|bytes| read(&bytes)).transpose()
    }

    fn entries(&self) -> Result<Vec<Entry>, StoreError> {
        self.events.iter().values().map(|bytes| read(&bytes?)).collect()
    }

    fn done(&self, id: RecordId, recipient: Recipient) -> Result<(), StoreError> {
        let Some(mut entry) = self.entry(id)? else { return Ok(()) };
        entry.pending.retain(|pending| *pending != recipient);
        if entry.pending.is_empty() {
            return self.remove(id);
        }
        self.events.insert(id.0.as_bytes(), bytes(&entry)?)?;
        Ok(())
    }

    fn remove(&self, id: RecordId) -> Result<(), StoreError> {
        self.events.remove(id.0.as_bytes())?;
        Ok(())
    }

    fn forget_marks(&self, period: &str) -> Result<(), StoreError> {
        for key in self.marks.range::<&[u8], _>(..period.as_bytes()).keys() {
            self.marks.remove(key?)?;
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), StoreError> {
        self.store.flush()
    }
}

fn mark(period: &str, name: &str) -> Vec<u8> {
    [period.as_bytes(), &[SEPARATOR], name.as_bytes()].concat()
}

fn bytes(entry: &Entry) -> Result<Vec<u8>, StoreError> {
    minicbor::to_vec(entry).map_err(|error| StoreError(error.to_string()))
}

fn read(bytes: &[u8]) -> Result<Entry, StoreError> {
    minicbor::decode(bytes).map_err(|error| StoreError(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::id::RecordIds;

    fn once(period: &str) -> Once {
        Once { period: period.to_owned(), name: "quota/80/a".to_owned() }
    }

    #[test]
    fn an_event_stays_until_all_have_taken_it_and_its_mark_longer() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let outbox = EmbeddedOutbox::open(&store).unwrap();
        let ids = RecordIds::default();
        let (a, b) = (Recipient([1; 16]), Recipient([2; 16]));
        let entry = |kind: &str| Entry {
            id: ids.next(Timestamp(7)),
            micros: 7,
            kind: kind.to_owned(),
            data: "{}".to_owned(),
            pending: vec![a, b],
        };
        let (first, second) = (entry("first"), entry("second"));
        assert!(outbox.add(&first, Some(&once("2026-11"))).unwrap());
        assert!(!outbox.add(&second, Some(&once("2026-11"))).unwrap());
        assert!(outbox.add(&second, Some(&once("2026-12"))).unwrap());
        outbox.done(first.id, a).unwrap();
        outbox.done(second.id, b).unwrap();
        outbox.flush().unwrap();
        drop((outbox, store));

        let store = Store::open(dir.path()).unwrap();
        let outbox = EmbeddedOutbox::open(&store).unwrap();
        let entries = outbox.entries().unwrap();
        assert_eq!(
            entries,
            [Entry { pending: vec![b], ..first.clone() }, Entry { pending: vec![a], ..second }]
        );
        outbox.done(first.id, b).unwrap();
        assert_eq!(outbox.entry(first.id).unwrap(), None);
        assert!(!outbox.add(&first, Some(&once("2026-11"))).unwrap());
        outbox.forget_marks("2026-12").unwrap();
        assert!(outbox.add(&first, Some(&once("2026-11"))).unwrap());
        assert!(!outbox.add(&first, Some(&once("2026-12"))).unwrap());
    }
}
