//! What a configuration means: the checked types.

mod opaque;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;

use crate::base::money::Money;
use crate::base::network::Networks;
use crate::base::secret::Secret;

pub use opaque::{Opaque, Ownership};

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
    /// Every class; one is named `default`.
    pub classes: Vec<Arc<Class>>,
    /// Every plan, `extends` already applied.
    pub plans: Vec<Arc<Plan>>,
    /// Limits that hold whatever the plan.
    pub limits: Limits,
    /// Endpoints that Tollgate does not understand.
    pub opaque: Opaque,
    /// How requests are routed and how long providers may take.
    pub routing: Routing,
    /// Accounts and keys given in the file.
    pub keys: Vec<StaticKey>,
    /// Where months begin and end (`billing.timezone`).
    pub timezone: TimeZone,
    /// How long a shutdown waits for running requests.
    pub shutdown_grace: Duration,
    /// Logging.
    pub log: Log,
    /// Whether texts may be logged as a keyed hash (`privacy.log_text_hash`).
    pub log_text_hash: bool,
    /// Keys of the contract that the file sets and that this build accepts and
    /// checks but does not act on yet, dotted, for the banner.
    pub not_in_force: Vec<String>,
    /// What is off or doubtful but no error, in sentences, for the banner.
    pub warnings: Vec<String>,
}

impl Config {
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
    /// Slowest body, in bytes per second, enforced after 10 s.
    pub min_body_rate: u64,
}

/// A certificate and its key, both in PEM form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate chain, the server's own first.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
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

/// The protocol that a provider speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// OpenAI's, or any server compatible with it.
    OpenAi,
    /// Anthropic's Messages.
    Anthropic,
    /// Google's Gemini.
    Gemini,
    /// The built-in provider, which needs no account.
    Sandbox,
}

/// One provider.
#[derive(Clone, Debug)]
pub struct Provider {
    /// Its name in the file, in metrics and in records.
    pub name: Arc<str>,
    /// The protocol that it speaks.
    pub dialect: Dialect,
    /// Its base, such as `https://api.openai.com/v1`, without a trailing slash;
    /// `None` for the sandbox.
    pub base_url: Option<BaseUrl>,
    /// The seller's key; empty for the sandbox and for servers that need none,
    /// which are those with a `base_url` and without the key `api_key`.
    pub api_key: Secret,
    /// Why the provider is off, or `None` if it is on.
    pub off: Option<String>,
    /// Whether it takes `stream_options.include_usage`.
    pub stream_usage: bool,
    /// How long the sandbox waits before the first byte of its answer; zero for
    /// other providers.
    pub latency: Duration,
}

/// A provider's base, in parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl {
    /// Whether it is `https`.
    pub tls: bool,
    /// Host name or address, without brackets.
    pub host: Arc<str>,
    /// Port, 443 or 80 where none is given.
    pub port: u16,
    /// Path without a trailing slash: `/v1`, or empty.
    pub path: Arc<str>,
}

/// How demanding a model is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// Small and cheap.
    Simple,
    /// Large.
    Complex,
    /// The best there is; a model without a tier counts as this.
    Expert,
}

impl Tier {
    /// The name in configuration, headers and records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Simple => "simple",
            Self::Complex => "complex",
            Self::Expert => "expert",
        }
    }
}

/// One public model name.
#[derive(Clone, Debug)]
pub struct Model {
    /// The name that customers use, or `*`.
    pub name: Arc<str>,
    /// Its tier.
    pub tier: Tier,
    /// Where it may run, by preference. Providers that are off are among them;
    /// a default model whose providers are not defined has none.
    pub targets: Vec<Target>,
    /// What its provider charges; `None` is unpriced.
    pub cost: Option<TokenPrices>,
}

/// One place where a model may run.
#[derive(Clone, Debug)]
pub struct Target {
    /// The provider.
    pub provider: Arc<Provider>,
    /// The provider's own name of the model; `None` keeps the asked name.
    pub model: Option<Arc<str>>,
    /// Share of requests among targets that are equally preferred.
    pub weight: u32,
}

/// Prices of one token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenPrices {
    /// Of a prompt token.
    pub input: Money,
    /// Of a prompt token that the provider had cached.
    pub cached_input: Money,
    /// Of an answer token, reasoning included.
    pub output: Money,
}

/// A request class.
#[derive(Clone, Debug)]
pub struct Class {
    /// Its name, in records the `endpoint`.
    pub name: Arc<str>,
    /// The path prefix that chooses it, such as `/documentation`.
    pub prefix: Option<Arc<str>>,
    /// What one request costs the customer.
    pub price: Money,
    /// The feature that a plan must have.
    pub feature: Option<Arc<str>>,
    /// Whether its callers take one another's samples.
    pub samples: Samples,
    /// How its answers are cached; `None` caches only what a request asks for.
    pub cache: Option<ClassCache>,
    /// The public names of the models that it may run on; `None` is all.
    pub models: Option<Vec<Arc<str>>>,
}

/// Whether a caller takes another's sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Samples {
    /// One sample may answer several.
    Shared,
    /// Every caller gets a sample of its own.
    Distinct,
}

/// How the answers of a class are cached.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClassCache {
    /// How long an answer may be given.
    pub ttl: Duration,
    /// The share of requests that the cache should answer, where one is set.
    pub hit_rate_target: Option<f64>,
    /// Who may get an answer.
    pub scope: CacheScope,
}

/// Who may get a cached answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheScope {
    /// The account whose request made it.
    Account,
    /// Every account.
    Shared,
}

/// How a plan is billed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Billing {
    /// Plan fee plus the price of every request.
    Metered,
    /// No price within the quota.
    Included,
}

/// One plan.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its name.
    pub name: Arc<str>,
    /// How it is billed.
    pub billing: Billing,
    /// Fee per month.
    pub monthly_price: Money,
    /// Requests per month, `None` is unlimited.
    pub requests_per_month: Option<u64>,
    /// The plan's own window figures; `None` takes `limits.user`'s.
    pub requests_per_minute: Option<u32>,
    /// See `requests_per_minute`.
    pub requests_per_hour: Option<u32>,
    /// See `requests_per_minute`.
    pub requests_per_day: Option<u32>,
    /// Requests at once; `None` takes `limits.user`'s.
    pub concurrent: Option<u32>,
    /// What the plan may do; `None`, where the file says nothing of it, is
    /// everything.
    pub features: Option<Vec<Arc<str>>>,
    /// The classes that it may use; `None` is all.
    pub classes: Option<Vec<Arc<str>>>,
}

impl Plan {
    /// Whether the plan has `feature`. One that names no features is not gated
    /// by them.
    pub fn has_feature(&self, feature: &str) -> bool {
        self.features.as_ref().is_none_or(|own| own.iter().any(|name| &**name == feature))
    }

    /// A plan that may do nothing, in the place of one that is not there.
    pub fn nothing(name: &str) -> Self {
        Self {
            name: name.into(),
            billing: Billing::Metered,
            monthly_price: Money::ZERO,
            requests_per_month: Some(0),
            requests_per_minute: None,
            requests_per_hour: None,
            requests_per_day: None,
            concurrent: None,
            features: Some(Vec::new()),
            classes: Some(Vec::new()),
        }
    }
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
    /// Requests that may wait for a provider slot.
    pub queue: u32,
    /// Longest wait.
    pub queue_timeout: Duration,
}

/// Routing and provider time-outs.
#[derive(Clone, Debug)]
pub struct Routing {
    /// Retries after the first attempt.
    pub retries: u32,
    /// Time-out of connecting, TLS included.
    pub connect_timeout: Duration,
    /// Time-out of a whole request that is not streamed.
    pub timeout: Duration,
    /// Time-out from the request sent to the first byte of the answer.
    pub first_byte_timeout: Duration,
    /// Time-out between two reads of a streamed answer.
    pub chunk_timeout: Duration,
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
