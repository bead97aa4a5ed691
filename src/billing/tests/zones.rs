//! The billing time zone changes while invoices are final.

use std::time::Duration;

use super::world::{World, money, shown};
use crate::base::clock::Timestamp;
use crate::base::money::Money;

const HOUR: Duration = Duration::from_secs(3_600);

/// A request of the last hours of November in UTC, and of the first of December.
fn around_midnight(world: &World) -> [Timestamp; 2] {
    world.shop("pro").pass(29);
    world.clock.advance(HOUR * 20);
    world.request("0.02");
    let before = world.now();
    world.clock.advance(HOUR * 7);
    world.request("0.05");
    [before, world.now()]
}

/// East of where it was the new December has begun before the old November ended;
/// west of it there are hours that neither has.
#[test]
fn a_change_of_the_time_zone_bills_no_hour_twice_and_leaves_none_out() {
    for name in ["Pacific/Auckland", "America/Los_Angeles"] {
        let mut world = World::new(|_| {});
        let [before, _] = around_midnight(&world);
        let november = world.closed("2026-11");
        assert_eq!(november.content.total, money("30.02"));
        world.zone(name);
        world.pass(20).request_of(before, "0.07");
        assert_eq!(
            shown(&world.draft("2026-12")),
            [
                "pro|Plan pro, USD 30.00 a month|1|30|30",
                "chat|chat: requests, of 2026-11|1|0.07|0.07",
                "chat|chat: requests|1|0.05|0.05",
            ],
            "{name}"
        );
        world.pass(12);
        let december = world.closed("2026-12");
        let [old, new] = [november, december].map(|invoice| invoice.content.span.unwrap());
        assert_eq!(old.to, new.from);
        world.zone("UTC");
        let january = world.draft("2027-01");
        assert_eq!(january.content.span.unwrap().from, new.to);
    }
}

/// Edges of months in three zones, among them those whose months begin or end in
/// daylight saving or with a leap day; a request of each side, and one that comes
/// after them with a clock that was set back by two hours. Each is on the invoice of
/// the month that its own time lies in, once, and fees are as the months are.
#[test]
fn each_request_is_billed_in_its_month_whatever_the_clock_does() {
    for (name, month, before, begins) in [
        ("UTC", "2027-01", "2026-12", "2027-01-01T00:00:00Z"),
        ("UTC", "2028-03", "2028-02", "2028-03-01T00:00:00Z"),
        ("America/New_York", "2027-04", "2027-03", "2027-04-01T04:00:00Z"),
        ("America/New_York", "2027-12", "2027-11", "2027-12-01T05:00:00Z"),
        ("America/New_York", "2028-03", "2028-02", "2028-03-01T05:00:00Z"),
        ("Pacific/Auckland", "2027-04", "2027-03", "2027-03-31T11:00:00Z"),
        ("Pacific/Auckland", "2027-10", "2027-09", "2027-09-30T11:00:00Z"),
        ("Pacific/Auckland", "2027-05", "2027-04", "2027-04-30T12:00:00Z"),
    ] {
        let mut world = World::new(|_| {});
        world.zone(name);
        world.shop("pro");
        let begins = u64::try_from(begins.parse::<jiff::Timestamp>().unwrap().as_microsecond());
        let edge = begins.unwrap();
        for (time, price) in [(edge - 1, "0.01"), (edge, "0.02"), (edge + 1, "0.04")] {
            world.request_of(Timestamp(time), price);
        }
        let set_back = edge + 1 - 2 * u64::try_from(HOUR.as_micros()).unwrap();
        world.request_of(Timestamp(set_back), "0.08");
        world.pass(600);
        let of = |month: &str| {
            let draft = world.draft(month);
            let span = draft.content.span.unwrap();
            let usage = draft.content.lines.iter().filter(|line| line.service == "ai_api");
            let total: Money = usage.map(|line| line.total).sum();
            assert_eq!(draft.content.total, money("30") + total, "{name} {month}");
            (span.from, span.to, total)
        };
        let (old, new) = (of(before), of(month));
        assert_eq!((old.1, new.0), (Timestamp(edge), Timestamp(edge)), "{name} {month}");
        assert_eq!((old.2, new.2), (money("0.09"), money("0.06")), "{name} {month}");
    }
}

/// The span is a part of what was made final: a void month is made anew between
/// its neighbours.
#[test]
fn a_month_that_is_void_lies_between_its_neighbours() {
    let mut world = World::new(|_| {});
    around_midnight(&world);
    let november = world.closed("2026-11");
    let december = world.closed("2026-12");
    world.zone("Asia/Kolkata");
    world.biller.void(&november.content.id).unwrap();
    let again = world.draft("2026-11").content;
    assert_eq!(again.span.unwrap().to, december.content.span.unwrap().from);
    assert_ne!(again.span.unwrap().from, november.content.span.unwrap().from);
    // Five and a half hours longer than the account has its plan.
    assert_eq!(again.total, money("29.79"));
}
