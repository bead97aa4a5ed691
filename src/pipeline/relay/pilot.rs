//! The pilot's part of a call: makes it, meters the answer, and shows it to those
//! who read it.
//!
//! Invariant: when the last bytes of an answer are shown, what it used and cost is
//! known, and it can be had from the cache if it may be kept.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use tokio::time::Instant;

use crate::app::{App, Snapshot};
use crate::base::money::Money;
use crate::cache::entry::{self, Answer};
use crate::intake::endpoint::Endpoint;
use crate::intake::request::Request;
use crate::ledger::record::{Outcome, Tokens};
use crate::meter::policy::{self, TokenSource};
use crate::meter::{estimate, usage};
use crate::pipeline::bill::calls::Calls;
use crate::pipeline::recall::Keeping;
use crate::pipeline::relay::attempt::Called;
use crate::pipeline::relay::course::{Course, is_worth_another};
use crate::pipeline::relay::restore::Restore;
use crate::pipeline::relay::sieve::{Sieve, Sifted};
use crate::pipeline::relay::translate::Suited;
use crate::pipeline::relay::{failed, is_event_stream, provider_status, read_whole};
use crate::pipeline::waiting;
use crate::refusal::{Code, Refusal};
use crate::route::catalog::Route;
use crate::share::window::Past;
use crate::share::{End, Head, Landing, Pilot};
use crate::upstream::{BodyError, Failure, Reply};

/// One call, with all that it needs: the client may leave.
pub(super) struct Flying<'a> {
    pub(super) app: &'a App,
    pub(super) snapshot: &'a Snapshot,
    pub(super) request: &'a Request,
    pub(super) endpoint: Endpoint,
    pub(super) route: Route,
    /// The client's headers that go along.
    pub(super) headers: HeaderMap,
    pub(super) query: Option<&'a str>,
    pub(super) calls: Calls<'a>,
    /// Who is asked.
    pub(super) course: Course<'a>,
    /// How to keep the answer in the cache, if it may be kept.
    pub(super) keeping: Option<Keeping>,
    /// Whether one of the most preferred targets gives the answer.
    pub(super) first_target: bool,
    pub(super) pilot: Pilot,
    /// Time spent waiting for others.
    pub(super) waited: Duration,
}

/// How the call went, for the one whose request it was.
pub(super) struct Flown {
    pub(super) end: End,
    /// What it bears of the cost.
    pub(super) share: Money,
}

impl Flying<'_> {
    /// Calls a provider, another one or once more where that may help, and shows
    /// the answer.
    pub(super) async fn fly(&mut self, deadline: Instant) -> Flown {
        self.fly_after(&Past::default(), deadline).await
    }

    /// The same after `past` attempts that were made for the request and others.
    pub(super) async fn fly_after(&mut self, past: &Past, deadline: Instant) -> Flown {
        let mut orders = match self.suit() {
            Ok(Suited::Targets(orders)) => orders,
            // Boxed, as what only some requests need: its future is large.
            Ok(Suited::Nobody(made)) => {
                return Box::pin(self.answer(made, deadline, None)).await;
            }
            Err(refusal) => return self.turn_away(refusal),
        };
        self.begin(past);
        if !self.back_off().await {
            return self.give_up();
        }
        loop {
            let called = self.call(&mut orders, deadline).await;
            self.course.learn(self.app, &called);
            match called {
                Called::Gone => return self.give_up(),
                Called::Refused(refusal) => return self.turn_away(refusal),
                Called::Failed(failure) if !self.goes_on(deadline) => {
                    return self.refuse(failed(failure), Outcome::ProviderError);
                }
                Called::Reply(reply)
                    if !(is_worth_another(reply.status) && self.goes_on(deadline)) =>
                {
                    // What was made for others is not carried through a long answer.
                    drop(orders);
                    self.keep_only_from_preferred();
                    let restore = Restore::of(self);
                    return self.answer(reply, deadline, restore).await;
                }
                // The answer is thrown away: its connection is closed.
                Called::Failed(_) | Called::Reply(_) => {}
            }
            if !self.back_off().await {
                return self.give_up();
            }
        }
    }

    /// Whether another attempt is made; it is then the present one.
    fn goes_on(&mut self, deadline: Instant) -> bool {
        self.course.go_on(self.app, &self.route, deadline)
    }

    /// Decides by status and content type what becomes of a reply.
    async fn answer(&mut self, reply: Reply, deadline: Instant, restore: Option<Restore>) -> Flown {
        let status = reply.status;
        if status.is_success() && is_event_stream(&reply.headers) {
            // Boxed, as what only some requests need: its future is large.
            return Box::pin(self.stream(reply, restore)).await;
        }
        // The seller's credentials being refused is the seller's trouble, and a
        // redirect is not followed.
        let passes = status.is_success()
            || (status.is_client_error()
                && status != StatusCode::UNAUTHORIZED
                && status != StatusCode::FORBIDDEN);
        if passes {
            return self.whole(reply, deadline, restore).await;
        }
        let Reply { mut body, .. } = reply;
        waiting(self.app, &mut self.waited, body.finish()).await;
        self.refuse(provider_status(status), Outcome::ProviderError)
    }

    /// An answer that is read whole and shown in one piece.
    async fn whole(&mut self, reply: Reply, deadline: Instant, restore: Option<Restore>) -> Flown {
        let Reply { status, headers, mut body } = reply;
        let mut waited = Duration::ZERO;
        let read = {
            // Pinned here: each future around it would hold it twice.
            let read = pin!(tokio::time::timeout_at(deadline, read_whole(&mut body)));
            unless_abandoned(&self.pilot, waiting(self.app, &mut waited, read)).await
        };
        self.waited += waited;
        let answer = match read {
            None => {
                drop(body);
                return self.give_up();
            }
            Some(Ok(Ok(answer))) => match restore {
                Some(restore) => restore.whole(answer),
                None => answer,
            },
            Some(Ok(Err(BodyError::Garbled))) => {
                self.course.broke_off(self.app);
                let message = "The provider's answer is not what its API describes.";
                let refusal = Refusal::new(Code::UpstreamError, message);
                return self.refuse(refusal, Outcome::Cut);
            }
            Some(Ok(Err(BodyError::Cut))) => {
                self.course.broke_off(self.app);
                let refusal = Refusal::new(Code::UpstreamError, "The provider's answer broke off.");
                return self.refuse(refusal, Outcome::Cut);
            }
            Some(Ok(Err(BodyError::TimedOut)) | Err(_)) => {
                self.course.broke_off(self.app);
                return self.refuse(failed(Failure::TimedOut), Outcome::Cut);
            }
        };
        let outcome = if status.is_success() { Outcome::Ok } else { Outcome::ProviderError };
        if status.is_success()
            && self.makes()
            && let Err(refusal) = self.learn(&answer).await
        {
            return self.refuse(refusal, Outcome::InternalError);
        }
        let (tokens, estimated) = match policy::terms(outcome).tokens {
            TokenSource::None => (Tokens::default(), false),
            TokenSource::Settled | TokenSource::Assumed => match usage::body_usage(&answer) {
                Some(tokens) => (tokens, false),
                None => {
                    let output = estimate::answer_tokens(&answer);
                    (Tokens { output, ..self.prompt() }, true)
                }
            },
        };
        if status == StatusCode::OK && self.keeping.is_some() && entry::is_whole(&answer) {
            // A copy: the answer may be a slice of a larger buffer.
            let copy = Answer::Whole(Bytes::copy_from_slice(&answer));
            self.keep(&headers, copy, tokens, estimated);
        }
        self.depart(status, headers, false);
        let landing = self.landing(outcome, tokens, estimated);
        self.land(answer.clone(), answer, landing)
    }

    /// An answer that is shown event by event, as it comes.
    async fn stream(&mut self, reply: Reply, restore: Option<Restore>) -> Flown {
        let Reply { status, headers, mut body } = reply;
        let keeps = self.keeping.is_some() && status == StatusCode::OK;
        let asked = self.endpoint.usage_on_request();
        let mut sieve = Sieve::new(asked, keeps.then(|| self.app.cache.record()));
        sieve.restoring(restore);
        self.depart(status, headers.clone(), true);
        let (makes, mut known) = (self.makes(), false);
        loop {
            let mut waited = Duration::ZERO;
            let next = async {
                self.pilot.room().await;
                body.next().await
            };
            let next = unless_abandoned(&self.pilot, waiting(self.app, &mut waited, next)).await;
            self.waited += waited;
            match next {
                None => {
                    drop(body);
                    return self.end(sieve, Outcome::ClientGoneEarly);
                }
                Some(Ok(Some(chunk))) => {
                    let sifted = sieve.sift(chunk);
                    if makes && let Err(refusal) = self.learn_events(&sifted.full, &mut known).await
                    {
                        return self.refuse(refusal, Outcome::InternalError);
                    }
                    if sifted.last {
                        let flown = self.complete(sieve, sifted, &headers);
                        // So that the connection can be kept. The client has the answer by
                        // now; only its next request waits.
                        body.finish().await;
                        return flown;
                    }
                    self.pilot.push(sifted.full, sifted.plain);
                }
                Some(Ok(None)) if !body.is_close_delimited() => {
                    let rest = sieve.rest();
                    let sifted = Sifted { full: rest.clone(), plain: rest, last: true };
                    return self.complete(sieve, sifted, &headers);
                }
                Some(Ok(None) | Err(BodyError::Cut | BodyError::TimedOut | BodyError::Garbled)) => {
                    self.course.broke_off(self.app);
                    return self.end(sieve, Outcome::Cut);
                }
            }
        }
    }

    /// Ends a stream whose last events are these.
    fn complete(&mut self, mut sieve: Sieve, last: Sifted, headers: &HeaderMap) -> Flown {
        let usage = sieve.meter().finish();
        // An error that the provider sends within the stream ends it unfinished.
        let outcome = if usage.failed { Outcome::Cut } else { Outcome::Ok };
        let (tokens, estimated) = usage.settle(|| self.prompt().input);
        if let Some(stream) = sieve.recorded() {
            self.keep(headers, Answer::Stream(stream), tokens, estimated);
        }
        let landing = self.landing(outcome, tokens, estimated);
        self.land(last.full, last.plain, landing)
    }

    /// Ends a stream that broke off, or that nobody reads any more.
    fn end(&mut self, mut sieve: Sieve, outcome: Outcome) -> Flown {
        let rest = sieve.rest();
        let (tokens, estimated) = sieve.meter().finish().settle(|| self.prompt().input);
        let landing = Landing { broken: true, ..self.landing(outcome, tokens, estimated) };
        self.land(rest.clone(), rest, landing)
    }

    fn depart(&self, status: StatusCode, headers: HeaderMap, streamed: bool) {
        let (provider, prices) = (self.calls.frame().provider.clone(), self.calls.prices());
        let waited = self.waited;
        let (choice, batched) = (self.course.choice(), false);
        let head = Head { status, headers, provider, prices, choice, streamed, batched, waited };
        self.pilot.depart(head);
    }

    pub(super) fn land(&mut self, full: Bytes, plain: Bytes, landing: Landing) -> Flown {
        // Free before the answer leaves: a client that has it can ask again.
        self.calls.let_go();
        let landing = Arc::new(landing);
        let share = self.pilot.land(full, plain, Arc::clone(&landing));
        Flown { end: End::Landed(landing), share }
    }

    /// Ends a call of which no (further) attempt may be made.
    fn turn_away(&mut self, refusal: Refusal) -> Flown {
        if self.calls.any() || self.calls.has_spent() {
            return self.refuse(refusal, Outcome::ProviderError);
        }
        let landing = self.landing(Outcome::ProviderError, Tokens::default(), false);
        self.end_without(refusal, Landing { called: false, ..landing })
    }

    /// Ends a call that has no answer.
    fn refuse(&mut self, refusal: Refusal, outcome: Outcome) -> Flown {
        let (tokens, estimated) = match policy::terms(outcome).tokens {
            _ if !self.calls.any() => (Tokens::default(), false),
            TokenSource::None => (Tokens::default(), false),
            TokenSource::Settled | TokenSource::Assumed => (self.prompt(), true),
        };
        let landing = self.landing(outcome, tokens, estimated);
        self.end_without(refusal, landing)
    }

    pub(super) fn end_without(&mut self, refusal: Refusal, landing: Landing) -> Flown {
        self.calls.let_go();
        let landing = Arc::new(landing);
        let share = self.pilot.refuse(refusal.clone(), Arc::clone(&landing));
        Flown { end: End::Refused(Box::new(refusal), landing), share }
    }

    /// Ends a call whose callers have all left before its answer came.
    pub(super) fn give_up(&mut self) -> Flown {
        let called = self.calls.any();
        let tokens = if called { self.prompt() } else { Tokens::default() };
        let landing =
            Landing { broken: true, ..self.landing(Outcome::ClientGoneEarly, tokens, called) };
        self.land(Bytes::new(), Bytes::new(), landing)
    }

    pub(super) fn landing(&self, outcome: Outcome, tokens: Tokens, estimated: bool) -> Landing {
        Landing {
            outcome,
            provider: self.calls.frame().provider.clone(),
            prices: self.calls.prices(),
            called: true,
            broken: false,
            tokens,
            estimated,
            cost: self.calls.cost_in_all(&tokens),
            spared: Money::ZERO,
            waited: self.waited,
        }
    }

    /// The tokens of the prompt alone.
    fn prompt(&self) -> Tokens {
        if self.endpoint.is_free() {
            return Tokens::default();
        }
        let input = estimate::prompt_tokens(self.endpoint.path(), self.request.body());
        Tokens { input, ..Tokens::default() }
    }

    /// Keeps an answer before its end is shown.
    fn keep(&mut self, provider: &HeaderMap, answer: Answer, tokens: Tokens, estimated: bool) {
        if let Some(keeping) = self.keeping.take() {
            keeping.keep(self.app, self.calls.frame(), provider, answer, (tokens, estimated));
        }
    }

    /// The cache's key names the first target: what one answers that is less
    /// preferred is not kept.
    fn keep_only_from_preferred(&mut self) {
        if !self.course.is_preferred() {
            self.keeping = None;
            self.first_target = false;
        }
    }
}

/// Runs `work` unless nobody waits for what it brings: `None` then.
pub(super) async fn unless_abandoned<T>(pilot: &Pilot, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        done = work => Some(done),
        () = pilot.abandoned() => None,
    }
}
