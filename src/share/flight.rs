//! One call to a provider: a pilot who makes it, passengers who read its answer.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::flights::{Budget, Entry};
use super::log::{Log, Piece};
use super::portion;
use crate::base::money::Money;
use crate::ledger::record::{Outcome, Tokens};
use crate::refusal::{Code, Refusal};

/// How far the answer may run ahead of its fastest reader, in bytes: where all
/// are slow, the provider waits, as it would without a proxy.
const AHEAD: usize = 64 * 1024;
/// The longest answer that others may still join, in bytes.
pub(super) const JOINABLE: usize = 4 * 1024 * 1024;
/// How far a reader may fall behind others, in bytes.
const BEHIND: usize = 8 * 1024 * 1024;

/// The head of an answer, for every passenger.
#[derive(Debug)]
pub struct Head {
    /// The status.
    pub status: StatusCode,
    /// The provider's headers as they came.
    pub headers: HeaderMap,
    /// The provider.
    pub provider: Arc<str>,
    /// Whether it is passed on while it comes; otherwise only once it is whole.
    pub streamed: bool,
    /// Time that the pilot has spent waiting for others so far.
    pub waited: Duration,
}

/// How a call ended that gave an answer.
#[derive(Clone, Copy, Debug)]
pub struct Landing {
    /// What it is to those who were aboard to the end.
    pub outcome: Outcome,
    /// What the provider's answer used.
    pub tokens: Tokens,
    /// Whether that was counted here.
    pub estimated: bool,
    /// What the provider charges for the call.
    pub cost: Money,
    /// Time that the pilot has spent waiting for others.
    pub waited: Duration,
}

/// How a flight ended.
#[derive(Clone, Debug)]
pub enum End {
    /// With an answer, whole or cut.
    Landed(Landing),
    /// Without one: what each of those aboard is told, and what it is to them.
    Refused(Refusal, Outcome),
}

/// What a passenger gets.
#[derive(Debug)]
pub struct Step {
    /// The next bytes of the answer, in the form asked for; may be empty.
    pub bytes: Bytes,
    /// How it ended, with the last bytes.
    pub end: Option<End>,
}

/// The passenger was so slow that what it has not read is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the reader fell too far behind")]
pub struct Lost;

/// One call. Passengers and the pilot share it.
pub(super) struct Flight {
    state: Mutex<State>,
    /// Passengers wait for this.
    news: watch::Sender<()>,
    /// The pilot waits for this: a passenger has read on, or left.
    moved: Notify,
}

#[derive(Debug)]
struct State {
    head: Option<Arc<Head>>,
    log: Log,
    end: Option<End>,
    /// The budget that the log is taken from while others may join.
    open: Option<Budget>,
    seats: Vec<Seat>,
    free: Vec<usize>,
    /// Seats taken.
    aboard: u32,
    /// The farthest that anybody has read.
    fastest: usize,
    /// Among how many the cost is divided, once landed.
    among: u32,
}

#[derive(Clone, Copy, Debug)]
struct Seat {
    taken: bool,
    /// The number of the piece that it reads next.
    place: usize,
    /// Its turn in the division of the cost, once landed.
    turn: u32,
}

/// The seat of the one whose request the call is: it bears its share of the cost
/// even if it has left.
const FIRST: usize = 0;

/// The pilot's hold of a flight; if it is dropped before the landing, those
/// aboard get an internal error.
#[must_use = "a flight without a pilot has failed"]
pub struct Pilot {
    flight: Arc<Flight>,
    /// Where others find the flight.
    entry: Option<Entry>,
}

/// A place aboard. Dropping it leaves.
#[must_use = "dropping the place leaves the flight"]
pub struct Passenger {
    flight: Arc<Flight>,
    news: watch::Receiver<()>,
    seat: usize,
    place: usize,
    plain: bool,
}

/// A flight that nobody else joins, for a passenger who wants the answer `plain`,
/// without what Tollgate asked for itself.
pub fn alone(plain: bool) -> (Pilot, Passenger) {
    let (flight, passenger) = Flight::begin(None, plain);
    (Pilot { flight, entry: None }, passenger)
}

impl Flight {
    /// A flight with its first passenger; others may join while `open` has room.
    pub(super) fn begin(open: Option<Budget>, plain: bool) -> (Arc<Self>, Passenger) {
        let first = Seat { taken: true, place: 0, turn: 0 };
        let state = State {
            head: None,
            log: Log::default(),
            end: None,
            open,
            seats: vec![first],
            free: Vec::new(),
            aboard: 1,
            fastest: 0,
            among: 1,
        };
        let (news, receiver) = watch::channel(());
        let flight = Arc::new(Self { state: Mutex::new(state), news, moved: Notify::new() });
        let passenger =
            Passenger { flight: Arc::clone(&flight), news: receiver, seat: FIRST, place: 0, plain };
        (flight, passenger)
    }

    /// Takes one more aboard, who reads from the beginning; `None` if the flight
    /// is over, given up, or too long.
    pub(super) fn join(self: &Arc<Self>, plain: bool) -> Option<Passenger> {
        let mut state = self.state.lock();
        state.open.as_ref()?;
        let seat = Seat { taken: true, place: 0, turn: 0 };
        let number = match state.free.pop() {
            Some(number) => {
                *state.seats.get_mut(number)? = seat;
                number
            }
            None => {
                state.seats.push(seat);
                state.seats.len() - 1
            }
        };
        state.aboard += 1;
        drop(state);
        let news = self.news.subscribe();
        Some(Passenger { flight: Arc::clone(self), news, seat: number, place: 0, plain })
    }
}

impl State {
    /// Adds a piece and lets go of what nobody may need any more.
    fn push(&mut self, piece: Piece) {
        let size = piece.full.len();
        self.log.push(piece);
        if let Some(budget) = &mut self.open {
            if self.log.held() <= JOINABLE && budget.take(size) {
                return;
            }
            self.open = None;
        }
        let taken = self.seats.iter().filter(|seat| seat.taken);
        let slowest = taken.map(|seat| seat.place).min().unwrap_or(self.log.end());
        self.log.trim(slowest, BEHIND);
    }

    fn end(&mut self, end: End) {
        self.open = None;
        let mut among = 0;
        for (number, seat) in self.seats.iter_mut().enumerate() {
            if seat.taken || number == FIRST {
                seat.turn = among;
                among += 1;
            }
        }
        self.among = among;
        self.end = Some(end);
    }
}

impl Pilot {
    /// A pilot whose flight others find at `entry`.
    pub(super) fn at(flight: Arc<Flight>, entry: Entry) -> Self {
        Self { flight, entry: Some(entry) }
    }

    /// Shows the head of the answer.
    pub fn depart(&self, head: Head) {
        self.flight.state.lock().head = Some(Arc::new(head));
        self.flight.news.send_replace(());
    }

    /// Adds to the answer: `full` as it came, `plain` without what Tollgate had
    /// asked for itself.
    pub fn push(&self, full: Bytes, plain: Bytes) {
        if full.is_empty() {
            return;
        }
        self.flight.state.lock().push(Piece { full, plain });
        self.flight.news.send_replace(());
    }

    /// Ends the flight with the last bytes of its answer.
    pub fn land(mut self, full: Bytes, plain: Bytes, landing: Landing) {
        self.over(Piece { full, plain }, End::Landed(landing));
    }

    /// Ends the flight without an answer.
    pub fn refuse(mut self, refusal: Refusal, outcome: Outcome) {
        self.over(Piece::default(), End::Refused(refusal, outcome));
    }

    /// Waits until the answer is no more than 64 KB ahead of its fastest reader.
    pub async fn room(&self) {
        self.until(|state| state.log.behind(state.fastest) <= AHEAD || state.aboard == 0).await;
    }

    /// Resolves once nobody is aboard. Nobody can join any more then.
    pub async fn abandoned(&self) {
        self.until(|state| state.aboard == 0).await;
    }

    /// Whether others than the one whose request it is have come aboard.
    pub fn is_shared(&self) -> bool {
        self.flight.state.lock().seats.len() > 1
    }

    async fn until(&self, is: impl Fn(&State) -> bool) {
        loop {
            let moved = self.flight.moved.notified();
            if is(&self.flight.state.lock()) {
                return;
            }
            moved.await;
        }
    }

    fn over(&mut self, last: Piece, end: End) {
        {
            let mut state = self.flight.state.lock();
            if state.end.is_some() {
                return;
            }
            if !last.full.is_empty() {
                state.push(last);
            }
            state.end(end);
        }
        self.entry = None;
        self.flight.news.send_replace(());
    }
}

impl Drop for Pilot {
    fn drop(&mut self) {
        let refusal = Refusal::new(Code::InternalError, "An internal error occurred.");
        self.over(Piece::default(), End::Refused(refusal, Outcome::InternalError));
    }
}

impl Passenger {
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

    fn take(&mut self) -> Result<Option<Step>, Lost> {
        let mut state = self.flight.state.lock();
        let end = state.log.end();
        if self.place == end && state.end.is_none() {
            return Ok(None);
        }
        let bytes = state.log.read(self.place, self.plain).ok_or(Lost)?;
        self.place = end;
        if let Some(seat) = state.seats.get_mut(self.seat) {
            seat.place = end;
        }
        let first = end > state.fastest;
        state.fastest = state.fastest.max(end);
        let step = Step { bytes, end: state.end.clone() };
        drop(state);
        if first {
            self.flight.moved.notify_one();
        }
        // All of a piece may be what was asked for by Tollgate itself.
        if step.bytes.is_empty() && step.end.is_none() {
            return Ok(None);
        }
        Ok(Some(step))
    }

    async fn wait(&mut self) {
        // The sender is part of the flight, so it is there.
        let _open = self.news.changed().await;
    }
}

impl Drop for Passenger {
    fn drop(&mut self) {
        let last = {
            let mut state = self.flight.state.lock();
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
                state.open = None;
            }
            state.aboard == 0
        };
        if last {
            self.flight.moved.notify_one();
        }
    }
}

#[cfg(test)]
mod tests;
