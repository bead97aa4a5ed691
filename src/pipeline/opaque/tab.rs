//! What a request of the opaque lane occupies and owes.
//!
//! A read (GET, HEAD) makes no record: it is admitted and counted, and has no
//! bill.

use std::sync::Arc;
use std::time::Duration;

use crate::admission::Permit;
use crate::admission::queue::CallSlot;
use crate::app::App;
use crate::ledger::record::{Outcome, Tokens};
use crate::pipeline::bill::Bill;
use crate::refusal::Refusal;
use crate::telemetry::metrics::labels::Scope;
use crate::telemetry::metrics::{RequestLabels, RequestSample, Running};

/// What a request occupies and owes, until it is settled.
pub(super) struct Tab<'a> {
    app: &'a App,
    kind: Kind<'a>,
    settled: bool,
}

#[expect(clippy::large_enum_variant, reason = "it lives in a future that is boxed")]
enum Kind<'a> {
    Billed(Bill<'a>),
    Free {
        /// Freed by the settlement.
        occupied: Option<(Permit, Running)>,
        /// The call that runs.
        calling: Option<(CallSlot, Running)>,
        /// Whether a provider may have seen the request.
        called: bool,
        class: Arc<str>,
        plan: Arc<str>,
        provider: Arc<str>,
        started: Duration,
        first_byte: Option<Duration>,
    },
}

impl<'a> Tab<'a> {
    /// The tab of what is billed.
    pub(super) fn billed(app: &'a App, bill: Bill<'a>) -> Self {
        Self { app, kind: Kind::Billed(bill), settled: false }
    }

    /// The tab of a read, which occupies `permit`.
    pub(super) fn free(
        app: &'a App,
        permit: Permit,
        [class, plan, provider]: [&Arc<str>; 3],
        started: Duration,
    ) -> Self {
        let kind = Kind::Free {
            occupied: Some((permit, app.metrics.enter(Scope::Requests))),
            calling: None,
            called: false,
            class: class.clone(),
            plan: plan.clone(),
            provider: provider.clone(),
            started,
            first_byte: None,
        };
        Self { app, kind, settled: false }
    }

    /// Writes down a call that is about to be made, where it is billed.
    ///
    /// # Errors
    /// 503 `storage_unavailable`; the provider must then not be called.
    pub(super) fn attempt(&mut self) -> Result<(), Refusal> {
        match &mut self.kind {
            Kind::Billed(bill) => bill.attempt(),
            Kind::Free { called, .. } => {
                *called = true;
                Ok(())
            }
        }
    }

    /// Whether it holds a slot for a call.
    pub(super) fn has_slot(&self) -> bool {
        match &self.kind {
            Kind::Billed(bill) => bill.has_slot(),
            Kind::Free { calling, .. } => calling.is_some(),
        }
    }

    /// Holds `slot` until it is settled.
    pub(super) fn call_in(&mut self, slot: CallSlot) {
        match &mut self.kind {
            Kind::Billed(bill) => bill.call_in(slot),
            Kind::Free { calling, .. } => {
                *calling = Some((slot, self.app.metrics.enter(Scope::Provider)));
            }
        }
    }

    /// Gives back what the request took and ends without a record, if no
    /// provider has seen it; otherwise does nothing and returns false.
    pub(super) fn void(&mut self) -> bool {
        match &mut self.kind {
            Kind::Billed(bill) => bill.void(),
            Kind::Free { called: true, .. } => false,
            Kind::Free { occupied, calling, .. } => {
                *calling = None;
                if let Some((permit, _)) = occupied.take() {
                    permit.refund();
                }
                true
            }
        }
    }

    /// The bill, where there is one.
    pub(super) fn bill(&mut self) -> Option<&mut Bill<'a>> {
        match &mut self.kind {
            Kind::Billed(bill) => Some(bill),
            Kind::Free { .. } => None,
        }
    }

    /// Counts body bytes that came from the client.
    pub(super) fn received(&mut self, bytes: u64) {
        if let Kind::Billed(bill) = &mut self.kind {
            bill.received(bytes);
        }
    }

    /// Counts body bytes sent to the client.
    pub(super) fn sent(&mut self, bytes: usize) {
        match &mut self.kind {
            Kind::Billed(bill) => bill.sent(bytes),
            Kind::Free { first_byte, started, .. } => {
                let elapsed = self.app.clock.monotonic().saturating_sub(*started);
                first_byte.get_or_insert(elapsed);
            }
        }
    }

    /// Whether the client has been sent a part of the body.
    pub(super) fn has_sent(&self) -> bool {
        match &self.kind {
            Kind::Billed(bill) => bill.has_sent(),
            Kind::Free { first_byte, .. } => first_byte.is_some(),
        }
    }

    /// Whether an end that is not charged gives a place in the quota back.
    pub(super) fn counts_in_quota(&self) -> bool {
        matches!(self.kind, Kind::Billed(_))
    }

    /// Settles, once: a further settlement does nothing. `waited` was spent
    /// waiting for others.
    ///
    /// # Errors
    /// 503 `storage_unavailable`; the rest of the answer must then not be sent.
    pub(super) async fn settle(
        &mut self,
        outcome: Outcome,
        status: u16,
        waited: Duration,
    ) -> Result<(), Refusal> {
        if self.settled {
            return Ok(());
        }
        match &mut self.kind {
            Kind::Billed(bill) => {
                bill.waited(waited);
                bill.settle(outcome, status, || (Tokens::default(), false)).await?;
            }
            Kind::Free {
                occupied, calling, class, plan, provider, started, first_byte, ..
            } => {
                let labels = RequestLabels {
                    class,
                    model: "",
                    provider,
                    plan,
                    code: status,
                    cache: "bypass",
                };
                let duration = self.app.clock.monotonic().saturating_sub(*started);
                self.app.metrics.series(labels).observe(&RequestSample {
                    duration,
                    first_byte: *first_byte,
                    overhead: duration.saturating_sub(waited),
                    ..RequestSample::default()
                });
                (*occupied, *calling) = (None, None);
            }
        }
        self.settled = true;
        Ok(())
    }
}
