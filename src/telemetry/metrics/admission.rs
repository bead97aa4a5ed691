//! The metrics of waiting for a slot, and of addresses.

use std::time::Duration;

use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge};

use super::Running;
use super::register::Register;
use crate::notice::Kind;

/// Edges of waits for a slot in seconds: 1 ms to 60 s, with the default patience
/// of 10 s among them.
const WAIT: &[f64] = &[0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
/// Edges of places in the queue: 0 is next; the default queue of 1,000 and more.
const POSITION: &[f64] =
    &[0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0, 2_000.0, 5_000.0];

/// The families of admission that are not refusals.
pub(super) struct AdmissionFamilies {
    /// Requests decided by an estimate of their address's rate, since more
    /// addresses than there is room for were above half a limit.
    address_estimates: IntCounter,
    /// Requests that wait for a slot to call a provider.
    queue_depth: IntGauge,
    /// How long calls to providers waited for their slot; 0 where one was free.
    queue_wait: Histogram,
    /// Accounts and keys that came to 80 or 100 percent of a month's limit, by
    /// kind (`quota`, `budget`, `key_budget`) and threshold: once for each account
    /// or key, month and threshold.
    quota_warnings: IntCounterVec,
    /// How many were ahead of a request when it began to wait, by its priority
    /// (`dedicated`, `preferred`, `standard`).
    queue_position: HistogramVec,
}

impl AdmissionFamilies {
    pub(super) fn register(register: &Register<'_>) -> Result<Self, prometheus::Error> {
        let quota_warnings = register.counters(
            "quota_warnings_total",
            "Thresholds of monthly limits that accounts and keys came to.",
            &["kind", "threshold"],
        )?;
        for kind in [Kind::Quota, Kind::Budget, Kind::KeyBudget] {
            for threshold in ["80", "100"] {
                quota_warnings.with_label_values(&[kind.as_str(), threshold]).inc_by(0);
            }
        }
        Ok(Self {
            quota_warnings,
            address_estimates: register.counter(
                "address_estimates_total",
                "Requests decided by an estimate of their address's rate, for want of room.",
            )?,
            queue_depth: register
                .gauge("queue_depth", "Requests that wait for a slot to call a provider.")?,
            queue_wait: register.histogram(
                "queue_wait_seconds",
                "How long calls to providers waited for their slot.",
                WAIT,
            )?,
            queue_position: register.histograms(
                "queue_position",
                "How many were ahead of a request when it began to wait for a slot.",
                &["priority"],
                POSITION,
            )?,
        })
    }

    pub(super) fn queued(&self, priority: &'static str, ahead: u32) -> Running {
        self.queue_position.with_label_values(&[priority]).observe(f64::from(ahead));
        Running::new(&self.queue_depth)
    }

    pub(super) fn slot_taken_after(&self, wait: Duration) {
        self.queue_wait.observe(wait.as_secs_f64());
    }

    pub(super) fn quota_warned(&self, kind: Kind, threshold: u8) {
        let labels = [kind.as_str(), &threshold.to_string()];
        self.quota_warnings.with_label_values(&labels).inc();
    }

    pub(super) fn address_estimated(&self) {
        self.address_estimates.inc();
    }
}
