//! A slot for a call to a provider, waited for in the queue if need be.

use std::time::Duration;

use tokio::time::Instant;

use crate::admission::queue::{Asked, CallSlot, NoSlot, Who};
use crate::app::{App, Snapshot};
use crate::exchange::{Client, Exchange};
use crate::pipeline::{unless_gone, waiting};
use crate::refusal::{Code, Refusal};

/// When a client that found no slot should come again.
const COME_AGAIN: Duration = Duration::from_secs(1);

/// Takes a slot, waiting for at most `limits.global.queue_timeout` and no longer
/// than `deadline`. `None` if the client leaves meanwhile.
///
/// # Errors
/// 503 `overloaded` if the queue is full or the time is over.
pub(super) async fn take<C: Client>(
    app: &App,
    snapshot: &Snapshot,
    client: &mut C,
    exchange: &mut Exchange,
    who: Who<'_>,
    deadline: Instant,
) -> Option<Result<CallSlot, Refusal>> {
    let waited = &mut exchange.waited;
    unless_gone(client, take_unwatched(app, snapshot, waited, who, deadline)).await
}

/// [`take`], without looking whether the client leaves: while a body is not read,
/// looking would take its bytes.
///
/// # Errors
/// As [`take`].
pub(super) async fn take_unwatched(
    app: &App,
    snapshot: &Snapshot,
    waited: &mut Duration,
    who: Who<'_>,
    deadline: Instant,
) -> Result<CallSlot, Refusal> {
    let place = match app.calls.ask(who).map_err(overloaded)? {
        Asked::Slot(slot) => {
            app.metrics.slot_taken_after(Duration::ZERO);
            return Ok(slot);
        }
        Asked::Wait(place) => place,
    };
    let _queued = app.metrics.queued();
    let patience = snapshot.config.limits.global.queue_timeout;
    let patience = patience.min(deadline.saturating_duration_since(Instant::now()));
    let mut queued = Duration::ZERO;
    let slot = waiting(app, &mut queued, place.slot(patience)).await;
    *waited += queued;
    let slot = slot.map_err(overloaded)?;
    app.metrics.slot_taken_after(queued);
    Ok(slot)
}

fn overloaded(none: NoSlot) -> Refusal {
    let (message, window) = match none {
        NoSlot::QueueFull => ("As many requests as allowed wait already.", "queue"),
        NoSlot::TimedOut => ("The request waited as long as it may.", "queue_timeout"),
    };
    Refusal::new(Code::Overloaded, message).window(window).retry_after(COME_AGAIN)
}
