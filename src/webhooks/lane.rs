//! What one address still has to be told, and when it is tried next.
//!
//! An address that cannot be reached is left alone as a whole, so its events
//! keep their order. One that answers with a refusal may refuse just this event:
//! the others go on meanwhile. Either way the wait doubles from 5 s to 1 h.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::base::clock::Timestamp;
use crate::base::id::RecordId;

/// The first wait after a failure, and the longest.
const FIRST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(3600);
/// How long an event is tried for.
pub(super) const GIVE_UP: Duration = Duration::from_secs(3 * 86_400);

/// How a delivery failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The address is there and does not want this event.
    Refused,
    /// Nothing can be delivered there at the moment.
    Away,
}

/// Events of one address. Moments are of the monotonic clock.
#[derive(Debug, Default)]
pub(super) struct Lane {
    events: BTreeMap<RecordId, Waiting>,
    pause: Backoff,
}

#[derive(Debug)]
struct Waiting {
    made: Timestamp,
    backoff: Backoff,
}

/// When something is tried again.
#[derive(Clone, Copy, Debug, Default)]
struct Backoff {
    failures: u32,
    until: Duration,
}

impl Backoff {
    /// One more failure at `now`; `jitter` is 0 to 400 thousandths, from 20 %
    /// below the wait to 20 % above it.
    fn fail(&mut self, now: Duration, jitter: u32) {
        let doublings = self.failures.min(16);
        self.failures = self.failures.saturating_add(1);
        let wait = FIRST.saturating_mul(1 << doublings).min(LONGEST);
        self.until = now.saturating_add(wait.saturating_mul(800 + jitter.min(400)) / 1000);
    }
}

/// What an address is to be told next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// This, now.
    Now(RecordId),
    /// Something, later.
    Later,
    /// Nothing.
    Nothing,
}

impl Lane {
    /// Adds an event made at `made`.
    pub(super) fn add(&mut self, id: RecordId, made: Timestamp) {
        self.events.insert(id, Waiting { made, backoff: Backoff::default() });
    }

    /// Takes an event out.
    pub(super) fn remove(&mut self, id: RecordId) {
        self.events.remove(&id);
    }

    /// Whether the event waits here.
    pub(super) fn holds(&self, id: RecordId) -> bool {
        self.events.contains_key(&id)
    }

    /// Events that wait.
    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    /// The ids of the events that wait, oldest first.
    pub(super) fn ids(&self) -> impl Iterator<Item = RecordId> {
        self.events.keys().copied()
    }

    /// Failures since something was taken last.
    pub(super) fn failures(&self) -> u32 {
        self.pause.failures
    }

    /// What is next at `now`: the oldest event that has not to wait.
    pub(super) fn next(&self, now: Duration) -> Next {
        if self.events.is_empty() {
            return Next::Nothing;
        }
        let due = |(_, waiting): &(&RecordId, &Waiting)| waiting.backoff.until <= now;
        let first = (self.pause.until <= now).then(|| self.events.iter().find(due)).flatten();
        first.map_or(Next::Later, |(id, _)| Next::Now(*id))
    }

    /// The event was taken.
    pub(super) fn delivered(&mut self, id: RecordId) {
        self.pause = Backoff::default();
        self.events.remove(&id);
    }

    /// The event was not taken. Gives those that are not tried any more, which
    /// are out of the lane then: what is older than [`GIVE_UP`] at `wall`; of an
    /// address that refuses, only the event itself.
    pub(super) fn failed(
        &mut self,
        id: RecordId,
        failure: Failure,
        (now, wall): (Duration, Timestamp),
        jitter: u32,
    ) -> Vec<RecordId> {
        if let Some(waiting) = self.events.get_mut(&id) {
            waiting.backoff.fail(now, jitter);
        }
        match failure {
            Failure::Away => self.pause.fail(now, jitter),
            Failure::Refused => self.pause = Backoff::default(),
        }
        let age = |made: Timestamp| Duration::from_micros(wall.0.saturating_sub(made.0));
        let over = |(other, waiting): (&RecordId, &Waiting)| {
            let tried = failure == Failure::Away || *other == id;
            (tried && age(waiting.made) >= GIVE_UP).then_some(*other)
        };
        let over: Vec<RecordId> = self.events.iter().filter_map(over).collect();
        for id in &over {
            self.events.remove(id);
        }
        over
    }
}

#[cfg(test)]
mod tests;
