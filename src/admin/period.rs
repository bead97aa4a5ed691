//! Moments in a query: RFC 3339, or a date, which is its midnight in UTC.

use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::base::clock::Timestamp;

/// Reads a moment; `None` if it is neither form, or before 1970.
pub(super) fn moment(text: &str) -> Option<Timestamp> {
    if text.len() == "2026-11-24".len() {
        return midnight(Date::strptime("%Y-%m-%d", text).ok()?);
    }
    stamp(text.parse().ok()?)
}

/// The first moment of the month, in UTC, that `now` lies in.
pub(super) fn month_of(now: Timestamp) -> Option<Timestamp> {
    let micros = i64::try_from(now.0).ok()?;
    let now = jiff::Timestamp::from_microsecond(micros).ok()?;
    midnight(TimeZone::UTC.to_datetime(now).date().first_of_month())
}

fn midnight(date: Date) -> Option<Timestamp> {
    stamp(TimeZone::UTC.to_timestamp(date.at(0, 0, 0, 0)).ok()?)
}

fn stamp(moment: jiff::Timestamp) -> Option<Timestamp> {
    u64::try_from(moment.as_microsecond()).ok().map(Timestamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Option<String> {
        moment(text).map(|moment| moment.to_string())
    }

    #[test]
    fn dates_and_rfc_3339_are_moments() {
        for (text, expected) in [
            ("2026-11-24", "2026-11-24T00:00:00.000000Z"),
            ("2026-11-24T12:30:00Z", "2026-11-24T12:30:00.000000Z"),
            ("2026-11-24T12:30:00.25+02:00", "2026-11-24T10:30:00.250000Z"),
        ] {
            assert_eq!(shown(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_moment_is_none() {
        for text in [
            "",
            "today",
            "2026-13-01",
            "2026-02-30",
            "24-11-2026",
            "2026/11/24",
            "1700000000",
            "2026-11-24T12:30:00",
            "1969-12-31",
            "2026-1-1",
            "+02026-1-1",
        ] {
            assert_eq!(shown(text), None, "{text}");
        }
    }

    #[test]
    fn the_month_begins_at_its_first_midnight() {
        let month = |text: &str| month_of(moment(text).unwrap()).unwrap().to_string();
        assert_eq!(month("2026-11-24T04:00:00Z"), "2026-11-01T00:00:00.000000Z");
        assert_eq!(month("2026-12-01"), "2026-12-01T00:00:00.000000Z");
        assert_eq!(month("2027-01-31T23:59:59.999Z"), "2027-01-01T00:00:00.000000Z");
    }
}
