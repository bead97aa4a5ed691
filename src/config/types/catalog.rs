//! What is sold and what it runs on: providers, models, classes, plans.

use std::sync::Arc;
use std::time::Duration;

use crate::base::factor::Factor;
use crate::base::money::Money;
use crate::base::secret::Secret;
use crate::config::types::{
    HeaderRules, LossGuard, Manner, Prefer, Rewrite, Tariff, Template, Thinking, Wording,
};

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

impl Dialect {
    /// The name in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
            Self::Sandbox => "sandbox",
        }
    }
}

/// Whose requests a provider serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pool {
    /// Those of every plan.
    Shared,
    /// As a target of a model, those of plans with `dedicated_instances` alone.
    Dedicated,
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
    /// The seller's key, the first where there are several; empty for the sandbox
    /// and for servers that need none, which are those with a `base_url` and
    /// without the keys `api_key` and `api_keys`.
    pub api_key: Secret,
    /// The seller's other keys.
    pub further_keys: Vec<Secret>,
    /// Why the provider is off, or `None` if it is on.
    pub off: Option<String>,
    /// Most samples that one call may ask for (`n`); 1 where they are not gathered.
    pub n_max: u32,
    /// Whether it takes `stream_options.include_usage`.
    pub stream_usage: bool,
    /// How long the sandbox waits before the first byte of its answer; zero for
    /// other providers.
    pub latency: Duration,
    /// Whose requests it serves.
    pub pool: Pool,
    /// How its server differs from others of its dialect.
    pub manner: Manner,
    /// Calls of Tollgate's own that show whether it is alive.
    pub probe: Option<Probe>,
}

/// Calls of Tollgate's own to a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// How often.
    pub interval: Duration,
    /// What is fetched, under the provider's base.
    pub path: Arc<str>,
    /// How long it may take.
    pub timeout: Duration,
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
    /// How a request's target is chosen; `None` is as `routing` says.
    pub prefer: Option<Prefer>,
}

/// One place where a model may run.
#[derive(Clone, Debug)]
pub struct Target {
    /// The provider.
    pub provider: Arc<Provider>,
    /// The provider's own name of the model; `None` keeps the asked name.
    pub model: Option<Arc<str>>,
    /// Share of requests among targets that are equally preferred; where none is
    /// given the target has no equals but those that `prefer` makes, and counts 1.
    pub weight: Option<u32>,
    /// How the model is told to think; `None` is as its provider says.
    pub thinking: Option<Thinking>,
}

impl Target {
    /// How translated requests to it are to be worded.
    pub fn wording(&self) -> Wording {
        let wording = self.provider.manner.wording;
        Wording { thinking: self.thinking.or(wording.thinking), ..wording }
    }
}

/// Prices of one token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenPrices {
    /// Of a prompt token.
    pub input: Money,
    /// Of a prompt token that the provider had cached.
    pub cached_input: Money,
    /// Of a prompt token that the provider puts into its cache.
    pub cache_write: Money,
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
    /// What its requests cost the customer.
    pub tariff: Tariff,
    /// The feature that a plan must have.
    pub feature: Option<Arc<str>>,
    /// Whether its callers take one another's samples.
    pub samples: Samples,
    /// Whether equal requests that run at once become one call.
    pub coalesce: bool,
    /// How its answers are cached; `None` caches only what a request asks for.
    pub cache: Option<ClassCache>,
    /// The public names of the models that it may run on; `None` is all.
    pub models: Option<Vec<Arc<str>>>,
    /// Most prompt tokens, as they are counted here; `None` is no limit.
    pub max_input_tokens: Option<u64>,
    /// Most answer tokens of a request, all its answers together; `None` is no
    /// limit.
    pub max_output_tokens: Option<u64>,
    /// What happens to a request that is expected to cost more than it earns.
    pub loss_guard: LossGuard,
    /// The share of its price that a request is to earn, from 0 to 1.
    pub margin_floor: Factor,
    /// Changes to the fields of its requests' bodies.
    pub rewrite: Rewrite,
    /// The seller's system text.
    pub template: Option<Template>,
    /// Changes to headers, both ways.
    pub headers: HeaderRules,
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
    /// Which answers are kept and given.
    pub when: CacheWhen,
    /// How long after its time an answer may be given.
    pub stale: Stale,
    /// Whether a call runs to its end when its last caller has left.
    pub finish: bool,
}

/// Who may get a cached answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheScope {
    /// The account whose request made it.
    Account,
    /// Every account.
    Shared,
}

/// Which answers are kept and given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheWhen {
    /// All of them.
    Always,
    /// Those that another call would bring again: to requests whose sampling is
    /// off, and embeddings.
    Deterministic,
}

/// How long after its time an answer may be given. Source: RFC 5861.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stale {
    /// In place of a failing provider's.
    pub if_error: Duration,
    /// While a new one is made.
    pub while_revalidate: Duration,
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
    /// Dollars that an account may spend on requests in a month; `None` is
    /// unlimited.
    pub budget: Option<Money>,
    /// Price of a request beyond `requests_per_month`; `None` refuses it.
    pub overage: Option<Money>,
    /// Whether requests are paid from a balance; an account may say otherwise.
    pub prepaid: bool,
    /// The plan's own window figures; `None` takes `limits.user`'s.
    pub requests_per_minute: Option<u32>,
    /// See `requests_per_minute`.
    pub requests_per_hour: Option<u32>,
    /// See `requests_per_minute`.
    pub requests_per_day: Option<u32>,
    /// Tokens in any 60 s; `None` is unlimited.
    pub tokens_per_minute: Option<u32>,
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

    /// Whether reserved slots and the dedicated pool are for the plan: it names
    /// `dedicated_instances`.
    pub fn is_dedicated(&self) -> bool {
        self.names("dedicated_instances")
    }

    /// Whether the plan is ahead in the queue: it names `priority_support`.
    pub fn has_priority(&self) -> bool {
        self.names("priority_support")
    }

    /// Whether the plan itself names `feature`. What takes from others must be
    /// given by name: a plan that is not gated by features has none of it.
    fn names(&self, feature: &str) -> bool {
        self.features.is_some() && self.has_feature(feature)
    }

    /// A plan that may do nothing, in the place of one that is not there.
    pub fn nothing(name: &str) -> Self {
        Self {
            name: name.into(),
            billing: Billing::Metered,
            monthly_price: Money::ZERO,
            requests_per_month: Some(0),
            budget: None,
            overage: None,
            prepaid: false,
            requests_per_minute: None,
            requests_per_hour: None,
            requests_per_day: None,
            tokens_per_minute: None,
            concurrent: None,
            features: Some(Vec::new()),
            classes: Some(Vec::new()),
        }
    }
}
