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

    #[test]
    fn one_alone_bears_all() {
        let total = Money::from_picos(7);
        assert_eq!(share(total, 0, 1), total);
        assert_eq!(share(total, 0, 0), total);
    }
}
