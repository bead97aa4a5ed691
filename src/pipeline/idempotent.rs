//! Requests with an `idempotency-key`: who is first, who joins it, and who gets the
//! answer that is kept.

use std::sync::Arc;

use crate::app::App;
use crate::auth::keyring::Identity;
use crate::base::money::Money;
use crate::cache::key::{BodyHash, Context, Fields};
use crate::config::Class;
use crate::exchange::{CacheResult, Client, Ending, Exchange};
use crate::idempotency::{Answer, Asked, Claim, HEADER, IdempotencyKey, Lead, Progress, Run};
use crate::intake::endpoint::Endpoint;
use crate::intake::request::Request;
use crate::ledger::record::{Outcome, Tokens};
use crate::pipeline::bill::idempotent::Part;
use crate::pipeline::bill::{Bill, storage_unavailable};
use crate::pipeline::recall::Recalled;
use crate::pipeline::{relay, unless_gone, waiting};
use crate::refusal::{Code, Refusal};
use crate::share::{FlightKey, Passenger};
use crate::telemetry::metrics::Repeat;

/// A request's turn under its key.
pub(super) enum Turn {
    /// It has no key.
    Unkeyed,
    /// It runs.
    First(Lead),
    /// It is aboard the call of the first.
    Joined(Arc<Run>, Passenger),
    /// The answer is there, and is so many seconds old.
    Stored(Box<Answer>, u64),
    /// Its client has left before the first could be joined.
    Left(Arc<Run>),
}

/// Who asks for what.
pub(super) struct Asking<'q> {
    pub(super) caller: &'q Identity,
    pub(super) class: &'q Class,
    pub(super) endpoint: Endpoint,
    pub(super) request: &'q Request,
}

/// Finds the turn of a request. One that cannot join the first, though it is the
/// same, waits until that has ended.
///
/// # Errors
/// 400 `invalid_value` for a key that is none; 409 `idempotency_conflict` if it
/// came with another request within a day; 503 `storage_unavailable` if nobody can
/// tell.
pub(super) async fn turn<C: Client>(
    app: &App,
    client: &mut C,
    exchange: &mut Exchange,
    asking: &Asking<'_>,
) -> Result<Turn, Refusal> {
    match IdempotencyKey::read(&client.head().headers)? {
        // Boxed, as what only some requests need: its future is large.
        Some(key) => Box::pin(keyed(app, client, exchange, asking, key)).await,
        None => Ok(Turn::Unkeyed),
    }
}

async fn keyed<C: Client>(
    app: &App,
    client: &mut C,
    exchange: &mut Exchange,
    asking: &Asking<'_>,
    key: IdempotencyKey,
) -> Result<Turn, Refusal> {
    let Asking { caller, class, endpoint, request } = *asking;
    let asked = Asked {
        account: &caller.account,
        path: endpoint.path(),
        class: &class.name,
        key: &key,
        body: same(app, client, asking),
        id: exchange.id,
    };
    let plain = endpoint.usage_on_request() && !request.asks_usage();
    let metrics = app.metrics.idempotency();
    loop {
        let now = app.clock.wall();
        let run = match app.idempotency.claim(&asked, now).map_err(|_| storage_unavailable())? {
            Claim::First(lead) => {
                metrics.came(Repeat::First);
                return Ok(Turn::First(lead));
            }
            Claim::Again(answer, made) => {
                metrics.came(Repeat::Stored);
                let age = now.as_secs().saturating_sub(made.as_secs());
                return Ok(Turn::Stored(answer, age));
            }
            Claim::Conflict => {
                metrics.came(Repeat::Conflict);
                return Err(conflict());
            }
            Claim::Running(run) => run,
        };
        let aboard = unless_gone(
            client,
            waiting(app, &mut exchange.waited, async {
                let mut progress = run.progress();
                loop {
                    let flight = FlightKey { request: run.call(), stream: request.stream };
                    if let Some(passenger) = app.flights.join(flight, plain) {
                        return Some(passenger);
                    }
                    let is_over = *progress.borrow() == Progress::Over;
                    // The sender is part of the run, so it is there.
                    if is_over || progress.changed().await.is_err() {
                        return None;
                    }
                }
            }),
        );
        match aboard.await {
            Some(Some(passenger)) => {
                metrics.came(Repeat::Joined);
                return Ok(Turn::Joined(run, passenger));
            }
            Some(None) => {}
            None => return Ok(Turn::Left(run)),
        }
    }
}

/// The keyed hash of all that makes two requests the same: the body in the
/// canonical form of cache keys with every field, what a provider sees of the
/// headers and can answer to, and the query. A body without that form is the same
/// only to the byte.
fn same<C: Client>(app: &App, client: &C, asking: &Asking<'_>) -> [u8; 32] {
    let Asking { caller, class, endpoint, request } = *asking;
    let head = client.head();
    let context = Context {
        endpoint: endpoint.path(),
        class: &class.name,
        account: Some(&caller.account),
        // Where it runs is the seller's affair, and may change within the day.
        model: "",
        provider: "",
        provider_model: None,
        max_output: None,
        headers: &head.headers,
        set: &[],
        query: head.uri.query(),
    };
    match BodyHash::of(request.body(), Fields::All) {
        Some(hash) => *app.cache.key(&context, &hash).as_bytes(),
        None => *app.body_hash(request.body()).as_bytes(),
    }
}

fn conflict() -> Refusal {
    let message = "The idempotency-key came with a different request within the last 24 hours. \
                   Send another key.";
    Refusal::new(Code::IdempotencyConflict, message).param(HEADER).in_vain()
}

impl Turn {
    /// Whether the request repeats another one.
    pub(super) const fn is_repeat(&self) -> bool {
        matches!(self, Self::Joined(..) | Self::Stored(..) | Self::Left(_))
    }

    /// Takes the turn.
    pub(super) fn take(
        self,
        exchange: &mut Exchange,
        bill: &mut Bill<'_>,
        recalled: &mut Recalled,
        stream: bool,
    ) {
        if self.is_repeat() {
            exchange.quota_returned();
        }
        match self {
            Self::Unkeyed => {}
            Self::First(lead) => {
                recalled.flight = Some(FlightKey { request: lead.run().call(), stream });
                bill.take_part(Part::First(lead));
            }
            Self::Joined(run, passenger) => {
                recalled.joined = Some(passenger);
                bill.take_part(Part::Joined(run));
            }
            Self::Stored(answer, age) => {
                (exchange.cache, exchange.age) = (CacheResult::Hit, Some(age));
                bill.comes_from(CacheResult::Hit);
                recalled.stored = Some(answer);
                bill.take_part(Part::Stored);
            }
            Self::Left(run) => {
                recalled.left = true;
                bill.take_part(Part::Joined(run));
            }
        }
    }
}

/// Ends a request whose client is not there any more.
///
/// # Errors
/// 503 `storage_unavailable`.
pub(super) async fn leave(exchange: &Exchange, mut bill: Bill<'_>) -> Result<Ending, Refusal> {
    bill.waited(exchange.waited);
    bill.bear(Money::ZERO);
    let nothing = || (Tokens::default(), false);
    bill.settle(Outcome::ClientGoneEarly, relay::CLIENT_CLOSED, nothing).await?;
    Ok(Ending::Cut)
}

/// Gives the answer that is kept: settled first, then sent in one piece.
///
/// # Errors
/// 503 `storage_unavailable`; nothing has been sent then.
pub(super) async fn answer<C: Client>(
    app: &App,
    client: &mut C,
    exchange: &Exchange,
    mut bill: Bill<'_>,
    stored: Answer,
) -> Result<Ending, Refusal> {
    let Answer { status, provider, headers, body } = stored;
    bill.waited(exchange.waited);
    bill.sent(body.len());
    bill.bear(Money::ZERO);
    bill.settle(Outcome::Ok, status.as_u16(), || (Tokens::default(), false)).await?;
    let head = relay::head(app, exchange, &bill, (status, headers), &provider, true);
    match client.send_whole(head, body).await {
        Ok(()) => Ok(Ending::Complete),
        Err(_) => Ok(Ending::Cut),
    }
}
