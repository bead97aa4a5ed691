//! Exact decimal factors: a markup, a share.

use std::fmt;
use std::str::FromStr;

use crate::base::money::{BadAmount, Money};

/// One, in millionths.
const ONE: i128 = 1_000_000;
/// Largest factor: a million.
const LARGEST: i128 = ONE * 1_000_000;

/// A decimal number from 0 to a million with at most six decimals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Factor {
    millionths: i128,
}

/// Why a text is not a factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadFactor {
    /// Not a plain decimal number, or a negative one.
    #[error("a factor is a decimal number such as 8 or 1.25")]
    Syntax,
    /// More than six decimals.
    #[error("a factor has at most six decimals")]
    TooFine,
    /// More than a million.
    #[error("a factor is at most 1000000")]
    TooLarge,
}

impl Factor {
    /// The factor 0.
    pub const ZERO: Self = Self { millionths: 0 };
    /// The factor 1.
    pub const ONE: Self = Self { millionths: ONE };

    /// `amount` × the factor; `None` if that is no whole number of pico-dollars,
    /// or beyond the largest amount.
    pub const fn of(self, amount: Money) -> Option<Money> {
        match amount.picos().checked_mul(self.millionths) {
            Some(product) if product % ONE == 0 => Some(Money::from_picos(product / ONE)),
            _ => None,
        }
    }

    /// Whether `part` is at least `whole` × the factor, compared exactly.
    pub const fn reaches(self, part: u64, whole: u64) -> bool {
        part as i128 * ONE >= whole as i128 * self.millionths
    }

    /// Whether `part` is at most `whole` × the factor, compared exactly.
    pub const fn covers(self, part: u64, whole: u64) -> bool {
        part as i128 * ONE <= whole as i128 * self.millionths
    }

    /// Whether `part` is at most `whole` × (1 − the factor), compared exactly.
    pub const fn leaves(self, part: Money, whole: Money) -> bool {
        let left = ONE - self.millionths;
        part.picos().saturating_mul(ONE) <= whole.picos().saturating_mul(left)
    }
}

impl FromStr for Factor {
    type Err = BadFactor;

    fn from_str(text: &str) -> Result<Self, BadFactor> {
        // An amount has twelve decimals, six more than a factor.
        let amount: Money = text.parse().map_err(|bad| match bad {
            BadAmount::Syntax => BadFactor::Syntax,
            BadAmount::TooFine => BadFactor::TooFine,
            BadAmount::TooLarge => BadFactor::TooLarge,
        })?;
        if amount < Money::ZERO {
            return Err(BadFactor::Syntax);
        }
        if amount.picos() % ONE != 0 {
            return Err(BadFactor::TooFine);
        }
        let millionths = amount.picos() / ONE;
        if millionths > LARGEST {
            return Err(BadFactor::TooLarge);
        }
        Ok(Self { millionths })
    }
}

impl fmt::Display for Factor {
    /// A plain decimal without trailing zeros: `8`, `1.25`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Money::from_picos(self.millionths * ONE).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn factor(text: &str) -> Factor {
        text.parse().unwrap()
    }

    #[test]
    fn factors_are_read_exactly() {
        for text in ["0", "1", "1.25", "8", "0.000001", "1000000"] {
            assert_eq!(factor(text).to_string(), text);
        }
        assert_eq!("-1".parse::<Factor>(), Err(BadFactor::Syntax));
        assert_eq!("1e3".parse::<Factor>(), Err(BadFactor::Syntax));
        assert_eq!("1.0000001".parse::<Factor>(), Err(BadFactor::TooFine));
        assert_eq!("1000000.1".parse::<Factor>(), Err(BadFactor::TooLarge));
    }

    #[test]
    fn a_product_is_exact_or_none() {
        let picos = Money::from_picos;
        assert_eq!(factor("8").of(picos(75_000)), Some(picos(600_000)));
        assert_eq!(factor("1.5").of(picos(2)), Some(picos(3)));
        assert_eq!(factor("1.5").of(picos(1)), None);
        assert_eq!(factor("2").of(picos(i128::MAX)), None);
    }

    #[test]
    fn a_share_is_compared_exactly() {
        let picos = Money::from_picos;
        assert!(factor("0.2").leaves(picos(80), picos(100)));
        assert!(!factor("0.2").leaves(picos(81), picos(100)));
        assert!(Factor::ZERO.leaves(picos(100), picos(100)));
        assert!(!Factor::ZERO.leaves(picos(101), picos(100)));
    }
}
