//! A gate in a scripted answer: the provider waits there until the test lets it
//! pass, so that no test depends on how fast anything is.

use std::sync::Arc;

use tokio::sync::{Semaphore, watch};

use super::eventually::within;

/// Holds whoever comes until released. Clones are the same gate.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    passes: Arc<Semaphore>,
    arrived: Arc<watch::Sender<usize>>,
}

impl Gate {
    /// A closed gate.
    pub(crate) fn closed() -> Self {
        Self { passes: Arc::new(Semaphore::new(0)), arrived: Arc::new(watch::Sender::new(0)) }
    }

    /// Lets one through, now or when it comes.
    pub(crate) fn release(&self) {
        self.passes.add_permits(1);
    }

    /// Lets everybody through from now on.
    pub(crate) fn open(&self) {
        self.passes.add_permits(Semaphore::MAX_PERMITS / 2);
    }

    /// Waits until `count` have come to the gate, counted from its beginning.
    pub(crate) async fn reached_by(&self, count: usize) {
        let mut arrived = self.arrived.subscribe();
        let came = within("the gate to be reached", arrived.wait_for(|now| *now >= count)).await;
        assert!(came.is_ok(), "the gate is gone");
    }

    /// Waits to be let through.
    pub(crate) async fn pass(&self) {
        self.arrived.send_modify(|count| *count += 1);
        if let Ok(pass) = self.passes.acquire().await {
            pass.forget();
        }
    }
}
