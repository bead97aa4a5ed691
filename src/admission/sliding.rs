//! One sliding window over the admissions of one account.
//!
//! Up to 128 admissions are kept as a log of their moments, which is exact (the
//! "sliding window log"). More than that become a ring of at most 61 buckets,
//! each one sixtieth of the window wide. A bucket keeps the moment of its last
//! admission and counts as inside until that moment has left the window, so
//! nothing is forgotten early and nothing is held more than a sixtieth late.
//! A limit of at most 128 therefore always meets a log.
//!
//! Moments are ticks: u32 offsets behind the newest moment seen, which bounds a
//! window to 512 bytes. An admission's tick is rounded up and the present is
//! rounded down, so rounding never forgets early either.

use std::collections::VecDeque;
use std::time::Duration;

use super::windows::Window;

/// Most admissions kept one by one.
const LOG_MAX: u32 = 128;
/// Buckets in a window.
const BUCKETS: u64 = 60;

/// The admissions of one account that lie inside one window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sliding {
    window: Window,
    marks: Marks,
    /// Admissions in `marks`.
    count: u32,
    /// The newest moment seen, in ticks rounded up. No mark is later.
    newest: u64,
    /// Every mark before this tick has left the window.
    gone: u64,
}

/// What is kept, oldest first, as the low 32 bits of ticks.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Marks {
    /// One mark an admission.
    Log(VecDeque<u32>),
    /// One mark a bucket; buckets are cells of a fixed grid.
    Ring(VecDeque<Bucket>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bucket {
    /// The moment of its latest admission.
    last: u32,
    /// Its admissions.
    count: u32,
}

impl Sliding {
    /// An empty window.
    pub(super) const fn new(window: Window) -> Self {
        let marks = Marks::Log(VecDeque::new());
        Self { window, marks, count: 0, newest: 0, gone: 0 }
    }

    /// Which window this is.
    pub(super) const fn window(&self) -> Window {
        self.window
    }

    /// Admissions inside the window.
    pub(super) const fn count(&self) -> u32 {
        self.count
    }

    /// Forgets what has left the window at `now`, and goes back to a log where
    /// `limit` asks for one and it fits. An earlier `now` than before changes
    /// nothing.
    pub(super) fn advance(&mut self, now: u64, limit: u32) {
        let unit = self.window.tick();
        let (newest, length) = (self.newest, self.window.ticks());
        if let Some(horizon) = (now / unit).checked_sub(length) {
            match &mut self.marks {
                Marks::Log(log) => {
                    while let Some(mark) = log.front().map(|&mark| whole(newest, mark))
                        && mark <= horizon
                    {
                        log.pop_front();
                        self.count -= 1;
                        self.gone = mark + 1;
                    }
                }
                Marks::Ring(ring) => {
                    while let Some(bucket) = ring.front()
                        && whole(newest, bucket.last) <= horizon
                    {
                        self.count -= bucket.count;
                        self.gone = whole(newest, bucket.last) + 1;
                        ring.pop_front();
                    }
                }
            }
        }
        self.newest = newest.max(now.div_ceil(unit));
        // A larger limit turns back late, so that a count that hovers about
        // `LOG_MAX` does not turn to and fro.
        let fits = if limit <= LOG_MAX { LOG_MAX } else { LOG_MAX / 2 };
        if self.count <= fits {
            self.unfold();
        }
    }

    /// Counts an admission at `at`, which `advance` has seen or which lies
    /// before it; one that has left the window already is ignored.
    pub(super) fn insert(&mut self, at: u64) {
        let tick = at.div_ceil(self.window.tick());
        let expired = tick < self.gone || tick + self.window.ticks() < self.newest;
        // `u32::MAX` is unlimited, so the count stays below it.
        if expired || self.count >= u32::MAX - 1 {
            return;
        }
        if self.count == LOG_MAX {
            self.fold();
        }
        let newest = self.newest;
        match &mut self.marks {
            Marks::Log(log) => {
                let place = log.partition_point(|&mark| whole(newest, mark) <= tick);
                log.insert(place, low(tick));
            }
            Marks::Ring(ring) => put(ring, newest, self.window.ticks() / BUCKETS, tick),
        }
        self.count += 1;
    }

    /// Takes back one admission that `insert` counted at `at`, unless it has
    /// left the window.
    pub(super) fn remove(&mut self, at: u64) {
        let tick = at.div_ceil(self.window.tick());
        if tick < self.gone {
            return;
        }
        let newest = self.newest;
        // Its mark is the first that is not before it: a bucket's mark is its
        // latest admission, and buckets do not overlap.
        let found = match &mut self.marks {
            Marks::Log(log) => {
                let place = log.partition_point(|&mark| whole(newest, mark) < tick);
                log.remove(place).is_some()
            }
            Marks::Ring(ring) => {
                let place = ring.partition_point(|bucket| whole(newest, bucket.last) < tick);
                let left = ring.get_mut(place).map(|bucket| {
                    bucket.count -= 1;
                    bucket.count
                });
                if left == Some(0) {
                    ring.remove(place);
                }
                left.is_some()
            }
        };
        self.count -= u32::from(found);
    }

    /// How long after `now` there is room under `limit` if nothing else comes;
    /// `None` where there is room already. A limit of 0 never has room; its
    /// answer is the length of the window.
    pub(super) fn wait(&self, now: u64, limit: u32) -> Option<Duration> {
        let surplus = self.count.checked_sub(limit)?;
        if limit == 0 {
            return Some(self.window.length());
        }
        let mark = match &self.marks {
            Marks::Log(log) => log.get(usize::try_from(surplus).ok()?).copied(),
            Marks::Ring(ring) => {
                let mut left = surplus;
                ring.iter()
                    .find(|bucket| match left.checked_sub(bucket.count) {
                        Some(rest) => {
                            left = rest;
                            false
                        }
                        None => true,
                    })
                    .map(|bucket| bucket.last)
            }
        };
        mark.map(|mark| self.until_gone(mark, now))
    }

    /// How long after `now` the window is empty if nothing else comes.
    pub(super) fn reset(&self, now: u64) -> Duration {
        let mark = match &self.marks {
            Marks::Log(log) => log.back().copied(),
            Marks::Ring(ring) => ring.back().map(|bucket| bucket.last),
        };
        mark.map_or(Duration::ZERO, |mark| self.until_gone(mark, now))
    }

    /// Time from `now` until `mark` has left the window.
    fn until_gone(&self, mark: u32, now: u64) -> Duration {
        let gone = (whole(self.newest, mark) + self.window.ticks()) * self.window.tick();
        Duration::from_nanos(gone.saturating_sub(now))
    }

    /// From a log to a ring.
    fn fold(&mut self) {
        if let Marks::Log(log) = &self.marks {
            let mut ring = VecDeque::new();
            for &mark in log {
                let tick = whole(self.newest, mark);
                put(&mut ring, self.newest, self.window.ticks() / BUCKETS, tick);
            }
            self.marks = Marks::Ring(ring);
        }
    }

    /// From a ring to a log; an admission gets the moment of its bucket.
    fn unfold(&mut self) {
        if let Marks::Ring(ring) = &self.marks {
            let marks = ring.iter().flat_map(|bucket| (0..bucket.count).map(|_| bucket.last));
            self.marks = Marks::Log(marks.collect());
        }
    }

    /// Bytes held on the heap.
    #[cfg(test)]
    pub(super) fn heap_bytes(&self) -> usize {
        match &self.marks {
            Marks::Log(log) => log.capacity() * size_of::<u32>(),
            Marks::Ring(ring) => ring.capacity() * size_of::<Bucket>(),
        }
    }
}

/// Counts an admission at `tick` in the bucket of its cell of the grid.
fn put(ring: &mut VecDeque<Bucket>, newest: u64, width: u64, tick: u64) {
    let cell = tick / width;
    let place = ring.partition_point(|bucket| whole(newest, bucket.last) / width < cell);
    match ring.get_mut(place).filter(|bucket| whole(newest, bucket.last) / width == cell) {
        Some(bucket) => {
            bucket.count += 1;
            if whole(newest, bucket.last) < tick {
                bucket.last = low(tick);
            }
        }
        None => ring.insert(place, Bucket { last: low(tick), count: 1 }),
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
