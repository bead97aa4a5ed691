//! What a request has to do with its `idempotency-key`, where it carries one.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use crate::base::money::Money;
use crate::idempotency::{Answer, Lead, Run};
use crate::ledger::record::Outcome;
use crate::meter::policy::{self, Terms};
use crate::pipeline::bill::Bill;
use crate::respond;

/// A request's part under its key.
pub(in crate::pipeline) enum Part {
    /// It is the key's first: it pays for the answer, whoever gets it.
    First(Lead),
    /// It repeats one that runs.
    Joined(Arc<Run>),
    /// It repeats one that has ended.
    Stored,
}

impl Bill<'_> {
    /// Takes its part under its key.
    pub(in crate::pipeline) fn take_part(&mut self, part: Part) {
        // What a repeat costs is known.
        self.record.unpriced &= matches!(part, Part::First(_));
        self.part = Some(part);
    }

    /// Whether the request repeats another one, and so consumes nothing.
    pub(in crate::pipeline) const fn is_repeat(&self) -> bool {
        matches!(self.part, Some(Part::Joined(_) | Part::Stored))
    }

    /// Whether the request costs nothing, however it ends.
    pub(in crate::pipeline) const fn is_free(&self) -> bool {
        self.is_repeat() || self.endpoint.is_free()
    }

    /// What the policy says about it if it ends with `outcome`.
    pub(super) const fn terms(&self, outcome: Outcome) -> Terms {
        if self.is_free() { policy::FREE } else { policy::terms(outcome) }
    }

    /// Tells those who repeat the request that its call can be joined.
    pub(in crate::pipeline) fn is_called(&self) {
        if let Some(Part::First(lead)) = &self.part {
            lead.is_called();
        }
    }

    /// What the request bears of a call that cost `whole`, and of which `share`
    /// falls to its seat: the first of a key bears all, its repeats nothing.
    pub(in crate::pipeline) fn portion(&self, whole: Money, share: Money) -> Money {
        match self.part {
            None => share,
            Some(Part::First(_)) => whole,
            Some(Part::Joined(_) | Part::Stored) => Money::ZERO,
        }
    }

    /// Frees the key of a request that is settled without an answer to keep: a client
    /// that has the last byte can use it again.
    pub(super) fn free_key(&self) {
        let succeeded = (200..300).contains(&self.record.status);
        if let Some(Part::First(lead)) = &self.part
            && !(self.record.outcome == Outcome::Ok && succeeded)
        {
            lead.free();
        }
    }

    /// Whether the answer is to be kept under a key.
    pub(in crate::pipeline) const fn is_kept(&self) -> bool {
        matches!(self.part, Some(Part::First(_) | Part::Joined(_)))
    }

    /// Keeps a whole answer under the key, if there is one and it is a 2xx: before
    /// its last byte is sent. `provider` made it, with these headers.
    pub(in crate::pipeline) async fn keep(
        &self,
        status: StatusCode,
        provider: &Arc<str>,
        headers: &HeaderMap,
        body: &Bytes,
    ) {
        let run = match &self.part {
            Some(Part::First(lead)) => lead.run(),
            Some(Part::Joined(run)) => run,
            None | Some(Part::Stored) => return,
        };
        if !status.is_success() {
            return;
        }
        let answer = Answer {
            status,
            provider: provider.clone(),
            headers: respond::returned(headers),
            body: body.clone(),
        };
        let app = self.app;
        // Boxed, as what only some requests need: its future is large.
        let keeping = Box::pin(app.idempotency.keep(run, answer, app.clock.wall()));
        if let Some(keeping) = keeping.await {
            app.metrics.idempotency().kept(keeping);
        }
    }
}
