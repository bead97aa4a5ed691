//! Months and their counts, against a model that remembers everything.

use proptest::prelude::*;

use super::*;

fn at(text: &str) -> Timestamp {
    let moment: jiff::Timestamp = text.parse().unwrap();
    Timestamp(u64::try_from(moment.as_microsecond()).unwrap())
}

#[test]
fn a_month_ends_at_the_first_moment_of_the_next() {
    let calendar = Calendar::new(TimeZone::UTC);
    let june = calendar.month(at("2026-06-15T12:00:00Z"));
    assert_eq!(june.ends, at("2026-07-01T00:00:00Z"));
    assert_eq!(calendar.month(at("2026-06-01T00:00:00Z")), june);
    assert_eq!(calendar.month(at("2026-06-30T23:59:59.999999Z")), june);
    let july = calendar.month(at("2026-07-01T00:00:00Z"));
    assert_eq!(july.number, june.number + 1);
    assert_eq!(calendar.month(at("2026-05-31T23:59:59.999999Z")).number, june.number - 1);
    let december = calendar.month(at("2026-12-31T23:00:00Z"));
    let january = calendar.month(at("2027-01-01T00:00:00Z"));
    assert_eq!(january.number, december.number + 1);
    assert_eq!(december.ends, at("2027-01-01T00:00:00Z"));
}

#[test]
fn a_month_is_that_of_the_zone() {
    let calendar = Calendar::new(TimeZone::fixed(jiff::tz::offset(2)));
    let july = calendar.month(at("2026-06-30T22:00:00Z"));
    assert_eq!(july.ends, at("2026-07-31T22:00:00Z"));
    assert_eq!(calendar.month(at("2026-06-30T21:59:59Z")).number, july.number - 1);
}

fn allowance(number: u32, limit: Option<u64>, counts: bool) -> Allowance {
    Allowance { month: Month { number, ends: Timestamp(0) }, limit, counts }
}

#[test]
fn what_does_not_count_is_never_spent_and_takes_nothing() {
    let mut quota = Quota::default();
    let (asked, read) = (allowance(1, Some(1), true), allowance(1, Some(1), false));
    assert!(!quota.is_spent(&asked));
    assert_eq!(quota.reserve(&asked), Some(1));
    assert!(quota.is_spent(&asked) && !quota.is_spent(&read));
    assert_eq!((quota.reserve(&read), quota.left(&read)), (None, Some(0)));
}

/// Covers A4: a change of plan changes the limit, never the count.
#[test]
fn another_limit_keeps_the_count() {
    let mut quota = Quota::default();
    for _ in 0..3 {
        quota.reserve(&allowance(1, Some(3), true));
    }
    assert!(quota.is_spent(&allowance(1, Some(3), true)));
    assert_eq!(quota.left(&allowance(1, Some(10), true)), Some(7));
    assert_eq!(quota.left(&allowance(1, Some(2), true)), Some(0));
    assert!(!quota.is_spent(&allowance(1, None, true)));
}

/// What one step of an account's life does.
#[derive(Clone, Debug)]
enum Step {
    /// A request under this limit; unlimited if it is 0.
    Ask { limit: u64 },
    /// The running request of this number, in turn, ends, charged or not.
    End { which: usize, charged: bool },
    /// The month is over.
    Turn,
    /// The process ends and its count is rebuilt from what was charged.
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0_u64..6).prop_map(|limit| Step::Ask { limit }),
        4 => (any::<usize>(), any::<bool>())
            .prop_map(|(which, charged)| Step::End { which, charged }),
        1 => Just(Step::Turn),
        1 => Just(Step::Restart),
    ];
    proptest::collection::vec(step, 0..80)
}

proptest! {
    /// Covers A1 and A4.
    #[test]
    fn a_quota_counts_as_a_list_of_everything_does(steps in steps()) {
        let mut quota = Quota::default();
        let mut month = 7_u32;
        // The model: the months of charged requests, and those of running ones.
        let (mut charged, mut running) = (Vec::<u32>::new(), Vec::<u32>::new());
        for step in steps {
            let used = |charged: &[u32], running: &[u32], month: u32| {
                charged.iter().chain(running).filter(|of| **of == month).count() as u64
            };
            match step {
                Step::Ask { limit } => {
                    let limit = (limit > 0).then_some(limit);
                    let asked = allowance(month, limit, true);
                    let before = used(&charged, &running, month);
                    let spent = limit.is_some_and(|limit| before >= limit);
                    prop_assert_eq!(quota.is_spent(&asked), spent);
                    if !spent {
                        prop_assert_eq!(quota.reserve(&asked), Some(month));
                        running.push(month);
                    }
                    let now = used(&charged, &running, month);
                    prop_assert_eq!(
                        quota.left(&asked),
                        limit.map(|limit| limit.saturating_sub(now))
                    );
                }
                Step::End { which, charged: pays } if !running.is_empty() => {
                    let of = running.swap_remove(which % running.len());
                    if pays {
                        charged.push(of);
                    } else {
                        quota.give_back(of);
                    }
                }
                Step::End { .. } => {}
                Step::Turn => month += 1,
                Step::Restart => {
                    running.clear();
                    quota = Quota::default();
                    for of in charged.iter().filter(|of| **of == month) {
                        quota.restore(*of, 1);
                    }
                }
            }
            prop_assert_eq!(quota.is_empty(month), used(&charged, &running, month) == 0);
        }
    }
}
