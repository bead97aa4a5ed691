//! Currencies and the one rounding that money meets.

use std::fmt;

use crate::base::money::Money;

/// Decimals of a [`Money`].
const PLACES: u32 = 12;

/// ISO 4217 currencies whose amounts have two decimals.
const TWO: &str = "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP BYN \
    BZD CAD CDF CHF CNY COP CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP \
    GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL \
    MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK \
    PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB \
    TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG";
/// Those without decimals.
const NONE: &str = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF";
/// Those with three.
const THREE: &str = "BHD IQD JOD KWD LYD OMR TND";

/// A currency of ISO 4217 and the decimals of its amounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Currency {
    code: &'static str,
    decimals: u32,
}

impl Currency {
    /// The US dollar.
    pub const USD: Self = Self { code: "USD", decimals: 2 };

    /// The currency with this code of three capital letters.
    pub fn of(code: &str) -> Option<Self> {
        let find = |list: &'static str, decimals| {
            let code = list.split_ascii_whitespace().find(|known| *known == code)?;
            Some(Self { code, decimals })
        };
        find(TWO, 2).or_else(|| find(NONE, 0)).or_else(|| find(THREE, 3))
    }

    /// Its code.
    pub const fn code(self) -> &'static str {
        self.code
    }

    /// How many decimals its amounts have.
    pub const fn decimals(self) -> u32 {
        self.decimals
    }

    /// `picos ÷ divisor` pico-units of the currency, rounded half-even to its own
    /// decimals. `None` if the divisor is not above zero, or too large.
    pub const fn round(self, picos: i128, divisor: i128) -> Option<Money> {
        let unit = 10_i128.pow(PLACES - self.decimals);
        let Some(step) = divisor.checked_mul(unit) else { return None };
        if step <= 0 || step > i128::MAX / 2 {
            return None;
        }
        let (whole, rest) = (picos.div_euclid(step), picos.rem_euclid(step));
        let up = rest * 2 > step || (rest * 2 == step && whole % 2 != 0);
        match (if up { whole + 1 } else { whole }).checked_mul(unit) {
            Some(picos) => Some(Money::from_picos(picos)),
            None => None,
        }
    }

    /// Whether `amount` has no more decimals than the currency.
    pub fn holds(self, amount: Money) -> bool {
        self.round(amount.picos(), 1) == Some(amount)
    }

    /// `amount` with exactly the currency's decimals, or more where it has more:
    /// `29.00`, `0.0025`.
    pub fn show(self, amount: Money) -> String {
        let text = amount.to_string();
        let wanted = self.decimals as usize;
        let given = text.split_once('.').map_or(0, |(_, fraction)| fraction.len());
        let point = if given == 0 && wanted > 0 { "." } else { "" };
        format!("{text}{point}{}", "0".repeat(wanted.saturating_sub(given)))
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn money(text: &str) -> Money {
        text.parse().unwrap()
    }

    #[test]
    fn currencies_have_their_own_decimals() {
        for (code, decimals) in [("USD", 2), ("JPY", 0), ("KWD", 3), ("EUR", 2), ("ISK", 0)] {
            assert_eq!(Currency::of(code).map(Currency::decimals), Some(decimals), "{code}");
        }
        for code in ["", "usd", "XXX", "US", "USD "] {
            assert_eq!(Currency::of(code), None, "{code:?}");
        }
    }

    #[test]
    fn halves_go_to_the_even_neighbour() {
        let round = |code: &str, text: &str| {
            Currency::of(code).unwrap().round(money(text).picos(), 1).unwrap().to_string()
        };
        for (text, rounded) in [
            ("0.005", "0"),
            ("0.015", "0.02"),
            ("0.025", "0.02"),
            ("0.025000000001", "0.03"),
            ("-0.005", "0"),
            ("-0.015", "-0.02"),
            ("-0.025", "-0.02"),
            ("-0.026", "-0.03"),
        ] {
            assert_eq!(round("USD", text), rounded, "{text}");
        }
        assert_eq!(round("JPY", "2.5"), "2");
        assert_eq!(round("KWD", "2.0005"), "2");
        assert_eq!(round("KWD", "2.0015"), "2.002");
    }

    #[test]
    fn a_quotient_is_rounded_once() {
        // 0.0149999… would become 0.015 and then 0.02 if it were rounded twice.
        let third = Currency::USD.round(money("0.044999999999").picos(), 3).unwrap();
        assert_eq!(third, money("0.01"));
        assert_eq!(Currency::USD.round(1, 0), None);
        assert_eq!(Currency::USD.round(1, i128::MAX), None);
    }

    #[test]
    fn amounts_are_shown_with_all_decimals() {
        for (code, text, shown) in [
            ("USD", "29", "29.00"),
            ("USD", "0.5", "0.50"),
            ("USD", "0.0025", "0.0025"),
            ("JPY", "1200", "1200"),
            ("KWD", "-1.5", "-1.500"),
        ] {
            assert_eq!(Currency::of(code).unwrap().show(money(text)), shown);
        }
    }
}
