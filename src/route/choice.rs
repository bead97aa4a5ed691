//! In which order the targets of a model are asked.
//!
//! Targets are in groups: those of one group are preferred alike, those of the next
//! are asked when no target of the groups before can answer. What makes a group is
//! told by [`Prefer`], as is who is first in it. Health is not looked at here: who
//! cannot be called is passed over when its turn comes.

use std::cmp::Ordering;

use rand::{Rng, RngExt};

use crate::base::money::Money;
use crate::config::{Prefer, Target};

/// What decides about one target.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    /// Its group, from 0.
    pub group: usize,
    /// Its share among its equals.
    pub weight: u32,
    /// How loaded it is; 0 is not known.
    pub load: u64,
    /// What the request is expected to cost there; `None` is not known.
    pub cost: Option<Money>,
}

/// The groups of `targets`, which are in the order of the file: by order, neighbours
/// that have a weight are one group and every other target is one by itself; else all
/// are. Targets of different pools are never in one group.
pub fn groups<'t>(
    targets: impl Iterator<Item = &'t Target>,
    prefer: Prefer,
) -> impl Iterator<Item = usize> {
    let mut before: Option<(&Target, usize)> = None;
    targets.map(move |target| {
        let group = match before {
            None => 0,
            Some((other, group)) => {
                let weighted = other.weight.is_some() && target.weight.is_some();
                let alike = other.provider.pool == target.provider.pool;
                if alike && (weighted || prefer != Prefer::Order) { group } else { group + 1 }
            }
        };
        before = Some((target, group));
        group
    })
}

/// The places of `candidates`, whose groups ascend, in the order in which they are
/// to be asked.
///
/// By latency, two of a group are drawn by weight and the less loaded of them is
/// first: the power of two choices (Mitzenmacher 2001), by which no target is rushed
/// when it becomes the fastest. By cost the cheapest is first, what has no known
/// price last. Otherwise targets are drawn by weight.
pub fn order(candidates: &[Candidate], prefer: Prefer, random: &mut impl Rng) -> Vec<usize> {
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    let group = |place: &usize| candidates.get(*place).map_or(0, |candidate| candidate.group);
    for equals in order.chunk_by_mut(|one, other| group(one) == group(other)) {
        if equals.len() == 1 {
            continue;
        }
        match prefer {
            Prefer::Order | Prefer::Weight => draw(equals, candidates, equals.len(), random),
            Prefer::Latency => {
                draw(equals, candidates, 2, random);
                // The two that were drawn first, then the others.
                let (drawn, others) = equals.split_at_mut(2);
                let load = |place: &usize| candidates.get(*place).map_or(0, |it| it.load);
                drawn.sort_by_key(load);
                others.sort_by_key(load);
            }
            Prefer::Cost => equals.sort_by(|one, other| {
                let cost = |place: &usize| candidates.get(*place).and_then(|it| it.cost);
                match (cost(one), cost(other)) {
                    (Some(one), Some(other)) => one.cmp(&other),
                    (one, other) => match (one.is_none(), other.is_none()) {
                        (true, false) => Ordering::Greater,
                        (false, true) => Ordering::Less,
                        _ => Ordering::Equal,
                    },
                }
            }),
        }
    }
    order
}

/// Draws the first `count` of `places` by weight, without putting any back.
fn draw(places: &mut [usize], candidates: &[Candidate], count: usize, random: &mut impl Rng) {
    let weight = |place: usize| candidates.get(place).map_or(1, |it| u64::from(it.weight.max(1)));
    for first in 0..count.min(places.len().saturating_sub(1)) {
        let Some(left) = places.get_mut(first..) else { return };
        let all: u64 = left.iter().map(|place| weight(*place)).sum();
        let mut drawn = random.random_range(0..all.max(1));
        let found = left.iter().position(|place| {
            let weight = weight(*place);
            let here = drawn < weight;
            drawn = drawn.saturating_sub(weight);
            here
        });
        left.swap(0, found.unwrap_or(0));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;
    use crate::admin::fixture::provider;
    use crate::config::{Pool, Provider};

    fn candidate(group: usize, weight: u32) -> Candidate {
        Candidate { group, weight, load: 0, cost: None }
    }

    fn first(candidates: &[Candidate], prefer: Prefer, seed: u64) -> usize {
        order(candidates, prefer, &mut StdRng::seed_from_u64(seed))[0]
    }

    #[test]
    fn neighbours_with_a_weight_are_equals() {
        let shared = provider("a", None);
        let own = Arc::new(Provider { pool: Pool::Dedicated, ..(*shared).clone() });
        let target = |provider: &Arc<Provider>, weight| Target {
            provider: provider.clone(),
            model: None,
            weight,
            thinking: None,
        };
        let targets = [
            target(&own, Some(1)),
            target(&shared, Some(1)),
            target(&shared, Some(3)),
            target(&shared, None),
            target(&shared, None),
            target(&shared, Some(1)),
        ];
        let of = |prefer| groups(targets.iter(), prefer).collect::<Vec<_>>();
        assert_eq!(of(Prefer::Order), [0, 1, 1, 2, 3, 4]);
        for prefer in [Prefer::Weight, Prefer::Latency, Prefer::Cost] {
            assert_eq!(of(prefer), [0, 1, 1, 1, 1, 1]);
        }
    }

    /// The share of each first place is within four standard deviations of its
    /// weight, over 10,000 draws.
    #[test]
    fn weights_hold() {
        let candidates = [candidate(0, 6), candidate(0, 3), candidate(0, 1)];
        let mut random = StdRng::seed_from_u64(7);
        let mut firsts = [0_u32; 3];
        let mut seconds = [0_u32; 3];
        for _ in 0..10_000 {
            let order = order(&candidates, Prefer::Order, &mut random);
            firsts[order[0]] += 1;
            seconds[order[1]] += u32::from(order[0] == 0);
        }
        for (count, expected) in firsts.into_iter().zip([6_000_u32, 3_000, 1_000]) {
            assert!(count.abs_diff(expected) < 196, "{firsts:?}");
        }
        // What is left is drawn by its weight too: 3 to 1.
        assert!(seconds[1].abs_diff(firsts[0] * 3 / 4) < 160, "{seconds:?} of {firsts:?}");
    }

    #[test]
    fn of_two_drawn_the_less_loaded_is_first() {
        let load = |load| Candidate { load, ..candidate(0, 1) };
        let two = [load(9), load(1)];
        assert!((0..100).all(|seed| first(&two, Prefer::Latency, seed) == 1));
        let three = [load(9), load(1), load(5)];
        let firsts: Vec<_> = (0..300).map(|seed| first(&three, Prefer::Latency, seed)).collect();
        assert!(!firsts.contains(&0), "the slowest is never the better of two");
        let best = firsts.iter().filter(|place| **place == 1).count();
        assert!((160..240).contains(&best), "two of three pairs have it: {best}");
    }

    #[test]
    fn the_cheapest_is_first_and_the_unpriced_last() {
        let cost = |picos: Option<i128>| Candidate {
            cost: picos.map(Money::from_picos),
            ..candidate(0, 1)
        };
        let candidates = [cost(None), cost(Some(5)), cost(Some(2)), cost(Some(5))];
        let order = order(&candidates, Prefer::Cost, &mut StdRng::seed_from_u64(1));
        assert_eq!(order, [2, 1, 3, 0]);
    }

    proptest! {
        #[test]
        fn everybody_is_there_once_and_groups_stay_in_order(
            steps in proptest::collection::vec((any::<bool>(), 0_u32..5, 0_u64..3), 1..12),
            mode in 0_usize..4,
            seed: u64,
        ) {
            let mut group = 0;
            let candidates: Vec<_> = steps
                .into_iter()
                .map(|(next, weight, load)| {
                    group += usize::from(next);
                    Candidate { load, cost: Some(Money::from_picos(load.into())), ..candidate(group, weight) }
                })
                .collect();
            let prefer = [Prefer::Order, Prefer::Weight, Prefer::Latency, Prefer::Cost][mode];
            let order = order(&candidates, prefer, &mut StdRng::seed_from_u64(seed));
            let groups: Vec<_> = order.iter().map(|place| candidates[*place].group).collect();
            prop_assert!(groups.is_sorted());
            let mut all = order.clone();
            all.sort_unstable();
            prop_assert_eq!(all, (0..candidates.len()).collect::<Vec<_>>());
        }
    }
}
