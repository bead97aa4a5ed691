//! One of those who read the answer to a call.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;

use super::flight::{End, FIRST, Flight, Head, Landing};
use super::portion;
use crate::base::money::Money;
use crate::telemetry::metrics::Running;

/// What a passenger gets.
#[derive(Debug)]
pub struct Step {
    /// The next bytes of the answer, in the form asked for; may be empty.
    pub bytes: Bytes,
    /// How it ended, with the last bytes.
    pub end: Option<End>,
}

/// Bytes that a passenger takes at once, or one piece that is larger: what it has
/// in its hands is its own, beside the log.
const STEP: usize = 64 * 1024;

/// What a passenger leaves behind.
#[derive(Clone, Debug)]
pub enum Left {
    /// A flight that had ended: the passenger bears its part of the cost.
    Ended(Arc<Landing>),
    /// A flight that goes on without it.
    Flying,
    /// A flight that ends because of it.
    Abandoned,
}

/// The passenger was so slow that what it has not read is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the reader fell too far behind")]
pub struct Lost;

/// A place aboard. Dropping it leaves.
#[must_use = "dropping the place leaves the flight"]
pub struct Passenger {
    flight: Arc<Flight>,
    seat: usize,
    place: usize,
    plain: bool,
    /// Whether it is not to be woken.
    follows: bool,
    left: bool,
    /// Counts it until it has left.
    counted: Option<Running>,
}

impl Passenger {
    /// In `seat` of `flight`, at the beginning of the answer.
    pub(super) const fn aboard(flight: Arc<Flight>, seat: usize, plain: bool) -> Self {
        Self { flight, seat, place: 0, plain, follows: false, left: false, counted: None }
    }

    /// Has this passenger be asked after its pilot whenever that was, by the same
    /// task: it is not woken for news then, which would only have the task run once
    /// more.
    pub fn behind_its_pilot(self) -> Self {
        let mut passenger = self;
        passenger.follows = true;
        passenger
    }

    /// Has `counted` count this passenger until it leaves.
    pub fn count(&mut self, counted: Running) {
        self.counted = Some(counted);
    }

    /// Waits for the head of the answer.
    ///
    /// # Errors
    /// The end, where there is no answer.
    pub async fn head(&mut self) -> Result<Arc<Head>, End> {
        self.until(|passenger| {
            let state = passenger.flight.state.lock();
            match (&state.head, &state.end) {
                (Some(head), _) => Some(Ok(Arc::clone(head))),
                (None, Some(end)) => Some(Err(end.clone())),
                (None, None) => None,
            }
        })
        .await
    }

    /// Waits for more of the answer, or its end.
    ///
    /// # Errors
    /// [`Lost`]
    pub async fn next(&mut self) -> Result<Step, Lost> {
        self.until(|passenger| passenger.take().transpose()).await
    }

    /// The whole answer once it has ended, with its end.
    ///
    /// # Errors
    /// [`Lost`]
    pub async fn whole(&mut self) -> Result<(Bytes, End), Lost> {
        self.until(|passenger| {
            let state = passenger.flight.state.lock();
            let end = state.end.clone()?;
            Some(state.log.read(0, passenger.plain).ok_or(Lost).map(|whole| (whole, end)))
        })
        .await
    }

    /// What has been read so far, where it is still there: for counting what a
    /// passenger who leaves has had.
    pub fn so_far(&self) -> Bytes {
        let state = self.flight.state.lock();
        let all = state.log.read(0, false).unwrap_or_default();
        all.slice(..all.len().saturating_sub(state.log.behind(self.place)))
    }

    /// This passenger's part of `cost` once the flight has ended.
    pub fn share(&self, cost: Money) -> Money {
        let state = self.flight.state.lock();
        let turn = state.seats.get(self.seat).map_or(0, |seat| seat.turn);
        portion::share(cost, turn, state.among)
    }

    /// Leaves, and says what is left behind. The head, and the whole answer where
    /// nothing of it was let go, can still be had.
    pub fn leave(&mut self) -> Left {
        let mut state = self.flight.state.lock();
        if !std::mem::replace(&mut self.left, true) {
            state.aboard -= 1;
            let number = self.seat;
            if let Some(seat) = state.seats.get_mut(number) {
                seat.taken = false;
            }
            // The first seat stays the first one's, and turns are settled by now.
            if number != FIRST && state.end.is_none() {
                state.free.push(number);
            }
            if state.aboard == 0 {
                if !state.stays {
                    state.open = None;
                }
                self.flight.moved.notify_waiters();
            }
            // Not before the seat is free: who is counted no more bears nothing more.
            self.counted = None;
        }
        match &state.end {
            Some(end) => Left::Ended(Arc::clone(end.landing())),
            None if state.aboard > 0 || state.stays => Left::Flying,
            None => Left::Abandoned,
        }
    }

    /// Whether others than the one whose request the flight is were aboard when it
    /// ended.
    pub fn has_company(&self) -> bool {
        self.flight.state.lock().among > 1
    }

    /// What there is, without waiting.
    pub(super) fn take(&mut self) -> Result<Option<Step>, Lost> {
        let mut state = self.flight.state.lock();
        let (mut place, end) = (self.place, state.log.end());
        if place == end && state.end.is_none() {
            return Ok(None);
        }
        // All of a piece may be what was asked for by Tollgate itself.
        let bytes = loop {
            let (bytes, next) = state.log.step(place, self.plain, STEP).ok_or(Lost)?;
            place = next;
            if !bytes.is_empty() || place == end {
                break bytes;
            }
        };
        self.place = place;
        if let Some(seat) = state.seats.get_mut(self.seat) {
            seat.place = place;
        }
        if place > state.fastest {
            let waits = state.is_far_ahead();
            state.fastest = place;
            if waits {
                self.flight.moved.notify_waiters();
            }
        }
        let over = if place == end { state.end.clone() } else { None };
        drop(state);
        if bytes.is_empty() && over.is_none() {
            return Ok(None);
        }
        Ok(Some(Step { bytes, end: over }))
    }

    /// Waits until `look` finds something; it is asked after each piece of news.
    async fn until<T>(&mut self, look: impl Fn(&mut Self) -> Option<T>) -> T {
        if self.follows {
            return poll_fn(|_| look(self).map_or(Poll::Pending, Poll::Ready)).await;
        }
        let flight = Arc::clone(&self.flight);
        loop {
            // Before the look: news that come after it are not missed.
            let news = flight.news.notified();
            if let Some(found) = look(self) {
                return found;
            }
            news.await;
        }
    }
}

impl Drop for Passenger {
    fn drop(&mut self) {
        self.leave();
    }
}
