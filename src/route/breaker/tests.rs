use std::collections::VecDeque;
use std::sync::Barrier;
use std::sync::atomic::AtomicU32;

use proptest::prelude::*;

use super::*;

fn rule() -> BreakerRule {
    BreakerRule {
        calls: 6,
        minimum: 4,
        failures: "0.5".parse().unwrap(),
        open: Duration::from_secs(10),
        forget: Duration::from_secs(60),
    }
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(86_400 + seconds)
}

fn call(breaker: &Breaker, failed: bool, now: Duration) -> Change {
    breaker.note(breaker.enter(now), failed, &rule(), now)
}

fn opened() -> Breaker {
    let breaker = Breaker::default();
    for _ in 0..3 {
        assert_eq!(call(&breaker, true, secs(0)), Change::None);
    }
    assert_eq!(call(&breaker, true, secs(0)), Change::Opened);
    breaker
}

#[test]
fn it_opens_by_the_share_that_fails_of_enough_calls() {
    let breaker = Breaker::default();
    for failed in [true, false, true, false, false, false] {
        assert_eq!(call(&breaker, failed, secs(0)), Change::None);
    }
    assert_eq!(breaker.counts(), (6, 2));
    // The failure that is the oldest leaves as this one comes.
    assert_eq!(call(&breaker, true, secs(0)), Change::None);
    assert_eq!(breaker.counts(), (6, 2));
    assert_eq!(call(&breaker, true, secs(0)), Change::None);
    assert_eq!(call(&breaker, true, secs(0)), Change::Opened);
    assert_eq!((breaker.state(secs(9)), breaker.state(secs(10))), (State::Open, State::HalfOpen));
}

#[test]
fn what_was_long_ago_is_forgotten() {
    let breaker = Breaker::default();
    for _ in 0..3 {
        call(&breaker, true, secs(0));
    }
    assert_eq!(call(&breaker, true, secs(61)), Change::None);
    assert_eq!(breaker.counts(), (1, 1));
}

#[test]
fn one_trial_at_a_time_decides() {
    let breaker = opened();
    assert!(breaker.trial(secs(9)).is_none(), "it is open");
    let trial = breaker.trial(secs(10)).expect("it is half-open");
    assert!(breaker.trial(secs(10)).is_none(), "one is being made");
    let entry = breaker.enter(secs(10));
    assert_eq!(breaker.note(entry, true, &rule(), secs(11)), Change::Reopened);
    drop(trial);
    assert!(breaker.trial(secs(20)).is_none(), "it is open until 21");
    let trial = breaker.trial(secs(21)).expect("it is half-open again");
    assert_eq!(call(&breaker, false, secs(21)), Change::Closed);
    drop(trial);
    assert_eq!(breaker.state(secs(21)), State::Closed);
    assert_eq!(breaker.counts(), (0, 0), "it begins anew");
}

#[test]
fn a_trial_that_is_dropped_lets_another_be_made() {
    let breaker = opened();
    drop(breaker.trial(secs(10)).expect("it is half-open"));
    assert!(breaker.trial(secs(10)).is_some());
}

#[test]
fn calls_of_before_and_of_the_opening_decide_nothing() {
    let breaker = Breaker::default();
    let before = breaker.enter(secs(0));
    for _ in 0..4 {
        call(&breaker, true, secs(0));
    }
    let during = breaker.enter(secs(5));
    for entry in [before, during] {
        assert_eq!(breaker.note(entry, false, &rule(), secs(12)), Change::None);
        assert_eq!(breaker.state(secs(12)), State::HalfOpen);
    }
    // One that was begun half-open may come out after the next opening.
    let late = breaker.enter(secs(12));
    assert_eq!(call(&breaker, true, secs(12)), Change::Reopened);
    assert_eq!(breaker.note(late, false, &rule(), secs(13)), Change::None);
    assert_eq!(breaker.state(secs(13)), State::Open);
}

#[test]
fn of_many_at_once_one_makes_the_trial_and_one_opens_it() {
    for _ in 0..50 {
        let (breaker, start) = (opened(), Barrier::new(8));
        let (trials, changes) = (AtomicU32::new(0), AtomicU32::new(0));
        let held = Barrier::new(8);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    start.wait();
                    let trial = breaker.trial(secs(10));
                    trials.fetch_add(u32::from(trial.is_some()), Ordering::SeqCst);
                    held.wait();
                    if call(&breaker, true, secs(10)) != Change::None {
                        changes.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!((trials.into_inner(), changes.into_inner()), (1, 1));
    }
}

/// The breaker as its documentation tells it, with a list for a window.
struct Model {
    window: VecDeque<bool>,
    noted: u64,
    open_until: Option<u64>,
}

impl Model {
    fn call(&mut self, failed: bool, now: u64, rule: &BreakerRule) -> Change {
        match self.open_until {
            Some(until) if now < until => return Change::None,
            Some(_) => {
                self.open_until = failed.then(|| now + rule.open.as_secs());
                self.window.clear();
                return if failed { Change::Reopened } else { Change::Closed };
            }
            None => {}
        }
        if now - self.noted > rule.forget.as_secs() {
            self.window.clear();
        }
        self.noted = now;
        self.window.push_back(failed);
        if self.window.len() > rule.calls as usize {
            self.window.pop_front();
        }
        let failures = self.window.iter().filter(|failed| **failed).count();
        let judged = self.window.len() >= rule.minimum as usize;
        if failed && judged && rule.failures.reaches(failures as u64, self.window.len() as u64) {
            self.open_until = Some(now + rule.open.as_secs());
            self.window.clear();
            return Change::Opened;
        }
        Change::None
    }
}

proptest! {
    #[test]
    fn it_does_what_a_plain_one_does(
        calls in 1_u32..=60,
        minimum in 1_u32..=60,
        percent in 1_u32..=100,
        steps in proptest::collection::vec((any::<bool>(), 0_u64..30), 1..300),
    ) {
        let share = format!("{}.{:02}", percent / 100, percent % 100);
        let rule = BreakerRule {
            calls,
            minimum: minimum.min(calls),
            failures: share.parse().unwrap(),
            ..rule()
        };
        let breaker = Breaker::default();
        let mut model = Model { window: VecDeque::new(), noted: 0, open_until: None };
        let mut now = 86_400;
        model.noted = now;
        breaker.noted.store(now * 1_000, Ordering::Relaxed);
        for (failed, later) in steps {
            now += later;
            let at = Duration::from_secs(now);
            let change = breaker.note(breaker.enter(at), failed, &rule, at);
            prop_assert_eq!(change, model.call(failed, now, &rule));
            prop_assert_eq!(breaker.open_until().map(|until| until.as_secs()), model.open_until);
        }
    }
}
