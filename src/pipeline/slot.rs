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

/// [`take`] for a client whose body has not been read: it cannot be watched, as a
/// watch would take bytes of that body.
pub(super) async fn take_unwatched(
    app: &App,
    snapshot: &Snapshot,
    exchange: &mut Exchange,
    who: Who<'_>,
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
    let mut waited = Duration::ZERO;
    let slot = waiting(app, &mut waited, place.slot(patience)).await;
    exchange.waited += waited;
    if slot.is_ok() {
        app.metrics.slot_taken_after(waited);
    }
    slot.map_err(overloaded)
}

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
    let place = match app.calls.ask(who) {
        Ok(Asked::Slot(slot)) => {
            app.metrics.slot_taken_after(Duration::ZERO);
            return Some(Ok(slot));
        }
        Ok(Asked::Wait(place)) => place,
        Err(none) => return Some(Err(overloaded(none))),
    };
    let _queued = app.metrics.queued();
    let patience = snapshot.config.limits.global.queue_timeout;
    let patience = patience.min(deadline.saturating_duration_since(Instant::now()));
    let mut waited = Duration::ZERO;
    let slot = unless_gone(client, waiting(app, &mut waited, place.slot(patience))).await;
    exchange.waited += waited;
    if let Some(Ok(_)) = slot {
        app.metrics.slot_taken_after(waited);
    }
    slot.map(|slot| slot.map_err(overloaded))
}

fn overloaded(none: NoSlot) -> Refusal {
    let (message, window) = match none {
        NoSlot::QueueFull => ("As many requests as allowed wait already.", "queue"),
        NoSlot::TimedOut => ("The request waited as long as it may.", "queue_timeout"),
    };
    Refusal::new(Code::Overloaded, message).window(window).retry_after(COME_AGAIN)
}
