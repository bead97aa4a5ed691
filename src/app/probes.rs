//! Looking whether providers are alive that say so (`providers[].probe`).
//!
//! A probe is a GET with the first key. It is no customer's request: it takes no slot,
//! is in no record, and is counted by itself.

use std::sync::Arc;
use std::time::Duration;

use ahash::AHashMap;
use http::{HeaderMap, Method};

use crate::app::{App, Reach};
use crate::config::{BreakerRule, Probe};
use crate::telemetry::metrics::labels::ProbeResult;
use crate::upstream::{Call, Failure, Prepared};

/// How often the clock is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Makes the probes that are due, for ever: the first of each provider at once.
pub(super) async fn run(app: Arc<App>) {
    let mut due: AHashMap<Arc<str>, Duration> = AHashMap::new();
    loop {
        tokio::time::sleep(LOOK).await;
        let snapshot = app.snapshot.load_full();
        if snapshot.providers.values().all(|reach| reach.provider.probe.is_none()) {
            due.clear();
            continue;
        }
        let now = app.clock.monotonic();
        let mut next = AHashMap::new();
        for (name, reach) in &snapshot.providers {
            let Some(probe) = &reach.provider.probe else { continue };
            let again = now.saturating_add(probe.interval);
            // Not later than the interval says now: a reload may have shortened it.
            let mut then = due.get(name).copied().unwrap_or(now).min(again);
            if then <= now {
                then = again;
                let rule = snapshot.config.routing.breaker;
                tokio::spawn(look(app.clone(), reach.clone(), probe.clone(), rule));
            }
            next.insert(name.clone(), then);
        }
        due = next;
    }
}

async fn look(app: Arc<App>, reach: Arc<Reach>, probe: Probe, rule: BreakerRule) {
    let headers = HeaderMap::new();
    let (path, body) = (&*probe.path, Vec::new());
    let call = Call { method: Method::GET, path, query: None, headers: &headers, body };
    let prepared = Prepared::new(&reach.origin, call);
    let asked = async {
        let unrecorded = || Ok::<_, Failure>(());
        let mut reply = app.upstream.send(&reach.origin, &prepared, 0, unrecorded).await?;
        reply.body.finish().await;
        Ok::<_, Failure>(reply.status)
    };
    let status = tokio::time::timeout(probe.timeout, Box::pin(asked)).await;
    let failed = !matches!(status, Ok(Ok(status)) if !status.is_server_error());
    let result = if failed { ProbeResult::Failed } else { ProbeResult::Ok };
    let change = reach.health.probed(failed, &rule, app.clock.monotonic());
    reach.show(&app.metrics, change);
    // Last: what is counted has had its effect.
    app.metrics.health().probed(&reach.provider.name, result);
}
