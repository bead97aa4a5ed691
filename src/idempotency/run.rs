//! One request of a key that runs.

use std::sync::Arc;

use tokio::sync::{OnceCell, watch};

use super::{Asked, Idempotency};
use crate::store::idempotency::Name;

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There is nothing to join yet.
    Begun,
    /// Its call runs.
    Called,
    /// The key is free again, or its answer is kept.
    Over,
}

/// A request of a key that runs; those who repeat it know it too.
pub struct Run {
    pub(super) name: Name,
    pub(super) body: [u8; 32],
    pub(super) account: Arc<str>,
    /// What nobody else's call has, not even an earlier one of the same key.
    call: [u8; 32],
    progress: watch::Sender<Progress>,
    pub(super) kept: OnceCell<()>,
}

impl Run {
    pub(super) fn begin(name: Name, asked: &Asked<'_>) -> Self {
        let call = *blake3::keyed_hash(&name, asked.id.0.as_bytes()).as_bytes();
        Self {
            name,
            body: asked.body,
            account: Arc::from(asked.account),
            call,
            progress: watch::Sender::new(Progress::Begun),
            kept: OnceCell::new(),
        }
    }

    /// By what its call can be found.
    pub const fn call(&self) -> [u8; 32] {
        self.call
    }

    /// How far it is, and news of that.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    pub(super) fn is_over(&self) {
        self.progress.send_replace(Progress::Over);
    }
}

/// The first request's hold of its key; dropped, the key is free, unless the
/// answer is kept.
#[must_use = "dropping it frees the key"]
pub struct Lead {
    table: Arc<Idempotency>,
    run: Arc<Run>,
}

impl Lead {
    pub(super) const fn new(table: Arc<Idempotency>, run: Arc<Run>) -> Self {
        Self { table, run }
    }

    /// What runs.
    pub const fn run(&self) -> &Arc<Run> {
        &self.run
    }

    /// Tells those who repeat the request that its call can be joined.
    pub fn is_called(&self) {
        self.run.progress.send_replace(Progress::Called);
    }

    /// Frees the key before the hold is dropped.
    pub fn free(&self) {
        self.table.end(&self.run);
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        self.free();
    }
}
