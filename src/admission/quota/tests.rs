//! Months, their edges and their names.

use super::*;

fn at(text: &str) -> Timestamp {
    let moment: jiff::Timestamp = text.parse().unwrap();
    Timestamp(u64::try_from(moment.as_microsecond()).unwrap())
}

#[test]
fn a_month_ends_at_the_first_moment_of_the_next() {
    let calendar = Calendar::new(TimeZone::UTC);
    let june = calendar.month(at("2026-06-15T12:00:00Z"));
    assert_eq!(june.ends, at("2026-07-01T00:00:00Z"));
    assert_eq!(calendar.month(at("2026-06-01T00:00:00Z")), june);
    assert_eq!(calendar.month(at("2026-06-30T23:59:59.999999Z")), june);
    let july = calendar.month(at("2026-07-01T00:00:00Z"));
    assert_eq!(july.number, june.number + 1);
    assert_eq!(calendar.month(at("2026-05-31T23:59:59.999999Z")).number, june.number - 1);
    let december = calendar.month(at("2026-12-31T23:00:00Z"));
    let january = calendar.month(at("2027-01-01T00:00:00Z"));
    assert_eq!(january.number, december.number + 1);
    assert_eq!(december.ends, at("2027-01-01T00:00:00Z"));
}

#[test]
fn a_month_is_that_of_the_zone() {
    let calendar = Calendar::new(TimeZone::fixed(jiff::tz::offset(2)));
    let july = calendar.month(at("2026-06-30T22:00:00Z"));
    assert_eq!(july.ends, at("2026-07-31T22:00:00Z"));
    assert_eq!(calendar.month(at("2026-06-30T21:59:59Z")).number, july.number - 1);
}

#[test]
fn a_month_is_named_by_its_year_and_number() {
    let calendar = Calendar::new(TimeZone::UTC);
    for (moment, name) in [
        ("2026-01-01T00:00:00Z", "2026-01"),
        ("2026-11-30T23:59:59Z", "2026-11"),
        ("2026-12-31T12:00:00Z", "2026-12"),
        ("2027-01-01T00:00:00Z", "2027-01"),
    ] {
        assert_eq!(calendar.month(at(moment)).to_string(), name);
    }
}
