//! Waiting for something, but not for ever.
//!
//! Most of what is waited for is there already, so a timer is made only once
//! something is not: what comes at once costs neither a look at the clock nor a
//! place among the runtime's timers.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// A timer that waits again and again, for one thing at a time.
#[derive(Debug, Default)]
pub struct Timer {
    /// Kept between two waits: to set it later than it was takes no lock.
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Timer {
    /// What `work` comes to, `None` if that takes longer than `patience`.
    pub async fn within<T>(
        &mut self,
        patience: Duration,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        let mut work = pin!(work);
        let mut set = false;
        poll_fn(|cx| {
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                return Poll::Ready(Some(done));
            }
            if !std::mem::replace(&mut set, true) {
                self.set(patience);
            }
            match &mut self.sleep {
                Some(sleep) => sleep.as_mut().poll(cx).map(|()| None),
                None => Poll::Pending,
            }
        })
        .await
    }

    fn set(&mut self, patience: Duration) {
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().reset(Instant::now() + patience),
            None => self.sleep = Some(Box::pin(tokio::time::sleep(patience))),
        }
    }
}

/// What `work` comes to, `None` if that takes longer than `patience`.
pub async fn within<T>(patience: Duration, work: impl Future<Output = T>) -> Option<T> {
    Timer::default().within(patience, work).await
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn what_is_there_needs_no_timer() {
        let mut timer = Timer::default();
        assert_eq!(timer.within(Duration::ZERO, async { 1 }).await, Some(1));
        assert!(timer.sleep.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn each_wait_has_its_own_patience() {
        let mut timer = Timer::default();
        for (patience, takes) in [(2, 1), (1, 2), (10, 9), (3, 4), (5, 4)] {
            let work = tokio::time::sleep(takes * SECOND);
            let begun = Instant::now();
            let done = timer.within(patience * SECOND, work).await;
            assert_eq!(done.is_some(), takes < patience, "{takes} of {patience}");
            assert_eq!(begun.elapsed(), takes.min(patience) * SECOND);
        }
    }
}
