//! What the control plane changes and makes: accounts with their keys, invoices.

use std::sync::Arc;

use crate::accounts::{self, ApplyError, Registry};
use crate::app::App;
use crate::app::own::OwnModels;
use crate::auth::key::KeyHasher;
use crate::auth::keyring::Keyring;
use crate::base::clock::Clock;
use crate::billing::{self, Biller};
use crate::cache::Cache;
use crate::config::Config;
use crate::store::accounts::Directory;
use crate::store::billing::Book;
use crate::store::custom::EmbeddedModels;
use crate::store::ownership::Owners;
use crate::store::{Store, StoreError};
use crate::telemetry::metrics::Metrics;
use crate::vault::{self, Vault};
use crate::webhooks::Webhooks;

/// The keys of what is kept, wrapped under the configuration's master key.
pub(super) fn vault(config: &Config) -> Result<Arc<Vault>, vault::OpenError> {
    let keys = &config.master_keys;
    Ok(Arc::new(Vault::load(&config.store.path, keys.current.as_ref(), &keys.retired)?))
}

/// What the deletion of an account or key must reach.
pub(super) struct Secrets<'s> {
    /// What hashes keys.
    pub(super) hasher: KeyHasher,
    /// The keys of what is kept.
    pub(super) vault: &'s Arc<Vault>,
    /// The response cache.
    pub(super) cache: &'s Arc<Cache>,
    /// Whose each thing is that a provider made.
    pub(super) things: Arc<dyn Owners>,
}

/// Accounts as requests see them, and what changes them.
pub(super) struct Accounts {
    /// The keys in force; none yet.
    pub(super) keyring: Arc<Keyring>,
    /// What changes accounts and keys.
    pub(super) registry: Arc<Registry>,
    /// Models and providers of accounts' own.
    pub(super) own: Arc<OwnModels>,
}

/// The keyring, still empty, and what changes it.
pub(super) fn accounts(
    store: &Store,
    config: &Arc<Config>,
    secrets: Secrets<'_>,
    clock: &Arc<dyn Clock>,
    metrics: &Arc<Metrics>,
) -> Result<Accounts, ApplyError> {
    let Secrets { hasher, vault, cache, things } = secrets;
    let keyring = Arc::new(Keyring::new(hasher.clone()));
    let own = OwnModels::new(vault, metrics, clock);
    let directory = Arc::new(Directory::new(store)?);
    let parts = accounts::Parts {
        accounts: directory.clone(),
        keys: directory,
        custom: Arc::new(EmbeddedModels::new(store)?),
        in_force: own.clone(),
        history: Arc::new(Book::new(store)?),
        keyring: keyring.clone(),
        hasher,
        clock: clock.clone(),
        metrics: metrics.clone(),
        vault: vault.clone(),
        cache: cache.clone(),
        things,
    };
    let registry = Arc::new(Registry::new(config.clone(), parts));
    registry.recall_own()?;
    Ok(Accounts { keyring, registry, own })
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
        rates: app.rates.clone(),
        webhooks: webhooks.clone(),
        clock: app.clock.clone(),
    })))
}
