//! One attempt at a provider, and whether another may help.

use std::pin::pin;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::{Method, StatusCode};
use tokio::time::Instant;

use crate::app::Reach;
use crate::config::Target;
use crate::intake::request::Outgoing;
use crate::pipeline::relay::pilot::{Flying, unless_abandoned};
use crate::pipeline::relay::reach::Callee;
use crate::pipeline::relay::read_whole;
use crate::pipeline::{slot, waiting};
use crate::refusal::Refusal;
use crate::telemetry::metrics::labels::ProviderCode;
use crate::upstream::{Body, Call, Failure, Prepared, Reply};

/// First wait before the same provider is called again; it doubles.
const BACK_OFF: Duration = Duration::from_millis(50);
/// Longest such wait.
const LONGEST_BACK_OFF: Duration = Duration::from_secs(2);

/// What came of an attempt.
pub(super) enum Called {
    /// The head of an answer.
    Reply(Reply),
    /// No answer.
    Failed(Failure),
    /// The attempt must not be made.
    Refused(Refusal),
    /// Nobody waits for the answer any more.
    Gone,
}

/// Why there is no reply.
enum Failed {
    Provider(Failure),
    Refused(Refusal),
}

impl From<Failure> for Failed {
    fn from(failure: Failure) -> Self {
        Self::Provider(failure)
    }
}

impl Flying<'_> {
    /// Makes attempt `number`, from 0.
    pub(super) async fn call(&mut self, number: u32, deadline: Instant) -> Called {
        let number = usize::try_from(number).unwrap_or(usize::MAX);
        let Some(target) = self.route.target(number).cloned() else {
            return Called::Failed(Failure::Unreachable);
        };
        self.calls.aim(&target.provider.name, self.route.cost(&target));
        let callee = match self.callee(&target) {
            Ok(callee) => callee,
            Err(failure) => return Called::Failed(failure),
        };
        let reach = match &callee {
            Callee::Seller(reach) => *reach,
            Callee::Own(reach) => &**reach,
            Callee::Sandbox => return Box::pin(self.ask_sandbox(&target, deadline)).await,
        };
        let asks = self.endpoint.usage_on_request() && !reach.refuses_usage.load(Ordering::Relaxed);
        let outgoing = self.request.outgoing(self.route.name_at(&target), asks);
        let turn = number / self.route.width().max(1);
        let called = self.send(reach, outgoing, turn, deadline).await;
        let Called::Reply(reply) = called else { return called };
        if reply.status != StatusCode::BAD_REQUEST
            || !asks
            || !self.request.stream
            || self.request.asks_usage()
        {
            return Called::Reply(reply);
        }
        // The refusal may be of what was added here: then the provider is asked
        // once more without, and remembered.
        let reply = match Box::pin(self.settled_refusal(reply, deadline)).await {
            Ok(reply) => reply,
            Err(called) => return called,
        };
        let Body::Made(pieces) = &reply.body else { return Called::Reply(reply) };
        let names_it =
            |piece: &bytes::Bytes| memchr::memmem::find(piece, b"stream_options").is_some();
        if !pieces.iter().any(names_it) {
            return Called::Reply(reply);
        }
        let outgoing = self.request.outgoing(self.route.name_at(&target), false);
        let called = Box::pin(self.send(reach, outgoing, turn, deadline)).await;
        // Refused all the same, it was the client's own mistake, which must not
        // cost the others their figures.
        if matches!(&called, Called::Reply(reply) if reply.status != StatusCode::BAD_REQUEST) {
            reach.refuses_usage.store(true, Ordering::Relaxed);
        }
        called
    }

    /// Sends one request; counts it for the provider.
    async fn send(
        &mut self,
        reach: &Reach,
        outgoing: Outgoing,
        turn: usize,
        deadline: Instant,
    ) -> Called {
        if let Err(called) = self.take_slot(deadline).await {
            return called;
        }
        let path = self.endpoint.path();
        let call = Call {
            method: Method::POST,
            path: path.strip_prefix("/v1").unwrap_or(path),
            query: self.query,
            headers: &self.headers,
            body: outgoing.pieces,
        };
        let prepared = Prepared::forwarded(&reach.origin, call);
        let (app, calls) = (self.app, &mut self.calls);
        let sent = app
            .upstream
            .send(&reach.origin, &prepared, turn, || calls.attempt().map_err(Failed::Refused));
        // Pinned here: each future around it would hold it twice.
        let sent = pin!(tokio::time::timeout_at(deadline, sent));
        let mut waited = Duration::ZERO;
        let sent = unless_abandoned(&self.pilot, waiting(app, &mut waited, sent)).await;
        self.waited += waited;
        let (called, code) = match sent {
            None => (Called::Gone, ProviderCode::Cancelled),
            Some(Ok(Ok(reply))) => {
                let code = ProviderCode::Status(reply.status.as_u16());
                (Called::Reply(reply), code)
            }
            Some(Ok(Err(Failed::Refused(refusal)))) => return Called::Refused(refusal),
            Some(Ok(Err(Failed::Provider(failure)))) => (Called::Failed(failure), code(failure)),
            Some(Err(_)) => (Called::Failed(Failure::TimedOut), ProviderCode::Timeout),
        };
        reach.series.called(code);
        called
    }

    /// Takes a slot for a call, unless the bill has one still.
    async fn take_slot(&mut self, deadline: Instant) -> Result<(), Called> {
        if self.calls.has_slot() {
            return Ok(());
        }
        let mut waited = Duration::ZERO;
        let who = self.calls.who();
        let slot = slot::take(self.app, self.snapshot, &mut waited, who, Some(deadline));
        let slot = unless_abandoned(&self.pilot, slot).await;
        self.waited += waited;
        self.calls.call_in(slot.ok_or(Called::Gone)?.map_err(Called::Refused)?);
        Ok(())
    }

    /// Lets the sandbox answer.
    async fn ask_sandbox(&mut self, target: &Target, deadline: Instant) -> Called {
        if let Err(called) = self.take_slot(deadline).await {
            return called;
        }
        if let Err(refusal) = self.calls.attempt() {
            return Called::Refused(refusal);
        }
        let app = self.app;
        let Some(provider) = self.snapshot.config.sandbox() else {
            return Called::Failed(Failure::Unreachable);
        };
        let (name, asks) = (self.route.name_at(target), self.endpoint.usage_on_request());
        let body = self.request.outgoing(name, asks).joined();
        let mut waited = Duration::ZERO;
        let call = app.sandbox(provider, self.endpoint.path(), &body);
        let reply = unless_abandoned(&self.pilot, waiting(app, &mut waited, call)).await;
        self.waited += waited;
        let code = match &reply {
            Some(reply) => ProviderCode::Status(reply.status.as_u16()),
            None => ProviderCode::Cancelled,
        };
        app.metrics.provider(&provider.name).called(code);
        reply.map_or(Called::Gone, Called::Reply)
    }

    /// A refusal read whole, so that it can be looked into and still be passed.
    async fn settled_refusal(
        &mut self,
        mut reply: Reply,
        deadline: Instant,
    ) -> Result<Reply, Called> {
        let read = tokio::time::timeout_at(deadline, read_whole(&mut reply.body));
        let read = waiting(self.app, &mut self.waited, read);
        match unless_abandoned(&self.pilot, read).await {
            None => Err(Called::Gone),
            Some(Ok(Ok(body))) => Ok(Reply { body: Body::Made([body].into()), ..reply }),
            Some(Ok(Err(_))) => Err(Called::Failed(Failure::NoAnswer)),
            Some(Err(_)) => Err(Called::Failed(Failure::TimedOut)),
        }
    }

    /// Whether another attempt after attempt `number` may do better than
    /// `reply`. A 429 is never tried again at the provider that gave it.
    pub(super) fn is_worth_another(&self, number: u32, reply: &Reply) -> bool {
        match reply.status.as_u16() {
            500 | 502 | 503 | 504 => true,
            429 => usize::try_from(number).is_ok_and(|n| n + 1 < self.route.width()),
            _ => false,
        }
    }

    /// Waits before attempt `number + 1` if it goes to a provider that was
    /// called already; false if the client leaves meanwhile.
    pub(super) async fn back_off(&mut self, number: u32) -> bool {
        let width = u32::try_from(self.route.width()).unwrap_or(u32::MAX).max(1);
        let Some(round) = ((number + 1) / width).checked_sub(1) else { return true };
        self.calls.let_go();
        let longest = BACK_OFF.saturating_mul(1 << round.min(16)).min(LONGEST_BACK_OFF);
        // Full jitter above a half, so that many callers do not come at once.
        let wait = longest.mul_f64(rand::random_range(0.5..=1.0));
        let mut waited = Duration::ZERO;
        let slept = waiting(self.app, &mut waited, tokio::time::sleep(wait));
        let stayed = unless_abandoned(&self.pilot, slept).await.is_some();
        self.waited += waited;
        stayed
    }
}

/// The label of a failure.
fn code(failure: Failure) -> ProviderCode {
    match failure {
        Failure::Unreachable => ProviderCode::Unreachable,
        Failure::TimedOut => ProviderCode::Timeout,
        Failure::NoAnswer | Failure::Garbage => ProviderCode::Cut,
    }
}
