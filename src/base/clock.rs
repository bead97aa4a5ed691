//! The time, as a trait, so that tests own it.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::Notify;

/// Resolves once a clock has come to a moment.
pub type Reached<'c> = Pin<Box<dyn Future<Output = ()> + Send + 'c>>;

/// A wall-clock moment: microseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// Whole seconds since the Unix epoch.
    pub const fn as_secs(self) -> u64 {
        self.0 / 1_000_000
    }

    /// Whole milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000
    }
}

impl std::fmt::Display for Timestamp {
    /// RFC 3339 in UTC with microseconds.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let micros = i64::try_from(self.0).unwrap_or(i64::MAX);
        match jiff::Timestamp::from_microsecond(micros) {
            Ok(moment) => write!(f, "{moment:.6}"),
            Err(_) => write!(f, "{}us", self.0),
        }
    }
}

/// Where the time comes from.
pub trait Clock: Send + Sync + 'static {
    /// The wall clock. It may step backwards.
    fn wall(&self) -> Timestamp;

    /// Time since an arbitrary fixed moment; it never steps backwards. Limits
    /// and durations are measured on it.
    fn monotonic(&self) -> Duration;

    /// Resolves once [`Self::monotonic`] is `at` or later. For a clock that runs by
    /// itself, on the runtime's timer.
    fn reached(&self, at: Duration) -> Reached<'_> {
        Box::pin(tokio::time::sleep(at.saturating_sub(self.monotonic())))
    }
}

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock {
    origin: Instant,
}

impl SystemClock {
    /// A clock whose monotonic origin is one day before now, so that moments
    /// shortly before the start of the process can still be expressed.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that asks the machine")]
    pub fn new() -> Self {
        let now = Instant::now();
        Self { origin: now.checked_sub(Duration::from_secs(86_400)).unwrap_or(now) }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

/// The machine's wall clock, for what no test is to own: the `date` of an answer.
#[expect(clippy::disallowed_methods, reason = "this is the one place that asks the machine")]
pub fn machine_wall() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

impl Clock for SystemClock {
    fn wall(&self) -> Timestamp {
        machine_wall()
    }

    fn monotonic(&self) -> Duration {
        self.origin.elapsed()
    }
}

/// A clock that moves only when told to: for tests.
#[derive(Debug)]
pub struct TestClock {
    micros: AtomicU64,
    epoch: Timestamp,
    moved: Notify,
}

impl TestClock {
    /// A clock that stands at `wall`, its monotonic time at one day.
    pub fn at(wall: Timestamp) -> Self {
        Self { micros: AtomicU64::new(86_400_000_000), epoch: wall, moved: Notify::new() }
    }

    /// Moves both clocks forward by `step`, rounded down to a microsecond.
    pub fn advance(&self, step: Duration) {
        let micros = u64::try_from(step.as_micros()).unwrap_or(u64::MAX);
        self.micros.fetch_add(micros, Ordering::SeqCst);
        self.moved.notify_waiters();
    }
}

impl Clock for TestClock {
    fn wall(&self) -> Timestamp {
        let passed = self.micros.load(Ordering::SeqCst) - 86_400_000_000;
        Timestamp(self.epoch.0 + passed)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_micros(self.micros.load(Ordering::SeqCst))
    }
    fn reached(&self, at: Duration) -> Reached<'_> {
        Box::pin(async move {
            loop {
                // Before the look, so that no step between the two is missed.
                let moved = self.moved.notified();
                if self.monotonic() >= at {
                    return;
                }
                moved.await;
            }
        })
    }
}
