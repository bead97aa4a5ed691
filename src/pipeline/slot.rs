//! A slot for a call to a provider, waited for in the queue if need be.

use std::time::Duration;

use tokio::time::Instant;

use crate::admission::queue::{Asked, CallSlot, NoSlot, Who};
use crate::app::{App, Snapshot};
use crate::pipeline::waiting;
use crate::refusal::{Code, Refusal};

/// When a client that found no slot should come again.
const COME_AGAIN: Duration = Duration::from_secs(1);

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
    let place = match app.calls.ask(who) {
        Ok(Asked::Slot(slot)) => {
            app.metrics.slot_taken_after(Duration::ZERO);
            return Ok(slot);
        }
        Ok(Asked::Wait(place)) => place,
        Err(none) => return Err(overloaded(none)),
    };
    let _queued = app.metrics.queued();
    let patience = snapshot.config.limits.global.queue_timeout;
    let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    let patience = left.map_or(patience, |left| patience.min(left));
    let mut queued_for = Duration::ZERO;
    let slot = waiting(app, &mut queued_for, place.slot(patience)).await;
    *waited += queued_for;
    if slot.is_ok() {
        app.metrics.slot_taken_after(queued_for);
    }
    slot.map_err(overloaded)
}

fn overloaded(none: NoSlot) -> Refusal {
    let (message, window) = match none {
        NoSlot::QueueFull => ("As many requests as allowed wait already.", "queue"),
        NoSlot::TimedOut => ("The request waited as long as it may.", "queue_timeout"),
    };
    Refusal::new(Code::Overloaded, message).window(window).retry_after(COME_AGAIN)
}
