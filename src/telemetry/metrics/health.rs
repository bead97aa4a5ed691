//! The metrics of how providers fare.

use prometheus::{IntCounter, IntCounterVec};

use super::labels::{ProbeResult, RestReason};
use super::register::Register;

/// The families of providers' health, besides `provider_up`,
/// `provider_requests_total` and `retries_total`.
pub struct HealthFamilies {
    /// Times that a provider's breaker opened from closed.
    breaker_opened: IntCounterVec,
    /// Times that a key of a provider began to rest, by reason: `limited` (429, or
    /// 503 with `retry-after`) and `refused` (401, 403).
    keys_rested: IntCounterVec,
    /// Retries that were not made for want of budget.
    retries_withheld: IntCounter,
    /// Probes of a provider, by result: `ok` and `failed`.
    probes: IntCounterVec,
}

impl HealthFamilies {
    pub(super) fn register(register: &Register<'_>) -> Result<Self, prometheus::Error> {
        Ok(Self {
            breaker_opened: register.counters(
                "breaker_opened_total",
                "Times that a provider's breaker opened.",
                &["provider"],
            )?,
            keys_rested: register.counters(
                "provider_keys_rested_total",
                "Times that a key of a provider began to rest.",
                &["provider", "reason"],
            )?,
            retries_withheld: register.counter(
                "retries_withheld_total",
                "Retries that were not made for want of budget.",
            )?,
            probes: register.counters(
                "provider_probes_total",
                "Calls of Tollgate's own that look whether a provider is alive.",
                &["provider", "result"],
            )?,
        })
    }

    /// The breaker of `provider` has opened.
    pub fn breaker_opened(&self, provider: &str) {
        self.breaker_opened.with_label_values(&[provider]).inc();
    }

    /// A key of `provider` begins to rest.
    pub fn key_rests(&self, provider: &str, reason: RestReason) {
        self.keys_rested.with_label_values(&[provider, reason.into()]).inc();
    }

    /// A retry was not made.
    pub fn retry_withheld(&self) {
        self.retries_withheld.inc();
    }

    /// A probe of `provider` has ended.
    pub fn probed(&self, provider: &str, result: ProbeResult) {
        self.probes.with_label_values(&[provider, result.into()]).inc();
    }
}
