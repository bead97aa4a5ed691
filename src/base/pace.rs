//! How long it takes until something of which there is a limited number comes
//! free: the basis of `retry-after` where no window says it.
//!
//! With `n` of them all taken and held for `h` on average, one comes free every
//! `h / n` (Little's law). So whoever has `ahead` others before it waits
//! `(ahead + 1) × h / n`; and if nothing has been taken or given back for longer
//! than that, at least as long again, because then the past is no guide any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::clock::Clock;

/// Shortest estimate.
const SHORTEST: Duration = Duration::from_secs(1);
/// Longest estimate.
const LONGEST: Duration = Duration::from_secs(60);
/// What a new value weighs in the mean: one part of so many.
const WEIGHT: u64 = 8;

/// The mean time that something is held: an exponentially weighted moving
/// average, in which the newest value weighs an eighth.
pub struct Pace {
    clock: Arc<dyn Clock>,
    /// Microseconds; 0 while nothing has been given back yet.
    mean: AtomicU64,
    /// When something was last taken or given back, in microseconds.
    last: AtomicU64,
}

impl Pace {
    /// A pace on `clock` that knows nothing yet.
    pub fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        let last = AtomicU64::new(micros(clock.monotonic()));
        Arc::new(Self { clock, mean: AtomicU64::new(0), last })
    }

    /// The time now.
    pub fn now(&self) -> Duration {
        self.clock.monotonic()
    }

    /// Something is taken; the moment is for [`Pace::ended`].
    pub fn began(&self) -> Duration {
        self.began_at(self.now())
    }

    /// The same, `now` being known.
    pub fn began_at(&self, now: Duration) -> Duration {
        self.last.store(micros(now), Ordering::Relaxed);
        now
    }

    /// What was taken at `since` is given back.
    pub fn ended(&self, since: Duration) {
        let now = self.now();
        self.last.store(micros(now), Ordering::Relaxed);
        let held = micros(now.saturating_sub(since));
        // Two that end at once may lose one of the values, which a mean can bear.
        let mean = match self.mean.load(Ordering::Relaxed) {
            0 => held,
            mean if held >= mean => mean.saturating_add((held - mean) / WEIGHT),
            mean => mean - (mean - held) / WEIGHT,
        };
        self.mean.store(mean, Ordering::Relaxed);
    }

    /// When one of `count`, which are all taken, can be expected by somebody who
    /// has `ahead` others before it: from 1 s to 60 s.
    pub fn expected(&self, ahead: u32, count: u32) -> Duration {
        let turns = u64::from(ahead).saturating_add(1);
        let mean = self.mean.load(Ordering::Relaxed);
        let wait = mean.saturating_mul(turns) / u64::from(count.max(1));
        let still = micros(self.now()).saturating_sub(self.last.load(Ordering::Relaxed));
        Duration::from_micros(wait.max(still)).clamp(SHORTEST, LONGEST)
    }
}

impl std::fmt::Debug for Pace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pace").field("mean", &self.mean).finish_non_exhaustive()
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::{TestClock, Timestamp};

    fn pace() -> (Arc<Pace>, Arc<TestClock>) {
        let clock = Arc::new(TestClock::at(Timestamp(0)));
        (Pace::new(clock.clone()), clock)
    }

    #[test]
    fn the_wait_is_that_of_a_slot_times_those_ahead() {
        let (pace, clock) = pace();
        let since = pace.began();
        clock.advance(Duration::from_secs(8));
        pace.ended(since);
        assert_eq!(pace.expected(0, 1), Duration::from_secs(8));
        assert_eq!(pace.expected(3, 2), Duration::from_secs(16));
        assert_eq!(pace.expected(0, 500), SHORTEST);
        assert_eq!(pace.expected(1_000, 2), LONGEST);
        assert_eq!(pace.expected(0, 0), Duration::from_secs(8));
    }

    #[test]
    fn the_newest_value_weighs_an_eighth() {
        let (pace, clock) = pace();
        for (held, mean) in [(8, 8_000_000), (16, 9_000_000), (1, 8_000_000)] {
            let since = pace.began();
            clock.advance(Duration::from_secs(held));
            pace.ended(since);
            assert_eq!(pace.mean.load(Ordering::Relaxed), mean);
        }
    }

    #[test]
    fn a_standstill_is_expected_to_last_as_long_again() {
        let (pace, clock) = pace();
        assert_eq!(pace.expected(0, 1), SHORTEST);
        let _since = pace.began();
        clock.advance(Duration::from_secs(20));
        assert_eq!(pace.expected(0, 1), Duration::from_secs(20));
        clock.advance(Duration::from_secs(2_000));
        assert_eq!(pace.expected(0, 1), LONGEST);
    }
}
