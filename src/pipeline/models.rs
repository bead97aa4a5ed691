//! `GET /v1/models` and `GET /v1/models/{id}`.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde_json::json;
use tokio::time::Instant;

use crate::admission::Permit;
use crate::admission::queue::{Priority, Who};
use crate::app::{App, Reach, Snapshot};
use crate::auth::keyring::Identity;
use crate::class;
use crate::config::{CUSTOM_MODELS, Ownership};
use crate::exchange::{AnswerHead, Client, Ending, Exchange, Gone};
use crate::opaque::Tenant;
use crate::pipeline::relay::{failed, read_whole};
use crate::pipeline::{give_back, slot, unless_gone, waiting};
use crate::refusal::{Code, Refusal};
use crate::respond;
use crate::upstream::{Call, Failure, Prepared};

/// Lists what the caller's plan can use now.
pub(super) async fn list<C: Client>(
    app: &App,
    snapshot: &Snapshot,
    client: &mut C,
    exchange: &Exchange,
    caller: &Identity,
) -> Result<Ending, Refusal> {
    let usable = snapshot.catalog.usable(&caller.plan);
    let had = usable.filter(|(_, tier)| class::has_tier(&caller.plan, *tier));
    let own = match caller.plan.has_feature(CUSTOM_MODELS) {
        true => app.own.names(&caller.account),
        false => Vec::new(),
    };
    let others = had.map(|(name, _)| name).filter(|name| !own.contains(*name));
    let data: Vec<_> = own.iter().chain(others).map(|name| object(name)).collect();
    let body = json!({ "object": "list", "data": data });
    send(app, client, exchange, StatusCode::OK, HeaderMap::new(), body.to_string().into()).await
}

/// Who knows a model.
enum Known<'s> {
    /// The catalogue, or the sandbox.
    Here,
    /// A provider, which `*` sends to.
    There(&'s Reach),
}

/// Shows one model: the catalogue's, else with `*` the provider's own answer.
/// Holds `permit` while a provider is asked.
pub(super) async fn show<C: Client>(
    app: &App,
    snapshot: &Snapshot,
    client: &mut C,
    exchange: &mut Exchange,
    caller: &Identity,
    permit: Permit,
    name: &str,
) -> Result<Ending, Refusal> {
    let reach = match find(app, snapshot, caller, name) {
        Ok(Known::There(reach)) => reach,
        Ok(Known::Here) => {
            drop(permit);
            let body = object(name).to_string().into();
            return send(app, client, exchange, StatusCode::OK, HeaderMap::new(), body).await;
        }
        Err(refusal) => {
            give_back(permit, exchange);
            return Err(refusal);
        }
    };
    let who = Who { account: &caller.account, priority: Priority::of(&caller.plan) };
    let deadline = Instant::now() + snapshot.config.routing.timeout;
    let slot = slot::take(app, snapshot, &mut exchange.waited, who, Some(deadline));
    let slot = match unless_gone(client, slot).await {
        None => return Ok(Ending::Cut),
        Some(Ok(slot)) => slot,
        Some(Err(refusal)) => {
            give_back(permit, exchange);
            return Err(refusal);
        }
    };
    let answer = ask(app, reach, client, exchange, name, deadline).await;
    // Free before the answer leaves: a client that has it can ask again.
    drop((slot, permit));
    match answer? {
        None => Ok(Ending::Cut),
        Some((headers, body)) => send(app, client, exchange, StatusCode::OK, headers, body).await,
    }
}

/// Where the model called `name` is known, if the caller's plan has it.
fn find<'s>(
    app: &App,
    snapshot: &'s Snapshot,
    caller: &Identity,
    name: &str,
) -> Result<Known<'s>, Refusal> {
    if caller.plan.has_feature(CUSTOM_MODELS) && app.own.find(&caller.account, name).is_some() {
        return Ok(Known::Here);
    }
    if !is_plain(name) {
        return Err(unknown());
    }
    let route = snapshot.catalog.choose(Some(name), &caller.plan)?;
    if !class::has_tier(&caller.plan, route.tier) {
        let message = "The plan does not have the model. GET /v1/models lists those that it has.";
        return Err(Refusal::new(Code::ModelNotInPlan, message).param("model"));
    }
    if snapshot.catalog.has(name, &caller.plan) {
        return Ok(Known::Here);
    }
    if snapshot.config.opaque.ownership == Ownership::Enforce {
        Tenant::new(&*app.owners, &caller.owner).check_model(name)?;
    }
    let target = route.target(0);
    let reach = target.and_then(|target| snapshot.providers.get(&target.provider.name));
    Ok(reach.map_or(Known::Here, |reach| Known::There(reach)))
}

/// The provider's own answer; `None` if the client leaves.
async fn ask<C: Client>(
    app: &App,
    reach: &Reach,
    client: &mut C,
    exchange: &mut Exchange,
    name: &str,
    deadline: Instant,
) -> Result<Option<(HeaderMap, Bytes)>, Refusal> {
    let path = format!("/models/{name}");
    let headers = &client.head().headers;
    let call = Call { method: Method::GET, path: &path, query: None, headers, body: Vec::new() };
    let prepared = Prepared::new(&reach.origin, call);
    let ask = async {
        let mut reply =
            app.upstream.send(&reach.origin, &prepared, 0, || Ok::<_, Failure>(())).await?;
        let body = read_whole(&mut reply.body).await.map_err(|_| Failure::NoAnswer)?;
        Ok::<_, Failure>((reply, body))
    };
    // Pinned here: each future around it would hold it twice.
    let ask = std::pin::pin!(tokio::time::timeout_at(deadline, ask));
    let ask = waiting(app, &mut exchange.waited, ask);
    let (reply, body) = match unless_gone(client, ask).await {
        None => return Ok(None),
        Some(Ok(Ok(answer))) => answer,
        Some(Ok(Err(failure))) => return Err(failed(failure)),
        Some(Err(_)) => return Err(failed(Failure::TimedOut)),
    };
    match reply.status {
        StatusCode::OK => Ok(Some((respond::returned(&reply.headers), body))),
        StatusCode::NOT_FOUND => Err(unknown()),
        _ => Err(failed(Failure::NoAnswer)),
    }
}

fn unknown() -> Refusal {
    let message = "The model does not exist or is not available here.";
    Refusal::new(Code::ModelNotFound, message).param("model")
}

/// Whether a provider can read `name` in a path only as it stands: no part of it
/// is empty or dotted, and nothing in it is encoded. Anything else could lead out
/// of `/models`, past the ownership of what other customers have there.
fn is_plain(name: &str) -> bool {
    let odd = |byte: u8| !byte.is_ascii_graphic() || matches!(byte, b'%' | b'\\' | b'?' | b'#');
    name.split('/').all(|part| !part.is_empty() && !part.bytes().all(|byte| byte == b'.'))
        && !name.bytes().any(odd)
}

/// A model object of the OpenAI API.
fn object(name: &str) -> serde_json::Value {
    json!({ "id": name, "object": "model", "created": 0, "owned_by": "tollgate" })
}

async fn send<C: Client>(
    app: &App,
    client: &mut C,
    exchange: &Exchange,
    status: StatusCode,
    mut headers: HeaderMap,
    body: Bytes,
) -> Result<Ending, Refusal> {
    headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
    let own = respond::stamp(&mut headers, exchange, app.clock.monotonic());
    respond::count(app, exchange, status);
    match client.send_whole(AnswerHead { status, headers, own }, body).await {
        Ok(()) => Ok(Ending::Complete),
        Err(Gone) => Ok(Ending::Cut),
    }
}

#[cfg(test)]
mod tests {
    use super::is_plain;

    #[test]
    fn a_name_never_leads_out_of_the_models() {
        for yes in ["gpt-4o", "maker/their-model:1", "ft:gpt-4o:org::id", "a..b"] {
            assert!(is_plain(yes), "{yes}");
        }
        for no in ["../files/x", "a/../../files", "%2e%2e/files", "a%2Fb", "a//b", "", ".", "a\\b"]
        {
            assert!(!is_plain(no), "{no}");
        }
    }
}
