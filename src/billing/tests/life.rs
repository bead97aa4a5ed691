//! Drafts, final invoices and credit notes over a ledger and a store.

use proptest::prelude::*;

use super::super::error::Refused;
use super::super::invoice::{Basis, Invoice};
use super::world::{World, money, shown};
use crate::base::clock::{Clock, Timestamp};
use crate::base::money::Money;
use crate::billing::calendar::{Month, Span};
use crate::billing::fees::Fees;
use crate::config::Tax;
use crate::ledger::{By, Filter};
use crate::store::billing::{AdjustmentKind, Choice, Status};

/// Covers H2.
#[test]
fn a_draft_is_remade_and_a_final_invoice_is_not() {
    let world = World::new(|_| {});
    world.shop("pro").request("0.02");
    let first = world.draft("2026-11");
    world.request("0.02");
    world.request("0.025");
    let draft = world.draft("2026-11");
    assert_eq!(draft.content.id, first.content.id);
    assert_eq!(
        shown(&draft),
        [
            "pro|Plan pro, USD 30.00 a month|1|30|30",
            "chat|chat: requests|2|0.02|0.04",
            "chat|chat: requests|1|0.025|0.02",
        ]
    );
    assert_eq!((draft.content.total, draft.status), (money("30.06"), Status::Draft));
    world.request("5");
    let made = world.finalize(&draft).unwrap();
    assert_eq!(made.content.number.as_deref(), Some("2026-000001"));
    assert_eq!(made.content.lines, draft.content.lines, "it is the draft as it was seen");
    assert_eq!(world.finalize(&draft).unwrap(), made, "once more changes nothing");
    let refused = Refused::AlreadyFinal("2026-000001".to_owned());
    assert_eq!(world.generate("2026-11"), Err(refused.clone()));
    assert_eq!(world.adjust("1", None), Err(refused));
    assert_eq!(world.biller.invoice(&made.content.id).unwrap(), made);
    world.biller.draft_all(&world.config, "2026-11".parse().unwrap(), false).unwrap();
    let all = world.biller.invoices(&Choice::default(), None, 9).unwrap();
    assert_eq!(all, [made], "nothing is drafted beside it");
}

#[test]
fn plans_are_prorated_by_the_microsecond() {
    let world = World::new(|_| {});
    world.pass(10).shop("pro").pass(15).plan("free");
    let draft = world.draft("2026-11");
    assert_eq!(
        shown(&draft),
        ["pro|Plan pro, USD 30.00 a month: 2026-11-11 to 2026-11-26, 15 d of 30 d|1|15|15"]
    );
}

/// A request ends after its month and the next were billed in advance.
#[test]
fn what_ends_months_later_is_billed_all_the_same() {
    let world = World::new(|_| {});
    world.shop("free").request("0.02");
    let then = world.clock.wall();
    world.closed("2026-11");
    world.pass(31).request("0.03");
    world.closed("2026-12");
    world.pass(31).request("0.05");
    world.request_of(then, "0.07");
    assert_eq!(
        shown(&world.draft("2027-01")),
        ["chat|chat: requests, of 2026-11|1|0.07|0.07", "chat|chat: requests|1|0.05|0.05"]
    );
}

/// What a final invoice left out, whatever it is, stands on the next one.
#[test]
fn an_invoice_made_early_leaves_the_rest_to_the_next() {
    let world = World::new(|_| {});
    world.shop("pro").request("0.02");
    world.closed("2026-11");
    world.request("0.03");
    world.pass(15).plan("free");
    world.pass(16);
    world.request("0.05");
    let next = world.draft("2026-12");
    assert_eq!(
        shown(&next),
        [
            "pro|Plan pro, USD 30.00 a month: less 15 d of 30 d, of 2026-11|1|-15|-15",
            "chat|chat: requests, of 2026-11|1|0.03|0.03",
            "chat|chat: requests|1|0.05|0.05",
        ]
    );
    assert_eq!(
        world.finalize(&next),
        Err(Refused::BelowZero(money("-14.92"))),
        "nobody is billed less than nothing"
    );
    world.adjust("20", Some("2026-12")).unwrap();
    let next = world.closed("2026-12");
    assert_eq!(next.content.total, money("5.08"));
}

#[test]
fn a_void_month_is_invoiced_anew_and_its_number_stays() {
    let world = World::new(|_| {});
    world.shop("pro").pass(31);
    let november = world.closed("2026-11");
    let december = world.draft("2026-12");
    let void = world.biller.void(&november.content.id).unwrap();
    assert_eq!((void.status, &void.content), (Status::Void, &november.content));
    assert_eq!(world.finalize(&december), Err(Refused::OutOfDate));
    let again = world.closed("2026-11");
    assert_eq!(again.content.number.as_deref(), Some("2026-000002"));
    assert_ne!(again.content.id, november.content.id);
    assert_eq!(again.content.total, money("30"));
    world.closed("2026-12");
    let paid = world.biller.pay(&again.content.id).unwrap();
    assert_eq!((paid.status, paid.hash), (Status::Paid, again.hash));
    let refused = Refused::Status { is: Status::Paid, must: "a draft or final" };
    assert_eq!(world.biller.void(&again.content.id), Err(refused));
}

#[test]
fn credits_beyond_the_total_are_refused_and_change_nothing() {
    let world = World::new(|_| {});
    world.shop("pro").request("0.02");
    assert_eq!(world.adjust("-30.03", None), Err(Refused::BelowZero(money("-0.01"))));
    world.adjust("-30", None).unwrap();
    assert_eq!(world.adjust("-0.03", None), Err(Refused::BelowZero(money("-0.01"))));
    assert_eq!(world.adjust("0.001", None), Err(Refused::TooFine("USD", 2)));
    assert_eq!(world.adjust("1", Some("2026-12")), Err(Refused::FutureMonth));
    assert_eq!(world.biller.adjustments(Some("shop"), None, 9).unwrap().len(), 1);
    assert_eq!(world.draft("2026-11").content.total, money("0.02"));
}

/// What was adjusted is on an invoice, though the account is younger than the month.
#[test]
fn a_month_of_adjustments_alone_has_an_invoice() {
    let world = World::new(|_| {});
    world.pass(40).shop("pro");
    world.make(AdjustmentKind::Deposit, "3", None).unwrap();
    assert_eq!(world.generate("2026-11"), Err(Refused::NothingThen));
    world.adjust("5", Some("2026-11")).unwrap();
    assert_eq!(shown(&world.closed("2026-11")), ["debit|because|1|5|5"]);
    assert_eq!(shown(&world.draft("2026-12"))[1..], [""; 0], "it is billed once");
}

/// Amounts are exact whatever is asked for: no sum ever ends at the largest one.
#[test]
fn an_adjustment_beyond_all_measure_is_refused() {
    let tax = Tax { rate: 100_000_000, name: "VAT".to_owned(), inclusive: false };
    let world = World::new(|config| config.invoicing.tax = Some(tax));
    world.shop("free");
    let most = Refused::TooMuch(money("1000000000000000"));
    for kind in [AdjustmentKind::Invoice, AdjustmentKind::Deposit] {
        for amount in ["1000000000000000.01", "170141183460469231731687303"] {
            assert_eq!(world.make(kind, amount, None), Err(most.clone()));
        }
        (0..3).for_each(|_| drop(world.make(kind, "1000000000000000", None).unwrap()));
    }
    assert_eq!(world.adjust("-1000000000000000.01", None), Err(most));
    assert_eq!(world.draft("2026-11").content.total, money("6000000000000000"));
    assert_eq!(world.biller.balance("shop").deposited, money("3000000000000000"));
}

/// Deposits are no part of an invoice, so a final one keeps none off.
#[test]
fn a_balance_is_paid_in_and_back_whatever_invoices_say() {
    let world = World::new(|_| {});
    world.shop("pro");
    let (deposit, withdrawal) = (AdjustmentKind::Deposit, AdjustmentKind::Withdrawal);
    let none = Refused::MoreThanLeft(money("0"));
    assert_eq!(world.make(withdrawal, "1", None), Err(none));
    world.make(deposit, "10", None).unwrap();
    let november = world.closed("2026-11");
    assert_eq!(november.content.total, money("30"));
    assert!(world.adjust("1", None).is_err());
    world.make(deposit, "5.5", None).unwrap();
    let left = Refused::MoreThanLeft(money("15.5"));
    assert_eq!(world.make(withdrawal, "15.51", None), Err(left));
    assert_eq!(world.make(deposit, "0.001", None), Err(Refused::TooFine("USD", 2)));
    world.make(withdrawal, "15.5", None).unwrap();
    assert_eq!(world.biller.balance("shop"), crate::admission::balance::Balance::default());
    world.pass(30);
    assert_eq!(shown(&world.draft("2026-12")), ["pro|Plan pro, USD 30.00 a month|1|30|30"]);
    assert_eq!(world.biller.adjustments(Some("shop"), None, 9).unwrap().len(), 3);
}

#[test]
fn a_credit_note_corrects_and_never_exceeds_its_invoice() {
    let tax = Tax { rate: 19_000_000, name: "VAT".to_owned(), inclusive: false };
    let world = World::new(|config| config.invoicing.tax = Some(tax));
    world.shop("pro");
    let draft = world.draft("2026-11");
    let id = &draft.content.id;
    let note = |amount: &str| {
        let amounts = [("Outage".to_owned(), money(amount))];
        world.biller.credit_note(&world.config, id, &amounts, "Outage")
    };
    assert_eq!(note("1"), Err(Refused::Status { is: Status::Draft, must: "final or paid" }));
    let invoice = world.finalize(&draft).unwrap();
    assert_eq!(invoice.content.total, money("35.7"));
    let made = note("10").unwrap();
    assert_eq!(
        shown(&made),
        ["credit_note|Outage|1|-8.4|-8.4", "VAT|VAT 19% on USD -8.40|1|-1.6|-1.6"]
    );
    assert_eq!((made.content.total, made.status), (money("-10"), Status::Final));
    assert_eq!(made.content.number.as_deref(), Some("2026-000002"));
    assert_eq!(note("25.71"), Err(Refused::MoreThanInvoiced(money("25.7"))));
    assert_eq!(note("1.001"), Err(Refused::TooFine("USD", 2)));
    assert_eq!(world.biller.void(id), Err(Refused::HasCreditNotes));
    let on_it = world.biller.credit_note(&world.config, &made.content.id, &[], "x");
    assert!(matches!(on_it, Err(Refused::Status { .. })), "{on_it:?}");
    note("25.7").unwrap();
    assert_eq!(world.biller.invoice(id).unwrap(), invoice, "it is as it was");
    world.biller.void(&made.content.id).unwrap();
    note("10").unwrap();
}

#[test]
fn what_cannot_be_is_refused() {
    let world = World::new(|_| {});
    world.pass(40).shop("pro");
    assert_eq!(world.generate("2027-01"), Err(Refused::FutureMonth));
    assert_eq!(world.generate("2026-11"), Err(Refused::NothingThen));
    assert_eq!(world.generate("0001-01"), Err(Refused::NothingThen));
    let nobody = world.biller.draft(&world.config, "2026-12".parse().unwrap(), "nobody", false);
    assert_eq!(nobody, Err(Refused::NoAccount));
    assert_eq!(world.biller.invoice("inv_x"), Err(Refused::NoInvoice));
    assert_eq!(world.biller.finalize(&world.config, "inv_x", None), Err(Refused::NoInvoice));
    let draft = world.draft("2026-12");
    assert_eq!(world.biller.push(&draft.content.id), Err(Refused::NoStripe));
    let all = world.biller.invoices(&Choice::default(), None, 9).unwrap();
    assert_eq!(all, [draft]);
}

#[test]
fn two_that_finalize_at_once_get_one_number() {
    let world = World::new(|_| {});
    world.shop("pro");
    let draft = world.draft("2026-11");
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (biller, config) = (world.biller.clone(), world.config.clone());
            let id = draft.content.id.clone();
            std::thread::spawn(move || biller.finalize(&config, &id, None).unwrap())
        })
        .collect();
    let made: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert!(made.iter().all(|it| it == &made[0]), "{made:?}");
    assert_eq!(made[0].content.number.as_deref(), Some("2026-000001"));
    world.pass(31);
    assert_eq!(world.closed("2026-12").content.number.as_deref(), Some("2026-000002"));
}

const ZONES: [&str; 3] = ["UTC", "Pacific/Kiritimati", "America/Los_Angeles"];

#[derive(Clone, Debug)]
enum Event {
    Request(u8),
    Plan(bool),
    Pass(u32),
    Zone(usize),
    Close,
    Void(prop::sample::Index),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0..4_u8).prop_map(Event::Request),
        1 => any::<bool>().prop_map(Event::Plan),
        2 => (1..12_u32).prop_map(Event::Pass),
        1 => (0..ZONES.len()).prop_map(Event::Zone),
        2 => Just(Event::Close),
        1 => any::<prop::sample::Index>().prop_map(Event::Void),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Whenever invoices are made, finalized and voided, and in whatever time zone:
    /// in the end the ledger is billed to the last pico-dollar, and each microsecond
    /// of a plan, once.
    #[test]
    fn everything_is_billed_once(events in prop::collection::vec(event(), 1..40)) {
        let mut world = World::new(|_| {});
        // So that no total falls below zero.
        world.shop("free").request("100000");
        for event in events {
            let month = Month::of(world.clock.wall(), &world.config.timezone).unwrap();
            match event {
                Event::Request(price) => world.request(["0", "0.02", "0.005", "0.0033"][usize::from(price)]),
                Event::Plan(pro) => world.plan(if pro { "pro" } else { "free" }),
                Event::Pass(days) => drop(world.pass(days)),
                Event::Zone(zone) => world.zone(ZONES[zone]),
                Event::Close => {
                    let draft = world.generate(&month.to_string());
                    drop(draft.and_then(|draft| world.finalize(&draft)));
                }
                Event::Void(which) => {
                    let all = world.biller.invoices(&Choice::default(), None, usize::MAX).unwrap();
                    if !all.is_empty() {
                        drop(world.biller.void(&all[which.index(all.len())].content.id));
                    }
                }
            }
        }
        // Two months later, month by month from the first in any zone, all is closed.
        world.pass(62);
        let after = Month::of(world.clock.wall(), &world.config.timezone).unwrap();
        let mut months = vec![after];
        while months.last().unwrap().to_string() != "2026-10" {
            months.push(months.last().unwrap().previous());
        }
        for month in months.iter().rev() {
            let month = month.to_string();
            let draft = match world.generate(&month) {
                Err(Refused::AlreadyFinal(_) | Refused::NothingThen) => continue,
                draft => draft.unwrap(),
            };
            if let Err(refused) = world.finalize(&draft) {
                // More is owed back than owed: nothing that others are to lose.
                prop_assert!(matches!(refused, Refused::BelowZero(_)), "{refused:?}");
                world.adjust("200000", Some(&month)).unwrap();
                world.closed(&month);
            }
        }
        let all = world.biller.invoices(&Choice::default(), None, usize::MAX).unwrap();
        let mut numbers: Vec<_> =
            all.iter().filter_map(|it| it.content.number.clone()).collect();
        numbers.sort();
        let year = |number: &String| number.split('-').next().unwrap().to_owned();
        for (at, number) in numbers.iter().enumerate() {
            let before = numbers.iter().take(at).filter(|it| year(it) == year(number)).count();
            let wanted = format!("{}-{:06}", year(number), before + 1);
            prop_assert_eq!(number, &wanted, "a gap");
        }
        let counts = |it: &&Invoice| matches!(it.status, Status::Final | Status::Paid);
        let lines = || all.iter().filter(counts).flat_map(|it| &it.content.lines);
        let usage: Money = lines()
            .filter_map(|line| match &line.basis {
                Basis::Usage { exact, .. } => Some(*exact),
                _ => None,
            })
            .sum();
        let sums = world.ledger.summary(&Filter::default(), By::Account).unwrap();
        prop_assert_eq!(usage, sums.iter().map(|row| row.revenue).sum());
        let end = all.iter().filter(counts).filter_map(|it| it.content.span).map(|it| it.to).max();
        let history = world.biller.parts.history.assignments("shop").unwrap();
        let all_time = Span { from: Timestamp(0), to: end.unwrap() };
        let held: i64 = Fees::of(&history, all_time).plans().map(|(_, time)| time.micros).sum();
        let billed = lines().filter_map(|line| match &line.basis {
            Basis::Fee { micros, .. } => Some(*micros),
            _ => None,
        });
        prop_assert_eq!(billed.sum::<i64>(), held);
    }
}
