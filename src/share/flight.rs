//! One call to a provider: a pilot who makes it, passengers who read its answer.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::flights::{Budget, Entry};
use super::log::{Log, Piece};
use super::passenger::Passenger;
use super::portion;
use crate::base::money::Money;
use crate::config::TokenPrices;
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
    /// What it charges; `None` is not known.
    pub prices: Option<TokenPrices>,
    /// Why this provider's target, where it is not simply the first; else empty.
    pub choice: &'static str,
    /// Whether it is passed on while it comes; otherwise only once it is whole.
    pub streamed: bool,
    /// Whether the call was made for other requests than this and its equals too.
    pub batched: bool,
    /// Time that the pilot has spent waiting for others so far.
    pub waited: Duration,
}

/// What a call came to.
#[derive(Clone, Debug)]
pub struct Landing {
    /// What it is to those who were aboard to the end.
    pub outcome: Outcome,
    /// The provider that was asked last.
    pub provider: Arc<str>,
    /// What it charges; `None` is not known.
    pub prices: Option<TokenPrices>,
    /// Whether it came as far as a provider; otherwise nothing has happened.
    pub called: bool,
    /// Whether the answer broke off, so that it must not look complete.
    pub broken: bool,
    /// What the provider's answer used.
    pub tokens: Tokens,
    /// Whether that was counted here.
    pub estimated: bool,
    /// What the provider charges for the call.
    pub cost: Money,
    /// What a call of its own would have cost more, where others shared this one.
    pub spared: Money,
    /// Time that the pilot has spent waiting for others.
    pub waited: Duration,
}

/// How a flight ended. Small, as it is handed on from call to call.
#[derive(Clone, Debug)]
pub enum End {
    /// With an answer, whole or cut.
    Landed(Arc<Landing>),
    /// Without one: this is what each of those aboard is told.
    Refused(Box<Refusal>, Arc<Landing>),
}

impl End {
    /// What the call came to.
    pub const fn landing(&self) -> &Arc<Landing> {
        match self {
            Self::Landed(landing) | Self::Refused(_, landing) => landing,
        }
    }
}

/// One call. Passengers and the pilot share it.
pub(super) struct Flight {
    pub(super) state: Mutex<State>,
    /// Passengers wait for this.
    pub(super) news: Notify,
    /// The pilot waits for this: a passenger has read on, or left.
    pub(super) moved: Notify,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) head: Option<Arc<Head>>,
    pub(super) log: Log,
    pub(super) end: Option<End>,
    /// The budget that the log is taken from while others may join.
    pub(super) open: Option<Budget>,
    pub(super) seats: Vec<Seat>,
    pub(super) free: Vec<usize>,
    /// Seats taken.
    pub(super) aboard: u32,
    /// The farthest that anybody has read.
    pub(super) fastest: usize,
    /// Among how many the cost is divided, once landed.
    pub(super) among: u32,
    /// Whether the flight goes on without passengers.
    pub(super) stays: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Seat {
    pub(super) taken: bool,
    /// The number of the piece that it reads next.
    pub(super) place: usize,
    /// Its turn in the division of the cost, once landed.
    pub(super) turn: u32,
}

/// The seat of the one whose request the call is: it bears its share of the cost
/// even if it has left.
pub(super) const FIRST: usize = 0;

/// The pilot's hold of a flight; if it is dropped before the landing, those
/// aboard get an internal error.
#[must_use = "a flight without a pilot has failed"]
pub struct Pilot {
    flight: Arc<Flight>,
    /// Where others find the flight.
    entry: Option<Entry>,
}

/// A flight that nobody else joins, for a passenger who wants the answer `plain`,
/// without what Tollgate asked for itself. If it `stays`, it is not abandoned when
/// the passenger leaves.
pub fn alone(plain: bool, stays: bool) -> (Pilot, Passenger) {
    let (flight, passenger) = Flight::begin(None, plain, stays);
    (Pilot { flight, entry: None }, passenger)
}

impl Flight {
    /// A flight with its first passenger; others may join while `open` has room.
    pub(super) fn begin(open: Option<Budget>, plain: bool, stays: bool) -> (Arc<Self>, Passenger) {
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
            stays,
        };
        let (news, moved) = (Notify::new(), Notify::new());
        let flight = Arc::new(Self { state: Mutex::new(state), news, moved });
        let passenger = Passenger::aboard(Arc::clone(&flight), FIRST, plain);
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
        Some(Passenger::aboard(Arc::clone(self), number, plain))
    }
}

impl State {
    /// Adds a piece and lets go of what nobody may need any more.
    fn push(&mut self, piece: Piece) {
        let size = piece.size();
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

    /// Whether the pilot waits for those aboard before it goes on.
    pub(super) fn is_far_ahead(&self) -> bool {
        self.log.behind(self.fastest) > AHEAD
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
        self.flight.news.notify_waiters();
    }

    /// Whether the head is shown.
    pub fn has_departed(&self) -> bool {
        self.flight.state.lock().head.is_some()
    }

    /// Adds to the answer: `full` as it came, `plain` without what Tollgate had
    /// asked for itself.
    pub fn push(&self, full: Bytes, plain: Bytes) {
        if full.is_empty() {
            return;
        }
        self.flight.state.lock().push(Piece { full, plain });
        self.flight.news.notify_waiters();
    }

    /// Ends the flight with the last bytes of its answer. Gives what the one
    /// bears whose request it is.
    pub fn land(&mut self, full: Bytes, plain: Bytes, landing: impl Into<Arc<Landing>>) -> Money {
        self.over(Piece { full, plain }, End::Landed(landing.into()))
    }

    /// Ends the flight without an answer. Gives what the one bears whose request
    /// it is.
    pub fn refuse(&mut self, refusal: Refusal, landing: impl Into<Arc<Landing>>) -> Money {
        self.over(Piece::default(), End::Refused(Box::new(refusal), landing.into()))
    }

    /// Waits until the answer is no more than 64 KB ahead of its fastest reader.
    pub async fn room(&self) {
        self.until(|state| !state.is_far_ahead() || state.aboard == 0).await;
    }

    /// Whether somebody is aboard, and the answer no more than 64 KB ahead of its
    /// fastest reader.
    pub fn has_room(&self) -> bool {
        let state = self.flight.state.lock();
        state.aboard > 0 && state.log.behind(state.fastest) <= AHEAD
    }

    /// Whether nobody is aboard any more, and the flight does not stay.
    pub fn is_abandoned(&self) -> bool {
        let state = self.flight.state.lock();
        state.aboard == 0 && !state.stays
    }

    /// Resolves once nobody is aboard, unless the flight stays. Nobody can join
    /// any more then.
    pub async fn abandoned(&self) {
        self.until(|state| state.aboard == 0 && !state.stays).await;
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

    /// Ends the flight, unless it has ended. Gives what the one bears whose request it is.
    fn over(&mut self, last: Piece, end: End) -> Money {
        let cost = end.landing().cost;
        let among = {
            let mut state = self.flight.state.lock();
            if state.end.is_some() {
                return portion::share(cost, 0, state.among);
            }
            if !last.full.is_empty() {
                state.push(last);
            }
            state.end(end);
            state.among
        };
        self.entry = None;
        self.flight.news.notify_waiters();
        portion::share(cost, 0, among)
    }
}

impl Drop for Pilot {
    fn drop(&mut self) {
        if self.flight.state.lock().end.is_some() {
            return;
        }
        let refusal = Refusal::new(Code::InternalError, "An internal error occurred.");
        let landing = Landing {
            outcome: Outcome::InternalError,
            provider: Arc::default(),
            prices: None,
            called: true,
            broken: true,
            tokens: Tokens::default(),
            estimated: false,
            cost: Money::ZERO,
            spared: Money::ZERO,
            waited: Duration::ZERO,
        };
        self.over(Piece::default(), End::Refused(Box::new(refusal), Arc::new(landing)));
    }
}

#[cfg(test)]
mod tests;
