//! The windows against a plain model: the list of all admissions.

use proptest::prelude::*;

use super::*;

const ALL: [Window; 3] = [Window::Minute, Window::Hour, Window::Day];

/// A window's coarsest tick, 25 µs, is the resolution of any answer.
const TICK: Duration = Duration::from_micros(25);

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn per_minute(limit: u32) -> WindowLimits {
    WindowLimits { minute: limit, ..WindowLimits::UNLIMITED }
}

/// Every admission that was not given back, with the moment that counts.
#[derive(Default)]
struct Model {
    admitted: Vec<Duration>,
}

impl Model {
    /// Admissions that lie less than `age` before `now`.
    fn within(&self, age: Duration, now: Duration) -> usize {
        self.admitted.iter().filter(|&&at| at + age > now).count()
    }

    /// How long until one more fits under `limit` with entries held for `age`.
    fn wait(&self, age: Duration, limit: u32, now: Duration) -> Duration {
        let limit = limit as usize;
        let mut moments: Vec<_> =
            self.admitted.iter().copied().filter(|&at| at + age > now).collect();
        moments.sort_unstable();
        match moments.len().checked_sub(limit) {
            None => Duration::ZERO,
            Some(_) if limit == 0 => age,
            Some(surplus) => moments[surplus] + age - now,
        }
    }
}

/// What happens next.
#[derive(Clone, Debug)]
enum Step {
    /// Time passes.
    Pass(Duration),
    /// So many requests come at once.
    Burst(usize),
    /// Requests come at a steady distance.
    Steady(usize, Duration),
    /// A request comes at the very moment that the previous refusal named.
    Retry,
    /// An admission is given back: the nth from the newest.
    GiveBack(usize),
    /// A request comes whose clock was read a little before another's.
    Late(Duration),
}

fn moments() -> impl Strategy<Value = Duration> {
    let edges = prop::sample::select(vec![
        Duration::from_nanos(1),
        Duration::from_micros(1),
        secs(1),
        secs(59),
        secs(60) - Duration::from_nanos(1),
        secs(60),
        secs(3_599),
        secs(3_600),
        secs(86_400) - Duration::from_micros(1),
        secs(86_400),
        secs(10 * 86_400),
    ]);
    let within = |seconds: u64| (0..seconds * 1_000_000_000).prop_map(Duration::from_nanos);
    prop_oneof![3 => edges, 4 => within(2), 4 => within(90), 2 => within(4_000), 1 => within(90_000)]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => moments().prop_map(Step::Pass),
        3 => (1usize..8).prop_map(Step::Burst),
        1 => (8usize..330).prop_map(Step::Burst),
        2 => (2usize..80, 1u64..2_000_000_000u64)
            .prop_map(|(n, gap)| Step::Steady(n, Duration::from_nanos(gap))),
        3 => Just(Step::Retry),
        1 => (0usize..200).prop_map(Step::GiveBack),
        1 => (0u64..5_000_000).prop_map(|gap| Step::Late(Duration::from_nanos(gap))),
    ];
    prop::collection::vec(step, 1..60)
}

fn limit() -> impl Strategy<Value = u32> {
    prop_oneof![4 => 1u32..12, 2 => 12u32..130, 3 => 120u32..300, 1 => Just(u32::MAX)]
}

fn limits() -> impl Strategy<Value = WindowLimits> {
    (limit(), limit(), limit()).prop_map(|(minute, hour, day)| WindowLimits { minute, hour, day })
}

/// The windows and the model side by side.
struct Run {
    windows: Windows,
    model: Model,
    now: Duration,
    retry_at: Option<Duration>,
    /// Whether limits never exceeded 128, so that nothing is coarse.
    exact: bool,
}

impl Run {
    fn new(exact: bool) -> Self {
        let (windows, now) = (Windows::new(), secs(86_400));
        Self { windows, model: Model::default(), now, retry_at: None, exact }
    }

    fn step(&mut self, step: &Step, limits: &WindowLimits) {
        match *step {
            Step::Pass(time) => self.now += time,
            Step::Burst(count) => (0..count).for_each(|_| self.request(self.now, limits)),
            Step::Steady(count, gap) => {
                for _ in 0..count {
                    self.now += gap;
                    self.request(self.now, limits);
                }
            }
            Step::Retry => {
                if let Some(at) = self.retry_at.filter(|&at| at >= self.now) {
                    self.now = at;
                    self.request(at, limits);
                }
            }
            Step::GiveBack(nth) => {
                if let Some(place) = self.model.admitted.len().checked_sub(nth + 1) {
                    self.windows.give_back(self.model.admitted.remove(place));
                }
            }
            Step::Late(gap) => self.request(self.now - gap, limits),
        }
        self.standing_is_right(limits);
    }

    /// One request whose clock says `now`.
    fn request(&mut self, now: Duration, limits: &WindowLimits) {
        let before = self.windows.standing(now, limits);
        let untouched = self.windows.clone();
        match self.windows.take(now, limits) {
            Ok(standing) => {
                for window in ALL {
                    let inside = self.model.within(window.length(), standing.at);
                    assert!(inside < limits.of(window) as usize, "one too many in a {window:?}");
                }
                self.model.admitted.push(standing.at);
                assert!(standing.remaining < before.remaining);
            }
            Err(refusal) => {
                assert_eq!(self.windows, untouched, "a refusal took something");
                assert_eq!(refusal.standing, before);
                assert_eq!(before.remaining, 0);
                self.refusal_is_right(now, limits, &refusal);
                self.retry_at = Some(now + refusal.retry_after);
            }
        }
    }

    fn refusal_is_right(&self, now: Duration, limits: &WindowLimits, refusal: &Refusal) {
        let slack = |window: Window| if self.exact { TICK } else { window.length() / 60 + TICK };
        assert!(
            ALL.into_iter().any(|window| {
                let held = window.length() + slack(window);
                self.model.within(held, now) >= limits.of(window) as usize
            }),
            "refused too early: {refusal:?}"
        );
        let latest = ALL.into_iter().map(|window| {
            let exact = self.model.wait(window.length() + slack(window), limits.of(window), now);
            (exact, window)
        });
        let (longest, _) = latest.max().unwrap();
        assert!(refusal.retry_after <= longest, "{refusal:?} instead of {longest:?}");
        assert_eq!(refusal.limit, limits.of(refusal.window));

        let mut later = self.windows.clone();
        let just_before = now + refusal.retry_after - Duration::from_nanos(1);
        assert!(later.take(just_before, limits).is_err(), "retry_after is too long");
        assert!(later.take(now + refusal.retry_after, limits).is_ok(), "retry_after is untrue");
    }

    fn standing_is_right(&mut self, limits: &WindowLimits) {
        let standing = self.windows.standing(self.now, limits);
        let (length, limit) = (standing.window.length(), limits.of(standing.window));
        assert_eq!(standing.limit, limit);
        let free =
            |age: Duration| (limit as usize).saturating_sub(self.model.within(age, self.now));
        assert!(standing.remaining as usize <= free(length));
        assert!(standing.remaining as usize >= free(length + length / 60 + TICK));
        let newest = self.model.admitted.iter().max().copied().unwrap_or_default();
        let replenished = (newest + length).saturating_sub(self.now);
        // What was given back may leave a bucket's moment behind.
        assert!(standing.reset >= replenished);
        let mut later = self.windows.clone();
        let full = later.standing(self.now + standing.reset, limits);
        assert!(full.window != standing.window || full.remaining == limit, "not replenished");
    }

    /// In no interval of a window's length are more than `limits` admitted.
    fn no_interval_has_too_many(mut self, limits: &WindowLimits) {
        self.model.admitted.sort_unstable();
        for (first, &start) in self.model.admitted.iter().enumerate() {
            for window in ALL {
                let end = start + window.length();
                let inside =
                    self.model.admitted[first..].iter().take_while(|&&at| at < end).count();
                assert!(inside <= limits.of(window) as usize, "{inside} in a {window:?}");
            }
        }
    }
}

proptest! {
    /// Covers F1, F5: exact windows, true `retry_after`, nothing by halves.
    #[test]
    fn the_windows_agree_with_the_list_of_admissions(limits in limits(), steps in steps()) {
        let exact = ALL.into_iter().all(|window| limits.of(window) <= 128);
        let mut run = Run::new(exact);
        for step in &steps {
            run.step(step, &limits);
        }
        run.no_interval_has_too_many(&limits);
    }

    /// Limits may change at any moment, across the turn from log to ring too.
    #[test]
    fn a_change_of_limits_loses_no_admission(parts in prop::collection::vec((limits(), steps()), 1..4)) {
        let mut run = Run::new(false);
        for (limits, steps) in &parts {
            for step in steps {
                run.step(step, limits);
            }
        }
    }

    /// Small limits are a log: an answer is never off by more than a tick.
    #[test]
    fn limits_up_to_128_are_exact(
        limits in (1u32..=128, 1u32..=128, 1u32..=128)
            .prop_map(|(minute, hour, day)| WindowLimits { minute, hour, day }),
        steps in steps(),
    ) {
        let mut run = Run::new(true);
        for step in &steps {
            run.step(step, &limits);
        }
        run.no_interval_has_too_many(&limits);
    }

    /// Rebuilding from admissions in any order gives windows that admit no more.
    #[test]
    fn restored_windows_hold_every_admission(
        ages in prop::collection::vec(0u64..90_000_000, 0..400),
        limits in limits(),
    ) {
        let now = secs(200_000);
        let mut run = Run::new(false);
        run.now = now;
        for &age in &ages {
            let at = now - Duration::from_millis(age);
            run.windows.restore(at);
            run.model.admitted.push(at);
        }
        run.standing_is_right(&limits);
        for _ in 0..3 {
            run.request(now, &limits);
        }
        for at in run.model.admitted.clone() {
            run.windows.give_back(at);
        }
        prop_assert!(run.windows.is_empty(now), "something was left behind");
    }
}

/// Covers F5: the classic attack on fixed windows, twice the limit around an edge.
#[test]
fn the_edge_of_a_window_lets_nobody_double_the_limit() {
    for limit in [5, 100, 128, 129, 250] {
        let mut windows = Windows::new();
        let edge = secs(86_400 * 3);
        let mut passed = 0;
        for half_second in 0..240u64 {
            let now = edge - secs(60) + Duration::from_millis(half_second * 500);
            for _ in 0..limit {
                let inside = now >= edge - secs(1) && now < edge + secs(59);
                passed += u32::from(inside && windows.take(now, &per_minute(limit)).is_ok());
            }
        }
        assert_eq!(passed, limit);
    }
}

#[test]
fn a_log_lets_go_at_the_very_moment() {
    let mut windows = Windows::new();
    let limits = WindowLimits { minute: 1, hour: 2, day: 3 };
    let start = Duration::ZERO;
    assert!(windows.take(start, &limits).is_ok());
    let refusal = windows.take(start, &limits).unwrap_err();
    assert_eq!((refusal.window, refusal.retry_after), (Window::Minute, secs(60)));
    assert!(windows.take(secs(60) - Duration::from_nanos(1), &limits).is_err());
    assert!(windows.take(secs(60), &limits).is_ok());
    let refusal = windows.take(secs(61), &limits).unwrap_err();
    assert_eq!((refusal.window, refusal.limit), (Window::Hour, 2));
    assert_eq!(refusal.retry_after, secs(3_600 - 61));
    assert_eq!(refusal.standing.window, Window::Minute, "the shortest of two full windows");
    assert!(windows.take(secs(3_600), &limits).is_ok());
    assert_eq!(windows.take(secs(9_000), &limits).unwrap_err().window, Window::Day);
    assert!(windows.take(secs(86_400), &limits).is_ok());
}

#[test]
fn the_standing_is_that_of_the_window_with_the_fewest_remaining() {
    let mut windows = Windows::new();
    let limits = WindowLimits { minute: 10, hour: 12, day: 300 };
    let now = secs(100);
    let empty = windows.standing(now, &limits);
    assert_eq!((empty.window, empty.remaining, empty.reset), (Window::Minute, 10, Duration::ZERO));
    for _ in 0..5 {
        assert!(windows.take(now, &limits).is_ok());
    }
    let standing = windows.take(now + secs(2), &limits).unwrap();
    assert_eq!((standing.window, standing.limit, standing.remaining), (Window::Minute, 10, 4));
    assert_eq!(standing.reset, secs(60));
    let later = windows.standing(now + secs(70), &limits);
    assert_eq!((later.window, later.remaining), (Window::Hour, 6));
    assert_eq!(later.reset, secs(3_600 - 68));
    let tie = WindowLimits { minute: 9, hour: 15, day: 15 };
    assert_eq!(windows.standing(now + secs(70), &tie).window, Window::Minute);
}

/// A window that was coarse under a large limit becomes exact under a small one,
/// even if it is full all the time.
#[test]
fn a_smaller_limit_turns_a_full_ring_back_into_a_log() {
    let mut run = Run::new(false);
    let gap = Duration::from_millis(97);
    run.step(&Step::Steady(180, gap), &per_minute(200));
    assert_eq!(run.model.admitted.len(), 180);
    let lowered = per_minute(100);
    run.step(&Step::Steady(2_000, gap), &lowered);
    run.exact = true;
    run.step(&Step::Steady(700, gap), &lowered);
    assert!(run.retry_at.is_some(), "nothing was refused");
}

#[test]
fn a_limit_of_zero_admits_nothing_and_unlimited_everything() {
    let mut windows = Windows::new();
    let refusal = windows.take(secs(1), &per_minute(0)).unwrap_err();
    assert_eq!((refusal.retry_after, refusal.standing.remaining), (secs(60), 0));
    for _ in 0..100_000 {
        assert!(windows.take(secs(1), &WindowLimits::UNLIMITED).is_ok());
    }
}

#[test]
fn an_account_of_the_default_plan_fits_in_two_kilobytes() {
    let defaults = WindowLimits { minute: 60, hour: 1_000, day: 10_000 };
    let widest = WindowLimits { minute: 128, hour: 128, day: 128 };
    for (limits, gap) in [(defaults, 100), (widest, 100), (WindowLimits::UNLIMITED, 7)] {
        let mut windows = Windows::new();
        let (mut most, mut refused) = (0, 0);
        for step in 0..40_000 {
            let now = secs(86_400) + Duration::from_millis(step * gap * 97);
            refused += u32::from(windows.take(now, &limits).is_err());
            most = most.max(windows.heap_bytes() + size_of::<Windows>());
        }
        println!("{limits:?}: {most} bytes, {refused} refused");
        assert!(most <= 1_800, "{most} bytes");
    }
}

/// Covers F1: a plan's figure replaces the default of the same window.
#[test]
fn limits_come_from_the_account_by_window() {
    let user = UserLimits { per_minute: 60, per_hour: 1_000, per_day: 10_000, concurrent: 50 };
    let limits = WindowLimits::from(&user);
    assert_eq!(ALL.map(|window| limits.of(window)), [60, 1_000, 10_000]);
}
