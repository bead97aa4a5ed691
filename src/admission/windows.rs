//! The request windows of one account (any minute, any hour, any day) or of one
//! address (some of them).
//!
//! Invariant: in no interval of a window's length, wherever it begins, are more
//! requests admitted than the limit in force (intervals include one end), and a
//! refused request changes nothing.

use std::time::Duration;

use super::sliding::Sliding;
use crate::config::UserLimits;

/// One of an account's windows, shortest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Window {
    /// Any 60 s.
    Minute,
    /// Any 3,600 s.
    Hour,
    /// Any 86,400 s.
    Day,
}

/// Requests admitted in any interval of each window's length; `u32::MAX` is
/// unlimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowLimits {
    /// In any 60 s.
    pub minute: u32,
    /// In any 3,600 s.
    pub hour: u32,
    /// In any 86,400 s.
    pub day: u32,
}

/// Where an account stands: the figures of the window with the fewest requests
/// remaining, of the shortest such window where several have as few.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The moment, on the monotonic clock, that a request taken counts at: the
    /// present, or a later moment that another thread has brought already.
    pub at: Duration,
    /// The window.
    pub window: Window,
    /// Its limit.
    pub limit: u32,
    /// Requests that it would still admit.
    pub remaining: u32,
    /// How long until it is fully replenished if nothing else comes (OpenAI's
    /// meaning of `x-ratelimit-reset-requests`).
    pub reset: Duration,
}

/// Why a request was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the limit of {limit} requests per {} is used up", .window.as_str())]
pub struct Refusal {
    /// The full window with the longest wait.
    pub window: Window,
    /// Its limit.
    pub limit: u32,
    /// A request this much later is admitted if nothing else comes before it.
    /// A limit of 0 admits nothing ever; the length of its window is given.
    pub retry_after: Duration,
    /// Where the account stands.
    pub standing: Standing,
}

/// The admissions of one account, or of one address, that still count, in `N`
/// windows, the shortest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Windows<const N: usize = 3> {
    /// The latest moment seen, in nanoseconds of the monotonic clock.
    latest: u64,
    each: [Sliding; N],
}

impl Window {
    /// The name in metrics and messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }

    /// How long it is.
    pub const fn length(self) -> Duration {
        Duration::from_secs(match self {
            Self::Minute => 60,
            Self::Hour => 3_600,
            Self::Day => 86_400,
        })
    }

    /// Nanoseconds in a tick: the finest round figure with which the window has
    /// fewer than 2³² ticks.
    pub(super) const fn tick(self) -> u64 {
        match self {
            Self::Minute | Self::Hour => 1_000,
            Self::Day => 25_000,
        }
    }

    /// Its length in ticks.
    pub(super) const fn ticks(self) -> u64 {
        self.length().as_secs() * 1_000_000_000 / self.tick()
    }
}

impl WindowLimits {
    /// No limit in any window.
    pub const UNLIMITED: Self = Self { minute: u32::MAX, hour: u32::MAX, day: u32::MAX };

    /// The limit of one window.
    pub const fn of(&self, window: Window) -> u32 {
        match window {
            Window::Minute => self.minute,
            Window::Hour => self.hour,
            Window::Day => self.day,
        }
    }
}

impl From<&UserLimits> for WindowLimits {
    fn from(limits: &UserLimits) -> Self {
        Self { minute: limits.per_minute, hour: limits.per_hour, day: limits.per_day }
    }
}

impl Windows<3> {
    /// No admission yet.
    pub const fn new() -> Self {
        let each =
            [Sliding::new(Window::Minute), Sliding::new(Window::Hour), Sliding::new(Window::Day)];
        Self { latest: 0, each }
    }
}

impl<const N: usize> Windows<N> {
    /// No admission yet, in these windows, the shortest first.
    pub fn over(windows: [Window; N]) -> Self {
        Self { latest: 0, each: windows.map(Sliding::new) }
    }

    /// Takes one request at `now` (of the monotonic clock) in all windows, or in
    /// none.
    ///
    /// # Errors
    /// [`Refusal`] where a window is full.
    pub fn take(&mut self, now: Duration, limits: &WindowLimits) -> Result<Standing, Refusal> {
        self.advance(now, limits);
        let asked = nanos(now);
        let mut full: Option<(Duration, Window)> = None;
        for sliding in &self.each {
            let window = sliding.window();
            if let Some(wait) = sliding.wait(asked, limits.of(window))
                && full.is_none_or(|(longest, _)| wait > longest)
            {
                full = Some((wait, window));
            }
        }
        if let Some((retry_after, window)) = full {
            let standing = self.figures(asked, limits);
            return Err(Refusal { window, limit: limits.of(window), retry_after, standing });
        }
        for sliding in &mut self.each {
            sliding.insert(self.latest);
        }
        Ok(self.figures(asked, limits))
    }

    /// Undoes one `take` whose [`Standing::at`] was `at`: a request that is
    /// refused later consumes nothing. Call it once for that `take`.
    pub fn give_back(&mut self, at: Duration) {
        for sliding in &mut self.each {
            sliding.remove(nanos(at));
        }
    }

    /// Where the account stands at `now`, without taking.
    pub fn standing(&mut self, now: Duration, limits: &WindowLimits) -> Standing {
        self.advance(now, limits);
        self.figures(nanos(now), limits)
    }

    /// Where each window stands at `now`, without taking.
    pub fn standings(&mut self, now: Duration, limits: &WindowLimits) -> [Standing; N] {
        self.advance(now, limits);
        self.each.each_ref().map(|sliding| self.figures_of(sliding, nanos(now), limits))
    }

    /// Counts an admission of the past, whatever the limits: for rebuilding from
    /// the journal. Any order will do.
    pub fn restore(&mut self, at: Duration) {
        self.advance(at, &WindowLimits::UNLIMITED);
        for sliding in &mut self.each {
            sliding.insert(nanos(at));
        }
    }

    /// Whether no admission counts any more at `now`.
    pub fn is_empty(&mut self, now: Duration) -> bool {
        self.advance(now, &WindowLimits::UNLIMITED);
        self.each.iter().all(|sliding| sliding.count() == 0)
    }

    /// Moves to `now`. Callers ask the clock before they hold the lock, so an
    /// earlier moment may come after a later one; it then counts at the later.
    fn advance(&mut self, now: Duration, limits: &WindowLimits) {
        self.latest = self.latest.max(nanos(now));
        for sliding in &mut self.each {
            sliding.advance(self.latest, limits.of(sliding.window()));
        }
    }

    fn figures(&self, now: u64, limits: &WindowLimits) -> Standing {
        let left = |sliding: &&Sliding| limits.of(sliding.window()).saturating_sub(sliding.count());
        // Of several that are as tight, the first: the shortest.
        match self.each.iter().min_by_key(left) {
            Some(tightest) => self.figures_of(tightest, now, limits),
            None => Standing {
                at: Duration::from_nanos(self.latest),
                window: Window::Minute,
                limit: u32::MAX,
                remaining: u32::MAX,
                reset: Duration::ZERO,
            },
        }
    }

    fn figures_of(&self, sliding: &Sliding, now: u64, limits: &WindowLimits) -> Standing {
        let (window, limit) = (sliding.window(), limits.of(sliding.window()));
        Standing {
            at: Duration::from_nanos(self.latest),
            window,
            limit,
            remaining: limit.saturating_sub(sliding.count()),
            reset: sliding.reset(now),
        }
    }

    /// Bytes held on the heap.
    #[cfg(test)]
    pub(super) fn heap_bytes(&self) -> usize {
        self.each.iter().map(Sliding::heap_bytes).sum()
    }
}

impl Default for Windows {
    fn default() -> Self {
        Self::new()
    }
}

/// Whole nanoseconds; the clock stays far below the 584 years that fit.
fn nanos(moment: Duration) -> u64 {
    moment.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(moment.subsec_nanos()))
}

#[cfg(test)]
mod tests;
