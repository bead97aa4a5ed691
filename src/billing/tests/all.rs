//! The drafts of all accounts.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::generate::How;
use super::super::invoice::{Basis, Invoice};
use super::world::{World, money, shown};
use crate::accounts::NewAccount;
use crate::admin::fixture;
use crate::base::money::Money;
use crate::ledger::{By, Filter, Settled};
use crate::store::billing::{Choice, Status};

/// A charged request of `account`, which need not exist.
fn request(world: &World, account: &str, price: Money) {
    let mut record = fixture::record(world.now(), account, "chat");
    record.id = world.ids.next(world.now());
    (record.unit_price, record.price) = (price, price);
    let _settled: Settled = world.ledger.settle(&record).unwrap();
}

fn drafts(world: &World) -> Vec<Invoice> {
    let choice = Choice { status: Some(Status::Draft), ..Choice::default() };
    let mut drafts = world.biller.invoices(&choice, None, 99).unwrap();
    drafts.sort_by(|a, b| a.content.account.cmp(&b.content.account));
    drafts
}

/// More accounts than go into one pass; some of them owe nothing, some are not
/// known to have a plan, one is closed already.
#[test]
fn all_are_drafted_as_each_alone_would_be() {
    let world = World::new(|_| {});
    world.shop("pro").request("0.02");
    for number in 0..10 {
        let id = format!("a{number}");
        if number % 2 == 0 {
            let plan = if number % 4 == 0 { "pro" } else { "free" }.to_owned();
            let wanted =
                NewAccount { id: Some(id.clone()), name: id, plan, ..NewAccount::default() };
            world.registry.create(wanted).unwrap();
        } else {
            for _ in 0..number {
                request(&world, &id, Money::from_picos(i128::from(number) * 1_000_000_000));
            }
        }
    }
    world.closed("2026-11");
    let month = || "2026-11".parse().unwrap();
    world.biller.draft_in_passes(&world.config, month(), false, 3).unwrap();
    let all = drafts(&world);
    let accounts: Vec<_> = all.iter().map(|draft| &*draft.content.account).collect();
    assert_eq!(accounts, ["a0", "a1", "a3", "a4", "a5", "a7", "a8", "a9"]);
    for draft in &all {
        let alone = world.biller.draft(&world.config, month(), &draft.content.account, false);
        assert_eq!(alone.unwrap(), *draft);
    }
    assert_eq!(shown(&all[4]), ["chat|chat: requests|5|0.005|0.02"]);
    world.biller.draft_in_passes(&world.config, month(), false, 3).unwrap();
    assert_eq!(drafts(&world), all, "made again they are the same");
}

/// The ledger is read before the turn is taken: an invoice that became final in
/// between has billed what was not read.
#[test]
fn what_was_read_before_another_invoice_counts_is_read_again() {
    let world = World::new(|_| {});
    world.shop("free").request("0.02");
    world.pass(31).request("0.05");
    let month = "2026-12".parse().unwrap();
    let read = world.biller.unread(&world.config, month, "shop").unwrap().unwrap();
    world.closed("2026-11");
    let how = How { wanted: false, despite_damage: false };
    world.biller.one_of_all(&world.config, (month, "shop"), read, how).unwrap();
    let draft = drafts(&world).pop().unwrap();
    assert_eq!(draft.content.total, money("0.05"));
    world.finalize(&draft).unwrap();
}

/// Whoever waits for all drafts holds nobody up: the others' changes come between.
#[test]
fn invoices_change_while_all_are_drafted() {
    let world = Arc::new(World::new(|_| {}));
    world.shop("pro");
    for number in 0..30 {
        request(&world, &format!("a{number:02}"), money("0.01"));
    }
    let month = "2026-11".parse().unwrap();
    let draft = world.draft("2026-11");
    std::thread::scope(|scope| {
        let all = scope.spawn(|| world.biller.draft_in_passes(&world.config, month, false, 3));
        let last = world.finalize(&draft);
        all.join().unwrap().unwrap();
        assert_eq!(last.unwrap().content.number.as_deref(), Some("2026-000001"));
    });
    assert_eq!(drafts(&world).len(), 30, "and none is made beside the final one");
}

/// Requests of a month settle while that month, and those after it, are drafted and
/// become final: whichever invoice a request is on, it is on one.
#[test]
fn usage_that_arrives_while_invoices_become_final_is_billed_once() {
    const EACH: usize = 300;
    let world = World::new(|_| {});
    world.shop("free").request("0.02");
    let november = world.now();
    world.pass(92);
    let arrived = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for price in ["0.01", "0.0033"] {
            let (world, arrived) = (&world, &arrived);
            scope.spawn(move || {
                for _ in 0..EACH {
                    world.request_of(november, price);
                    arrived.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        scope.spawn(|| {
            while arrived.load(Ordering::SeqCst) < 2 * EACH {
                let all = world.biller.draft_all(&world.config, "2027-02".parse().unwrap(), false);
                all.unwrap();
            }
        });
        for (number, month) in ["2026-11", "2026-12", "2027-01"].iter().enumerate() {
            while arrived.load(Ordering::SeqCst) < (number + 1) * EACH / 3 {
                std::thread::yield_now();
            }
            world.closed(month);
        }
    });
    world.closed("2027-02");
    let all = world.biller.invoices(&Choice::default(), None, 9).unwrap();
    assert!(all.len() == 4 && all.iter().all(|it| it.status == Status::Final), "{all:?}");
    let (mut requests, mut owed) = (0, Money::ZERO);
    for line in all.iter().flat_map(|invoice| &invoice.content.lines) {
        if let Basis::Usage { exact, .. } = &line.basis {
            (requests, owed) = (requests + line.quantity, owed + *exact);
        }
    }
    let sums = world.ledger.summary(&Filter::default(), By::Account).unwrap();
    assert_eq!((sums[0].requests, sums[0].revenue), (2 * EACH as u64 + 1, owed));
    assert_eq!(requests, i64::try_from(sums[0].requests).unwrap());
}
