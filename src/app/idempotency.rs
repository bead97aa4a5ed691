//! The making and upkeep of what is kept for requests that may be sent again.

use std::sync::Arc;

use crate::app::App;
use crate::idempotency::Idempotency;
use crate::store::idempotency::EmbeddedAnswers;
use crate::store::{Store, StoreError};
use crate::vault::Vault;

/// What is kept in `store`, sealed by `vault`; the key of its names is derived from
/// `secret`, that of the data directory.
///
/// # Errors
/// [`StoreError`].
pub(super) fn open(
    store: &Store,
    vault: &Arc<Vault>,
    secret: &str,
) -> Result<Arc<Idempotency>, StoreError> {
    let names = blake3::derive_key("tollgate 2026-11 idempotency name", secret.as_bytes());
    let answers = Arc::new(EmbeddedAnswers::open(store)?);
    Ok(Idempotency::new(names, answers, vault.clone()))
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
