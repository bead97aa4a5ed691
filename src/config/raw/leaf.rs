//! The kinds of scalar that a configuration knows: durations, sizes, counts,
//! prices, addresses.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};

use crate::base::factor::Factor;
use crate::base::money::Money;
use crate::base::network::{self, NotANetwork};

/// A duration: whole numbers with `us`, `ms`, `s`, `m`, `h` or `d`, such as
/// `10s` or `1h30m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Time(pub(crate) Duration);

/// A size in bytes: a whole number with `B`, `KB`, `MB` or `GB` (also `KiB`, …),
/// each 1,024 times the one before, as in nginx, HAProxy and Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

/// A whole number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Whole(pub(crate) u64);

/// A whole number or `unlimited`, which is `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Count(pub(crate) Option<u64>);

/// A number, with decimals or not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Number(pub(crate) f64);

/// Percent, exact, from 0 to 100: millionths of a percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Percent(pub(crate) u32);

/// An amount of dollars, exact, not negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Price(pub(crate) Money);

/// A factor or a share, exact, with at most six decimals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decimal(pub(crate) Factor);

/// An address and a port to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address(pub(crate) SocketAddr);

/// An address, or a network such as `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Network(pub(crate) network::Network);

/// Any value whatever: for keys whose shape is not defined yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Anything;

/// A kind of scalar.
trait Leaf: Sized {
    /// What an error says is expected.
    const EXPECTED: &'static str;
    /// Whether quotes around it are an error.
    const PLAIN: bool = false;

    /// Reads it; an error is a sentence, or empty for "expected …".
    fn parse(text: &str) -> Result<Self, String>;

    /// Its JSON Schema, without the description.
    fn schema() -> Schema;
}

impl Leaf for Time {
    const EXPECTED: &'static str = "a duration such as 10s, 100ms, 1h or 7d";

    fn parse(text: &str) -> Result<Self, String> {
        let mut total = Duration::ZERO;
        let mut rest = text;
        if rest.is_empty() {
            return Err(String::new());
        }
        while !rest.is_empty() {
            let (digits, after) = split_digits(rest);
            let end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
            let (unit, next) = after.split_at_checked(end).ok_or_else(String::new)?;
            let number: u64 = digits.parse().map_err(|_| String::new())?;
            let micros: u64 = match unit {
                "us" => 1,
                "ms" => 1_000,
                "s" => 1_000_000,
                "m" => 60_000_000,
                "h" => 3_600_000_000,
                "d" => 86_400_000_000,
                _ => return Err(String::new()),
            };
            total = number
                .checked_mul(micros)
                .and_then(|micros| total.checked_add(Duration::from_micros(micros)))
                .ok_or("the duration is too long")?;
            rest = next;
        }
        Ok(Self(total))
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": r"^([0-9]+(us|ms|s|m|h|d))+$|\$\{" })
    }
}

impl Leaf for Size {
    const EXPECTED: &'static str = "a size such as 1KB or 32MB";

    fn parse(text: &str) -> Result<Self, String> {
        let (digits, unit) = split_digits(text);
        let number: u64 = digits.parse().map_err(|_| String::new())?;
        let power = match unit.trim_start_matches(' ') {
            "B" => 0,
            "KB" | "KiB" => 1,
            "MB" | "MiB" => 2,
            "GB" | "GiB" => 3,
            _ => return Err(String::new()),
        };
        let size = number.checked_mul(1024_u64.pow(power)).ok_or("the size is too large")?;
        Ok(Self(size))
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": r"^[0-9]+ ?([KMG]i?)?B$|\$\{" })
    }
}

impl Leaf for Whole {
    const EXPECTED: &'static str = "a whole number";
    const PLAIN: bool = true;

    fn parse(text: &str) -> Result<Self, String> {
        whole(text).map(Self)
    }

    fn schema() -> Schema {
        json_schema!({ "type": ["integer", "string"], "minimum": 0, "pattern": r"\$\{" })
    }
}

impl Leaf for Count {
    const EXPECTED: &'static str = "a whole number or `unlimited`";

    fn parse(text: &str) -> Result<Self, String> {
        if text == "unlimited" {
            return Ok(Self(None));
        }
        whole(text).map(|count| Self(Some(count)))
    }

    fn schema() -> Schema {
        json_schema!({ "type": ["integer", "string"], "minimum": 0, "pattern": r"^unlimited$|\$\{" })
    }
}

impl Leaf for Number {
    const EXPECTED: &'static str = "a number such as 70 or 0.45";
    const PLAIN: bool = true;

    fn parse(text: &str) -> Result<Self, String> {
        let plain = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'-');
        match text.parse::<f64>() {
            Ok(number) if text.bytes().all(plain) && number.is_finite() => Ok(Self(number)),
            _ => Err(String::new()),
        }
    }

    fn schema() -> Schema {
        json_schema!({ "type": ["number", "string"], "pattern": r"\$\{" })
    }
}

impl Leaf for Price {
    const EXPECTED: &'static str = "an amount of dollars such as 0.02";

    fn parse(text: &str) -> Result<Self, String> {
        let amount: Money = text.parse().map_err(|error| format!("{error}"))?;
        if amount < Money::ZERO {
            return Err("an amount here is not negative".to_owned());
        }
        Ok(Self(amount))
    }

    fn schema() -> Schema {
        json_schema!({
            "type": ["number", "string"],
            "minimum": 0,
            "pattern": r"^[0-9]+(\.[0-9]+)?$|\$\{",
        })
    }
}

impl Leaf for Decimal {
    const EXPECTED: &'static str = "a number such as 8 or 0.25";

    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map(Self).map_err(|error: crate::base::factor::BadFactor| error.to_string())
    }

    fn schema() -> Schema {
        json_schema!({
            "type": ["number", "string"],
            "minimum": 0,
            "pattern": r"^[0-9]+(\.[0-9]+)?$|\$\{",
        })
    }
}

impl Leaf for Percent {
    const EXPECTED: &'static str = "percent, from 0 to 100, such as 19 or 8.875";

    fn parse(text: &str) -> Result<Self, String> {
        let rate: Money = text.parse().map_err(|_| String::new())?;
        // An amount has twelve decimals, a rate six.
        let (millionths, finer) = (rate.picos() / 1_000_000, rate.picos() % 1_000_000);
        if finer != 0 {
            return Err("a rate has at most 6 decimals".to_owned());
        }
        let millionths = u32::try_from(millionths).ok().filter(|rate| *rate <= 100_000_000);
        millionths.map(Self).ok_or_else(String::new)
    }

    fn schema() -> Schema {
        json_schema!({
            "type": ["number", "string"],
            "minimum": 0,
            "maximum": 100,
            "pattern": r"^[0-9]+(\.[0-9]+)?$|\$\{",
        })
    }
}

impl Leaf for Address {
    const EXPECTED: &'static str = "an address and a port such as 127.0.0.1:8080 or [::1]:8080";

    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map(Self).map_err(|_| String::new())
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string" })
    }
}

impl Leaf for Network {
    const EXPECTED: &'static str = "an address or a network such as 10.0.0.0/8";

    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map(Self).map_err(|error| match error {
            NotANetwork::Form => String::new(),
            NotANetwork::Bits(_) => error.to_string(),
        })
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string" })
    }
}

/// The digits at the beginning, and the rest.
fn split_digits(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

/// A whole number in digits alone.
fn whole(text: &str) -> Result<u64, String> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(String::new());
    }
    text.parse().map_err(|_| "the number is too large".to_owned())
}

struct LeafVisitor<T>(PhantomData<T>);

impl<T: Leaf> Visitor<'_> for LeafVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        T::parse(text).map_err(|reason| {
            if reason.is_empty() {
                E::custom(format_args!("expected {}", T::EXPECTED))
            } else {
                E::custom(reason)
            }
        })
    }
}

macro_rules! leaves {
    ($($leaf:ident)*) => {$(
        impl<'de> Deserialize<'de> for $leaf {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let visitor = LeafVisitor(PhantomData);
                if Self::PLAIN {
                    deserializer.deserialize_u64(visitor)
                } else {
                    deserializer.deserialize_str(visitor)
                }
            }
        }

        impl JsonSchema for $leaf {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($leaf).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                <Self as Leaf>::schema()
            }
        }
    )*};
}

leaves! { Time Size Whole Count Number Percent Price Decimal Address Network }

impl<'de> Deserialize<'de> for Anything {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_ignored_any(serde::de::IgnoredAny).map(|_| Self)
    }
}

impl JsonSchema for Anything {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Anything".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_their_units() {
        let time = |text| Time::parse(text).map(|time| time.0);
        assert_eq!(time("0s"), Ok(Duration::ZERO));
        assert_eq!(time("250us"), Ok(Duration::from_micros(250)));
        assert_eq!(time("100ms"), Ok(Duration::from_millis(100)));
        assert_eq!(time("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(time("7d"), Ok(Duration::from_secs(7 * 86_400)));
        for text in ["", "10", "s", "10 s", "1.5s", "-1s", "10S", "10s ", "10sé", "99999999999d"] {
            assert!(time(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        let size = |text| Size::parse(text).map(|size| size.0);
        assert_eq!(size("512B"), Ok(512));
        assert_eq!(size("1KB"), Ok(1024));
        assert_eq!(size("32 MiB"), Ok(32 << 20));
        for text in ["", "32", "MB", "1.5MB", "32mb", "99999999999999GB"] {
            assert!(size(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn prices_are_exact_and_not_negative() {
        assert_eq!(Price::parse("0.10"), Ok(Price(Money::from_picos(100_000_000_000))));
        for text in ["-1", "1e3", "0.0000000000001", ""] {
            assert!(Price::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_rate_is_exact_percent() {
        assert_eq!(Percent::parse("8.875"), Ok(Percent(8_875_000)));
        assert_eq!(Percent::parse("100"), Ok(Percent(100_000_000)));
        for text in ["-1", "100.000001", "0.0000001", "19%", ""] {
            assert!(Percent::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn numbers_counts_and_networks_are_read_strictly() {
        assert_eq!(Count::parse("unlimited"), Ok(Count(None)));
        assert_eq!(Count::parse("10"), Ok(Count(Some(10))));
        assert!(Count::parse("Unlimited").is_err());
        assert!(Whole::parse("+1").is_err());
        assert!(Whole::parse("99999999999999999999").is_err());
        assert_eq!(Number::parse("0.45"), Ok(Number(0.45)));
        assert!(Number::parse("inf").is_err());
        assert!(Network::parse("10.0.0.0/8").is_ok());
        assert!(Network::parse("2001:db8::/32").is_ok());
        for text in ["10.0.0.0/33", "::1/129", "10.0.0/8", "localhost", "10.0.0.0/"] {
            assert!(Network::parse(text).is_err(), "{text:?}");
        }
    }
}
