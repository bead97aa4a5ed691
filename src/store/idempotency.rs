//! Answers that are given again to a repeated `idempotency-key`, sealed: by a
//! name that is a keyed hash, until they expire.
//!
//! Bounded in number and in bytes: what would expire first makes room. An entry
//! is found in two trees; the one that sorts by time is written first, so a value
//! is never there that nothing would clear away.

use parking_lot::Mutex;

use crate::base::clock::Timestamp;
use crate::store::{Store, StoreError};

/// The tree of answers: name → moment of expiry, body, sealed answer.
const ANSWERS: &str = "idempotency";
/// The tree of expiries: moment and name → length of the value.
const EXPIRIES: &str = "idempotency_expiries";
/// Most keys.
const KEYS: usize = 100_000;
/// Most bytes of sealed answers.
const BYTES: u64 = 1024 * 1024 * 1024;

/// What an answer is found by.
pub type Name = [u8; 32];

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// When it is not given any more.
    pub expires: Timestamp,
    /// The keyed hash of the body that it answers.
    pub body: [u8; 32],
    /// The answer, sealed.
    pub sealed: Vec<u8>,
}

/// Where answers are kept. Everything blocks.
pub trait Answers: Send + Sync {
    /// The answer called `name`, expired or not.
    ///
    /// # Errors
    /// [`StoreError`].
    fn get(&self, name: &Name) -> Result<Option<Kept>, StoreError>;

    /// Keeps an answer in the place of any other of its name; it outlives the
    /// process once this returns. Gives how many others made room.
    ///
    /// # Errors
    /// [`StoreError`]; it may be kept or not then.
    fn put(&self, name: &Name, kept: &Kept) -> Result<usize, StoreError>;

    /// Removes the answer called `name`.
    ///
    /// # Errors
    /// [`StoreError`].
    fn remove(&self, name: &Name) -> Result<(), StoreError>;

    /// Removes what has expired at `now`; gives how many are left.
    ///
    /// # Errors
    /// [`StoreError`].
    fn sweep(&self, now: Timestamp) -> Result<usize, StoreError>;
}

/// [`Answers`] in the embedded store.
pub struct EmbeddedAnswers {
    answers: sled::Tree,
    expiries: sled::Tree,
    /// The most that is kept.
    most: Used,
    /// What is kept; its lock is held while that changes.
    used: Mutex<Used>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Used {
    keys: usize,
    bytes: u64,
}

impl EmbeddedAnswers {
    /// The answers in `store`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(store: &Store) -> Result<Self, StoreError> {
        Self::within(store, Used { keys: KEYS, bytes: BYTES })
    }

    fn within(store: &Store, most: Used) -> Result<Self, StoreError> {
        let (answers, expiries) = (store.tree(ANSWERS)?, store.tree(EXPIRIES)?);
        let mut used = Used::default();
        for entry in expiries.iter() {
            used.bytes += length(&entry?.1);
            used.keys += 1;
        }
        Ok(Self { answers, expiries, most, used: Mutex::new(used) })
    }

    /// Removes one answer and its expiry, whichever of them is there.
    fn clear(&self, used: &mut Used, name: &[u8], expires: Timestamp) -> Result<(), StoreError> {
        self.answers.remove(name)?;
        if let Some(size) = self.expiries.remove(expiry(expires, name))? {
            used.keys = used.keys.saturating_sub(1);
            used.bytes = used.bytes.saturating_sub(length(&size));
        }
        Ok(())
    }

    /// Removes the answer that expires first, if `chosen` picks it.
    fn clear_first(
        &self,
        used: &mut Used,
        chosen: impl Fn(Timestamp) -> bool,
    ) -> Result<bool, StoreError> {
        let Some((key, _)) = self.expiries.first()? else { return Ok(false) };
        let Some((expires, name)) = key.split_first_chunk::<8>() else {
            // It is none of ours.
            self.expiries.remove(&key)?;
            return Ok(true);
        };
        let expires = Timestamp(u64::from_be_bytes(*expires));
        if !chosen(expires) {
            return Ok(false);
        }
        self.clear(used, name, expires)?;
        Ok(true)
    }
}

impl Answers for EmbeddedAnswers {
    fn get(&self, name: &Name) -> Result<Option<Kept>, StoreError> {
        Ok(self.answers.get(name)?.and_then(|value| kept(&value)))
    }

    fn put(&self, name: &Name, kept: &Kept) -> Result<usize, StoreError> {
        let mut value = Vec::with_capacity(40 + kept.sealed.len());
        value.extend_from_slice(&kept.expires.0.to_be_bytes());
        value.extend_from_slice(&kept.body);
        value.extend_from_slice(&kept.sealed);
        let size = value.len() as u64;
        let mut used = self.used.lock();
        if let Some(before) = self.get(name)? {
            self.clear(&mut used, name, before.expires)?;
        }
        let mut made_room = 0;
        while used.keys >= self.most.keys || used.bytes + size > self.most.bytes {
            if !self.clear_first(&mut used, |_| true)? {
                break;
            }
            made_room += 1;
        }
        self.expiries.insert(expiry(kept.expires, name), &size.to_be_bytes())?;
        used.keys += 1;
        used.bytes += size;
        self.answers.insert(name, value)?;
        drop(used);
        self.answers.flush()?;
        Ok(made_room)
    }

    fn remove(&self, name: &Name) -> Result<(), StoreError> {
        let mut used = self.used.lock();
        match self.get(name)? {
            Some(kept) => self.clear(&mut used, name, kept.expires),
            None => {
                // A damaged one has no expiry to be found by.
                self.answers.remove(name)?;
                Ok(())
            }
        }
    }

    fn sweep(&self, now: Timestamp) -> Result<usize, StoreError> {
        // The lock is taken anew for each, so that nobody waits for all.
        while self.clear_first(&mut self.used.lock(), |expires| expires <= now)? {}
        Ok(self.used.lock().keys)
    }
}

fn expiry(expires: Timestamp, name: &[u8]) -> Vec<u8> {
    [&expires.0.to_be_bytes(), name].concat()
}

fn length(value: &[u8]) -> u64 {
    value.try_into().map_or(0, u64::from_be_bytes)
}

fn kept(value: &[u8]) -> Option<Kept> {
    let (expires, rest) = value.split_first_chunk::<8>()?;
    let (body, sealed) = rest.split_first_chunk::<32>()?;
    let expires = Timestamp(u64::from_be_bytes(*expires));
    Some(Kept { expires, body: *body, sealed: sealed.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(expires: u64, text: &str) -> Kept {
        Kept { expires: Timestamp(expires), body: [7; 32], sealed: text.into() }
    }

    #[test]
    fn what_is_put_is_found_after_reopening_and_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let answers = EmbeddedAnswers::open(&store).unwrap();
        answers.put(&[1; 32], &at(9, "one")).unwrap();
        answers.put(&[1; 32], &at(12, "two")).unwrap();
        drop((answers, store));
        let store = Store::open(dir.path()).unwrap();
        let answers = EmbeddedAnswers::open(&store).unwrap();
        assert_eq!(answers.get(&[1; 32]).unwrap(), Some(at(12, "two")));
        assert_eq!(answers.sweep(Timestamp(11)).unwrap(), 1, "the first expiry is gone too");
        assert_eq!(answers.sweep(Timestamp(12)).unwrap(), 0);
        assert_eq!(answers.get(&[1; 32]).unwrap(), None);
        answers.put(&[1; 32], &at(9, "one")).unwrap();
        answers.remove(&[1; 32]).unwrap();
        assert_eq!(answers.used.lock().bytes, 0);
    }

    /// Covers invariant 8.
    #[test]
    fn what_expires_first_makes_room() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let most = Used { keys: 3, bytes: 200 };
        let answers = EmbeddedAnswers::within(&store, most).unwrap();
        for number in 1..=3 {
            let made_room = answers.put(&[number; 32], &at(100 - u64::from(number), "x")).unwrap();
            assert_eq!(made_room, 0);
        }
        assert_eq!(answers.put(&[4; 32], &at(50, "x")).unwrap(), 1);
        assert_eq!(answers.get(&[3; 32]).unwrap(), None);
        // 41 bytes each for three of them; 140 more are too many for all to stay.
        assert_eq!(answers.put(&[5; 32], &at(200, &"x".repeat(100))).unwrap(), 2);
        assert_eq!(answers.get(&[4; 32]).unwrap(), None);
        assert_eq!(answers.get(&[2; 32]).unwrap(), None);
        assert!(answers.get(&[1; 32]).unwrap().is_some());
        drop(answers);
        let again = EmbeddedAnswers::within(&store, most).unwrap();
        let used = *again.used.lock();
        assert_eq!((used.keys, used.bytes), (2, 181));
    }
}
