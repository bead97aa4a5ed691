//! The tokens of one account in any minute: a sliding window of weighted entries.
//!
//! A request reserves what it is expected to use and is settled later on what it
//! used, or gives all back. Either way its weight counts at the moment of the
//! reservation and nowhere else. Invariant: at every admission the weights of the
//! last 60 s, this reservation included, are at most the limit; so in no interval
//! of 60 s, wherever it begins, is more than the limit reserved. What a
//! settlement adds beyond its reservation delays those that follow.
//!
//! Entries are kept one by one, which is exact, until there are 64 of different
//! moments. Then those of the same sixtieth of the window become one entry at
//! the moment of their last, so that nothing is forgotten early and nothing is
//! held more than a sixtieth late. Moments are ticks of a microsecond: an entry's
//! is rounded up and the present down, which never forgets early either.

use std::collections::VecDeque;
use std::time::Duration;

/// Entries that are kept; each takes 8 bytes.
const ENTRIES: usize = 64;
/// Nanoseconds in a tick.
const TICK: u64 = 1_000;
/// The window's length, 60 s, in ticks.
const LENGTH: u64 = 60_000_000;
/// A sixtieth of it.
const CELL: u64 = LENGTH / 60;

/// The tokens that one account has reserved or used in the last 60 s.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenWindow {
    /// Oldest first, no two of one moment, none without weight.
    entries: VecDeque<Entry>,
    /// The weights of `entries`.
    sum: u64,
    /// The newest moment seen, in ticks rounded up. No entry is later.
    newest: u64,
    /// Every entry before this tick has left the window.
    gone: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    /// The low 32 bits of its tick.
    mark: u32,
    /// Tokens. The largest number stands for all that is beyond, which no limit
    /// allows, and stays until it leaves.
    weight: u32,
}

/// What a request has reserved. It is not given back by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a reservation counts until it is settled"]
pub struct Reservation {
    /// The tick that it counts at.
    at: u64,
    /// Tokens, at least 1.
    weight: u32,
    /// The limit at that time.
    limit: u32,
}

/// Where an account stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenStanding {
    /// Tokens in any 60 s.
    pub limit: u32,
    /// Tokens that may still be reserved.
    pub remaining: u32,
    /// How long until the window is empty if nothing else comes.
    pub reset: Duration,
}

/// Why tokens were not reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokensDenied {
    /// The window is too full.
    #[error("the limit of {} tokens per minute is used up", .standing.limit)]
    Full {
        /// The same request this much later is admitted if nothing else comes
        /// before it.
        retry_after: Duration,
        /// Where the account stands.
        standing: TokenStanding,
    },
    /// The request alone is larger than the limit: it never fits.
    #[error("the request alone is over the limit of {} tokens per minute", .standing.limit)]
    TooLarge {
        /// Where the account stands.
        standing: TokenStanding,
    },
}

impl TokensDenied {
    /// Where the account stands.
    pub const fn standing(&self) -> &TokenStanding {
        match self {
            Self::Full { standing, .. } | Self::TooLarge { standing } => standing,
        }
    }
}

impl Reservation {
    /// The limit that it was made under.
    pub const fn limit(&self) -> u32 {
        self.limit
    }
}

impl TokenWindow {
    /// Reserves `tokens`, one at the least, at `now` (of the monotonic clock)
    /// under `limit`.
    ///
    /// # Errors
    /// [`TokensDenied`]; nothing is then reserved.
    pub fn reserve(
        &mut self,
        now: Duration,
        limit: u32,
        tokens: u64,
    ) -> Result<Reservation, TokensDenied> {
        self.advance(now);
        let fits = u32::try_from(tokens.max(1)).ok().filter(|weight| *weight <= limit);
        let Some(weight) = fits else {
            return Err(TokensDenied::TooLarge { standing: self.figures(now, limit) });
        };
        if let Some(retry_after) = self.wait(now, u64::from(limit - weight)) {
            let standing = self.figures(now, limit);
            return Err(TokensDenied::Full { retry_after, standing });
        }
        // A clock that was read before another's counts at the later moment.
        let at = self.newest;
        self.insert(at, weight);
        Ok(Reservation { at, weight, limit })
    }

    /// Puts the `tokens` that were really used in the place of a reservation; 0
    /// gives all back. Call it once for each.
    pub fn settle(&mut self, reservation: Reservation, tokens: u64) {
        let Reservation { at, weight, .. } = reservation;
        if at < self.gone {
            return;
        }
        let newest = self.newest;
        // Its entry is the first that is not before it: entries that have become
        // one stand at the moment of their last, and none lies between.
        let place = self.entries.partition_point(|entry| whole(newest, entry.mark) < at);
        let Some(entry) = self.entries.get_mut(place) else { return };
        let used = u32::try_from(tokens).unwrap_or(u32::MAX);
        let after = match entry.weight {
            u32::MAX => u32::MAX,
            before => before.saturating_sub(weight).saturating_add(used),
        };
        self.sum = self.sum - u64::from(entry.weight) + u64::from(after);
        entry.weight = after;
        // Whoever still has a reservation in an entry gives it weight.
        if after == 0 {
            self.entries.remove(place);
        }
    }

    /// Counts tokens that were used at `at`, for rebuilding from the journal. Any
    /// order will do, before the first reservation.
    pub fn restore(&mut self, at: Duration, tokens: u64) {
        self.advance(at);
        let tick = ticks_up(at);
        let expired = tick < self.gone || tick + LENGTH < self.newest;
        if !expired && tokens > 0 {
            self.insert(tick, u32::try_from(tokens).unwrap_or(u32::MAX));
        }
    }

    /// Where the account stands at `now`.
    pub fn standing(&mut self, now: Duration, limit: u32) -> TokenStanding {
        self.advance(now);
        self.figures(now, limit)
    }

    /// Whether nothing counts any more at `now`.
    pub fn is_empty(&mut self, now: Duration) -> bool {
        self.advance(now);
        self.entries.is_empty()
    }

    /// Forgets what has left the window at `now`. An earlier `now` than before
    /// changes nothing.
    fn advance(&mut self, now: Duration) {
        let newest = self.newest;
        if let Some(horizon) = ticks_down(now).checked_sub(LENGTH) {
            while let Some(entry) = self.entries.front()
                && whole(newest, entry.mark) <= horizon
            {
                self.gone = whole(newest, entry.mark) + 1;
                self.sum -= u64::from(entry.weight);
                self.entries.pop_front();
            }
        }
        self.newest = newest.max(ticks_up(now));
    }

    fn insert(&mut self, tick: u64, weight: u32) {
        let newest = self.newest;
        let place = self.entries.partition_point(|entry| whole(newest, entry.mark) < tick);
        if let Some(entry) = self.entries.get_mut(place).filter(|entry| entry.mark == low(tick)) {
            let together = entry.weight.saturating_add(weight);
            self.sum += u64::from(together - entry.weight);
            entry.weight = together;
            return;
        }
        self.sum += u64::from(weight);
        self.entries.insert(place, Entry { mark: low(tick), weight });
        if self.entries.len() == ENTRIES {
            self.thin();
        }
    }

    /// Makes one entry of those in the same sixtieth: at most 61 are left.
    fn thin(&mut self) {
        let newest = self.newest;
        let cell = |entry: &Entry| whole(newest, entry.mark) / CELL;
        let mut entries = Vec::from(std::mem::take(&mut self.entries));
        entries.dedup_by(|next, last| {
            let joined = cell(last) == cell(next);
            if joined {
                let weight = last.weight.saturating_add(next.weight);
                *last = Entry { mark: next.mark, weight };
            }
            joined
        });
        self.sum = entries.iter().map(|entry| u64::from(entry.weight)).sum();
        self.entries = entries.into();
    }

    /// How long after `now` at most `room` tokens count if nothing else comes;
    /// `None` where it is so already.
    fn wait(&self, now: Duration, room: u64) -> Option<Duration> {
        let mut surplus = self.sum.checked_sub(room).filter(|surplus| *surplus > 0)?;
        let last = self.entries.iter().find(|entry| {
            surplus = surplus.saturating_sub(u64::from(entry.weight));
            surplus == 0
        });
        last.map(|entry| self.until_gone(entry.mark, now))
    }

    fn figures(&self, now: Duration, limit: u32) -> TokenStanding {
        let used = u32::try_from(self.sum).unwrap_or(u32::MAX);
        let last = self.entries.back();
        TokenStanding {
            limit,
            remaining: limit.saturating_sub(used),
            reset: last.map_or(Duration::ZERO, |entry| self.until_gone(entry.mark, now)),
        }
    }

    /// Time from `now` until `mark` has left the window.
    fn until_gone(&self, mark: u32, now: Duration) -> Duration {
        let gone = Duration::from_nanos((whole(self.newest, mark) + LENGTH) * TICK);
        gone.saturating_sub(now)
    }

    /// Bytes held on the heap.
    #[cfg(test)]
    fn heap_bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>()
    }
}

/// The tick whose low half is `mark`: the latest one that is not after `newest`.
fn whole(newest: u64, mark: u32) -> u64 {
    newest.saturating_sub(u64::from(low(newest).wrapping_sub(mark)))
}

/// The low half of a tick.
#[expect(clippy::cast_possible_truncation, reason = "the low half is what is wanted")]
const fn low(tick: u64) -> u32 {
    tick as u32
}

/// Whole ticks up to `moment`.
fn ticks_down(moment: Duration) -> u64 {
    u64::try_from(moment.as_nanos()).unwrap_or(u64::MAX) / TICK
}

/// The first tick that is not before `moment`.
fn ticks_up(moment: Duration) -> u64 {
    u64::try_from(moment.as_nanos()).unwrap_or(u64::MAX).div_ceil(TICK)
}

#[cfg(test)]
mod tests;
