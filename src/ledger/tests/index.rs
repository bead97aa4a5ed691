//! The index: it answers as the segments do, and is never needed. Covers A4, B2
//! and invariants 1 and 7.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::ledger::testing::{Faulty, crash_whole};

/// Small segments, written by three shards.
fn small() -> Options {
    Options { shards: 3, segment_bytes: 3_000, ..Options::default() }
}

fn put(ledger: &Ledger, record: &UsageRecord) {
    let _settled = ledger.settle(record).unwrap();
}

#[test]
fn a_start_trusts_the_index_and_a_verification_reads() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open(dir.path(), one_shard());
    (0..20).for_each(|second| settle(&ledger, &record(at(second))));
    drop(ledger);
    let path = &segments(dir.path())[0];
    let mut bytes = fs::read(path).unwrap();
    // In the first attempt, which nobody asks for any more.
    bytes[200] ^= 1;
    fs::write(path, bytes).unwrap();
    let ledger = Ledger::open(dir.path(), Durability::Process, clock(), Replay::none()).unwrap();
    assert_eq!((ledger.report().damaged, ledger.report().settled), (0, 20));
    drop(ledger);
    let report = Ledger::verify(dir.path(), &mut |_| {}).unwrap();
    assert_eq!((report.damaged, report.settled), (1, 20));
    fs::remove_dir_all(dir.path().join("index")).unwrap();
    assert_eq!(open(dir.path(), one_shard()).0.report().damaged, 1);
}

#[test]
fn a_record_is_found_by_its_identifiers_wherever_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let named = |second: u64| UsageRecord {
        request_id: format!("r{}", second % 50).into(),
        account: if second.is_multiple_of(2) { "acme" } else { "other" }.into(),
        ..record(at(second))
    };
    let records: Vec<_> = (0..60).map(named).collect();
    let check = |ledger: &Ledger| {
        for record in &records {
            assert_eq!(ledger.find(record.id).unwrap().as_ref(), Some(record));
            let found = ledger.find_request(&record.account, &record.request_id).unwrap();
            let found = found.unwrap();
            assert_eq!((&found.account, &found.request_id), (&record.account, &record.request_id));
        }
        assert_eq!(ledger.find_request("other", "r0").unwrap(), None);
        assert_eq!(ledger.find(record(at(5)).id).unwrap(), None);
        let latest = ledger.find_request("acme", "r4").unwrap().unwrap();
        assert_eq!(latest.id, records[54].id, "the later of two");
    };
    for options in [one_shard(), Options { segment_bytes: 3_000, ..one_shard() }] {
        let (ledger, _) = open(dir.path(), options);
        records.iter().for_each(|record| put(&ledger, record));
        check(&ledger);
        drop(ledger);
        check(&open(dir.path(), one_shard()).0);
        fs::remove_dir_all(dir.path().join("index")).unwrap();
        check(&open(dir.path(), one_shard()).0);
        fs::remove_dir_all(dir.path()).unwrap();
        fs::create_dir(dir.path()).unwrap();
    }
}

#[test]
fn without_an_index_everything_works() {
    let dir = tempfile::tempdir().unwrap();
    // No directory can be made here.
    fs::write(dir.path().join("index"), "").unwrap();
    let records: Vec<_> = (0..40).map(|second| record(at(second))).collect();
    for _ in 0..2 {
        let (ledger, replayed) = open(dir.path(), small());
        for record in records.iter().filter(|record| !replayed.contains(record)) {
            settle(&ledger, record);
        }
        assert!(ledger.available());
        assert_eq!(ledger.records(&Filter::default(), ALL).unwrap().records, records);
        assert_eq!(ledger.summary(&Filter::default(), By::Class).unwrap()[0].requests, 40);
        assert_eq!(ledger.find(records[7].id).unwrap().as_ref(), Some(&records[7]));
        assert_eq!(ledger.lost_at_open(), 0);
    }
    assert!(Ledger::verify(dir.path(), &mut |_| {}).unwrap().is_whole());
}

#[test]
fn rebuilding_restores_the_index_to_the_byte_and_keeps_open_calls() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open(dir.path(), small());
    // On a thread each, so that all shards are written to, and one of them most: the
    // segments end in another order than that of their numbers.
    for seconds in [0..1, 1..2, 2..3, 3..4, 4..40] {
        let ledger = &ledger;
        let write = || seconds.for_each(|second| settle(ledger, &record(at(second))));
        std::thread::scope(|scope| scope.spawn(write).join()).unwrap();
    }
    ledger.begin(&attempt(&record(at(50)), 1)).unwrap();
    drop(ledger);
    let contents = || {
        let entries = fs::read_dir(dir.path().join("index")).unwrap();
        let read = entries.map(|entry| entry.unwrap().path());
        read.map(|path| (path.clone(), fs::read(path).unwrap())).collect::<BTreeMap<_, _>>()
    };
    let before = contents();
    Ledger::rebuild(dir.path()).unwrap();
    assert_eq!(contents(), before);
    let (ledger, _) = open(dir.path(), small());
    assert_eq!(ledger.lost_at_open(), 1);
}

/// Payments from balances are the same whether the index says them, a part of it
/// or none; a record that is void has paid nothing.
#[tokio::test]
async fn what_was_paid_from_balances_is_read_from_anywhere() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Faulty::new();
    let options = Options { segment_bytes: 3_000, ..disk.one_shard() };
    let ledger =
        Ledger::open_with(dir.path(), Durability::Power, clock(), options, Replay::none()).unwrap();
    let mut expected = BTreeMap::new();
    for second in 0..40_u64 {
        let account = ["acme", "other", "third"][usize::try_from(second % 3).unwrap()];
        let prepaid = account != "third" && !second.is_multiple_of(4);
        let paid = UsageRecord { account: account.into(), prepaid, ..record(at(second)) };
        let settled = ledger.settle(&paid).unwrap();
        disk.faults().cannot_sync.store(second == 7, std::sync::atomic::Ordering::SeqCst);
        let durable = ledger.durable(settled).await;
        assert_eq!(durable.is_err(), second == 7);
        if durable.is_ok() && prepaid {
            *expected.entry(account.to_owned()).or_insert(Money::ZERO) += paid.price;
        }
    }
    let paid = || {
        let mut sums = BTreeMap::new();
        let mut each = |account: &str, amount| {
            *sums.entry(account.to_owned()).or_insert(Money::ZERO) += amount;
        };
        let replay = Replay::none().paid(&mut each);
        let opened = Ledger::open_with(dir.path(), Durability::Power, clock(), one_shard(), replay);
        drop(opened.unwrap());
        sums
    };
    drop(ledger);
    assert!(expected.values().all(|sum| !sum.is_zero()) && expected.len() == 2);
    assert_eq!(paid(), expected, "from the index");
    let index = dir.path().join("index");
    assert!(fs::read_dir(&index).unwrap().count() > 3, "no index of several parts");
    for entry in fs::read_dir(&index).unwrap().step_by(2) {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    assert_eq!(paid(), expected, "from a part of it");
    fs::remove_dir_all(&index).unwrap();
    fs::write(&index, "").unwrap();
    assert_eq!(paid(), expected, "from the segments");
}

/// What may happen to one of twelve requests.
#[derive(Clone, Copy, Debug)]
enum Step {
    Begin(usize),
    Settle(usize),
    Upkeep,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..12_usize).prop_map(Step::Begin),
        5 => (0..12_usize).prop_map(Step::Settle),
        1 => Just(Step::Upkeep),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_crash_at_any_instant_loses_and_invents_nothing(
        steps in prop::collection::vec((step(), 0..3_usize), 1..60),
    ) {
        let mut dir = tempfile::tempdir().unwrap();
        let options = Options { shards: 3, segment_bytes: 600, ..Options::default() };
        let (mut ledger, _) = open(dir.path(), options.clone());
        let fresh = || (0..12).map(|second| record(at(second))).collect::<Vec<_>>();
        let mut requests = fresh();
        let (mut open_calls, mut settled) = (BTreeSet::new(), BTreeSet::new());
        let end = [(Step::Restart, 0)];
        for (step, thread) in steps.iter().chain(&end) {
            // Another thread each time: so that the shards are all written to.
            let elsewhere = |work: &(dyn Fn() + Sync)| std::thread::scope(|scope| {
                (0..*thread).for_each(|_| { scope.spawn(|| ()).join().unwrap(); });
                scope.spawn(work).join().unwrap();
            });
            match *step {
                Step::Begin(number) if !settled.contains(&requests[number].id) => {
                    elsewhere(&|| ledger.begin(&attempt(&requests[number], 1)).unwrap());
                    open_calls.insert(requests[number].id);
                }
                Step::Settle(number) => {
                    elsewhere(&|| put(&ledger, &requests[number]));
                    open_calls.remove(&requests[number].id);
                    settled.insert(requests[number].id);
                }
                Step::Begin(_) => {}
                Step::Upkeep => ledger.journal.upkeep(),
                Step::Restart => {
                    let crashed = crash_whole(dir.path());
                    drop(ledger);
                    dir = crashed;
                    let (reopened, replayed) = open(dir.path(), options.clone());
                    prop_assert_eq!(reopened.lost_at_open(), open_calls.len());
                    settled.append(&mut open_calls);
                    let found: BTreeSet<_> = replayed.iter().map(|record| record.id).collect();
                    prop_assert_eq!(found.len(), replayed.len());
                    prop_assert_eq!(&found, &settled);
                    ledger = reopened;
                    requests = fresh();
                }
            }
        }
        drop(ledger);
        let report = Ledger::verify(dir.path(), &mut |_| {}).unwrap();
        prop_assert!(report.is_whole(), "{:?}", report);
        prop_assert_eq!(report.settled, settled.len() as u64);
    }

    #[test]
    fn sums_and_pages_are_those_of_a_naive_reading(
        seconds in prop::collection::vec(0..300_000_u64, 1..60),
        from in proptest::option::of(0..300_000_u64),
        to in proptest::option::of(prop_oneof![0..300_000_u64, Just(86_400), Just(172_800)]),
        mine: bool,
        reopen: bool,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let (mut ledger, _) = open(dir.path(), small());
        let records: Vec<_> = seconds.iter().enumerate().map(|(number, second)| UsageRecord {
            account: if number % 3 == 0 { "acme" } else { "other" }.into(),
            model_used: format!("m{}", number % 4).into(),
            price: Money::from_picos(i128::from(*second)),
            ..record(at(*second))
        }).collect();
        records.iter().for_each(|record| put(&ledger, record));
        if reopen {
            drop(ledger);
            (ledger, _) = open(dir.path(), small());
        }
        let account = mine.then(|| Arc::from("acme"));
        let filter = Filter { account, from: from.map(at), to: to.map(at) };
        let meant = |record: &&UsageRecord| {
            filter.account.as_ref().is_none_or(|account| *account == record.account)
                && filter.from.is_none_or(|from| record.time >= from)
                && filter.to.is_none_or(|to| record.time < to)
        };
        let mut expected: Vec<_> = records.iter().filter(meant).cloned().collect();
        expected.sort_by_key(|record| record.id);
        prop_assert_eq!(&ledger.records(&filter, ALL).unwrap().records, &expected);
        let mut naive: BTreeMap<String, (u64, Money)> = BTreeMap::new();
        for record in &expected {
            let sum = naive.entry(record.model_used.to_string()).or_default();
            (sum.0, sum.1) = (sum.0 + 1, sum.1 + record.price);
        }
        let rows = ledger.summary(&filter, By::Model).unwrap();
        let rows: BTreeMap<_, _> =
            rows.into_iter().map(|row| (row.by, (row.requests, row.revenue))).collect();
        prop_assert_eq!(rows, naive);
        let days = ledger.summary(&filter, By::Day).unwrap();
        prop_assert_eq!(days.iter().map(|row| row.requests).sum::<u64>(), expected.len() as u64);
    }
}

#[tokio::test]
async fn what_is_not_durable_charges_nothing_now_and_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Faulty::new();
    let options = Options { sync_interval: Duration::from_secs(3600), ..disk.one_shard() };
    let ledger =
        Ledger::open_with(dir.path(), Durability::Power, clock(), options, Replay::none()).unwrap();
    let (kept, refused) = (record(at(1)), record(at(2)));
    let settled = ledger.settle(&kept).unwrap();
    ledger.durable(settled).await.unwrap();
    disk.faults().cannot_sync.store(true, std::sync::atomic::Ordering::SeqCst);
    let settled = ledger.settle(&refused).unwrap();
    assert!(matches!(ledger.durable(settled).await, Err(StorageError::NotDurable)));
    disk.faults().cannot_sync.store(false, std::sync::atomic::Ordering::SeqCst);
    let check = |ledger: &Ledger| {
        let found = ledger.find(refused.id).unwrap().unwrap();
        assert_eq!((found.quantity, found.price, found.status), (0, Money::ZERO, 503));
        assert_eq!((found.cost, found.outcome), (refused.cost, Outcome::InternalError));
        let row = ledger.summary(&Filter::default(), By::Account).unwrap().remove(0);
        assert_eq!((row.requests, row.revenue), (2, kept.price));
        let records = ledger.records(&Filter::default(), ALL).unwrap().records;
        assert_eq!(records, [kept.clone(), found]);
    };
    check(&ledger);
    drop(ledger);
    for _ in 0..2 {
        let mut charged = 0;
        let mut each = |sum: &Sum<'_>| charged += sum.quantity;
        let replay = Replay::none().sums(Timestamp(0)..Timestamp(u64::MAX), &mut each);
        let ledger =
            Ledger::open_with(dir.path(), Durability::Power, clock(), one_shard(), replay).unwrap();
        assert_eq!(charged, 1);
        check(&ledger);
        drop(ledger);
        assert!(Ledger::verify(dir.path(), &mut |_| {}).unwrap().is_whole());
        Ledger::rebuild(dir.path()).unwrap();
    }
}
