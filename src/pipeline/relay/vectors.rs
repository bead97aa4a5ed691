//! A call for embeddings: made at once where none of its kind runs, else together
//! with what has gathered behind the running one.
//!
//! Invariants: what the shared calls used and cost is borne by their callers, to
//! the last unit, however each of them ends; whoever has begun a call for others
//! makes it, though its own client leaves.

mod so_far;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use http::StatusCode;
use tokio::time::Instant;

use crate::base::money::Money;
use crate::cache::entry;
use crate::intake::request::Request;
use crate::ledger::record::{Outcome, Savings, Tokens};
use crate::meter::estimate;
use crate::pipeline::recall::Inputs;
use crate::pipeline::relay::LARGEST_WHOLE;
use crate::pipeline::relay::pilot::{Flown, Flying};
use crate::pipeline::waiting;
use crate::refusal::{Code, Refusal};
use crate::share::embeddings::{
    Answer, Deal, Fellow, Frame, Held, Place, Running, Turn, deal, split,
};
use crate::share::{self, End, Head, Landing, Passenger};
use crate::telemetry::metrics::labels::Scope;

use so_far::{Last, SoFar};

/// A call as it is made.
struct Made<'i> {
    inputs: &'i Inputs,
    /// The caller's own inputs in it.
    own: Vec<Bytes>,
    /// Whether it asks for exactly what the caller's request asks for.
    whole: bool,
}

impl Flying<'_> {
    /// Brings the vectors of all inputs and shows the answer that they make.
    pub(super) async fn embed(&mut self, inputs: &Inputs) -> Flown {
        let mut so_far = SoFar::new(inputs);
        let Some(mut dealt) = self.first(inputs, &so_far).await else { return self.give_up() };
        let mut retried = false;
        loop {
            match dealt {
                Deal::Alone => {}
                Deal::Vectors(part) => {
                    so_far.take(part);
                    if so_far.missing().next().is_none() {
                        return self.hand_out(inputs, so_far);
                    }
                    if retried {
                        return self.fall_short(so_far);
                    }
                    retried = true;
                }
                Deal::Other(head, body, landing) => {
                    self.show(&head, so_far.shared);
                    let landing = self.after(&so_far, landing);
                    return self.land(body.clone(), body, landing);
                }
                Deal::Refused(refusal, landing) => {
                    self.calls.aim(&landing.provider, landing.prices);
                    let landing = self.after(&so_far, landing);
                    return self.end_without(refusal, landing);
                }
                Deal::Left(landing) => return self.leave(&so_far, landing),
            }
            if self.pilot.abandoned().now_or_never().is_some() {
                let landing = self.landing(Outcome::ClientGoneEarly, Tokens::default(), false);
                return self.leave(&so_far, landing);
            }
            let running = self.app.groups.alone(inputs.group);
            dealt = self.make(inputs, &so_far, running, Vec::new()).await;
        }
    }

    /// Ends a request whose clients have left.
    fn leave(&mut self, so_far: &SoFar, landing: Landing) -> Flown {
        let landing = Landing { broken: true, ..self.after(so_far, landing) };
        self.land(Bytes::new(), Bytes::new(), landing)
    }

    /// The first call: an own one, or one together with others. `None` if the
    /// client has left before it began.
    async fn first(&mut self, inputs: &Inputs, so_far: &SoFar) -> Option<Deal> {
        let app = self.app;
        let mut held = match app.groups.join(inputs.group, so_far.asked(inputs)) {
            Place::First(running) => {
                return Some(self.make(inputs, so_far, running, Vec::new()).await);
            }
            Place::Held(held) => held,
        };
        let mut waited = Duration::ZERO;
        let turn = {
            let _counted = app.metrics.enter(Scope::Held);
            waiting(app, &mut waited, self.turn(&mut held)).await
        };
        self.waited += waited;
        match turn? {
            Turn::Dealt(dealt) => Some(*dealt),
            Turn::Lead(running, fellows) => Some(self.make(inputs, so_far, running, fellows).await),
            Turn::Lost => {
                let refusal = Refusal::new(Code::InternalError, "An internal error occurred.");
                let landing = self.landing(Outcome::InternalError, Tokens::default(), false);
                Some(Deal::Refused(refusal, landing))
            }
        }
    }

    /// Waits for the turn; `None` if the client leaves before a call is made for it.
    async fn turn(&self, held: &mut Held) -> Option<Turn> {
        tokio::select! {
            biased;
            turn = held.turn() => return Some(turn),
            () = self.pilot.abandoned() => {}
        }
        if held.leave() {
            return None;
        }
        // What it costs shows when the call ends.
        match held.turn().await {
            Turn::Lead(running, fellows) => {
                running.appoint(fellows);
                None
            }
            turn => Some(turn),
        }
    }

    /// Makes a call for what is missing, and for `fellows`; gives each of them its
    /// part.
    async fn make(
        &mut self,
        inputs: &Inputs,
        so_far: &SoFar,
        running: Running,
        mut fellows: Vec<Fellow>,
    ) -> Deal {
        fellows.retain_mut(|fellow| !fellow.has_left());
        let own = so_far.asked(inputs);
        let whole = fellows.is_empty() && own.len() == inputs.split.parts.len();
        let call = Made { inputs, own, whole };
        let mut dealt = self.call_for(call, &mut fellows).await.into_iter();
        let own = dealt.next();
        for (fellow, deal) in fellows.into_iter().zip(dealt) {
            fellow.deal(deal);
        }
        drop(running);
        own.unwrap_or(Deal::Alone)
    }

    /// Makes one call; gives the parts of the caller and of its fellows, in order.
    async fn call_for(&mut self, call: Made<'_>, fellows: &mut [Fellow]) -> Vec<Deal> {
        let sizes: Vec<usize> = std::iter::once(call.own.len())
            .chain(fellows.iter().map(|fellow| fellow.parts.len()))
            .collect();
        let all: Vec<Bytes> = call
            .own
            .iter()
            .chain(fellows.iter().flat_map(|fellow| &fellow.parts))
            .cloned()
            .collect();
        let joint = match call.whole {
            true => Ok(self.request.clone()),
            false => Request::parse(&call.inputs.split.joint(all.iter())),
        };
        let request = match joint {
            Ok(request) => request,
            Err(refusal) => {
                let landing = self.landing(Outcome::InternalError, Tokens::default(), false);
                let refused = |_| Deal::Refused(refusal.clone(), landing.clone());
                return sizes.iter().map(refused).collect();
            }
        };
        let (end, answer, first_target) = self.fly_for(&request, fellows).await;
        let counts = sizes.len() > 1 || call.inputs.are_kept();
        let weights = match counts {
            true => split::weights(call.inputs.split.kind, &all),
            false => all.iter().map(|part| part.len() as u64).collect(),
        };
        let shares = deal::shares(end.landing(), &weights, &sizes);
        let each = |make: &dyn Fn(Landing) -> Deal| {
            shares.iter().map(|(landing, _)| make(landing.clone())).collect()
        };
        let (head, body) = match (end, answer) {
            (End::Refused(refusal, _), _) => {
                return each(&|landing| Deal::Refused(Refusal::clone(&refusal), landing));
            }
            (End::Landed(_), None) => return each(&Deal::Left),
            (End::Landed(_), Some(answer)) => answer,
        };
        let is_list = head.status == StatusCode::OK && !head.streamed;
        let vectors = is_list.then(|| Answer::read(&body, all.len())).flatten();
        match vectors {
            Some(_) => {}
            // Whoever is alone gets what the provider says, whatever it is.
            None if sizes.len() == 1 => {
                return each(&|landing| Deal::Other(head.clone(), body.clone(), landing));
            }
            None if is_list => {}
            // One input that is refused must not be felt by another's caller.
            None if is_for_an_input(head.status) => return each(&|_| Deal::Alone),
            None => return each(&|landing| Deal::Other(head.clone(), body.clone(), landing)),
        }
        let mut parts = deal::parts(vectors, shares, &head, first_target);
        if call.whole
            && let Some(part) = parts.first_mut()
        {
            part.whole = Some(body);
        }
        parts.into_iter().map(Deal::Vectors).collect()
    }

    /// Sends `request` to a provider, for the caller and `fellows`: given up when
    /// all of them have left. Gives its end, its answer if anybody waits for one,
    /// and whether the first target gave it.
    async fn fly_for(
        &mut self,
        request: &Request,
        fellows: &mut [Fellow],
    ) -> (End, Option<(Arc<Head>, Bytes)>, bool) {
        let deadline = Instant::now() + self.snapshot.config.routing.timeout;
        let (pilot, passenger) = share::alone(false, false);
        let input = estimate::quick(request.body().len());
        let mut flying = Flying {
            app: self.app,
            snapshot: self.snapshot,
            request,
            endpoint: self.endpoint,
            route: self.route.clone(),
            headers: self.headers.clone(),
            query: self.query,
            calls: self.calls.expecting(Tokens { input, ..Tokens::default() }),
            course: self.course.anew(),
            keeping: None,
            first_target: true,
            pilot,
            waited: Duration::ZERO,
        };
        let mut reading = Box::pin(read(passenger));
        let mut answer = None;
        let end = {
            let mut fly = pin!(flying.fly(deadline));
            let mut empty = pin!(async {
                self.pilot.abandoned().await;
                for fellow in fellows {
                    fellow.left().await;
                }
            });
            loop {
                tokio::select! {
                    biased;
                    flown = &mut fly => break flown.end,
                    read = &mut reading, if answer.is_none() => answer = Some(read),
                    () = &mut empty => {
                        drop(reading);
                        return (fly.await.end, None, false);
                    }
                }
            }
        };
        self.waited += flying.waited;
        let answer = match answer {
            Some(answer) => answer,
            None => reading.await,
        };
        (end, answer, flying.first_target)
    }

    /// Shows the answer that all the vectors make.
    fn hand_out(&mut self, inputs: &Inputs, mut so_far: SoFar) -> Flown {
        let Some(last) = so_far.last.take() else { return self.fall_short(so_far) };
        let Last { head, frame, landing, whole } = last;
        self.calls.aim(&landing.provider, landing.prices);
        let tokens = deal::total(&so_far.used);
        let vectors = so_far.vectors.iter().flatten();
        let body = whole.clone().unwrap_or_else(|| frame.with(vectors, &tokens));
        if inputs.are_kept() {
            let known = (0..so_far.used.len()).filter_map(|place| inputs.known(place));
            let known: Vec<Tokens> = known.map(|known| known.entry.tokens).collect();
            let cache = self.calls.cost(&deal::total(&known));
            self.app.metrics.saved(&Savings { cache, ..Savings::default() });
            self.keep_each(inputs, &so_far, (&head, &frame), whole);
        }
        self.show(&head, so_far.shared);
        let (cost, estimated, waited) = (so_far.cost, so_far.estimated, self.waited);
        let landing = Landing { tokens, cost, estimated, waited, called: true, ..landing };
        self.land(body.clone(), body, landing)
    }

    /// Keeps each vector that a call has brought, as the answer to its input alone.
    fn keep_each(
        &self,
        inputs: &Inputs,
        so_far: &SoFar,
        (head, frame): (&Head, &Frame),
        whole: Option<Bytes>,
    ) {
        let whole = whole.filter(|_| so_far.vectors.len() == 1);
        let all = so_far.vectors.iter().zip(&so_far.used).zip(&so_far.fresh);
        for (place, ((vector, used), _)) in all.enumerate().filter(|(_, (_, fresh))| **fresh) {
            let body = match &whole {
                // A copy: the answer may be a slice of a larger buffer.
                Some(whole) => Bytes::copy_from_slice(whole),
                None => frame.with(vector.iter(), used),
            };
            if entry::is_whole(&body) {
                let (made, used) = ((self.calls.frame(), &head.headers), (*used, so_far.estimated));
                inputs.keep(self.app, made, place, body, used);
            }
        }
    }

    /// Ends a request whose provider does not give all its vectors.
    fn fall_short(&mut self, so_far: SoFar) -> Flown {
        let message = "The provider gave fewer vectors than it was asked for.";
        let refusal = Refusal::new(Code::UpstreamError, message);
        let landing = match &so_far.last {
            Some(last) => {
                Landing { tokens: Tokens::default(), cost: Money::ZERO, ..last.landing.clone() }
            }
            None => self.landing(Outcome::Cut, Tokens::default(), false),
        };
        let landing = Landing { outcome: Outcome::Cut, ..landing };
        let landing = self.after(&so_far, landing);
        self.end_without(refusal, landing)
    }

    /// Shows the head of the answer that is given.
    fn show(&self, head: &Head, batched: bool) {
        self.pilot.depart(Head {
            status: head.status,
            headers: head.headers.clone(),
            provider: head.provider.clone(),
            prices: head.prices,
            choice: head.choice,
            streamed: false,
            batched,
            waited: self.waited,
        });
    }

    /// `landing` with what was spent before it.
    fn after(&self, so_far: &SoFar, landing: Landing) -> Landing {
        let landing = Landing {
            called: landing.called || so_far.called,
            estimated: landing.estimated || so_far.estimated,
            waited: self.waited,
            ..landing
        };
        deal::after(landing, &so_far.spent, so_far.cost)
    }
}

/// The answer to a call, whatever form it has; `None` where there is none.
async fn read(mut passenger: Passenger) -> Option<(Arc<Head>, Bytes)> {
    let head = passenger.head().await.ok()?;
    if !head.streamed {
        let (body, _) = passenger.whole().await.ok()?;
        return Some((head, body));
    }
    let mut body = BytesMut::new();
    loop {
        let step = passenger.next().await.ok()?;
        if body.len() + step.bytes.len() > LARGEST_WHOLE {
            return None;
        }
        body.extend_from_slice(&step.bytes);
        if step.end.is_some() {
            return Some((head, body.freeze()));
        }
    }
}

/// Whether a refusal with `status` may be for what one input is.
fn is_for_an_input(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY
    )
}
