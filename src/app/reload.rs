//! Putting a changed configuration in force while requests run.

use std::sync::Arc;

use ahash::AHashMap;
use parking_lot::Mutex;

use crate::accounts::{Occasion, Registry};
use crate::admin::Control;
use crate::app::{App, Snapshot};
use crate::base::secret::Secret;
use crate::config::{self, Config, Errors, StaticKey};
use crate::connection::Certificate;
use crate::route::health::Health;
use crate::webhooks::Webhooks;

/// Reads the configuration's file again on request. A request that runs keeps
/// the configuration that it began with; a bad file changes nothing.
pub struct Reloader {
    app: Arc<App>,
    registry: Arc<Registry>,
    webhooks: Arc<Webhooks>,
    /// The keys that were made at start, by account, in the order of the file: a
    /// reload keeps them.
    made: AHashMap<Arc<str>, Vec<Secret>>,
    /// What new connections of clients get, where they get any.
    certificate: Option<Arc<Certificate>>,
    /// One reload at a time, so that the last one to begin is the one in force.
    turn: Mutex<()>,
}

impl Reloader {
    /// A reloader of `app`, whose accounts and keys are those of `registry`.
    pub fn new(
        app: &Arc<App>,
        registry: &Arc<Registry>,
        webhooks: &Arc<Webhooks>,
        generated: impl Iterator<Item = (Arc<str>, Secret)>,
        certificate: Option<Arc<Certificate>>,
    ) -> Self {
        let mut made = AHashMap::<_, Vec<_>>::new();
        for (account, key) in generated {
            made.entry(account).or_default().push(key);
        }
        let (app, registry, webhooks) = (app.clone(), registry.clone(), webhooks.clone());
        Self { app, registry, webhooks, made, certificate, turn: Mutex::new(()) }
    }

    /// Whether clients are served over TLS.
    pub fn has_certificate(&self) -> bool {
        self.certificate.is_some()
    }

    /// Takes the certificate of the configuration in force if its files have
    /// changed; a bad one changes nothing. Blocks on the disk.
    pub fn refresh_certificate(&self) {
        let config = self.app.config();
        let (Some(certificate), Some(files)) = (&self.certificate, &config.listen.tls) else {
            return;
        };
        match certificate.refresh(files) {
            Ok(true) => tracing::info!("new connections get the changed certificate"),
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "the certificate in force stays"),
        }
    }

    /// `given` with the keys that were made at start in the places of empty ones.
    fn with_made(&self, given: &[StaticKey]) -> Vec<StaticKey> {
        let mut taken = AHashMap::<&str, usize>::new();
        let with_made = |given: &StaticKey| {
            let mut given = given.clone();
            if given.key.is_empty()
                && let Some((account, made)) = self.made.get_key_value(&given.account)
            {
                let turn = taken.entry(account).or_default();
                given.key = made.get(*turn).unwrap_or(&given.key).clone();
                *turn += 1;
            }
            given
        };
        given.iter().map(with_made).collect()
    }

    fn apply(&self, config: Config) -> Result<(), Errors> {
        let app = &self.app;
        let before = app.config();
        for (what, changed) in [
            ("listen", !config.listen.same_addresses(&before.listen)),
            ("store", config.store != before.store),
            ("cache", config.cache != before.cache),
            ("admin.token", config.admin_token != before.admin_token),
            ("log", config.log != before.log),
        ] {
            if changed {
                tracing::warn!("{what} has changed: that takes effect at the next start");
            }
        }
        let keys = self.with_made(&config.keys);
        app.vault
            .rotate(config.master_keys.current.as_ref())
            .map_err(|error| Errors::whole(&config.source, error.to_string()))?;
        let config = Arc::new(config);
        self.registry
            .apply(config.clone(), &keys, Occasion::Reload)
            .map_err(|error| Errors::whole(&config.source, error.to_string()))?;
        app.requests.set_cap(config.limits.global.requests);
        app.connections.set_cap(config.limits.global.connections);
        app.calls.set_limits(&config.limits.global);
        app.peers.set(config.clone());
        self.webhooks.configure(&config.webhooks);
        let known = app.snapshot.load();
        let snapshot = Snapshot::new(config, &app.metrics, &app.clock, Some(&known));
        app.snapshot.store(Arc::new(snapshot));
        self.refresh_certificate();
        Ok(())
    }
}

impl Control for Reloader {
    fn config(&self) -> Arc<Config> {
        self.app.config()
    }

    fn health(&self, name: &str) -> Option<Arc<Health>> {
        self.app.snapshot.load().providers.get(name).map(|reach| reach.health.clone())
    }

    fn reload(&self) -> Result<(), Errors> {
        let _turn = self.turn.lock();
        let source = self.app.config().source.clone();
        let reloaded = config::load(&source).and_then(|config| self.apply(config));
        match &reloaded {
            Ok(()) => tracing::info!("the configuration was reloaded"),
            Err(errors) => tracing::error!(%errors, "the configuration stays as it was"),
        }
        reloaded
    }
}
