//! Every metric that Tollgate exposes, declared and documented here.
//!
//! Names begin with `tollgate_`; units are base units (seconds, bytes, dollars).
//! Label values are bounded: they come from the configuration, from the enums
//! of [`labels`] or from HTTP status codes. A model that the catalogue does not
//! name is `other`, so no label holds a text that a client chose.
//!
//! A request costs one look-up ([`Metrics::series`]) and a handful of atomic
//! additions ([`Series::observe`]); nothing on that way takes a lock.

use std::sync::Arc;
use std::time::Duration;

use ahash::AHashSet;
use prometheus::{
    CounterVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    TextEncoder,
};

use crate::ledger::record::Savings;
use crate::notice::Kind;
use crate::telemetry::copy_on_write::CopyOnWrite;
use crate::telemetry::process;

mod admission;
mod cache;
mod dialect;
mod guard;
mod health;
mod idempotency;
pub mod labels;
mod register;
mod series;
mod webhooks;

use admission::AdmissionFamilies;
use cache::CacheFamilies;
pub use cache::{CacheSeries, DiskTier, Level, Lookup, Unwritten};
use dialect::DialectFamilies;
use guard::GuardFamilies;
pub use health::HealthFamilies;
pub use idempotency::{IdempotencyFamilies, KeptAnswer, Repeat};
use labels::{GuardAction, Scope, Store};
use register::Register;
use series::OwnedLabels;
pub use series::{ProviderSeries, RequestLabels, RequestSample, Series};
pub use webhooks::{Delivery, WebhookFamilies};

/// Edges of request durations in seconds: 5 ms to 120 s, with the 0.5 s of the
/// service objective among them.
const DURATION: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0];
/// Edges of Tollgate's own processing in seconds: 50 µs to 250 ms.
const OVERHEAD: &[f64] = &[
    0.000_05, 0.000_1, 0.000_15, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1,
    0.25,
];
/// Edges of a commit to the ledger in seconds: 5 µs (the kernel's buffer) to 1 s
/// (a busy disk).
const COMMIT: &[f64] = &[
    0.000_005, 0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005,
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0,
];

/// Every metric, with its registry. One per process, shared behind an `Arc`.
pub struct Metrics {
    registry: prometheus::Registry,
    models: AHashSet<Arc<str>>,
    series: CopyOnWrite<OwnedLabels, Series>,
    providers: CopyOnWrite<Arc<str>, ProviderSeries>,
    refused: CopyOnWrite<[&'static str; 2], IntCounter>,
    requests_in_flight: IntGauge,
    provider_calls_in_flight: IntGauge,
    aboard: IntGauge,
    held_in_flight: IntGauge,
    window_in_flight: IntGauge,
    cache: CacheFamilies,
    admission: AdmissionFamilies,
    webhooks: WebhookFamilies,
    idempotency: IdempotencyFamilies,
    guard: GuardFamilies,
    health: HealthFamilies,
    dialect: DialectFamilies,
    families: Families,
}

/// The families, in the contract's order.
struct Families {
    /// Answered requests, refused ones included, by class, model, provider,
    /// plan, status code and how the cache answered.
    requests: IntCounterVec,
    /// From the request's header read to its answer handed over, by class and
    /// cache result.
    duration: HistogramVec,
    /// From the request's header read to the first body byte of its answer.
    first_byte: Histogram,
    /// The part of a request that Tollgate itself took: its duration without
    /// the waiting for providers and clients.
    overhead: Histogram,
    /// Tokens by direction (`input`, `output`) and model. Cached prompt tokens
    /// are part of `input`, reasoning is part of `output`.
    tokens: IntCounterVec,
    /// What providers charge, by provider and model.
    cost: CounterVec,
    /// What customers owe for requests, by class and plan; plan fees are not in it.
    revenue: CounterVec,
    /// Requests whose model has no price, so that their cost is not known.
    unpriced: IntCounterVec,
    /// Requests and connections refused, by layer (`user`, `ip`, `global`,
    /// `quota`, `feature`, `auth`, `body`) and, where there is one, window.
    refused: IntCounterVec,
    /// Open client connections.
    connections: IntGauge,
    /// Whether a provider is usable (1) or off (0).
    provider_up: IntGaugeVec,
    /// Calls to a provider by its status code, or by what came instead.
    provider_requests: IntCounterVec,
    /// Calls made again after a failed attempt.
    retries: IntCounter,
    /// From the handing over of a record to its being as durable as
    /// `store.durability` asks.
    ledger_commit: Histogram,
    /// Whether a store takes writes (1) or not (0).
    store_up: IntGaugeVec,
    /// Accounts by plan, suspended ones included.
    accounts: IntGaugeVec,
}

impl Metrics {
    /// The metrics of a process whose catalogue names `models`; every other
    /// model is counted as `other`.
    ///
    /// # Errors
    /// The registry's, if two metrics had the same name.
    pub fn new<'a>(
        models: impl IntoIterator<Item = &'a Arc<str>>,
    ) -> Result<Self, prometheus::Error> {
        let registry = prometheus::Registry::new();
        let register = Register(&registry);
        let families = Families::register(&register)?;
        for pair in labels::REFUSALS {
            families.refused.with_label_values(&pair).inc_by(0);
        }
        let inflight = register.gauges(
            "inflight",
            "Requests (scope requests) and provider calls (scope provider) that run now, requests that \
             read the answers of calls (scope aboard), embeddings that wait behind a call (scope \
             held), and requests for samples that wait for each other (scope window).",
            &["scope"],
        )?;
        let build = register.gauges("build_info", "Always 1; the build.", &["version"])?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let scope = |scope: Scope| inflight.with_label_values(&[<&'static str>::from(scope)]);
        Ok(Self {
            models: models.into_iter().filter(|name| &***name != "*").map(Arc::clone).collect(),
            series: CopyOnWrite::new(),
            providers: CopyOnWrite::new(),
            refused: CopyOnWrite::new(),
            requests_in_flight: scope(Scope::Requests),
            provider_calls_in_flight: scope(Scope::Provider),
            aboard: scope(Scope::Aboard),
            held_in_flight: scope(Scope::Held),
            window_in_flight: scope(Scope::Window),
            cache: CacheFamilies::register(&register, &families.store_up)?,
            admission: AdmissionFamilies::register(&register)?,
            webhooks: WebhookFamilies::register(&register)?,
            idempotency: IdempotencyFamilies::register(&register)?,
            guard: GuardFamilies::register(&register)?,
            health: HealthFamilies::register(&register)?,
            dialect: DialectFamilies::register(&register)?,
            families,
            registry,
        })
    }

    /// The series of a request with these labels; keep nothing of it longer
    /// than the request. A model that the catalogue does not name counts as
    /// `other`, an empty one (the request was not understood) and an empty provider (no
    /// call was made) as `none`.
    pub fn series(&self, labels: RequestLabels<'_>) -> Arc<Series> {
        let labels = RequestLabels {
            model: match labels.model {
                "" => "none",
                known if self.models.contains(known) => known,
                _ => "other",
            },
            provider: if labels.provider.is_empty() { "none" } else { labels.provider },
            ..labels
        };
        self.series.get_or_insert_with(&labels, || {
            (OwnedLabels::from(&labels), Series::new(&self.families, &labels))
        })
    }

    /// Counts an answer that no bill counts, a refusal or a list of models: among
    /// the answers, but not among the durations, which would look better the more
    /// of them there are.
    pub fn answered(&self, class: &str, plan: &str, code: u16) {
        let code = labels::status(code);
        let none = "none";
        let labels = [class, none, none, plan, &*code, none];
        self.families.requests.with_label_values(&labels).inc();
    }

    /// The series of the provider called `name`, which must be one of the
    /// configuration. Resolve it once and keep it.
    pub fn provider(&self, name: &str) -> Arc<ProviderSeries> {
        self.providers.get_or_insert_with(name, || {
            (Arc::from(name), ProviderSeries::new(&self.families, name))
        })
    }

    /// Counts one refusal of `layer` (see [`labels`]); `window` names the limit
    /// that was reached, and is empty where there is none.
    pub fn refused(&self, layer: &'static str, window: &'static str) {
        let pair = [layer, window];
        let counter = self
            .refused
            .get_or_insert_with(&pair, || (pair, self.families.refused.with_label_values(&pair)));
        counter.inc();
    }

    /// Counts something as running until the guard is dropped.
    pub fn enter(&self, scope: Scope) -> Running {
        Running::new(match scope {
            Scope::Requests => &self.requests_in_flight,
            Scope::Provider => &self.provider_calls_in_flight,
            Scope::Aboard => &self.aboard,
            Scope::Held => &self.held_in_flight,
            Scope::Window => &self.window_in_flight,
        })
    }

    /// Counts a client connection as open until the guard is dropped.
    pub fn connection(&self) -> Running {
        Running::new(&self.families.connections)
    }

    /// Counts a request of `priority`, one of the queue's, as waiting for a slot
    /// until the guard is dropped; at most `ahead` others go before it.
    pub fn queued(&self, priority: &'static str, ahead: u32) -> Running {
        self.admission.queued(priority, ahead)
    }

    /// A slot to call a provider was taken after `wait`.
    pub fn slot_taken_after(&self, wait: Duration) {
        self.admission.slot_taken_after(wait);
    }

    /// Counts one request that an estimate of its address's rate decided.
    pub fn address_estimated(&self) {
        self.admission.address_estimated();
    }

    /// The metrics of events that others are told of.
    pub const fn webhooks(&self) -> &WebhookFamilies {
        &self.webhooks
    }

    /// The families of idempotency.
    pub const fn idempotency(&self) -> &IdempotencyFamilies {
        &self.idempotency
    }

    /// The families of how providers fare.
    pub const fn health(&self) -> &HealthFamilies {
        &self.health
    }

    /// Counts one call made again after a failed attempt.
    pub fn retried(&self) {
        self.families.retries.inc();
    }

    /// One record took `took` to be as durable as asked.
    pub fn ledger_committed(&self, took: Duration) {
        self.families.ledger_commit.observe(took.as_secs_f64());
    }

    /// Whether `store` takes writes.
    pub fn store_up(&self, store: Store, up: bool) {
        let labels = [<&'static str>::from(store)];
        self.families.store_up.with_label_values(&labels).set(i64::from(up));
    }

    /// The cache's series of the class called `name`, which must be one of the
    /// configuration.
    pub fn cache(&self, name: &str) -> Arc<CacheSeries> {
        self.cache.class(name)
    }

    /// The share of look-ups of a class that are to be hits; `None` sets none.
    pub fn cache_target(&self, class: &str, target: Option<f64>) {
        self.cache.set_target(class, target);
    }

    /// The bytes that the answers of a tier of the cache take.
    pub fn cache_level(&self, tier: &'static str) -> Level {
        self.cache.level(tier)
    }

    /// The metrics of the cache's disk tier.
    pub fn cache_disk(&self) -> DiskTier {
        self.cache.disk()
    }

    /// Counts what calls to providers would have cost that were not made.
    pub fn saved(&self, saved: &Savings) {
        self.cache.save(saved);
    }

    /// The loss guard did `action` with a request of the class called `class`.
    pub fn loss_guard(&self, class: &str, action: GuardAction) {
        self.guard.acted(class, action);
    }

    /// A call of the class called `class` went without what stands at `path` in the
    /// client's body.
    pub fn dropped_field(&self, class: &str, path: &str) {
        self.dialect.dropped(class, path);
    }

    /// Shows that `plan` has `count` accounts.
    pub fn accounts(&self, plan: &str, count: i64) {
        self.families.accounts.with_label_values(&[plan]).set(count);
    }

    /// An account or key came to `threshold` percent of a month's limit.
    pub fn quota_warned(&self, kind: Kind, threshold: u8) {
        self.admission.quota_warned(kind, threshold);
    }

    /// Everything in the Prometheus text format 0.0.4. It reads `/proc`, which
    /// blocks for a moment: call it off the asynchronous threads.
    ///
    /// # Errors
    /// The encoder's, if a metric family has no name or no type.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        let mut text = TextEncoder::new().encode_to_string(&self.registry.gather())?;
        process::render(&mut text);
        Ok(text)
    }
}

impl Families {
    fn register(register: &Register<'_>) -> Result<Self, prometheus::Error> {
        Ok(Self {
            requests: register.counters(
                "requests_total",
                "Answered requests.",
                &["class", "model", "provider", "plan", "code", "cache"],
            )?,
            duration: register.histograms(
                "request_duration_seconds",
                "From the request's header read to its answer handed over.",
                &["class", "cache"],
                DURATION,
            )?,
            first_byte: register.histogram(
                "time_to_first_byte_seconds",
                "From the request's header read to the first body byte of its answer.",
                DURATION,
            )?,
            overhead: register.histogram(
                "overhead_seconds",
                "Own processing of a request, without waiting for providers and clients.",
                OVERHEAD,
            )?,
            tokens: register.counters(
                "tokens_total",
                "Tokens by direction; cached and reasoning tokens are included.",
                &["direction", "model"],
            )?,
            cost: register.amounts(
                "provider_cost_dollars_total",
                "What providers charge, in dollars.",
                &["provider", "model"],
            )?,
            revenue: register.amounts(
                "revenue_dollars_total",
                "What customers owe for requests, in dollars, without plan fees.",
                &["class", "plan"],
            )?,
            unpriced: register.counters(
                "unpriced_total",
                "Requests whose model has no price.",
                &["model"],
            )?,
            refused: register.counters(
                "refused_total",
                "Requests and connections refused, by layer and window.",
                &["layer", "window"],
            )?,
            connections: register.gauge("connections", "Open client connections.")?,
            provider_up: register.gauges(
                "provider_up",
                "Whether the provider is usable.",
                &["provider"],
            )?,
            provider_requests: register.counters(
                "provider_requests_total",
                "Calls to providers by status code, or by what came instead of one.",
                &["provider", "code"],
            )?,
            retries: register.counter("retries_total", "Calls made again after a failure.")?,
            ledger_commit: register.histogram(
                "ledger_commit_seconds",
                "From a record's handing over to its being as durable as configured.",
                COMMIT,
            )?,
            store_up: register.gauges("store_up", "Whether the store takes writes.", &["store"])?,
            accounts: register.gauges(
                "accounts",
                "Accounts by plan, suspended ones included.",
                &["plan"],
            )?,
        })
    }
}

/// Something counted in a gauge until dropped.
#[must_use = "dropping the guard ends the counting"]
pub struct Running(IntGauge);

impl Running {
    fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests;
