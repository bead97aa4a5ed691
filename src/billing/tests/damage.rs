//! The ledger is damaged where an invoice is made from it.

use std::path::PathBuf;

use super::super::error::Refused;
use super::world::{World, money, shown};

/// The one segment of a ledger that is open.
fn segment(world: &World) -> PathBuf {
    let mut files = std::fs::read_dir(world.dir.path().join("journal")).unwrap();
    files.next().unwrap().unwrap().path()
}

/// Damages the record of request `number`, the first is 0.
fn damage(world: &World, number: usize) {
    let path = segment(world);
    let mut bytes = std::fs::read(&path).unwrap();
    let account = b"/v1/chat/completions";
    let places = bytes.windows(account.len()).enumerate();
    let mut places = places.filter(|(_, found)| found == account).map(|(at, _)| at);
    let at = places.nth(number).unwrap();
    bytes[at] ^= 1;
    std::fs::write(&path, bytes).unwrap();
}

/// What is gone from the ledger is neither billed short in silence nor given back
/// as a credit.
#[test]
fn a_damaged_ledger_makes_no_draft_unless_that_is_asked_for() {
    let world = World::new(|_| {});
    world.shop("pro").request("0.02");
    world.request("0.05");
    world.closed("2026-11");
    world.request("0.07");
    world.pass(31).request("0.11");
    damage(&world, 0);
    let refused = world.generate("2026-12").unwrap_err();
    let named = segment(&world).file_name().unwrap().to_string_lossy().into_owned();
    let Refused::LedgerDamaged(place) = &refused else { panic!("{refused}") };
    assert!(place.starts_with(&named) && place.contains(" at byte "), "{place}");
    let all = |despite| world.biller.draft_all(&world.config, "2026-12".parse().unwrap(), despite);
    assert_eq!(all(false), Err(refused));
    let month = || "2026-12".parse().unwrap();
    let draft = world.biller.draft(&world.config, month(), "shop", true).unwrap();
    assert_eq!(
        shown(&draft),
        [
            "pro|Plan pro, USD 30.00 a month|1|30|30",
            "chat|chat: requests, of 2026-11|1|0.07|0.07",
            "chat|chat: requests|1|0.11|0.11",
        ]
    );
    all(true).unwrap();
    assert_eq!(world.biller.invoice(&draft.content.id).unwrap(), draft);
    // What corrects an invoice goes on: it is nothing that the ledger decides.
    world.adjust("-1", Some("2026-12")).unwrap();
    let last = world.biller.draft(&world.config, month(), "shop", true).unwrap();
    let last = world.finalize(&last).unwrap();
    assert_eq!(last.content.total, money("29.18"));
    let note = [("Outage".to_owned(), money("2"))];
    world.biller.credit_note(&world.config, &last.content.id, &note, "Outage").unwrap();
    // Three months on, the damage is of no month that an invoice is about.
    world.pass(31 + 28 + 31 + 30);
    assert_eq!(world.draft("2027-04").content.total, money("30"));
}

/// No file shows it, but an invoice has billed more than there is.
#[test]
fn what_is_gone_without_a_trace_is_found_by_what_was_billed() {
    let mut world = World::new(|_| {});
    world.shop("free").request("0.02");
    world.closed("2026-11");
    world.pass(31).request("0.05");
    world.without_ledger();
    world.request("0.11");
    assert_eq!(world.generate("2026-12"), Err(Refused::UsageGone("2026-11".to_owned())));
    let draft = world.biller.draft(&world.config, "2026-12".parse().unwrap(), "shop", true);
    assert_eq!(shown(&draft.unwrap()), ["chat|chat: requests|1|0.11|0.11"]);
}

/// What a caller took back because it did not become durable is a credit.
#[test]
fn a_charge_that_was_taken_back_after_it_was_billed_is_given_back() {
    let world = World::new(|_| {});
    world.shop("free").request("0.05");
    let id = world.request_of(world.now(), "0.02");
    world.closed("2026-11");
    world.ledger.void(id);
    world.pass(31).request("0.11");
    assert_eq!(
        shown(&world.draft("2026-12")),
        ["chat|chat: requests, of 2026-11|-1|0.02|-0.02", "chat|chat: requests|1|0.11|0.11"]
    );
}

/// A request that failed looks as a void one does, but was never charged: it takes
/// nothing back of what an invoice has billed and the ledger has lost, also where its
/// record could not be made durable either.
#[test]
fn a_request_that_was_never_charged_takes_nothing_back() {
    for void in [false, true] {
        let mut world = World::new(|_| {});
        world.shop("free").request("0.02");
        world.closed("2026-11");
        let failed = world.now();
        world.pass(31);
        world.without_ledger();
        let failed = world.failure_of(failed, "0.02");
        if void {
            world.ledger.void(failed);
        }
        world.request("0.11");
        assert_eq!(world.generate("2026-12"), Err(Refused::UsageGone("2026-11".to_owned())));
        let draft = world.biller.draft(&world.config, "2026-12".parse().unwrap(), "shop", true);
        assert_eq!(shown(&draft.unwrap()), ["chat|chat: requests|1|0.11|0.11"]);
    }
}

/// Covers what `finalize` is told of the draft that was seen.
#[test]
fn only_the_draft_that_was_seen_becomes_final() {
    let world = World::new(|_| {});
    world.shop("pro").request("0.02");
    let seen = world.draft("2026-11");
    world.pass(1);
    assert_eq!(world.draft("2026-11"), seen, "made again it is the same");
    world.request("0.02");
    let now = world.draft("2026-11");
    let finalize = |hash| world.biller.finalize(&world.config, &seen.content.id, Some(hash));
    assert_eq!(finalize(&seen.hash), Err(Refused::NotAsSeen));
    assert_eq!(world.draft("2026-11"), now, "nothing is changed");
    let made = finalize(&now.hash).unwrap();
    assert_eq!(finalize(&now.hash), Ok(made), "once more is no error");
    assert_eq!(finalize(&seen.hash), Err(Refused::NotAsSeen));
}
