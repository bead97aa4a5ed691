//! The circuit breaker of a provider: closed, open, half-open.
//!
//! It judges the latest calls, a sliding window of a number of calls, as
//! Resilience4j's count-based window does: at whatever rate they come it opens after
//! as many failures. While it is open the provider is asked only where no other
//! target is left. After a while one call at a time tries again; its outcome closes
//! or opens it anew. Nygard, *Release It!*, chapter 5.
//!
//! Invariants: at most one trial is held at a time; only the outcome of a call that
//! was begun half-open closes it, and each of its openings ends once.
//!
//! No lock: the window is one word, the state another.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::config::BreakerRule;

/// No outcome yet. The highest bit that is set marks the window's beginning.
const EMPTY: u64 = 1;
/// The state word of a closed breaker; otherwise it is when the opening ends.
const CLOSED: u64 = 0;

/// A breaker. Times are of one monotonic clock, with a precision of 1 ms.
#[derive(Debug)]
pub struct Breaker {
    /// The latest outcomes, the newest lowest; a failure is 1.
    window: AtomicU64,
    /// When the newest was noted, in milliseconds.
    noted: AtomicU64,
    /// [`CLOSED`], or the moment from which a trial may be made, in milliseconds.
    open_until: AtomicU64,
    /// Whether a trial is being made.
    trying: AtomicBool,
}

/// What a breaker lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum State {
    /// Everything.
    Closed,
    /// One call at a time.
    HalfOpen,
    /// Nothing, where there is another way.
    Open,
}

/// What the outcome of a call did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It stays as it was.
    None,
    /// It has opened.
    Opened,
    /// It was half-open, and is open again.
    Reopened,
    /// It has closed.
    Closed,
}

/// What is known of the breaker when a call begins.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    word: u64,
    half_open: bool,
}

/// The right to make the trial; gives it back once dropped.
#[derive(Debug)]
#[must_use = "dropping the trial lets another be made"]
pub struct Trial<'b> {
    trying: &'b AtomicBool,
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        self.trying.store(false, Ordering::Release);
    }
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            window: AtomicU64::new(EMPTY),
            noted: AtomicU64::new(0),
            open_until: AtomicU64::new(CLOSED),
            trying: AtomicBool::new(false),
        }
    }
}

impl Breaker {
    /// What it lets through now.
    pub fn state(&self, now: Duration) -> State {
        match self.open_until.load(Ordering::Acquire) {
            CLOSED => State::Closed,
            until if millis(now) >= until => State::HalfOpen,
            _ => State::Open,
        }
    }

    /// The right to the one trial, where it is half-open and nobody has it.
    pub fn trial(&self, now: Duration) -> Option<Trial<'_>> {
        if self.state(now) != State::HalfOpen || self.trying.swap(true, Ordering::AcqRel) {
            return None;
        }
        let trial = Trial { trying: &self.trying };
        // The one before may have decided meanwhile.
        (self.state(now) == State::HalfOpen).then_some(trial)
    }

    /// A call begins.
    pub fn enter(&self, now: Duration) -> Entry {
        let word = self.open_until.load(Ordering::Acquire);
        Entry { word, half_open: word != CLOSED && millis(now) >= word }
    }

    /// A call that began with `entry` has come out.
    ///
    /// What was begun before the breaker opened, or while it was open, decides
    /// nothing any more.
    pub fn note(&self, entry: Entry, failed: bool, rule: &BreakerRule, now: Duration) -> Change {
        if entry.half_open {
            return self.decide(entry.word, failed, rule, now);
        }
        if entry.word != CLOSED || self.open_until.load(Ordering::Acquire) != CLOSED {
            return Change::None;
        }
        let window = self.push(failed, rule, now);
        if !(failed && is_failing(window, rule)) {
            return Change::None;
        }
        match self.turn(CLOSED, opening(rule, now)) {
            true => Change::Opened,
            false => Change::None,
        }
    }

    /// Opens it, or keeps it open for as long again, whatever its calls say.
    pub fn trip(&self, rule: &BreakerRule, now: Duration) -> Change {
        match self.open_until.swap(opening(rule, now), Ordering::AcqRel) {
            CLOSED => Change::Opened,
            _ => Change::Reopened,
        }
    }

    /// Closes it, whatever its calls say.
    pub fn reset(&self) -> Change {
        self.window.store(EMPTY, Ordering::Relaxed);
        match self.open_until.swap(CLOSED, Ordering::AcqRel) {
            CLOSED => Change::None,
            _ => Change::Closed,
        }
    }

    /// Of the latest calls, how many count, and how many of them failed.
    pub fn counts(&self) -> (u32, u32) {
        counts(self.window.load(Ordering::Relaxed))
    }

    /// When a trial may be made; `None` if it is closed.
    pub fn open_until(&self) -> Option<Duration> {
        match self.open_until.load(Ordering::Acquire) {
            CLOSED => None,
            until => Some(Duration::from_millis(until)),
        }
    }

    /// The first to come out half-open decides.
    fn decide(&self, word: u64, failed: bool, rule: &BreakerRule, now: Duration) -> Change {
        let to = if failed { opening(rule, now) } else { CLOSED };
        if !self.turn(word, to) {
            return Change::None;
        }
        if failed { Change::Reopened } else { Change::Closed }
    }

    /// Goes from one state to another, once; what came before is forgotten.
    fn turn(&self, from: u64, to: u64) -> bool {
        let turned =
            self.open_until.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if turned {
            self.window.store(EMPTY, Ordering::Relaxed);
        }
        turned
    }

    /// Adds an outcome to the window, which it gives.
    fn push(&self, failed: bool, rule: &BreakerRule, now: Duration) -> u64 {
        let now = millis(now);
        let before = self.noted.swap(now, Ordering::Relaxed);
        let forgotten = now.saturating_sub(before) > millis(rule.forget);
        let add = |window: u64| {
            let window = if forgotten { EMPTY } else { window };
            let longer = window << 1 | u64::from(failed);
            let (length, _) = counts(longer);
            if length <= rule.calls {
                return longer;
            }
            // The oldest leaves.
            let mark = 1 << rule.calls;
            longer & (mark - 1) | mark
        };
        let before = self
            .window
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |window| Some(add(window)));
        add(before.unwrap_or_else(|window| window))
    }
}

fn counts(window: u64) -> (u32, u32) {
    (window.checked_ilog2().unwrap_or(0), window.count_ones().saturating_sub(1))
}

fn is_failing(window: u64, rule: &BreakerRule) -> bool {
    let (calls, failed) = counts(window);
    calls >= rule.minimum && rule.failures.reaches(u64::from(failed), u64::from(calls))
}

/// The word of an opening that begins now.
fn opening(rule: &BreakerRule, now: Duration) -> u64 {
    millis(now).saturating_add(millis(rule.open)).max(CLOSED + 1)
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
