//! A gateway in the test's own process, with a clock that the test owns.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tollgate::app::Running;
use tollgate::base::clock::{Clock, TestClock, Timestamp};

use super::door::Door;

/// Where the test clock stands at first: 2026-06-15T12:00:00Z, in the middle of
/// a day and of a month.
pub(crate) const NOON: Timestamp = Timestamp(1_781_524_800_000_000);

/// The running gateway; it stops when dropped.
pub(crate) struct Gateway {
    door: Door,
    clock: Arc<TestClock>,
    running: Option<Running>,
    home: TempDir,
}

impl Gateway {
    pub(crate) async fn start(home: TempDir, file: &Path) -> Self {
        Self::start_at(NOON, home, file).await
    }

    async fn start_at(wall: Timestamp, home: TempDir, file: &Path) -> Self {
        let clock = Arc::new(TestClock::at(wall));
        let config = tollgate::config::load(file).unwrap_or_else(|errors| panic!("{errors}"));
        let for_it: Arc<dyn Clock> = clock.clone();
        // It starts runtimes of its own and blocks meanwhile.
        let started = tokio::task::spawn_blocking(move || tollgate::app::start(config, for_it));
        let running = started.await.unwrap().unwrap_or_else(|error| panic!("{error}"));
        let door = Door { proxy: running.proxy, admin: running.admin };
        Self { door, clock, running: Some(running), home }
    }

    /// The clock that the gateway goes by.
    pub(crate) fn clock(&self) -> &TestClock {
        &self.clock
    }

    /// Stops it gracefully and starts another on the same directory.
    pub(crate) async fn restart(mut self) -> Self {
        self.stop();
        let home = std::mem::replace(&mut self.home, TempDir::new().unwrap());
        let file = home.path().join("tollgate.yaml");
        Self::start(home, &file).await
    }

    /// The same, with a clock that goes on where the first one stands, `later`.
    pub(crate) async fn restart_after(mut self, later: Duration) -> Self {
        self.stop();
        self.clock.advance(later);
        let home = std::mem::replace(&mut self.home, TempDir::new().unwrap());
        let file = home.path().join("tollgate.yaml");
        Self::start_at(self.clock.wall(), home, &file).await
    }

    /// The data directory.
    pub(crate) fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            // On a thread of its own: it ends runtimes, which a runtime forbids.
            let stopped = std::thread::spawn(move || running.stop()).join();
            assert!(stopped.is_ok() || std::thread::panicking(), "the gateway's stop panicked");
        }
    }
}

impl Deref for Gateway {
    type Target = Door;

    fn deref(&self) -> &Door {
        &self.door
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.stop();
    }
}
