//! `GET /admin/providers`: who may answer, and why some may not.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract;
use serde::Serialize;

use super::{AdminState, List};
use crate::base::clock::{Clock, Timestamp};
use crate::config::{Config, Dialect, Provider, Target};
use crate::route::breaker::State;
use crate::route::health::Health;

/// One provider.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct ProviderView {
    name: Arc<str>,
    dialect: &'static str,
    base_url: Option<String>,
    usable: bool,
    /// Why it is not usable.
    reason: Option<String>,
    /// The public names of the models that may run there.
    models: Vec<Arc<str>>,
    /// How its calls fare; null where none can be made.
    health: Option<HealthView>,
}

/// How a provider's calls fare.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct HealthView {
    /// `closed`, `half_open` or `open`.
    breaker: &'static str,
    /// When a trial may be made, where it is open.
    open_until: Option<String>,
    /// The latest calls that the breaker judges.
    calls: u32,
    /// How many of them failed.
    failures: u32,
    /// Calls that run.
    running: u32,
    /// How long the slowest model takes to begin an answer, lately.
    latency_ms: Option<u64>,
    /// The seller's keys in the order of the file.
    keys: Vec<KeyView>,
}

/// One key of the seller's, by its place alone.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct KeyView {
    /// `ready`, `limited` for a model at least, or `refused`.
    state: &'static str,
    /// Until when it rests.
    until: Option<String>,
}

pub(super) async fn list(
    extract::State(state): extract::State<AdminState>,
) -> Json<List<ProviderView>> {
    let config = state.control.config();
    let all = config.providers.iter().map(|provider| view(&state, provider, &config));
    Json(List::whole(all.collect()))
}

/// Why a provider is not usable now: it is off, or its breaker is open.
pub(super) fn reason(state: &AdminState, provider: &Provider) -> Option<String> {
    if let Some(off) = &provider.off {
        return Some(off.clone());
    }
    let health = state.control.health(&provider.name)?;
    let open = health.breaker.state(state.clock.monotonic()) == State::Open;
    open.then(|| "breaker open".to_owned())
}

fn health(health: &Health, clock: &dyn Clock) -> HealthView {
    let (now, wall) = (clock.monotonic(), clock.wall());
    let at = |then: Duration| {
        let later = u64::try_from(then.saturating_sub(now).as_micros()).unwrap_or(u64::MAX);
        Timestamp(wall.0.saturating_add(later)).to_string()
    };
    let breaker = health.breaker.state(now);
    let open_until = health.breaker.open_until().filter(|_| breaker == State::Open);
    let (calls, failures) = health.breaker.counts();
    let key = |(whole, model): (Option<Duration>, Option<Duration>)| KeyView {
        state: match (whole, model) {
            (Some(_), _) => "refused",
            (None, Some(_)) => "limited",
            (None, None) => "ready",
        },
        until: whole.or(model).map(at),
    };
    let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    HealthView {
        breaker: breaker.into(),
        open_until: open_until.map(at),
        calls,
        failures,
        running: health.running(),
        latency_ms: health.latency(now).map(millis),
        keys: health.keys(now).map(key).collect(),
    }
}

fn view(state: &AdminState, provider: &Provider, config: &Config) -> ProviderView {
    let reason = reason(state, provider);
    let fares = state.control.health(&provider.name);
    let runs_here = |target: &Target| target.provider.name == provider.name;
    let models = if provider.dialect == Dialect::Sandbox && provider.off.is_none() {
        // It answers any model while it is on, without being a target.
        vec![Arc::from("*")]
    } else {
        let models = config.models.iter().filter(|model| model.targets.iter().any(runs_here));
        models.map(|model| Arc::clone(&model.name)).collect()
    };
    ProviderView {
        name: Arc::clone(&provider.name),
        dialect: provider.dialect.as_str(),
        base_url: provider.base_url.as_ref().map(super::config::base_url),
        usable: reason.is_none(),
        reason,
        models,
        health: fares.map(|fares| health(&fares, &*state.clock)),
    }
}
