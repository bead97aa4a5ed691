//! The two tiers against a plain model: the list of all admissions.

use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;

use super::*;

const BOTH: [Window; 2] = [Window::Minute, Window::Hour];
const START: Duration = Duration::from_secs(86_400);

fn key(number: u32) -> AddressKey {
    IpAddr::from(Ipv4Addr::from_bits(number)).into()
}

fn limits(minute: u32, hour: u32) -> WindowLimits {
    WindowLimits { minute, hour, ..WindowLimits::UNLIMITED }
}

fn wide() -> AddressWindows<2> {
    AddressWindows::new(BOTH, 1 << 12, 65_536)
}

fn passed(
    windows: &AddressWindows<2>,
    number: u32,
    now: Duration,
    limits: &WindowLimits,
    asked: u32,
) -> u32 {
    let took = (0..asked).filter(|_| windows.take(key(number), now, limits).is_ok());
    u32::try_from(took.count()).unwrap()
}

#[test]
fn a_burst_is_admitted_to_at_least_the_limit_and_at_most_half_above() {
    for limit in [1, 2, 3, 5, 100, 127] {
        let windows = wide();
        let took = passed(&windows, 1, START, &limits(limit, 100_000), 1_000);
        assert!((limit..=limit + limit / 2).contains(&took), "{took} of {limit}");
        assert_eq!(windows.suspects(), 1);
    }
}

#[test]
fn below_half_a_limit_nothing_is_kept() {
    let windows = wide();
    for number in 0..1_000 {
        assert_eq!(passed(&windows, number, START, &limits(1_000, 20_000), 3), 3);
    }
    assert_eq!(windows.suspects(), 0);
}

#[test]
fn retry_after_is_true() {
    let (windows, limits) = (wide(), limits(10, 25));
    let mut now = START + Duration::from_millis(17_250);
    let mut refused = 0;
    for _ in 0..200 {
        now += Duration::from_millis(700);
        if let Err(over) = windows.take(key(1), now, &limits) {
            refused += 1;
            let just_before = over.refusal.retry_after - Duration::from_millis(1);
            assert!(windows.take(key(1), now + just_before, &limits).is_err());
            now += over.refusal.retry_after;
            assert!(windows.take(key(1), now, &limits).is_ok(), "after {:?}", over.refusal);
        }
    }
    assert!(refused >= 20, "{refused} refusals");
}

#[test]
fn what_is_given_back_was_never_taken() {
    let (windows, limits) = (wide(), limits(10, 100));
    for _ in 0..10_000 {
        let taken = windows.take(key(1), START, &limits).unwrap();
        windows.give_back(&taken);
    }
    assert_eq!(windows.suspects(), 0);
    assert!(passed(&windows, 1, START, &limits, 100) >= 10);
}

#[test]
fn what_is_given_back_late_is_not_taken_from_younger_windows() {
    let (windows, limits) = (wide(), limits(10, 100));
    passed(&windows, 1, START, &limits, 10);
    let old = windows.take(key(1), START, &limits).unwrap();
    assert!(old.exact.is_some());
    let later = START + Duration::from_secs(10_000);
    assert_eq!(windows.sweep(later), 1);
    assert!(passed(&windows, 1, later, &limits, 100) >= 10);
    windows.give_back(&old);
    assert_eq!(passed(&windows, 1, later, &limits, 100), 0);
}

#[test]
fn suspects_are_forgotten_once_nothing_of_them_counts() {
    let (windows, limits) = (wide(), limits(10, 100));
    for number in 0..500 {
        passed(&windows, number, START, &limits, 20);
    }
    assert_eq!(windows.suspects(), 500);
    assert_eq!(windows.sweep(START + Duration::from_secs(3_599)), 0);
    assert_eq!(windows.sweep(START + Duration::from_secs(3_601)), 500);
    assert_eq!(windows.suspects(), 0);
}

#[test]
fn with_no_room_the_estimate_decides_and_room_comes_back() {
    let windows = AddressWindows::new(BOTH, WIDE, SHARDS);
    let limits = limits(10, 100);
    let mut guessed = 0;
    for number in 0..2_000 {
        for _ in 0..20 {
            guessed += match windows.take(key(number), START, &limits) {
                Ok(taken) => u32::from(taken.guessed),
                Err(over) => {
                    assert!(over.refusal.retry_after <= Duration::from_secs(7_200));
                    u32::from(over.guessed)
                }
            };
        }
    }
    assert_eq!(windows.suspects(), SHARDS);
    assert!(guessed > 10_000, "{guessed} guessed");
    // An address alone in its places gets the limit and no more.
    let fresh = START + Duration::from_secs(120);
    let took = passed(&windows, 77_777, fresh, &WindowLimits { hour: 5_000, ..limits }, 50);
    assert!((10..=15).contains(&took), "{took}");
    let refusal = windows.take(key(77_777), fresh, &WindowLimits { hour: 5_000, ..limits });
    let wait = refusal.unwrap_err().refusal.retry_after;
    assert!(windows.take(key(77_777), fresh + wait, &limits).is_ok(), "after {wait:?}");
    // A full shard looks for room itself, without a sweep from outside.
    let later = START + Duration::from_secs(10_000);
    for number in 0..5_000 {
        passed(&windows, number, later, &limits, 6);
    }
    assert_eq!(windows.suspects(), SHARDS);
    assert!(windows.take(key(4_999), later, &limits).is_ok());
}

const WIDE: usize = 1 << 14;

/// Covers F2 and invariant 8: memory does not follow the addresses.
#[test]
fn a_million_addresses_leave_memory_flat() {
    let windows = AddressWindows::new(BOTH, crate::admission::sketch::WIDEST, 65_536);
    let limits = limits(100, 2_000);
    let sketch = windows.sketch_bytes();
    let before = windows.suspect_bytes();
    let mut now = START;
    for number in 0..1_000_000 {
        now += Duration::from_micros(60);
        assert!(windows.take(key(number), now, &limits).is_ok(), "address {number} was refused");
    }
    assert_eq!(windows.sketch_bytes(), sketch);
    println!("sketch {sketch} B, suspects {} of {} B", windows.suspects(), windows.suspect_bytes());
    assert!(sketch <= 4 << 20, "{sketch}");
    assert_eq!(windows.suspect_bytes(), before, "{} suspects", windows.suspects());
    // An address that does too much is seen among all those.
    assert!((100..=150).contains(&passed(&windows, 42, now, &limits, 1_000)));
}

/// Covers invariant 8: what is kept of those that do too much is bounded.
#[test]
fn suspects_are_bounded_in_number_and_size() {
    let windows = AddressWindows::new(BOTH, 1 << 14, 128);
    let limits = limits(100, 2_000);
    // An hour and a half in which every one of 250 does 40 a minute, then all
    // that it may in one.
    for step in 0..90_u32 {
        let now = START + Duration::from_secs(60) * step;
        for number in 0..250 {
            passed(&windows, number, now, &limits, if step < 89 { 40 } else { 100 });
        }
    }
    let (count, bytes) = (windows.suspects(), windows.suspect_bytes());
    println!("{count} suspects, {} B each", bytes / count);
    assert!((100..=128).contains(&count), "{count}");
    assert!(bytes / count <= 2_048, "{} B each", bytes / count);
}

/// What happens next.
#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    Ask(u32, u32),
    /// A request is refused later on: the nth from the newest.
    GiveBack(usize),
    Sweep,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0_u64..2_000).prop_map(Step::Pass),
        2 => (10_000_u64..4_000_000).prop_map(Step::Pass),
        6 => (0_u32..4, 1_u32..12).prop_map(|(number, count)| Step::Ask(number, count)),
        1 => (0_usize..5).prop_map(Step::GiveBack),
        1 => Just(Step::Sweep),
    ];
    prop::collection::vec(step, 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Covers F2 and invariant 3: an address within its limit is never refused,
    /// and in no interval of a window's length are more than 1.5 × the limit
    /// admitted. The sketch is so narrow that addresses share its counters.
    #[test]
    fn never_too_few_and_never_half_too_many(
        steps in steps(), minute in 1_u32..20, hour in 1_u32..100, width in 1_usize..64,
    ) {
        let windows = AddressWindows::new(BOTH, width, 1 << 20);
        let limits = limits(minute, hour);
        let mut now = START;
        let mut admitted: Vec<(u32, Duration, Taken)> = Vec::new();
        for step in steps {
            match step {
                Step::Pass(millis) => now += Duration::from_millis(millis),
                Step::Sweep => {
                    windows.sweep(now);
                }
                Step::GiveBack(nth) => {
                    if nth < admitted.len() {
                        let (.., taken) = admitted.remove(admitted.len() - 1 - nth);
                        windows.give_back(&taken);
                    }
                }
                Step::Ask(number, count) => for _ in 0..count {
                    let within = |window: Window| {
                        let inside = |&&(other, at, _): &&(u32, Duration, Taken)| {
                            other == number && at + window.length() > now
                        };
                        u32::try_from(admitted.iter().filter(inside).count()).unwrap()
                    };
                    let counts = BOTH.map(within);
                    match windows.take(key(number), now, &limits) {
                        Ok(taken) => {
                            prop_assert!(!taken.guessed);
                            for (count, window) in counts.into_iter().zip(BOTH) {
                                let limit = limits.of(window);
                                prop_assert!(count < limit + limit / 2, "{count} of {limit}");
                            }
                            admitted.push((number, now, taken));
                        }
                        Err(over) => {
                            let full = counts.into_iter().zip(BOTH)
                                .any(|(count, window)| count >= limits.of(window));
                            prop_assert!(full, "{:?} admitted, yet {:?}", counts, over);
                        }
                    }
                }
            }
        }
    }
}

/// Covers F2: the bound holds among threads.
#[test]
fn of_many_at_once_no_more_than_the_bound_pass() {
    let (windows, limits) = (wide(), limits(100, 2_000));
    let took = std::sync::atomic::AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let passed = passed(&windows, 1, START, &limits, 500);
                took.fetch_add(passed, std::sync::atomic::Ordering::SeqCst);
            });
        }
    });
    assert_eq!(took.into_inner(), 150);
}
