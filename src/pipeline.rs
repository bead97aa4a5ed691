//! The way of a request, on one screen.
//!
//! ```text
//! endpoint ─ identify ─ admit ─ read ─ classify ─ route ─ idempotency ─ guard ─ cache ─ share ─ upstream ─ meter ─ settle ─ respond
//! ```
//!
//! A stage never imports another; this module joins them. A refusal, at
//! whichever point, consumes nothing: what was taken is given back here.

mod bill;
mod bounds;
mod guard;
mod idempotent;
mod models;
mod opaque;
mod own;
mod reading;
mod recall;
mod relay;
mod shape;
mod slot;
mod tokens;
mod usage;

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::HeaderName;
use http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};

use crate::admission::quota::Allowance;
use crate::admission::{self, Asking, Gates, Permit};
use crate::app::{App, Snapshot};
use crate::auth::key;
use crate::auth::keyring::{Access, Identity};
use crate::base::clock::Timestamp;
use crate::base::headers::API_KEY;
use crate::class;
use crate::config::Class;
use crate::exchange::{Client, Ending, Exchange};
use crate::intake::body;
use crate::intake::endpoint::{self, Asked, Endpoint};
use crate::intake::request::Request;
use crate::meter::quote::Quote;
use crate::refusal::{Code, Refusal};
use crate::share::Boarding;

use bill::{Bill, Order};
use recall::{Found, Question, Recalled};
use relay::Relay;

/// Serves one request whose head has been read.
///
/// # Errors
/// The refusal to answer with; nothing has been sent then, unless the client
/// says that it has been answered.
pub async fn serve<C: Client>(
    app: &Arc<App>,
    client: &mut C,
    exchange: &mut Exchange,
) -> Result<Ending, Refusal> {
    let (uri, method) = (client.head().uri.clone(), client.head().method.clone());
    let snapshot = app.snapshot.load_full();
    let config = &snapshot.config;
    let lane = endpoint::lane(uri.path(), &config.classes)?;
    exchange.errors = models::errors(client, lane.path).unwrap_or(lane.errors());
    // As far as the head says it; the body's metadata may choose another.
    let by_head = class::choose(&config.classes, lane.class, &client.head().headers, None);
    exchange.class = by_head.ok().cloned();
    let caller = identify(app, &snapshot, client, exchange.received)?;
    exchange.plan = Some(caller.plan.name.clone());
    check_access(&caller)?;
    let allowance = |counts| allowance(&snapshot, exchange, &caller, counts);
    let (counted, uncounted) = (allowance(true), allowance(false));
    match endpoint::asked(&method, lane.path)? {
        Asked::Understood(endpoint) => {
            body::check_headers(&client.head().headers, &config.listen)?;
            let allowance = if endpoint.is_free() { &uncounted } else { &counted };
            let permit = admit(app, &snapshot, client, exchange, &caller, allowance)?;
            let asked = (endpoint, lane.class, uri.query());
            pin!(understood(app, &snapshot, client, exchange, &caller, permit, asked)).await
        }
        Asked::Models => {
            drop(admit(app, &snapshot, client, exchange, &caller, &uncounted)?);
            Box::pin(models::list(app, &snapshot, client, exchange, &caller)).await
        }
        Asked::Model(name) => {
            let permit = admit(app, &snapshot, client, exchange, &caller, &uncounted)?;
            Box::pin(models::show(app, &snapshot, client, exchange, &caller, permit, name)).await
        }
        Asked::Usage => Box::pin(usage::show(app, &snapshot, client, exchange, &caller)).await,
        Asked::Record(id) => {
            let permit = admit(app, &snapshot, client, exchange, &caller, &uncounted)?;
            Box::pin(usage::record(app, client, exchange, &caller, permit, id)).await
        }
        Asked::Opaque => {
            Box::pin(opaque::serve(app, &snapshot, client, exchange, &caller, &lane)).await
        }
    }
}

/// Serves a request of the understood lane that is admitted with `permit`.
async fn understood<C: Client>(
    app: &Arc<App>,
    snapshot: &Arc<Snapshot>,
    client: &mut C,
    exchange: &mut Exchange,
    caller: &Arc<Identity>,
    mut permit: Permit,
    (endpoint, by_prefix, query): (Endpoint, Option<&Arc<Class>>, Option<&str>),
) -> Result<Ending, Refusal> {
    let ordered = order(app, snapshot, client, exchange, caller, endpoint, by_prefix);
    let ordered = pin!(ordered).await;
    let (request, mut bill, mut recalled) = match ordered {
        Ok(ordered) => ordered,
        Err(refusal) => {
            give_back(permit, exchange);
            return Err(refusal);
        }
    };
    let held = hold(app, exchange, caller, &mut permit, (&request, &bill, &recalled));
    if let Err(refusal) = held {
        give_back(permit, exchange);
        return Err(refusal);
    }
    bill.hold(permit);
    exchange.billed = true;
    let plain = endpoint.usage_on_request() && !request.asks_usage();
    if let Some(stored) = recalled.stored.take() {
        return Box::pin(idempotent::answer(app, client, exchange, bill, *stored)).await;
    }
    if recalled.left {
        return Box::pin(idempotent::leave(exchange, bill)).await;
    }
    if let Some(sampled) = recalled.sampled() {
        let (look, request) = (None, &request);
        let mut relay = Relay { app, snapshot, client, exchange, request, bill, look };
        return Box::pin(relay.sample(sampled, plain, query)).await;
    }
    let boarding = recall::board(app, exchange, &mut bill, &mut recalled, plain);
    let Recalled { keeping, inputs, again: look, .. } = recalled;
    let request = &request;
    match boarding {
        Boarding::Found(found) => {
            if let Some(keeping) = keeping.filter(|_| found.is_to_be_renewed()) {
                let head = client.head();
                let of = relay::Renewed { app, snapshot, caller, exchange, request, head };
                relay::renew(&of, &bill, keeping);
            }
            pin!(recall::answer(app, client, exchange, &mut bill, found)).await
        }
        Boarding::Join(passenger) => {
            let mut relay = Relay { app, snapshot, client, exchange, request, bill, look };
            // Boxed, as what only some requests need: its future is large.
            Box::pin(relay.follow(passenger)).await
        }
        Boarding::Lead(pilot, passenger) => {
            let mut relay = Relay { app, snapshot, client, exchange, request, bill, look };
            // Pinned where it stands: most requests come here, and a box costs them a copy.
            pin!(relay.lead((pilot, passenger), keeping, inputs, query)).await
        }
    }
}

/// Who sends the request.
fn identify<C: Client>(
    app: &App,
    snapshot: &Snapshot,
    client: &C,
    received: Timestamp,
) -> Result<Arc<Identity>, Refusal> {
    let header =
        |name: HeaderName| client.head().headers.get(name).map(http::HeaderValue::as_bytes);
    let plain = header(API_KEY).or_else(|| key::of_protocols(header(SEC_WEBSOCKET_PROTOCOL)?));
    let presented = key::presented(header(AUTHORIZATION), plain)
        .map_err(|bad| Refusal::new(Code::InvalidApiKey, bad.to_string()))?;
    if let Some(identity) = app.keyring.identify(presented, received) {
        return Ok(identity);
    }
    let (limits, now) = (&snapshot.config.limits.ip, app.clock.monotonic());
    admission::unknown_key(&app.addresses, client.address(), limits, now)?;
    Err(Refusal::new(Code::InvalidApiKey, "The API key is not valid here."))
}

/// Whether the caller's account is served at all.
fn check_access(caller: &Identity) -> Result<(), Refusal> {
    let message = match caller.access {
        Access::Open => return Ok(()),
        Access::Suspended => "The account is suspended.",
        Access::NoPlan => "The account's plan is not offered any more.",
    };
    Err(Refusal::new(Code::AccountSuspended, message))
}

/// What the request asks of the caller's month, in which it counts or not.
fn allowance(
    snapshot: &Snapshot,
    exchange: &Exchange,
    caller: &Identity,
    counts: bool,
) -> Allowance {
    Allowance {
        month: snapshot.calendar.month(exchange.received),
        limit: caller.requests_per_month,
        overage: caller.overage().is_some(),
        budget: caller.budget,
        key_budget: caller.key_budget,
        prepaid: caller.prepaid,
        counts,
    }
}

/// What a request is admitted by besides its account.
fn gates(app: &App) -> Gates<'_> {
    Gates {
        requests: &app.requests,
        pace: &app.pace,
        addresses: &app.addresses,
        metrics: &app.metrics,
    }
}

/// Takes what the request occupies, from its headers alone.
fn admit<C: Client>(
    app: &App,
    snapshot: &Snapshot,
    client: &C,
    exchange: &mut Exchange,
    caller: &Identity,
    allowance: &Allowance,
) -> Result<Permit, Refusal> {
    let account = app.rates.account(&caller.account);
    let asking = Asking {
        account: &account,
        user: &caller.limits,
        allowance,
        address: client.address(),
        ip: &snapshot.config.limits.ip,
    };
    let now = exchange.started;
    let tokens = caller.tokens_per_minute;
    exchange.token_standing = tokens.map(|limit| account.token_standing(now, limit).into());
    let gates = gates(app);
    let admitted = admission::admit(asking, gates, now, &mut exchange.standing);
    exchange.quota_held =
        allowance.counts && admitted.as_ref().is_ok_and(|permit| !permit.is_beyond());
    exchange.quota_left = match &admitted {
        Ok(permit) => permit.quota_left(),
        Err(_) => account.quota_left(allowance),
    };
    if allowance.is_limited() {
        exchange.warnings = account.month(&caller.key_id, allowance).levels.reached().collect();
    }
    admitted
}

/// What is ordered, its bill, and what the cache has of it.
type Ordered<'a> = (Request, Bill<'a>, Recalled);

/// Reads the body and decides what is ordered: class, model, target, price.
async fn order<'a, C: Client>(
    app: &'a App,
    snapshot: &Snapshot,
    client: &mut C,
    exchange: &mut Exchange,
    caller: &Arc<Identity>,
    endpoint: Endpoint,
    by_prefix: Option<&Arc<Class>>,
) -> Result<Ordered<'a>, Refusal> {
    let config = &snapshot.config;
    let body = body::read(client, &config.listen);
    let body = waiting(app, &mut exchange.waited, body).await?;
    let (mut request, mut hash) = reading::read(app, snapshot, caller, endpoint, &body)?;
    let headers = &client.head().headers;
    let class = class::choose(&config.classes, by_prefix, headers, request.class.as_deref())?;
    exchange.class = Some(class.clone());
    class::check_feature(class, &caller.plan)?;
    if request.model.is_none() && endpoint != Endpoint::Responses {
        let refusal = Refusal::new(Code::InvalidValue, "You must provide a model parameter.");
        return Err(refusal.param("model"));
    }
    let route = own::route(app, snapshot, caller, class, request.model.as_deref())?;
    let asking = idempotent::Asking { caller, class, endpoint, request: &request };
    let turn = idempotent::turn(app, client, exchange, &asking).await?;
    let text_hash =
        config.log_text_hash.then(|| reading::text_hash(app, endpoint, request.body(), hash));
    let own_price = caller.own_price(class);
    let quote = Quote::new(class, own_price, caller.plan.billing, exchange.received)
        .beyond(caller.overage());
    let (mut route, mut recalled) = (route, Recalled::default());
    if !turn.is_repeat() {
        if shape::by_class(class, endpoint, &mut request)? {
            hash = None;
        }
        if config.hash_end_users {
            shape::conceal(app, &caller.account, endpoint, &mut request)?;
        }
    }
    // What was asked before is not judged again, and what is free not at all.
    if !turn.is_repeat() && !endpoint.is_free() {
        let budgeted = caller.has_budget() && quote.depends_on_tokens();
        let max_output = bounds::hold(class, endpoint, &mut request, budgeted)?;
        let asked = guard::Question { caller, class, endpoint, request: &request, quote: &quote };
        let verdict = guard::judge(app, snapshot, exchange, &asked, route)?;
        route = verdict.route;
        let (headers, query) = (&client.head().headers, client.head().uri.query());
        let (route, request) = (&route, &request);
        let question =
            Question { caller, class, endpoint, route, request, hash, max_output, headers, query };
        recalled = recall::look_up(app, snapshot, exchange, &question).await?;
        if let Some(action) = verdict.action.filter(|_| recalled.found.is_none()) {
            guard::count(app, class, action);
        }
    }
    let cache_key = recalled.key.take();
    let order =
        Order { caller, class, quote, endpoint, route, request: &request, text_hash, cache_key };
    let mut bill = Bill::open(app, exchange, order);
    turn.take(exchange, &mut bill, &mut recalled, request.stream);
    Ok((request, bill, recalled))
}

/// Reserves what is ordered of the account's tokens, budgets and balance.
///
/// # Errors
/// 429 if they do not allow it.
fn hold(
    app: &App,
    exchange: &mut Exchange,
    caller: &Identity,
    permit: &mut Permit,
    (request, bill, recalled): (&Request, &Bill<'_>, &Recalled),
) -> Result<(), Refusal> {
    let found = recalled.found.as_ref().map(Found::tokens);
    tokens::reserve(app, exchange, caller, permit, (request, bill, found))?;
    permit.hold(bill.key(), bill.most(request, found))
}

/// Gives back what a refused request has taken.
fn give_back(permit: Permit, exchange: &mut Exchange) {
    permit.refund();
    count_back(exchange);
}

/// Shows a request that is refused after all as not taken.
fn count_back(exchange: &mut Exchange) {
    if let Some(standing) = &mut exchange.standing {
        standing.remaining = standing.remaining.saturating_add(1).min(standing.limit);
    }
    exchange.quota_returned();
    exchange.tokens_returned();
}

/// Runs `work` unless the client leaves first: `None` then.
async fn unless_gone<C: Client, T>(client: &mut C, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        done = work => Some(done),
        () = client.gone() => None,
    }
}

/// Adds the time of `work` to what is not Tollgate's own: from when it is not ready
/// on, so that what is there already costs no look at the clock.
async fn waiting<T>(app: &App, waited: &mut Duration, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    let ready = poll_fn(|cx| Poll::Ready(work.as_mut().poll(cx))).await;
    if let Poll::Ready(done) = ready {
        return done;
    }
    let from = app.clock.monotonic();
    let done = work.await;
    *waited += app.clock.monotonic().saturating_sub(from);
    done
}
