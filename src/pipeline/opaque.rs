//! The way of a request that is passed on without being understood.
//!
//! ```text
//! root ─ class ─ admit ─ ownership ─ upstream ⇄ client ─ learn ─ settle
//! ```
//!
//! Bodies stream both ways; only JSON that names, or could name, what a provider
//! made is read, up to a bound, and only where ownership is enforced.

mod answer;
mod heard;
mod hidden;
mod list;
mod send;
mod session;
mod tab;
mod tunnel;

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Method, Version};

use crate::admission::queue::{Priority, Who};
use crate::app::{App, Reach, Snapshot};
use crate::auth::keyring::Identity;
use crate::class;
use crate::config::{Listen, Ownership, Provider};
use crate::exchange::{Client, Ending, Exchange};
use crate::intake::body;
use crate::intake::endpoint::Lane;
use crate::ledger::record::Tokens;
use crate::meter::quote::Quote;
use crate::opaque::vet::{self, Vet};
use crate::opaque::{self, LARGEST_JSON, Place, Tenant};
use crate::pipeline::bill::Bill;
use crate::pipeline::bill::opaque::OpaqueOrder;
use crate::pipeline::{admit, allowance, give_back, slot, unless_gone, waiting};
use crate::refusal::{Code, Refusal};
use crate::upstream::Framing;

use tab::Tab;

/// The request's head, as it is passed on.
struct Target {
    method: Method,
    /// The path under the provider's base.
    path: String,
    query: Option<String>,
    /// The client's headers; an allow-list of them is passed on.
    headers: HeaderMap,
}

/// Roots where files come in forms.
const BY_FORM: [&str; 3] = ["containers", "files", "uploads"];

/// The request's body, as it is passed on.
enum Outgoing<'t> {
    /// Read already, or empty.
    Whole(Bytes),
    /// As it comes, and checked meanwhile if it is a form.
    Streamed(Framing, Option<Box<Vet<'t>>>),
    /// The connection becomes a WebSocket.
    Upgrade,
}

/// One request on its way to a provider and back.
struct Passage<'a, C> {
    app: &'a App,
    snapshot: &'a Snapshot,
    client: &'a mut C,
    exchange: &'a mut Exchange,
    caller: &'a Identity,
    place: Place,
    target: Target,
    reach: &'a Arc<Reach>,
    provider: &'a Arc<Provider>,
    /// Whose request it is, where ownership is enforced.
    tenant: Option<Tenant<'a>>,
    tab: Tab<'a>,
}

/// Serves one request of the opaque lane.
pub(super) async fn serve<C: Client>(
    app: &App,
    snapshot: &Snapshot,
    client: &mut C,
    exchange: &mut Exchange,
    caller: &Arc<Identity>,
    lane: &Lane<'_>,
) -> Result<Ending, Refusal> {
    let config = &snapshot.config.opaque;
    let (uri, method) = (client.head().uri.clone(), client.head().method.clone());
    let enforced = config.ownership == Ownership::Enforce;
    let (place, provider, reach) = destination(snapshot, &method, lane)?;
    hidden::check(&snapshot.config, &place, uri.path())?;
    let headers = &client.head().headers;
    let class = class::choose(&snapshot.config.classes, lane.class, headers, None)?.clone();
    exchange.class = Some(class.clone());
    class::check_feature(&class, &caller.plan)?;

    // A read counts in windows, not in the quota, and makes no record.
    let upgrades = client.head().version == Version::HTTP_11 && place.upgrades(&method, headers);
    let reads = matches!(method, Method::GET | Method::HEAD) && !upgrades;
    let allowance = allowance(snapshot, exchange, caller, !reads);
    let mut permit = admit(app, snapshot, client, exchange, caller, &allowance)?;
    let tenant = enforced.then(|| Tenant::new(&*app.owners, &caller.owner));
    let outgoing =
        prepare(app, client, exchange, &place, tenant.as_ref(), &snapshot.config.listen).await;
    let quote =
        Quote::flat(config.price_of(place.kind()), caller.plan.billing).beyond(caller.overage());
    let most = quote.most(&Tokens::default(), std::iter::empty());
    let held = outgoing.and_then(|outgoing| {
        permit.hold(&caller.key_id, most)?;
        Ok(outgoing)
    });
    let ready = match held {
        Ok(outgoing) => {
            let who = Who { account: &caller.account, priority: Priority::of(&caller.plan) };
            let slot = slot::take(app, snapshot, &mut exchange.waited, who, None);
            let slot = match outgoing {
                Outgoing::Whole(_) => unless_gone(client, slot).await,
                // The client is not watched meanwhile: that would take bytes of a body
                // that has not been read.
                Outgoing::Streamed(..) | Outgoing::Upgrade => Some(slot.await),
            };
            let Some(slot) = slot else {
                give_back(permit, exchange);
                return Ok(Ending::Cut);
            };
            slot.map(|slot| (outgoing, slot))
        }
        Err(refusal) => Err(refusal),
    };
    let (outgoing, slot) = match ready {
        Ok(ready) => ready,
        Err(refusal) => {
            give_back(permit, exchange);
            return Err(refusal);
        }
    };
    let tab = if reads {
        let labels = [&class.name, &caller.plan.name, &provider.name];
        Tab::free(app, permit, slot, labels, exchange.started)
    } else {
        let (class, path, quote) = (&class, &place.path, &quote);
        let order = OpaqueOrder { caller, class, path, provider, quote };
        let mut bill = Bill::opaque(app, exchange, &order);
        bill.hold(permit);
        Tab::billed(app, bill, slot)
    };
    exchange.billed = true;
    let target = Target {
        method,
        path: lane.path.strip_prefix("/v1").unwrap_or(lane.path).to_owned(),
        query: uri.query().map(str::to_owned),
        headers: client.head().headers.clone(),
    };
    let mut passage = Passage {
        app,
        snapshot,
        client,
        exchange,
        caller,
        place,
        target,
        reach,
        provider,
        tenant,
        tab,
    };
    // Boxed: its future is larger than that of the understood lane.
    Box::pin(passage.run(outgoing)).await
}

/// Where a request goes: its place, and the provider that answers it.
fn destination<'s>(
    snapshot: &'s Snapshot,
    method: &Method,
    lane: &Lane<'_>,
) -> Result<(Place, &'s Arc<Provider>, &'s Arc<Reach>), Refusal> {
    let config = &snapshot.config.opaque;
    let place = Place::of(method, lane.path, config.allow_unknown)?;
    let enforced = config.ownership == Ownership::Enforce;
    if enforced && *method == Method::HEAD && place.lists(&Method::GET) {
        // Its length would tell how much all accounts have.
        return Err(Refusal::method_not_allowed("GET, POST"));
    }
    // A model belongs to the seller and to every customer.
    let provider = config.provider.as_ref().filter(|_| !(enforced && place.root.name == "models"));
    let found = provider.and_then(|it| Some((it, snapshot.providers.get(&it.name)?)));
    let (provider, reach) = found.ok_or_else(|| {
        Refusal::new(Code::EndpointNotEnabled, "This endpoint is not enabled here.")
    })?;
    Ok((place, provider, reach))
}

/// Checks what the request names, and reads its body if that could name more.
async fn prepare<'t, C: Client>(
    app: &App,
    client: &mut C,
    exchange: &mut Exchange,
    place: &Place,
    tenant: Option<&Tenant<'t>>,
    limits: &Listen,
) -> Result<Outgoing<'t>, Refusal> {
    let head = client.head();
    let headers = &head.headers;
    body::check_encoding(headers)?;
    if let Some(tenant) = tenant {
        tenant.check_path(place)?;
        tenant.check_query(head.uri.query())?;
    }
    if head.version == Version::HTTP_11 && place.upgrades(&head.method, headers) {
        return Ok(Outgoing::Upgrade);
    }
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let framing = match (headers.contains_key(TRANSFER_ENCODING), length) {
        (true, _) => Framing::Chunked,
        // On HTTP/2 a body needs no length.
        (false, None) if head.version == Version::HTTP_2 && takes_body(&head.method) => {
            Framing::Chunked
        }
        (false, Some(0) | None) => return Ok(Outgoing::Whole(Bytes::new())),
        (false, Some(length)) => Framing::Length(length),
    };
    let Some(tenant) = tenant.filter(|_| place.root.asks) else {
        return Ok(Outgoing::Streamed(framing, None));
    };
    let makes = place.ids.is_empty() && ["files", "uploads"].contains(&place.root.name);
    if makes {
        vet::check_query(head.uri.query())?;
    }
    match headers.get(CONTENT_TYPE).filter(|_| place.root.binary) {
        Some(kind) if is_of_parts(kind) => {
            let vet = Vet::new(*tenant, place, kind.as_bytes())?;
            return Ok(Outgoing::Streamed(framing, Some(Box::new(vet))));
        }
        Some(kind) if is_binary(kind) && BY_FORM.contains(&place.root.name) => {
            // What a file is for is said in a form, and what it is made of may be in JSON.
            let message = "A file is uploaded as a form (multipart/form-data).";
            return Err(Refusal::new(Code::UnsupportedMediaType, message));
        }
        Some(kind) if is_binary(kind) => return Ok(Outgoing::Streamed(framing, None)),
        _ => {}
    }
    // As fields these would name something else than as JSON.
    if headers.get(CONTENT_TYPE).is_some_and(is_of_fields) {
        let message = "The body must be JSON: send content-type: application/json.";
        return Err(Refusal::new(Code::UnsupportedMediaType, message));
    }
    let declared = headers.get(CONTENT_TYPE).is_none_or(is_json);
    let limits = Listen { body_limit: LARGEST_JSON, ..limits.clone() };
    let body = waiting(app, &mut exchange.waited, body::read(client, &limits)).await?;
    if !body.is_empty() && !opaque::list::is_json(&body) {
        return Err(match declared {
            true => Refusal::new(Code::InvalidJson, "The body could not be read as JSON."),
            false => Refusal::new(Code::UnsupportedMediaType, "The body must be JSON."),
        });
    }
    tenant.check_body(&body)?;
    if place.kind() == "uploads" && place.ids.is_empty() {
        vet::check_begun(&body)?;
    }
    Ok(Outgoing::Whole(body))
}

/// Whether a request with this method may have a body.
const fn takes_body(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH)
}

/// Whether a media type is one of fields.
fn is_of_fields(value: &HeaderValue) -> bool {
    essence(value).eq_ignore_ascii_case(b"application/x-www-form-urlencoded") || is_of_parts(value)
}

/// Whether a media type is one of parts.
fn is_of_parts(value: &HeaderValue) -> bool {
    starts(essence(value), b"multipart/")
}

/// Whether a media type is one that holds no names of things.
fn is_binary(value: &HeaderValue) -> bool {
    let essence = essence(value);
    [&b"audio/"[..], b"image/", b"video/"].into_iter().any(|with| starts(essence, with))
        || [&b"application/octet-stream"[..], b"application/pdf", b"application/sdp"]
            .into_iter()
            .any(|name| essence.eq_ignore_ascii_case(name))
}

/// Whether a media type is JSON: `application/json`, or any `+json`.
fn is_json(value: &HeaderValue) -> bool {
    let essence = essence(value);
    let ends = |with: &[u8]| {
        let at = essence.len().checked_sub(with.len());
        at.and_then(|at| essence.get(at..)).is_some_and(|end| end.eq_ignore_ascii_case(with))
    };
    essence.eq_ignore_ascii_case(b"application/json") || ends(b"+json")
}

fn starts(essence: &[u8], with: &[u8]) -> bool {
    essence.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with))
}

/// A media type without its parameters.
fn essence(value: &HeaderValue) -> &[u8] {
    value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii()
}
