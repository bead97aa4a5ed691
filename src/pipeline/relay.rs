//! From the order to the answer: the provider is called, its answer metered,
//! settled and handed over.

mod attempt;
mod learn;
mod stream;

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use tokio::time::Instant;

use crate::app::{App, Snapshot};
use crate::cache::entry::{self, Answer};
use crate::exchange::{AnswerHead, Client, Ending, Exchange};
use crate::intake::request::Request;
use crate::ledger::record::{Outcome, Tokens};
use crate::meter::{estimate, usage};
use crate::pipeline::bill::Bill;
use crate::pipeline::recall::Keeping;
use crate::pipeline::relay::attempt::Called;
use crate::pipeline::{count_back, unless_gone, waiting};
use crate::refusal::{Code, Refusal};
use crate::respond;
use crate::upstream::{Body, BodyError, Failure, Reply};

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
    /// How to keep the answer in the cache, if it may be kept.
    pub(super) keeping: Option<Keeping>,
}

impl<C: Client> Relay<'_, C> {
    /// Calls a provider, another one or once more where that may help, and hands
    /// the answer to the client.
    ///
    /// `routing.timeout` bounds the whole of an answer that is not streamed, and
    /// the wait for the head of one that is; attempts share it.
    pub(super) async fn answer(&mut self, query: Option<&str>) -> Result<Ending, Refusal> {
        let deadline = Instant::now() + self.snapshot.config.routing.timeout;
        let retries = self.snapshot.config.routing.retries;
        let mut number = 0;
        loop {
            let called = self.call(number, query, deadline).await;
            let more = number < retries && Instant::now() < deadline;
            match called {
                Called::Gone => return self.gone_early().await,
                Called::Refused(refusal) => return self.turn_away(refusal).await,
                Called::Failed(failure) if !more => {
                    return self.fail(Outcome::ProviderError, failed(failure)).await;
                }
                Called::Reply(reply) if !(more && self.is_worth_another(number, &reply)) => {
                    self.keep_only_from_the_first(number);
                    return self.hand_over(reply, deadline).await;
                }
                // The answer is thrown away: its connection is closed.
                Called::Failed(_) | Called::Reply(_) => {}
            }
            self.app.metrics.retried();
            if !self.back_off(number).await {
                return self.gone_early().await;
            }
            number += 1;
        }
    }

    /// Decides by status and content type what becomes of a reply.
    async fn hand_over(&mut self, reply: Reply, deadline: Instant) -> Result<Ending, Refusal> {
        let status = reply.status;
        if status.is_success() && is_event_stream(&reply.headers) {
            return self.stream(reply).await;
        }
        // The seller's credentials being refused is the seller's trouble, and a
        // redirect is not followed.
        let passes = status.is_success()
            || (status.is_client_error()
                && status != StatusCode::UNAUTHORIZED
                && status != StatusCode::FORBIDDEN);
        if passes {
            return self.whole(reply, deadline).await;
        }
        let Reply { mut body, .. } = reply;
        waiting(self.app, &mut self.exchange.waited, body.finish()).await;
        self.fail(Outcome::ProviderError, provider_status(status)).await
    }

    /// An answer that is read whole, settled, and sent in one piece.
    async fn whole(&mut self, reply: Reply, deadline: Instant) -> Result<Ending, Refusal> {
        let Reply { status, headers, mut body } = reply;
        let mut waited = Duration::ZERO;
        let read = tokio::time::timeout_at(deadline, read_whole(&mut body));
        let read = unless_gone(&mut *self.client, waiting(self.app, &mut waited, read)).await;
        self.exchange.waited += waited;
        let answer = match read {
            None => {
                drop(body);
                return self.gone_early().await;
            }
            Some(Ok(Ok(answer))) => answer,
            Some(Ok(Err(BodyError::Cut))) => {
                let refusal = Refusal::new(Code::UpstreamError, "The provider's answer broke off.");
                return self.fail(Outcome::Cut, refusal).await;
            }
            Some(Ok(Err(BodyError::TimedOut)) | Err(_)) => {
                return self.fail(Outcome::Cut, failed(Failure::TimedOut)).await;
            }
        };
        let outcome = if status.is_success() { Outcome::Ok } else { Outcome::ProviderError };
        if status.is_success() && self.makes() {
            self.learn(&answer).await?;
        }
        if outcome != Outcome::Ok {
            self.exchange.quota_returned();
        }
        self.bill.waited(self.exchange.waited);
        self.bill.sent(answer.len());
        let (path, asked) = (self.bill.endpoint.path(), self.request.body());
        self.bill
            .settle(outcome, status.as_u16(), || match usage::body_usage(&answer) {
                Some(tokens) => (tokens, false),
                None => {
                    let input = estimate::prompt_tokens(path, asked);
                    let output = estimate::answer_tokens(&answer);
                    (Tokens { input, output, ..Tokens::default() }, true)
                }
            })
            .await?;
        if status == StatusCode::OK && self.keeping.is_some() && entry::is_whole(&answer) {
            // A copy: the answer may be a slice of a larger buffer.
            self.keep(&headers, Answer::Whole(Bytes::copy_from_slice(&answer)));
        }
        let head = AnswerHead { status, headers: self.headers(&headers, status.is_success()) };
        match self.client.send_whole(head, answer).await {
            Ok(()) => Ok(Ending::Complete),
            Err(_) => Ok(Ending::Cut),
        }
    }

    /// The headers of an answer that came from a provider.
    fn headers(&self, provider: &HeaderMap, charged: bool) -> HeaderMap {
        let returned = respond::returned(provider);
        let bill = &self.bill;
        headers(self.app, self.exchange, bill, returned, bill.provider(), charged)
    }

    /// Keeps an answer that has been settled, before its end is sent.
    fn keep(&mut self, provider: &HeaderMap, answer: Answer) {
        if let Some(keeping) = self.keeping.take() {
            keeping.keep(self.app, &self.bill, provider, answer);
        }
    }

    /// The cache's key names the first target: what another one answers to
    /// attempt `number` is not kept.
    fn keep_only_from_the_first(&mut self, number: u32) {
        let turn =
            usize::try_from(number).ok().map(|number| number % self.bill.route.width().max(1));
        if turn != Some(0) {
            self.keeping = None;
        }
    }

    /// Settles a request that ends in a refusal.
    async fn fail(&mut self, outcome: Outcome, refusal: Refusal) -> Result<Ending, Refusal> {
        self.bill.waited(self.exchange.waited);
        self.exchange.route = Some(way(&self.bill, self.bill.provider()));
        // No outcome that ends in a refusal is charged.
        self.exchange.quota_returned();
        let prompt = self.prompt();
        self.bill.settle(outcome, refusal.status.as_u16(), prompt).await?;
        Err(refusal)
    }

    /// Ends a request of which no (further) call may be made. One that no
    /// provider has seen consumes nothing.
    async fn turn_away(&mut self, refusal: Refusal) -> Result<Ending, Refusal> {
        if !self.bill.void() {
            return self.fail(Outcome::ProviderError, refusal).await;
        }
        self.exchange.billed = false;
        count_back(self.exchange);
        Err(refusal)
    }

    /// Settles a request whose client left before it had anything.
    async fn gone_early(&mut self) -> Result<Ending, Refusal> {
        self.bill.waited(self.exchange.waited);
        let prompt = self.prompt();
        self.bill.settle(Outcome::ClientGoneEarly, CLIENT_CLOSED, prompt).await?;
        Ok(Ending::Cut)
    }

    /// The tokens of the prompt alone, counted when asked.
    fn prompt(&self) -> impl FnOnce() -> (Tokens, bool) + Send + use<C> {
        let (path, body) = (self.bill.endpoint.path(), self.request.body().clone());
        move || {
            let input = estimate::prompt_tokens(path, &body);
            (Tokens { input, ..Tokens::default() }, true)
        }
    }
}

/// The headers of an answer: those of the `provider` that made it, and
/// Tollgate's own.
pub(super) fn headers(
    app: &App,
    exchange: &Exchange,
    bill: &Bill<'_>,
    returned: HeaderMap,
    provider: &str,
    charged: bool,
) -> HeaderMap {
    let mut headers = returned;
    respond::stamp(&mut headers, exchange, app.clock.monotonic());
    respond::put(&mut headers, "x-tollgate-route", &way(bill, provider));
    if charged && let Some(price) = bill.price() {
        respond::put(&mut headers, "x-tollgate-price-usd", &price.to_string());
    }
    headers
}

/// The value of `x-tollgate-route`.
fn way(bill: &Bill<'_>, provider: &str) -> String {
    let route = &bill.route;
    format!("{};{};{provider};{}", route.tier.as_str(), route.model, route.reason)
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
        Failure::Unreachable | Failure::NoAnswer | Failure::Garbage => Refusal::new(
            Code::UpstreamError,
            "The provider could not be reached or gave no answer.",
        ),
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
