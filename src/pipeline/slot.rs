//! A slot for a call to a provider, waited for in the queue if need be.

use std::time::Duration;

use tokio::time::Instant;

use crate::admission::queue::{Asked, CallSlot, NoSlot, Waiting, Who};
use crate::app::{App, Snapshot};
use crate::exchange::{Client, Exchange};
use crate::pipeline::{unless_gone, waiting};
use crate::refusal::{Code, Refusal};
use crate::telemetry::metrics::Running;

/// A slot, or a place in the queue, which is counted.
enum Found {
    Slot(CallSlot),
    Place(Waiting, Running),
}

/// [`take`] for a client whose body has not been read: it cannot be watched, as a
/// watch would take bytes of that body.
pub(super) async fn take_unwatched(
    app: &App,
    snapshot: &Snapshot,
    exchange: &mut Exchange,
    who: Who<'_>,
) -> Result<CallSlot, Refusal> {
    let (place, _queued) = match ask(app, who)? {
        Found::Slot(slot) => return Ok(slot),
        Found::Place(place, queued) => (place, queued),
    };
    let patience = snapshot.config.limits.global.queue_timeout;
    let mut waited = Duration::ZERO;
    let slot = waiting(app, &mut waited, place.slot(patience)).await;
    exchange.waited += waited;
    waited_for(app, who, slot, waited)
}

/// Takes a slot, waiting for at most `limits.global.queue_timeout` and no longer
/// than `deadline`. `None` if the client leaves meanwhile.
///
/// # Errors
/// 503 `overloaded` if the queue is full, the time is over, or the place in the
/// full queue went to another.
pub(super) async fn take<C: Client>(
    app: &App,
    snapshot: &Snapshot,
    client: &mut C,
    exchange: &mut Exchange,
    who: Who<'_>,
    deadline: Instant,
) -> Option<Result<CallSlot, Refusal>> {
    let (place, _queued) = match ask(app, who) {
        Ok(Found::Slot(slot)) => return Some(Ok(slot)),
        Ok(Found::Place(place, queued)) => (place, queued),
        Err(refusal) => return Some(Err(refusal)),
    };
    let patience = snapshot.config.limits.global.queue_timeout;
    let patience = patience.min(deadline.saturating_duration_since(Instant::now()));
    let mut waited = Duration::ZERO;
    let slot = unless_gone(client, waiting(app, &mut waited, place.slot(patience))).await;
    exchange.waited += waited;
    slot.map(|slot| waited_for(app, who, slot, waited))
}

fn ask(app: &App, who: Who<'_>) -> Result<Found, Refusal> {
    match app.calls.ask(who) {
        Ok(Asked::Slot(slot)) => {
            app.metrics.slot_taken_after(Duration::ZERO);
            Ok(Found::Slot(slot))
        }
        Ok(Asked::Wait(place)) => {
            let queued = app.metrics.queued(who.priority.as_str(), place.ahead());
            Ok(Found::Place(place, queued))
        }
        Err(none) => Err(overloaded(app, who, none)),
    }
}

fn waited_for(
    app: &App,
    who: Who<'_>,
    slot: Result<CallSlot, NoSlot>,
    waited: Duration,
) -> Result<CallSlot, Refusal> {
    if slot.is_ok() {
        app.metrics.slot_taken_after(waited);
    }
    slot.map_err(|none| overloaded(app, who, none))
}

fn overloaded(app: &App, who: Who<'_>, none: NoSlot) -> Refusal {
    let (message, window) = match none {
        NoSlot::QueueFull => ("As many requests as allowed wait already.", "queue"),
        NoSlot::TimedOut => ("The request waited as long as it may.", "queue_timeout"),
        NoSlot::Displaced => {
            ("The queue is full, and the place in it went to another account.", "queue_displaced")
        }
    };
    let wait = app.calls.expected_wait(who);
    Refusal::new(Code::Overloaded, message).window(window).retry_after(wait)
}
