//! One attempt at a target, and what its answer says of the key that it was made
//! with.

use std::time::Duration;

use crate::app::App;
use crate::config::Target;
use crate::pipeline::relay::reach::Callee;
use crate::route::breaker::{Entry, Trial};
use crate::route::health::{Rest, Running, Slot};
use crate::route::rest;
use crate::telemetry::metrics::labels::RestReason;
use crate::upstream::Reply;

/// First wait before the same target is called again; it doubles.
const BACK_OFF: Duration = Duration::from_millis(50);
/// Longest such wait.
const LONGEST_BACK_OFF: Duration = Duration::from_secs(2);
/// How long a key rests that was limited, where the provider does not say.
const LIMITED: Duration = Duration::from_secs(1);
/// How long a key rests that was refused.
const REFUSED: Duration = Duration::from_secs(600);

/// One attempt.
pub(in crate::pipeline::relay) struct Leg<'a> {
    /// The target.
    pub(in crate::pipeline::relay) target: Target,
    /// How its provider is reached; `None` is the sandbox.
    pub(in crate::pipeline::relay) reach: Option<Callee<'a>>,
    /// The number of the key, from 0.
    pub(in crate::pipeline::relay) key: usize,
    /// How often the target was called before.
    pub(in crate::pipeline::relay) turn: u32,
    /// The target's place in the route.
    pub(in crate::pipeline::relay) place: usize,
    pub(super) slot: Slot,
    pub(super) entry: Option<Entry>,
    /// Whether its key rested before it.
    pub(super) rested: bool,
    /// Whether its key rests because of what it came to.
    pub(super) rests: bool,
    /// How long to wait before it.
    pub(super) wait: Duration,
    pub(super) began: Duration,
    pub(super) trial: Option<Trial<'a>>,
    pub(super) _running: Option<Running<'a>>,
}

impl Leg<'_> {
    /// Lets the key rest where the answer says so; whether it does.
    pub(super) fn heed(&self, app: &App, reach: &Callee<'_>, reply: &Reply, now: Duration) -> bool {
        let asked = || rest::retry_after(&reply.headers, app.clock.wall());
        let model = Rest::Model(self.slot);
        let (rest, span, why) = match reply.status.as_u16() {
            429 => (model, asked().unwrap_or(LIMITED), RestReason::Limited),
            503 | 529 => match asked() {
                Some(span) => (model, span, RestReason::Limited),
                None => return false,
            },
            401 => (Rest::Whole, REFUSED, RestReason::Refused),
            403 => (model, REFUSED, RestReason::Refused),
            _ => return false,
        };
        if reach.health.rest(self.key, rest, now.saturating_add(span), now) {
            let provider = &reach.provider.name;
            app.metrics.health().key_rests(provider, why);
            if why == RestReason::Refused && reach.seller().is_some() {
                let (key, status) = (self.key + 1, reply.status.as_u16());
                tracing::warn!(%provider, key, status, "the provider refuses the seller's key");
            }
        }
        true
    }
}

/// How long to wait before a target is called that was called `turn` times before:
/// exponential, with full jitter above a half, so that many callers do not come at
/// once.
pub(super) fn back_off(turn: u32) -> Duration {
    let Some(round) = turn.checked_sub(1) else { return Duration::ZERO };
    let longest = BACK_OFF.saturating_mul(1 << round.min(16)).min(LONGEST_BACK_OFF);
    longest.mul_f64(rand::random_range(0.5..=1.0))
}
