//! Waiting for something to happen, never for time to pass.

use std::future::Future;
use std::time::Duration;

/// The longest that a test waits for any one thing before it fails: it ends what hangs,
/// and says nothing about how fast anything is. On a cold, busy machine a browser or a
/// framework in Python needs most of a minute before it does anything.
pub(crate) const DEADLINE: Duration = Duration::from_secs(180);

/// The result of `work`, or a failed test that names `what` did not come.
#[track_caller]
pub(crate) fn within<F: Future>(what: &str, work: F) -> impl Future<Output = F::Output> {
    let place = std::panic::Location::caller();
    async move {
        match tokio::time::timeout(DEADLINE, work).await {
            Ok(done) => done,
            Err(_) => panic!("{place}: waited {DEADLINE:?} in vain for {what}"),
        }
    }
}

/// Asks `condition` again and again until it gives a value. For states that
/// announce nothing, such as a file or another process's answer.
#[track_caller]
pub(crate) fn eventually<T>(
    what: &str,
    mut condition: impl AsyncFnMut() -> Option<T>,
) -> impl Future<Output = T> {
    within(what, async move {
        loop {
            if let Some(value) = condition().await {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    })
}
