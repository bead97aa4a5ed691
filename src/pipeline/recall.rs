//! The cache's part in a request: whether it may be answered from there, the
//! look-up, the answer, and the keeping of a new one.

mod inputs;
mod keeping;
mod samples;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::app::{App, Snapshot};
use crate::auth::keyring::Identity;
use crate::cache::entry::{Answer, Entry};
use crate::cache::freshness::{self, Use};
use crate::cache::key::{BodyHash, Context, Key};
use crate::cache::replay::Shape;
use crate::cache::steer::Steering;
use crate::cache::{self, Wanted, Whose};
use crate::config::{CacheScope, CacheWhen, Class, Stale};
use crate::exchange::{CacheResult, Client, Ending, Exchange};
use crate::idempotency;
use crate::intake::endpoint::Endpoint;
use crate::intake::request::Request;
use crate::intake::sampling;
use crate::ledger::record::Tokens;
use crate::pipeline::bill::Bill;
use crate::pipeline::{reading, relay};
use crate::refusal::{Code, Refusal};
use crate::respond;
use crate::route::catalog::Route;
use crate::share::{self, Boarding, FlightKey, Passenger};
use crate::telemetry::metrics::Lookup;

pub(super) use inputs::Inputs;
pub(super) use keeping::Keeping;
pub(super) use samples::Sampled;

/// What decides about a look-up.
pub(super) struct Question<'q> {
    pub(super) caller: &'q Identity,
    pub(super) class: &'q Class,
    pub(super) endpoint: Endpoint,
    pub(super) route: &'q Route,
    pub(super) request: &'q Request,
    /// The hash of its body, where it is known.
    pub(super) hash: Option<BodyHash>,
    /// The limit that was put on its answers.
    pub(super) max_output: Option<u64>,
    pub(super) headers: &'q HeaderMap,
    pub(super) query: Option<&'q str>,
}

/// What a look-up gave.
#[derive(Default)]
pub(super) struct Recalled {
    /// The key in the form of records, where the answer may be kept.
    pub(super) key: Option<Arc<str>>,
    /// The answer, if it was there.
    pub(super) found: Option<Found>,
    /// How to keep the answer that is to be made.
    pub(super) keeping: Option<Keeping>,
    /// What it asks for, where that is looked up, called for and kept input by input.
    pub(super) inputs: Option<Box<Inputs>>,
    /// How it shares a call that makes a sample for each.
    samples: Option<Sampled>,
    /// What an equal request has too, where calls may be shared.
    pub(super) flight: Option<FlightKey>,
    /// A place aboard the call of the request that this one repeats.
    pub(super) joined: Option<Passenger>,
    /// The answer to the request that this one repeats.
    pub(super) stored: Option<Box<idempotency::Answer>>,
    /// Whether nobody waits for an answer any more.
    pub(super) left: bool,
    /// How to look once more, where it was looked up.
    pub(super) again: Option<Look>,
    /// Whether the call goes on when all its callers have left.
    stays: bool,
}

/// How an answer is looked up.
#[derive(Clone, Copy)]
pub(super) struct Look {
    key: Key,
    wanted: Wanted,
    steering: Steering,
    stale: Stale,
}

/// An answer from the cache, in the form that was asked for.
pub(super) struct Found {
    entry: Arc<Entry>,
    used: Use,
    age: Duration,
    body: Bytes,
    stream: bool,
}

/// Looks the answer up, if the class and the request let it.
///
/// # Errors
/// 400 `invalid_value` if a header that steers the cache is not understood; 504
/// `not_in_cache` if the request wants a cached answer or none.
pub(super) async fn look_up(
    app: &App,
    snapshot: &Snapshot,
    exchange: &mut Exchange,
    question: &Question<'_>,
) -> Result<Recalled, Refusal> {
    let steering = Steering::read(question.headers)?;
    let recalled = recall(app, snapshot, exchange, &steering, question).await;
    if recalled.found.is_none() && steering.only_if_cached {
        count(app, exchange, &recalled);
        return Err(Refusal::new(
            Code::NotInCache,
            "The answer is not in the cache, and the request asked for only-if-cached.",
        ));
    }
    Ok(recalled)
}

async fn recall(
    app: &App,
    snapshot: &Snapshot,
    exchange: &mut Exchange,
    steering: &Steering,
    question: &Question<'_>,
) -> Recalled {
    let Question { class, endpoint, request, .. } = *question;
    if endpoint == Endpoint::Embeddings {
        // Boxed, as what only some requests need: its future is large.
        let recalled = inputs::recall(app, snapshot, exchange, steering, question);
        if let Some(recalled) = Box::pin(recalled).await {
            return recalled;
        }
    }
    if samples::is_distinct(steering, class) {
        return samples::recall(app, snapshot, steering, question);
    }
    let lifetime = lifetime(steering, question);
    // Who wants an answer of now is not given one that was begun before.
    let shares = class.coalesce && snapshot.config.coalesce && !steering.no_cache;
    if !(shares || lifetime.is_some()) {
        return Recalled::default();
    }
    let Some(key) = key(app, steering, question) else { return Recalled::default() };
    let mut recalled = Recalled {
        flight: shares.then(|| FlightKey { request: *key.as_bytes(), stream: request.stream }),
        stays: lifetime.is_some() && class.cache.is_some_and(|cache| cache.finish),
        ..Recalled::default()
    };
    let Some(lifetime) = lifetime else { return recalled };
    recalled.key = Some(key.to_hex());
    let stale = class.cache.map(|cache| cache.stale).unwrap_or_default();
    let stale_for = stale.if_error.max(stale.while_revalidate);
    let shared = is_shared(question);
    let (lifetime, epoch) = (key.jittered(lifetime), app.cache.epoch());
    recalled.keeping = Some(Keeping { key, lifetime, stale_for, shared, epoch });
    if steering.no_cache {
        return recalled;
    }
    let shape = match endpoint {
        Endpoint::ChatCompletions => Shape::Chat,
        Endpoint::Completions => Shape::Completion,
        Endpoint::Messages => Shape::Message,
        Endpoint::Embeddings | Endpoint::Responses | Endpoint::CountTokens => Shape::Fixed,
    };
    let wanted = Wanted { shape, stream: request.stream, usage: request.asks_usage() };
    let look = Look { key, wanted, steering: *steering, stale };
    let now = app.clock.monotonic();
    recalled.found = look.find(app, now, || whose(question, shared)).await;
    match &recalled.found {
        Some(found) => found.show(exchange),
        None => exchange.cache = CacheResult::Miss,
    }
    recalled.again = Some(look);
    recalled
}

/// How long an answer may be kept; `None` if it must not be, nor be given.
fn lifetime(steering: &Steering, question: &Question<'_>) -> Option<Duration> {
    let Question { class, endpoint, request, .. } = *question;
    let lifetime = steering.lifetime.or(class.cache.map(|cache| cache.ttl))?;
    // The class's word goes before the request's.
    let may = match class.cache.map(|cache| cache.when) {
        None | Some(CacheWhen::Always) => true,
        Some(CacheWhen::Deterministic) => sampling::is_off(endpoint, request.body()),
    };
    (may && !lifetime.is_zero()).then_some(lifetime)
}

/// Counts a look-up once it is known what it gave.
fn count(app: &App, exchange: &Exchange, recalled: &Recalled) {
    let Some(class) = exchange.class.as_ref().filter(|_| recalled.again.is_some()) else { return };
    app.metrics.cache(&class.name).looked_up(match exchange.cache {
        CacheResult::Hit => Lookup::Hit,
        CacheResult::Stale => Lookup::Stale,
        CacheResult::Bypass | CacheResult::Miss | CacheResult::Coalesced | CacheResult::Batched => {
            Lookup::Miss
        }
    });
}

/// What all requests have in common that may have one answer; `None` where an
/// answer is the asker's alone.
fn key(app: &App, steering: &Steering, question: &Question<'_>) -> Option<Key> {
    if is_own(steering, question) {
        return None;
    }
    let shared = is_shared(question);
    Some(app.cache.key(&context(question, shared)?, &body_hash(question)?))
}

/// The hash of the body that is asked with; `None` if it has no one meaning.
fn body_hash(question: &Question<'_>) -> Option<BodyHash> {
    let Question { endpoint, request, hash, .. } = *question;
    hash.or_else(|| BodyHash::of(request.body(), reading::counting(endpoint)))
}

/// Whether an answer is the asker's alone.
fn is_own(steering: &Steering, question: &Question<'_>) -> bool {
    let Question { class, endpoint, request, .. } = *question;
    // What a request does beside making an answer, a cached answer does not do.
    let stores = request.store == Some(true) && endpoint != Endpoint::Responses;
    steering.no_store || samples::is_distinct(steering, class) || stores || request.stateful
}

/// What besides its body decides about the answer; `None` without a target.
fn context<'q>(question: &Question<'q>, shared: bool) -> Option<Context<'q>> {
    let Question { caller, class, endpoint, route, max_output, headers, query, .. } = *question;
    let target = route.target(0)?;
    Some(Context {
        endpoint: endpoint.path(),
        class: &class.name,
        account: (!shared).then_some(&*caller.account),
        model: &route.model,
        provider: route.own.as_deref().unwrap_or(&target.provider.name),
        provider_model: route.name_at(target),
        max_output,
        headers,
        set: &class.headers.request.set,
        query,
    })
}

/// Whether the answer is all accounts'. A response stands at the provider, under an
/// id that is its account's own; what an account's own provider makes is its own.
fn is_shared(question: &Question<'_>) -> bool {
    let Question { class, endpoint, route, .. } = *question;
    endpoint != Endpoint::Responses
        && route.own.is_none()
        && class.cache.is_some_and(|cache| cache.scope == CacheScope::Shared)
}

/// Whose the answer to a request is, where it is on the disk.
fn whose(question: &Question<'_>, shared: bool) -> Whose {
    match shared {
        false => Whose::Account(question.caller.account.clone()),
        true => Whose::Class(question.class.name.clone()),
    }
}

impl Look {
    /// The answer, fresh or as stale as it may be given now.
    async fn find(&self, app: &App, now: Duration, whose: impl FnOnce() -> Whose) -> Option<Found> {
        let entry = app.cache.find(self.key, whose, now).await?;
        let used = self.judge(now, &entry)?;
        if used == Use::OnError { None } else { self.serve(entry, (used, now)) }
    }

    /// The answer that may stand in for one that a provider owes.
    pub(super) fn stand_in(&self, app: &App) -> Option<Found> {
        let now = app.clock.monotonic();
        let (entry, used) = self.entry(app, now)?;
        self.serve(entry, (used, now))
    }

    /// The entry in memory, and how it may be given `now`.
    fn entry(&self, app: &App, now: Duration) -> Option<(Arc<Entry>, Use)> {
        let entry = app.cache.get(&self.key, now)?;
        let used = self.judge(now, &entry)?;
        Some((entry, used))
    }

    fn judge(&self, now: Duration, entry: &Entry) -> Option<Use> {
        freshness::judge(entry, now, self.stale, &self.steering)
    }

    /// `entry` in the form that is wanted; `None` if it has no such form.
    fn serve(&self, entry: Arc<Entry>, (used, now): (Use, Duration)) -> Option<Found> {
        let (body, stream) = cache::serve(&entry, self.wanted)?;
        // Who wants no provider to be called has none called for it.
        let used = match used {
            Use::Renewing if self.steering.only_if_cached => Use::Stale,
            used => used,
        };
        Some(Found { age: entry.age(now), entry, used, body, stream })
    }
}

impl Found {
    /// Shows where the answer comes from.
    pub(super) fn show(&self, exchange: &mut Exchange) {
        exchange.cache = match self.used {
            Use::Fresh => CacheResult::Hit,
            Use::Renewing | Use::Stale | Use::OnError => CacheResult::Stale,
        };
        exchange.age = Some(self.age.as_secs());
    }

    /// Whether a new answer is to be made while this one is given.
    pub(super) fn is_to_be_renewed(&self) -> bool {
        self.used == Use::Renewing
    }
}

/// The way to the answer: the one that was found, else a call, which runs for the
/// same request or is begun. `plain` is the answer without what Tollgate asks for
/// itself.
pub(super) fn board(
    app: &App,
    exchange: &mut Exchange,
    bill: &mut Bill<'_>,
    recalled: &mut Recalled,
    plain: bool,
) -> Boarding<Found> {
    if let Some(passenger) = recalled.joined.take() {
        return Boarding::Join(passenger);
    }
    let boarding = way(app, exchange, bill, recalled, plain);
    count(app, exchange, recalled);
    boarding
}

fn way(
    app: &App,
    exchange: &mut Exchange,
    bill: &mut Bill<'_>,
    recalled: &mut Recalled,
    plain: bool,
) -> Boarding<Found> {
    if let Some(found) = recalled.found.take() {
        return Boarding::Found(found);
    }
    let Some(key) = recalled.flight else {
        let (pilot, passenger) = share::alone(plain, recalled.stays);
        return Boarding::Lead(pilot, passenger);
    };
    // Under a lock: the entry is put into form after it.
    let find = || {
        let (look, now) = (recalled.again?, app.clock.monotonic());
        let found = look.entry(app, now).filter(|(_, used)| *used == Use::Fresh);
        found.map(|(entry, _)| (look, entry, now))
    };
    let boarding = app.flights.board(key, plain, recalled.stays, find);
    bill.is_called();
    let (look, entry, now) = match boarding {
        Boarding::Found(found) => found,
        Boarding::Lead(pilot, passenger) => return Boarding::Lead(pilot, passenger),
        Boarding::Join(passenger) => return Boarding::Join(passenger),
    };
    let Some(found) = look.serve(entry, (Use::Fresh, now)) else {
        let (pilot, passenger) = share::alone(plain, recalled.stays);
        return Boarding::Lead(pilot, passenger);
    };
    found.show(exchange);
    bill.comes_from(exchange.cache);
    Boarding::Found(found)
}

/// Answers from the cache: settled first, then sent in one piece. No provider
/// is called for it, and nothing that bounds such calls is taken.
///
/// # Errors
/// 503 `storage_unavailable`; nothing has been sent then.
pub(super) async fn answer<C: Client>(
    app: &App,
    client: &mut C,
    exchange: &Exchange,
    bill: &mut Bill<'_>,
    found: Found,
) -> Result<Ending, Refusal> {
    let Found { entry, body, stream, .. } = found;
    bill.waited(exchange.waited);
    bill.sent(body.len());
    bill.settle_recalled(StatusCode::OK.as_u16(), entry.tokens, entry.estimated).await?;
    let mut headers = respond::roomy(&entry.headers);
    if stream != matches!(entry.answer, Answer::Stream(_)) {
        let kind = if stream { "text/event-stream; charset=utf-8" } else { "application/json" };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    bill.keep(StatusCode::OK, &entry.provider, &headers, &body).await;
    let answer = (StatusCode::OK, headers);
    let head = relay::head(app, exchange, bill, answer, &entry.provider, true);
    match client.send_whole(head, body).await {
        Ok(()) => Ok(Ending::Complete),
        Err(_) => Ok(Ending::Cut),
    }
}

impl Found {
    /// The tokens that the answer was made of.
    pub(super) fn tokens(&self) -> Tokens {
        self.entry.tokens
    }
}
