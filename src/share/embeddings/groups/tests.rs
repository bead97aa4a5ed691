use proptest::prelude::*;

use super::*;

const KEY: GroupKey = GroupKey { rest: [7; 32], texts: true };

fn parts(count: usize) -> Vec<Bytes> {
    vec![Bytes::from_static(b"\"x\""); count]
}

#[track_caller]
fn first(place: Place) -> Running {
    match place {
        Place::First(running) => running,
        Place::Held(_) => panic!("it is held"),
    }
}

#[track_caller]
fn held(place: Place) -> Held {
    match place {
        Place::Held(held) => held,
        Place::First(_) => panic!("it is not held"),
    }
}

#[track_caller]
fn now(held: &mut Held) -> Option<Turn> {
    held.turn.try_recv().ok()
}

#[track_caller]
fn leads(held: &mut Held) -> (Running, Vec<Fellow>) {
    match now(held) {
        Some(Turn::Lead(running, fellows)) => (running, fellows),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_gathers_goes_when_the_running_call_has_ended() {
    let groups = Groups::default();
    let running = first(groups.join(KEY, parts(1)));
    let mut two = held(groups.join(KEY, parts(2)));
    let mut three = held(groups.join(KEY, parts(3)));
    assert!(now(&mut two).is_none());
    let other = first(groups.join(GroupKey { texts: false, ..KEY }, parts(1)));
    drop(running);
    let (running, mut fellows) = leads(&mut two);
    assert_eq!(fellows.iter().map(|fellow| fellow.parts.len()).collect::<Vec<_>>(), [3]);
    let mut four = held(groups.join(KEY, parts(4)));
    fellows.remove(0).deal(Deal::Alone);
    let Turn::Dealt(dealt) = three.turn().await else { panic!("no deal") };
    assert!(matches!(*dealt, Deal::Alone));
    drop(running);
    let (running, fellows) = leads(&mut four);
    assert!(fellows.is_empty());
    drop((running, other));
    assert_eq!((groups.kinds(), groups.held()), (0, 0));
}

#[tokio::test]
async fn more_than_a_call_takes_goes_at_once() {
    let groups = Groups::default();
    let running = first(groups.join(KEY, parts(1)));
    let mut most = held(groups.join(KEY, parts(MOST_INPUTS - 1)));
    let mut last = held(groups.join(KEY, parts(1)));
    assert!(now(&mut most).is_none());
    let mut more = held(groups.join(KEY, parts(1)));
    let (second, fellows) = leads(&mut most);
    assert_eq!(fellows.len(), 1);
    assert!(now(&mut last).is_none() && now(&mut more).is_none());
    let large = vec![Bytes::from(vec![b'x'; MOST_BYTES + 1])];
    let third = first(groups.join(KEY, large));
    let half = vec![Bytes::from(vec![b'x'; MOST_BYTES])];
    let mut full = held(groups.join(KEY, half));
    let (fourth, _) = leads(&mut more);
    drop((running, third, fourth));
    assert!(now(&mut full).is_none(), "a call runs");
    drop((second, fellows));
    let _fifth = leads(&mut full);
}

#[tokio::test]
async fn who_leaves_is_not_waited_for() {
    let groups = Groups::default();
    let running = first(groups.join(KEY, parts(1)));
    let gone = held(groups.join(KEY, parts(2_000)));
    // Its room is free again.
    drop(gone);
    let mut here = held(groups.join(KEY, parts(100)));
    let mut also = held(groups.join(KEY, parts(MOST_INPUTS - 100)));
    assert!(now(&mut here).is_none() && now(&mut also).is_none());
    drop(running);
    let (_running, fellows) = leads(&mut here);
    assert_eq!(fellows.len(), 1);
}

#[tokio::test]
async fn an_appointment_that_nobody_takes_goes_to_the_next() {
    let groups = Groups::default();
    let running = first(groups.join(KEY, parts(1)));
    let one = held(groups.join(KEY, parts(1)));
    let mut two = held(groups.join(KEY, parts(1)));
    let mut three = held(groups.join(KEY, parts(1)));
    drop(running);
    // It was appointed, and leaves before it knows.
    drop(one);
    let (running, mut fellows) = leads(&mut two);
    assert_eq!(fellows.len(), 1);
    assert!(!fellows[0].has_left());
    assert!(!three.leave(), "its call is being made");
    assert!(fellows[0].has_left());
    drop(fellows);
    assert!(matches!(three.turn().await, Turn::Lost));
    drop(running);
    assert_eq!(groups.kinds(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_hangs_holds_nobody_for_long() {
    let groups = Groups::default();
    let running = first(groups.join(KEY, parts(1)));
    let mut one = held(groups.join(KEY, parts(1)));
    let _two = held(groups.join(KEY, parts(1)));
    let from = Instant::now();
    let Turn::Lead(second, fellows) = one.turn().await else { panic!("no turn") };
    assert_eq!((from.elapsed(), fellows.len()), (LONGEST_HOLD, 1));
    drop((running, second));
}

/// One thing that happens to the requests of a kind.
#[derive(Clone, Copy, Debug)]
enum Event {
    Come(usize),
    Leave(usize),
    End(usize),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => (1_usize..900).prop_map(Event::Come),
        1 => any::<usize>().prop_map(Event::Leave),
        2 => any::<usize>().prop_map(Event::End),
    ]
}

proptest! {
    /// Nobody is forgotten: while anybody is held, a call runs; every call is
    /// within the limits; when all calls have ended, nothing is left.
    #[test]
    fn nobody_is_held_behind_nothing(events in prop::collection::vec(event(), 1..120)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let _inside = runtime.enter();
        let groups = Groups::default();
        let mut waiting: Vec<Held> = Vec::new();
        let mut calls: Vec<(Running, Vec<Fellow>)> = Vec::new();
        let drain = Event::End(0);
        for event in events.iter().copied().chain(std::iter::repeat_n(drain, 400)) {
            match event {
                Event::Come(count) => match groups.join(KEY, parts(count)) {
                    Place::First(running) => {
                        prop_assert!(calls.is_empty(), "held while a call runs");
                        calls.push((running, Vec::new()));
                    }
                    Place::Held(held) => waiting.push(held),
                },
                Event::Leave(at) if !waiting.is_empty() => {
                    drop(waiting.remove(at % waiting.len()));
                }
                Event::End(at) if !calls.is_empty() => {
                    let (running, fellows) = calls.remove(at % calls.len());
                    fellows.into_iter().for_each(|fellow| fellow.deal(Deal::Alone));
                    drop(running);
                }
                Event::Leave(_) | Event::End(_) => {}
            }
            let mut still = Vec::new();
            for mut held in waiting {
                match now(&mut held) {
                    None => still.push(held),
                    Some(Turn::Lead(running, fellows)) => {
                        let others: usize = fellows.iter().map(|fellow| fellow.parts.len()).sum();
                        prop_assert!(others < MOST_INPUTS);
                        calls.push((running, fellows));
                    }
                    Some(_) => {}
                }
            }
            waiting = still;
            prop_assert!(groups.held() == 0 || !calls.is_empty(), "nobody will call them");
        }
        prop_assert!(calls.is_empty() && waiting.is_empty());
        prop_assert_eq!(groups.kinds(), 0);
    }
}

/// A group that begins anew is another one.
#[tokio::test]
async fn who_has_had_its_turn_takes_nobody_out_of_a_later_group() {
    let groups = Groups::default();
    drop(first(groups.join(KEY, parts(1))));
    let running = first(groups.join(KEY, parts(1)));
    let mut old = held(groups.join(KEY, parts(1)));
    drop(running);
    drop(leads(&mut old));
    assert_eq!(groups.kinds(), 0);
    let running = first(groups.join(KEY, parts(1)));
    let mut new = held(groups.join(KEY, parts(1)));
    drop(old);
    assert_eq!(groups.held(), 1);
    drop(running);
    drop(leads(&mut new));
}
