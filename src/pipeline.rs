//! The way of a request, on one screen.
//!
//! ```text
//! endpoint ─ identify ─ admit ─ read ─ classify ─ route ─ upstream ─ meter ─ settle ─ respond
//! ```
//!
//! A stage never imports another; this module joins them. A refusal, at
//! whichever point, consumes nothing: what was taken is given back here.

mod bill;
mod models;
mod relay;
mod slot;

use std::sync::Arc;
use std::time::Duration;

use crate::admission::queue::Who;
use crate::admission::{self, Asking, Gates, Permit};
use crate::app::{App, Snapshot};
use crate::auth::key;
use crate::auth::keyring::Identity;
use crate::class;
use crate::config::Class;
use crate::exchange::{Client, Ending, Exchange};
use crate::intake::body;
use crate::intake::endpoint::{self, Asked, Endpoint};
use crate::intake::request::Request;
use crate::refusal::{Code, Refusal};

use bill::{Bill, Order};
use relay::Relay;

/// Serves one request whose head has been read.
///
/// # Errors
/// The refusal to answer with; nothing has been sent then, unless the client
/// says that it has been answered.
pub async fn serve<C: Client>(
    app: &App,
    client: &mut C,
    exchange: &mut Exchange,
) -> Result<Ending, Refusal> {
    let (uri, method) = (client.head().uri.clone(), client.head().method.clone());
    let snapshot = app.snapshot.load_full();
    let config = &snapshot.config;
    let lane = endpoint::lane(uri.path(), &config.classes)?;
    exchange.class = lane.class.cloned();
    let caller = identify(app, &snapshot, client)?;
    exchange.plan = Some(caller.plan.name.clone());
    match endpoint::asked(&method, lane.path)? {
        Asked::Understood(endpoint) => {
            body::check_headers(&client.head().headers, &config.listen)?;
            let permit = admit(app, &snapshot, client, exchange, &caller)?;
            let ordered =
                order(app, &snapshot, client, exchange, &caller, endpoint, lane.class).await;
            let (request, bill) = refunding(permit, ordered, exchange)?;
            exchange.billed = true;
            let mut relay =
                Relay { app, snapshot: &snapshot, client, exchange, request: &request, bill };
            relay.answer(uri.query()).await
        }
        Asked::Models => {
            drop(admit(app, &snapshot, client, exchange, &caller)?);
            models::list(app, &snapshot, client, exchange).await
        }
        Asked::Model(name) => {
            drop(admit(app, &snapshot, client, exchange, &caller)?);
            let who = Who { account: &caller.account };
            models::show(app, &snapshot, client, exchange, who, name).await
        }
    }
}

/// Who sends the request.
fn identify<C: Client>(
    app: &App,
    snapshot: &Snapshot,
    client: &C,
) -> Result<Arc<Identity>, Refusal> {
    let header = |name: &str| client.head().headers.get(name).map(http::HeaderValue::as_bytes);
    let presented = key::presented(header("authorization"), header("x-api-key"))
        .map_err(|bad| Refusal::new(Code::InvalidApiKey, bad.to_string()))?;
    if let Some(identity) = snapshot.keyring.identify(presented) {
        return Ok(identity.clone());
    }
    let (limits, now) = (&snapshot.config.limits.ip, app.clock.monotonic());
    admission::unknown_key(&app.addresses, client.address(), limits, now)?;
    Err(Refusal::new(Code::InvalidApiKey, "The API key is not valid here."))
}

/// Takes what the request occupies, from its headers alone.
fn admit<C: Client>(
    app: &App,
    snapshot: &Snapshot,
    client: &C,
    exchange: &mut Exchange,
    caller: &Identity,
) -> Result<Permit, Refusal> {
    let asking = Asking {
        account: &app.rates.account(&caller.account),
        user: &caller.limits,
        address: client.address(),
        ip: &snapshot.config.limits.ip,
    };
    let gates = Gates { requests: &app.requests, addresses: &app.addresses, metrics: &app.metrics };
    admission::admit(asking, gates, app.clock.monotonic(), &mut exchange.standing)
}

/// Reads the body and decides what is ordered: class, model, target, price.
async fn order<'a, C: Client>(
    app: &'a App,
    snapshot: &Snapshot,
    client: &mut C,
    exchange: &mut Exchange,
    caller: &Arc<Identity>,
    endpoint: Endpoint,
    by_prefix: Option<&Arc<Class>>,
) -> Result<(Request, Bill<'a>), Refusal> {
    let from = app.clock.monotonic();
    let body = body::read(client, &snapshot.config.listen).await?;
    exchange.waited += app.clock.monotonic().saturating_sub(from);
    let request = Request::parse(body)?;
    let headers = &client.head().headers;
    let class =
        class::choose(&snapshot.config.classes, by_prefix, headers, request.class.as_deref())?;
    exchange.class = Some(class.clone());
    class::check_feature(class, &caller.plan)?;
    if request.model.is_none() && endpoint != Endpoint::Responses {
        let refusal = Refusal::new(Code::InvalidValue, "You must provide a model parameter.");
        return Err(refusal.param("model"));
    }
    let route = snapshot.catalog.choose(request.model.as_deref())?;
    let text_hash = snapshot.config.log_text_hash.then(|| app.text_hash(request.body()));
    let order = Order { caller, class, endpoint, route, request: &request, text_hash };
    let bill = Bill::open(app, exchange, order);
    Ok((request, bill))
}

/// Keeps the permit of what is ordered; of what is refused, gives it back.
fn refunding<'a>(
    permit: Permit,
    ordered: Result<(Request, Bill<'a>), Refusal>,
    exchange: &mut Exchange,
) -> Result<(Request, Bill<'a>), Refusal> {
    match ordered {
        Ok((request, bill)) => Ok((request, bill.holding(permit))),
        Err(refusal) => {
            permit.refund();
            count_back(exchange);
            Err(refusal)
        }
    }
}

/// Shows a request that is refused after all as not taken.
fn count_back(exchange: &mut Exchange) {
    if let Some(standing) = &mut exchange.standing {
        standing.remaining = standing.remaining.saturating_add(1).min(standing.limit);
    }
}

/// Runs `work` unless the client leaves first: `None` then.
async fn unless_gone<C: Client, T>(client: &mut C, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        done = work => Some(done),
        () = client.gone() => None,
    }
}

/// Adds the time of `work` to what is not Tollgate's own.
async fn waiting<T>(app: &App, waited: &mut Duration, work: impl Future<Output = T>) -> T {
    let from = app.clock.monotonic();
    let done = work.await;
    *waited += app.clock.monotonic().saturating_sub(from);
    done
}
