//! Data that can be made unreadable: everything personal that is kept is sealed
//! here, and destroying a key erases what was sealed under it, wherever its
//! copies are.
//!
//! Keys, each from the one before:
//!
//! - the master key, given by the configuration or made at the first start,
//!   wraps the owners' keys on the disk and does nothing else;
//! - each owner, an account or a class, has a random key of 256 bits, which is a
//!   chain: the key of a day is made from that of the day before and cannot be
//!   made backwards ([`Vault::expire`]);
//! - each message has a key of its own, see `seal.rs`.
//!
//! What is kept in the folder `vault` of the data directory must be backed up
//! apart from the data, or not at all: an old copy of the keyring, with its master
//! key, opens what has been erased since.

mod lasting;
mod seal;
mod shard;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ahash::AHashMap;
use parking_lot::{Mutex, RwLock};
use zeroize::Zeroizing;

use crate::base::clock::Timestamp;
use crate::base::keyfile;
use crate::base::secret::{Key, Secret};
use shard::{ReadError, SHARDS};

/// The folder of the data directory.
const FOLDER: &str = "vault";
/// The file of the master key that was made here.
const MASTER: &str = "master.key";
/// How many days before its first message an owner's chain begins: a clock may
/// be set back.
const MARGIN: u32 = 2;
/// Longest chain that is followed, in days.
const LONGEST: u32 = 40_000;

/// A day in UTC: days since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(pub u32);

impl Day {
    /// The day of `moment`.
    pub fn of(moment: Timestamp) -> Self {
        Self(u32::try_from(moment.as_secs() / 86_400).unwrap_or(u32::MAX))
    }
}

/// Whose data it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner<'o> {
    /// An account's, by its id.
    Account(&'o str),
    /// All accounts' of a class with the scope `shared`, by its name.
    Class(&'o str),
}

/// Why the vault cannot be opened. The messages name files, never keys.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file cannot be read or made.
    #[error("cannot read or write {}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// The master key that was made here is not one any more.
    #[error("{} does not hold a key of 64 hexadecimal digits", .0.display())]
    Master(PathBuf),
    /// The keyring was written under a master key that is not given.
    #[error(
        "{} was written under another master key; give that one in privacy.retired_keys",
        .0.display()
    )]
    Unknown(PathBuf),
    /// The keyring is not as it was written.
    #[error("{} is damaged; restore it, or remove it and lose what it opens", .0.display())]
    Damaged(PathBuf),
}

/// Why something cannot be sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The owner's new key cannot be kept.
    #[error("the keyring cannot be written: {0}")]
    Keyring(#[from] io::Error),
    /// The day has been made unreadable, or lies too far ahead.
    #[error("the key of that day is not there")]
    Day,
    /// The message is larger than the cipher takes.
    #[error("the message cannot be sealed")]
    Cipher,
}

/// The name of an owner in the keyring: a hash, so that the file names nobody.
type OwnerId = [u8; 32];

/// The key of an owner's first readable day; later ones are made from it.
#[derive(Debug)]
struct Chain {
    base: u32,
    key: Zeroizing<[u8; 32]>,
}

type Chains = AHashMap<OwnerId, Arc<Chain>>;

#[derive(Default)]
struct Shard {
    /// Held while the file is written; readers do not wait for it.
    writing: Mutex<()>,
    chains: RwLock<Chains>,
}

/// The keys of every owner.
pub struct Vault {
    directory: PathBuf,
    master: RwLock<Arc<Key>>,
    shards: Box<[Shard]>,
}

impl Vault {
    /// Opens the vault of the data directory `dir`; the first call makes it.
    /// `master` wraps the keys from now on; without one it is a key of the vault's
    /// own, made at the first start. What was written under that one or one of
    /// `retired` is read, and written anew under the one in force. The caller holds
    /// the lock of the data directory.
    ///
    /// # Errors
    /// [`OpenError`]; nothing that was kept is lost then.
    pub fn load(dir: &Path, master: Option<&Key>, retired: &[Key]) -> Result<Self, OpenError> {
        let directory = dir.join(FOLDER);
        let made = made_master(&directory, master.is_none())?;
        let current = match master.or(made.as_ref()) {
            Some(key) => Arc::new(key.clone()),
            None => return Err(OpenError::Master(directory.join(MASTER))),
        };
        let known: Vec<&Key> =
            std::iter::once(&*current).chain(made.as_ref()).chain(retired).collect();
        let shards: Box<[Shard]> = (0..SHARDS).map(|_| Shard::default()).collect();
        let vault = Self { directory, master: RwLock::new(current.clone()), shards };
        for (number, shard) in vault.shards.iter().enumerate() {
            let path = vault.path(number);
            let (chains, under) = match shard::read(&path, &known) {
                Ok(Some(read)) => read,
                Ok(None) => continue,
                Err(ReadError::Io(error)) => return Err(OpenError::Io { path, error }),
                Err(ReadError::Unknown) => return Err(OpenError::Unknown(path)),
                Err(ReadError::Damaged) => return Err(OpenError::Damaged(path)),
            };
            if *under != *current {
                shard::write(&path, &current, &chains)
                    .map_err(|error| OpenError::Io { path, error })?;
            }
            *shard.chains.write() = chains;
        }
        Ok(vault)
    }

    /// Seals `plain` as `owner`'s, made on `day`. `context` says what it is and
    /// where it stands, and is needed to open it; each use begins it with a name
    /// of its own. The first message of an owner makes its key, which writes a
    /// file and waits for the disk: call it where blocking is allowed.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn seal(
        &self,
        owner: Owner<'_>,
        day: Day,
        context: &[u8],
        plain: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        let id = owner_id(owner);
        let chain = match self.chain(&id) {
            Some(chain) => chain,
            None => self.begin(id, day)?,
        };
        let key = chain.day(day).ok_or(SealError::Day)?;
        seal::seal(&key, &associated(&id, day, context), plain).ok_or(SealError::Cipher)
    }

    /// What [`Self::seal`] sealed with the same owner, day and context. `None` if
    /// it is anything else, was changed, or its key has been destroyed. Never
    /// touches the disk.
    pub fn open(
        &self,
        owner: Owner<'_>,
        day: Day,
        context: &[u8],
        sealed: &[u8],
    ) -> Option<Vec<u8>> {
        let id = owner_id(owner);
        let key = self.chain(&id)?.day(day)?;
        seal::open(&key, &associated(&id, day, context), sealed)
    }

    /// Destroys the key of `owner`: what was sealed under it cannot be opened any
    /// more from now on, and after this returned no copy of the data can be opened
    /// with the keyring that is on the disk. A later message begins a new key.
    /// Blocks on the disk.
    ///
    /// # Errors
    /// Those of the file system. The key is out of memory then, but may be on the
    /// disk: call again.
    pub fn forget(&self, owner: Owner<'_>) -> io::Result<()> {
        let id = owner_id(owner);
        let (number, shard) = self.shard(&id);
        let _writing = shard.writing.lock();
        shard.chains.write().remove(&id);
        self.write(number, &shard.chains.read().clone())
    }

    /// Makes what was sealed on days before `day` unreadable, of every owner.
    /// Blocks on the disk.
    ///
    /// # Errors
    /// Those of the file system; what was done until then stays done.
    pub fn expire(&self, day: Day) -> io::Result<()> {
        for (number, shard) in self.shards.iter().enumerate() {
            let _writing = shard.writing.lock();
            let mut chains = shard.chains.read().clone();
            let mut changed = false;
            for chain in chains.values_mut() {
                if let Some(later) = chain.advanced(day) {
                    *chain = Arc::new(later);
                    changed = true;
                }
            }
            if changed {
                self.write(number, &chains)?;
                *shard.chains.write() = chains;
            }
        }
        Ok(())
    }

    /// Wraps every key under `master` from now on, while messages are sealed and
    /// opened; without one, under the vault's own. Nothing happens if that one is
    /// in force. Blocks on the disk.
    ///
    /// # Errors
    /// [`OpenError`]. The old key stays in force then, but part of the keyring may
    /// be under the new one: until a later call succeeds a start needs both.
    pub fn rotate(&self, master: Option<&Key>) -> Result<(), OpenError> {
        let made = match master {
            Some(_) => None,
            None => made_master(&self.directory, true)?,
        };
        let Some(master) = master.or(made.as_ref()) else { return Ok(()) };
        if **self.master.read() == *master {
            return Ok(());
        }
        let before = std::mem::replace(&mut *self.master.write(), Arc::new(master.clone()));
        let rewritten = self.rewrite();
        if rewritten.is_err() {
            *self.master.write() = before;
        }
        rewritten
    }

    /// Writes every file of the keyring anew.
    fn rewrite(&self) -> Result<(), OpenError> {
        for (number, shard) in self.shards.iter().enumerate() {
            let _writing = shard.writing.lock();
            let chains = shard.chains.read().clone();
            if !chains.is_empty() {
                let path = self.path(number);
                self.write(number, &chains).map_err(|error| OpenError::Io { path, error })?;
            }
        }
        Ok(())
    }

    fn chain(&self, id: &OwnerId) -> Option<Arc<Chain>> {
        self.shard(id).1.chains.read().get(id).cloned()
    }

    /// The chain of a new owner, on the disk before anything is sealed under it.
    fn begin(&self, id: OwnerId, day: Day) -> io::Result<Arc<Chain>> {
        let (number, shard) = self.shard(&id);
        let _writing = shard.writing.lock();
        if let Some(chain) = shard.chains.read().get(&id) {
            return Ok(chain.clone());
        }
        let base = day.0.saturating_sub(MARGIN);
        let chain = Arc::new(Chain { base, key: Zeroizing::new(rand::random()) });
        let mut chains = shard.chains.read().clone();
        chains.insert(id, chain.clone());
        self.write(number, &chains)?;
        *shard.chains.write() = chains;
        Ok(chain)
    }

    fn shard(&self, id: &OwnerId) -> (usize, &Shard) {
        let number = usize::from(id[0]);
        #[expect(clippy::indexing_slicing, reason = "there is one for each byte")]
        (number, &self.shards[number])
    }

    fn path(&self, number: usize) -> PathBuf {
        self.directory.join("keyring").join(format!("{number:02x}"))
    }

    /// Writes a shard's file; its `writing` is held.
    fn write(&self, number: usize, chains: &Chains) -> io::Result<()> {
        let master = self.master.read().clone();
        shard::write(&self.path(number), &master, chains)
    }
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vault").field("directory", &self.directory).finish_non_exhaustive()
    }
}

impl Chain {
    /// The key of `day`.
    fn day(&self, day: Day) -> Option<Zeroizing<[u8; 32]>> {
        let link = self.link(day)?;
        Some(Zeroizing::new(blake3::derive_key("tollgate 2026-11 vault day", &*link)))
    }

    /// The chain without the days before `day`, if it has any.
    fn advanced(&self, day: Day) -> Option<Self> {
        if day.0 <= self.base {
            return None;
        }
        Some(Self { base: day.0, key: self.link(day)? })
    }

    fn link(&self, day: Day) -> Option<Zeroizing<[u8; 32]>> {
        let steps = day.0.checked_sub(self.base).filter(|steps| *steps <= LONGEST)?;
        let mut key = self.key.clone();
        for _ in 0..steps {
            key = Zeroizing::new(blake3::derive_key("tollgate 2026-11 vault next day", &*key));
        }
        Some(key)
    }
}

/// The master key that was made here, if there is one; `make` makes it.
fn made_master(directory: &Path, make: bool) -> Result<Option<Key>, OpenError> {
    let path = directory.join(MASTER);
    let io = |error| OpenError::Io { path: path.clone(), error };
    let text: Secret = match make || path.try_exists().map_err(io)? {
        true => keyfile::load_or_create(&path, keyfile::random_hex).map_err(io)?,
        false => return Ok(None),
    };
    Key::parse(text.expose()).map(Some).ok_or(OpenError::Master(path))
}

fn owner_id(owner: Owner<'_>) -> OwnerId {
    let (kind, name) = match owner {
        Owner::Account(id) => (b'a', id),
        Owner::Class(name) => (b'c', name),
    };
    let mut hasher = blake3::Hasher::new_derive_key("tollgate 2026-11 vault owner");
    hasher.update(&[kind]).update(name.as_bytes());
    *hasher.finalize().as_bytes()
}

/// What a message is bound to; both parts before the context have fixed lengths.
fn associated(id: &OwnerId, day: Day, context: &[u8]) -> Vec<u8> {
    [id.as_slice(), &day.0.to_be_bytes(), context].concat()
}
