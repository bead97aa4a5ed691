use proptest::prelude::*;

use super::super::flights::{Boarding, FlightKey, Flights};
use super::super::passenger::{Left, Lost, Step};
use super::*;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::metrics::labels::Scope;

const KEY: FlightKey = FlightKey { request: [7; 32], stream: true };

fn lead(flights: &Flights) -> (Pilot, Passenger) {
    match flights.board(KEY, false, false, || None) {
        Boarding::Lead(pilot, passenger) => (pilot, passenger),
        Boarding::Join(_) | Boarding::Found(()) => panic!("nothing runs"),
    }
}

fn join(flights: &Flights) -> Passenger {
    match flights.board(KEY, false, false, || Some(())) {
        Boarding::Join(passenger) => passenger,
        Boarding::Lead(..) | Boarding::Found(()) => panic!("one runs"),
    }
}

fn landing(picos: i128) -> Landing {
    Landing {
        outcome: Outcome::Ok,
        provider: Arc::default(),
        prices: None,
        called: true,
        broken: false,
        tokens: Tokens::default(),
        estimated: false,
        cost: Money::from_picos(picos),
        spared: Money::ZERO,
        waited: Duration::ZERO,
    }
}

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

/// What is there for `passenger` now.
fn now(passenger: &mut Passenger) -> Option<Step> {
    passenger.take().expect("not lost")
}

fn read(passenger: &mut Passenger) -> Bytes {
    now(passenger).map(|step| step.bytes).unwrap_or_default()
}

/// What it keeps after it has left, it keeps uncounted.
#[test]
fn who_has_left_is_counted_no_more() {
    let metrics = Metrics::new(&[]).unwrap();
    let flights = Flights::new();
    let (mut pilot, mut first) = lead(&flights);
    first.count(metrics.enter(Scope::Aboard));
    let aboard =
        |count: u8| metrics.render().unwrap().contains(&format!("{{scope=\"aboard\"}} {count}\n"));
    pilot.land(bytes("a"), bytes("a"), landing(9));
    assert!(aboard(1));
    assert!(matches!(first.leave(), Left::Ended(_)));
    assert!(aboard(0));
    assert_eq!(
        (first.share(Money::from_picos(9)), &first.so_far()[..]),
        (Money::from_picos(9), &b""[..])
    );
}

#[tokio::test]
async fn a_late_passenger_reads_from_the_beginning_and_then_follows() {
    let flights = Flights::new();
    let (mut pilot, mut first) = lead(&flights);
    pilot.push(bytes("a"), bytes("a"));
    assert_eq!(read(&mut first), "a");
    let mut late = join(&flights);
    pilot.push(bytes("b"), bytes("b"));
    assert_eq!((read(&mut first), read(&mut late)), (bytes("b"), bytes("ab")));
    assert!(now(&mut first).is_none() && now(&mut late).is_none());
    pilot.land(bytes("c"), bytes("c"), landing(3));
    for passenger in [&mut first, &mut late] {
        let step = passenger.next().await.unwrap();
        assert!(step.bytes == "c" && matches!(step.end, Some(End::Landed(_))), "{step:?}");
    }
    assert_eq!(first.share(Money::from_picos(3)), Money::from_picos(2));
    assert_eq!(late.share(Money::from_picos(3)), Money::from_picos(1));
    assert_eq!((flights.running(), flights.held()), (0, 0));
}

/// Counts how often a task is woken.
#[derive(Default)]
struct Woken(std::sync::atomic::AtomicUsize);

impl std::task::Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}

#[test]
fn a_passenger_behind_its_pilot_is_not_woken_and_others_are() {
    let flights = Flights::new();
    let (mut pilot, first) = lead(&flights);
    let (mut first, mut other) = (first.behind_its_pilot(), join(&flights));
    let woken = [Arc::new(Woken::default()), Arc::new(Woken::default())];
    let wakers = woken.clone().map(std::task::Waker::from);
    let [mut own, mut others] = wakers.each_ref().map(std::task::Context::from_waker);
    let mut ahead = std::pin::pin!(first.whole());
    let mut beside = std::pin::pin!(other.whole());
    assert!(ahead.as_mut().poll(&mut own).is_pending());
    assert!(beside.as_mut().poll(&mut others).is_pending());
    pilot.land(bytes("a"), bytes("a"), landing(0));
    let counts = woken.each_ref().map(|woken| woken.0.load(std::sync::atomic::Ordering::Relaxed));
    assert_eq!(counts, [0, 1]);
    for (waiting, context) in [(ahead, own), (beside, others)] {
        let (mut waiting, mut context) = (waiting, context);
        let std::task::Poll::Ready(Ok((whole, _))) = waiting.as_mut().poll(&mut context) else {
            panic!("the answer is there");
        };
        assert_eq!(whole, "a");
    }
}

#[test]
fn who_did_not_ask_for_usage_does_not_see_it() {
    let (pilot, mut passenger) = alone(true, false);
    pilot.push(bytes("a+"), bytes("a"));
    pilot.push(bytes("+"), Bytes::new());
    assert_eq!(read(&mut passenger), "a");
    pilot.push(bytes("+"), Bytes::new());
    assert!(now(&mut passenger).is_none(), "an empty piece is no news");
}

#[tokio::test]
async fn the_last_to_leave_ends_the_flight_and_nobody_joins_it_then() {
    let flights = Flights::new();
    let (mut pilot, first) = lead(&flights);
    let second = join(&flights);
    drop(first);
    assert!(futures_util::FutureExt::now_or_never(pilot.abandoned()).is_none());
    let third = join(&flights);
    drop((second, third));
    pilot.abandoned().await;
    let (other, _again) = lead(&flights);
    pilot.land(Bytes::new(), Bytes::new(), landing(1));
    assert_eq!(flights.running(), 1, "the new flight stays listed");
    drop(other);
    assert_eq!(flights.running(), 0);
}

#[tokio::test]
async fn a_pilot_that_is_lost_leaves_an_internal_error() {
    let flights = Flights::new();
    let (pilot, mut first) = lead(&flights);
    drop(pilot);
    let Err(End::Refused(_, landing)) = first.head().await else { panic!("it has no answer") };
    assert_eq!(landing.outcome, Outcome::InternalError);
    assert_eq!(flights.running(), 0);
}

#[tokio::test]
async fn a_flight_that_stays_goes_on_without_passengers_and_can_be_joined() {
    let flights = Flights::new();
    let Boarding::Lead(pilot, first) = flights.board(KEY, false, true, || None::<()>) else {
        panic!("nothing runs")
    };
    drop(first);
    assert!(futures_util::FutureExt::now_or_never(pilot.abandoned()).is_none());
    pilot.push(bytes("a"), bytes("a"));
    assert_eq!(read(&mut join(&flights)), "a");
}

#[test]
fn what_was_found_meanwhile_is_not_asked_for_again() {
    let flights = Flights::new();
    assert!(matches!(flights.board(KEY, false, false, || Some(1)), Boarding::Found(1)));
    assert_eq!(flights.running(), 0);
}

#[tokio::test]
async fn a_pilot_waits_only_while_all_are_slow() {
    let flights = Flights::new();
    let (pilot, first) = lead(&flights);
    let mut second = join(&flights);
    let much = Bytes::from(vec![b'x'; AHEAD + 1]);
    pilot.push(much.clone(), much.clone());
    assert!(futures_util::FutureExt::now_or_never(pilot.room()).is_none());
    read(&mut second);
    pilot.room().await;
    drop(first);
    pilot.push(much.clone(), much);
    drop(second);
    pilot.room().await;
}

/// Covers B3 and invariant 2.
#[test]
fn who_leaves_once_the_flight_has_ended_bears_a_share() {
    let flights = Flights::new();
    let (mut pilot, _first) = lead(&flights);
    let (mut second, mut third) = (join(&flights), join(&flights));
    assert!(matches!(third.leave(), Left::Flying));
    let share = pilot.land(bytes("a"), bytes("a"), landing(7));
    let Left::Ended(landed) = second.leave() else { panic!("it had ended") };
    assert_eq!(share + second.share(landed.cost), Money::from_picos(7));
}

/// Covers E1 and invariant 8: a late reader takes its time, and all of it.
#[test]
fn a_reader_takes_a_long_answer_in_steps() {
    let flights = Flights::new();
    let (mut pilot, mut first) = lead(&flights);
    let piece = Bytes::from(vec![b'x'; 40_000]);
    for _ in 0..10 {
        pilot.push(piece.clone(), piece.clone());
    }
    pilot.land(bytes("end"), bytes("end"), landing(1));
    let (mut read, mut steps) = (0, 0);
    loop {
        let step = now(&mut first).unwrap();
        assert!(step.bytes.len() <= 64 * 1024);
        read += step.bytes.len();
        steps += 1;
        if step.end.is_some() {
            break;
        }
    }
    assert_eq!((read, steps), (400_003, 10));
}

/// Covers invariant 8.
#[test]
fn a_long_answer_takes_nobody_new_and_holds_no_more_than_is_unread() {
    let flights = Flights::new();
    let (pilot, mut first) = lead(&flights);
    let mut slow = join(&flights);
    let piece = Bytes::from(vec![b'x'; 1024 * 1024]);
    for _ in 0..5 {
        pilot.push(piece.clone(), piece.clone());
        read(&mut first);
    }
    assert_eq!(flights.held(), 0, "too long for others to join");
    let (other, _else) = lead(&flights);
    drop(other);
    for _ in 0..8 {
        pilot.push(piece.clone(), piece.clone());
        read(&mut first);
        assert!(pilot.flight.state.lock().log.held() <= BEHIND);
    }
    assert_eq!(slow.take().unwrap_err(), Lost, "it holds the others up no more");
    drop(slow);
    pilot.push(piece.clone(), piece.clone());
    assert_eq!(pilot.flight.state.lock().log.held(), piece.len());
}

proptest! {
    /// Whoever stays to the end has read the same bytes, and the shares of all
    /// who bear any add up to the cost. Covers E1, B3 and invariant 2.
    #[test]
    fn all_who_stay_read_everything_and_bear_the_whole_cost(
        acts in proptest::collection::vec((0_u8..5, any::<prop::sample::Index>()), 0..200),
        cost in 0_i128..1 << 80,
    ) {
        let flights = Flights::new();
        let (mut pilot, passenger) = lead(&flights);
        let mut aboard = vec![(passenger, Vec::new(), true)];
        let mut written = Vec::new();
        for (act, index) in acts {
            match act {
                0 if !aboard.is_empty() => aboard.push((join(&flights), Vec::new(), false)),
                1 if aboard.len() > 1 => drop(aboard.swap_remove(index.index(aboard.len()))),
                2 => {
                    let piece = Bytes::from(format!("<{}>", index.index(1000)));
                    written.extend_from_slice(&piece);
                    pilot.push(piece.clone(), piece);
                }
                _ => {
                    let (passenger, seen, _) = index.get_mut(&mut aboard[..]);
                    seen.extend_from_slice(&read(passenger));
                }
            }
        }
        pilot.land(Bytes::new(), Bytes::new(), landing(cost));
        let total = Money::from_picos(cost);
        let mut shares = Money::ZERO;
        let mut first_stayed = false;
        for (passenger, seen, first) in &mut aboard {
            seen.extend_from_slice(&read(passenger));
            prop_assert_eq!(&*seen, &written);
            shares += passenger.share(total);
            first_stayed |= *first;
        }
        if !first_stayed {
            let among = u32::try_from(aboard.len() + 1).unwrap();
            shares += portion::share(total, 0, among);
        }
        prop_assert_eq!(shares, total);
        drop(aboard);
        prop_assert_eq!((flights.running(), flights.held()), (0, 0));
    }
}
