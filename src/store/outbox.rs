//! Events on their way to those who are told of them.
//!
//! An event is kept until every address that was to be told of it has taken it
//! or it is given up. Who waits for which stands beside the events, so that a
//! start reads none of them. A mark remembers that something was announced, so
//! that it is announced once.

use minicbor::{Decode, Encode};
use sled::transaction::{ConflictableTransactionError, TransactionError, Transactional};

use crate::base::clock::Timestamp;
use crate::base::id::RecordId;
use crate::store::{Store, StoreError};

/// The tree of events, by id.
const EVENTS: &str = "outbox";
/// The tree of who waits for which: an event's id and an address, with
/// [`OF_MONEY`] or nothing.
const WAITING: &str = "outbox_waiting";
/// Of an event that tells of money.
const OF_MONEY: &[u8] = &[1];
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
    /// Who is to be told.
    #[n(4)]
    pub recipients: Vec<Recipient>,
}

/// An address that waits for an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The event.
    pub id: RecordId,
    /// Who waits for it.
    pub recipient: Recipient,
    /// See [`Entry::is_of_money`].
    pub of_money: bool,
}

impl Entry {
    /// When it was made.
    pub const fn time(&self) -> Timestamp {
        Timestamp(self.micros)
    }

    /// Whether it tells of money: of an invoice.
    pub fn is_of_money(&self) -> bool {
        self.kind.starts_with("invoice.")
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

    /// Gives `each` everybody who waits for an event, in the order of their making.
    ///
    /// # Errors
    /// [`StoreError`].
    fn waiting(&self, each: &mut dyn FnMut(Waiting)) -> Result<(), StoreError>;

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
    waiting: sled::Tree,
    marks: sled::Tree,
}

impl EmbeddedOutbox {
    /// The outbox in `store`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(store: &Store) -> Result<Self, StoreError> {
        let (events, waiting) = (store.tree(EVENTS)?, store.tree(WAITING)?);
        let outbox = Self { events, waiting, marks: store.tree(MARKS)?, store: store.clone() };
        if outbox.waiting.is_empty() {
            outbox.adopt()?;
        }
        Ok(outbox)
    }

    /// Notes who waits for events that were kept before that stood beside them.
    /// All or none of it, as it is looked for only while nobody waits.
    fn adopt(&self) -> Result<(), StoreError> {
        let mut waiting = sled::Batch::default();
        for bytes in self.events.iter().values() {
            let entry = read(&bytes?)?;
            for recipient in &entry.recipients {
                waiting.insert(waits(entry.id, *recipient), of_money(&entry));
            }
        }
        Ok(self.waiting.apply_batch(waiting)?)
    }
}

impl Outbox for EmbeddedOutbox {
    fn add(&self, entry: &Entry, once: Option<&Once>) -> Result<bool, StoreError> {
        let value = bytes(entry)?;
        let mark = once.map(|once| mark(&once.period, &once.name));
        let trees = (&self.events, &self.waiting, &self.marks);
        let added = trees.transaction(|(events, waiting, marks)| {
            if let Some(mark) = &mark {
                if marks.get(mark.as_slice())?.is_some() {
                    return Ok(false);
                }
                marks.insert(mark.as_slice(), &[])?;
            }
            events.insert(entry.id.0.as_bytes(), value.as_slice())?;
            for recipient in &entry.recipients {
                waiting.insert(waits(entry.id, *recipient).as_slice(), of_money(entry))?;
            }
            Ok::<_, ConflictableTransactionError<sled::Error>>(true)
        });
        added.map_err(|error| match error {
            TransactionError::Abort(error) | TransactionError::Storage(error) => error.into(),
        })
    }

    fn entry(&self, id: RecordId) -> Result<Option<Entry>, StoreError> {
        self.events.get(id.0.as_bytes())?.map(|bytes| read(&bytes)).transpose()
    }

    fn waiting(&self, each: &mut dyn FnMut(Waiting)) -> Result<(), StoreError> {
        for entry in &self.waiting {
            let (key, value) = entry?;
            let parts = key.split_first_chunk::<16>();
            let Some((id, recipient)) = parts.and_then(|(id, recipient)| {
                Some((RecordId(uuid::Uuid::from_bytes(*id)), Recipient(recipient.try_into().ok()?)))
            }) else {
                return Err(StoreError("who waits for an event cannot be read".to_owned()));
            };
            each(Waiting { id, recipient, of_money: &*value == OF_MONEY });
        }
        Ok(())
    }

    fn done(&self, id: RecordId, recipient: Recipient) -> Result<(), StoreError> {
        let own = waits(id, recipient);
        let mut others = self.waiting.scan_prefix(id.0.as_bytes()).keys();
        let last = others.all(|key| key.is_ok_and(|key| *key == own));
        // The event goes first: what waits for nothing is found out, an event that
        // nobody waits for would stay for ever.
        if last {
            self.events.remove(id.0.as_bytes())?;
        }
        self.waiting.remove(own)?;
        Ok(())
    }

    fn remove(&self, id: RecordId) -> Result<(), StoreError> {
        self.events.remove(id.0.as_bytes())?;
        for key in self.waiting.scan_prefix(id.0.as_bytes()).keys() {
            self.waiting.remove(key?)?;
        }
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

fn waits(id: RecordId, recipient: Recipient) -> Vec<u8> {
    [id.0.as_bytes(), recipient.0.as_slice()].concat()
}

fn of_money(entry: &Entry) -> &'static [u8] {
    if entry.is_of_money() { OF_MONEY } else { &[] }
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

    const A: Recipient = Recipient([1; 16]);
    const B: Recipient = Recipient([2; 16]);

    fn once(period: &str) -> Once {
        Once { period: period.to_owned(), name: "quota/80/a".to_owned() }
    }

    fn entry(ids: &RecordIds, kind: &str) -> Entry {
        let (id, kind, data) = (ids.next(Timestamp(7)), kind.to_owned(), "{}".to_owned());
        Entry { id, micros: 7, kind, data, recipients: vec![A, B] }
    }

    fn waiting(outbox: &EmbeddedOutbox) -> Vec<(RecordId, Recipient, bool)> {
        let mut found = Vec::new();
        outbox.waiting(&mut |it| found.push((it.id, it.recipient, it.of_money))).unwrap();
        found
    }

    #[test]
    fn an_event_stays_until_all_have_taken_it_and_its_mark_longer() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let outbox = EmbeddedOutbox::open(&store).unwrap();
        let ids = RecordIds::default();
        let (first, second) = (entry(&ids, "quota.warning"), entry(&ids, "invoice.paid"));
        assert!(outbox.add(&first, Some(&once("2026-11"))).unwrap());
        assert!(!outbox.add(&second, Some(&once("2026-11"))).unwrap());
        assert!(outbox.add(&second, Some(&once("2026-12"))).unwrap());
        outbox.done(first.id, A).unwrap();
        outbox.done(second.id, B).unwrap();
        outbox.flush().unwrap();
        drop((outbox, store));

        let store = Store::open(dir.path()).unwrap();
        let outbox = EmbeddedOutbox::open(&store).unwrap();
        assert_eq!(waiting(&outbox), [(first.id, B, false), (second.id, A, true)]);
        assert_eq!(outbox.entry(first.id).unwrap().as_ref(), Some(&first));
        outbox.done(first.id, B).unwrap();
        assert_eq!(outbox.entry(first.id).unwrap(), None);
        outbox.remove(second.id).unwrap();
        assert_eq!((outbox.entry(second.id).unwrap(), waiting(&outbox)), (None, Vec::new()));
        assert!(!outbox.add(&first, Some(&once("2026-11"))).unwrap());
        outbox.forget_marks("2026-12").unwrap();
        assert!(outbox.add(&first, Some(&once("2026-11"))).unwrap());
        assert!(!outbox.add(&first, Some(&once("2026-12"))).unwrap());
    }

    /// What was kept before it stood beside the events who waits for them.
    #[test]
    fn events_of_before_are_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let old = entry(&RecordIds::default(), "invoice.finalized");
        let events = store.tree(EVENTS).unwrap();
        events.insert(old.id.0.as_bytes(), bytes(&old).unwrap()).unwrap();
        let outbox = EmbeddedOutbox::open(&store).unwrap();
        assert_eq!(waiting(&outbox), [(old.id, A, true), (old.id, B, true)]);
    }
}
