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
use crate::pipeline::relay::read_whole;
use crate::pipeline::relay::translate::{self, Order, Orders};
use crate::pipeline::{slot, waiting};
use crate::refusal::Refusal;
use crate::telemetry::metrics::labels::ProviderCode;
use crate::upstream::{Body, Call, Failure, Prepared, Reply};

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
    /// Makes the present attempt, with what `orders` has of it.
    pub(super) async fn call(&mut self, orders: &mut Orders<'_>, deadline: Instant) -> Called {
        let Some(leg) = self.course.leg() else { return Called::Failed(Failure::Unreachable) };
        let (target, reach, place) = (leg.target.clone(), leg.reach.clone(), leg.place);
        self.calls.aim(&target.provider.name, self.route.cost(&target));
        let usage = !reach.as_ref().is_some_and(|it| it.refuses_usage.load(Ordering::Relaxed));
        let made = orders.iter().position(|(made_for, _)| usage && *made_for == place);
        let made = made.map(|at| Ok(orders.swap_remove(at).1));
        let mut order = match made.unwrap_or_else(|| self.order(&target, usage)) {
            Ok(order) => order,
            Err(refusal) => return Called::Refused(refusal),
        };
        for path in &order.dropped {
            self.app.metrics.dropped_field(&self.calls.frame().endpoint, path);
        }
        let answers = order.answers.take();
        let called = match reach {
            Some(reach) => self.ask(&reach, &target, order, deadline).await,
            None => Box::pin(self.ask_sandbox(order, deadline)).await,
        };
        translate::back(called, answers)
    }

    /// Asks a provider.
    async fn ask(
        &mut self,
        reach: &Reach,
        target: &Target,
        order: Order<'_>,
        deadline: Instant,
    ) -> Called {
        let asked = order.asked;
        let called = self.send(reach, order, deadline).await;
        let Called::Reply(reply) = called else { return called };
        if reply.status != StatusCode::BAD_REQUEST || !asked {
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
        let Ok(order) = self.order(target, false) else { return Called::Reply(reply) };
        let called = Box::pin(self.send(reach, order, deadline)).await;
        // Refused all the same, it was the client's own mistake, which must not
        // cost the others their figures.
        if matches!(&called, Called::Reply(reply) if reply.status != StatusCode::BAD_REQUEST) {
            reach.refuses_usage.store(true, Ordering::Relaxed);
        }
        called
    }

    /// Sends one request; counts it for the provider.
    async fn send(&mut self, reach: &Reach, order: Order<'_>, deadline: Instant) -> Called {
        if let Err(called) = self.take_slot(deadline).await {
            return called;
        }
        self.course.called(self.app);
        let (key, turn) = self.course.leg().map_or((0, 0), |leg| (leg.key, leg.turn as usize));
        let origin = reach.origin_with(key);
        let call = Call {
            method: Method::POST,
            path: &order.path,
            query: order.query,
            headers: order.headers.as_ref().unwrap_or(&self.headers),
            body: order.body,
        };
        let prepared = Prepared::forwarded(origin, call);
        let (app, calls) = (self.app, &mut self.calls);
        let sent =
            app.upstream.send(origin, &prepared, turn, || calls.attempt().map_err(Failed::Refused));
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
    async fn ask_sandbox(&mut self, order: Order<'_>, deadline: Instant) -> Called {
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
        let path = ["/v1", &order.path].concat();
        let body = Outgoing { pieces: order.body }.joined();
        let mut waited = Duration::ZERO;
        let call = app.sandbox(provider, &path, &body);
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

    /// Waits as long as is due before the present attempt; false if the client
    /// leaves meanwhile.
    pub(super) async fn back_off(&mut self) -> bool {
        let wait = self.course.wait();
        if wait.is_zero() {
            return true;
        }
        self.calls.let_go();
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
        Failure::NoAnswer | Failure::Torn | Failure::Garbage => ProviderCode::Cut,
    }
}
