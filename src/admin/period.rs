//! Moments in a query: RFC 3339, or a date, which is its midnight in UTC.

use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::error::ApiError;
use crate::base::clock::Timestamp;

/// The first moment that counts and the first that does not; without either, the
/// month in UTC that `now` lies in.
///
/// # Errors
/// 400 if one is no moment, or they are not in this order.
pub(super) fn read(
    from: Option<&str>,
    to: Option<&str>,
    now: Timestamp,
) -> Result<(Option<Timestamp>, Option<Timestamp>), ApiError> {
    let (from, to) = (named("from", from)?, named("to", to)?);
    match (from, to) {
        (None, None) => Ok((month_of(now), None)),
        (Some(from), Some(to)) if from >= to => {
            let message = "must be later than from; it is the first moment that does not count";
            Err(ApiError::bad("to", message))
        }
        period => Ok(period),
    }
}

fn named(param: &'static str, text: Option<&str>) -> Result<Option<Timestamp>, ApiError> {
    let Some(text) = text else { return Ok(None) };
    let message = "a date such as 2026-11-24, or RFC 3339 such as 2026-11-24T12:00:00Z";
    // A plus sign that was not escaped in the query arrives as a space.
    moment(&text.replace(' ', "+")).map(Some).ok_or(ApiError::bad(param, message))
}

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
