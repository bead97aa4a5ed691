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
use crate::pipeline::bill::calls::Calls;
use crate::refusal::Refusal;
use crate::telemetry::metrics::labels::Scope;
use crate::telemetry::metrics::{RequestLabels, RequestSample, Running};

/// What a request occupies and owes, until it is settled.
pub(super) struct Tab<'a> {
    app: &'a App,
    kind: Kind<'a>,
    settled: bool,
}

enum Kind<'a> {
    Billed(Box<(Bill<'a>, Calls<'a>)>),
    Free {
        /// Freed by the settlement.
        occupied: Option<Box<(Permit, CallSlot, Running, Running)>>,
        class: Arc<str>,
        plan: Arc<str>,
        provider: Arc<str>,
        started: Duration,
        first_byte: Option<Duration>,
    },
}

impl<'a> Tab<'a> {
    /// The tab of what is billed.
    pub(super) fn billed(app: &'a App, bill: Bill<'a>, slot: CallSlot) -> Self {
        let mut calls = bill.calls();
        calls.call_in(slot);
        Self { app, kind: Kind::Billed(Box::new((bill, calls))), settled: false }
    }

    /// The tab of a read, which occupies `permit`.
    pub(super) fn free(
        app: &'a App,
        permit: Permit,
        slot: CallSlot,
        [class, plan, provider]: [&Arc<str>; 3],
        started: Duration,
    ) -> Self {
        let running = (app.metrics.enter(Scope::Requests), app.metrics.enter(Scope::Provider));
        let kind = Kind::Free {
            occupied: Some(Box::new((permit, slot, running.0, running.1))),
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
            Kind::Billed(billed) => billed.1.attempt(),
            Kind::Free { .. } => Ok(()),
        }
    }

    /// The bill, where there is one.
    pub(super) fn bill(&mut self) -> Option<&mut Bill<'a>> {
        match &mut self.kind {
            Kind::Billed(billed) => Some(&mut billed.0),
            Kind::Free { .. } => None,
        }
    }

    /// Counts body bytes that came from the client.
    pub(super) fn received(&mut self, bytes: u64) {
        if let Kind::Billed(billed) = &mut self.kind {
            billed.0.received(bytes);
        }
    }

    /// Counts body bytes sent to the client.
    pub(super) fn sent(&mut self, bytes: usize) {
        match &mut self.kind {
            Kind::Billed(billed) => billed.0.sent(bytes),
            Kind::Free { first_byte, started, .. } => {
                let elapsed = self.app.clock.monotonic().saturating_sub(*started);
                first_byte.get_or_insert(elapsed);
            }
        }
    }

    /// Whether the client has been sent a part of the body.
    pub(super) fn has_sent(&self) -> bool {
        match &self.kind {
            Kind::Billed(billed) => billed.0.has_sent(),
            Kind::Free { first_byte, .. } => first_byte.is_some(),
        }
    }

    /// Makes the request a session, whose records are parts.
    pub(super) fn begin_session(&mut self) {
        if let Kind::Billed(billed) = &mut self.kind {
            billed.0.begin_session();
        }
    }

    /// Writes what a session used since its last record.
    ///
    /// # Errors
    /// 503 `storage_unavailable`; the session must then end.
    pub(super) async fn part(&mut self, status: u16, tokens: Tokens) -> Result<(), Refusal> {
        match &mut self.kind {
            Kind::Billed(billed) => {
                let (bill, calls) = &mut **billed;
                bill.part(calls, status, tokens).await
            }
            Kind::Free { .. } => Ok(()),
        }
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
        self.settle_with(outcome, status, waited, Tokens::default()).await
    }

    /// The same, with `tokens` used.
    ///
    /// # Errors
    /// As [`Tab::settle`].
    pub(super) async fn settle_with(
        &mut self,
        outcome: Outcome,
        status: u16,
        waited: Duration,
        tokens: Tokens,
    ) -> Result<(), Refusal> {
        if self.settled {
            return Ok(());
        }
        match &mut self.kind {
            Kind::Billed(billed) => {
                let (bill, calls) = &mut **billed;
                bill.waited(waited);
                bill.settle(outcome, status, || (tokens, false)).await?;
                calls.let_go();
            }
            Kind::Free { occupied, class, plan, provider, started, first_byte } => {
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
                *occupied = None;
            }
        }
        self.settled = true;
        Ok(())
    }
}
