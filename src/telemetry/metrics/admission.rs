//! The metrics of waiting for a slot, and of addresses.

use std::time::Duration;

use prometheus::{Histogram, IntCounter, IntGauge};

use super::Running;
use super::register::Register;

/// Edges of waits for a slot in seconds: 1 ms to 60 s, with the default patience
/// of 10 s among them.
const WAIT: &[f64] = &[0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// The families of admission that are not refusals.
pub(super) struct AdmissionFamilies {
    /// Requests decided by an estimate of their address's rate, since more
    /// addresses than there is room for were above half a limit.
    address_estimates: IntCounter,
    /// Requests that wait for a slot to call a provider.
    queue_depth: IntGauge,
    /// How long calls to providers waited for their slot; 0 where one was free.
    queue_wait: Histogram,
}

impl AdmissionFamilies {
    pub(super) fn register(register: &Register<'_>) -> Result<Self, prometheus::Error> {
        Ok(Self {
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
        })
    }

    pub(super) fn queued(&self) -> Running {
        Running::new(&self.queue_depth)
    }

    pub(super) fn slot_taken_after(&self, wait: Duration) {
        self.queue_wait.observe(wait.as_secs_f64());
    }

    pub(super) fn address_estimated(&self) {
        self.address_estimates.inc();
    }
}
