//! Balances, against a model that remembers everything, and under many threads.
//! Covers A6.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::admission::quota::{Allowance, Month};
use crate::admission::spend::Purse;
use crate::admission::state::{AccountState, Admission};
use crate::admission::windows::WindowLimits;
use crate::base::clock::Timestamp;

const NOW: Duration = Duration::from_secs(86_400);

fn cents(cents: i128) -> Money {
    Money::from_picos(cents * 10_000_000_000)
}

fn allowance(prepaid: bool, budget: Option<Money>) -> Allowance {
    let month = Month { number: 7, begins: Timestamp(0), ends: Timestamp(1) };
    Allowance { month, counts: true, prepaid, budget, ..Allowance::NONE }
}

fn admit(account: &Arc<AccountState>, allowance: &Allowance) -> Admission {
    account.admit(NOW, &WindowLimits::UNLIMITED, u32::MAX, allowance).unwrap()
}

fn key() -> Arc<str> {
    "key".into()
}

/// Ends a request as a bill does: no price is above what a balance holds for it.
fn settle(admission: &mut Admission, price: Money) -> Money {
    admission.take_place(&"chat".into());
    let price = admission.ceiling().map_or(price, |most| price.min(most));
    admission.charge(&key(), price);
    price
}

/// One step of an account's life.
#[derive(Clone, Debug)]
enum Step {
    Deposit(i128),
    Withdraw(i128),
    /// A request that may cost so much, of an account that is prepaid then or not;
    /// a budget of 0 is none.
    Ask(i128, bool, i128),
    /// The running request of this number, in turn, ends.
    End(usize, Ends),
    /// The process ends, and the balance is rebuilt.
    Restart,
}

#[derive(Clone, Copy, Debug)]
enum Ends {
    /// Charged, if it can be, so many cents: more than was reserved, too.
    Charged(i128),
    Free,
    /// Its record cannot be written; it is free then.
    Unwritten,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let ends = prop_oneof![
        4 => (0..9_i128).prop_map(Ends::Charged),
        1 => Just(Ends::Free),
        1 => Just(Ends::Unwritten),
    ];
    let ask = (0..6_i128, prop::bool::weighted(0.8), 0..40_i128);
    let step = prop_oneof![
        2 => (1..20_i128).prop_map(Step::Deposit),
        1 => (1..20_i128).prop_map(Step::Withdraw),
        6 => ask.prop_map(|(most, prepaid, budget)| Step::Ask(most, prepaid, budget)),
        5 => (any::<usize>(), ends).prop_map(|(which, ends)| Step::End(which, ends)),
        1 => Just(Step::Restart),
    ];
    proptest::collection::vec(step, 0..100)
}

/// What the model remembers of a request, and its admission while it runs.
struct Ran {
    admission: Admission,
    most: Money,
    prepaid: bool,
}

proptest! {
    #[test]
    fn a_balance_counts_as_lists_of_everything_do(steps in steps()) {
        let mut account = Arc::<AccountState>::default();
        let mut paid_in = Vec::<Money>::new();
        // Prices of the past, and whether they were paid from the balance.
        let mut past = Vec::<(Money, bool)>::new();
        let mut running = Vec::<Ran>::new();
        for step in steps {
            let charged: Money = past.iter().filter(|one| one.1).map(|one| one.0).sum();
            let reserved: Money = running.iter().filter(|one| one.prepaid).map(|one| one.most).sum();
            let left = paid_in.iter().copied().sum::<Money>() - charged - reserved;
            match step {
                Step::Deposit(amount) => {
                    account.deposit(cents(amount));
                    paid_in.push(cents(amount));
                }
                Step::Withdraw(amount) => {
                    let done = account.withdraw(cents(amount));
                    if cents(amount) <= left {
                        prop_assert_eq!(done, Ok(()));
                        paid_in.push(-cents(amount));
                    } else {
                        prop_assert_eq!(done, Err(Insufficient(left)));
                    }
                }
                Step::Ask(most, prepaid, budget) => {
                    let most = cents(most);
                    let budget = (budget > 0).then(|| cents(budget));
                    let mut admission = admit(&account, &allowance(prepaid, budget));
                    let spent: Money = past.iter().map(|one| one.0)
                        .chain(running.iter().map(|one| one.most))
                        .sum();
                    let refused = if prepaid && !most.is_zero() && most > left {
                        Some((Purse::Balance, left))
                    } else {
                        let over = budget.filter(|it| !most.is_zero() && spent + most > *it);
                        over.map(|budget| (Purse::Account, budget))
                    };
                    let held = admission.hold(&key(), most);
                    prop_assert_eq!(held.err().map(|over| (over.purse, over.budget)), refused);
                    if refused.is_none() {
                        let spends = prepaid || budget.is_some();
                        prop_assert_eq!(admission.ceiling(), spends.then_some(most));
                        running.push(Ran { admission, most, prepaid });
                    }
                }
                Step::End(which, ends) if !running.is_empty() => {
                    let mut ran = running.swap_remove(which % running.len());
                    match ends {
                        Ends::Charged(price) => {
                            let price = settle(&mut ran.admission, cents(price));
                            prop_assert!(!ran.prepaid || price <= ran.most);
                            past.push((price, ran.prepaid));
                        }
                        Ends::Free => {}
                        Ends::Unwritten => {
                            ran.admission.take_place(&"chat".into());
                            ran.admission.return_place();
                        }
                    }
                }
                Step::End(..) => {}
                Step::Restart => {
                    running.clear();
                    account = Arc::default();
                    for (price, _) in past.iter().filter(|one| one.1) {
                        account.restore_paid(*price);
                    }
                    account.deposit(paid_in.iter().copied().sum());
                    let all = past.iter().map(|one| one.0).sum();
                    account.restore_month(7, &key(), past.len() as u64, all);
                }
            }
            let expected = Balance {
                deposited: paid_in.iter().copied().sum(),
                charged: past.iter().filter(|one| one.1).map(|one| one.0).sum(),
                reserved: running.iter().filter(|one| one.prepaid).map(|one| one.most).sum(),
            };
            prop_assert_eq!(account.balance(), expected);
            prop_assert!(expected.remaining() >= Money::ZERO, "{:?}", expected);
        }
    }
}

/// At no moment is more charged and reserved than was paid in, and in the end it
/// is used up to the last request that fits.
#[test]
fn a_balance_holds_under_many_threads() {
    let account = Arc::<AccountState>::default();
    let asked = allowance(true, None);
    let (paid_in, start) = (AtomicI64::new(0), Barrier::new(33));
    thread::scope(|scope| {
        scope.spawn(|| {
            start.wait();
            for _ in 0..100 {
                account.deposit(cents(7));
                paid_in.fetch_add(7, Ordering::SeqCst);
                thread::yield_now();
            }
        });
        for number in 0..32 {
            let (account, start) = (&account, &start);
            scope.spawn(move || {
                start.wait();
                for _ in 0..200 {
                    let mut admission = admit(account, &asked);
                    let held = admission.hold(&key(), cents(4));
                    let balance = account.balance();
                    assert!(balance.remaining() >= Money::ZERO, "{balance:?}");
                    // Every third is not charged, and gives all back.
                    if held.is_ok() && number % 3 > 0 {
                        settle(&mut admission, cents(2));
                    }
                }
            });
        }
    });
    // Whatever came too early for the last deposits comes now.
    loop {
        let mut admission = admit(&account, &asked);
        if admission.hold(&key(), cents(4)).is_err() {
            break;
        }
        settle(&mut admission, cents(2));
    }
    let balance = account.balance();
    assert_eq!((balance.deposited, balance.reserved), (cents(700), Money::ZERO));
    assert!(balance.remaining() < cents(4), "{balance:?}");
    assert_eq!(paid_in.into_inner(), 700);
}

/// An account whose balance is of no consequence is forgotten like any other.
#[test]
fn an_account_with_a_balance_is_kept_in_memory() {
    let account = Arc::<AccountState>::default();
    let mut refused = admit(&account, &allowance(true, None));
    assert_eq!(refused.hold(&key(), cents(1)).unwrap_err().purse, Purse::Balance);
    refused.refund();
    assert!(account.is_idle(NOW, 7), "an empty balance is none");
    account.deposit(cents(1));
    assert!(!account.is_idle(NOW, 7));
    account.withdraw(cents(1)).unwrap();
    assert!(account.is_idle(NOW, 7));
}
