//! The metrics of events that others are told of.

use prometheus::{IntCounter, IntCounterVec, IntGauge};

use super::register::Register;

/// What came of an event at one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Delivery {
    /// It was taken.
    Ok,
    /// It was not taken, and is tried again.
    Failed,
    /// It is not tried any more.
    GivenUp,
}

/// The families of webhooks.
pub struct WebhookFamilies {
    /// Deliveries by result: `ok`, `failed` (tried again), `given_up`.
    deliveries: IntCounterVec,
    /// Events that somebody has not taken yet.
    pending: IntGauge,
    /// Events that were thrown away because too many waited.
    dropped: IntCounter,
}

impl WebhookFamilies {
    pub(super) fn register(register: &Register<'_>) -> Result<Self, prometheus::Error> {
        let deliveries = register.counters(
            "webhook_deliveries_total",
            "Deliveries of events by result.",
            &["result"],
        )?;
        for result in <Delivery as strum::VariantArray>::VARIANTS {
            deliveries.with_label_values(&[<&'static str>::from(result)]).inc_by(0);
        }
        Ok(Self {
            deliveries,
            pending: register.gauge("outbox_pending", "Events that somebody has not taken yet.")?,
            dropped: register
                .counter("outbox_dropped_total", "Events thrown away because too many waited.")?,
        })
    }

    /// Counts what came of an event at one address.
    pub fn delivery(&self, result: Delivery) {
        self.deliveries.with_label_values(&[<&'static str>::from(result)]).inc();
    }

    /// Shows how many events somebody has not taken yet.
    pub fn pending(&self, events: usize) {
        self.pending.set(i64::try_from(events).unwrap_or(i64::MAX));
    }

    /// Counts one event that was thrown away because too many waited.
    pub fn dropped(&self) {
        self.dropped.inc();
    }
}
