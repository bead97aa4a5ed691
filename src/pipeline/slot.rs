//! A slot for a call to a provider, waited for in the queue if need be.

use std::time::Duration;

use tokio::time::Instant;

use crate::admission::queue::{Asked, CallSlot, NoSlot, Waiting, Who};
use crate::app::{App, Snapshot};
use crate::pipeline::waiting;
use crate::refusal::{Code, Refusal};
use crate::telemetry::metrics::Running;

/// A slot, or a place in the queue, which is counted.
enum Found {
    Slot(CallSlot),
    Place(Waiting, Running),
}

/// Takes a slot, waiting for at most `limits.global.queue_timeout` and no longer
/// than `deadline`; the wait is added to `waited`. Dropping the future leaves the
/// queue.
///
/// # Errors
/// 503 `overloaded` if the queue is full or the time is over.
pub(super) async fn take(
    app: &App,
    snapshot: &Snapshot,
    waited: &mut Duration,
    who: Who<'_>,
    deadline: Option<Instant>,
) -> Result<CallSlot, Refusal> {
    let (place, _queued) = match ask(app, who)? {
        Found::Slot(slot) => return Ok(slot),
        Found::Place(place, queued) => (place, queued),
    };
    let patience = snapshot.config.limits.global.queue_timeout;
    let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    let patience = left.map_or(patience, |left| patience.min(left));
    let mut queued_for = Duration::ZERO;
    let slot = waiting(app, &mut queued_for, place.slot(patience)).await;
    *waited += queued_for;
    if slot.is_ok() {
        app.metrics.slot_taken_after(queued_for);
    }
    slot.map_err(|none| overloaded(app, who, none))
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
