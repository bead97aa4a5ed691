//! Every handle that a request needs, built once.

mod cache;
mod control;
mod idempotency;
mod names;
pub mod own;
mod probes;
pub mod reload;
mod replay;
pub mod run;
pub mod snapshot;
mod used_up;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::HeaderValue;

use crate::admission::address;
use crate::admission::queue::CallSlots;
use crate::admission::rate::Rates;
use crate::auth::key::KeyHasher;
use crate::auth::keyring::Keyring;
use crate::base::clock::{Clock, Timestamp};
use crate::base::id::{RecordId, RecordIds};
use crate::base::pace::Pace;
use crate::base::pseudonym::Pseudonyms;
use crate::base::slots::Slots;
use crate::cache::Cache;
use crate::config::{Config, Provider};
use crate::connection::limit::PeerLimit;
use crate::exchange::{CacheResult, Errors, Exchange};
use crate::idempotency::Idempotency;
use crate::ledger::Ledger;
use crate::notice::Notices;
use crate::sandbox::{self, ReplyBody};
use crate::share::embeddings::Groups;
use crate::share::{Flights, Windows};
use crate::store::Store;
use crate::store::ownership::Owners;
use crate::telemetry::metrics::{Metrics, labels};
use crate::telemetry::seldom::Seldom;
use crate::upstream::{self, Reply};
use crate::vault::Vault;
use names::Names;

pub use run::{ConfiguredKey, Running, StartError, start};
pub use snapshot::{Reach, Snapshot};

/// Largest `x-request-id` of a client that is kept, in bytes.
const REQUEST_ID: usize = 128;

/// Every handle that a request needs.
pub struct App {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What the configuration in force makes; replaced whole by a reload.
    pub snapshot: ArcSwap<Snapshot>,
    /// The keys in force; they change while requests run.
    pub keyring: Arc<Keyring>,
    /// The windows, quota and concurrency of every active account.
    pub rates: Arc<Rates>,
    /// Requests at once, of all accounts together.
    pub requests: Arc<Slots>,
    /// How long requests run.
    pub pace: Arc<Pace>,
    /// Calls to providers at once, and the queue for them.
    pub calls: Arc<CallSlots>,
    /// The windows and concurrency of client addresses.
    pub addresses: Arc<address::Addresses>,
    /// Client connections at once.
    pub connections: Arc<Slots>,
    /// Client connections of each address.
    pub peers: Arc<PeerLimit>,
    /// Connections to providers.
    pub upstream: upstream::Connections,
    /// The ledger.
    pub ledger: Arc<Ledger>,
    /// The embedded store.
    pub store: Store,
    /// Whose each thing is that a provider made.
    pub owners: Arc<dyn Owners>,
    /// Who hears of quotas and budgets that run out.
    pub notices: Arc<dyn Notices>,
    /// Models and providers of accounts' own.
    pub own: Arc<own::OwnModels>,
    /// The response cache.
    pub cache: Arc<Cache>,
    /// The keys of what is kept.
    pub vault: Arc<Vault>,
    /// The keys of requests that may be sent again.
    pub idempotency: Arc<Idempotency>,
    /// The calls that equal requests may join.
    pub flights: Flights,
    /// Embeddings that wait behind a call of their kind.
    pub groups: Groups,
    /// Requests for samples that wait for others of the same prompt.
    pub windows: Windows,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// Keeps the loss guard from filling the log.
    pub guard_log: Seldom,
    /// Texts that every record repeats.
    pub names: Names,
    /// What providers see of end users.
    pub pseudonyms: Pseudonyms,
    ids: RecordIds,
    journal_up: AtomicBool,
    /// Since when the process ends, in microseconds of the monotonic clock; 0 while
    /// it does not.
    stopping: AtomicU64,
    text_hash_key: [u8; 32],
}

/// What [`App::new`] needs besides the first snapshot.
pub struct Parts {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The ledger, open.
    pub ledger: Arc<Ledger>,
    /// The embedded store, open.
    pub store: Store,
    /// Whose each thing is that a provider made.
    pub owners: Arc<dyn Owners>,
    /// Who hears of quotas and budgets that run out.
    pub notices: Arc<dyn Notices>,
    /// Models and providers of accounts' own.
    pub own: Arc<own::OwnModels>,
    /// The response cache.
    pub cache: Arc<Cache>,
    /// The keys of what is kept.
    pub vault: Arc<Vault>,
    /// The keys of requests that may be sent again.
    pub idempotency: Arc<Idempotency>,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// The keys in force.
    pub keyring: Arc<Keyring>,
    /// The accounts' windows and quotas, rebuilt from the ledger.
    pub rates: Arc<Rates>,
    /// The key of hashes of texts.
    pub text_hash_key: [u8; 32],
}

impl App {
    /// An application that begins with `snapshot`.
    pub fn new(snapshot: Snapshot, parts: Parts) -> Arc<Self> {
        let global = snapshot.config.limits.global;
        let peers = PeerLimit::new(snapshot.config.clone());
        let calls = CallSlots::new(&global, parts.clock.clone());
        let reserving = calls.clone();
        parts.keyring.tell_dedicated(move |any| reserving.reserve(any));
        Arc::new(Self {
            pace: Pace::new(parts.clock.clone()),
            clock: parts.clock,
            snapshot: ArcSwap::from_pointee(snapshot),
            keyring: parts.keyring,
            rates: parts.rates,
            requests: Slots::new(global.requests),
            calls,
            addresses: address::Addresses::new(),
            connections: Slots::new(global.connections),
            peers,
            upstream: upstream::Connections::default(),
            ledger: parts.ledger,
            store: parts.store,
            owners: parts.owners,
            notices: parts.notices,
            own: parts.own,
            cache: parts.cache,
            vault: parts.vault,
            idempotency: parts.idempotency,
            flights: Flights::new(),
            groups: Groups::default(),
            windows: Windows::default(),
            metrics: parts.metrics,
            guard_log: Seldom::default(),
            names: Names::default(),
            pseudonyms: Pseudonyms::new(&parts.text_hash_key),
            ids: RecordIds::default(),
            journal_up: AtomicBool::new(true),
            stopping: AtomicU64::new(0),
            text_hash_key: parts.text_hash_key,
        })
    }

    /// The configuration in force.
    pub fn config(&self) -> Arc<Config> {
        self.snapshot.load().config.clone()
    }

    /// A new exchange; `given` is the client's own `x-request-id`.
    pub fn exchange(&self, given: Option<&HeaderValue>) -> Exchange {
        let received = self.clock.wall();
        let id = self.ids.next(received);
        let sane = |text: &&str| {
            (1..=REQUEST_ID).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
        };
        let given = given.and_then(|value| value.to_str().ok()).filter(sane);
        Exchange {
            id,
            request_id: given.map_or_else(|| named(id), Arc::from),
            received,
            started: self.clock.monotonic(),
            waited: Duration::ZERO,
            class: None,
            plan: None,
            billed: false,
            standing: None,
            token_standing: None,
            tokens_held: 0,
            cache: CacheResult::Bypass,
            age: None,
            quota_left: None,
            quota_held: false,
            warnings: Vec::new(),
            route: None,
            errors: Errors::default(),
        }
    }

    /// The identifier of a record that begins at `at`.
    pub fn record_id(&self, at: Timestamp) -> RecordId {
        self.ids.next(at)
    }

    /// Notes that the process ends, for what would not end by itself.
    fn begin_to_stop(&self) {
        let now = self.clock.monotonic().as_micros().max(1);
        self.stopping.store(u64::try_from(now).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Since when the process ends, on the monotonic clock, if it does.
    pub fn stopping_since(&self) -> Option<Duration> {
        let since = self.stopping.load(Ordering::Relaxed);
        (since > 0).then(|| Duration::from_micros(since))
    }

    /// The keyed hash of what stands for a request's text, for its record: BLAKE3 in
    /// keyed mode, its first 16 bytes in hexadecimal.
    pub fn text_hash(&self, text: &[u8]) -> Arc<str> {
        let hash = self.body_hash(text);
        hash.to_hex().get(..32).map(Arc::from).unwrap_or_default()
    }

    /// The keyed hash of a request's body, to the byte.
    pub fn body_hash(&self, body: &[u8]) -> blake3::Hash {
        blake3::keyed_hash(&self.text_hash_key, body)
    }

    /// Keeps `store_up` in step with what a write to the journal came to.
    pub fn journal_took<T, E>(&self, written: Result<T, E>) -> Result<T, E> {
        let up = written.is_ok();
        // A swap only where something changes: this is asked twice a request.
        if self.journal_up.load(Ordering::Relaxed) != up
            && self.journal_up.swap(up, Ordering::Relaxed) != up
        {
            self.metrics.store_up(labels::Store::Journal, up);
        }
        written
    }

    /// Whether the last write to the journal succeeded, or a probe since.
    fn journal_up(&self) -> bool {
        self.journal_up.load(Ordering::Relaxed)
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

/// `req_` and the identifier in hexadecimal, for a request that has no name.
fn named(id: RecordId) -> Arc<str> {
    let mut digits = uuid::Uuid::encode_buffer();
    let digits = id.0.simple().encode_lower(&mut digits);
    let mut name = [0; "req_".len() + uuid::fmt::Simple::LENGTH];
    let (start, rest) = name.split_at_mut("req_".len());
    start.copy_from_slice(b"req_");
    rest.copy_from_slice(digits.as_bytes());
    // ASCII throughout.
    std::str::from_utf8(&name).map(Arc::from).unwrap_or_default()
}

/// The hasher of API keys and the key of text hashes, from one secret.
///
/// Both are derived with BLAKE3's key derivation, so that neither hash says
/// anything about the other.
pub fn derive_keys(secret: &str) -> (KeyHasher, [u8; 32]) {
    let derive = |context| blake3::derive_key(context, secret.as_bytes());
    (KeyHasher::new(derive("tollgate 2026-11 api key hash")), derive("tollgate 2026-11 text hash"))
}

/// The key of the cache's keys, from the same secret as [`derive_keys`].
pub fn derive_cache_key(secret: &str) -> [u8; 32] {
    blake3::derive_key("tollgate 2026-11 cache key", secret.as_bytes())
}
