//! How much may be tried again: a share of what was asked lately.
//!
//! Retries help where few calls fail and harm where all do. So those of the last
//! 10 s are at most a share of the requests of the last 10 s, with a few that are
//! always allowed, for times when hardly anything is asked. This is Finagle's
//! `RetryBudget` (20 percent, 10 s) with its window counted in slices of a second
//! and its floor as the larger, not the sum, of both: so calls are at most
//! 1 + share times the requests wherever the share is the larger.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::base::factor::Factor;

/// Slices of the window, a second each.
const SLICES: u64 = 10;
/// Retries in a window that need no requests: as many as it takes failures to open
/// a breaker as it is shipped, so that none of those requests is left alone.
const ALWAYS: u64 = 10;
/// Bits of each of both counts of a slice.
const COUNT: u32 = 20;
/// Largest count of a slice.
const MOST: u64 = (1 << COUNT) - 1;

/// The budget of one provider: the requests it was given, and what was tried again
/// because it failed.
#[derive(Debug, Default)]
pub struct Budget {
    /// Each the second that it counts, and its requests and retries, in one word:
    /// so that nothing is added to a slice of another second.
    slices: [AtomicU64; SLICES as usize],
    /// Held by who withdraws, so that two do not take the same place.
    withdrawing: Mutex<()>,
}

impl Budget {
    /// A request is given to the provider.
    pub fn request(&self, now: Duration) {
        self.add(now, 1 << COUNT);
    }

    /// Takes a retry from the budget, if there is one.
    pub fn withdraw(&self, share: Factor, now: Duration) -> bool {
        let _alone = self.withdrawing.lock();
        let (requests, retries) = self.counts(now);
        let wanted = retries.saturating_add(1);
        // Not above the share: the share of the requests is at least the retries.
        let allowed = wanted <= ALWAYS || share.covers(wanted, requests);
        if allowed {
            self.add(now, 1);
        }
        allowed
    }

    /// Requests and retries of the last 10 s.
    pub fn counts(&self, now: Duration) -> (u64, u64) {
        let second = now.as_secs();
        let counts = self.slices.iter().map(|slice| {
            let word = slice.load(Ordering::Relaxed);
            let age = second.wrapping_sub(word >> (2 * COUNT)) & SECONDS;
            if age < SLICES { ((word >> COUNT) & MOST, word & MOST) } else { (0, 0) }
        });
        counts.fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1))
    }

    fn add(&self, now: Duration, one: u64) {
        let second = now.as_secs() & SECONDS;
        let place = usize::try_from(now.as_secs() % SLICES).unwrap_or(0);
        let Some(slice) = self.slices.get(place) else { return };
        let add = |word: u64| {
            let counted = if word >> (2 * COUNT) == second { word } else { second << (2 * COUNT) };
            let full = (counted >> COUNT) & MOST == MOST || counted & MOST == MOST;
            Some(if full { counted } else { counted + one })
        };
        // It always succeeds: the closure gives a word whatever it is given.
        let _before = slice.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }
}

/// The bits of a second that a slice holds: they repeat after half a year.
const SECONDS: u64 = (1 << (64 - 2 * COUNT)) - 1;

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::AtomicU32;

    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(86_400 + seconds)
    }

    fn fifth() -> Factor {
        "0.2".parse().unwrap()
    }

    #[test]
    fn a_few_are_always_allowed_and_then_a_share() {
        let budget = Budget::default();
        for _ in 0..ALWAYS {
            assert!(budget.withdraw(fifth(), at(0)));
        }
        assert!(!budget.withdraw(fifth(), at(0)));
        for _ in 0..54 {
            budget.request(at(5));
        }
        assert!(!budget.withdraw(fifth(), at(5)), "a fifth of 54 is less than 11");
        budget.request(at(5));
        assert!(budget.withdraw(fifth(), at(5)));
        assert!(!budget.withdraw(fifth(), at(9)));
        // The first ten retries have left the window, the requests have not.
        assert!(budget.withdraw(fifth(), at(14)));
        assert_eq!(budget.counts(at(14)), (55, 2));
        assert_eq!(budget.counts(at(24)), (0, 0));
    }

    #[test]
    fn nothing_but_the_few_is_allowed_without_a_share() {
        let budget = Budget::default();
        for _ in 0..1_000 {
            budget.request(at(0));
        }
        let allowed = (0..100).filter(|_| budget.withdraw(Factor::ZERO, at(0))).count();
        assert_eq!(allowed as u64, ALWAYS);
    }

    #[test]
    fn two_never_take_the_same_place() {
        let (budget, start, allowed) = (Budget::default(), Barrier::new(8), AtomicU32::new(0));
        for _ in 0..100 {
            budget.request(at(0));
        }
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    start.wait();
                    for _ in 0..100 {
                        allowed.fetch_add(
                            u32::from(budget.withdraw(fifth(), at(0))),
                            Ordering::SeqCst,
                        );
                    }
                });
            }
        });
        assert_eq!(allowed.into_inner(), 20);
    }

    proptest! {
        /// In any window that ends with a retry, retries are within the share of the
        /// requests of the same window, or are the few.
        #[test]
        fn retries_are_within_their_share(
            share in 0_u32..=100,
            steps in proptest::collection::vec((any::<bool>(), 0_u64..3), 1..400),
        ) {
            let share: Factor = format!("{}.{:02}", share / 100, share % 100).parse().unwrap();
            let budget = Budget::default();
            let (mut requests, mut retries) = (Vec::new(), Vec::new());
            let mut now = 86_400;
            for (request, later) in steps {
                now += later;
                let within = |all: &Vec<u64>| all.iter().filter(|when| now - **when < SLICES).count() as u64;
                if request {
                    budget.request(Duration::from_secs(now));
                    requests.push(now);
                    continue;
                }
                let wanted = within(&retries) + 1;
                let right = wanted <= ALWAYS || share.covers(wanted, within(&requests));
                prop_assert_eq!(budget.withdraw(share, Duration::from_secs(now)), right);
                if right {
                    retries.push(now);
                }
            }
        }
    }
}
