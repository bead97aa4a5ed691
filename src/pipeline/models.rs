//! `GET /v1/models` and `GET /v1/models/{id}`.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::admission::Permit;
use crate::admission::queue::{Priority, Who};
use crate::app::{App, Reach, Snapshot};
use crate::auth::keyring::Identity;
use crate::class;
use crate::config::{CUSTOM_MODELS, Dialect, Ownership};
use crate::exchange::{AnswerHead, Client, Ending, Errors, Exchange, Gone};
use crate::opaque::Tenant;
use crate::pipeline::relay::{failed, read_whole};
use crate::pipeline::{give_back, slot, unless_gone, waiting};
use crate::refusal::{Code, Refusal};
use crate::respond;
use crate::upstream::{Call, Failure, Prepared};

/// The models of a page of Anthropic's list where the client does not say.
const USUAL_PAGE: usize = 20;
/// The most models of such a page.
const MOST_PAGE: usize = 1000;

/// Whose error object a refusal on `path` has, for the models of both APIs.
pub(super) fn errors<C: Client>(client: &C, path: &str) -> Option<Errors> {
    let models = path == "/v1/models" || path.starts_with("/v1/models/");
    (models && Speaks::of(client) == Speaks::Anthropic).then_some(Errors::Anthropic)
}

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
    let names = own.iter().chain(others);
    let body = match Speaks::of(client) {
        Speaks::OpenAi => {
            let data: Vec<_> = names.map(|name| Speaks::OpenAi.object(name)).collect();
            json!({ "object": "list", "data": data })
        }
        Speaks::Anthropic => page(&names.map(|name| &**name).collect::<Vec<_>>(), client)?,
    };
    send(app, client, exchange, StatusCode::OK, HeaderMap::new(), body.to_string().into()).await
}

/// Who knows a model.
enum Known<'s> {
    /// The catalogue, or the sandbox.
    Here,
    /// A provider of this dialect, which `*` sends to.
    There(&'s Reach, Dialect),
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
    let (reach, dialect) = match find(app, snapshot, caller, name) {
        Ok(Known::There(reach, dialect)) => (reach, dialect),
        Ok(Known::Here) => {
            drop(permit);
            let body = Speaks::of(client).object(name).to_string().into();
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
        Some(own) => {
            let speaks = Speaks::of(client);
            let (headers, body) = match speaks.is_of(dialect) {
                true => own,
                false => (HeaderMap::new(), speaks.object(name).to_string().into()),
            };
            send(app, client, exchange, StatusCode::OK, headers, body).await
        }
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
    let provider = route.target(0).map(|target| &target.provider);
    let known = provider.and_then(|provider| {
        let reach = snapshot.providers.get(&provider.name)?;
        Some(Known::There(reach, provider.dialect))
    });
    Ok(known.unwrap_or(Known::Here))
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

/// Whose shapes a client of these paths reads: both APIs have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speaks {
    OpenAi,
    Anthropic,
}

impl Speaks {
    /// Anthropic's clients name the version of their API, in every request.
    fn of<C: Client>(client: &C) -> Self {
        match client.head().headers.contains_key("anthropic-version") {
            true => Self::Anthropic,
            false => Self::OpenAi,
        }
    }

    /// Whether a provider of this dialect has the same shapes.
    const fn is_of(self, dialect: Dialect) -> bool {
        matches!(
            (self, dialect),
            (Self::OpenAi, Dialect::OpenAi) | (Self::Anthropic, Dialect::Anthropic)
        )
    }

    /// The object of a model. When it was made is not known here: the epoch, as both
    /// APIs have it for that.
    fn object(self, name: &str) -> Value {
        match self {
            Self::OpenAi => {
                json!({ "id": name, "object": "model", "created": 0, "owned_by": "tollgate" })
            }
            Self::Anthropic => json!({
                "type": "model", "id": name, "display_name": name, "created_at": "1970-01-01T00:00:00Z",
            }),
        }
    }
}

/// A page of `names` in Anthropic's shape. Source: Anthropic API reference, "List
/// Models": `limit`, `after_id` and `before_id` choose it.
fn page<C: Client>(names: &[&str], client: &C) -> Result<Value, Refusal> {
    let query = client.head().uri.query().unwrap_or_default();
    let (mut limit, mut from, mut to) = (USUAL_PAGE, 0, names.len());
    let place = |id: &str, param: &'static str| {
        let place = names.iter().position(|name| *name == id);
        let message = format!("Invalid value for '{param}': there is no such model in the list.");
        place.ok_or_else(|| Refusal::new(Code::InvalidValue, message).param(param))
    };
    let mut backwards = false;
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "limit" => match value.parse() {
                Ok(given @ 1..=MOST_PAGE) => limit = given,
                _ => {
                    let message =
                        format!("Invalid value for 'limit': it must be 1 to {MOST_PAGE}.");
                    return Err(Refusal::new(Code::InvalidValue, message).param("limit"));
                }
            },
            "after_id" => from = place(&value, "after_id")? + 1,
            "before_id" => {
                to = place(&value, "before_id")?;
                backwards = true;
            }
            _ => {}
        }
    }
    let asked = names.get(from..to).unwrap_or_default();
    let length = asked.len().min(limit);
    let shown = match backwards {
        true => asked.get(asked.len() - length..),
        false => asked.get(..length),
    };
    let shown = shown.unwrap_or_default();
    let data: Vec<_> = shown.iter().map(|name| Speaks::Anthropic.object(name)).collect();
    Ok(json!({
        "data": data,
        "has_more": shown.len() < asked.len(),
        "first_id": shown.first(),
        "last_id": shown.last(),
    }))
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
