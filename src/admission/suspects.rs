//! The request windows of every address, in constant memory.
//!
//! A sketch sees every admission and never says too little. While it says less
//! than half of each limit, the address is innocent and nothing is kept for it.
//! An address above that is a suspect: it gets exact windows, which begin at
//! zero, in a map of bounded size. So with room in the map an address within its
//! limit is never refused, and never are more than 1.5 × the limit admitted: the
//! innocent half at most, and what the exact windows let through. With the map
//! full, the sketch's figure decides.
//!
//! Everything about one address happens under the lock of its shard.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Duration;

use parking_lot::Mutex;

use super::sketch::{self, Sketch};
use super::windows::{Refusal, Standing, Window, WindowLimits, Windows};
use crate::base::network::AddressKey;

/// Parts with a lock of their own.
const SHARDS: usize = 64;
/// How often a full shard is searched for suspects that are none any more.
const SEARCH: Duration = Duration::from_secs(1);

/// The windows of every address.
pub(super) struct AddressWindows<const N: usize> {
    windows: [Window; N],
    sketch: Sketch<N>,
    /// Of the sketch's places, and of the shards.
    hasher: ahash::RandomState,
    shards: [Mutex<Shard<N>>; SHARDS],
    /// Suspects that a shard may hold.
    room: usize,
}

struct Shard<const N: usize> {
    suspects: HashMap<AddressKey, Suspect<N>, ahash::RandomState>,
    searched: Duration,
}

struct Suspect<const N: usize> {
    /// When its exact windows began; what was taken before is not in them.
    since: Duration,
    windows: Windows<N>,
}

/// One admission of an address.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    key: AddressKey,
    at: Duration,
    /// The moment of it in the exact windows, where it is in them.
    exact: Option<Duration>,
    /// Whether the sketch decided alone since the map was full.
    pub(super) guessed: bool,
}

/// Why an address may not ask now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Over {
    /// Which window is full.
    pub(super) refusal: Refusal,
    /// Whether the sketch decided alone since the map was full.
    pub(super) guessed: bool,
}

impl<const N: usize> AddressWindows<N> {
    /// No admission yet, in these windows, the shortest first. See [`Sketch`]
    /// about `width`; `room` is the number of suspects.
    pub(super) fn new(windows: [Window; N], width: usize, room: usize) -> Self {
        let shard = || Shard { suspects: HashMap::default(), searched: Duration::ZERO };
        Self {
            windows,
            sketch: Sketch::new(windows, width),
            hasher: ahash::RandomState::new(),
            shards: std::array::from_fn(|_| Mutex::new(shard())),
            room: room.div_ceil(SHARDS),
        }
    }

    /// Takes one request of `key` at `now` in all windows, or in none.
    pub(super) fn take(
        &self,
        key: AddressKey,
        now: Duration,
        limits: &WindowLimits,
    ) -> Result<Taken, Over> {
        let hash = self.hasher.hash_one(key);
        let mut taken = Taken { key, at: now, exact: None, guessed: false };
        let Some(shard) = self.shard(hash) else { return Ok(taken) };
        let mut shard = shard.lock();
        let estimate = self.sketch.estimate(hash, now);
        let innocent = estimate
            .iter()
            .zip(self.windows)
            .all(|(&estimate, window)| estimate < proof(limits.of(window)));
        if !innocent {
            match shard.suspect(key, now, self.windows, self.room) {
                Some(suspect) => {
                    let stood = suspect.windows.take(now, limits);
                    let stood = stood.map_err(|refusal| Over { refusal, guessed: false })?;
                    taken.exact = Some(stood.at);
                }
                None => {
                    taken.guessed = true;
                    if let Some(refusal) = self.guess(hash, now, limits) {
                        return Err(Over { refusal, guessed: true });
                    }
                }
            }
        }
        self.sketch.add(hash, now);
        Ok(taken)
    }

    /// Undoes one `take`: a request that is refused later consumes nothing.
    pub(super) fn give_back(&self, taken: &Taken) {
        let hash = self.hasher.hash_one(taken.key);
        let Some(shard) = self.shard(hash) else { return };
        let mut shard = shard.lock();
        self.sketch.remove(hash, taken.at);
        if let Some(at) = taken.exact
            && let Some(suspect) = shard.suspects.get_mut(&taken.key)
            && suspect.since <= taken.at
        {
            suspect.windows.give_back(at);
        }
    }

    /// Forgets the suspects whose windows are empty at `now`; returns how many.
    /// Locks one shard at a time.
    pub(super) fn sweep(&self, now: Duration) -> usize {
        self.shards.iter().map(|shard| shard.lock().sweep(now)).sum()
    }

    /// Addresses that have exact windows.
    pub(super) fn suspects(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().suspects.len()).sum()
    }

    /// Always present: the remainder is below the number of shards.
    fn shard(&self, hash: u64) -> Option<&Mutex<Shard<N>>> {
        let part = (hash ^ (hash >> 32)) % SHARDS as u64;
        self.shards.get(usize::try_from(part).unwrap_or(0))
    }

    /// The refusal where the sketch's figure is at a limit.
    fn guess(&self, hash: u64, now: Duration, limits: &WindowLimits) -> Option<Refusal> {
        let parts = self.sketch.parts(hash, now).into_iter().zip(self.windows);
        let full = parts.filter_map(|((before, current), window)| {
            let limit = limits.of(window);
            // A figure that the sketch cannot count up to is never reached.
            if before + current < limit || limit > sketch::LARGEST {
                return None;
            }
            let until_next = sketch::window_end(window, now).saturating_sub(now);
            // At the end of the fixed window the one before it leaves the sum;
            // at the next end this one does.
            let later = if current < limit { Duration::ZERO } else { window.length() };
            Some((until_next + later, window, limit))
        });
        let (retry_after, window, limit) = full.max_by_key(|(wait, ..)| *wait)?;
        let standing = Standing { at: now, window, limit, remaining: 0, reset: retry_after };
        Some(Refusal { window, limit, retry_after, standing })
    }

    /// Bytes of the sketch.
    #[cfg(test)]
    pub(super) fn sketch_bytes(&self) -> usize {
        self.sketch.bytes()
    }

    /// Bytes of the suspects, those on the heap included.
    #[cfg(test)]
    pub(super) fn suspect_bytes(&self) -> usize {
        let of = |shard: &Mutex<Shard<N>>| {
            let shard = shard.lock();
            let entry = size_of::<(AddressKey, Suspect<N>)>() + 1;
            let heap = shard.suspects.values().map(|suspect| suspect.windows.heap_bytes());
            shard.suspects.capacity() * entry + heap.sum::<usize>()
        };
        self.shards.iter().map(of).sum()
    }
}

impl<const N: usize> Shard<N> {
    /// The suspect `key`, made one where there is room.
    fn suspect(
        &mut self,
        key: AddressKey,
        now: Duration,
        windows: [Window; N],
        room: usize,
    ) -> Option<&mut Suspect<N>> {
        let is_full = self.suspects.len() >= room && !self.suspects.contains_key(&key);
        if is_full && (now < self.searched + SEARCH || self.sweep(now) == 0) {
            return None;
        }
        Some(match self.suspects.entry(key) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                place.insert(Suspect { since: now, windows: Windows::over(windows) })
            }
        })
    }

    fn sweep(&mut self, now: Duration) -> usize {
        self.searched = self.searched.max(now);
        let before = self.suspects.len();
        self.suspects.retain(|_, suspect| !suspect.windows.is_empty(now));
        if self.suspects.capacity() > 64 && self.suspects.capacity() > self.suspects.len() * 4 {
            self.suspects.shrink_to_fit();
        }
        before - self.suspects.len()
    }
}

/// The estimate below which an address is innocent under `limit`.
const fn proof(limit: u32) -> u32 {
    // Nobody is over no limit; and a count that the sketch cannot tell from
    // larger ones proves nothing.
    if limit == u32::MAX {
        u32::MAX
    } else if limit / 2 < sketch::LARGEST / 2 {
        limit / 2
    } else {
        sketch::LARGEST / 2
    }
}

#[cfg(test)]
mod tests;
