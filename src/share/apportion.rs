//! Dividing a whole number among those who share it.

/// `total` divided in proportion to `weights`, by the largest remainder: the parts
/// add up to `total`, and each is less than one away from its exact share. Of
/// equal remainders the first comes first. Weights that are all 0 count as equal;
/// without weights there are no parts.
///
/// Source: the method of Hamilton, as used to apportion seats.
pub fn apportion(total: u64, weights: &[u64]) -> Vec<u64> {
    let sum: u128 = weights.iter().map(|weight| u128::from(*weight)).sum();
    let equal = sum == 0;
    let sum = if equal { weights.len() as u128 } else { sum };
    let product = |weight: &u64| u128::from(total) * if equal { 1 } else { u128::from(*weight) };
    let mut parts: Vec<u64> = Vec::with_capacity(weights.len());
    let mut remainders = Vec::with_capacity(weights.len());
    for (place, weight) in weights.iter().enumerate() {
        let (part, rest) = (product(weight) / sum, product(weight) % sum);
        // At most `total`.
        parts.push(u64::try_from(part).unwrap_or(u64::MAX));
        remainders.push((rest, place));
    }
    let over = total.saturating_sub(parts.iter().sum());
    remainders.sort_unstable_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    for (_, place) in remainders.into_iter().take(usize::try_from(over).unwrap_or(usize::MAX)) {
        if let Some(part) = parts.get_mut(place) {
            *part += 1;
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_largest_remainders_are_rounded_up() {
        assert_eq!(apportion(10, &[1, 1, 1]), [4, 3, 3]);
        assert_eq!(apportion(7, &[5, 3, 2]), [4, 2, 1]);
        assert_eq!(apportion(5, &[0, 0]), [3, 2]);
        assert_eq!(apportion(5, &[0, 9]), [0, 5]);
        assert!(apportion(5, &[]).is_empty());
    }

    proptest! {
        /// Covers B3 and invariant 2.
        #[test]
        fn parts_add_up_and_are_less_than_one_away(
            total in 0_u64..1 << 40,
            weights in prop::collection::vec(0_u64..1 << 30, 1..200),
        ) {
            let parts = apportion(total, &weights);
            prop_assert_eq!(parts.iter().sum::<u64>(), total);
            let sum: u128 = weights.iter().map(|weight| u128::from(*weight)).sum();
            for (part, weight) in parts.iter().zip(&weights).filter(|_| sum > 0) {
                let exact = u128::from(total) * u128::from(*weight);
                prop_assert!((u128::from(*part) * sum).abs_diff(exact) < sum);
            }
        }
    }
}
