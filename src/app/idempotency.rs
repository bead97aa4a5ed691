//! The making and upkeep of what is kept for requests that may be sent again.

use std::sync::Arc;

use crate::app::App;
use crate::idempotency::{Idempotency, SecretSeals};
use crate::store::idempotency::EmbeddedAnswers;
use crate::store::{Store, StoreError};

/// What is kept in `store`; the keys are derived from `secret`, that of the data
/// directory.
///
/// # Errors
/// [`StoreError`].
pub(super) fn open(store: &Store, secret: &str) -> Result<Arc<Idempotency>, StoreError> {
    let derive = |context| blake3::derive_key(context, secret.as_bytes());
    let seals = SecretSeals(derive("tollgate 2026-11 idempotency seal"));
    let answers = Arc::new(EmbeddedAnswers::open(store)?);
    Ok(Idempotency::new(derive("tollgate 2026-11 idempotency name"), answers, Arc::new(seals)))
}

/// Clears away what has expired.
pub(super) async fn sweep(app: &Arc<App>) {
    let (swept, now) = (app.clone(), app.clock.wall());
    let left = tokio::task::spawn_blocking(move || swept.idempotency.sweep(now)).await;
    match left {
        Ok(Ok(left)) => app.metrics.idempotency().keys(left),
        Ok(Err(error)) => tracing::warn!(%error, "expired answers could not be cleared away"),
        // The process ends.
        Err(_) => {}
    }
}
