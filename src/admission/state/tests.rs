//! Admission under many threads, and its guard.

use std::sync::Barrier;
use std::thread;

use super::*;

const NOW: Duration = Duration::from_secs(86_400);
const MINUTE: Duration = Duration::from_secs(60);

fn per_minute(limit: u32) -> WindowLimits {
    WindowLimits { minute: limit, ..WindowLimits::UNLIMITED }
}

fn account() -> Arc<AccountState> {
    Arc::default()
}

/// Runs `ask` 1,000 times in each of 64 threads that start together.
fn stampede(ask: impl Fn() + Sync) {
    let start = Barrier::new(64);
    thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| {
                start.wait();
                (0..1_000).for_each(|_| ask());
            });
        }
    });
}

/// Covers F5: of any number of simultaneous requests exactly the limit pass.
#[test]
fn of_64_000_simultaneous_requests_exactly_five_pass() {
    for round in 0..50 {
        let (account, passed) = (account(), AtomicU32::new(0));
        stampede(|| {
            if account.admit(NOW, &per_minute(5), u32::MAX, &Allowance::NONE).is_ok() {
                passed.fetch_add(1, Ordering::SeqCst);
            }
        });
        assert_eq!((passed.into_inner(), account.running()), (5, 0), "round {round}");
    }
}

/// Covers F4: never more at once than the plan allows, and none lost.
#[test]
fn never_more_run_at_once_than_allowed() {
    let (account, held, most) = (account(), AtomicU32::new(0), AtomicU32::new(0));
    stampede(|| {
        if let Ok(admission) = account.admit(NOW, &WindowLimits::UNLIMITED, 3, &Allowance::NONE) {
            let now = held.fetch_add(1, Ordering::SeqCst) + 1;
            most.fetch_max(now, Ordering::SeqCst);
            thread::yield_now();
            held.fetch_sub(1, Ordering::SeqCst);
            drop(admission);
        }
    });
    assert_eq!((most.into_inner(), account.running()), (3, 0));
}

#[test]
fn refunds_under_contention_leave_exactly_what_was_kept() {
    let (account, kept) = (account(), AtomicU32::new(0));
    stampede(|| {
        if let Ok(admission) = account.admit(NOW, &per_minute(500), u32::MAX, &Allowance::NONE) {
            if kept.load(Ordering::SeqCst) < 100 {
                kept.fetch_add(1, Ordering::SeqCst);
            } else {
                admission.refund();
            }
        }
    });
    let kept = kept.into_inner();
    assert!((100..164).contains(&kept), "{kept}");
    assert_eq!(account.standing(NOW, &per_minute(500)).remaining, 500 - kept);
    assert_eq!(account.running(), 0);
}

#[test]
fn slots_come_back_in_any_order() {
    let account = account();
    let mut held: Vec<_> =
        std::iter::from_fn(|| account.admit(NOW, &per_minute(90), 4, &Allowance::NONE).ok())
            .collect();
    assert_eq!((held.len(), account.running()), (4, 4));
    drop(held.swap_remove(1));
    drop(held.swap_remove(0));
    assert_eq!(account.running(), 2);
    assert!(account.admit(NOW, &per_minute(90), 4, &Allowance::NONE).is_ok());
    held.clear();
    assert_eq!(account.running(), 0);
}

#[test]
fn a_request_refused_for_concurrency_takes_nothing_from_the_windows() {
    let account = account();
    let limits = per_minute(9);
    let running = account.admit(NOW, &limits, 1, &Allowance::NONE).unwrap();
    assert_eq!(running.standing().remaining, 8);
    let denied = account.admit(NOW, &limits, 1, &Allowance::NONE).unwrap_err();
    assert!(matches!(denied, Denied::Concurrency { limit: 1, .. }));
    assert_eq!(denied.standing().remaining, 8);
    drop(running);
    assert_eq!(account.standing(NOW, &limits).remaining, 8);
}

#[test]
fn a_request_refused_by_a_window_takes_no_slot() {
    let account = account();
    let running = account.admit(NOW, &per_minute(1), 10, &Allowance::NONE).unwrap();
    let denied = account.admit(NOW, &per_minute(1), 10, &Allowance::NONE).unwrap_err();
    let Denied::Rate(refusal) = denied else { panic!("{denied:?}") };
    assert_eq!((refusal.retry_after, account.running()), (MINUTE, 1));
    drop(running);
    assert_eq!(account.running(), 0);
}

#[test]
fn a_refund_gives_back_both_and_a_drop_the_slot_alone() {
    let account = account();
    let limits = per_minute(3);
    let first = account.admit(NOW, &limits, 3, &Allowance::NONE).unwrap();
    let second = account.admit(NOW + MINUTE / 2, &limits, 3, &Allowance::NONE).unwrap();
    first.refund();
    assert_eq!((account.running(), account.standing(NOW + MINUTE / 2, &limits).remaining), (1, 2));
    drop(second);
    assert_eq!(account.standing(NOW + MINUTE, &limits).remaining, 2, "the second still counts");
    assert!(!account.is_idle(NOW + MINUTE, 0));
}

#[test]
fn an_account_is_idle_once_its_day_is_over_and_nothing_runs() {
    let account = account();
    assert!(account.is_idle(NOW, 0));
    let admission = account.admit(NOW, &WindowLimits::UNLIMITED, 1, &Allowance::NONE).unwrap();
    let tomorrow = NOW + MINUTE * 60 * 24;
    assert!(!account.is_idle(tomorrow, 0));
    drop(admission);
    assert!(account.is_idle(tomorrow, 0));
    account.restore(tomorrow);
    assert!(!account.is_idle(tomorrow, 0));
}
