//! One of those who read the answer to a call.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;

use super::flight::{End, FIRST, Flight, Head, Landing};
use super::portion;
use crate::base::money::Money;

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
    Ended(Landing),
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
    news: watch::Receiver<()>,
    seat: usize,
    place: usize,
    plain: bool,
    left: bool,
}

impl Passenger {
    /// In `seat` of `flight`, at the beginning of the answer.
    pub(super) const fn aboard(
        flight: Arc<Flight>,
        news: watch::Receiver<()>,
        seat: usize,
        plain: bool,
    ) -> Self {
        Self { flight, news, seat, place: 0, plain, left: false }
    }

    /// Waits for the head of the answer.
    ///
    /// # Errors
    /// The end, where there is no answer.
    pub async fn head(&mut self) -> Result<Arc<Head>, End> {
        loop {
            {
                let state = self.flight.state.lock();
                if let Some(head) = &state.head {
                    return Ok(Arc::clone(head));
                }
                if let Some(end) = &state.end {
                    return Err(end.clone());
                }
            }
            self.wait().await;
        }
    }

    /// Waits for more of the answer, or its end.
    ///
    /// # Errors
    /// [`Lost`]
    pub async fn next(&mut self) -> Result<Step, Lost> {
        loop {
            if let Some(step) = self.take()? {
                return Ok(step);
            }
            self.wait().await;
        }
    }

    /// The whole answer once it has ended, with its end.
    ///
    /// # Errors
    /// [`Lost`]
    pub async fn whole(&mut self) -> Result<(Bytes, End), Lost> {
        loop {
            {
                let state = self.flight.state.lock();
                if let Some(end) = &state.end {
                    return Ok((state.log.read(0, self.plain).ok_or(Lost)?, end.clone()));
                }
            }
            self.wait().await;
        }
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
        }
        match &state.end {
            Some(end) => Left::Ended(end.landing().clone()),
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
            state.fastest = place;
            self.flight.moved.notify_waiters();
        }
        let over = if place == end { state.end.clone() } else { None };
        drop(state);
        if bytes.is_empty() && over.is_none() {
            return Ok(None);
        }
        Ok(Some(Step { bytes, end: over }))
    }

    async fn wait(&mut self) {
        // The sender is part of the flight, so it is there.
        let _open = self.news.changed().await;
    }
}

impl Drop for Passenger {
    fn drop(&mut self) {
        self.leave();
    }
}
