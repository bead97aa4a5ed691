//! Every handle that a request needs, built once.

mod names;
pub mod run;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use ahash::AHashMap;
use http::HeaderValue;

use crate::admission::rate::Rates;
use crate::auth::key::KeyHasher;
use crate::auth::keyring::Keyring;
use crate::base::clock::Clock;
use crate::base::id::RecordIds;
use crate::base::slots::Slots;
use crate::config::{Config, Dialect, Provider};
use crate::exchange::Exchange;
use crate::ledger::Ledger;
use crate::route::catalog::Catalog;
use crate::sandbox::{self, ReplyBody};
use crate::telemetry::metrics::{Metrics, ProviderSeries};
use crate::upstream::{self, Origin, Reply, Timeouts};
use names::Names;

pub use run::{ConfiguredKey, Running, StartError, start};

/// Largest `x-request-id` of a client that is kept, in bytes.
const REQUEST_ID: usize = 128;

/// Every handle that a request needs.
pub struct App {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The configuration in force.
    pub config: Arc<Config>,
    /// The keys in force.
    pub keyring: Keyring,
    /// The models.
    pub catalog: Catalog,
    /// The windows and concurrency of every active account.
    pub rates: Rates,
    /// Requests at once, of all accounts together.
    pub requests: Arc<Slots>,
    /// Each provider that is on and has an address.
    pub providers: AHashMap<Arc<str>, Reach>,
    /// Connections to providers.
    pub upstream: upstream::Connections,
    /// The ledger.
    pub ledger: Arc<Ledger>,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// Texts that every record repeats.
    pub names: Names,
    ids: RecordIds,
    text_hash_key: Option<[u8; 32]>,
}

/// A provider that can be called.
pub struct Reach {
    /// Where it is.
    pub origin: Arc<Origin>,
    /// Its metrics.
    pub series: Arc<ProviderSeries>,
    /// Whether it does not take `stream_options.include_usage`: as configured,
    /// or learned from a refusal.
    pub refuses_usage: AtomicBool,
}

/// What [`App::new`] needs besides the configuration.
pub struct Parts {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The ledger, open.
    pub ledger: Arc<Ledger>,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// The keys in force.
    pub keyring: Keyring,
    /// The accounts' windows, rebuilt from the ledger.
    pub rates: Rates,
    /// The key of hashes of texts.
    pub text_hash_key: [u8; 32],
}

impl App {
    /// An application of `config`.
    pub fn new(config: Arc<Config>, parts: Parts) -> Arc<Self> {
        let timeouts = Timeouts {
            connect: config.routing.connect_timeout,
            first_byte: config.routing.first_byte_timeout,
            chunk: config.routing.chunk_timeout,
        };
        let on = |provider: &&Arc<Provider>| {
            provider.off.is_none() && provider.dialect != Dialect::Sandbox
        };
        let providers = config
            .providers
            .iter()
            .filter(on)
            .filter_map(|provider| {
                let base = provider.base_url.clone()?;
                let clock = parts.clock.clone();
                let origin = Origin::new(base, &provider.api_key, timeouts, clock);
                let series = parts.metrics.provider(&provider.name);
                let refuses_usage = AtomicBool::new(!provider.stream_usage);
                Some((provider.name.clone(), Reach { origin, series, refuses_usage }))
            })
            .collect();
        Arc::new(Self {
            clock: parts.clock,
            keyring: parts.keyring,
            catalog: Catalog::new(&config),
            rates: parts.rates,
            requests: Slots::new(config.limits.global.requests),
            providers,
            upstream: upstream::Connections::default(),
            ledger: parts.ledger,
            metrics: parts.metrics,
            names: Names::default(),
            ids: RecordIds::default(),
            text_hash_key: config.log_text_hash.then_some(parts.text_hash_key),
            config,
        })
    }

    /// Longest time for a request's header.
    pub fn header_timeout(&self) -> Duration {
        self.config.listen.header_timeout
    }

    /// A new exchange; `given` is the client's own `x-request-id`.
    pub fn exchange(&self, given: Option<&HeaderValue>) -> Exchange {
        let received = self.clock.wall();
        let id = self.ids.next(received);
        let sane = |text: &&str| (1..=REQUEST_ID).contains(&text.len()) && !text.contains(' ');
        let given = given.and_then(|value| value.to_str().ok()).filter(sane);
        Exchange {
            id,
            request_id: given.map_or_else(|| format!("req_{}", id.0.simple()).into(), Arc::from),
            received,
            started: self.clock.monotonic(),
            waited: Duration::ZERO,
            class: None,
            plan: None,
            billed: false,
            standing: None,
        }
    }

    /// The keyed hash of a request's body, for its record: BLAKE3 in keyed mode,
    /// its first 16 bytes in hexadecimal. `None` where the configuration wants
    /// none.
    pub fn text_hash(&self, body: &[u8]) -> Option<Arc<str>> {
        let hash = blake3::keyed_hash(self.text_hash_key.as_ref()?, body);
        hash.to_hex().get(..32).map(Arc::from)
    }

    /// The sandbox's answer, after its configured latency.
    pub async fn sandbox(&self, provider: &Provider, path: &str, body: &[u8]) -> Reply {
        if !provider.latency.is_zero() {
            tokio::time::sleep(provider.latency).await;
        }
        let made = sandbox::respond(path, body, self.clock.wall());
        let pieces = match made.body {
            ReplyBody::Whole(body) => vec![body],
            ReplyBody::Events(events) => events,
        };
        Reply::made(made.status, made.content_type, pieces)
    }
}

/// Where a started process listens.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// Clients' address.
    pub proxy: SocketAddr,
    /// Operators' address.
    pub admin: SocketAddr,
    /// The address of `/metrics` alone, if it has one.
    pub metrics: Option<SocketAddr>,
}

/// The hasher of API keys and the key of text hashes, from one secret.
///
/// Both are derived with BLAKE3's key derivation, so that neither hash says
/// anything about the other.
pub fn derive_keys(secret: &str) -> (KeyHasher, [u8; 32]) {
    let derive = |context| blake3::derive_key(context, secret.as_bytes());
    (KeyHasher::new(derive("tollgate 2026-11 api key hash")), derive("tollgate 2026-11 text hash"))
}
