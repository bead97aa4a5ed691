//! How a provider fares, as far as its calls show it: its breaker, what rests, how
//! long it takes, and how much may be tried again because of it.
//!
//! It is learned from calls alone, asks no clock and takes no lock on the way of a
//! request: while all is well a look is two loads.

use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::config::BreakerRule;
use crate::route::breaker::{Breaker, Change, State};
use crate::route::budget::Budget;

/// Models are told apart by a hash of so many values; models that share one rest
/// together.
const SLOTS: usize = 64;
/// A time that it takes to answer counts half after so long without a newer one, so
/// that a target that was slow is asked again.
const HALF_LIFE: Duration = Duration::from_secs(10);
/// So many probes in a row must fail to open the breaker.
const PROBES: u32 = 3;
/// What a new time weighs in the mean: one part of so many.
const WEIGHT: u64 = 8;

/// One model at one provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(usize);

impl Slot {
    /// The slot of the model that the provider calls `model`: FNV-1a, whose high bits a
    /// multiplication by the golden ratio mixes (Knuth).
    pub fn of(model: &str) -> Self {
        let hash = model.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        let mixed = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        Self((usize::try_from(mixed).unwrap_or(0) * SLOTS) >> 32)
    }
}

/// How a provider fares.
#[derive(Debug)]
pub struct Health {
    /// Its breaker.
    pub breaker: Breaker,
    /// What may be tried again because it failed.
    pub budget: Budget,
    keys: Box<[Key]>,
    /// The key whose turn it is.
    turn: AtomicUsize,
    /// When the last rest of any key ends, in milliseconds.
    resting_until: AtomicU64,
    pace: [Pace; SLOTS],
    running: AtomicU32,
    /// Probes that have failed since one has not.
    failed_probes: AtomicU32,
}

/// When one key may be used again, in milliseconds.
#[derive(Debug)]
struct Key {
    /// For any model.
    whole: AtomicU64,
    /// For each model.
    slots: [AtomicU64; SLOTS],
}

/// How long a model takes to begin its answer.
#[derive(Debug, Default)]
struct Pace {
    /// Microseconds; 0 is not known.
    mean: AtomicU64,
    /// When it was last measured, in milliseconds.
    measured: AtomicU64,
}

/// How far a key rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// For one model.
    Model(Slot),
    /// For all.
    Whole,
}

/// Whether a target can be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Yes.
    Usable,
    /// As a trial.
    HalfOpen,
    /// Its breaker is open.
    Open,
    /// Every key rests.
    Resting,
}

/// Counts a call as running until dropped.
#[derive(Debug)]
pub struct Running<'h>(&'h AtomicU32);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Health {
    /// A provider with so many keys, of which nothing is known; one without any has
    /// one that is empty.
    pub fn new(keys: usize) -> Self {
        let key = |_| Key { whole: AtomicU64::new(0), slots: [const { AtomicU64::new(0) }; SLOTS] };
        Self {
            breaker: Breaker::default(),
            budget: Budget::default(),
            keys: (0..keys.max(1)).map(key).collect(),
            turn: AtomicUsize::new(0),
            resting_until: AtomicU64::new(0),
            pace: std::array::from_fn(|_| Pace::default()),
            running: AtomicU32::new(0),
            failed_probes: AtomicU32::new(0),
        }
    }

    /// Whether the model of `slot` can be called now, with the first key alone if it
    /// is `pinned` to that.
    pub fn standing(&self, slot: Slot, pinned: bool, now: Duration) -> Standing {
        if self.rests(now) && !self.any_awake(slot, pinned, now) {
            return Standing::Resting;
        }
        match self.breaker.state(now) {
            State::Closed => Standing::Usable,
            State::HalfOpen => Standing::HalfOpen,
            State::Open => Standing::Open,
        }
    }

    /// The key to use for the model of `slot`: the next in turn that does not rest,
    /// else the one whose turn it is.
    pub fn key(&self, slot: Slot, now: Duration) -> usize {
        let count = self.keys.len();
        if count == 1 {
            return 0;
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let in_turn = (0..count).map(|next| turn.wrapping_add(next) % count);
        if !self.rests(now) {
            return turn % count;
        }
        let at = millis(now);
        let awake = |place: &usize| self.keys.get(*place).is_some_and(|key| key.until(slot) <= at);
        in_turn.clone().find(awake).unwrap_or(turn % count)
    }

    /// Lets key number `key` rest until then; whether it did not rest yet.
    pub fn rest(&self, key: usize, rest: Rest, until: Duration, now: Duration) -> bool {
        let Some(key) = self.keys.get(key) else { return false };
        let cell = match rest {
            Rest::Whole => &key.whole,
            Rest::Model(slot) => match key.slots.get(slot.0) {
                Some(cell) => cell,
                None => return false,
            },
        };
        // Up: at the given moment, and not before it.
        let until = millis(until.saturating_add(Duration::from_micros(999)));
        let before = cell.fetch_max(until, Ordering::AcqRel);
        self.resting_until.fetch_max(until, Ordering::AcqRel);
        before <= millis(now)
    }

    /// Key number `key` was accepted for the model of `slot`.
    pub fn accepted(&self, key: usize, slot: Slot, now: Duration) {
        if self.rests(now)
            && let Some(key) = self.keys.get(key)
        {
            key.whole.store(0, Ordering::Release);
            if let Some(cell) = key.slots.get(slot.0) {
                cell.store(0, Ordering::Release);
            }
        }
    }

    /// Until when each key rests for all models, and until when for any, where that
    /// is later than `now`.
    pub fn keys(
        &self,
        now: Duration,
    ) -> impl Iterator<Item = (Option<Duration>, Option<Duration>)> {
        let later =
            move |until: u64| Some(Duration::from_millis(until)).filter(|until| *until > now);
        self.keys.iter().map(move |key| {
            let slots = key.slots.iter().map(|cell| cell.load(Ordering::Relaxed)).max();
            (later(key.whole.load(Ordering::Relaxed)), later(slots.unwrap_or(0)))
        })
    }

    /// The model of `slot` took so long to begin its answer.
    ///
    /// The mean follows a slower one at once and a faster one by an eighth: peak
    /// EWMA, as in Finagle's load balancer.
    pub fn took(&self, slot: Slot, span: Duration, now: Duration) {
        let Some(pace) = self.pace.get(slot.0) else { return };
        let new = u64::try_from(span.as_micros()).unwrap_or(u64::MAX).max(1);
        let mean = pace.mean(now);
        let mean = if new >= mean { new } else { mean - (mean - new) / WEIGHT };
        // Two at once may lose one, which a mean can bear.
        pace.mean.store(mean, Ordering::Relaxed);
        pace.measured.store(millis(now), Ordering::Relaxed);
    }

    /// How loaded the model of `slot` is: how long it takes, for as many calls as run
    /// and one more. 0 if it is not known.
    pub fn load(&self, slot: Slot, now: Duration) -> u64 {
        let mean = self.pace.get(slot.0).map_or(0, |pace| pace.mean(now));
        mean.saturating_mul(u64::from(self.running()) + 1)
    }

    /// How long the slowest of its models takes to begin an answer, as far as it is
    /// known.
    pub fn latency(&self, now: Duration) -> Option<Duration> {
        let slowest = self.pace.iter().map(|pace| pace.mean(now)).max().filter(|mean| *mean > 0);
        slowest.map(Duration::from_micros)
    }

    /// A probe has ended. Three that fail in a row open the breaker, and each further
    /// one keeps it open; one that does not fail closes what probes have opened. What
    /// calls have opened is closed by calls alone: a server that lists its models may
    /// still fail to run them.
    pub fn probed(&self, failed: bool, rule: &BreakerRule, now: Duration) -> Change {
        if failed {
            let before = self.failed_probes.fetch_add(1, Ordering::AcqRel);
            return if before + 1 < PROBES { Change::None } else { self.breaker.trip(rule, now) };
        }
        let before = self.failed_probes.swap(0, Ordering::AcqRel);
        if before < PROBES { Change::None } else { self.breaker.reset() }
    }

    /// Calls that run.
    pub fn running(&self) -> u32 {
        self.running.load(Ordering::Relaxed)
    }

    /// A call begins.
    pub fn begin(&self) -> Running<'_> {
        self.running.fetch_add(1, Ordering::Relaxed);
        Running(&self.running)
    }

    /// Whether key number `key` rests for the model of `slot`.
    pub fn is_resting(&self, key: usize, slot: Slot, now: Duration) -> bool {
        self.rests(now) && self.keys.get(key).is_some_and(|key| key.until(slot) > millis(now))
    }

    fn rests(&self, now: Duration) -> bool {
        self.resting_until.load(Ordering::Acquire) > millis(now)
    }

    fn any_awake(&self, slot: Slot, pinned: bool, now: Duration) -> bool {
        let count = if pinned { 1 } else { self.keys.len() };
        self.keys.iter().take(count).any(|key| key.until(slot) <= millis(now))
    }
}

impl Key {
    fn until(&self, slot: Slot) -> u64 {
        let model = self.slots.get(slot.0).map_or(0, |cell| cell.load(Ordering::Acquire));
        self.whole.load(Ordering::Acquire).max(model)
    }
}

impl Pace {
    /// Halved for each [`HALF_LIFE`] that has passed.
    fn mean(&self, now: Duration) -> u64 {
        let age = millis(now).saturating_sub(self.measured.load(Ordering::Relaxed));
        let halves = u32::try_from(age / millis(HALF_LIFE)).unwrap_or(u32::MAX);
        self.mean.load(Ordering::Relaxed).checked_shr(halves).unwrap_or(0)
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(86_400 + seconds)
    }

    #[test]
    fn keys_are_used_in_turn_and_one_that_rests_is_passed_over() {
        let (health, slot) = (Health::new(3), Slot::of("m"));
        let used =
            |count: usize, now| (0..count).map(|_| health.key(slot, now)).collect::<Vec<_>>();
        assert_eq!(used(4, secs(0)), [0, 1, 2, 0]);
        assert!(health.rest(1, Rest::Model(slot), secs(5), secs(0)));
        assert!(!health.rest(1, Rest::Model(slot), secs(3), secs(0)), "it rests already");
        assert!(!used(12, secs(4)).contains(&1));
        assert_eq!(health.standing(slot, false, secs(4)), Standing::Usable);
        assert!(used(3, secs(5)).contains(&1));
    }

    #[test]
    fn a_target_rests_when_all_its_keys_do_and_no_other_model_with_it() {
        let (health, slot, other) = (Health::new(2), Slot::of("m"), Slot::of("n"));
        assert_ne!(slot, other);
        health.rest(0, Rest::Model(slot), secs(5), secs(0));
        assert_eq!(health.standing(slot, true, secs(0)), Standing::Resting);
        assert_eq!(health.standing(slot, false, secs(0)), Standing::Usable);
        health.rest(1, Rest::Model(slot), secs(9), secs(0));
        assert_eq!(health.standing(slot, false, secs(4)), Standing::Resting);
        assert_eq!(health.standing(other, false, secs(4)), Standing::Usable);
        assert_eq!(health.standing(slot, false, secs(5)), Standing::Usable);
    }

    #[test]
    fn a_refused_key_rests_for_all_models_until_it_is_accepted() {
        let (health, slot) = (Health::new(1), Slot::of("m"));
        health.rest(0, Rest::Whole, secs(600), secs(0));
        assert_eq!(health.standing(Slot::of("n"), false, secs(1)), Standing::Resting);
        assert_eq!(health.keys(secs(1)).next(), Some((Some(secs(600)), None)));
        health.accepted(0, slot, secs(1));
        assert_eq!(health.standing(Slot::of("n"), false, secs(1)), Standing::Usable);
    }

    #[test]
    fn probes_open_the_breaker_and_close_what_they_have_opened() {
        let rule = BreakerRule {
            calls: 1,
            minimum: 1,
            failures: "1".parse().unwrap(),
            open: Duration::from_secs(10),
            forget: Duration::from_secs(60),
        };
        let health = Health::new(1);
        let probed = |failed, now| health.probed(failed, &rule, secs(now));
        assert_eq!((probed(true, 0), probed(true, 1)), (Change::None, Change::None));
        assert_eq!((probed(true, 2), probed(true, 9)), (Change::Opened, Change::Reopened));
        assert_eq!(health.breaker.state(secs(12)), State::Open, "as long again");
        assert_eq!(probed(false, 13), Change::Closed);
        let breaker = &health.breaker;
        assert_eq!(breaker.note(breaker.enter(secs(14)), true, &rule, secs(14)), Change::Opened);
        assert_eq!(probed(false, 15), Change::None);
        assert_eq!(breaker.state(secs(15)), State::Open, "it was opened by a call");
    }

    #[test]
    fn the_mean_rises_at_once_and_sinks_slowly() {
        let (health, slot) = (Health::new(1), Slot::of("m"));
        let took = |ms| health.took(slot, Duration::from_millis(ms), secs(0));
        let load = |now| health.load(slot, now);
        assert_eq!(load(secs(0)), 0);
        took(80);
        took(160);
        assert_eq!(load(secs(0)), 160_000);
        took(80);
        assert_eq!(load(secs(0)), 150_000);
        let running = health.begin();
        assert_eq!(load(secs(0)), 300_000);
        drop(running);
        assert_eq!(load(secs(10)), 75_000);
        assert_eq!(
            (load(secs(86_400)), health.latency(secs(0))),
            (0, Some(Duration::from_millis(150)))
        );
    }
}
