//! The window of tokens against a plain model: the list of all reservations.
//! Covers F1, F5 and invariant 3.

use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;

use super::*;

const MINUTE: Duration = Duration::from_secs(60);
/// How much later an entry may leave than its minute.
const SLACK: Duration = Duration::from_micros(1_000_002);

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// One that is in the window or was.
#[derive(Clone, Copy)]
struct Entered {
    at: Duration,
    reservation: Reservation,
    /// What it counts: reserved, then used.
    weight: u64,
    settled: bool,
}

#[derive(Clone, Debug)]
enum Step {
    /// Time passes.
    Pass(Duration),
    /// A request expects to use so many thousandths of the limit.
    Reserve(u64),
    /// So many small requests come at a steady distance.
    Steady(usize, Duration),
    /// The nth newest that is not settled used so many hundredths of what it
    /// reserved; 0 gives all back.
    Settle(usize, u64),
    /// The request that was refused comes again at the moment that it was told.
    Retry,
    /// A request comes whose clock was read a little before another's.
    Late(Duration),
}

fn moments() -> impl Strategy<Value = Duration> {
    let edges = prop::sample::select(vec![
        Duration::from_nanos(1),
        Duration::from_micros(1),
        secs(1),
        secs(59),
        MINUTE - Duration::from_nanos(1),
        MINUTE,
        secs(5_000),
        secs(86_400),
    ]);
    let within = |seconds: u64| (0..seconds * 1_000_000_000).prop_map(Duration::from_nanos);
    prop_oneof![2 => edges, 4 => within(2), 4 => within(30), 1 => within(200)]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => moments().prop_map(Step::Pass),
        6 => (0u64..600).prop_map(Step::Reserve),
        1 => (900u64..1_300).prop_map(Step::Reserve),
        1 => (2usize..150, 1u64..1_500_000_000)
            .prop_map(|(n, gap)| Step::Steady(n, Duration::from_nanos(gap))),
        5 => (0usize..20, 0u64..130).prop_map(|(nth, used)| Step::Settle(nth, used)),
        1 => (0usize..20, 130u64..900).prop_map(|(nth, used)| Step::Settle(nth, used)),
        2 => (0usize..20).prop_map(|nth| Step::Settle(nth, 0)),
        4 => Just(Step::Retry),
        1 => (0u64..5_000_000).prop_map(|gap| Step::Late(Duration::from_nanos(gap))),
    ];
    prop::collection::vec(step, 1..80)
}

/// The window and the model side by side.
struct Run {
    window: TokenWindow,
    entered: Vec<Entered>,
    now: Duration,
    /// The latest moment that the window was asked at.
    latest: Duration,
    refused: Option<(Duration, u64)>,
}

impl Run {
    fn new() -> Self {
        let (window, now) = (TokenWindow::default(), secs(86_400));
        Self { window, entered: Vec::new(), now, latest: Duration::ZERO, refused: None }
    }

    /// What the model counts at `now` of the last `age`.
    fn within(&self, age: Duration, now: Duration) -> u64 {
        let inside = self.entered.iter().filter(|it| it.at + age > now);
        inside.map(|it| it.weight).sum()
    }

    fn step(&mut self, step: &Step, limit: u32) {
        match *step {
            Step::Pass(time) => self.now += time,
            Step::Reserve(share) => {
                self.reserve(self.now, limit, u64::from(limit) * share / 1_000);
            }
            Step::Steady(count, gap) => {
                for _ in 0..count {
                    self.now += gap;
                    self.reserve(self.now, limit, u64::from(limit) / 150);
                }
            }
            Step::Settle(nth, share) => {
                let mut open = self.entered.iter_mut().rev().filter(|it| !it.settled);
                if let Some(entered) = open.nth(nth) {
                    let used = entered.weight * share / 100;
                    self.window.settle(entered.reservation, used);
                    (entered.weight, entered.settled) = (used, true);
                }
            }
            Step::Retry => {
                if let Some((at, tokens)) = self.refused.filter(|(at, _)| *at >= self.now) {
                    self.now = at;
                    self.reserve(at, limit, tokens);
                }
            }
            Step::Late(gap) => self.reserve(self.now - gap, limit, 1),
        }
        self.stands_right(limit);
    }

    fn reserve(&mut self, now: Duration, limit: u32, tokens: u64) {
        self.latest = self.latest.max(now);
        let weight = tokens.max(1);
        let mut before = self.window.clone();
        before.advance(now);
        match self.window.reserve(now, limit, tokens) {
            Ok(reservation) => {
                let counted = self.within(MINUTE, self.latest) + weight;
                assert!(counted <= u64::from(limit), "{counted} of {limit} tokens in a minute");
                let entered = Entered { at: self.latest, reservation, weight, settled: false };
                self.entered.push(entered);
            }
            Err(TokensDenied::TooLarge { .. }) => {
                assert!(weight > u64::from(limit));
                assert_eq!(self.window, before, "a refusal took something");
            }
            Err(TokensDenied::Full { retry_after, standing }) => {
                assert_eq!(self.window, before, "a refusal took something");
                assert!(weight <= u64::from(limit));
                assert!(u64::from(standing.remaining) < weight, "there was room");
                let held = self.within(MINUTE + SLACK, now) + weight;
                assert!(held > u64::from(limit), "refused too early: {held} of {limit}");
                let mut later = self.window.clone();
                let just_before = now + retry_after - Duration::from_nanos(1);
                assert!(later.reserve(just_before, limit, tokens).is_err(), "it is too long");
                assert!(later.reserve(now + retry_after, limit, tokens).is_ok(), "it is untrue");
                self.refused = Some((now + retry_after, tokens));
            }
        }
    }

    fn stands_right(&mut self, limit: u32) {
        self.latest = self.latest.max(self.now);
        let standing = self.window.standing(self.now, limit);
        let free = |age| u64::from(limit).saturating_sub(self.within(age, self.now));
        let left = u64::from(standing.remaining);
        assert!(left <= free(MINUTE), "{left} of {} left", free(MINUTE));
        assert!(left >= free(MINUTE + SLACK), "{left} of {} left", free(MINUTE + SLACK));
        let mut later = self.window.clone();
        assert!(later.is_empty(self.now + standing.reset), "not replenished");
        assert!(self.window.heap_bytes() <= ENTRIES * size_of::<Entry>());
    }

    /// Once everything is settled, nothing else is left.
    fn gives_all_back(mut self) {
        for entered in self.entered.iter().filter(|it| !it.settled) {
            self.window.settle(entered.reservation, 0);
        }
        let settled: u64 = self
            .entered
            .iter()
            .filter(|it| it.settled && it.at + MINUTE + SLACK > self.latest)
            .map(|it| it.weight)
            .sum();
        assert!(self.window.sum <= settled, "something was left behind");
    }
}

proptest! {
    #[test]
    fn the_window_agrees_with_the_list_of_reservations(
        limit in prop_oneof![1u32..500, 500u32..200_000, Just(100_000_000)],
        steps in steps(),
    ) {
        let mut run = Run::new();
        for step in &steps {
            run.step(step, limit);
        }
        run.gives_all_back();
    }

    /// Limits may change at any moment.
    #[test]
    fn a_change_of_limits_loses_no_token(
        parts in prop::collection::vec((1u32..100_000, steps()), 1..4),
    ) {
        let mut run = Run::new();
        for (limit, steps) in &parts {
            steps.iter().for_each(|step| run.step(step, *limit));
        }
        run.gives_all_back();
    }

    /// Rebuilding in any order gives a window that admits no more.
    #[test]
    fn a_restored_window_holds_every_token(
        past in prop::collection::vec((0u64..70_000, 0u64..1_000), 0..300),
    ) {
        let now = secs(86_400);
        let mut window = TokenWindow::default();
        for &(age, tokens) in &past {
            window.restore(now - Duration::from_millis(age), tokens);
        }
        let used = u64::from(u32::MAX - window.standing(now, u32::MAX).remaining);
        let inside = |age: u64| past.iter().filter(move |it| it.0 < age).map(|it| it.1).sum::<u64>();
        prop_assert!((inside(60_000)..=inside(61_001)).contains(&used), "{used} tokens");
        prop_assert!(window.is_empty(now + MINUTE), "something stays");
    }
}

/// Of any number of simultaneous requests exactly as many reserve as fit, and
/// what they settle is what counts.
#[test]
fn many_threads_reserve_no_more_than_fits() {
    use crate::admission::quota::Allowance;
    use crate::admission::state::AccountState;
    use crate::admission::windows::WindowLimits;

    let account = std::sync::Arc::<AccountState>::default();
    let (now, limit) = (secs(86_400), 1_000);
    let (reserved, used) = (AtomicU64::new(0), AtomicU64::new(0));
    let start = std::sync::Barrier::new(16);
    std::thread::scope(|scope| {
        for thread in 0..16_u64 {
            let (account, start, reserved, used) = (&account, &start, &reserved, &used);
            scope.spawn(move || {
                start.wait();
                for turn in 0..2_000_u64 {
                    let limits = WindowLimits::UNLIMITED;
                    let admitted = account.admit(now, &limits, u32::MAX, &Allowance::NONE);
                    let mut admission = admitted.unwrap();
                    let tokens = 1 + (thread + turn) % 90;
                    if admission.reserve_tokens(now, limit, tokens).is_err() {
                        continue;
                    }
                    let held = reserved.fetch_add(tokens, Ordering::SeqCst) + tokens;
                    assert!(held + used.load(Ordering::SeqCst) <= u64::from(limit));
                    std::thread::yield_now();
                    // Out of this count before out of the window: the check
                    // above never counts what the window does not.
                    reserved.fetch_sub(tokens, Ordering::SeqCst);
                    if turn % 100 == 0 {
                        admission.settle_tokens(now, 1);
                        used.fetch_add(1, Ordering::SeqCst);
                    }
                }
            });
        }
    });
    let used = u32::try_from(used.into_inner()).unwrap();
    assert!(used > 0);
    assert_eq!(account.token_standing(now, limit).remaining, limit - used);
    assert_eq!(account.token_standing(now + MINUTE, limit).remaining, limit);
}

#[test]
fn what_is_used_counts_at_the_moment_of_its_reservation() {
    let mut window = TokenWindow::default();
    let reservation = window.reserve(secs(100), 1_000, 600).unwrap();
    assert!(window.reserve(secs(130), 1_000, 500).is_err());
    window.settle(reservation, 800);
    let denied = window.reserve(secs(130), 1_000, 300).unwrap_err();
    let standing = TokenStanding { limit: 1_000, remaining: 200, reset: secs(30) };
    assert_eq!(denied, TokensDenied::Full { retry_after: secs(30), standing });
    assert!(window.reserve(secs(130), 1_000, 200).is_ok());
    assert!(window.reserve(secs(160), 1_000, 800).is_ok());
    // It has left: there is nothing to settle any more.
    window.settle(reservation, 0);
    assert_eq!(window.standing(secs(160), 1_000).remaining, 0);
}

/// More than the limit may have been used: the excess delays what follows, and a
/// single request over the limit is told that it never fits.
#[test]
fn an_excess_delays_and_what_is_too_large_never_fits() {
    let mut window = TokenWindow::default();
    let reservation = window.reserve(secs(100), 10, 10).unwrap();
    window.settle(reservation, 25);
    let standing = TokenStanding { limit: 10, remaining: 0, reset: secs(60) };
    let full = TokensDenied::Full { retry_after: secs(60), standing };
    assert_eq!(window.reserve(secs(100), 10, 1).unwrap_err(), full);
    let never = TokensDenied::TooLarge { standing };
    assert_eq!(window.reserve(secs(100), 10, 11).unwrap_err(), never);
    assert!(window.reserve(secs(160), 10, 10).is_ok());
}

/// Figures that no provider means: they never count as less than any limit.
#[test]
fn an_absurd_figure_fills_the_window_until_it_leaves() {
    let (mut window, limit) = (TokenWindow::default(), u32::MAX - 1);
    let first = window.reserve(secs(100), limit, 1_000).unwrap();
    let second = window.reserve(secs(100), limit, 1_000).unwrap();
    window.settle(first, u64::MAX);
    window.settle(second, 0);
    assert_eq!(window.standing(secs(100), limit).remaining, 0);
    assert!(window.reserve(secs(100), limit, u64::MAX).is_err());
    assert!(window.reserve(secs(160), limit, 1_000).is_ok());
}
