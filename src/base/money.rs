//! Exact amounts of money.
//!
//! Provider prices are quoted in dollars per million tokens with up to six
//! decimals, so one token costs a whole number of pico-dollars (10⁻¹² $). All
//! amounts are integers of that unit; nothing is rounded before an invoice line.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Neg, Sub, SubAssign};
use std::str::FromStr;

/// Pico-dollars in one dollar.
const PICOS: i128 = 1_000_000_000_000;
/// Decimal places of a pico-dollar.
const PLACES: usize = 12;

/// An amount in pico-dollars (10⁻¹² $).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Money(i128);

/// Why a text is not an amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAmount {
    /// Not a plain decimal number.
    #[error("an amount is a decimal number such as 0.02")]
    Syntax,
    /// More decimals than a pico-dollar has.
    #[error("an amount has at most 12 decimals")]
    TooFine,
    /// Larger than any price can be.
    #[error("the amount is too large")]
    TooLarge,
}

impl Money {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The largest amount.
    pub const MAX: Self = Self(i128::MAX);

    /// `picos` pico-dollars.
    pub const fn from_picos(picos: i128) -> Self {
        Self(picos)
    }

    /// The amount in pico-dollars.
    pub const fn picos(self) -> i128 {
        self.0
    }

    /// `self` taken `count` times; saturates at the largest amount.
    #[must_use]
    pub const fn times(self, count: u64) -> Self {
        Self(self.0.saturating_mul(count as i128))
    }

    /// Whether the amount is nothing.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The amount in dollars as a float, for metrics only.
    #[expect(clippy::cast_precision_loss, clippy::float_arithmetic, reason = "metrics are floats")]
    pub fn as_f64(self) -> f64 {
        self.0 as f64 / PICOS as f64
    }
}

impl FromStr for Money {
    type Err = BadAmount;

    fn from_str(text: &str) -> Result<Self, BadAmount> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !plain(whole) || !plain(fraction) || digits.ends_with('.') {
            return Err(BadAmount::Syntax);
        }
        let fraction = fraction.trim_end_matches('0');
        if fraction.len() > PLACES {
            return Err(BadAmount::TooFine);
        }
        let whole: i128 = whole.parse().map_err(|_| BadAmount::TooLarge)?;
        let fraction: i128 =
            format!("{fraction:0<PLACES$}").parse().map_err(|_| BadAmount::Syntax)?;
        let picos = whole
            .checked_mul(PICOS)
            .and_then(|dollars| dollars.checked_add(fraction))
            .ok_or(BadAmount::TooLarge)?;
        Ok(Self(if negative { -picos } else { picos }))
    }
}

impl fmt::Display for Money {
    /// Dollars as a plain decimal without trailing zeros: `0.02`, `-1.5`, `0`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let picos = self.0.unsigned_abs();
        let one = PICOS.unsigned_abs();
        let mut digits = itoa::Buffer::new();
        f.write_str(sign)?;
        f.write_str(digits.format(picos / one))?;
        // The digits of the fraction behind a 1, so that none of them is left out.
        match digits.format(one + picos % one).trim_end_matches('0').strip_prefix('1') {
            None | Some("") => Ok(()),
            Some(fraction) => {
                f.write_str(".")?;
                f.write_str(fraction)
            }
        }
    }
}

impl Add for Money {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sub for Money {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Neg for Money {
    type Output = Self;
    fn neg(self) -> Self {
        Self(self.0.saturating_neg())
    }
}

impl AddAssign for Money {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl SubAssign for Money {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

impl Sum for Money {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

impl serde::Serialize for Money {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Money {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl<C> minicbor::Encode<C> for Money {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        match i64::try_from(self.0) {
            Ok(small) => e.i64(small)?.ok(),
            Err(_) => e.bytes(&self.0.to_be_bytes())?.ok(),
        }
    }
}

impl<'b, C> minicbor::Decode<'b, C> for Money {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        if d.datatype()? == minicbor::data::Type::Bytes {
            let bytes: [u8; 16] = d
                .bytes()?
                .try_into()
                .map_err(|_| minicbor::decode::Error::message("an amount is 16 bytes"))?;
            return Ok(Self(i128::from_be_bytes(bytes)));
        }
        d.i64().map(|picos| Self(i128::from(picos)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn amounts_are_written_as_they_are_read() {
        for text in ["0", "0.02", "29", "0.000000000001", "-1.5", "199.99"] {
            assert_eq!(text.parse::<Money>().unwrap().to_string(), text);
        }
        assert_eq!("1.50".parse::<Money>().unwrap().to_string(), "1.5");
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for text in ["", ".", "1.", ".5", "1e3", "+1", "--1", "0x1", "1_000", " 1"] {
            assert_eq!(text.parse::<Money>(), Err(BadAmount::Syntax), "{text:?}");
        }
        assert_eq!("0.0000000000001".parse::<Money>(), Err(BadAmount::TooFine));
        assert_eq!("9".repeat(40).parse::<Money>(), Err(BadAmount::TooLarge));
    }

    proptest! {
        #[test]
        fn every_amount_survives_text_and_cbor(picos in any::<i64>(), wide in any::<bool>()) {
            let picos = i128::from(picos) * if wide { 1_000_000_000 } else { 1 };
            let money = Money::from_picos(picos);
            prop_assert_eq!(money.to_string().parse::<Money>().unwrap(), money);
            let bytes = minicbor::to_vec(money).unwrap();
            prop_assert_eq!(minicbor::decode::<Money>(&bytes).unwrap(), money);
        }
    }
}
