//! Dividing what one call cost among those who shared it.

use crate::base::money::Money;

/// The share of `total` that falls to number `index` of `among`, counted from 0:
/// equal parts in pico-dollars, where the first ones bear what is left over. The
/// shares of all add up to `total`.
pub fn share(total: Money, index: u32, among: u32) -> Money {
    let parts = i128::from(among.max(1));
    let (each, over) = (total.picos().div_euclid(parts), total.picos().rem_euclid(parts));
    Money::from_picos(each + i128::from(i128::from(index) < over))
}

/// `total` divided in proportion to `weights`: each part rounded down to the
/// pico-dollar, where the first ones bear what is left over. The parts add up to
/// `total`. Weights that are all 0 count as equal.
pub fn by_weight(total: Money, weights: &[u64]) -> Vec<Money> {
    let sum: i128 = weights.iter().map(|weight| i128::from(*weight)).sum();
    let equal = sum == 0;
    let sum = if equal { weights.len() as i128 } else { sum };
    // Divided first, so that no product overflows.
    let (whole, rest) = (total.picos() / sum.max(1), total.picos() % sum.max(1));
    let part = |weight: &u64| {
        let weight = if equal { 1 } else { i128::from(*weight) };
        whole * weight + rest * weight / sum
    };
    let mut parts: Vec<i128> = weights.iter().map(part).collect();
    let over = total.picos() - parts.iter().sum::<i128>();
    for part in parts.iter_mut().take(usize::try_from(over).unwrap_or(0)) {
        *part += 1;
    }
    parts.into_iter().map(Money::from_picos).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Covers B3 and invariant 2.
        #[test]
        fn shares_add_up_and_differ_by_a_unit_at_most(picos in 0_i128..1 << 90, among in 1_u32..600) {
            let total = Money::from_picos(picos);
            let shares: Vec<_> = (0..among).map(|index| share(total, index, among)).collect();
            prop_assert_eq!(shares.iter().copied().sum::<Money>(), total);
            let (most, least) = (shares.iter().max().unwrap(), shares.iter().min().unwrap());
            prop_assert!(most.picos() - least.picos() <= 1);
        }
    }

    proptest! {
        /// Covers B3 and invariant 2.
        #[test]
        fn weighed_parts_add_up_and_are_at_most_a_unit_away(
            picos in 0_i128..1 << 70,
            weights in prop::collection::vec(0_u64..1 << 30, 1..200),
        ) {
            let parts = by_weight(Money::from_picos(picos), &weights);
            prop_assert_eq!(parts.iter().copied().sum::<Money>().picos(), picos);
            let sum: i128 = weights.iter().map(|weight| i128::from(*weight)).sum();
            for (part, weight) in parts.iter().zip(&weights).filter(|_| sum > 0) {
                prop_assert!((part.picos() * sum - picos * i128::from(*weight)).abs() <= sum);
            }
        }
    }

    #[test]
    fn one_alone_bears_all() {
        let total = Money::from_picos(7);
        assert_eq!(share(total, 0, 1), total);
        assert_eq!(share(total, 0, 0), total);
    }
}
