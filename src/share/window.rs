//! Requests that want samples of their own of one prompt wait for each other: the
//! first of a kind opens a window; when it closes, or is full, all that are there
//! become one call, which the first of them makes.
//!
//! Invariants: nobody waits longer than its window; who leaves while it is open is
//! no part of the call; whoever of those that wait is gone, the others go on.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::flight::{End, Pilot};
use super::flights::FlightKey;
use crate::base::clock::Clock;
use crate::base::money::Money;
use crate::telemetry::metrics::Running;

/// The windows that are open; clones are the same.
#[derive(Clone, Default)]
pub struct Windows(Arc<Shared>);

#[derive(Default)]
struct Shared {
    open: Mutex<HashMap<FlightKey, Window, ahash::RandomState>>,
    /// The number that the next request has: no two have the same.
    next: AtomicU64,
}

struct Window {
    /// When it closes, on the monotonic clock.
    until: Duration,
    /// Requests that it has room for.
    most: usize,
    /// In the order in which they came.
    fellows: Vec<Fellow>,
}

/// One request that waits, or that a call is made for.
pub struct Fellow {
    number: u64,
    /// Its flight.
    pub pilot: Pilot,
    /// Whether it wants the answer without what Tollgate asked for itself.
    pub plain: bool,
    /// Since when it waits, on the monotonic clock.
    pub since: Duration,
    /// Counts it while the window is open.
    counted: Option<Running>,
    tell: oneshot::Sender<Turn>,
}

/// A request that comes to a window.
pub struct Coming {
    /// Its flight.
    pub pilot: Pilot,
    /// Whether it wants the answer without what Tollgate asked for itself.
    pub plain: bool,
    /// The present, on the monotonic clock.
    pub now: Duration,
}

/// What a request that waits is told.
pub enum Turn {
    /// To make the call, for these too.
    Lead(Pilot, Vec<Fellow>),
    /// To ask for itself: the call has nothing for it.
    Alone(Pilot, Alone),
    /// The call has ended, and so has its own flight.
    Over(Box<End>),
    /// It has left before a call was made.
    Left(Pilot),
    /// The one who made the call is gone.
    Lost,
}

/// How a request that the shared call has nothing for goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alone {
    /// The attempts that were made for all.
    pub past: Past,
    /// Its share of what the shared call cost.
    pub spent: Money,
    /// Until when it may take, where it goes on with attempts of the shared call;
    /// else it begins anew.
    pub deadline: Option<Instant>,
}

/// Attempts that were made for a request and others together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Past {
    /// How many.
    pub made: u32,
    /// How many at each target of the route, where it has several.
    pub calls: Vec<u32>,
}

/// Where a request waits.
#[derive(Clone)]
pub struct Place {
    windows: Windows,
    key: FlightKey,
    number: u64,
}

/// A request that waits. Dropping it leaves the window.
#[must_use = "dropped, it leaves the window"]
pub struct Held {
    place: Place,
    until: Duration,
    turn: oneshot::Receiver<Turn>,
}

impl Windows {
    /// Comes to the window of `key`, or opens one that lasts until `until` on the
    /// monotonic clock and has room for `most`. `count` counts it while it waits.
    pub fn come(
        &self,
        key: FlightKey,
        until: Duration,
        most: usize,
        coming: Coming,
        count: impl FnOnce() -> Running,
    ) -> (Place, Held) {
        let Coming { pilot, plain, now } = coming;
        let number = self.0.next.fetch_add(1, Ordering::Relaxed);
        let (tell, turn) = oneshot::channel();
        let mut full = None;
        let until = {
            let mut open = self.0.open.lock();
            let window =
                open.entry(key).or_insert_with(|| Window { until, most, fellows: Vec::new() });
            // Under the lock: whoever is counted is in the window, whenever it closes.
            let counted = Some(count());
            window.fellows.push(Fellow { number, pilot, plain, since: now, counted, tell });
            let until = window.until;
            if window.fellows.len() >= window.most {
                full = open.remove(&key);
            }
            until
        };
        if let Some(window) = full {
            window.close();
        }
        let place = Place { windows: self.clone(), key, number };
        (place.clone(), Held { place, until, turn })
    }

    /// Windows that are open.
    #[cfg(test)]
    fn open(&self) -> usize {
        self.0.open.lock().len()
    }
}

impl Window {
    fn place_of(&self, number: u64) -> Option<usize> {
        self.fellows.iter().position(|fellow| fellow.number == number)
    }

    /// Has those that are there go.
    fn close(mut self) {
        for fellow in &mut self.fellows {
            fellow.counted = None;
        }
        appoint(self.fellows);
    }
}

/// Has the first of `fellows` that is there make the call for all.
fn appoint(mut fellows: Vec<Fellow>) {
    while !fellows.is_empty() {
        let Fellow { pilot, tell, .. } = fellows.remove(0);
        match tell.send(Turn::Lead(pilot, fellows)) {
            Err(Turn::Lead(_, others)) => fellows = others,
            _ => return,
        }
    }
}

impl Fellow {
    /// Tells it that its flight is over.
    pub fn over(self, end: End) {
        // One that is not there any more needs nothing.
        let _gone = self.tell.send(Turn::Over(Box::new(end)));
    }

    /// Has it ask for itself.
    pub fn go_alone(self, alone: Alone) {
        let _gone = self.tell.send(Turn::Alone(self.pilot, alone));
    }
}

impl Place {
    /// Leaves the window: true if it was open still, false if a call is made for
    /// all who waited.
    pub fn leave(&self) -> bool {
        let Some(Fellow { pilot, tell, .. }) = self.take() else { return false };
        let _gone = tell.send(Turn::Left(pilot));
        true
    }

    fn take(&self) -> Option<Fellow> {
        let mut open = self.windows.0.open.lock();
        let window = open.get_mut(&self.key)?;
        let fellow = window.fellows.remove(window.place_of(self.number)?);
        if window.fellows.is_empty() {
            open.remove(&self.key);
        }
        Some(fellow)
    }

    /// Closes the window, if it is open still.
    fn close(&self) {
        let window = {
            let mut open = self.windows.0.open.lock();
            let is_here = |window: &Window| window.place_of(self.number).is_some();
            if !open.get(&self.key).is_some_and(is_here) {
                return;
            }
            open.remove(&self.key)
        };
        if let Some(window) = window {
            window.close();
        }
    }
}

impl Held {
    /// Waits for the turn; `clock` says when the window closes.
    pub async fn turn(&mut self, clock: &dyn Clock) -> Turn {
        tokio::select! {
            biased;
            turn = &mut self.turn => return turn.unwrap_or(Turn::Lost),
            () = clock.reached(self.until) => self.place.close(),
        }
        (&mut self.turn).await.unwrap_or(Turn::Lost)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.place.leave();
        self.turn.close();
        if let Ok(Turn::Lead(_, fellows)) = self.turn.try_recv() {
            appoint(fellows);
        }
    }
}

#[cfg(test)]
mod tests;
