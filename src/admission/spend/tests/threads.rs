//! Months of requests and dollars under many threads.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::*;

/// Runs `ask` 200 times in each of 32 threads that start together.
fn stampede(ask: impl Fn(usize) + Sync) {
    let start = Barrier::new(32);
    thread::scope(|scope| {
        for number in 0..32 {
            let (start, ask) = (&start, &ask);
            scope.spawn(move || {
                start.wait();
                (0..200).for_each(|_| ask(number));
            });
        }
    });
}

fn class() -> Arc<str> {
    "chat".into()
}

/// At no moment is more than the budgets charged or reserved, and in the end they
/// are used up to the last request that fits.
#[test]
fn budgets_hold_under_many_threads() {
    let account = Arc::<AccountState>::default();
    let asked = Allowance { budget: Some(cents(701)), key_budget: Some(cents(399)), ..counted(1) };
    stampede(|number| {
        let id = key(number % 2);
        let admitted = account.admit(NOW, &WindowLimits::UNLIMITED, u32::MAX, &asked);
        let mut admission = admitted.unwrap();
        let held = admission.hold(&id, cents(4));
        let standing = account.month(&id, &asked);
        assert!(standing.account.charged + standing.account.reserved <= cents(701));
        assert!(standing.key.charged + standing.key.reserved <= cents(399));
        // Every third is not charged, and gives all back.
        if held.is_ok() && number % 3 > 0 {
            admission.take_place(&class());
            admission.charge(&id, cents(2));
        }
    });
    let (one, two) = (account.month("key_0", &asked), account.month("key_1", &asked));
    assert_eq!(
        one.account,
        Spend { charged: one.key.charged + two.key.charged, ..Spend::default() }
    );
    // What was refused for the sake of a reservation that was settled for less may
    // come now, until four more cents fit neither the account nor the key.
    for id in [key(0), key(1)] {
        let hold = || {
            let admitted = account.admit(NOW, &WindowLimits::UNLIMITED, u32::MAX, &asked);
            let mut admission = admitted.unwrap();
            admission.hold(&id, cents(4)).ok().map(|()| admission)
        };
        while let Some(mut admission) = hold() {
            admission.take_place(&class());
            admission.charge(&id, cents(2));
        }
    }
    let (one, two) = (account.month("key_0", &asked), account.month("key_1", &asked));
    let left = cents(701) - one.account.charged;
    let keys = [one, two].map(|key| cents(399) - key.key.charged);
    assert!(left < cents(4) || keys.iter().all(|left| *left < cents(4)), "{left} {keys:?}");
    assert_eq!((one.running, account.running()), (0, 0));
}

/// Of any number of simultaneous requests as many as the quota are within it,
/// whichever records cannot be written, and every threshold is told once.
#[test]
fn overage_begins_exactly_at_the_quota_under_many_threads() {
    let account = Arc::<AccountState>::default();
    let asked = Allowance { limit: Some(1_000), overage: true, ..counted(1) };
    let (within, beyond, told) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    stampede(|number| {
        let admitted = account.admit(NOW, &WindowLimits::UNLIMITED, u32::MAX, &asked);
        let mut admission = admitted.unwrap();
        if number % 4 == 0 {
            return;
        }
        let over = admission.take_place(&class()).beyond;
        if number % 4 == 1 {
            // Its record cannot be written.
            admission.return_place();
            return;
        }
        let charged = admission.charge(&key(number), Money::ZERO);
        told.fetch_add(charged.crossings.len() as u64, Ordering::SeqCst);
        if over { &beyond } else { &within }.fetch_add(1, Ordering::SeqCst);
    });
    assert_eq!(account.month("", &asked).charged, 3_200);
    assert_eq!(account.volume().next(&class(), 1), 3_201, "numbers are given back too");
    let (within, beyond) = (within.into_inner(), beyond.into_inner());
    assert_eq!((within + beyond, told.into_inner()), (3_200, 2));
    // A place that came free last of all is the next request's.
    let next = || {
        let admitted = account.admit(NOW, &WindowLimits::UNLIMITED, u32::MAX, &asked);
        let mut admission = admitted.unwrap();
        let over = admission.take_place(&class()).beyond;
        admission.charge(&key(0), Money::ZERO);
        over
    };
    assert!(within <= 1_000 && (within..1_000).all(|_| !next()) && next(), "{within}");
}

#[test]
fn overage_begins_exactly_at_the_quota_where_every_record_is_written() {
    for round in 0..20 {
        let account = Arc::<AccountState>::default();
        let asked = Allowance { limit: Some(1_000), overage: true, ..counted(1) };
        let within = AtomicU64::new(0);
        stampede(|number| {
            let admitted = account.admit(NOW, &WindowLimits::UNLIMITED, u32::MAX, &asked);
            let mut admission = admitted.unwrap();
            if number % 4 > 0 && !admission.take_place(&class()).beyond {
                within.fetch_add(1, Ordering::SeqCst);
            }
            admission.charge(&key(number), Money::ZERO);
        });
        assert_eq!(within.into_inner(), 1_000, "round {round}");
        assert_eq!(account.month("", &asked).charged, 4_800);
    }
}
