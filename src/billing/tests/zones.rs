//! The billing time zone changes while invoices are final.

use std::time::Duration;

use super::world::{World, money, shown};
use crate::base::clock::Timestamp;

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
