//! The cache's part in a request: whether it may be answered from there, the
//! look-up, the answer, and the keeping of a new one.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AGE, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::app::App;
use crate::auth::keyring::Identity;
use crate::cache::entry::{Answer, Entry};
use crate::cache::key::{Context, Fields, Key};
use crate::cache::replay::Shape;
use crate::cache::steer::Steering;
use crate::cache::{self, Wanted};
use crate::config::{CacheScope, Class, Samples};
use crate::exchange::{AnswerHead, CacheResult, Client, Ending, Exchange};
use crate::intake::endpoint::Endpoint;
use crate::intake::request::Request;
use crate::pipeline::bill::Bill;
use crate::pipeline::relay;
use crate::refusal::{Code, Refusal};
use crate::respond;
use crate::route::catalog::Route;

/// What decides about a look-up.
pub(super) struct Question<'q> {
    pub(super) caller: &'q Identity,
    pub(super) class: &'q Class,
    pub(super) endpoint: Endpoint,
    pub(super) route: &'q Route,
    pub(super) request: &'q Request,
    pub(super) headers: &'q HeaderMap,
    pub(super) query: Option<&'q str>,
}

/// What a look-up gave.
#[derive(Default)]
pub(super) struct Recalled {
    /// The key in the form of records, where there is one.
    pub(super) key: Option<Arc<str>>,
    /// The answer, if it was there.
    pub(super) found: Option<Found>,
    /// How to keep the answer that is to be made.
    pub(super) keeping: Option<Keeping>,
}

/// An answer from the cache, in the form that was asked for.
pub(super) struct Found {
    entry: Arc<Entry>,
    body: Bytes,
    stream: bool,
}

/// Under what an answer is kept, and how long.
pub(super) struct Keeping {
    key: Key,
    lifetime: Duration,
}

/// Looks the answer up, if the class and the request let it.
///
/// # Errors
/// 400 `invalid_value` if a header that steers the cache is not understood; 504
/// `not_in_cache` if the request wants a cached answer or none.
pub(super) fn look_up(
    app: &App,
    exchange: &mut Exchange,
    question: &Question<'_>,
) -> Result<Recalled, Refusal> {
    let steering = Steering::read(question.headers)?;
    let recalled = match keeping(app, &steering, question) {
        None => Recalled::default(),
        Some(keeping) => find(app, exchange, &steering, question, keeping),
    };
    if recalled.found.is_none() && steering.only_if_cached {
        return Err(Refusal::new(
            Code::NotInCache,
            "The answer is not in the cache, and the request asked for only-if-cached.",
        ));
    }
    Ok(recalled)
}

/// The key and lifetime of the answer; `None` if it has nothing to do with the
/// cache.
fn keeping(app: &App, steering: &Steering, question: &Question<'_>) -> Option<Keeping> {
    let Question { caller, class, endpoint, route, request, headers, query } = *question;
    let lifetime = steering.lifetime.or(class.cache.map(|cache| cache.ttl))?;
    let distinct = steering.distinct.unwrap_or(class.samples == Samples::Distinct);
    // What a request does beside making an answer, a cached answer does not do.
    let stores = request.store == Some(true) && endpoint != Endpoint::Responses;
    if lifetime.is_zero() || steering.no_store || distinct || stores || request.stateful {
        return None;
    }
    // A response stands at the provider, under an id that is its account's own.
    let shared = endpoint != Endpoint::Responses
        && class.cache.is_some_and(|cache| cache.scope == CacheScope::Shared);
    let target = route.target(0)?;
    let context = Context {
        endpoint: endpoint.path(),
        class: &class.name,
        account: (!shared).then_some(&*caller.account),
        model: &route.model,
        provider: &target.provider.name,
        provider_model: route.name_at(target),
        max_output: class.max_output_tokens,
        headers,
        query,
    };
    // A response repeats the fields that change nothing else, and has only one
    // form.
    let fields = if endpoint == Endpoint::Responses { Fields::All } else { Fields::WithEffect };
    let key = app.cache.key(&context, request.body(), fields)?;
    Some(Keeping { key, lifetime })
}

fn find(
    app: &App,
    exchange: &mut Exchange,
    steering: &Steering,
    question: &Question<'_>,
    keeping: Keeping,
) -> Recalled {
    let key = Some(keeping.key.to_hex());
    if steering.no_cache {
        return Recalled { key, found: None, keeping: Some(keeping) };
    }
    let Question { endpoint, request, class, .. } = *question;
    let shape = match endpoint {
        Endpoint::ChatCompletions => Shape::Chat,
        Endpoint::Completions => Shape::Completion,
        Endpoint::Embeddings | Endpoint::Responses => Shape::Fixed,
    };
    let wanted = Wanted { shape, stream: request.stream, usage: request.asks_usage() };
    let now = app.clock.monotonic();
    let entry = app.cache.get(&keeping.key, now, steering.max_age);
    let found = entry.and_then(|entry| {
        let (body, stream) = cache::serve(&entry, wanted)?;
        Some(Found { entry, body, stream })
    });
    app.metrics.cache(&class.name).looked_up(found.is_some());
    exchange.age = found.as_ref().map(|found| found.entry.age(now));
    exchange.cache = if found.is_some() { CacheResult::Hit } else { CacheResult::Miss };
    let keeping = found.is_none().then_some(keeping);
    Recalled { key, found, keeping }
}

/// Answers from the cache: settled first, then sent in one piece. No provider
/// is called, and nothing that bounds such calls is taken.
///
/// # Errors
/// 503 `storage_unavailable`; nothing has been sent then.
pub(super) async fn answer<C: Client>(
    app: &App,
    client: &mut C,
    exchange: &Exchange,
    mut bill: Bill<'_>,
    found: Found,
) -> Result<Ending, Refusal> {
    let Found { entry, body, stream } = found;
    bill.waited(exchange.waited);
    bill.sent(body.len());
    bill.settle_recalled(StatusCode::OK.as_u16(), entry.tokens, entry.estimated).await?;
    let mut headers = entry.headers.clone();
    if stream != matches!(entry.answer, Answer::Stream(_)) {
        let kind = if stream { "text/event-stream; charset=utf-8" } else { "application/json" };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    let headers = relay::headers(app, exchange, &bill, headers, &entry.provider, true);
    match client.send_whole(AnswerHead { status: StatusCode::OK, headers }, body).await {
        Ok(()) => Ok(Ending::Complete),
        Err(_) => Ok(Ending::Cut),
    }
}

impl Keeping {
    /// Keeps an answer whose bill has been settled.
    pub(super) fn keep(self, app: &App, bill: &Bill<'_>, provider: &HeaderMap, answer: Answer) {
        let made = app.clock.monotonic();
        let record = bill.record();
        let entry = Entry {
            account: record.account.clone(),
            class: record.endpoint.clone(),
            model: record.model_used.clone(),
            provider: record.provider.clone(),
            headers: copied(&respond::returned(provider)),
            answer,
            tokens: record.tokens,
            estimated: record.estimated,
            made,
            expires: made.saturating_add(self.lifetime),
        };
        app.cache.insert(self.key, entry);
    }
}

/// `headers` with memory of their own: as they came, each keeps the buffer that
/// the whole head was read into.
fn copied(headers: &HeaderMap) -> HeaderMap {
    let mut copy = HeaderMap::with_capacity(headers.len() + 16);
    for (name, value) in headers.iter().filter(|(name, _)| **name != AGE) {
        if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
            copy.append(name.clone(), value);
        }
    }
    copy
}
