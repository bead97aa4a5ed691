//! The embedded store: what must be found by a key and survive the process.
//!
//! sled is an index, never the truth of money: its `flush` survives the end of
//! the process, not a power loss, and the ledger's journal is what records are
//! rebuilt from. Each kind of thing has a trait, a file here, and a tree of its
//! own; only this folder names sled.

pub mod accounts;
pub mod billing;
pub mod blobs;
pub mod custom;
pub mod idempotency;
pub mod outbox;
pub mod ownership;

use std::path::{Path, PathBuf};
use std::time::Duration;

/// The version of what the trees hold. A store of a newer version is refused.
const VERSION: u32 = 1;
/// sled's page cache, in bytes; its default is a gigabyte.
const CACHE: u64 = 64 * 1024 * 1024;
/// How often a store that is locked is tried again, and how long after.
const TRIES: u32 = 400;
const PAUSE: Duration = Duration::from_millis(5);
/// The tree of facts about the store itself.
const ABOUT: &str = "about";

/// The store of one data directory.
#[derive(Clone)]
pub struct Store {
    db: sled::Db,
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A newer version of Tollgate has written it.
    #[error(
        "{} was written by a newer version of Tollgate (store version {found}, this one reads {VERSION})",
        path.display()
    )]
    Newer {
        /// The store's directory.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// It cannot be read or written.
    #[error("cannot open the store in {}: {error}", path.display())]
    Io {
        /// The store's directory.
        path: PathBuf,
        /// sled's error.
        error: sled::Error,
    },
}

/// The store cannot be read or written at the moment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store cannot be read or written: {0}")]
pub struct StoreError(String);

impl From<std::io::Error> for StoreError {
    fn from(error: std::io::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<sled::Error> for StoreError {
    fn from(error: sled::Error) -> Self {
        Self(error.to_string())
    }
}

impl Store {
    /// Opens the store in the data directory `dir`, creating what is missing.
    /// The caller holds the lock of the data directory.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        let path = dir.join("store");
        let io = |error| OpenError::Io { path: path.clone(), error };
        let db = patiently(|| sled::Config::new().path(&path).cache_capacity(CACHE).open());
        let db = db.map_err(io)?;
        let about = db.open_tree(ABOUT).map_err(io)?;
        let written = about.get("version").map_err(io)?;
        match written.and_then(|bytes| Some(u32::from_be_bytes(bytes.as_ref().try_into().ok()?))) {
            Some(found) if found > VERSION => return Err(OpenError::Newer { path, found }),
            Some(VERSION) => {}
            _ => {
                about.insert("version", &VERSION.to_be_bytes()).map_err(io)?;
                about.flush().map_err(io)?;
            }
        }
        Ok(Self { db })
    }

    /// The tree called `name`, made where it is missing.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(in crate::store) fn tree(&self, name: &str) -> Result<sled::Tree, StoreError> {
        Ok(self.db.open_tree(name)?)
    }

    /// Hands everything written to the kernel. Blocks.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn flush(&self) -> Result<(), StoreError> {
        self.db.flush()?;
        Ok(())
    }
}

/// Opens a store that may just have been closed: a thread of sled's holds its
/// lock for a moment longer. No other process can hold it, as it would hold the
/// lock of the data directory too.
fn patiently(open: impl Fn() -> sled::Result<sled::Db>) -> sled::Result<sled::Db> {
    for _ in 0..TRIES {
        match open() {
            Err(sled::Error::Io(error)) if error.to_string().contains("lock") => {
                std::thread::sleep(PAUSE);
            }
            opened => return opened,
        }
    }
    open()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_of_a_newer_version_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        store.tree(ABOUT).unwrap().insert("version", &2_u32.to_be_bytes()).unwrap();
        store.flush().unwrap();
        drop(store);
        let refused = Store::open(dir.path()).err().unwrap();
        assert!(matches!(refused, OpenError::Newer { found: 2, .. }), "{refused}");
    }

    #[test]
    fn what_is_flushed_is_there_after_reopening() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        store.tree("t").unwrap().insert("key", "value").unwrap();
        store.flush().unwrap();
        drop(store);
        let store = Store::open(dir.path()).unwrap();
        assert_eq!(store.tree("t").unwrap().get("key").unwrap().unwrap().as_ref(), b"value");
    }
}
