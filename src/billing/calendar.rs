//! Calendar months, as they begin and end in the billing time zone.

use std::fmt;
use std::str::FromStr;

use jiff::ToSpan;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::base::clock::Timestamp;

/// A calendar month, written `2026-11`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Month(Date);

/// A stretch of time: from its first moment to the first one after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// Its first moment.
    #[serde(with = "micros")]
    pub from: Timestamp,
    /// The first moment after it.
    #[serde(with = "micros")]
    pub to: Timestamp,
}

/// A moment as microseconds since the Unix epoch.
mod micros {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::base::clock::Timestamp;

    pub(super) fn serialize<S: Serializer>(at: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(at.0)
    }

    pub(super) fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<Timestamp, D::Error> {
        u64::deserialize(from).map(Timestamp)
    }
}

impl Span {
    /// Whether `at` lies in it.
    pub fn holds(self, at: Timestamp) -> bool {
        self.from <= at && at < self.to
    }

    /// Its length in microseconds.
    pub const fn micros(self) -> u64 {
        self.to.0.saturating_sub(self.from.0)
    }
}

impl Month {
    /// The month that `at` lies in; `None` thousands of years away.
    pub fn of(at: Timestamp, zone: &TimeZone) -> Option<Self> {
        local(at, zone).map(|at| Self(at.date().first_of_month()))
    }

    /// When it begins and ends in `zone`. Where its first midnight is left out, it
    /// begins when the clock goes on. `None` before 1970 and thousands of years
    /// away.
    pub fn span(self, zone: &TimeZone) -> Option<Span> {
        let midnight = |date: Date| {
            let moment = zone.to_timestamp(date.at(0, 0, 0, 0)).ok()?;
            u64::try_from(moment.as_microsecond()).ok().map(Timestamp)
        };
        let next = self.0.checked_add(1.month()).ok()?;
        Some(Span { from: midnight(self.0)?, to: midnight(next)? })
    }

    /// Its first day and its last.
    pub fn days(self) -> [String; 2] {
        [self.0, self.0.last_of_month()].map(|day| day.to_string())
    }

    /// The `count` months before it, the earliest first.
    pub fn before(self, count: usize) -> Vec<Self> {
        let before = std::iter::successors(Some(self), |month| Some(month.previous()));
        let mut before: Vec<Self> = before.skip(1).take(count).collect();
        before.reverse();
        before
    }

    /// The month after it; itself if there is none.
    #[must_use]
    pub fn next(self) -> Self {
        self.0.checked_add(1.month()).map_or(self, Self)
    }

    /// The month before it; itself if there is none.
    #[must_use]
    pub fn previous(self) -> Self {
        self.0.checked_sub(1.month()).map_or(self, Self)
    }
}

impl FromStr for Month {
    type Err = jiff::Error;

    fn from_str(text: &str) -> Result<Self, jiff::Error> {
        // The parser itself would take `2026-1` and `+2026-01`.
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        let parts = text.split_once('-').filter(|(year, month)| digits(year) && digits(month));
        let form = text.len() == "2026-11".len() && parts.is_some_and(|(year, _)| year.len() == 4);
        let text = if form { format!("{text}-01") } else { String::new() };
        Date::strptime("%Y-%m-%d", text).map(Self)
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.0.year(), self.0.month())
    }
}

/// The day that `at` lies in, as `2026-11-24`.
pub(super) fn day(at: Timestamp, zone: &TimeZone) -> Option<String> {
    local(at, zone).map(|at| at.date().to_string())
}

/// The year that `at` lies in.
pub(super) fn year(at: Timestamp, zone: &TimeZone) -> i16 {
    local(at, zone).map_or(0, |at| at.year())
}

/// `at` for people: its day, and the time where that is not midnight.
pub(super) fn shown(at: Timestamp, zone: &TimeZone) -> String {
    let Some(at) = local(at, zone) else { return at.to_string() };
    let form = match (at.hour(), at.minute(), at.second(), at.subsec_nanosecond()) {
        (0, 0, 0, 0) => "%Y-%m-%d",
        (_, _, 0, 0) => "%Y-%m-%d %H:%M",
        _ => "%Y-%m-%d %H:%M:%S",
    };
    at.strftime(form).to_string()
}

/// A length of time for people: `10 d 12 h`; at least a second is shown.
pub(super) fn length(micros: u64) -> String {
    let seconds = micros.div_ceil(1_000_000);
    let parts = [
        (seconds / 86_400, "d"),
        (seconds / 3_600 % 24, "h"),
        (seconds / 60 % 60, "min"),
        (seconds % 60, "s"),
    ];
    let parts = parts.iter().filter(|(count, _)| *count > 0);
    let shown: Vec<_> = parts.map(|(count, unit)| format!("{count} {unit}")).collect();
    if shown.is_empty() { "0 s".to_owned() } else { shown.join(" ") }
}

/// What the clocks of `zone` show at `at`.
fn local(at: Timestamp, zone: &TimeZone) -> Option<DateTime> {
    let at = jiff::Timestamp::from_microsecond(i64::try_from(at.0).ok()?).ok()?;
    Some(zone.to_datetime(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000_000;

    fn span(month: &str, zone: &str) -> Span {
        month.parse::<Month>().unwrap().span(&TimeZone::get(zone).unwrap()).unwrap()
    }

    #[test]
    fn months_are_read_strictly() {
        assert_eq!("2026-11".parse::<Month>().unwrap().to_string(), "2026-11");
        assert_eq!("2026-01".parse::<Month>().unwrap().previous().to_string(), "2025-12");
        for text in ["", "2026", "2026-13", "2026-00", "2026-1", "26-11", "2026-11-01", "+026-11"] {
            assert!(text.parse::<Month>().is_err(), "{text:?}");
        }
    }

    /// Daylight saving begins and ends within a month, a leap day is a day, and
    /// zones are not whole hours apart.
    #[test]
    fn a_month_is_as_long_as_its_zone_makes_it() {
        for (month, zone, hours) in [
            ("2026-03", "America/New_York", 31 * 24 - 1),
            ("2026-11", "America/New_York", 30 * 24 + 1),
            ("2028-02", "America/New_York", 29 * 24),
            ("2026-02", "Asia/Kolkata", 28 * 24),
            ("2026-03", "Asia/Kolkata", 31 * 24),
            ("2028-02", "Asia/Kolkata", 29 * 24),
            ("2026-04", "Pacific/Auckland", 30 * 24 + 1),
            ("2026-09", "Pacific/Auckland", 30 * 24 - 1),
            ("2028-02", "Pacific/Auckland", 29 * 24),
        ] {
            assert_eq!(span(month, zone).micros(), hours * HOUR, "{month} {zone}");
        }
        let kolkata = span("2026-11", "Asia/Kolkata");
        assert_eq!(kolkata.from.to_string(), "2026-10-31T18:30:00.000000Z");
    }

    #[test]
    fn the_edges_of_a_month_belong_to_one_month_each() {
        for zone in ["America/New_York", "Asia/Kolkata", "Pacific/Auckland", "UTC"] {
            let tz = TimeZone::get(zone).unwrap();
            for number in 1..=12 {
                let month: Month = format!("2028-{number:02}").parse().unwrap();
                let span = month.span(&tz).unwrap();
                let of = |micros| Month::of(Timestamp(micros), &tz).unwrap();
                assert_eq!(of(span.from.0), month, "{zone}");
                assert_eq!(of(span.to.0 - 1), month, "{zone}");
                assert_eq!(of(span.from.0 - 1), month.previous(), "{zone}");
                assert_eq!(of(span.to.0).previous(), month, "{zone}");
            }
        }
    }

    #[test]
    fn lengths_and_moments_are_for_people() {
        assert_eq!(length(252 * HOUR), "10 d 12 h");
        assert_eq!(length(1), "1 s");
        assert_eq!(length(0), "0 s");
        let zone = TimeZone::get("Asia/Kolkata").unwrap();
        let at = span("2026-11", "Asia/Kolkata").from;
        assert_eq!(shown(at, &zone), "2026-11-01");
        assert_eq!(shown(Timestamp(at.0 + HOUR), &zone), "2026-11-01 01:00");
        assert_eq!(year(at, &zone), 2026);
    }
}
