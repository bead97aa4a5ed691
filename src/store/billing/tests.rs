//! What is numbered and kept is there again, whatever happened in between.

use std::sync::Arc;

use super::*;
use crate::store::Store;

fn book(dir: &std::path::Path) -> Book {
    Book::new(&Store::open(dir).unwrap()).unwrap()
}

fn assignment(sequence: u64, at: u64, plan: &str) -> Assignment {
    Assignment {
        sequence,
        at: Timestamp(at),
        plan: plan.to_owned(),
        monthly_price: "29".parse().unwrap(),
        included: false,
        standing: Standing::Active,
    }
}

fn document(id: &str, account: &str) -> Document {
    Document {
        id: id.to_owned(),
        account: account.to_owned(),
        period: "2026-11".to_owned(),
        status: Status::Draft,
        corrects: None,
        hash: [7; 32],
        content: b"{}".to_vec(),
    }
}

fn event() -> RecordId {
    crate::base::id::RecordIds::default().next(Timestamp(7))
}

/// Gives the draft a number, once.
fn finalize(book: &Book, id: &str) -> Document {
    let step = |kept: Option<Document>| match kept {
        Some(kept) if kept.status == Status::Draft => Step::Number(
            2026,
            event(),
            Box::new(move |number| {
                let content = number.as_bytes().to_vec();
                Some(Document { status: Status::Final, content, ..kept.clone() })
            }),
        ),
        _ => Step::Keep,
    };
    book.change(id, &step).unwrap().unwrap()
}

#[test]
fn a_history_keeps_its_order_and_is_each_accounts_own() {
    let dir = tempfile::tempdir().unwrap();
    let book = book(dir.path());
    let all = [assignment(1, 5, "free"), assignment(2, 5, "pro"), assignment(3, 900, "free")];
    for one in &all {
        book.append("a", one).unwrap();
        book.append("ab", &assignment(one.sequence, one.at.0, "other")).unwrap();
    }
    assert_eq!(book.assignments("a").unwrap(), all);
    assert_eq!(book.latest("a").unwrap().as_ref(), all.last());
    assert_eq!(book.latest("b").unwrap(), None);
    assert_eq!(book.assigned().unwrap(), ["a", "ab"]);
}

/// What was paid into balances is there again, each account's for itself.
#[test]
fn deposits_are_summed_as_they_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let payment = |id: &str, account: &str, kind, amount: &str| Adjustment {
        id: id.to_owned(),
        account: account.to_owned(),
        month: "2026-11".to_owned(),
        amount: amount.parse().unwrap(),
        description: "because".to_owned(),
        created_at: Timestamp(7),
        kind,
    };
    let sums = |book: &Book| {
        let mut sums = Vec::new();
        book.deposited(&mut |account, sum| sums.push(format!("{account} {sum}"))).unwrap();
        sums
    };
    let all = [
        payment("1", "a", AdjustmentKind::Deposit, "10"),
        payment("2", "ab", AdjustmentKind::Deposit, "0.01"),
        payment("3", "a", AdjustmentKind::Withdrawal, "2.5"),
        payment("4", "b", AdjustmentKind::Invoice, "-3"),
        payment("5", "a", AdjustmentKind::Deposit, "1"),
    ];
    let book = book(dir.path());
    assert_eq!(sums(&book), Vec::<String>::new());
    all.iter().for_each(|payment| book.add_adjustment(payment).unwrap());
    let expected = ["a 8.5", "ab 0.01"];
    assert_eq!(sums(&book), expected);
    drop(book);
    let again = self::book(dir.path());
    assert_eq!(sums(&again), expected);
    assert_eq!(again.adjustments(None, None, 9).unwrap(), all);
}

/// A kind that is not said is that of an invoice, as in what was kept before
/// there were others.
#[test]
fn an_adjustment_of_before_deposits_is_on_an_invoice() {
    #[derive(Encode)]
    #[cbor(map)]
    struct Before {
        #[n(0)]
        id: &'static str,
        #[n(1)]
        account: &'static str,
        #[n(2)]
        month: &'static str,
        #[n(3)]
        amount: Money,
        #[n(4)]
        description: &'static str,
        #[n(5)]
        #[cbor(with = "moment")]
        created_at: Timestamp,
    }
    let (id, account, month, description) = ("1", "a", "2026-11", "because");
    let amount = "-3".parse().unwrap();
    let before = Before { id, account, month, amount, description, created_at: Timestamp(7) };
    let read: Adjustment = minicbor::decode(&minicbor::to_vec(before).unwrap()).unwrap();
    assert_eq!((read.kind, read.amount), (AdjustmentKind::Invoice, amount));
}

#[test]
fn lists_are_paged_and_chosen() {
    let dir = tempfile::tempdir().unwrap();
    let book = book(dir.path());
    for (id, account) in [("i1", "a"), ("i2", "b"), ("i3", "a"), ("i4", "a")] {
        book.change(id, &|_| Step::Put(document(id, account), None)).unwrap();
    }
    finalize(&book, "i3");
    let ids = |choice: &Choice, after: Option<&str>, limit| -> Vec<String> {
        let found = book.invoices(choice, after, limit).unwrap();
        found.into_iter().map(|document| document.id).collect()
    };
    let of_a = Choice { account: Some("a".to_owned()), ..Choice::default() };
    assert_eq!(ids(&Choice::default(), None, 9), ["i1", "i2", "i3", "i4"]);
    assert_eq!(ids(&Choice::default(), Some("i1"), 2), ["i2", "i3"]);
    assert_eq!(ids(&of_a, None, 9), ["i1", "i3", "i4"]);
    assert_eq!(ids(&of_a, Some("i1"), 1), ["i3"]);
    let drafts = Choice { status: Some(Status::Draft), ..of_a };
    assert_eq!(ids(&drafts, None, 9), ["i1", "i4"]);
    let of = |period: &str| Choice { period: Some(period.to_owned()), ..Choice::default() };
    assert_eq!(ids(&of("2026-10"), None, 9), Vec::<String>::new());
    let october = Document { period: "2026-10".to_owned(), ..document("i0", "a") };
    book.change("i0", &|_| Step::Put(october.clone(), None)).unwrap();
    assert_eq!(ids(&of("2026-10"), None, 9), ["i0"]);
    assert_eq!(ids(&of("2026-11"), Some("i2"), 1), ["i3"]);
    let last = Choice { status: Some(Status::Final), ..of("2026-11") };
    assert_eq!(ids(&last, None, 9), ["i3"]);
}

/// A store of a version that had no index of months gets one.
#[test]
fn months_are_found_in_a_store_that_had_no_index_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let book = Book::new(&store).unwrap();
    book.change("i1", &|_| Step::Put(document("i1", "a"), None)).unwrap();
    store.tree("invoices_by_period").unwrap().clear().unwrap();
    let november = Choice { period: Some("2026-11".to_owned()), ..Choice::default() };
    assert_eq!(book.invoices(&november, None, 9).unwrap(), []);
    let again = Book::new(&store).unwrap();
    assert_eq!(again.invoices(&november, None, 9).unwrap().len(), 1);
    // A version without the index was gone back to, and made another.
    again.change("i2", &|_| Step::Put(document("i2", "a"), None)).unwrap();
    store.tree("invoices_by_period").unwrap().remove(b"2026-11\0i2").unwrap();
    let again = Book::new(&store).unwrap();
    assert_eq!(again.invoices(&november, None, 9).unwrap().len(), 2);
}

#[test]
fn numbers_have_no_gaps_however_many_ask_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let book = Arc::new(book(dir.path()));
    for n in 0..20 {
        let id = format!("i{n}");
        book.change(&id, &|_| Step::Put(document(&id, "a"), None)).unwrap();
    }
    // Four threads finalize the same twenty.
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let book = book.clone();
            std::thread::spawn(move || {
                (0..20).map(|n| finalize(&book, &format!("i{n}")).content).collect::<Vec<_>>()
            })
        })
        .collect();
    let seen: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "an invoice has two numbers");
    let mut numbers: Vec<_> =
        seen[0].iter().map(|number| String::from_utf8(number.clone()).unwrap()).collect();
    numbers.sort();
    let wanted: Vec<_> = (1..=20).map(|n| format!("2026-{n:06}")).collect();
    assert_eq!(numbers, wanted);
    drop(book);
    let again = self::book(dir.path());
    assert_eq!(finalize(&again, "i7").content, seen[0][7]);
    again.change("i20", &|_| Step::Put(document("i20", "a"), None)).unwrap();
    assert_eq!(finalize(&again, "i20").content, b"2026-000021");
}

/// A change and what is to be told of it are kept together, and survive together.
#[test]
fn what_is_to_be_told_is_kept_with_its_change() {
    let dir = tempfile::tempdir().unwrap();
    let book = book(dir.path());
    book.change("i1", &|_| Step::Put(document("i1", "a"), None)).unwrap();
    assert_eq!(book.untold().unwrap(), [], "of a draft nobody is told");
    let last = finalize(&book, "i1");
    finalize(&book, "i1");
    let paid = Document { status: Status::Paid, ..last };
    let event = event();
    book.change("i1", &|_| Step::Put(paid.clone(), Some(event))).unwrap();
    drop(book);
    let book = self::book(dir.path());
    let untold = book.untold().unwrap();
    let mut statuses: Vec<_> =
        untold.iter().map(|change| (&*change.invoice, change.status)).collect();
    statuses.sort_by_key(|(_, status)| *status == Status::Paid);
    assert_eq!(statuses, [("i1", Status::Final), ("i1", Status::Paid)]);
    book.told(event).unwrap();
    let left: Vec<_> = book.untold().unwrap().into_iter().map(|change| change.status).collect();
    assert_eq!(left, [Status::Final]);
}
