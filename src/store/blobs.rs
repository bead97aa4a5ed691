//! Values that may be lost, each until it expires: found by a name, bounded in
//! bytes; what would expire first makes room.
//!
//! They lie in a database of their own, so that writing them holds up nobody who
//! waits for the store, and so that the folder can be removed at any time. An
//! entry is found in two trees; the one that sorts by time is written first and
//! removed last, so a value is never there that nothing would clear away.
//!
//! Names are hashes. Half of one, of each value, is held in memory: a name that
//! is not there costs no look at the disk.

use std::io;
use std::path::Path;

use ahash::AHashSet;
use parking_lot::{Mutex, RwLock};

use crate::base::clock::Timestamp;
use crate::store::{Store, StoreError, patiently};

/// The folder of the data directory.
const FOLDER: &str = "cache";
/// The tree of values: name → moment of expiry, value.
const VALUES: &str = "values";
/// The tree of expiries: moment and name → length of the value, tag.
const EXPIRIES: &str = "expiries";
/// The page cache of the database, in bytes.
const PAGES: u64 = 16 * 1024 * 1024;
/// What a value counts for besides its length, in bytes: its keys, and room for
/// what a database makes of it. It bounds the number of names in memory.
const OVERHEAD: u64 = 512;
/// Parts of the names in memory, each with a lock of its own.
const SHARDS: usize = 64;

/// What a value is found by: a hash.
pub type Name = [u8; 32];
/// What values are chosen by for removal; it means nothing here.
pub type Tag = [u8; 24];

/// Where values are kept. All but [`Blobs::has`] and [`Blobs::bytes`] block.
pub trait Blobs: Send + Sync {
    /// Whether there may be a value called `name`; asks memory alone.
    fn has(&self, name: &Name) -> bool;

    /// The value called `name` and when it expires, expired or not.
    ///
    /// # Errors
    /// [`StoreError`].
    fn get(&self, name: &Name) -> Result<Option<(Timestamp, Vec<u8>)>, StoreError>;

    /// Keeps `value` until `expires`, in the place of any other of its name. It
    /// outlives the process once [`Blobs::flush`] returned.
    ///
    /// # Errors
    /// [`StoreError`]; it may be kept or not then.
    fn put(
        &self,
        name: &Name,
        expires: Timestamp,
        tag: &Tag,
        value: &[u8],
    ) -> Result<(), StoreError>;

    /// Removes the value called `name`.
    ///
    /// # Errors
    /// [`StoreError`].
    fn remove(&self, name: &Name) -> Result<(), StoreError>;

    /// Removes every value that `chosen` picks; gives their number. It walks over
    /// all of them, but reads none.
    ///
    /// # Errors
    /// [`StoreError`]; some may be left then.
    fn remove_all(&self, chosen: &dyn Fn(&Name, &Tag) -> bool) -> Result<u64, StoreError>;

    /// Removes what has expired at `now`.
    ///
    /// # Errors
    /// [`StoreError`].
    fn sweep(&self, now: Timestamp) -> Result<(), StoreError>;

    /// Hands everything written to the kernel.
    ///
    /// # Errors
    /// [`StoreError`].
    fn flush(&self) -> Result<(), StoreError>;

    /// Bytes that the values take.
    fn bytes(&self) -> u64;
}

/// [`Blobs`] in an embedded database.
pub struct EmbeddedBlobs {
    values: sled::Tree,
    expiries: sled::Tree,
    names: Names,
    budget: u64,
    /// Bytes of what is kept; its lock is held while that changes.
    used: Mutex<u64>,
}

impl EmbeddedBlobs {
    /// The values in the data directory `dir`, at most `budget` bytes of them. A
    /// database that cannot be opened is removed, and begun anew. The caller holds
    /// the lock of the data directory.
    ///
    /// # Errors
    /// [`StoreError`] if a new one cannot be made either.
    pub fn open(dir: &Path, budget: u64) -> Result<Self, StoreError> {
        Self::existing(dir, budget).or_else(|error| {
            tracing::warn!(%error, "the cache on the disk cannot be read and begins anew");
            Self::discard(dir).map_err(|error| StoreError(error.to_string()))?;
            Self::existing(dir, budget)
        })
    }

    /// Removes what is kept in the data directory `dir`.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn discard(dir: &Path) -> io::Result<()> {
        match std::fs::remove_dir_all(dir.join(FOLDER)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn existing(dir: &Path, budget: u64) -> Result<Self, StoreError> {
        let path = dir.join(FOLDER);
        let config = sled::Config::new().path(path).cache_capacity(PAGES).flush_every_ms(None);
        let store = Store { db: patiently(|| config.open())? };
        let (values, expiries) = (store.tree(VALUES)?, store.tree(EXPIRIES)?);
        let names = Names::default();
        let mut used = 0;
        for entry in expiries.iter() {
            let (key, about) = entry?;
            if let Some((_, name)) = key.split_first_chunk::<8>() {
                names.add(name);
            }
            used += size(&about);
        }
        let blobs = Self { values, expiries, names, budget, used: Mutex::new(used) };
        // The budget may have been larger at the last start.
        blobs.make_room(&mut blobs.used.lock(), 0)?;
        Ok(blobs)
    }

    /// Removes one value and its expiry, whichever of them is there.
    fn clear(&self, used: &mut u64, name: &[u8], expires: Timestamp) -> Result<(), StoreError> {
        self.names.take(name);
        self.values.remove(name)?;
        if let Some(about) = self.expiries.remove(expiry(expires, name))? {
            *used = used.saturating_sub(size(&about));
        }
        Ok(())
    }

    /// Removes the value that expires first, if `chosen` picks it.
    fn clear_first(
        &self,
        used: &mut u64,
        chosen: impl Fn(Timestamp) -> bool,
    ) -> Result<bool, StoreError> {
        let Some((key, about)) = self.expiries.first()? else { return Ok(false) };
        let Some((expires, name)) = key.split_first_chunk::<8>() else {
            // It is none of ours.
            self.expiries.remove(&key)?;
            *used = used.saturating_sub(size(&about));
            return Ok(true);
        };
        let expires = Timestamp(u64::from_be_bytes(*expires));
        if !chosen(expires) {
            return Ok(false);
        }
        self.clear(used, name, expires)?;
        Ok(true)
    }

    fn make_room(&self, used: &mut u64, bytes: u64) -> Result<(), StoreError> {
        while *used + bytes > self.budget && self.clear_first(used, |_| true)? {}
        Ok(())
    }

    fn expires(&self, name: &[u8]) -> Result<Option<Timestamp>, StoreError> {
        let value = self.values.get(name)?;
        Ok(value.and_then(|value| Some(Timestamp(u64::from_be_bytes(*value.first_chunk()?)))))
    }
}

impl Blobs for EmbeddedBlobs {
    fn has(&self, name: &Name) -> bool {
        self.names.has(name)
    }

    fn get(&self, name: &Name) -> Result<Option<(Timestamp, Vec<u8>)>, StoreError> {
        let Some(value) = self.values.get(name)? else { return Ok(None) };
        let Some((expires, value)) = value.split_first_chunk::<8>() else { return Ok(None) };
        Ok(Some((Timestamp(u64::from_be_bytes(*expires)), value.to_vec())))
    }

    fn put(
        &self,
        name: &Name,
        expires: Timestamp,
        tag: &Tag,
        value: &[u8],
    ) -> Result<(), StoreError> {
        let bytes = value.len() as u64 + OVERHEAD;
        let about = [&bytes.to_be_bytes(), &tag[..]].concat();
        let value = [&expires.0.to_be_bytes(), value].concat();
        let mut used = self.used.lock();
        if self.has(name)
            && let Some(before) = self.expires(name)?
        {
            self.clear(&mut used, name, before)?;
        }
        if bytes > self.budget {
            return Ok(());
        }
        self.make_room(&mut used, bytes)?;
        self.expiries.insert(expiry(expires, name), about)?;
        *used += bytes;
        self.values.insert(name, value)?;
        self.names.add(name);
        Ok(())
    }

    fn remove(&self, name: &Name) -> Result<(), StoreError> {
        let mut used = self.used.lock();
        match self.expires(name)? {
            Some(expires) => self.clear(&mut used, name, expires),
            None => {
                self.names.take(name);
                self.values.remove(name)?;
                Ok(())
            }
        }
    }

    fn remove_all(&self, chosen: &dyn Fn(&Name, &Tag) -> bool) -> Result<u64, StoreError> {
        let mut removed = 0;
        for entry in self.expiries.iter() {
            let (key, about) = entry?;
            let Some((expires, name)) = key.split_first_chunk::<8>() else { continue };
            let tag = about.get(8..).and_then(|tag| <&Tag>::try_from(tag).ok());
            let Some((name, tag)) = <&Name>::try_from(name).ok().zip(tag) else { continue };
            if chosen(name, tag) {
                // The lock is taken anew for each, so that nobody waits for all.
                let expires = Timestamp(u64::from_be_bytes(*expires));
                self.clear(&mut self.used.lock(), name, expires)?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    fn sweep(&self, now: Timestamp) -> Result<(), StoreError> {
        while self.clear_first(&mut self.used.lock(), |expires| expires <= now)? {}
        Ok(())
    }

    fn flush(&self) -> Result<(), StoreError> {
        self.values.flush()?;
        Ok(())
    }

    fn bytes(&self) -> u64 {
        *self.used.lock()
    }
}

/// Half of each name: two that share it cost a look at the disk, or a value that
/// is not found, once in 2^64 pairs.
struct Names([RwLock<AHashSet<u64>>; SHARDS]);

impl Default for Names {
    fn default() -> Self {
        Self(std::array::from_fn(|_| RwLock::default()))
    }
}

impl Names {
    fn has(&self, name: &[u8]) -> bool {
        let (shard, half) = self.place(name);
        shard.read().contains(&half)
    }

    fn add(&self, name: &[u8]) {
        let (shard, half) = self.place(name);
        shard.write().insert(half);
    }

    fn take(&self, name: &[u8]) {
        let (shard, half) = self.place(name);
        shard.write().remove(&half);
    }

    fn place(&self, name: &[u8]) -> (&RwLock<AHashSet<u64>>, u64) {
        let half = name.first_chunk().map_or(0, |half| u64::from_be_bytes(*half));
        let [zeroth, ..] = &self.0;
        // Always present: the remainder is below the number of shards.
        let number = usize::try_from(half % SHARDS as u64).unwrap_or(0);
        (self.0.get(number).unwrap_or(zeroth), half)
    }
}

fn expiry(expires: Timestamp, name: &[u8]) -> Vec<u8> {
    [&expires.0.to_be_bytes(), name].concat()
}

fn size(about: &[u8]) -> u64 {
    about.first_chunk().map_or(0, |size| u64::from_be_bytes(*size))
}

#[cfg(test)]
mod tests;
