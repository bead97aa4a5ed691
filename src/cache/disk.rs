//! The disk tier: entries that outlive the process, sealed.
//!
//! A value is a clear head and a sealed entry. The head, the key and the moment
//! of expiry are bound to the seal, so no part can be exchanged or aged.
//!
//! | part of the head | bytes |
//! |------------------|-------|
//! | version          | 1 |
//! | whether what is sealed is compressed (zstd) | 1 |
//! | when the entry was made, wall clock | 8 |
//! | its length before compression | 4 |
//!
//! The wall clock stands on the disk and the monotonic one in memory; both are
//! converted here. Whatever cannot be read is a miss.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::base::clock::{Clock, Timestamp};
use crate::cache::entry::{Entry, LARGEST};
use crate::cache::key::Key;
use crate::cache::wire::{self, Times};
use crate::cache::{Filter, Whose};
use crate::store::StoreError;
use crate::store::blobs::{Blobs, Tag};
use crate::telemetry::metrics::{DiskTier, Unwritten};
use crate::vault::{Day, Vault};

/// The version of a value's form.
const VERSION: u8 = 1;
/// Bytes of a head.
const HEAD: usize = 14;
/// Largest value, in bytes; what it takes to read one is waited for.
const LARGEST_VALUE: usize = 1024 * 1024;
/// Most bytes that an entry is read into: an answer, its headers and places.
const LARGEST_ENTRY: usize = 2 * LARGEST;
/// How hard zstd tries.
const LEVEL: i32 = 3;

/// What the disk tier is made of.
pub struct Parts {
    /// Where values are kept.
    pub blobs: Arc<dyn Blobs>,
    /// What seals them.
    pub vault: Arc<Vault>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Its metrics.
    pub metrics: DiskTier,
}

/// The disk tier.
pub(super) struct Disk {
    parts: Parts,
    /// The key of tags.
    secret: [u8; 32],
    /// Held while an entry is written, and while entries are chosen for removal.
    turn: Mutex<()>,
    /// Whether the last look at the disk succeeded.
    up: AtomicBool,
}

impl Disk {
    pub(super) fn new(parts: Parts, secret: &[u8; 32]) -> Self {
        parts.metrics.is_up(true);
        parts.metrics.bytes(parts.blobs.bytes());
        let secret = blake3::derive_key("tollgate 2026-11 cache tag", secret);
        Self { parts, secret, turn: Mutex::new(()), up: AtomicBool::new(true) }
    }

    pub(super) fn metrics(&self) -> &DiskTier {
        &self.parts.metrics
    }

    /// Whether there may be an entry of `key`; never touches the disk.
    pub(super) fn has(&self, key: &Key) -> bool {
        self.parts.blobs.has(key.as_bytes())
    }

    /// The entry of `key`, which is `whose`, if it is fresh. Blocks.
    pub(super) fn get(&self, key: &Key, whose: &Whose) -> Option<Entry> {
        let (expires, value) = self.try_to(self.parts.blobs.get(key.as_bytes()))??;
        let wall = self.parts.clock.wall();
        if expires <= wall {
            return None;
        }
        let entry = self.open(key, whose, expires, &value, wall);
        match entry {
            Some(_) => self.parts.metrics.read(),
            // Its key was destroyed, or it is damaged.
            None => {
                self.parts.metrics.unreadable();
                self.try_to(self.parts.blobs.remove(key.as_bytes()));
            }
        }
        entry
    }

    fn open(
        &self,
        key: &Key,
        whose: &Whose,
        expires: Timestamp,
        value: &[u8],
        wall: Timestamp,
    ) -> Option<Entry> {
        let (head, sealed) = value.split_first_chunk::<HEAD>()?;
        let (made, compressed, length) = read(head)?;
        let context = context(key, expires, head);
        let opened = self.parts.vault.open(whose.owner(), Day::of(made), &context, sealed)?;
        let plain = match compressed {
            true => zstd::bulk::decompress(&opened, length).ok()?,
            false => opened,
        };
        let now = self.parts.clock.monotonic();
        let expires = now.saturating_add(between(wall, expires));
        wire::decode(plain, Times { now, age: between(made, wall), expires })
    }

    /// Writes `entry`, unless `purges` has counted one more than `epoch`. Blocks.
    pub(super) fn put(&self, key: &Key, entry: &Entry, epoch: u64, purges: &AtomicU64) {
        let plain = wire::encode(entry);
        let smaller = zstd::bulk::compress(&plain, LEVEL).ok();
        let smaller = smaller.filter(|smaller| smaller.len() < plain.len());
        let packed = smaller.as_ref().unwrap_or(&plain);
        let metrics = &self.parts.metrics;
        if packed.len() > LARGEST_VALUE {
            return metrics.unwritten(Unwritten::TooLarge);
        }
        let (now, wall) = (self.parts.clock.monotonic(), self.parts.clock.wall());
        let made = Timestamp(wall.0.saturating_sub(micros(entry.age(now))));
        let left = entry.expires.saturating_sub(now);
        if left.is_zero() {
            return;
        }
        let expires = Timestamp(wall.0.saturating_add(micros(left)));
        let head = head(made, smaller.is_some(), plain.len());
        // A purge, and the destruction of a key, must not be overtaken.
        let _turn = self.turn.lock();
        if purges.load(Ordering::SeqCst) != epoch {
            return metrics.unwritten(Unwritten::Purged);
        }
        let context = context(key, expires, &head);
        let whose = Whose::of(entry);
        let sealed = self.parts.vault.seal(whose.owner(), Day::of(made), &context, packed);
        let put = sealed.map_err(|error| io::Error::other(error).into()).and_then(|sealed| {
            let value = [&head[..], &sealed].concat();
            self.parts.blobs.put(key.as_bytes(), expires, &self.tag(entry), &value)
        });
        if self.try_to(put).is_none() {
            metrics.unwritten(Unwritten::Failed);
        }
    }

    /// Shows what is on the disk.
    pub(super) fn show(&self) {
        self.parts.metrics.bytes(self.parts.blobs.bytes());
    }

    /// Removes what has expired. Blocks.
    pub(super) fn sweep(&self) {
        self.try_to(self.parts.blobs.sweep(self.parts.clock.wall()));
        self.show();
    }

    /// Waits for what is being written: after that, nothing is that was asked for
    /// before the last purge was counted. Blocks.
    pub(super) fn settle(&self) {
        drop(self.turn.lock());
    }

    /// Removes the entries that `filter` picks; gives their number. The cache has
    /// counted the purge, and then called [`Disk::settle`]. Blocks.
    pub(super) fn purge(&self, filter: &Filter) -> u64 {
        let part = |kind, wanted: &Option<String>| wanted.as_deref().map(|it| self.hash(kind, it));
        let wanted = [
            part(Kind::Account, &filter.account),
            part(Kind::Class, &filter.class),
            part(Kind::Model, &filter.model),
        ];
        let chosen = |name: &[u8; 32], tag: &Tag| {
            let (parts, _) = tag.as_chunks::<8>();
            std::iter::zip(&wanted, parts).all(|(wanted, part)| wanted.is_none_or(|it| it == *part))
                && filter.key.as_deref().is_none_or(|wanted| *wanted == *Key::named(name).to_hex())
        };
        let removed = self.try_to(self.parts.blobs.remove_all(&chosen)).unwrap_or_default();
        self.show();
        removed
    }

    /// What `entry` is removed by: a keyed hash of each thing that a filter names.
    fn tag(&self, entry: &Entry) -> Tag {
        let mut tag = Tag::default();
        let parts = [
            self.hash(Kind::Account, &entry.account),
            self.hash(Kind::Class, &entry.class),
            self.hash(Kind::Model, &entry.model),
        ];
        tag.copy_from_slice(parts.as_flattened());
        tag
    }

    fn hash(&self, kind: Kind, name: &str) -> [u8; 8] {
        let mut hasher = blake3::Hasher::new_keyed(&self.secret);
        hasher.update(&[kind as u8]).update(name.as_bytes());
        hasher.finalize().as_bytes().first_chunk().copied().unwrap_or_default()
    }

    /// What came of an operation on the disk; shows whether it works.
    fn try_to<T>(&self, result: Result<T, StoreError>) -> Option<T> {
        let up = result.is_ok();
        if self.up.swap(up, Ordering::Relaxed) != up {
            self.parts.metrics.is_up(up);
            match &result {
                Ok(_) => tracing::info!("the cache on the disk works again"),
                Err(error) => tracing::warn!(%error, "the cache on the disk does not work"),
            }
        }
        result.ok()
    }
}

/// What a part of a tag is a hash of.
#[derive(Clone, Copy)]
enum Kind {
    Account,
    Class,
    Model,
}

fn head(made: Timestamp, compressed: bool, length: usize) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    let parts =
        [&[VERSION, u8::from(compressed)][..], &made.0.to_be_bytes(), &length.to_be_bytes()];
    head.copy_from_slice(&parts.concat());
    head
}

/// When it was made, whether it is compressed, and its length.
fn read(head: &[u8; HEAD]) -> Option<(Timestamp, bool, usize)> {
    let [VERSION, compressed, rest @ ..] = head else { return None };
    let (made, length) = rest.split_first_chunk::<8>()?;
    let length = u32::from_be_bytes(length.try_into().ok()?);
    let length = usize::try_from(length).ok().filter(|length| *length <= LARGEST_ENTRY)?;
    Some((Timestamp(u64::from_be_bytes(*made)), *compressed == 1, length))
}

/// What a sealed entry is, and where it stands.
fn context(key: &Key, expires: Timestamp, head: &[u8; HEAD]) -> Vec<u8> {
    [&b"cache "[..], key.as_bytes(), &expires.0.to_be_bytes(), head].concat()
}

fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::from_micros(to.0.saturating_sub(from.0))
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
