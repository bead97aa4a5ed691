//! Whether an answer may still be given.
//!
//! Sources: RFC 9111, section 4.2, "Freshness", and section 5.2.1, "Request
//! Directives"; RFC 5861, sections 3 and 4, for what may be given past its time. A
//! request whose `max-age` or `min-fresh` asks for something fresh gets nothing
//! past its time unless its `max-stale` allows it.

use std::time::Duration;

use crate::cache::entry::Entry;
use crate::cache::steer::Steering;
use crate::config::Stale;

/// How an answer may be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// As it is.
    Fresh,
    /// Past its time, while a new one is made.
    Renewing,
    /// Past its time, because the request allows that itself.
    Stale,
    /// In place of an answer that a provider owes.
    OnError,
}

/// How `entry` may answer a request at `now`, a monotonic moment, if its class lets
/// answers be given past their time as `stale` says; `None` if it must not.
pub fn judge(entry: &Entry, now: Duration, stale: Stale, steering: &Steering) -> Option<Use> {
    let spent = entry.age(now);
    let young = steering.max_age.is_none_or(|most| spent <= Duration::from_secs(most));
    if steering.no_store || steering.no_cache || !young {
        return None;
    }
    let ahead = Duration::from_secs(steering.min_fresh.unwrap_or(0));
    if now.saturating_add(ahead) < entry.expires {
        return Some(Use::Fresh);
    }
    let past = now.checked_sub(entry.expires)?;
    let allowed = match (steering.max_stale, steering.max_age) {
        _ if steering.min_fresh.is_some() => return None,
        (Some(most), _) if past > Duration::from_secs(most) => return None,
        (Some(_), _) => true,
        (None, Some(_)) => return None,
        (None, None) => false,
    };
    let error = Duration::from_secs(steering.stale_if_error.unwrap_or(u64::MAX));
    if past < stale.while_revalidate {
        Some(Use::Renewing)
    } else if allowed {
        Some(Use::Stale)
    } else if past < stale.if_error && past <= error {
        Some(Use::OnError)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::option;
    use proptest::prelude::*;

    use super::*;
    use crate::cache::entry::tests::entry;

    const fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// What a request says, in seconds.
    #[derive(Clone, Debug)]
    struct Says {
        no_cache: bool,
        max_age: Option<u64>,
        min_fresh: Option<u64>,
        max_stale: Option<u64>,
        stale_if_error: Option<u64>,
    }

    fn says() -> impl Strategy<Value = Says> {
        let figure = || option::of(0_u64..30);
        (proptest::bool::weighted(0.1), figure(), figure(), figure(), figure()).prop_map(
            |(no_cache, max_age, min_fresh, max_stale, stale_if_error)| Says {
                no_cache,
                max_age,
                min_fresh,
                max_stale,
                stale_if_error,
            },
        )
    }

    /// The rules one by one, each of which may forbid: for an answer of this `age`
    /// that is fresh for `ttl`, all in seconds.
    fn model(age: u64, ttl: u64, if_error: u64, renewing: u64, says: &Says) -> Option<Use> {
        let age = i128::from(age);
        let left = i128::from(ttl) - age;
        let fits = |limit: Option<u64>, value: i128| limit.is_none_or(|it| value <= i128::from(it));
        let mut uses = vec![Use::OnError, Use::Stale, Use::Renewing, Use::Fresh];
        uses.retain(|_| !says.no_cache && fits(says.max_age, age));
        uses.retain(|it| (*it == Use::Fresh) == (left > 0));
        uses.retain(|_| says.min_fresh.is_none_or(|it| left > i128::from(it)));
        let stale_allowed = says.max_age.is_none() || says.max_stale.is_some();
        uses.retain(|it| *it == Use::Fresh || (stale_allowed && fits(says.max_stale, -left)));
        uses.retain(|it| match it {
            Use::Fresh => true,
            Use::Renewing => -left < i128::from(renewing),
            Use::Stale => says.max_stale.is_some(),
            Use::OnError => -left < i128::from(if_error) && fits(says.stale_if_error, -left),
        });
        uses.pop()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        /// Covers D5.
        #[test]
        fn an_answer_is_given_as_the_rules_say(
            age in 0_u64..60,
            ttl in 1_u64..30,
            if_error in 0_u64..30,
            renewing in 0_u64..30,
            says in says(),
        ) {
            let steering = Steering {
                no_cache: says.no_cache,
                max_age: says.max_age,
                min_fresh: says.min_fresh,
                max_stale: says.max_stale,
                stale_if_error: says.stale_if_error,
                ..Steering::default()
            };
            let stale = Stale { if_error: secs(if_error), while_revalidate: secs(renewing) };
            let entry = entry("a", secs(5), secs(ttl));
            let found = judge(&entry, secs(5 + age), stale, &steering);
            prop_assert_eq!(found, model(age, ttl, if_error, renewing, &says));
        }
    }

    #[test]
    fn each_time_ends_at_its_moment() {
        let entry = entry("a", secs(5), secs(10));
        let stale = Stale { if_error: secs(60), while_revalidate: secs(20) };
        let micro = Duration::from_micros(1);
        for (until, before, after) in [
            (15, Some(Use::Fresh), Some(Use::Renewing)),
            (35, Some(Use::Renewing), Some(Use::OnError)),
            (75, Some(Use::OnError), None),
        ] {
            let at = |now| judge(&entry, now, stale, &Steering::default());
            assert_eq!(at(secs(until) - micro), before);
            assert_eq!(at(secs(until)), after);
        }
    }
}
