//! What the control plane changes and makes: accounts with their keys, invoices.

use std::sync::Arc;

use crate::accounts::{self, ApplyError, Registry};
use crate::app::App;
use crate::auth::key::KeyHasher;
use crate::auth::keyring::Keyring;
use crate::base::clock::Clock;
use crate::billing::{self, Biller};
use crate::config::Config;
use crate::store::accounts::Directory;
use crate::store::billing::Book;
use crate::store::{Store, StoreError};
use crate::telemetry::metrics::Metrics;
use crate::webhooks::Webhooks;

/// The keyring, still empty, and what changes it.
pub(super) fn accounts(
    store: &Store,
    config: &Arc<Config>,
    hasher: KeyHasher,
    clock: &Arc<dyn Clock>,
    metrics: &Arc<Metrics>,
) -> Result<(Arc<Keyring>, Arc<Registry>), ApplyError> {
    let keyring = Arc::new(Keyring::new(hasher.clone()));
    let directory = Arc::new(Directory::new(store)?);
    let parts = accounts::Parts {
        accounts: directory.clone(),
        keys: directory,
        history: Arc::new(Book::new(store)?),
        keyring: keyring.clone(),
        hasher,
        clock: clock.clone(),
        metrics: metrics.clone(),
    };
    Ok((keyring, Arc::new(Registry::new(config.clone(), parts))))
}

/// What makes invoices.
pub(super) fn biller(app: &App, webhooks: &Arc<Webhooks>) -> Result<Arc<Biller>, StoreError> {
    let book = Arc::new(Book::new(&app.store)?);
    Ok(Arc::new(Biller::new(billing::Parts {
        ledger: app.ledger.clone(),
        accounts: Arc::new(Directory::new(&app.store)?),
        history: book.clone(),
        adjustments: book.clone(),
        invoices: book,
        webhooks: webhooks.clone(),
        clock: app.clock.clone(),
    })))
}
