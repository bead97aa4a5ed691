//! From the order to the answer: a provider is called, or a call that runs for
//! the same request is joined; the answer is metered, settled and handed over.
//!
//! Each call is a flight (`share`): the pilot makes it, and whoever wants its
//! answer reads it as a passenger, the one whose request it is like the others.
//! Pilot and first passenger are two futures of one task, so that a call that
//! nobody shares costs no task of its own.

mod adapt;
mod attempt;
mod course;
mod learn;
mod pilot;
mod reach;
mod reader;
mod renew;
mod restore;
mod samples;
mod sieve;
mod translate;
mod vectors;

use std::pin::{Pin, pin};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use tokio::time::Instant;

use crate::app::{App, Snapshot};
use crate::base::money::Money;
use crate::config::Class;
use crate::exchange::{AnswerHead, CacheResult, Client, Ending, Exchange};
use crate::intake::request::Request;
use crate::ledger::record::{Outcome, Tokens};
use crate::meter::estimate;
use crate::meter::stream::StreamMeter;
use crate::pipeline::bill::Bill;
use crate::pipeline::recall::{Inputs, Keeping, Look};
use crate::pipeline::relay::course::Course;
use crate::pipeline::relay::pilot::{Flown, Flying};
use crate::pipeline::relay::reader::{Reader, Rode};
use crate::refusal::{Code, Refusal};
use crate::respond::{self, Said};
use crate::share::{End, Left, Passenger, Pilot};
use crate::upstream::{self, Body, BodyError, Failure};

pub(super) use renew::{Renewed, renew};
pub(super) use restore::Restore;

/// Largest answer that is held whole, in bytes.
const LARGEST_WHOLE: usize = 256 * 1024 * 1024;
/// The status in records of requests whose client left before an answer, as
/// nginx has it.
pub(super) const CLIENT_CLOSED: u16 = 499;

/// One ordered request on its way to a provider and back.
pub(super) struct Relay<'a, C> {
    pub(super) app: &'a App,
    pub(super) snapshot: &'a Snapshot,
    pub(super) client: &'a mut C,
    pub(super) exchange: &'a mut Exchange,
    pub(super) request: &'a Request,
    pub(super) bill: Bill<'a>,
    /// How to look for an answer that may stand in for the provider's.
    pub(super) look: Option<Look>,
}

impl<'a, C: Client> Relay<'a, C> {
    /// Makes a call and hands its answer to the client. The call goes on without
    /// the client while others are aboard, and is stopped when nobody is.
    ///
    /// `routing.timeout` bounds the whole of an answer that is not streamed, and
    /// the wait for the head of one that is; attempts share it.
    pub(super) async fn lead(
        &mut self,
        (pilot, passenger): (Pilot, Passenger),
        keeping: Option<Keeping>,
        inputs: Option<Box<Inputs>>,
        query: Option<&str>,
    ) -> Result<Ending, Refusal> {
        let deadline = Instant::now() + self.snapshot.config.routing.timeout;
        let mut flying = Flying {
            app: self.app,
            snapshot: self.snapshot,
            request: self.request,
            endpoint: self.bill.endpoint,
            route: self.bill.route.clone(),
            headers: upstream_headers(&self.client.head().headers, self.exchange.class.as_deref()),
            query,
            calls: self.bill.calls(),
            course: Course::new(self.snapshot, self.bill.endpoint, self.request),
            keeping,
            first_target: true,
            pilot,
            waited: Duration::ZERO,
        };
        let fly = pin!(async {
            match &inputs {
                // Boxed, as what only some requests need: its future is large.
                Some(inputs) => Box::pin(flying.embed(inputs)).await,
                None => flying.fly(deadline).await,
            }
        });
        // Polled after `fly`, whenever that was: both are of this task.
        let passenger = passenger.behind_its_pilot();
        self.ride(fly, passenger, |left| matches!(left, Left::Flying)).await
    }

    /// Hands the answer to the client while `fly` makes the call, and settles it. If
    /// the client leaves before, `goes_on` says whether the call does.
    async fn ride(
        &mut self,
        mut fly: Pin<&mut impl Future<Output = Flown>>,
        passenger: Passenger,
        goes_on: impl FnOnce(Left) -> bool,
    ) -> Result<Ending, Refusal> {
        let (flown, passenger, had) = {
            let mut reader = self.reader(true);
            let mut ride = pin!(reader.ride(passenger));
            let mut flown = None;
            let rode = loop {
                tokio::select! {
                    biased;
                    over = &mut fly, if flown.is_none() => flown = Some(over),
                    rode = &mut ride => break rode,
                }
            };
            match (rode, flown) {
                (Rode::Ended(ending), Some(_)) => return ending,
                (Rode::Ended(ending), None) => {
                    fly.await;
                    return ending;
                }
                (Rode::Left(passenger), Some(flown)) => (flown, passenger, None),
                (Rode::Left(mut passenger), None) => {
                    let had = passenger.so_far();
                    // What others have of it after this one is not this one's.
                    let had = goes_on(passenger.leave()).then_some(had);
                    (fly.await, passenger, had)
                }
            }
        };
        // Boxed, as what only some requests need.
        Box::pin(self.settle_left(flown, passenger, had)).await
    }

    /// Hands the answer of a call that runs to the client too.
    pub(super) async fn follow(&mut self, passenger: Passenger) -> Result<Ending, Refusal> {
        self.exchange.cache = CacheResult::Coalesced;
        self.bill.comes_from(CacheResult::Coalesced);
        let rode = self.reader(false).ride(passenger).await;
        match rode {
            Rode::Ended(ending) => ending,
            Rode::Left(passenger) => self.settle_off(passenger).await,
        }
    }

    fn reader(&mut self, leads: bool) -> Reader<'_, 'a, C> {
        Reader {
            app: self.app,
            client: &mut *self.client,
            exchange: &mut *self.exchange,
            bill: &mut self.bill,
            look: self.look,
            leads,
        }
    }

    /// Settles a request whose client left its call, once the call has ended; `had`
    /// is what was there for the client, where the call went on without it.
    async fn settle_left(
        &mut self,
        flown: Flown,
        mut passenger: Passenger,
        mut had: Option<Bytes>,
    ) -> Result<Ending, Refusal> {
        let mut status = CLIENT_CLOSED;
        // Before the settlement, as in all other cases.
        passenger.leave();
        let (landing, outcome) = match flown.end {
            // Its repeats have the answer, which it pays for.
            End::Landed(landing)
                if landing.outcome == Outcome::Ok
                    && self.bill.is_kept()
                    && passenger.has_company() =>
            {
                let head = passenger.head().await;
                status = head.map_or(CLIENT_CLOSED, |head| head.status.as_u16());
                had = None;
                (landing, Outcome::Ok)
            }
            End::Landed(landing) => (landing, self.left()),
            End::Refused(_, landing) if !landing.called && self.bill.void() => {
                return Ok(Ending::Cut);
            }
            End::Refused(_, landing) => {
                let outcome = landing.outcome;
                (landing, outcome)
            }
        };
        self.bill.answered_by(&landing.provider, landing.prices);
        self.bill.waited(self.exchange.waited + landing.waited);
        self.bill.bear(self.bill.portion(landing.cost, flown.share));
        let (path, asked) = (self.bill.endpoint.path(), self.request.body());
        let tokens = || match had {
            Some(had) => tokens_of(had, path, asked),
            None => (landing.tokens, landing.estimated),
        };
        self.bill.settle(outcome, status, tokens).await?;
        if outcome == Outcome::Ok {
            reader::keep(&self.bill, &mut passenger).await;
        }
        Ok(Ending::Cut)
    }

    /// Settles a request whose client left the call of another: it bears nothing,
    /// unless the call had ended by then.
    async fn settle_off(&mut self, mut passenger: Passenger) -> Result<Ending, Refusal> {
        let outcome = self.left();
        let had = passenger.so_far();
        // The seat is free before the settlement, which may wait for the disk.
        let share = match passenger.leave() {
            Left::Ended(landing) => self.bill.portion(landing.cost, passenger.share(landing.cost)),
            Left::Flying | Left::Abandoned => Money::ZERO,
        };
        self.bill.waited(self.exchange.waited);
        self.bill.bear(share);
        let (path, asked) = (self.bill.endpoint.path(), self.request.body());
        let tokens = || {
            if outcome == Outcome::ClientGoneEarly {
                return (Tokens::default(), false);
            }
            tokens_of(had, path, asked)
        };
        self.bill.settle(outcome, CLIENT_CLOSED, tokens).await?;
        Ok(Ending::Cut)
    }

    fn left(&self) -> Outcome {
        match self.bill.has_sent() {
            true => Outcome::ClientGoneLate,
            false => Outcome::ClientGoneEarly,
        }
    }
}

/// The tokens of the events in `had`, an answer's beginning, and whether they were
/// counted here.
fn tokens_of(had: Bytes, path: &str, asked: &[u8]) -> (Tokens, bool) {
    let mut meter = StreamMeter::new();
    sieve::events(had, |event| _ = meter.observe(event));
    meter.finish().settle(|| estimate::prompt_tokens(path, asked))
}

/// The headers of a request to a provider: those of the client's that go along, as
/// the class changes them.
pub(super) fn upstream_headers(client: &HeaderMap, class: Option<&Class>) -> HeaderMap {
    let mut headers = upstream::forwarded(client);
    if let Some(class) = class {
        class.headers.request.apply(&mut headers);
    }
    headers
}

/// The head of an answer: the headers that the `provider` that made it `returned`,
/// and Tollgate's own.
pub(super) fn head(
    app: &App,
    exchange: &Exchange,
    bill: &Bill<'_>,
    (status, mut headers): (StatusCode, HeaderMap),
    provider: &str,
    charged: bool,
) -> AnswerHead {
    let warnings = bill.warnings().filter(|warnings| !warnings.is_empty());
    let said = Said {
        route: Some(bill.route.describe(provider)),
        tokens: bill.token_standing().or(exchange.token_standing),
        warnings: warnings.unwrap_or(&exchange.warnings),
        price: bill.price().filter(|_| charged),
    };
    let own = respond::stamp_as(&mut headers, exchange, app.clock.monotonic(), &said);
    AnswerHead { status, headers, own }
}

pub(super) fn is_event_stream(headers: &HeaderMap) -> bool {
    const TYPE: &[u8] = b"text/event-stream";
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.as_bytes().get(..TYPE.len()))
        .is_some_and(|start| start.eq_ignore_ascii_case(TYPE))
}

pub(super) async fn read_whole(body: &mut Body) -> Result<Bytes, BodyError> {
    let Some(first) = body.next().await? else { return Ok(Bytes::new()) };
    let Some(second) = body.next().await? else { return Ok(first) };
    let mut whole = BytesMut::with_capacity((first.len() + second.len()) * 2);
    whole.extend_from_slice(&first);
    whole.extend_from_slice(&second);
    while let Some(piece) = body.next().await? {
        if whole.len() + piece.len() > LARGEST_WHOLE {
            return Err(BodyError::Cut);
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole.freeze())
}

/// The refusal for a provider that gave no answer.
pub(super) fn failed(failure: Failure) -> Refusal {
    match failure {
        Failure::TimedOut => {
            Refusal::new(Code::UpstreamTimeout, "The provider did not answer in time.")
        }
        Failure::Unreachable | Failure::NoAnswer | Failure::Torn | Failure::Garbage => {
            Refusal::new(
                Code::UpstreamError,
                "The provider could not be reached or gave no answer.",
            )
        }
    }
}

/// The refusal for a provider's status that is not passed on.
pub(super) fn provider_status(status: StatusCode) -> Refusal {
    if status.is_server_error() {
        let message = format!("The provider answered with status {}.", status.as_u16());
        return Refusal::new(Code::UpstreamError, message).status(status);
    }
    Refusal::new(Code::UpstreamError, "The provider could not serve the request.")
}
