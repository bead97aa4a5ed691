//! Starting and stopping the process's services.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

use crate::accounts::{ApplyError, Occasion, Registry};
use crate::admin::{self, AdminState, Control};
use crate::admission::rate::Rates;
use crate::app::reload::Reloader;
use crate::app::{Addresses, App, Parts, Snapshot, derive_keys, idempotency};
use crate::app::{cache, control, probes, replay, used_up};
use crate::auth::key;
use crate::base::clock::Clock;
use crate::base::keyfile;
use crate::base::secret::Secret;
use crate::base::slots::Slots;
use crate::billing::Biller;
use crate::config::{Config, StaticKey};
use crate::connection::{Certificate, CertificateError, Connections, Tls};
use crate::gateway::Gateway;
use crate::ledger::{OpenError, Report};
use crate::meter::estimate;
use crate::server::{self, Bound};
use crate::store::ownership::EmbeddedOwners;
use crate::store::{self, Store, StoreError};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::metrics::labels;
use crate::upstream::roots::{self, RootsError};
use crate::vault;
use crate::webhooks::Webhooks;

/// How often a journal that took no write is tried again.
const JOURNAL_LOOK: Duration = Duration::from_secs(1);
/// How often idle accounts are forgotten.
const SWEEP: Duration = Duration::from_secs(60);
/// How often the files of the certificate are looked at.
const CERTIFICATE_LOOK: Duration = Duration::from_secs(2);
/// How often a drain looks whether it is over.
const DRAIN_STEP: Duration = Duration::from_millis(10);
/// How long tasks that nobody waits for may still run at the end.
const LAST_MOMENT: Duration = Duration::from_millis(100);

/// An account's key, as the configuration gives it or as it was made.
#[derive(Clone, Debug)]
pub struct ConfiguredKey {
    /// The account's id.
    pub account: Arc<str>,
    /// The plan's name.
    pub plan: Arc<str>,
    /// The key.
    pub key: Secret,
    /// Whether it was made at this start, so that it must be shown once.
    pub generated: bool,
}

/// Why the process cannot start. The messages name files and addresses, never
/// secrets.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        error: io::Error,
    },
    /// The ledger cannot be opened.
    #[error(transparent)]
    Ledger(#[from] OpenError),
    /// The embedded store cannot be opened.
    #[error(transparent)]
    Store(#[from] store::OpenError),
    /// A tree of the embedded store cannot be opened.
    #[error(transparent)]
    Trees(StoreError),
    /// A secret file of the data directory cannot be read or made.
    #[error("cannot read or make {}: {error}", path.display())]
    Secret {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// The keys of what is kept cannot be read.
    #[error(transparent)]
    Vault(#[from] vault::OpenError),
    /// Nobody could vouch for a provider.
    #[error(transparent)]
    Roots(#[from] RootsError),
    /// The certificate of `listen.tls` cannot be used.
    #[error("listen.tls: {0}")]
    Tls(#[from] CertificateError),
    /// The accounts and keys cannot be put in force.
    #[error(transparent)]
    Accounts(#[from] ApplyError),
    /// The runtime or the metrics cannot be made.
    #[error("cannot start: {0}")]
    Runtime(String),
}

/// A started process; dropping it stops it at once.
pub struct Running {
    /// Clients' address, with its real port.
    pub proxy: SocketAddr,
    /// Operators' address, with its real port.
    pub admin: SocketAddr,
    /// The address of `/metrics` alone, if it has one.
    pub metrics: Option<SocketAddr>,
    /// The admin token in force.
    pub admin_token: Secret,
    /// The configuration in force.
    pub config: Arc<Config>,
    /// The configuration's keys, those made at this start included.
    pub keys: Vec<ConfiguredKey>,
    /// What the opening of the ledger found.
    pub report: Report,
    app: Arc<App>,
    webhooks: Arc<Webhooks>,
    reloader: Arc<Reloader>,
    stopping: watch::Sender<bool>,
    data: Option<Runtime>,
    control: Option<Runtime>,
}

/// Opens the ledger, binds the listeners, and serves. Blocks until requests are
/// taken; must not be called on a runtime's own thread.
///
/// # Errors
/// [`StartError`]; nothing runs then.
pub fn start(config: Config, clock: Arc<dyn Clock>) -> Result<Running, StartError> {
    let proxy = bind(config.listen.proxy)?;
    let admin = bind(config.listen.admin)?;
    let metrics_alone = config.listen.metrics.map(bind).transpose()?;
    let addresses = Addresses {
        proxy: proxy.address(),
        admin: admin.address(),
        metrics: metrics_alone.as_ref().map(Bound::address),
    };

    let (certificate, tls) = secured(&config)?;

    let data_directory = &config.store.path;
    let rates = Arc::new(Rates::new());
    let ledger = replay::open(&config, &clock, &rates)?;
    let ledger = Arc::new(ledger);
    // After the ledger, whose opening takes the lock of the data directory.
    let store = Store::open(data_directory)?;
    replay::deposits(&store, &rates).map_err(StartError::Trees)?;
    let owners = Arc::new(EmbeddedOwners::open(&store).map_err(StartError::Trees)?);

    let vault = control::vault(&config)?;

    let path = data_directory.join("hash.key");
    let secret = keyfile::load_or_create(&path, keyfile::random_hex)
        .map_err(|error| StartError::Secret { path, error })?;
    let (hasher, text_hash_key) = derive_keys(secret.expose());
    let admin_token = admin_token(&config)?;
    let keys: Vec<ConfiguredKey> = config.keys.iter().map(configured).collect();
    let given: Vec<StaticKey> = std::iter::zip(&config.keys, &keys)
        .map(|(given, made)| StaticKey { key: made.key.clone(), ..given.clone() })
        .collect();
    let metrics = new_metrics(&config)?;

    let config = Arc::new(config);
    let cache = cache::open(&config, secret.expose(), &vault, &clock, &metrics)
        .map_err(|error| StartError::Runtime(error.to_string()))?;
    let secrets = control::Secrets { hasher, vault: &vault, cache: &cache, things: owners.clone() };
    let control::Accounts { keyring, registry, own } =
        control::accounts(&store, &config, secrets, &clock, &metrics)?;
    registry.apply(config.clone(), &given, Occasion::Start)?;
    let snapshot = Snapshot::new(config.clone(), &metrics, &clock, None);
    let idempotency =
        idempotency::open(&store, &vault, secret.expose()).map_err(StartError::Trees)?;
    let webhooks = Webhooks::of(&store, &config, &clock, &metrics).map_err(StartError::Trees)?;
    let parts = Parts {
        clock,
        ledger,
        own,
        cache,
        vault,
        idempotency,
        metrics,
        keyring,
        rates,
        store,
        owners,
        notices: webhooks.clone(),
        text_hash_key,
    };
    let app = App::new(snapshot, parts);
    let generated = keys.iter().filter(|made| made.generated);
    let generated = generated.map(|made| (made.account.clone(), made.key.clone()));
    let reloader = Reloader::new(&app, &registry, &webhooks, generated, certificate);
    let reloader = Arc::new(reloader);
    let biller = control::biller(&app, &webhooks).map_err(StartError::Trees)?;
    let state = operated(&app, &reloader, registry, biller, &webhooks, &admin_token);
    let (stopping, stop) = watch::channel(false);
    let report = app.ledger.report().clone();

    let control = serve_operators(&app, &reloader, state, admin, metrics_alone)?;
    let data = serve_clients(&app, tls, proxy, stop)?;

    Ok(Running {
        proxy: addresses.proxy,
        admin: addresses.admin,
        metrics: addresses.metrics,
        admin_token,
        config,
        keys,
        report,
        app,
        webhooks,
        reloader,
        stopping,
        data: Some(data),
        control: Some(control),
    })
}

impl Running {
    /// Stops gracefully: no new connections, running requests end, at most for
    /// `shutdown.grace`; then everything is flushed. Blocks until that is done.
    pub fn stop(mut self) {
        self.app.begin_to_stop();
        self.stopping.send_replace(true);
        let grace = self.app.config().shutdown_grace;
        if let Some(control) = &self.control {
            control.block_on(drained(&self.app.connections, grace));
        }
        self.end();
    }

    /// What reads the configuration's file again, for SIGHUP.
    pub fn control(&self) -> Arc<dyn Control> {
        self.reloader.clone()
    }

    fn end(&mut self) {
        self.stopping.send_replace(true);
        if let Some(data) = self.data.take() {
            data.shutdown_timeout(LAST_MOMENT);
        }
        if let Some(control) = self.control.take() {
            control.shutdown_timeout(LAST_MOMENT);
        }
        // At the start of a later month nothing would find them again.
        self.webhooks.keep_raised();
        self.app.cache.close();
        if let Err(error) = self.app.ledger.sync() {
            tracing::error!(%error, "the ledger could not be flushed at the end");
        }
        if let Err(error) = self.app.store.flush() {
            tracing::error!(%error, "the store could not be flushed at the end");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.data.is_some() {
            self.end();
        }
    }
}

/// Resolves once no connection is open, or after `grace`.
async fn drained(open: &Slots, grace: Duration) {
    let empty = async {
        while open.in_use() > 0 {
            tokio::time::sleep(DRAIN_STEP).await;
        }
    };
    // Time over is the other way to end.
    let _over = tokio::time::timeout(grace, empty).await;
}

fn new_metrics(config: &Config) -> Result<Arc<Metrics>, StartError> {
    let metrics = Metrics::new(config.models.iter().map(|model| &model.name))
        .map_err(|error| StartError::Runtime(error.to_string()))?;
    metrics.store_up(labels::Store::Journal, true);
    Ok(Arc::new(metrics))
}

fn bind(address: SocketAddr) -> Result<Bound, StartError> {
    Bound::new(address).map_err(|error| StartError::Listen { address, error })
}

/// TLS for clients, if the configuration wants it; checks that towards providers
/// too.
fn secured(config: &Config) -> Result<(Option<Arc<Certificate>>, Option<Tls>), StartError> {
    roots::check()?;
    let Some(files) = &config.listen.tls else { return Ok((None, None)) };
    let certificate = Certificate::load(files)?;
    Ok((Some(certificate.clone()), Some(Tls::new(certificate)?)))
}

/// The admin token: the configuration's, or else the one that is kept.
fn admin_token(config: &Config) -> Result<Secret, StartError> {
    if !config.admin_token.is_empty() {
        return Ok(config.admin_token.clone());
    }
    let directory = &config.store.path;
    let path = admin::token::path(directory);
    admin::token::load_or_create(directory).map_err(|error| StartError::Secret { path, error })
}

fn configured(given: &StaticKey) -> ConfiguredKey {
    let generated = given.key.is_empty();
    ConfiguredKey {
        account: given.account.clone(),
        plan: given.plan.name.clone(),
        key: if generated { key::generate() } else { given.key.clone() },
        generated,
    }
}

/// What the admin API reads and changes.
fn operated(
    app: &Arc<App>,
    reloader: &Arc<Reloader>,
    registry: Arc<Registry>,
    biller: Arc<Biller>,
    webhooks: &Arc<Webhooks>,
    token: &Secret,
) -> AdminState {
    AdminState {
        ledger: app.ledger.clone(),
        cache: app.cache.clone(),
        control: reloader.clone(),
        registry,
        biller,
        webhooks: webhooks.clone(),
        metrics: app.metrics.clone(),
        clock: app.clock.clone(),
        token: token.clone(),
    }
}

/// Accepts operators' connections, and does what no client waits for, on a
/// runtime of its own.
fn serve_operators(
    app: &Arc<App>,
    reloader: &Arc<Reloader>,
    state: AdminState,
    admin: Bound,
    metrics_alone: Option<Bound>,
) -> Result<Runtime, StartError> {
    let control = runtime("control", 1)?;
    control.spawn(serve_admin(admin.into_socket(), admin::router(state.clone())));
    control.spawn(watch_journal(app.clone()));
    control.spawn(sweep(app.clone(), state.registry.clone()));
    let counted = app.clone();
    control.spawn(state.webhooks.clone().run(move || used_up::notices(&counted)));
    if let Some(bound) = metrics_alone {
        control.spawn(serve_admin(bound.into_socket(), admin::metrics_router(state)));
    }
    control.spawn(watch_certificate(reloader.clone()));
    // The tokenizer's tables take a moment to build: not on a first request.
    control.spawn_blocking(estimate::warm);
    Ok(control)
}

/// Accepts clients' connections on a runtime of their own.
fn serve_clients(
    app: &Arc<App>,
    tls: Option<Tls>,
    proxy: Bound,
    stop: watch::Receiver<bool>,
) -> Result<Runtime, StartError> {
    let (open, peers) = (app.connections.clone(), app.peers.clone());
    let (gateway, secured) = (Gateway::new(app.clone()), tls.is_some());
    let connections = Connections::new(gateway, open, peers, app.metrics.clone()).over(tls);
    let data = runtime("proxy", workers())?;
    data.spawn(server::accept(connections, proxy, secured, stop));
    data.spawn(probes::run(app.clone()));
    Ok(data)
}

fn workers() -> usize {
    std::thread::available_parallelism().map_or(2, std::num::NonZero::get)
}

fn runtime(name: &str, threads: usize) -> Result<Runtime, StartError> {
    Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name(name)
        .enable_all()
        .build()
        .map_err(|error| StartError::Runtime(error.to_string()))
}

async fn serve_admin(socket: std::net::TcpListener, router: axum::Router) {
    let served = match tokio::net::TcpListener::from_std(socket) {
        Ok(listener) => axum::serve(listener, router).await,
        Err(error) => Err(error),
    };
    if let Err(error) = served {
        tracing::error!(%error, "the admin listener ended");
    }
}

/// Forgets idle accounts and addresses, and keys that have ended, now and then.
async fn sweep(app: Arc<App>, registry: Arc<Registry>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let (now, month) =
            (app.clock.monotonic(), app.snapshot.load().calendar.month(app.clock.wall()).number);
        app.rates.sweep(now, month);
        app.addresses.sweep(now);
        registry.sweep();
        idempotency::sweep(&app).await;
        let cache = app.cache.clone();
        // It fails only while the process ends.
        drop(tokio::task::spawn_blocking(move || cache.sweep()).await);
    }
}

/// Finds out that the journal takes writes again, where nobody asks for one.
async fn watch_journal(app: Arc<App>) {
    loop {
        tokio::time::sleep(JOURNAL_LOOK).await;
        if !app.journal_up() {
            let app = app.clone();
            let probe = move || app.journal_took(app.ledger.probe());
            if let Ok(Err(error)) = tokio::task::spawn_blocking(probe).await {
                tracing::debug!(%error, "the journal cannot be written still");
            }
        }
    }
}

/// Takes a renewed certificate, if there is any, without anybody having to say
/// so.
async fn watch_certificate(reloader: Arc<Reloader>) {
    while reloader.has_certificate() {
        tokio::time::sleep(CERTIFICATE_LOOK).await;
        let reloader = reloader.clone();
        // What goes wrong is in the log; the next look may find it well.
        drop(tokio::task::spawn_blocking(move || reloader.refresh_certificate()).await);
    }
}
