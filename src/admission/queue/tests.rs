use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use proptest::prelude::*;

use super::*;

const LONG: Duration = Duration::from_secs(3_600);
const ME: Who<'_> = Who { account: "me" };

fn slot(slots: &Arc<CallSlots>) -> CallSlot {
    match slots.ask(ME) {
        Ok(Asked::Slot(slot)) => slot,
        other => panic!("no slot but {other:?}"),
    }
}

fn place(slots: &Arc<CallSlots>) -> Waiting {
    match slots.ask(ME) {
        Ok(Asked::Wait(place)) => place,
        other => panic!("no place but {other:?}"),
    }
}

/// Whether `place` has been granted its slot; it keeps it then.
fn is_granted(place: &mut Waiting) -> bool {
    let granted = pin!(&mut place.granted).poll(&mut Context::from_waker(Waker::noop()));
    assert!(!matches!(granted, Poll::Ready(Err(_))), "a place without a queue");
    granted.is_ready()
}

#[test]
fn slots_are_taken_up_to_the_cap_and_then_waited_for_in_order() {
    let slots = CallSlots::new(2, 3);
    let (first, second) = (slot(&slots), slot(&slots));
    let mut places: Vec<_> = (0..3).map(|_| place(&slots)).collect();
    assert_eq!((slots.in_use(), slots.waiting()), (2, 3));
    assert_eq!(slots.ask(ME).err(), Some(NoSlot::QueueFull));
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
    let slots = CallSlots::new(1, 10);
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
    let slots = CallSlots::new(1, 10);
    let held = slot(&slots);
    let mut places: Vec<_> = (0..3).map(|_| place(&slots)).collect();
    drop(places.remove(0));
    assert_eq!(slots.waiting(), 2);
    drop(held);
    assert!(is_granted(&mut places[0]) && !is_granted(&mut places[1]));
}

#[test]
fn a_raised_cap_serves_waiters_and_a_lowered_one_waits() {
    let slots = CallSlots::new(1, 10);
    let held = slot(&slots);
    let mut places: Vec<_> = (0..3).map(|_| place(&slots)).collect();
    slots.set_caps(3, 1);
    assert_eq!(places.iter_mut().map(is_granted).collect::<Vec<_>>(), [true, true, false]);
    assert_eq!(slots.ask(ME).err(), Some(NoSlot::QueueFull));
    slots.set_caps(1, 10);
    drop(held);
    drop(places.remove(0));
    assert!(!is_granted(&mut places[1]), "one slot is in use and one is the cap");
    drop(places.remove(0));
    assert!(is_granted(&mut places[0]));
}

#[test]
fn a_queue_without_places_refuses_at_once() {
    let slots = CallSlots::new(1, 0);
    let held = slot(&slots);
    assert_eq!(slots.ask(ME).err(), Some(NoSlot::QueueFull));
    drop(held);
    drop(slot(&slots));
    assert_eq!(slots.in_use(), 0);
}

#[tokio::test]
async fn a_wait_ends_with_the_patience() {
    let slots = CallSlots::new(1, 10);
    let held = slot(&slots);
    assert_eq!(slots.acquire(ME, Duration::ZERO).await.err(), Some(NoSlot::TimedOut));
    assert_eq!((slots.in_use(), slots.waiting()), (1, 0));
    drop(held);
    let slot = slots.acquire(ME, Duration::ZERO).await;
    assert!(slot.is_ok());
}

/// What happens next to the slots.
#[derive(Clone, Debug)]
enum Step {
    Ask,
    /// The nth that holds a slot or a place ends.
    Drop(usize),
    Caps(u32, u32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => Just(Step::Ask),
        3 => any::<usize>().prop_map(Step::Drop),
        1 => (0_u32..5, 0_u32..6).prop_map(|(cap, places)| Step::Caps(cap, places)),
    ];
    prop::collection::vec(step, 1..200)
}

proptest! {
    /// Covers F3: whatever happens, in whichever order, slots are used up to the
    /// cap while anybody waits, and in the order of arrival.
    #[test]
    fn the_queue_behaves_as_a_list(steps in steps()) {
        let slots = CallSlots::new(2, 3);
        let (mut cap, mut room) = (2, 3);
        let (mut taken, mut queue) = (Vec::new(), Vec::<(u32, Waiting)>::new());
        let mut number = 0;
        for step in steps {
            match step {
                Step::Ask => {
                    number += 1;
                    match slots.ask(ME) {
                        Ok(Asked::Slot(slot)) => {
                            prop_assert!(taken.len() < cap as usize && queue.is_empty());
                            taken.push((number, Ok(slot)));
                        }
                        Ok(Asked::Wait(place)) => {
                            prop_assert!(taken.len() >= cap as usize);
                            prop_assert!(queue.len() < room as usize);
                            queue.push((number, place));
                        }
                        Err(_) => prop_assert!(queue.len() >= room as usize),
                    }
                }
                Step::Drop(which) if !taken.is_empty() || !queue.is_empty() => {
                    let which = which % (taken.len() + queue.len());
                    if which < taken.len() {
                        drop(taken.remove(which));
                    } else {
                        drop(queue.remove(which - taken.len()));
                    }
                }
                Step::Drop(_) => {}
                Step::Caps(new_cap, places) => {
                    (cap, room) = (new_cap, places);
                    slots.set_caps(cap, room);
                }
            }
            // Whoever was granted a slot by this moves over; it must be the
            // first in the list.
            while queue.first_mut().is_some_and(|(_, place)| is_granted(place)) {
                let (number, place) = queue.remove(0);
                taken.push((number, Err(place)));
            }
            for (_, place) in &mut queue {
                prop_assert!(!is_granted(place), "somebody overtook");
            }
            prop_assert!(queue.is_empty() || taken.len() >= cap as usize, "a slot lies idle");
            prop_assert_eq!(slots.in_use() as usize, taken.len());
            prop_assert_eq!(slots.waiting() as usize, queue.len());
        }
        drop(taken);
        drop(queue);
        prop_assert_eq!((slots.in_use(), slots.waiting()), (0, 0));
    }
}

/// Covers F3: many threads, random departures at every stage; nothing is lost.
#[test]
fn random_departures_lose_no_slot_and_no_wake_up() {
    const TASKS: usize = 5_000;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    let slots = CallSlots::new(3, 40);
    let running = Arc::new(AtomicU32::new(0));
    runtime.block_on(async {
        let mut tasks = Vec::new();
        for _ in 0..TASKS {
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
                    let Ok(slot) = slots.acquire(ME, patience).await else { return };
                    assert!(running.fetch_add(1, Ordering::SeqCst) < 5, "more than the cap run");
                    let held = scopeguard(&running);
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
            slots.set_caps(1 + round % 5, 40);
            tokio::task::yield_now().await;
        }
        slots.set_caps(3, 40);
        for task in tasks {
            let ended = tokio::time::timeout(Duration::from_secs(60), task).await;
            ended.expect("somebody waits for ever").unwrap();
        }
    });
    assert_eq!((slots.in_use(), slots.waiting()), (0, 0));
    assert!(slots.queue.lock().waiters.is_empty());
}

/// Counts down when dropped, so that a task that leaves counts down too.
fn scopeguard(running: &AtomicU32) -> impl Drop + use<'_> {
    struct Running<'a>(&'a AtomicU32);
    impl Drop for Running<'_> {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }
    Running(running)
}
