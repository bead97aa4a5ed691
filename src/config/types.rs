//! What a configuration means: the checked types.

mod cache;
mod catalog;
mod custom;
mod invoicing;
mod manner;
mod privacy;
mod rewrite;
mod routing;
mod tariff;
mod webhooks;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ahash::AHashMap;
use jiff::tz::TimeZone;

use crate::base::money::Money;
use crate::base::network::Networks;
use crate::base::secret::Secret;

pub use cache::CacheRoom;
pub use catalog::{
    BaseUrl, Billing, CacheScope, CacheWhen, Class, ClassCache, Dialect, Model, Plan, Pool, Probe,
    Provider, Samples, Stale, Target, Tier, TokenPrices,
};
pub use custom::{CUSTOM_MODELS, CustomModels};
pub use invoicing::{Invoicing, Seller, Tax};
pub use manner::{Auth, Manner, Thinking, ThinkingField, TokenLimit, Wording};
pub use privacy::MasterKeys;
pub use rewrite::{Cap, FieldChange, HeaderChanges, HeaderRules, Position, Rewrite, Template};
pub use routing::{BreakerRule, Prefer, Routing};
pub use tariff::{Basis, LossGuard, PriceTable, Pricing, Rates, Tariff, TokenTariff, VolumeTier};
pub use webhooks::{
    EVENTS, INVOICE_FINALIZED, INVOICE_PAID, INVOICE_VOIDED, QUOTA_WARNING, Webhook,
};

/// A checked configuration. Names are unique, references resolve, figures are
/// in range.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file that it came from, as given.
    pub source: PathBuf,
    /// Where the process listens.
    pub listen: Listen,
    /// The admin token; empty where the file gives none (one is then made at
    /// first start and kept in the data directory).
    pub admin_token: Secret,
    /// Where and how records are kept.
    pub store: Store,
    /// Every provider, those that are off included.
    pub providers: Vec<Arc<Provider>>,
    /// Every model in the order of the file; `*`, where given, is among them.
    pub models: Vec<Arc<Model>>,
    /// What models cost whose entry does not say (`price_file`).
    pub prices: Arc<PriceTable>,
    /// Every class; one is named `default`.
    pub classes: Vec<Arc<Class>>,
    /// Every plan, `extends` already applied.
    pub plans: Vec<Arc<Plan>>,
    /// Limits that hold whatever the plan.
    pub limits: Limits,
    /// How much of answers is kept.
    pub cache: CacheRoom,
    /// Endpoints that Tollgate does not understand.
    pub opaque: Opaque,
    /// How requests are routed and how long providers may take.
    pub routing: Routing,
    /// Whether equal requests that run at once become one call, where their
    /// class lets them (`batching.coalesce`).
    pub coalesce: bool,
    /// How long requests that want samples of their own wait for each other
    /// (`batching.window`); `None` where they do not (`batching.samples`).
    pub sample_window: Option<Duration>,
    /// Whether embeddings are grouped behind a running call of their kind, and
    /// cached by the input (`batching.embeddings`).
    pub batch_embeddings: bool,
    /// Models and providers of accounts' own.
    pub custom_models: CustomModels,
    /// Accounts and keys given in the file.
    pub keys: Vec<StaticKey>,
    /// Where months begin and end (`billing.timezone`).
    pub timezone: TimeZone,
    /// Who is told of events (`billing.webhooks`), no address twice.
    pub webhooks: Vec<Arc<Webhook>>,
    /// What stands on invoices.
    pub invoicing: Invoicing,
    /// How long a shutdown waits for running requests.
    pub shutdown_grace: Duration,
    /// Logging.
    pub log: Log,
    /// Whether providers see the end users' ids as keyed hashes alone
    /// (`privacy.hash_end_users`).
    pub hash_end_users: bool,
    /// Whether texts may be logged as a keyed hash (`privacy.log_text_hash`).
    pub log_text_hash: bool,
    /// The keys of what is kept.
    pub master_keys: MasterKeys,
    /// Keys of the contract that the file sets and that this build accepts and
    /// checks but does not act on yet, dotted, for the banner.
    pub not_in_force: Vec<String>,
    /// What is off or doubtful but no error, in sentences, for the banner.
    pub warnings: Vec<String>,
}

impl Config {
    /// Whether a model of this public name may be asked for.
    pub fn serves(&self, model: &str) -> bool {
        self.models.iter().any(|known| *known.name == *model || &*known.name == "*")
    }

    /// The sandbox, while it answers: no other provider is on. It answers every
    /// model by itself: a listed one under its own name, tier and prices, whose
    /// targets are then all off, and any other name too, whether there is a `*`
    /// or not. `None` otherwise, and then it is never a target.
    pub fn sandbox(&self) -> Option<&Arc<Provider>> {
        let answers = |provider: &&Arc<Provider>| {
            provider.dialect == Dialect::Sandbox && provider.off.is_none()
        };
        self.providers.iter().find(answers)
    }
}

/// Addresses and the limits of reading.
#[derive(Clone, Debug)]
pub struct Listen {
    /// Clients' address.
    pub proxy: SocketAddr,
    /// Operators' address.
    pub admin: SocketAddr,
    /// An address of its own for `/metrics`.
    pub metrics: Option<SocketAddr>,
    /// The certificate of clients' address; without one it is plain HTTP.
    pub tls: Option<TlsFiles>,
    /// Proxies whose `x-forwarded-for` is believed.
    pub trusted_proxies: Networks,
    /// Largest body of the understood lane, in bytes.
    pub body_limit: usize,
    /// Longest time from the first byte of a header to its end.
    pub header_timeout: Duration,
    /// Slowest body, in bytes per second, enforced after `body_grace`.
    pub min_body_rate: u64,
    /// How long a body may take before its rate is looked at.
    pub body_grace: Duration,
    /// Longest wait for the next piece of a body, and for a client that reads
    /// nothing of its answer.
    pub stall_timeout: Duration,
}

/// A certificate and its key, both in PEM form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate chain, the server's own first.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
    /// Line and column of `cert` in the configuration, both from 1.
    pub cert_at: (usize, usize),
    /// Line and column of `key`.
    pub key_at: (usize, usize),
}

impl Listen {
    /// Whether both listen on the same addresses, and with TLS or without.
    pub fn same_addresses(&self, other: &Self) -> bool {
        let all = |it: &Self| (it.proxy, it.admin, it.metrics, it.tls.is_some());
        all(self) == all(other)
    }
}

/// The data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// The data directory.
    pub path: PathBuf,
    /// When an answer may leave.
    pub durability: Durability,
}

/// When an answer's record counts as kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Once the kernel has it: survives the end of the process.
    Process,
    /// Once the disk has it: survives a power loss.
    Power,
}

/// Limits that hold whatever the plan.
#[derive(Clone, Debug)]
pub struct Limits {
    /// For an account whose plan says nothing else.
    pub user: UserLimits,
    /// For a client address.
    pub ip: IpLimits,
    /// For the process.
    pub global: GlobalLimits,
}

/// Limits of an account. `unlimited` is `u32::MAX`, here and wherever a limit is
/// a plain number.
#[derive(Clone, Copy, Debug)]
pub struct UserLimits {
    /// Requests in any 60 s.
    pub per_minute: u32,
    /// Requests in any 3,600 s.
    pub per_hour: u32,
    /// Requests in any 86,400 s.
    pub per_day: u32,
    /// Requests at once.
    pub concurrent: u32,
}

/// Limits of a client address.
#[derive(Clone, Debug)]
pub struct IpLimits {
    /// Requests in any 60 s.
    pub per_minute: u32,
    /// Requests in any 3,600 s.
    pub per_hour: u32,
    /// Requests at once.
    pub concurrent: u32,
    /// Open connections.
    pub connections: u32,
    /// Unknown keys in any 60 s.
    pub failed_keys_per_minute: u32,
    /// Addresses to which none of this applies.
    pub exempt: Networks,
}

/// Limits of the process.
#[derive(Clone, Copy, Debug)]
pub struct GlobalLimits {
    /// Open client connections.
    pub connections: u32,
    /// Requests at once.
    pub requests: u32,
    /// Provider requests at once.
    pub concurrent: u32,
    /// Those of them that are left to plans with `dedicated_instances`, while
    /// any account that has one has a key; fewer than `concurrent`.
    pub reserved: u32,
    /// Requests that may wait for a provider slot.
    pub queue: u32,
    /// Longest wait.
    pub queue_timeout: Duration,
}

/// Endpoints that Tollgate does not understand.
#[derive(Clone, Debug)]
pub struct Opaque {
    /// The provider that answers them, which may be off; `None` where the
    /// default is not among the providers.
    pub provider: Option<Arc<Provider>>,
    /// Whether what an account made is kept from others.
    pub ownership: Ownership,
    /// Whether paths that are not known at all are served.
    pub allow_unknown: bool,
    /// Price of one request.
    pub price: Money,
    /// Prices of one request by the root of its path, such as `images`; where one
    /// is missing, `price` holds.
    pub prices: AHashMap<String, Money>,
    /// How long both sides of a WebSocket may be silent.
    pub socket_idle: Duration,
    /// Largest message of a WebSocket, in bytes.
    pub socket_message_limit: u64,
}

impl Opaque {
    /// Price of one request under `root`, such as `images`.
    pub fn price_of(&self, root: &str) -> Money {
        self.prices.get(root).copied().unwrap_or(self.price)
    }
}

/// Whether what an account made at a provider is kept from other accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// Others get a 404.
    Enforce,
    /// Nothing is checked: for a single tenant.
    Off,
}

/// An account and its key, given in the file.
#[derive(Clone, Debug)]
pub struct StaticKey {
    /// The account's id.
    pub account: Arc<str>,
    /// The account's plan.
    pub plan: Arc<Plan>,
    /// The key; empty means a new one at each start.
    pub key: Secret,
    /// Dollars that requests with it may cost in a month; `None` is unlimited.
    pub budget: Option<Money>,
}

/// Logging.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// How lines look.
    pub format: LogFormat,
    /// A `tracing` filter directive such as `info`.
    pub level: String,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Pretty,
    /// One JSON object a line.
    Json,
}
