//! Embeddings in the cache: each input has an entry of its own, which is the whole
//! answer to a request for it alone.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;

use crate::app::{App, Snapshot};
use crate::cache::Epoch;
use crate::cache::entry::{Answer, Entry};
use crate::cache::freshness::{self, Use};
use crate::cache::key::{BodyHash, Fields, Key};
use crate::cache::steer::Steering;
use crate::config::Stale;
use crate::exchange::{CacheResult, Exchange};
use crate::intake::endpoint::Endpoint;
use crate::ledger::record::{Attempt, Tokens};
use crate::pipeline::recall::{
    Found, Keeping, Question, Recalled, body_hash, context, is_own, is_shared, lifetime, whose,
};
use crate::share::FlightKey;
use crate::share::embeddings::groups::GroupKey;
use crate::share::embeddings::{self, Split, Vector, deal};
use crate::telemetry::metrics::Lookup;

/// A request for embeddings, input by input.
pub(in crate::pipeline) struct Inputs {
    /// The request taken apart.
    pub(in crate::pipeline) split: Split,
    /// With which others it may share a call.
    pub(in crate::pipeline) group: GroupKey,
    /// What the cache has of each input.
    found: Vec<Option<Known>>,
    /// Under what the vectors are kept, one for each input.
    kept: Option<Kept>,
}

/// How vectors are kept.
struct Kept {
    keys: Vec<Key>,
    lifetime: Duration,
    shared: bool,
    epoch: Epoch,
}

/// One input's vector out of the cache.
#[derive(Clone)]
pub(in crate::pipeline) struct Known {
    pub(in crate::pipeline) vector: Vector,
    pub(in crate::pipeline) frame: embeddings::Frame,
    pub(in crate::pipeline) entry: Arc<Entry>,
}

/// Looks the inputs of a request up; `None` if it is no request for embeddings that
/// can be taken apart, or must have an answer of its own.
pub(super) async fn recall(
    app: &App,
    snapshot: &Snapshot,
    exchange: &mut Exchange,
    steering: &Steering,
    question: &Question<'_>,
) -> Option<Recalled> {
    let Question { class, endpoint, request, .. } = *question;
    let batches = endpoint == Endpoint::Embeddings && snapshot.config.batch_embeddings;
    if !batches || request.stream || is_own(steering, question) {
        return None;
    }
    let split = Split::of(request.body())?;
    let shared = is_shared(question);
    let scoped = context(question, shared)?;
    let key = |body: &BodyHash| app.cache.key(&scoped, body);
    let hash = |body: &[u8]| BodyHash::of(body, Fields::WithEffect);
    // Calls stay within the account, whoever may read what is kept.
    let rest = app.cache.key(&context(question, false)?, &hash(&split.single(b"null"))?);
    let whole = key(&body_hash(question)?);
    let shares = class.coalesce && snapshot.config.coalesce && !steering.no_cache;
    let lifetime = lifetime(steering, question);
    let count = split.parts.len();
    let mut inputs = Inputs {
        group: GroupKey::new(*rest.as_bytes(), split.kind),
        found: vec![None; count],
        kept: None,
        split,
    };
    let mut recalled = Recalled {
        flight: shares.then(|| FlightKey { request: *whole.as_bytes(), stream: false }),
        stays: lifetime.is_some() && class.cache.is_some_and(|cache| cache.finish),
        ..Recalled::default()
    };
    if let Some(lifetime) = lifetime {
        let parts = inputs.split.parts.iter();
        let keys: Vec<Key> = parts
            .map_while(|part| hash(&inputs.split.single(part)))
            .map(|hash| key(&hash))
            .collect();
        if keys.len() < count {
            return None;
        }
        recalled.key = Some(whole.to_hex());
        if !steering.no_cache {
            let now = app.clock.monotonic();
            let fresh = |entry: &Arc<Entry>| {
                let used = freshness::judge(entry, now, Stale::default(), steering);
                used == Some(Use::Fresh)
            };
            for (key, found) in keys.iter().zip(&mut inputs.found) {
                let entry = app.cache.find(*key, || whose(question, shared), now).await;
                *found = entry.filter(fresh).and_then(Known::of);
            }
            recalled.found = inputs.answer(now);
            app.metrics.cache(&class.name).looked_up(match &recalled.found {
                Some(_) => Lookup::Hit,
                None => Lookup::Miss,
            });
            match &recalled.found {
                Some(found) => found.show(exchange),
                None => exchange.cache = CacheResult::Miss,
            }
        }
        inputs.kept = Some(Kept { keys, lifetime, shared, epoch: app.cache.epoch() });
    }
    recalled.inputs = Some(Box::new(inputs));
    Some(recalled)
}

impl Known {
    fn of(entry: Arc<Entry>) -> Option<Self> {
        let Answer::Whole(body) = &entry.answer else { return None };
        let embeddings::Answer { frame, mut vectors } = embeddings::Answer::read(body, 1)?;
        let vector = vectors.pop()??;
        Some(Self { vector, frame, entry })
    }
}

impl Inputs {
    /// What the cache has of the input at `place`.
    pub(in crate::pipeline) fn known(&self, place: usize) -> Option<&Known> {
        self.found.get(place)?.as_ref()
    }

    /// Whether the vectors are kept.
    pub(in crate::pipeline) const fn are_kept(&self) -> bool {
        self.kept.is_some()
    }

    /// Keeps `body`, the whole answer to the input at `place` alone, which used
    /// `tokens`.
    pub(in crate::pipeline) fn keep(
        &self,
        app: &App,
        (frame, provider): (&Attempt, &HeaderMap),
        place: usize,
        body: Bytes,
        (tokens, estimated): (Tokens, bool),
    ) {
        if let Some(Kept { keys, lifetime, shared, epoch }) = &self.kept
            && let Some(key) = keys.get(place)
        {
            let keeping = Keeping {
                key: *key,
                lifetime: key.jittered(*lifetime),
                stale_for: Duration::ZERO,
                shared: *shared,
                epoch: *epoch,
            };
            keeping.keep(app, frame, provider, Answer::Whole(body), (tokens, estimated));
        }
    }

    /// The answer `now`, if the cache has all of it; as old as its oldest part.
    fn answer(&self, now: Duration) -> Option<Found> {
        let all: Vec<&Known> = self.found.iter().map(Option::as_ref).collect::<Option<_>>()?;
        let first = *all.first()?;
        let tokens: Vec<Tokens> = all.iter().map(|known| known.entry.tokens).collect();
        let tokens = deal::total(&tokens);
        if all.len() == 1 {
            let Answer::Whole(body) = &first.entry.answer else { return None };
            let (entry, body) = (first.entry.clone(), body.clone());
            let age = entry.age(now);
            return Some(Found { entry, used: Use::Fresh, age, body, stream: false });
        }
        let last = all.iter().map(|known| known.entry.made).max()?;
        let oldest = &all.iter().max_by_key(|known| known.entry.age(last))?.entry;
        let body = first.frame.with(all.iter().map(|known| &known.vector), &tokens);
        let entry = Entry {
            answer: Answer::Whole(body.clone()),
            tokens,
            estimated: all.iter().any(|known| known.entry.estimated),
            aged: oldest.aged,
            made: oldest.made,
            ..Entry::clone(&first.entry)
        };
        let age = entry.age(now);
        Some(Found { entry: Arc::new(entry), used: Use::Fresh, age, body, stream: false })
    }
}
