//! The response cache: answers given before are given again to requests that
//! are the same in everything that can change an answer.
//!
//! Invariants: requests that differ in anything able to change the answer never
//! share an entry ([`key`]); only complete answers of status 200 are kept
//! ([`entry`]); nothing crosses accounts unless the class says `shared`; an
//! entry can be had before the last byte of the answer that made it is sent.
//!
//! An entry stands in memory (`memory.rs`) and, a moment later, sealed on the disk
//! ([`disk`]), where it outlives the process. It is looked for in that order. What
//! was asked for before a purge is not kept after it, in either place.

pub mod disk;
pub mod entry;
pub mod freshness;
pub mod key;
mod memory;
pub mod renewals;
pub mod replay;
pub mod steer;
mod wire;
mod writer;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;

use crate::telemetry::metrics::Level;
use crate::vault::Owner;
use disk::Disk;
use entry::{Answer, Entry, Recorder, Recordings};
use key::{BodyHash, Context, Key};
use memory::Memory;
use renewals::{Renewal, Renewals};
use replay::Shape;
use writer::{Job, Writer};

/// The cache of a process.
pub struct Cache {
    memory: Memory,
    /// The disk tier and what writes to it, where there is one.
    disk: Option<(Arc<Disk>, Writer)>,
    recordings: Recordings,
    renewals: Renewals,
    secret: [u8; 32],
    /// How many purges there were.
    purges: Arc<AtomicU64>,
}

/// Bytes by tier.
pub type Sizes = BTreeMap<&'static str, u64>;

/// Whose entry it is: under whose key it lies on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    /// An account's.
    Account(Arc<str>),
    /// All accounts' of a class.
    Class(Arc<str>),
}

impl Whose {
    fn of(entry: &Entry) -> Self {
        match entry.shared {
            false => Self::Account(entry.account.clone()),
            true => Self::Class(entry.class.clone()),
        }
    }

    fn owner(&self) -> Owner<'_> {
        match self {
            Self::Account(id) => Owner::Account(id),
            Self::Class(name) => Owner::Class(name),
        }
    }
}

/// How many purges there were when an answer was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Epoch(u64);

/// Which entries a purge removes: those that match every part that is given.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// The account whose request made it.
    pub account: Option<String>,
    /// The class.
    pub class: Option<String>,
    /// The model's public name.
    pub model: Option<String>,
    /// The key as records write it.
    pub key: Option<String>,
}

impl Cache {
    /// A cache whose keys are hashed with `secret`, with at most `budget` bytes in
    /// memory, which are shown in `level`, and nothing on the disk.
    pub fn new(secret: [u8; 32], budget: u64, level: Level) -> Self {
        Self {
            memory: Memory::new(budget, level),
            disk: None,
            recordings: Recordings::default(),
            renewals: Renewals::default(),
            secret,
            purges: Arc::default(),
        }
    }

    /// The cache with a disk tier. Its thread ends with [`Cache::close`], or when
    /// the cache is dropped.
    ///
    /// # Errors
    /// Those of making a thread.
    pub fn over(mut self, parts: disk::Parts) -> io::Result<Self> {
        let disk = Arc::new(Disk::new(parts, &self.secret));
        let writer = Writer::start(disk.clone(), self.purges.clone())?;
        self.disk = Some((disk, writer));
        Ok(self)
    }

    /// The key of a request, see [`key::key`].
    pub fn key(&self, context: &Context<'_>, body: &BodyHash) -> Key {
        key::key(&self.secret, context, body)
    }

    /// The entry of `key` in memory if it may be of use at `now`, a monotonic moment;
    /// whether it may answer a request, [`freshness::judge`] says.
    pub fn get(&self, key: &Key, now: Duration) -> Option<Arc<Entry>> {
        self.memory.get(key, now)
    }

    /// The same, in memory or on the disk; what is found there alone is in memory
    /// after. A look at the disk is made on a thread that may block.
    pub async fn find(
        self: &Arc<Self>,
        key: Key,
        whose: impl FnOnce() -> Whose,
        now: Duration,
    ) -> Option<Arc<Entry>> {
        if let Some(entry) = self.memory.get(&key, now) {
            return Some(entry);
        }
        if !self.disk.as_ref().is_some_and(|(disk, _)| disk.has(&key)) {
            return None;
        }
        let (this, whose) = (self.clone(), whose());
        let promoted = tokio::task::spawn_blocking(move || this.promote(key, &whose));
        // It fails only while the process ends.
        promoted.await.ok().flatten()
    }

    fn promote(&self, key: Key, whose: &Whose) -> Option<Arc<Entry>> {
        let (disk, _) = self.disk.as_ref()?;
        let epoch = self.epoch();
        let entry = Arc::new(disk.get(&key, whose)?);
        self.remember(key, &entry, epoch).then_some(entry)
    }

    /// Begins to renew the entry of `key`; `None` if somebody does.
    pub fn renew(&self, key: Key) -> Option<Renewal> {
        self.renewals.begin(key)
    }

    /// Bytes in memory that the entries of each class take. It walks over all
    /// entries: call it off the request path.
    pub fn sizes(&self) -> BTreeMap<Arc<str>, Sizes> {
        let mut sizes: BTreeMap<Arc<str>, Sizes> = BTreeMap::new();
        self.memory.each(|entry| {
            let tiers = sizes.entry(entry.class.clone()).or_default();
            *tiers.entry("memory").or_default() += u64::from(entry.weight());
        });
        sizes
    }

    /// Begins to record a stream that may be kept.
    pub fn record(&self) -> Recorder {
        self.recordings.begin()
    }

    /// The present epoch, for [`Cache::insert`].
    pub fn epoch(&self) -> Epoch {
        Epoch(self.purges.load(Ordering::SeqCst))
    }

    /// Keeps an answer that was asked for in `epoch`, unless there was a purge
    /// since; it can be had once this returns, and is on the disk a moment later.
    pub fn insert(&self, key: Key, entry: Entry, epoch: Epoch) {
        let entry = Arc::new(entry);
        if self.remember(key, &entry, epoch)
            && let Some((_, writer)) = &self.disk
        {
            writer.offer(Job { key, entry, epoch: epoch.0 });
        }
    }

    /// Whether the entry is in memory now: it is not if there was a purge.
    fn remember(&self, key: Key, entry: &Arc<Entry>, epoch: Epoch) -> bool {
        self.memory.insert(key, entry.clone());
        // After, because a purge counts itself before it looks.
        let kept = self.epoch().0 == epoch.0;
        if !kept {
            self.memory.take(&key);
        }
        kept
    }

    /// Removes what has expired from the disk. Blocks.
    pub fn sweep(&self) {
        if let Some((disk, _)) = &self.disk {
            disk.sweep();
        }
    }

    /// Writes what is to be on the disk and is not yet; nothing more is written
    /// after. Blocks.
    pub fn close(&self) {
        if let Some((_, writer)) = &self.disk {
            writer.close();
        }
    }

    /// Removes the entries that `filter` picks, from memory first; gives their
    /// number, each counted once. It walks over all entries: call it off the
    /// request path. Blocks.
    pub fn purge(&self, filter: &Filter) -> u64 {
        self.purges.fetch_add(1, Ordering::SeqCst);
        let is = |wanted: &Option<String>, value: &str| {
            wanted.as_deref().is_none_or(|wanted| wanted == value)
        };
        let chosen = |key: &Key, entry: &Entry| {
            is(&filter.account, &entry.account)
                && is(&filter.class, &entry.class)
                && is(&filter.model, &entry.model)
                && filter.key.as_deref().is_none_or(|wanted| *wanted == *key.to_hex())
        };
        let Some((disk, _)) = &self.disk else { return self.memory.remove(chosen) };
        disk.settle();
        let both = std::cell::Cell::new(0);
        let removed = self.memory.remove(|key, entry| {
            let chosen = chosen(key, entry);
            if chosen && disk.has(key) {
                both.set(both.get() + 1);
            }
            chosen
        });
        removed + disk.purge(filter).saturating_sub(both.get())
    }
}

/// The form in which a caller wants an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Whether the answer can be given in the other form.
    pub shape: Shape,
    /// Whether a stream is wanted.
    pub stream: bool,
    /// Whether a stream's usage is wanted.
    pub usage: bool,
}

/// The body of `entry` as it is wanted, and whether it is a stream. `None` if
/// it cannot be given so.
pub fn serve(entry: &Entry, wanted: Wanted) -> Option<(Bytes, bool)> {
    match &entry.answer {
        Answer::Whole(body) if wanted.stream && wanted.shape != Shape::Fixed => {
            replay::to_stream(wanted.shape, body, wanted.usage).map(|body| (body, true))
        }
        // Of other shapes, the form is part of the key.
        Answer::Whole(body) => Some((body.clone(), false)),
        Answer::Stream(stream) if wanted.stream && wanted.usage => {
            Some((stream.events.clone(), true))
        }
        Answer::Stream(stream) if wanted.stream => Some((stream.without_usage(), true)),
        Answer::Stream(stream) => {
            replay::to_whole(wanted.shape, &stream.events).map(|body| (body, false))
        }
    }
}
