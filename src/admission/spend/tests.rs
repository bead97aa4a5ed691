//! Months of requests and dollars, against a model that remembers everything.

mod threads;

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::admission::quota::Month;
use crate::admission::state::AccountState;
use crate::admission::windows::WindowLimits;
use crate::base::clock::Timestamp;

const NOW: Duration = Duration::from_secs(86_400);

fn cents(cents: i128) -> Money {
    Money::from_picos(cents * 10_000_000_000)
}

fn key(number: usize) -> Arc<str> {
    format!("key_{number}").into()
}

fn month(number: u32) -> Month {
    Month { number, begins: Timestamp(0), ends: Timestamp(1) }
}

fn counted(number: u32) -> Allowance {
    Allowance { month: month(number), counts: true, ..Allowance::NONE }
}

#[test]
fn what_does_not_count_is_never_spent_and_takes_nothing() {
    let mut months = Months::default();
    let asked = Allowance { limit: Some(1), ..counted(1) };
    let read = Allowance { counts: false, ..asked };
    assert!(!months.is_spent(&asked));
    assert_eq!(months.reserve(&asked), Some(1));
    assert!(months.is_spent(&asked) && !months.is_spent(&read));
    assert_eq!((months.reserve(&read), months.left(&read)), (None, Some(0)));
}

/// Covers A4: a change of plan changes the limit, never the count.
#[test]
fn another_limit_keeps_the_count() {
    let mut months = Months::default();
    let limited = |limit| Allowance { limit, ..counted(1) };
    for _ in 0..3 {
        months.reserve(&limited(Some(3)));
    }
    assert!(months.is_spent(&limited(Some(3))));
    assert_eq!(months.left(&limited(Some(10))), Some(7));
    assert_eq!(months.left(&limited(Some(2))), Some(0));
    assert!(!months.is_spent(&limited(None)));
}

/// A request of a month that is over settles there, whatever the new one holds.
#[test]
fn a_request_settles_in_the_month_that_it_came_in() {
    let mut months = Months::default();
    let june = Allowance { limit: Some(1), overage: true, ..counted(6) };
    let july = Allowance { month: month(7), ..june };
    let (first, second) = (months.reserve(&june), months.reserve(&june));
    assert_eq!((first, second), (Some(6), Some(6)));
    months.hold(6, &key(1), cents(5), &june).unwrap();
    assert_eq!((months.reserve(&july), months.left(&july)), (Some(7), Some(0)));
    assert!(!months.take_place(6, &june));
    months.let_go(6, &key(1), cents(5));
    months.charge(6, &key(1), cents(5), &june);
    assert!(months.take_place(6, &june), "the second of June lies beyond its quota");
    months.charge(6, &key(1), cents(5), &june);
    assert!(!months.take_place(7, &july));
    months.charge(7, &key(1), cents(2), &july);
    let standing = months.standing("key_1", &july);
    assert_eq!((standing.charged, standing.account.charged), (1, cents(2)));
    assert!(months.last.is_none() && months.is_empty(8) && !months.is_empty(7));
}

#[test]
fn a_key_budget_that_is_used_up_takes_nothing_from_the_account() {
    let mut months = Months::default();
    let asked = Allowance { budget: Some(cents(10)), key_budget: Some(cents(3)), ..counted(1) };
    months.reserve(&asked);
    months.hold(1, &key(1), cents(2), &asked).unwrap();
    assert_eq!(months.hold(1, &key(1), cents(2), &asked), Err(Purse::Key));
    assert_eq!(months.standing("key_1", &asked).account.reserved, cents(2));
    let other = Allowance { key_budget: None, ..asked };
    months.hold(1, &key(2), cents(8), &other).unwrap();
    assert_eq!(months.hold(1, &key(3), cents(1), &other), Err(Purse::Account));
    // What costs nothing is served all the same.
    months.hold(1, &key(3), Money::ZERO, &other).unwrap();
}

/// Thresholds are edges: told once a month, and not for what replay counts.
#[test]
fn a_threshold_is_told_once_and_not_again_after_a_restart() {
    let mut months = Months::default();
    let asked = Allowance { limit: Some(10), budget: Some(cents(20)), ..counted(1) };
    let mut told = Vec::new();
    let pay = |months: &mut Months, asked: &Allowance| {
        months.reserve(asked);
        months.take_place(1, asked);
        let crossings = months.charge(1, &key(1), cents(2), asked);
        crossings.iter().map(|it| (it.kind, it.threshold)).collect::<Vec<_>>()
    };
    for _ in 0..7 {
        told.extend(pay(&mut months, &asked));
    }
    assert_eq!(told, []);
    assert_eq!(pay(&mut months, &asked), [(Kind::Quota, 80), (Kind::Budget, 80)]);
    assert_eq!(pay(&mut months, &asked), []);
    let mut again = Months::default();
    again.restore(1, &key(1), 9, cents(18));
    assert_eq!(again.standing("key_1", &asked).levels.quota, Level::Eighty);
    for months in [&mut months, &mut again] {
        assert_eq!(pay(months, &asked), [(Kind::Quota, 100), (Kind::Budget, 100)]);
    }
    // A higher limit whose threshold lies ahead is not told a second time.
    let more = Allowance { limit: Some(14), budget: None, ..asked };
    assert_eq!([pay(&mut months, &more), pay(&mut months, &more)], [vec![], vec![]]);
    // One step may come to both.
    let mut small = Months::default();
    let one = Allowance { limit: Some(1), ..counted(1) };
    assert_eq!(pay(&mut small, &one), [(Kind::Quota, 80), (Kind::Quota, 100)]);
}

/// One step of an account's life.
#[derive(Clone, Debug)]
enum Step {
    /// A request of a key; limits of 0 are none.
    Ask { key: usize, most: i128, limit: u64, budget: i128, key_budget: i128, overage: bool },
    /// The running request of this number, in turn, ends.
    End { which: usize, ends: Ends },
    /// The month is over.
    Turn,
    /// The process ends, and its figures are rebuilt from what was charged.
    Restart,
}

#[derive(Clone, Copy, Debug)]
enum Ends {
    /// Charged at this many hundredths of the most.
    Charged(i128),
    Free,
    /// Its record cannot be written; it is free then.
    Unwritten,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let ask = (0..3_usize, 0..6_i128, 0..6_u64, 0..20_i128, 0..12_i128, any::<bool>()).prop_map(
        |(key, most, limit, budget, key_budget, overage)| Step::Ask {
            key,
            most,
            limit,
            budget,
            key_budget,
            overage,
        },
    );
    let ends = prop_oneof![
        4 => (0..=100_i128).prop_map(Ends::Charged),
        2 => Just(Ends::Free),
        1 => Just(Ends::Unwritten),
    ];
    let step = prop_oneof![
        6 => ask,
        5 => (any::<usize>(), ends).prop_map(|(which, ends)| Step::End { which, ends }),
        1 => Just(Step::Turn),
        1 => Just(Step::Restart),
    ];
    proptest::collection::vec(step, 0..100)
}

/// A request as the model remembers it.
#[derive(Clone)]
struct Ran {
    month: u32,
    key: usize,
    /// Reserved while it runs, charged after.
    amount: Money,
    allowance: Allowance,
}

fn sum(list: &[Ran], month: u32, key: Option<usize>) -> Money {
    let meant = |ran: &&Ran| ran.month == month && key.is_none_or(|key| key == ran.key);
    list.iter().filter(meant).map(|ran| ran.amount).sum()
}

fn count(list: &[Ran], month: u32) -> u64 {
    list.iter().filter(|ran| ran.month == month).count() as u64
}

proptest! {
    /// Covers A1 and A4.
    #[test]
    fn months_count_as_lists_of_everything_do(steps in steps()) {
        let mut months = Months::default();
        let mut now = 7_u32;
        let (mut charged, mut running) = (Vec::<Ran>::new(), Vec::<Ran>::new());
        for step in steps {
            match step {
                Step::Ask { key: of, most, limit, budget, key_budget, overage } => {
                    let some = |amount: i128| (amount > 0).then(|| cents(amount));
                    let limit = (limit > 0).then_some(limit);
                    let (budget, key_budget) = (some(budget), some(key_budget));
                    let asked = Allowance { limit, overage, budget, key_budget, ..counted(now) };
                    let before = count(&charged, now) + count(&running, now);
                    let spent = !overage && limit.is_some_and(|limit| before >= limit);
                    prop_assert_eq!(months.is_spent(&asked), spent);
                    if spent {
                        continue;
                    }
                    prop_assert_eq!(months.reserve(&asked), Some(now));
                    prop_assert_eq!(
                        months.left(&asked),
                        limit.map(|limit| limit.saturating_sub(before + 1))
                    );
                    let amount = cents(most);
                    let over = |budget: Option<Money>, key| {
                        let used = sum(&charged, now, key) + sum(&running, now, key);
                        budget.is_some_and(|budget| !amount.is_zero() && used + amount > budget)
                    };
                    let refused = match (over(budget, None), over(key_budget, Some(of))) {
                        (true, _) => Err(Purse::Account),
                        (false, true) => Err(Purse::Key),
                        (false, false) => Ok(()),
                    };
                    prop_assert_eq!(months.hold(now, &key(of), amount, &asked), refused);
                    match refused {
                        Ok(()) => {
                            running.push(Ran { month: now, key: of, amount, allowance: asked });
                        }
                        Err(_) => months.release(now),
                    }
                }
                Step::End { which, ends } if !running.is_empty() => {
                    let ran = running.swap_remove(which % running.len());
                    let (of, id) = (ran.month, key(ran.key));
                    // Months of which nothing can run any more are forgotten.
                    let known = months.of(of).is_some();
                    prop_assert!(known || of + 1 < now);
                    let mut beyond = false;
                    if !matches!(ends, Ends::Free) {
                        beyond = months.take_place(of, &ran.allowance);
                        let place = count(&charged, of) + 1;
                        let limit = ran.allowance.limit;
                        let wanted = known && limit.is_some_and(|limit| place > limit);
                        prop_assert_eq!(beyond, wanted);
                    }
                    if let Ends::Charged(share) = ends {
                        let price = Money::from_picos(ran.amount.picos() * share / 100);
                        months.let_go(of, &id, ran.amount);
                        months.charge(of, &id, price, &ran.allowance);
                        charged.push(Ran { amount: price, ..ran });
                    } else {
                        if matches!(ends, Ends::Unwritten) {
                            months.return_place(of, beyond, &ran.allowance);
                        }
                        months.let_go(of, &id, ran.amount);
                        months.release(of);
                    }
                }
                Step::End { .. } => {}
                Step::Turn => now += 1,
                Step::Restart => {
                    running.clear();
                    months = Months::default();
                    for ran in charged.iter().filter(|ran| ran.month == now) {
                        months.restore(now, &key(ran.key), 1, ran.amount);
                    }
                }
            }
            for of in 0..3 {
                let standing = months.standing(&key(of), &counted(now));
                prop_assert_eq!(standing.charged, count(&charged, now));
                prop_assert_eq!(standing.running, count(&running, now));
                let all = Spend {
                    charged: sum(&charged, now, None),
                    reserved: sum(&running, now, None),
                };
                prop_assert_eq!(standing.account, all);
                let own = Spend {
                    charged: sum(&charged, now, Some(of)),
                    reserved: sum(&running, now, Some(of)),
                };
                prop_assert_eq!(standing.key, own);
            }
        }
        let runs = running.iter().any(|ran| months.of(ran.month).is_some());
        let nothing = !runs && count(&charged, now) == 0;
        prop_assert_eq!(months.is_empty(now), nothing);
    }
}
