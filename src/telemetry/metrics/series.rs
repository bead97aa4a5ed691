//! The series that requests and provider calls are counted in, resolved once.

use std::sync::Arc;
use std::time::Duration;

use hashbrown::Equivalent;
use prometheus::{Counter, Histogram, IntCounter, IntCounterVec, IntGauge};

use super::labels::{self, ProviderCode};
use super::{CopyOnWrite, Families};
use crate::base::money::Money;
use crate::ledger::record::Tokens;

/// The labels of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestLabels<'a> {
    /// The request class.
    pub class: &'a str,
    /// The public name of the model that answered.
    pub model: &'a str,
    /// The provider of the last attempt; empty if there was none.
    pub provider: &'a str,
    /// The account's plan.
    pub plan: &'a str,
    /// The HTTP status of the answer.
    pub code: u16,
    /// The value of `x-tollgate-cache`.
    pub cache: &'static str,
}

/// What one request amounts to.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestSample {
    /// From the header read to the answer handed over.
    pub duration: Duration,
    /// From the header read to the first body byte; `None` if none was sent.
    pub first_byte: Option<Duration>,
    /// Own processing.
    pub overhead: Duration,
    /// Tokens of the request.
    pub tokens: Tokens,
    /// What the provider charges.
    pub cost: Money,
    /// What the customer owes.
    pub revenue: Money,
    /// Whether the model has no price.
    pub unpriced: bool,
}

/// [`RequestLabels`] as the key of a map. Field order is that of
/// `RequestLabels`: both must hash alike.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct OwnedLabels {
    class: Arc<str>,
    model: Arc<str>,
    provider: Arc<str>,
    plan: Arc<str>,
    code: u16,
    cache: &'static str,
}

impl From<&RequestLabels<'_>> for OwnedLabels {
    fn from(labels: &RequestLabels<'_>) -> Self {
        Self {
            class: Arc::from(labels.class),
            model: Arc::from(labels.model),
            provider: Arc::from(labels.provider),
            plan: Arc::from(labels.plan),
            code: labels.code,
            cache: labels.cache,
        }
    }
}

impl Equivalent<OwnedLabels> for RequestLabels<'_> {
    fn equivalent(&self, key: &OwnedLabels) -> bool {
        self.code == key.code
            && self.cache == key.cache
            && self.class == &*key.class
            && self.model == &*key.model
            && self.provider == &*key.provider
            && self.plan == &*key.plan
    }
}

/// The series that one kind of request is counted in.
pub struct Series {
    requests: IntCounter,
    duration: Histogram,
    first_byte: Histogram,
    overhead: Histogram,
    input_tokens: IntCounter,
    output_tokens: IntCounter,
    cost: Counter,
    revenue: Counter,
    unpriced: IntCounter,
}

impl Series {
    pub(super) fn new(families: &Families, labels: &RequestLabels<'_>) -> Self {
        let RequestLabels { class, model, provider, plan, code, cache } = *labels;
        let code = labels::status(code);
        Self {
            requests: families
                .requests
                .with_label_values(&[class, model, provider, plan, &code, cache]),
            duration: families.duration.with_label_values(&[class, cache]),
            first_byte: families.first_byte.clone(),
            overhead: families.overhead.clone(),
            input_tokens: families.tokens.with_label_values(&["input", model]),
            output_tokens: families.tokens.with_label_values(&["output", model]),
            cost: families.cost.with_label_values(&[provider, model]),
            revenue: families.revenue.with_label_values(&[class, plan]),
            unpriced: families.unpriced.with_label_values(&[model]),
        }
    }

    /// Counts one request.
    pub fn observe(&self, sample: &RequestSample) {
        self.requests.inc();
        self.duration.observe(sample.duration.as_secs_f64());
        if let Some(first_byte) = sample.first_byte {
            self.first_byte.observe(first_byte.as_secs_f64());
        }
        self.overhead.observe(sample.overhead.as_secs_f64());
        add(&self.revenue, sample.revenue);
        self.observe_call(sample);
    }

    /// Counts a part of a request that goes on: what it used, cost and earned.
    pub fn observe_part(&self, sample: &RequestSample) {
        add(&self.revenue, sample.revenue);
        self.observe_call(sample);
    }

    /// Counts a call that no customer waits for: what it used and cost.
    pub fn observe_call(&self, sample: &RequestSample) {
        self.input_tokens.inc_by(sample.tokens.input);
        self.output_tokens.inc_by(sample.tokens.output);
        add(&self.cost, sample.cost);
        if sample.unpriced {
            self.unpriced.inc();
        }
    }
}

/// A counter never falls: an amount below zero is not a charge and is left out.
fn add(counter: &Counter, amount: Money) {
    if amount > Money::ZERO {
        counter.inc_by(amount.as_f64());
    }
}

/// The series of one provider.
pub struct ProviderSeries {
    name: Arc<str>,
    up: IntGauge,
    requests: IntCounterVec,
    codes: CopyOnWrite<ProviderCode, IntCounter>,
}

impl ProviderSeries {
    pub(super) fn new(families: &Families, name: &str) -> Self {
        Self {
            name: Arc::from(name),
            up: families.provider_up.with_label_values(&[name]),
            requests: families.provider_requests.clone(),
            codes: CopyOnWrite::new(),
        }
    }

    /// Whether the provider is usable.
    pub fn set_up(&self, up: bool) {
        self.up.set(i64::from(up));
    }

    /// Counts one call that ended with `code`.
    pub fn called(&self, code: ProviderCode) {
        let counter = self.codes.get_or_insert_with(&code, || {
            (code, self.requests.with_label_values(&[&*self.name, &code.label()]))
        });
        counter.inc();
    }
}
