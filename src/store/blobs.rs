//! Values that may be lost, each until it expires: found by a name, bounded in
//! bytes; what would expire first makes room.
//!
//! Each is a file, because a database of values that come and go keeps several
//! times their bytes (sled: 119 MB for 16 MB of values of 400 KB), and a file that
//! is removed is room at once. Everything but the value stands in the file's name,
//! so a start reads folders and no file. About 130 bytes of memory each know where
//! the values are; a name that is not there costs no look at the disk.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use ahash::AHashMap;
use parking_lot::{Mutex, RwLock};

use crate::base::clock::Timestamp;
use crate::store::StoreError;

/// The folder of the data directory.
const FOLDER: &str = "cache";
/// What a file that is being written is called.
const UNFINISHED: &str = "unfinished";
/// What a file takes of the disk is a multiple of this, in bytes. It bounds the
/// number of values too.
const BLOCK: u64 = 4096;
/// Bytes of a file's name: name, moment of expiry and tag, in hexadecimal.
const FILE_NAME: usize = 2 * (32 + 8 + 24);

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

    /// Keeps `value` until `expires`, in the place of any other of its name; it
    /// outlives the process once this returns. One that is larger than all that may
    /// be kept is not.
    ///
    /// # Errors
    /// [`StoreError`]; there is none of its name then.
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

    /// Removes every value that `chosen` picks; gives their number. It looks at all
    /// of them, but reads none.
    ///
    /// # Errors
    /// [`StoreError`]; some may be left then.
    fn remove_all(&self, chosen: &dyn Fn(&Name, &Tag) -> bool) -> Result<u64, StoreError>;

    /// Removes what has expired at `now`.
    ///
    /// # Errors
    /// [`StoreError`].
    fn sweep(&self, now: Timestamp) -> Result<(), StoreError>;

    /// Bytes that the values take.
    fn bytes(&self) -> u64;
}

/// [`Blobs`] in files.
pub struct FileBlobs {
    folder: PathBuf,
    budget: u64,
    /// Held while files are written or removed; who looks a name up does not wait.
    writing: Mutex<()>,
    index: RwLock<Index>,
}

/// Which values there are.
#[derive(Default)]
struct Index {
    places: AHashMap<Name, Place>,
    order: BTreeSet<(Timestamp, Name)>,
    bytes: u64,
}

#[derive(Clone, Copy)]
struct Place {
    expires: Timestamp,
    tag: Tag,
    bytes: u64,
}

impl Index {
    fn add(&mut self, name: Name, place: Place) {
        self.take(&name);
        self.places.insert(name, place);
        self.order.insert((place.expires, name));
        self.bytes += place.bytes;
    }

    fn take(&mut self, name: &Name) {
        if let Some(place) = self.places.remove(name) {
            self.order.remove(&(place.expires, *name));
            self.bytes -= place.bytes;
        }
    }
}

impl FileBlobs {
    /// The values in the data directory `dir`, at most `budget` bytes of them. The
    /// caller holds the lock of the data directory.
    ///
    /// # Errors
    /// [`StoreError`] if the folder cannot be made or read.
    pub fn open(dir: &Path, budget: u64) -> Result<Self, StoreError> {
        let folder = dir.join(FOLDER);
        std::fs::create_dir_all(&folder)?;
        let mut index = Index::default();
        for shard in std::fs::read_dir(&folder)? {
            let shard = shard?;
            if !shard.file_type()?.is_dir() {
                std::fs::remove_file(shard.path())?;
                continue;
            }
            for file in std::fs::read_dir(shard.path())? {
                let file = file?;
                let read = file.file_name().to_str().and_then(parse);
                match read {
                    Some((name, expires, tag)) => {
                        let bytes = room(file.metadata()?.len());
                        index.add(name, Place { expires, tag, bytes });
                    }
                    // It was not written to its end, or is none of ours.
                    None => std::fs::remove_file(file.path())?,
                }
            }
        }
        let index = RwLock::new(index);
        let blobs = Self { folder, budget, writing: Mutex::default(), index };
        // The budget may have been larger at the last start.
        blobs.make_room(0)?;
        Ok(blobs)
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

    fn place(&self, name: &Name) -> Option<Place> {
        self.index.read().places.get(name).copied()
    }

    /// The folder and file of a value.
    fn path(&self, name: &Name, place: &Place) -> (PathBuf, PathBuf) {
        let Place { expires, tag, .. } = place;
        let name = hex(&[&name[..], &expires.0.to_be_bytes(), tag].concat());
        let folder = self.folder.join(name.get(..2).unwrap_or_default());
        let file = folder.join(name);
        (folder, file)
    }

    /// Removes one value, if it is there; `writing` is held.
    fn clear(&self, name: &Name) -> io::Result<()> {
        let Some(place) = self.place(name) else { return Ok(()) };
        let (_, file) = self.path(name, &place);
        match std::fs::remove_file(file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.index.write().take(name);
        Ok(())
    }

    /// Removes the value that expires first, if `chosen` picks it; `writing` is
    /// held.
    fn clear_first(&self, chosen: impl Fn(Timestamp) -> bool) -> io::Result<bool> {
        let first = self.index.read().order.first().copied();
        match first {
            Some((expires, name)) if chosen(expires) => self.clear(&name).map(|()| true),
            _ => Ok(false),
        }
    }

    fn make_room(&self, bytes: u64) -> io::Result<()> {
        while self.bytes() + bytes > self.budget && self.clear_first(|_| true)? {}
        Ok(())
    }
}

impl Blobs for FileBlobs {
    fn has(&self, name: &Name) -> bool {
        self.index.read().places.contains_key(name)
    }

    fn get(&self, name: &Name) -> Result<Option<(Timestamp, Vec<u8>)>, StoreError> {
        let Some(place) = self.place(name) else { return Ok(None) };
        let (_, file) = self.path(name, &place);
        match std::fs::read(file) {
            Ok(value) => Ok(Some((place.expires, value))),
            // It has made room meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn put(
        &self,
        name: &Name,
        expires: Timestamp,
        tag: &Tag,
        value: &[u8],
    ) -> Result<(), StoreError> {
        let place = Place { expires, tag: *tag, bytes: room(value.len() as u64) };
        let _writing = self.writing.lock();
        self.clear(name)?;
        if place.bytes > self.budget {
            return Ok(());
        }
        self.make_room(place.bytes)?;
        let (folder, file) = self.path(name, &place);
        std::fs::create_dir_all(&folder)?;
        let unfinished = folder.join(UNFINISHED);
        std::fs::write(&unfinished, value)?;
        std::fs::rename(unfinished, file)?;
        self.index.write().add(*name, place);
        Ok(())
    }

    fn remove(&self, name: &Name) -> Result<(), StoreError> {
        let _writing = self.writing.lock();
        Ok(self.clear(name)?)
    }

    fn remove_all(&self, chosen: &dyn Fn(&Name, &Tag) -> bool) -> Result<u64, StoreError> {
        let picked = |(name, place): (&Name, &Place)| chosen(name, &place.tag).then_some(*name);
        let names: Vec<Name> = self.index.read().places.iter().filter_map(picked).collect();
        for name in &names {
            // The lock is taken anew for each, so that nobody waits for all.
            self.remove(name)?;
        }
        Ok(names.len() as u64)
    }

    fn sweep(&self, now: Timestamp) -> Result<(), StoreError> {
        let next = || {
            let _writing = self.writing.lock();
            self.clear_first(|expires| expires <= now)
        };
        while next()? {}
        Ok(())
    }

    fn bytes(&self) -> u64 {
        self.index.read().bytes
    }
}

/// What a file of this length takes.
const fn room(length: u64) -> u64 {
    // Its name takes room too.
    (length + FILE_NAME as u64).next_multiple_of(BLOCK)
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| DIGITS.get(usize::from(value)).map_or('0', |byte| char::from(*byte));
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// What a file's name says.
fn parse(file: &str) -> Option<(Name, Timestamp, Tag)> {
    let (pairs, []) = file.as_bytes().as_chunks::<2>() else { return None };
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes: Vec<u8> = pairs.iter().map(byte).collect::<Option<_>>()?;
    let (name, rest) = bytes.split_first_chunk::<32>()?;
    let (expires, tag) = rest.split_first_chunk::<8>()?;
    Some((*name, Timestamp(u64::from_be_bytes(*expires)), tag.try_into().ok()?))
}

#[cfg(test)]
mod tests;
