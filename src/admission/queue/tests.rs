use std::future::Future;
use std::pin::pin;
use std::sync::LazyLock;
use std::sync::atomic::AtomicU32;
use std::task::{Context, Poll, Waker};

use proptest::prelude::*;

use super::*;
use crate::base::clock::{TestClock, Timestamp};

const LONG: Duration = Duration::from_secs(3_600);
static NAMES: LazyLock<Vec<Arc<str>>> =
    LazyLock::new(|| (0..1_000).map(|number| Arc::from(format!("account-{number}"))).collect());

/// Somebody of `priority` from the account of this number.
fn who(account: usize, priority: Priority) -> Who<'static> {
    Who { account: &NAMES[account], priority }
}

/// Everybody's equal.
fn me() -> Who<'static> {
    who(0, Priority::Standard)
}

fn limits(concurrent: u32, queue: u32) -> GlobalLimits {
    GlobalLimits {
        connections: 1,
        requests: 1,
        concurrent,
        reserved: 0,
        queue,
        queue_timeout: Duration::from_secs(10),
    }
}

fn slots(concurrent: u32, queue: u32) -> Arc<CallSlots> {
    CallSlots::new(&limits(concurrent, queue), Arc::new(TestClock::at(Timestamp(0))))
}

/// Slots of which some are reserved from the start.
fn reserving(concurrent: u32, reserved: u32, queue: u32) -> Arc<CallSlots> {
    let slots = slots(concurrent, queue);
    slots.set_limits(&GlobalLimits { reserved, ..limits(concurrent, queue) });
    slots.reserve(true);
    slots
}

fn slot_of(slots: &Arc<CallSlots>, who: Who<'_>) -> CallSlot {
    match slots.ask(who) {
        Ok(Asked::Slot(slot)) => slot,
        other => panic!("no slot but {other:?}"),
    }
}

fn place_of(slots: &Arc<CallSlots>, who: Who<'_>) -> Waiting {
    match slots.ask(who) {
        Ok(Asked::Wait(place)) => place,
        other => panic!("no place but {other:?}"),
    }
}

fn slot(slots: &Arc<CallSlots>) -> CallSlot {
    slot_of(slots, me())
}

fn place(slots: &Arc<CallSlots>) -> Waiting {
    place_of(slots, me())
}

/// What `place` has been told since it last looked; it keeps what it was granted.
fn told(place: &mut Waiting) -> Option<Told> {
    if place.over {
        return None;
    }
    match pin!(&mut place.told).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(told) => {
            place.over = told == Ok(Told::Displaced);
            told.ok()
        }
        Poll::Pending => None,
    }
}

/// Whether `place` has been granted its slot; it keeps it then.
fn is_granted(place: &mut Waiting) -> bool {
    told(place) == Some(Told::Granted)
}

#[test]
fn slots_are_taken_up_to_the_cap_and_then_waited_for_in_order() {
    let slots = slots(2, 3);
    let (first, second) = (slot(&slots), slot(&slots));
    let mut places: Vec<_> = (0..3).map(|_| place(&slots)).collect();
    assert_eq!((slots.in_use(), slots.waiting()), (2, 3));
    assert_eq!(slots.ask(me()).err(), Some(NoSlot::QueueFull));
    drop(second);
    assert_eq!(places.iter_mut().map(is_granted).collect::<Vec<_>>(), [true, false, false]);
    assert_eq!((slots.in_use(), slots.waiting()), (2, 2));
    drop(first);
    assert!(is_granted(&mut places[1]) && !is_granted(&mut places[2]));
    drop(places);
    assert_eq!((slots.in_use(), slots.waiting()), (0, 0));
}

#[test]
fn nobody_overtakes_a_waiter() {
    let slots = slots(1, 10);
    let held = slot(&slots);
    let mut waiter = place(&slots);
    drop(held);
    // The slot is the waiter's, although the waiter has not looked yet.
    let mut late = place(&slots);
    assert!(is_granted(&mut waiter) && !is_granted(&mut late));
    drop(waiter);
    assert!(is_granted(&mut late), "a grant that nobody takes goes on to the next");
}

#[test]
fn whoever_leaves_the_middle_of_the_queue_is_passed_over() {
    let slots = slots(1, 10);
    let held = slot(&slots);
    let mut places: Vec<_> = (0..3).map(|_| place(&slots)).collect();
    drop(places.remove(0));
    assert_eq!(slots.waiting(), 2);
    drop(held);
    assert!(is_granted(&mut places[0]) && !is_granted(&mut places[1]));
}

#[test]
fn a_raised_cap_serves_waiters_and_a_lowered_one_waits() {
    let slots = slots(1, 10);
    let held = slot(&slots);
    let mut places: Vec<_> = (0..3).map(|_| place(&slots)).collect();
    slots.set_limits(&limits(3, 1));
    assert_eq!(places.iter_mut().map(is_granted).collect::<Vec<_>>(), [true, true, false]);
    assert_eq!(slots.ask(me()).err(), Some(NoSlot::QueueFull));
    slots.set_limits(&limits(1, 10));
    drop(held);
    drop(places.remove(0));
    assert!(!is_granted(&mut places[1]), "one slot is in use and one is the cap");
    drop(places.remove(0));
    assert!(is_granted(&mut places[0]));
}

#[test]
fn a_queue_without_places_refuses_at_once() {
    let slots = slots(1, 0);
    let held = slot(&slots);
    assert_eq!(slots.ask(me()).err(), Some(NoSlot::QueueFull));
    drop(held);
    drop(slot(&slots));
    assert_eq!(slots.in_use(), 0);
}

#[tokio::test]
async fn a_wait_ends_with_the_patience() {
    let slots = slots(1, 10);
    let held = slot(&slots);
    assert_eq!(slots.acquire(me(), Duration::ZERO).await.err(), Some(NoSlot::TimedOut));
    assert_eq!((slots.in_use(), slots.waiting()), (1, 0));
    drop(held);
    let slot = slots.acquire(me(), Duration::ZERO).await;
    assert!(slot.is_ok());
}

#[test]
fn a_dedicated_call_finds_what_is_reserved() {
    let slots = reserving(4, 2, 10);
    let dedicated = |number| who(number, Priority::Dedicated);
    let mut common: Vec<_> = (0..2).map(|_| slot(&slots)).collect();
    let mut late = place(&slots);
    assert_eq!((slots.in_use(), slots.waiting()), (2, 1), "two are reserved");
    // They pass whoever waits for what they may not have.
    let first = slot_of(&slots, dedicated(1));
    let second = slot_of(&slots, dedicated(2));
    let mut third = place_of(&slots, dedicated(1));
    // A reserved one that comes free is not for the common call.
    drop(first);
    assert!(is_granted(&mut third) && !is_granted(&mut late));
    drop((third, second));
    assert!(!is_granted(&mut late));
    // Beyond what is reserved they share the common ones.
    drop(common.pop());
    assert!(is_granted(&mut late));
    drop(late);
    let four: Vec<_> = (0..3).map(|_| slot_of(&slots, dedicated(1))).collect();
    let mut late = place(&slots);
    drop(common);
    assert!(is_granted(&mut late), "a common slot, while two of three hold reserved ones");
    drop((late, four));
    assert_eq!((slots.in_use(), slots.waiting()), (0, 0));
}

#[test]
fn nothing_is_reserved_for_nobody() {
    let slots = reserving(3, 2, 10);
    let _held = slot(&slots);
    let (mut second, mut third) = (place(&slots), place(&slots));
    slots.reserve(false);
    assert!(is_granted(&mut second) && is_granted(&mut third), "all slots are common again");
    slots.reserve(true);
    drop((second, third));
    assert!(matches!(slots.ask(me()), Ok(Asked::Wait(_))));
}

#[test]
fn a_reserve_never_takes_every_slot() {
    let slots = reserving(1, 0, 1);
    slots.set_limits(&GlobalLimits { reserved: 5, ..limits(1, 1) });
    drop(slot(&slots));
    let all = slots.caps();
    slots.set_limits(&limits(u32::MAX, u32::MAX));
    assert_eq!((all.all, all.common), (1, 1));
    assert_eq!(slots.caps(), Caps { all: counts::MOST, common: counts::MOST });
    drop(slot(&slots));
}

/// Covers F3: one account's flood in a full queue does not shut out another.
#[test]
fn a_full_queue_makes_room_for_who_is_entitled() {
    let slots = slots(1, 4);
    let held = slot(&slots);
    let mut flood: Vec<_> = (0..4).map(|_| place(&slots)).collect();
    assert_eq!(slots.ask(me()).err(), Some(NoSlot::QueueFull), "not for its own account");
    let mut single = place_of(&slots, who(1, Priority::Standard));
    assert_eq!(told(&mut flood[3]), Some(Told::Displaced), "the newest of the flood");
    let second = place_of(&slots, who(1, Priority::Standard)).ahead();
    assert_eq!(second, 3, "its first, and two in turn of the flood");
    assert_eq!(slots.waiting(), 3, "the second has displaced one and left");
    let mut other = place_of(&slots, who(1, Priority::Standard));
    assert_eq!(slots.ask(who(1, Priority::Standard)).err(), Some(NoSlot::QueueFull), "two and two");
    // A higher priority takes the place of a lower one, never the reverse.
    let mut ahead: Vec<_> = (2..6).map(|n| place_of(&slots, who(n, Priority::Preferred))).collect();
    let low = who(9, Priority::Standard);
    assert_eq!(slots.ask(low).err(), Some(NoSlot::QueueFull));
    let gone: Vec<_> = flood.iter_mut().chain([&mut single, &mut other]).filter_map(told).collect();
    assert_eq!(gone, [Told::Displaced; 5], "all, with the first of before");
    assert_eq!(slots.waiting(), 4);
    assert_eq!(slots.ask(who(2, Priority::Preferred)).err(), Some(NoSlot::QueueFull));
    drop(held);
    assert!(is_granted(&mut ahead[0]));
    drop((flood, ahead));
    assert_eq!((slots.in_use(), slots.waiting()), (0, 0));
}

#[tokio::test]
async fn who_is_displaced_hears_of_it() {
    let slots = slots(1, 2);
    let held = slot(&slots);
    let (first, second) = (place(&slots), place(&slots));
    let single = place_of(&slots, who(1, Priority::Standard));
    assert_eq!(second.slot(LONG).await.err(), Some(NoSlot::Displaced));
    drop((first, single, held));
    assert_eq!((slots.in_use(), slots.waiting()), (0, 0));
}

#[test]
fn the_expected_wait_is_that_of_those_ahead() {
    let clock = Arc::new(TestClock::at(Timestamp(0)));
    let slots = CallSlots::new(&limits(2, 100), clock.clone());
    let (first, second) = (slot(&slots), slot(&slots));
    assert_eq!(slots.expected_wait(me()), Duration::from_secs(1), "nothing is known yet");
    clock.advance(Duration::from_secs(4));
    drop((first, second));
    let held = (slot(&slots), slot(&slots));
    assert_eq!(slots.expected_wait(me()), Duration::from_secs(2), "4 s, two slots");
    let waiting: Vec<_> = (0..4).map(|_| place(&slots)).collect();
    assert_eq!(slots.expected_wait(me()), Duration::from_secs(10), "four before it");
    assert_eq!(slots.expected_wait(who(1, Priority::Standard)), Duration::from_secs(4), "in turn");
    assert_eq!(slots.expected_wait(who(1, Priority::Preferred)), Duration::from_secs(2));
    drop((waiting, held));
}

/// Covers F3: many threads, every priority and account, departures at every stage
/// and caps that change; nothing is lost, never more than the caps run.
#[test]
fn random_departures_lose_no_slot_and_no_wake_up() {
    const TASKS: usize = 5_000;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    let slots = reserving(3, 1, 40);
    let running = Arc::new([AtomicU32::new(0), AtomicU32::new(0)]);
    runtime.block_on(async {
        let mut tasks = Vec::new();
        for task in 0..TASKS {
            let (slots, running) = (Arc::clone(&slots), Arc::clone(&running));
            tasks.push(tokio::spawn(async move {
                for _ in 0..rand::random_range(0..4) {
                    tokio::task::yield_now().await;
                }
                let work = async {
                    // Patience that may end at the very moment of the grant.
                    let patience = match rand::random_range(0..3) {
                        0 => Duration::ZERO,
                        1 => Duration::from_micros(rand::random_range(1..2_000)),
                        _ => LONG,
                    };
                    let priority = Priority::ALL[task % 3];
                    let who = who(rand::random_range(0..5), priority);
                    let Ok(slot) = slots.acquire(who, patience).await else { return };
                    let held = run(&running, priority);
                    for _ in 0..rand::random_range(0..5) {
                        tokio::task::yield_now().await;
                    }
                    drop(held);
                    drop(slot);
                };
                // Half of them leave at some point of their own.
                let leave = async {
                    for _ in 0..rand::random_range(0..20) {
                        tokio::task::yield_now().await;
                    }
                };
                if rand::random() {
                    tokio::select! { () = work => {}, () = leave => {} }
                } else {
                    work.await;
                }
            }));
        }
        // The caps change meanwhile, up to 5.
        for round in 0..200 {
            let concurrent = 1 + round % 5;
            let reserved = concurrent / 2;
            slots.set_limits(&GlobalLimits { reserved, ..limits(concurrent, 40) });
            slots.reserve(round % 7 < 4);
            tokio::task::yield_now().await;
        }
        slots.set_limits(&limits(3, 40));
        for task in tasks {
            let ended = tokio::time::timeout(Duration::from_secs(60), task).await;
            ended.expect("somebody waits for ever").unwrap();
        }
    });
    assert_eq!((slots.in_use(), slots.waiting()), (0, 0));
    let (priority, account) = (Priority::Dedicated, &NAMES[0]);
    assert!(slots.queue.lock().line.next(false, Duration::ZERO).is_none());
    assert_eq!(slots.queue.lock().line.ahead(priority, account), 0);
}

/// Counts one that runs until dropped, so that a task that leaves counts down too.
fn run(running: &[AtomicU32; 2], priority: Priority) -> impl Drop + use<'_> {
    struct Running<'a>(&'a AtomicU32);
    impl Drop for Running<'_> {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }
    let [common, all] = running;
    assert!(all.fetch_add(1, Ordering::SeqCst) < 5, "more than the cap run");
    all.fetch_sub(1, Ordering::SeqCst);
    let one = if priority == Priority::Dedicated { all } else { common };
    assert!(one.fetch_add(1, Ordering::SeqCst) < 5, "more than the cap run");
    Running(one)
}

mod model;
