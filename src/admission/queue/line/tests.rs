//! The bounds that the rules promise, whatever comes.

use proptest::prelude::*;

use super::*;

const STEP: Duration = Duration::from_secs(10);

fn account(number: usize) -> Arc<str> {
    Arc::from(format!("account-{number}"))
}

/// A line in which each waiter says its account and number.
fn line() -> Line<(usize, usize)> {
    Line::new(STEP)
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn priorities_come_first_and_accounts_take_turns() {
    let mut line = line();
    let now = Duration::ZERO;
    for number in 0..3 {
        line.join(Priority::Standard, &account(1), now, (1, number));
    }
    line.join(Priority::Standard, &account(2), now, (2, 0));
    line.join(Priority::Preferred, &account(3), now, (3, 0));
    line.join(Priority::Dedicated, &account(4), now, (4, 0));
    let order: Vec<_> =
        std::iter::from_fn(|| line.next(false, now)).map(|(_, told)| told).collect();
    assert_eq!(order, [(4, 0), (3, 0), (1, 0), (2, 0), (1, 1), (1, 2)]);
}

#[test]
fn waiting_moves_up_a_priority_at_each_step() {
    let mut line = line();
    line.join(Priority::Standard, &account(1), seconds(0), (1, 0));
    line.join(Priority::Preferred, &account(2), seconds(1), (2, 0));
    line.join(Priority::Preferred, &account(2), seconds(1), (2, 1));
    // At 10 s the first stands at the end of the preferred ring.
    line.join(Priority::Preferred, &account(3), seconds(10), (3, 0));
    assert_eq!(line.next(false, seconds(10)).map(|(_, told)| told), Some((2, 0)));
    // At 11 s the second account's next is dedicated's equal, at 20 s the first.
    line.join(Priority::Dedicated, &account(4), seconds(12), (4, 0));
    line.join(Priority::Dedicated, &account(4), seconds(12), (4, 1));
    let order: Vec<_> =
        std::iter::from_fn(|| line.next(false, seconds(20))).map(|(_, told)| told).collect();
    assert_eq!(order, [(2, 1), (4, 0), (1, 0), (3, 0), (4, 1)]);
}

#[test]
fn who_goes_before_whom_is_counted() {
    let mut line = line();
    let now = Duration::ZERO;
    for number in 0..10 {
        line.join(Priority::Standard, &account(1), now, (1, number));
    }
    line.join(Priority::Standard, &account(2), now, (2, 0));
    line.join(Priority::Preferred, &account(3), now, (3, 0));
    assert_eq!(line.ahead(Priority::Standard, &account(4)), 3, "one of each");
    assert_eq!(line.ahead(Priority::Standard, &account(2)), 4, "two of the first");
    assert_eq!(line.ahead(Priority::Standard, &account(1)), 12);
    assert_eq!(line.ahead(Priority::Preferred, &account(4)), 1);
    assert_eq!(line.ahead(Priority::Dedicated, &account(4)), 0);
}

#[test]
fn without_a_step_nobody_ages() {
    let mut line = Line::new(Duration::ZERO);
    line.join(Priority::Standard, &account(1), seconds(0), 1);
    line.join(Priority::Preferred, &account(2), seconds(900), 2);
    assert_eq!(line.next(false, seconds(1_000)).map(|(_, told)| told), Some(2));
    assert_eq!(line.next(true, seconds(1_000)), None, "no reserved slot for the other");
}

/// Something that comes to a line.
#[derive(Clone, Debug)]
enum Event {
    Join(usize, usize),
    Grant,
    Pass(u64),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        6 => (0_usize..3, 1_usize..6).prop_map(|(priority, account)| Event::Join(priority, account)),
        3 => Just(Event::Grant),
        1 => (0_u64..8).prop_map(Event::Pass),
    ];
    prop::collection::vec(event, 0..300)
}

proptest! {
    /// Covers F3: of whatever else waits and comes, an account's single request
    /// has its slot after at most one grant for each other account of its priority
    /// that waits when it comes.
    #[test]
    fn a_single_request_waits_for_one_turn_of_each(
        before in prop::collection::vec(1_usize..8, 0..200),
        after in prop::collection::vec(prop::option::weighted(0.6, 1_usize..20), 0..200),
    ) {
        let (mut line, now) = (line(), Duration::ZERO);
        let mut others = std::collections::HashSet::new();
        for number in before {
            line.join(Priority::Standard, &account(number), now, (number, 0));
            others.insert(number);
        }
        line.join(Priority::Standard, &account(0), now, (0, 0));
        prop_assert_eq!(line.ahead(Priority::Standard, &account(99)) as usize, others.len() + 1);
        let mut grants = 0;
        // Then others come without end, and slots come free.
        for next in after.into_iter().chain(std::iter::repeat(None)) {
            if let Some(number) = next {
                line.join(Priority::Standard, &account(number), now, (number, 0));
                continue;
            }
            match line.next(false, now) {
                Some((_, (0, _))) => break,
                Some(_) => grants += 1,
                None => prop_assert!(false, "it is lost"),
            }
        }
        prop_assert!(grants <= others.len(), "{} grants, {} others", grants, others.len());
    }

    /// Covers F3: nobody starves. Half of the longest wait after it came, which is
    /// two steps, whoever is the first of its account has its slot after at most
    /// one grant for each flow that stands in the highest ring by then.
    #[test]
    fn ageing_bounds_every_wait(history in events(), future in events()) {
        let (mut line, mut now) = (line(), Duration::ZERO);
        let run = |line: &mut Line<(usize, usize)>, event, now: &mut Duration| match event {
            Event::Join(priority, number) => {
                line.join(Priority::ALL[priority], &account(number), *now, (number, priority));
                None
            }
            Event::Grant => line.next(false, *now).map(|(_, told)| told),
            Event::Pass(more) => {
                *now += seconds(more);
                None
            }
        };
        for event in history {
            run(&mut line, event, &mut now);
        }
        line.join(Priority::Standard, &account(0), now, (0, 0));
        let due = now + STEP * 2;
        let mut bound = None;
        let mut grants = 0;
        // Then it waits, and dedicated requests come without end.
        let flood = (0..).map(|n| if n % 2 == 0 { Event::Join(0, n % 5 + 1) } else { Event::Grant });
        for event in future.into_iter().chain([Event::Pass(20)]).chain(flood) {
            if now >= due && bound.is_none() {
                line.age(now);
                bound = Some(line.rings[DEDICATED].len() + line.rings[AGED].len() - 1);
            }
            match run(&mut line, event, &mut now) {
                Some((0, _)) => break,
                Some(_) if bound.is_some() => grants += 1,
                _ => {}
            }
            prop_assert!(bound.is_none_or(|bound| grants <= bound), "{grants} grants");
        }
    }

    /// The indexes agree with one another and are empty once nobody waits.
    #[test]
    fn nothing_is_left_behind(events in events(), leave in prop::collection::vec(any::<bool>(), 300)) {
        let (mut line, mut now) = (line(), Duration::ZERO);
        let mut places = Vec::new();
        for (event, leaves) in std::iter::zip(events, leave) {
            match event {
                Event::Join(priority, number) => {
                    let priority = Priority::ALL[priority];
                    places.push(line.join(priority, &account(number), now, (number, 0)));
                }
                Event::Grant if leaves && !places.is_empty() => {
                    line.leave(&places.remove(places.len() / 2), now);
                }
                Event::Grant => drop(line.next(leaves, now)),
                Event::Pass(more) => now += seconds(more),
            }
            let standing: usize = line.rings.iter().map(BTreeMap::len).sum();
            let waiters: usize = line.flows.values().map(|flow| flow.waiters.len()).sum();
            prop_assert_eq!(standing, line.flows.len());
            prop_assert_eq!(line.sizes.iter().map(BTreeSet::len).sum::<usize>(), line.flows.len());
            prop_assert_eq!(line.waiting.iter().sum::<u32>() as usize, waiters);
        }
        for place in places {
            line.leave(&place, now);
        }
        prop_assert!(line.flows.is_empty() && line.ageing.is_empty());
        prop_assert!(line.rings.iter().all(BTreeMap::is_empty));
        prop_assert!(line.sizes.iter().all(BTreeSet::is_empty));
        prop_assert_eq!(line.waiting, [0; 3]);
    }
}
