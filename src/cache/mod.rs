//! The response cache: answers given before are given again to requests that
//! are the same in everything that can change an answer.
//!
//! Invariants: requests that differ in anything able to change the answer never
//! share an entry ([`key`]); only complete answers of status 200 are kept
//! ([`entry`]); nothing crosses accounts unless the class says `shared`; an
//! entry can be had before the last byte of the answer that made it is sent.

pub mod entry;
pub mod freshness;
pub mod key;
mod memory;
pub mod renewals;
pub mod replay;
pub mod steer;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::telemetry::metrics::Level;
use entry::{Answer, Entry, Recorder, Recordings};
use key::{Context, Fields, Key};
use memory::Memory;
use renewals::{Renewal, Renewals};
use replay::Shape;

/// The cache of a process.
#[derive(Debug)]
pub struct Cache {
    memory: Memory,
    recordings: Recordings,
    renewals: Renewals,
    secret: [u8; 32],
}

/// Bytes by tier.
pub type Sizes = BTreeMap<&'static str, u64>;

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
    /// An empty cache whose keys are hashed with `secret`; the bytes that it
    /// takes are shown in `level`.
    pub fn new(secret: [u8; 32], level: Level) -> Self {
        Self {
            memory: Memory::new(memory::BUDGET, level),
            recordings: Recordings::default(),
            renewals: Renewals::default(),
            secret,
        }
    }

    /// The key of a request, see [`key::key`].
    pub fn key(&self, context: &Context<'_>, body: &[u8], fields: Fields) -> Option<Key> {
        key::key(&self.secret, context, body, fields)
    }

    /// The entry of `key` if it may be of use at `now`, a monotonic moment; whether
    /// it may answer a request, [`freshness::judge`] says.
    pub fn get(&self, key: &Key, now: Duration) -> Option<Arc<Entry>> {
        self.memory.get(key, now)
    }

    /// Begins to renew the entry of `key`; `None` if somebody does.
    pub fn renew(&self, key: Key) -> Option<Renewal> {
        self.renewals.begin(key)
    }

    /// Bytes that the entries of each class take. It walks over all entries: call it
    /// off the request path.
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

    /// Keeps an answer; it can be had once this returns.
    pub fn insert(&self, key: Key, entry: Entry) {
        self.memory.insert(key, Arc::new(entry));
    }

    /// Removes the entries that `filter` picks; gives their number. It walks
    /// over all entries: call it off the request path.
    pub fn purge(&self, filter: &Filter) -> u64 {
        let is = |wanted: &Option<String>, value: &str| {
            wanted.as_deref().is_none_or(|wanted| wanted == value)
        };
        self.memory.remove(|key, entry| {
            is(&filter.account, &entry.account)
                && is(&filter.class, &entry.class)
                && is(&filter.model, &entry.model)
                && filter.key.as_deref().is_none_or(|wanted| *wanted == *key.to_hex())
        })
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
