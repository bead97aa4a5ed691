//! One sliding window over the admissions of one account.
//!
//! Up to 128 admissions are kept as a log of their moments, which is exact (the
//! "sliding window log"). More than that become a ring of counts, one a cell of a
//! fixed grid, each cell one sixtieth of the window wide. A cell counts as inside
//! until its end has left the window, so nothing is forgotten early and nothing
//! is held more than a sixtieth late. A limit of at most 128 therefore always
//! meets a log.
//!
//! Moments are ticks. A log keeps them as u32 offsets behind the newest moment
//! seen, which bounds it to 512 bytes; a ring takes half of that. An admission's
//! tick is rounded up and the present is rounded down, so rounding never forgets
//! early either.

use std::collections::VecDeque;
use std::time::Duration;

use super::windows::Window;

/// Most admissions kept one by one.
const LOG_MAX: u32 = 128;
/// Cells in the length of a window; it touches one more.
const CELLS: u64 = 60;

/// The admissions of one account that lie inside one window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sliding {
    window: Window,
    marks: Marks,
    /// Admissions in `marks`.
    count: u32,
    /// The newest moment seen, in ticks rounded up. No mark of a log is later.
    newest: u64,
    /// Every mark before this tick has left the window.
    gone: u64,
}

/// What is kept, oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Marks {
    /// The low 32 bits of the tick of each admission.
    Log(VecDeque<u32>),
    /// Admissions by the cell.
    Ring(Ring),
}

/// Counts of neighbouring cells. The first and the last are never 0.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Ring {
    /// The number of the first cell.
    first: u64,
    counts: VecDeque<u32>,
    /// Ticks in a cell.
    width: u64,
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
                    while let Some((end, count)) = ring.oldest()
                        && end <= horizon
                    {
                        self.count -= count;
                        self.gone = end + 1;
                        ring.drop_oldest();
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
            Marks::Ring(ring) => ring.put(tick),
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
        let found = match &mut self.marks {
            Marks::Log(log) => {
                let place = log.partition_point(|&mark| whole(newest, mark) < tick);
                log.remove(place).is_some()
            }
            Marks::Ring(ring) => ring.take(tick),
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
        let tick = match &self.marks {
            Marks::Log(log) => {
                log.get(usize::try_from(surplus).ok()?).map(|&mark| whole(self.newest, mark))
            }
            Marks::Ring(ring) => ring.end_of(surplus),
        };
        tick.map(|tick| self.until_gone(tick, now))
    }

    /// How long after `now` the window is empty if nothing else comes.
    pub(super) fn reset(&self, now: u64) -> Duration {
        let tick = match &self.marks {
            Marks::Log(log) => log.back().map(|&mark| whole(self.newest, mark)),
            Marks::Ring(ring) => ring.cells().last().map(|(end, _)| end),
        };
        tick.map_or(Duration::ZERO, |tick| self.until_gone(tick, now))
    }

    /// Time from `now` until what counts at `tick` has left the window.
    fn until_gone(&self, tick: u64, now: u64) -> Duration {
        let gone = (tick + self.window.ticks()) * self.window.tick();
        Duration::from_nanos(gone.saturating_sub(now))
    }

    /// From a log to a ring.
    fn fold(&mut self) {
        if let Marks::Log(log) = &self.marks {
            let mut ring = Ring::new(self.window.ticks() / CELLS);
            log.iter().for_each(|&mark| ring.put(whole(self.newest, mark)));
            self.marks = Marks::Ring(ring);
        }
    }

    /// From a ring to a log; an admission gets the last moment of its cell.
    fn unfold(&mut self) {
        if let Marks::Ring(ring) = &self.marks {
            let marks =
                ring.cells().flat_map(|(end, count)| (0..count).map(move |_| low(end))).collect();
            // The last moment of the present cell is yet to come.
            let last = ring.cells().last().map_or(0, |(end, _)| end);
            self.newest = self.newest.max(last);
            self.marks = Marks::Log(marks);
        }
    }

    /// Bytes held on the heap.
    #[cfg(test)]
    pub(super) fn heap_bytes(&self) -> usize {
        match &self.marks {
            Marks::Log(log) => log.capacity() * size_of::<u32>(),
            Marks::Ring(ring) => ring.counts.capacity() * size_of::<u32>(),
        }
    }
}

impl Ring {
    const fn new(width: u64) -> Self {
        Self { first: 0, counts: VecDeque::new(), width }
    }

    /// The last tick and the count of each cell, oldest first.
    fn cells(&self) -> impl DoubleEndedIterator<Item = (u64, u32)> {
        let end = |place: usize| (self.first + place as u64 + 1) * self.width - 1;
        self.counts.iter().enumerate().map(move |(place, &count)| (end(place), count))
    }

    fn oldest(&self) -> Option<(u64, u32)> {
        self.cells().next()
    }

    fn drop_oldest(&mut self) {
        self.counts.pop_front();
        self.first += 1;
        self.trim();
    }

    /// The last tick of the cell in which the admission is that has `before`
    /// others before it.
    fn end_of(&self, before: u32) -> Option<u64> {
        let mut left = before;
        let holds = |&(_, count): &(u64, u32)| match left.checked_sub(count) {
            Some(rest) => {
                left = rest;
                false
            }
            None => true,
        };
        self.cells().find(holds).map(|(end, _)| end)
    }

    fn put(&mut self, tick: u64) {
        let cell = tick / self.width;
        if self.counts.is_empty() {
            self.first = cell;
        }
        while cell < self.first {
            self.counts.push_front(0);
            self.first -= 1;
        }
        let place = usize::try_from(cell - self.first).unwrap_or(usize::MAX);
        while self.counts.len() <= place {
            self.counts.push_back(0);
        }
        if let Some(count) = self.counts.get_mut(place) {
            *count += 1;
        }
    }

    /// Takes one admission at `tick` back; false if there is none.
    fn take(&mut self, tick: u64) -> bool {
        let place = (tick / self.width).checked_sub(self.first);
        let place = place.and_then(|place| usize::try_from(place).ok());
        let Some(count) = place.and_then(|place| self.counts.get_mut(place)) else { return false };
        let Some(less) = count.checked_sub(1) else { return false };
        *count = less;
        self.trim();
        true
    }

    fn trim(&mut self) {
        while self.counts.front() == Some(&0) {
            self.counts.pop_front();
            self.first += 1;
        }
        while self.counts.back() == Some(&0) {
            self.counts.pop_back();
        }
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
