//! Requests that want samples of their own: with which others they share a call.

use std::time::Duration;

use crate::app::{App, Snapshot};
use crate::cache::steer::Steering;
use crate::config::{Class, Samples};
use crate::intake::endpoint::Endpoint;
use crate::pipeline::recall::{Question, Recalled, body_hash, context};
use crate::share::FlightKey;

/// How a request shares a call that makes a sample for each.
pub(in crate::pipeline) struct Sampled {
    /// What an equal request has too.
    pub(in crate::pipeline) key: FlightKey,
    /// How long it waits for others.
    pub(in crate::pipeline) window: Duration,
    /// How many samples a call may make.
    pub(in crate::pipeline) most: usize,
}

/// Whether the request is to have an answer of its own.
pub(super) fn is_distinct(steering: &Steering, class: &Class) -> bool {
    steering.distinct.unwrap_or(class.samples == Samples::Distinct)
}

/// What there is of a request that wants a sample of its own: nothing in the cache,
/// but maybe others that want the same.
pub(super) fn recall(
    app: &App,
    snapshot: &Snapshot,
    steering: &Steering,
    question: &Question<'_>,
) -> Recalled {
    Recalled { samples: sampled(app, snapshot, steering, question), ..Recalled::default() }
}

fn sampled(
    app: &App,
    snapshot: &Snapshot,
    steering: &Steering,
    question: &Question<'_>,
) -> Option<Sampled> {
    let Question { endpoint, request, route, .. } = *question;
    let window = snapshot.config.sample_window?;
    let does_more = request.store == Some(true) || request.stateful;
    if endpoint != Endpoint::ChatCompletions || request.says_n || does_more || steering.no_store {
        return None;
    }
    let most = usize::try_from(route.target(0)?.provider.n_max).unwrap_or(usize::MAX);
    if most < 2 {
        return None;
    }
    // Calls stay within the account, whoever may read what is kept.
    let key = app.cache.key(&context(question, false)?, &body_hash(question)?);
    let key = FlightKey { request: *key.as_bytes(), stream: request.stream };
    Some(Sampled { key, window, most })
}

impl Recalled {
    /// How the request shares a call for samples. One with an `idempotency-key` does
    /// not: its call is there for those that repeat it.
    pub(in crate::pipeline) fn sampled(&mut self) -> Option<Sampled> {
        self.samples.take().filter(|_| self.flight.is_none())
    }
}
