//! One state an account, and forgetting.

use super::*;
use crate::admission::quota::Allowance;
use crate::admission::windows::WindowLimits;

const NOW: Duration = Duration::from_secs(86_400);
const DAY: Duration = Duration::from_secs(86_400);

fn id(number: usize) -> Arc<str> {
    format!("account-{number}").into()
}

#[test]
fn an_account_has_one_state_whoever_asks() {
    let rates = Rates::new();
    let state = rates.account(&id(1));
    assert!(Arc::ptr_eq(&state, &rates.account(&id(1))));
    assert!(!Arc::ptr_eq(&state, &rates.account(&id(2))));
    assert_eq!(rates.active(), 2);
}

#[test]
fn accounts_spread_over_the_shards() {
    let rates = Rates::new();
    for number in 0..6_400 {
        rates.account(&id(number));
    }
    let fullest = rates.shards.iter().map(|shard| shard.lock().len()).max();
    assert!(fullest < Some(200), "{fullest:?} of 6,400 accounts share one of 64 shards");
}

#[test]
fn a_sweep_forgets_only_accounts_that_count_nothing_and_that_nobody_holds() {
    let rates = Rates::new();
    let limits = WindowLimits { minute: 5, hour: 5, day: 5 };
    for number in 0..1_000 {
        let admitted = rates.account(&id(number)).admit(NOW, &limits, 1, &Allowance::NONE);
        assert!(admitted.is_ok());
    }
    let held = rates.account(&id(0));
    let running = rates.account(&id(1)).admit(NOW, &limits, 1, &Allowance::NONE);
    assert!(rates.account(&id(2)).admit(NOW + DAY / 2, &limits, 1, &Allowance::NONE).is_ok());

    assert_eq!(rates.sweep(NOW + DAY - Duration::from_nanos(1), 0), 0);
    assert_eq!(rates.sweep(NOW + DAY, 0), 997);
    assert_eq!(rates.active(), 3);
    assert!(Arc::ptr_eq(&held, &rates.account(&id(0))));
    assert_eq!(rates.account(&id(1)).running(), 1);
    assert_eq!(rates.account(&id(2)).standing(NOW + DAY, &limits).remaining, 4);

    drop((held, running));
    assert_eq!(rates.sweep(NOW + DAY * 2, 0), 3);
    assert_eq!(rates.active(), 0);
    let capacity: usize = rates.shards.iter().map(|shard| shard.lock().capacity()).sum();
    assert_eq!(capacity, 0, "the memory was not given back");
}
