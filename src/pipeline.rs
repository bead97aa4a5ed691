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
mod opaque;
mod relay;

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;

use crate::admission::{self, Permit};
use crate::app::{App, Snapshot};
use crate::auth::key;
use crate::auth::keyring::Identity;
use crate::class;
use crate::config::{Class, Ownership};
use crate::exchange::{Client, Ending, Exchange};
use crate::intake::body;
use crate::intake::endpoint::{self, Asked, Endpoint};
use crate::intake::request::Request;
use crate::opaque::Tenant;
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
    let caller = identify(&snapshot, &client.head().headers)?;
    exchange.plan = Some(caller.plan.name.clone());
    match endpoint::asked(&method, lane.path)? {
        Asked::Understood(endpoint) => {
            body::check_headers(&client.head().headers, &config.listen)?;
            let permit = admit(app, exchange, &caller)?;
            let ordered =
                order(app, &snapshot, client, exchange, &caller, endpoint, lane.class).await;
            let (request, bill) = refunding(permit, ordered, exchange)?;
            exchange.billed = true;
            let mut relay =
                Relay { app, snapshot: &snapshot, client, exchange, request: &request, bill };
            relay.answer(uri.query()).await
        }
        Asked::Models => {
            drop(admit(app, exchange, &caller)?);
            models::list(app, &snapshot, client, exchange).await
        }
        Asked::Model(name) => {
            drop(admit(app, exchange, &caller)?);
            models::show(app, &snapshot, client, exchange, name).await
        }
        Asked::Opaque => opaque::serve(app, &snapshot, client, exchange, &caller, &lane).await,
    }
}

/// Who sends the request.
fn identify(snapshot: &Snapshot, headers: &HeaderMap) -> Result<Arc<Identity>, Refusal> {
    let header = |name: &str| headers.get(name).map(http::HeaderValue::as_bytes);
    let presented = key::presented(header("authorization"), header("x-api-key"))
        .map_err(|bad| Refusal::new(Code::InvalidApiKey, bad.to_string()))?;
    snapshot
        .keyring
        .identify(presented)
        .cloned()
        .ok_or_else(|| Refusal::new(Code::InvalidApiKey, "The API key is not valid here."))
}

/// Takes what the request occupies, from its headers alone.
fn admit(app: &App, exchange: &mut Exchange, caller: &Identity) -> Result<Permit, Refusal> {
    let account = app.rates.account(&caller.account);
    match admission::admit(&account, &app.requests, &caller.limits, app.clock.monotonic()) {
        Ok(permit) => {
            exchange.standing = Some(permit.standing());
            Ok(permit)
        }
        Err((refusal, standing)) => {
            exchange.standing = standing;
            Err(refusal)
        }
    }
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
    if endpoint.names_things() && snapshot.config.opaque.ownership == Ownership::Enforce {
        Tenant::new(&*app.owners, &caller.account).check_body(request.body())?;
    }
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
            give_back(permit, exchange);
            Err(refusal)
        }
    }
}

/// Gives back what a refused request has taken.
fn give_back(permit: Permit, exchange: &mut Exchange) {
    permit.refund();
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
