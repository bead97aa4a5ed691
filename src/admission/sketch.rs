//! How much has come from each address lately, in constant memory, never too
//! little: a count-min sketch (Cormode and Muthukrishnan, "An improved data
//! stream summary: the count-min sketch and its applications", Journal of
//! Algorithms 55, 2005) over two adjacent fixed windows, as Pingora's limiter
//! has it over one.
//!
//! A fixed window and the one before it cover any sliding window that ends now,
//! so their sum is never below the true count; addresses that share counters
//! can only add to it. Both counts and the number of their window are one
//! atomic word, so a window that is over costs no sweep: a counter is reset by
//! the first who comes to it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::windows::Window;

/// Independent rows; an estimate is the least of them.
const ROWS: usize = 4;
/// Widest row: an address's places are the four 16-bit parts of one hash.
pub(super) const WIDEST: usize = 1 << 16;
/// Largest count of a fixed window that is told apart from larger ones.
pub(super) const LARGEST: u32 = (1 << 24) - 1;

/// Counts in `N` windows.
pub(super) struct Sketch<const N: usize> {
    windows: [Window; N],
    width: usize,
    /// All rows, one after the other. The windows of a place lie side by side,
    /// so that a look touches one cache line a row.
    places: Box<[[AtomicU64; N]]>,
}

/// What a counter holds: the low 16 bits of its window's number, the count of
/// that window and the count of the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pair {
    number: u16,
    before: u32,
    now: u32,
}

impl<const N: usize> Sketch<N> {
    /// Zero everywhere. `width`, a power of two up to [`WIDEST`], is the number
    /// of places a row: memory is 32 bytes × `width` × `N`.
    pub(super) fn new(windows: [Window; N], width: usize) -> Self {
        let width = width.next_power_of_two().min(WIDEST);
        let places = (0..ROWS * width).map(|_| [const { AtomicU64::new(0) }; N]).collect();
        Self { windows, width, places }
    }

    /// For each window, at least the additions under `hash` in any interval of
    /// its length that ends at `now`.
    pub(super) fn estimate(&self, hash: u64, now: Duration) -> [u32; N] {
        self.parts(hash, now).map(|(before, current)| before + current)
    }

    /// [`Sketch::estimate`] in its two parts: the fixed window before, and the
    /// current one.
    pub(super) fn parts(&self, hash: u64, now: Duration) -> [(u32, u32); N] {
        let mut least = [(LARGEST, LARGEST); N];
        for place in self.places(hash) {
            for ((least, counter), window) in least.iter_mut().zip(place).zip(self.windows) {
                let pair = Pair::from(counter.load(Ordering::Relaxed)).at(number(window, now));
                if pair.before + pair.now < least.0 + least.1 {
                    *least = (pair.before, pair.now);
                }
            }
        }
        least
    }

    /// Counts one more under `hash`.
    pub(super) fn add(&self, hash: u64, now: Duration) {
        self.change(hash, now, Pair::plus_one);
    }

    /// Takes back one that was added at `at`.
    pub(super) fn remove(&self, hash: u64, at: Duration) {
        self.change(hash, at, Pair::less_one);
    }

    fn change(&self, hash: u64, at: Duration, change: impl Fn(Pair, u16) -> Pair) {
        for place in self.places(hash) {
            for (counter, window) in place.iter().zip(self.windows) {
                let number = number(window, at);
                let changed = |word| Some(change(Pair::from(word), number).into());
                // It never declines, so it never fails.
                let _before = counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, changed);
            }
        }
    }

    fn places(&self, hash: u64) -> impl Iterator<Item = &[AtomicU64; N]> {
        let mask = self.width - 1;
        (0..ROWS).filter_map(move |row| {
            let part = usize::try_from((hash >> (16 * row)) & 0xffff).unwrap_or(0);
            self.places.get(row * self.width + (part & mask))
        })
    }

    /// Bytes that it holds.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.places)
    }
}

impl Pair {
    /// How many windows `number` is after this one, or how many before: counters
    /// are told apart over 32,767 windows (22 days of minutes). One that was not
    /// touched for longer may count as current, which only adds to an estimate.
    #[expect(clippy::cast_possible_wrap, reason = "a difference of numbers that wrap")]
    const fn age(self, number: u16) -> i16 {
        number.wrapping_sub(self.number) as i16
    }

    /// What it says at window `number`.
    const fn at(self, number: u16) -> Self {
        match self.age(number) {
            // Another thread has seen the window end: so it has.
            -1 | 0 => self,
            1 => Self { number, before: self.now, now: 0 },
            _ => Self { number, before: 0, now: 0 },
        }
    }

    /// With one more in window `number`.
    fn plus_one(self, number: u16) -> Self {
        let more = |count: u32| (count + 1).min(LARGEST);
        if self.age(number) == -1 {
            return Self { before: more(self.before), ..self };
        }
        let current = self.at(number);
        Self { now: more(current.now), ..current }
    }

    /// With one less in window `number`, if that still counts.
    fn less_one(self, number: u16) -> Self {
        match self.age(number) {
            0 => Self { now: self.now.saturating_sub(1), ..self },
            -1 => Self { before: self.before.saturating_sub(1), ..self },
            _ => self,
        }
    }
}

impl From<u64> for Pair {
    #[expect(clippy::cast_possible_truncation, reason = "each part is masked to its width")]
    fn from(word: u64) -> Self {
        let count = |shift: u32| ((word >> shift) & u64::from(LARGEST)) as u32;
        Self { number: (word >> 48) as u16, before: count(24), now: count(0) }
    }
}

impl From<Pair> for u64 {
    fn from(pair: Pair) -> Self {
        (Self::from(pair.number) << 48) | (Self::from(pair.before) << 24) | Self::from(pair.now)
    }
}

/// When the fixed window that `now` lies in ends.
pub(super) fn window_end(window: Window, now: Duration) -> Duration {
    let length = window.length().as_secs();
    Duration::from_secs((now.as_secs() / length + 1) * length)
}

/// The low 16 bits of the number of the fixed window that `now` lies in.
#[expect(clippy::cast_possible_truncation, reason = "the low bits are what is wanted")]
const fn number(window: Window, now: Duration) -> u16 {
    (now.as_secs() / window.length().as_secs()) as u16
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOTH: [Window; 2] = [Window::Minute, Window::Hour];

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_word_holds_both_counts() {
        for pair in [
            Pair { number: 0, before: 0, now: 0 },
            Pair { number: u16::MAX, before: LARGEST, now: 1 },
            Pair { number: 7, before: 3, now: LARGEST },
        ] {
            assert_eq!(Pair::from(u64::from(pair)), pair);
        }
    }

    #[test]
    fn counts_stay_for_the_next_window_and_no_longer() {
        let sketch = Sketch::new(BOTH, 16);
        for _ in 0..3 {
            sketch.add(9, secs(3_599));
        }
        sketch.add(9, secs(3_600));
        assert_eq!(sketch.parts(9, secs(3_600)), [(3, 1), (3, 1)]);
        assert_eq!(sketch.estimate(9, secs(3_660)), [1, 4]);
        assert_eq!(sketch.estimate(9, secs(3_720)), [0, 4]);
        assert_eq!(sketch.estimate(9, secs(7_200)), [0, 1]);
        assert_eq!(sketch.estimate(9, secs(10_800)), [0, 0]);
        assert_eq!(window_end(Window::Minute, secs(3_600)), secs(3_660));
    }

    #[test]
    fn what_is_taken_back_counts_no_more_wherever_it_lies_by_then() {
        let sketch = Sketch::new(BOTH, 16);
        for at in [59, 60] {
            sketch.add(1, secs(at));
        }
        sketch.remove(1, secs(59));
        assert_eq!(sketch.estimate(1, secs(60)), [1, 1]);
        sketch.remove(1, secs(60));
        assert_eq!(sketch.estimate(1, secs(60)), [0, 0]);
        // Long after, it is not there any more.
        sketch.add(1, secs(86_400));
        sketch.remove(1, secs(60));
        assert_eq!(sketch.estimate(1, secs(86_400)), [1, 1]);
    }

    #[test]
    fn a_count_does_not_wrap() {
        let sketch = Sketch::new([Window::Minute], 1);
        let full = Pair { number: 1, before: 5, now: LARGEST };
        for place in &sketch.places {
            place[0].store(full.into(), Ordering::Relaxed);
        }
        sketch.add(0, secs(60));
        assert_eq!(sketch.parts(0, secs(60)), [(5, LARGEST)]);
    }

    proptest! {
        /// Covers F2: an estimate is never below what came in a sliding window.
        #[test]
        fn an_estimate_is_never_too_low(
            steps in prop::collection::vec((0_u64..50_000, any::<u64>(), 0_u8..4), 1..400),
        ) {
            let sketch = Sketch::new(BOTH, 8);
            let (mut now, mut came) = (secs(86_400), Vec::new());
            for (pass, random, key) in steps {
                now += Duration::from_millis(pass);
                // Few keys of their own, among others that share their places.
                let hash = u64::from(key).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                sketch.add(random, now);
                sketch.add(hash, now);
                came.push((hash, now));
                for (estimate, window) in sketch.estimate(hash, now).into_iter().zip(BOTH) {
                    let inside = |&&(other, at): &&(u64, Duration)| {
                        other == hash && at + window.length() > now
                    };
                    let count = came.iter().filter(inside).count();
                    prop_assert!(estimate as usize >= count, "{estimate} of {count}");
                }
            }
        }
    }
}
