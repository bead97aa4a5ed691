//! The ledger as its users see it. Covers H1 and invariants 1, 2 and 7.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::journal::frame;
use super::record::{Outcome, UsageRecord};
use super::testing::{MIDNIGHT, at, attempt, crash, one_shard, open, record, segments};
use super::*;
use crate::base::clock::{TestClock, Timestamp};
use crate::base::money::Money;

mod clock;
mod damage;
mod gathered;
mod harm;
mod index;

const ALL: Page = Page { after: None, limit: usize::MAX };

fn clock() -> Arc<TestClock> {
    Arc::new(TestClock::at(MIDNIGHT))
}

fn settle(ledger: &Ledger, record: &UsageRecord) {
    ledger.begin(&attempt(record, 1)).unwrap();
    let _settled = ledger.settle(record).unwrap();
}

#[test]
fn settled_records_outlive_the_process_once_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let written: Vec<_> = (0..50).map(|second| record(at(second))).collect();
    let (ledger, replayed) = open(dir.path(), Options::default());
    assert_eq!(replayed, []);
    written.iter().for_each(|record| settle(&ledger, record));
    let crashed = crash(dir.path());
    let (after_crash, replayed) = open(crashed.path(), Options::default());
    assert_eq!(replayed, written);
    assert_eq!(after_crash.report().lost, 0);
    drop(ledger);
    let (reopened, replayed) = open(dir.path(), Options::default());
    assert_eq!(replayed, written);
    assert_eq!(reopened.records(&Filter::default(), ALL).unwrap().records, written);
}

#[test]
fn calls_in_flight_at_the_end_are_closed_as_lost_once() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open(dir.path(), Options::default());
    let (finished, lost) = (record(at(1)), record(at(2)));
    settle(&ledger, &finished);
    ledger.begin(&attempt(&lost, 1)).unwrap();
    let second = record::Attempt {
        time: at(5),
        provider: "backup".into(),
        unpriced: true,
        ..attempt(&lost, 2)
    };
    ledger.begin(&second).unwrap();
    let crashed = crash(dir.path());

    let (recovered, replayed) = open(crashed.path(), Options::default());
    assert_eq!(recovered.lost_at_open(), 1);
    let found = recovered.records(&Filter::default(), ALL).unwrap().records;
    assert_eq!(found, replayed);
    let [first, closed] = &found[..] else { panic!("{found:?}") };
    assert_eq!(first, &finished);
    assert_eq!((closed.id, closed.time), (lost.id, at(2)));
    assert_eq!((closed.outcome, closed.status), (Outcome::Lost, 500));
    assert_eq!((closed.quantity, closed.price), (0, Money::ZERO));
    assert_eq!((closed.attempts, closed.cost), (2, Money::from_picos(1000)));
    assert_eq!((closed.tokens.input, closed.estimated, closed.unpriced), (200, true, true));
    assert_eq!((&*closed.account, &*closed.provider), ("acme", "backup"));
    drop(recovered);

    let (again, replayed) = open(crashed.path(), Options::default());
    assert_eq!((again.lost_at_open(), replayed), (0, found));
}

#[test]
fn a_call_of_this_process_is_not_lost_while_it_runs() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open(dir.path(), Options::default());
    ledger.begin(&attempt(&record(at(1)), 1)).unwrap();
    assert_eq!(ledger.records(&Filter::default(), ALL).unwrap().records, []);
}

#[test]
fn of_two_settlements_the_first_counts() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open(dir.path(), Options::default());
    let first = record(at(1));
    let second = UsageRecord { status: 502, cost: Money::ZERO, ..first.clone() };
    settle(&ledger, &first);
    let _settled = ledger.settle(&second).unwrap();
    assert_eq!(ledger.summary(&Filter::default(), By::Class).unwrap()[0].requests, 1);
    drop(ledger);
    let (reopened, replayed) = open(dir.path(), Options::default());
    assert_eq!(replayed, [first]);
    assert_eq!(reopened.report().repeated, 0, "the second is not even written");
}

#[test]
fn order_holds_over_all_shards() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { shards: 4, segment_bytes: 2_000, ..Options::default() };
    let (ledger, _) = open(dir.path(), options.clone());
    let records: Vec<_> = (0..60).map(|second| record(at(second))).collect();
    // Every call and every settlement comes from another thread, one after the other.
    let elsewhere = |work: &(dyn Fn() + Sync)| {
        std::thread::scope(|scope| scope.spawn(work).join().unwrap());
    };
    for record in &records {
        elsewhere(&|| ledger.begin(&attempt(record, 1)).unwrap());
        elsewhere(&|| ledger.begin(&attempt(record, 2)).unwrap());
        elsewhere(&|| ledger.settle(record).map(|_| ()).unwrap());
    }
    drop(ledger);
    let (reopened, replayed) = open(dir.path(), options);
    assert_eq!(replayed, records);
    assert_eq!(reopened.lost_at_open(), 0);
    assert!(reopened.report().segments > 4);
}

#[test]
fn many_threads_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { shards: 4, segment_bytes: 100_000, ..Options::default() };
    let (ledger, _) = open(dir.path(), options.clone());
    let records: Vec<Vec<_>> =
        (0..8).map(|_| (0..1000).map(|second| record(at(second))).collect()).collect();
    std::thread::scope(|scope| {
        for mine in &records {
            scope.spawn(|| mine.iter().for_each(|record| settle(&ledger, record)));
        }
    });
    let expected: BTreeSet<_> = records.iter().flatten().map(|record| record.id).collect();
    let crashed = crash(dir.path());
    let (recovered, replayed) = open(crashed.path(), options);
    assert_eq!(replayed.len(), 8000);
    assert_eq!(replayed.iter().map(|record| record.id).collect::<BTreeSet<_>>(), expected);
    let report = recovered.report();
    assert_eq!((report.lost, report.torn, report.damaged), (0, 0, 0));
    assert!(report.segments > 4, "the segments rotate: {report:?}");
    // Each thread's own records come in the order in which it settled them.
    for mine in &records {
        let mine: Vec<_> = mine.iter().map(|record| record.id).collect();
        let known: BTreeSet<_> = mine.iter().collect();
        let seen = replayed.iter().map(|record| record.id).filter(|id| known.contains(id));
        assert_eq!(seen.collect::<Vec<_>>(), mine);
    }
}

#[test]
fn what_is_read_while_others_write_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    // Short, so that a reader is overtaken by several ends of segments.
    let (ledger, _) = open(dir.path(), Options { segment_bytes: 1_000, ..one_shard() });
    let records: Vec<_> = (0..500).map(|second| record(at(second))).collect();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| records.iter().for_each(|record| settle(&ledger, record)));
        loop {
            let done = writer.is_finished();
            let found = ledger.records(&Filter::default(), ALL).unwrap().records;
            assert_eq!(found, records[..found.len()]);
            if done {
                assert_eq!(found.len(), records.len());
                break;
            }
        }
    });
}

#[test]
fn pages_follow_each_other_without_gap_or_repetition() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open(dir.path(), Options { segment_bytes: 4_000, ..one_shard() });
    // Settled in another order than they began.
    let mut records: Vec<_> = (0..40).map(|second| record(at(second))).collect();
    for pair in records.chunks(2) {
        pair.iter().rev().for_each(|record| settle(&ledger, record));
    }
    records.sort_by_key(|record| record.id);
    for limit in [1, 3, 40, 41] {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = ledger.records(&Filter::default(), Page { after, limit }).unwrap();
            assert!(page.records.len() <= limit);
            seen.extend(page.records);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(seen, records, "pages of {limit}");
    }
}

#[test]
fn a_filter_takes_one_account_and_a_time_with_its_beginning_without_its_end() {
    let records: Vec<_> = (0..20)
        .map(|second| UsageRecord {
            account: if second % 2 == 0 { "acme" } else { "other" }.into(),
            ..record(at(second))
        })
        .collect();
    let filter = Filter { account: Some("acme".into()), from: Some(at(4)), to: Some(at(10)) };
    let nobody = Filter { account: Some("nobody".into()), ..Filter::default() };
    // One record a segment, a few, all.
    for segment_bytes in [1, 1_500, 1_000_000] {
        let dir = tempfile::tempdir().unwrap();
        let (ledger, _) = open(dir.path(), Options { segment_bytes, ..one_shard() });
        for record in &records {
            let _settled = ledger.settle(record).unwrap();
        }
        let found = ledger.records(&filter, ALL).unwrap().records;
        assert_eq!(found, [records[4].clone(), records[6].clone(), records[8].clone()]);
        assert_eq!(ledger.summary(&filter, By::Account).unwrap()[0].requests, 3);
        assert_eq!(ledger.summary(&nobody, By::Day).unwrap(), []);
    }
}

#[test]
fn sums_are_exact_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open(dir.path(), Options::default());
    let sample = |second, class: &str, price, cost| UsageRecord {
        endpoint: class.into(),
        model_used: format!("model of {class}").into(),
        price: Money::from_picos(price),
        cost: Money::from_picos(cost),
        ..record(at(second))
    };
    let day = 86_400;
    settle(&ledger, &sample(day - 1, "a", 10, 3));
    settle(&ledger, &sample(day, "b", 20, 25));
    settle(&ledger, &sample(day + 1, "a", 0, i128::from(u64::MAX)));
    let rows = |by| ledger.summary(&Filter::default(), by).unwrap();
    let named = |by| {
        rows(by)
            .into_iter()
            .map(|row| (row.by, row.requests, row.margin.picos()))
            .collect::<Vec<_>>()
    };
    let huge = i128::from(u64::MAX);
    assert_eq!(named(By::Class), [("a".into(), 2, 7 - huge), ("b".into(), 1, -5)]);
    assert_eq!(named(By::Model)[1], ("model of b".into(), 1, -5));
    assert_eq!(named(By::Account), [("acme".into(), 3, 2 - huge)]);
    assert_eq!(named(By::Day), [("2026-11-24".into(), 1, 7), ("2026-11-25".into(), 2, -5 - huge)]);
    let row = &rows(By::Account)[0];
    assert_eq!((row.revenue, row.cost), (Money::from_picos(30), Money::from_picos(28 + huge)));
    assert_eq!((row.tokens.input, row.tokens.reasoning), (360, 12));
}

#[test]
fn a_directory_has_one_owner() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open(dir.path(), Options::default());
    let again = Ledger::open(dir.path(), Durability::Process, clock(), Replay::none());
    assert!(matches!(again, Err(OpenError::Locked { path }) if path == dir.path()));
    drop(ledger);
    open(dir.path(), Options::default());
}

#[test]
fn a_directory_that_is_no_directory_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = Ledger::open(&file, Durability::Process, clock(), Replay::none()).unwrap_err();
    assert!(error.to_string().contains("file"), "{error}");
}

#[test]
fn every_start_writes_to_new_segments() {
    let dir = tempfile::tempdir().unwrap();
    for round in 1..=3_u64 {
        let (ledger, replayed) = open(dir.path(), one_shard());
        assert_eq!(replayed.len() as u64, round - 1);
        settle(&ledger, &record(at(round)));
        drop(ledger);
        assert_eq!(segments(dir.path()).len() as u64, round);
    }
    // A start that writes nothing leaves nothing.
    open(dir.path(), one_shard());
    assert_eq!(segments(dir.path()).len(), 3);
}

#[test]
fn a_record_that_fits_no_frame_is_shortened_not_lost() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open(dir.path(), one_shard());
    let huge: Arc<str> = "é".repeat(400_000).into();
    let record = UsageRecord { model_asked: huge.clone(), metadata: Some(huge), ..record(at(1)) };
    settle(&ledger, &record);
    let found = ledger.records(&Filter::default(), ALL).unwrap().records;
    assert_eq!((found[0].id, found[0].price), (record.id, record.price));
    assert_eq!((found[0].model_asked.len(), &found[0].metadata), (1024, &None));
}

#[test]
fn verification_counts_without_changing() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open(dir.path(), one_shard());
    settle(&ledger, &record(at(1)));
    ledger.begin(&attempt(&record(at(2)), 1)).unwrap();
    drop(ledger);
    for _ in 0..2 {
        let mut records = 0;
        let report = Ledger::verify(dir.path(), &mut |_| records += 1).unwrap();
        assert_eq!((records, report.settled, report.lost, report.segments), (1, 1, 1, 1));
    }
}

/// A ledger that syncs only when someone waits, or never.
fn rarely_synced(dir: &std::path::Path, durability: Durability) -> Ledger {
    let options = Options { sync_interval: Duration::from_secs(3600), ..one_shard() };
    Ledger::open_with(dir, durability, clock(), options, Replay::none()).unwrap()
}

#[tokio::test]
async fn process_durability_waits_for_no_disk() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = rarely_synced(dir.path(), Durability::Process);
    let settled = ledger.settle(&record(at(1))).unwrap();
    ledger.durable(settled).await.unwrap();
    assert_eq!(ledger.syncs(), 0);
    ledger.sync().unwrap();
    assert_eq!(ledger.syncs(), 1);
}

#[tokio::test]
async fn power_durability_waits_for_the_disk_and_groups() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = rarely_synced(dir.path(), Durability::Power);
    let settled: Vec<_> =
        (0..100).map(|second| ledger.settle(&record(at(second))).unwrap()).collect();
    assert_eq!(ledger.syncs(), 0);
    for settled in settled {
        ledger.durable(settled).await.unwrap();
    }
    assert!((1..=2).contains(&ledger.syncs()), "{} groups", ledger.syncs());
    let repeated = ledger.settle(&record(Timestamp(0))).unwrap();
    ledger.durable(repeated).await.unwrap();
}

#[tokio::test]
async fn what_is_written_is_synced_without_being_asked() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { sync_interval: Duration::from_millis(1), ..one_shard() };
    let (ledger, _) = open(dir.path(), options);
    for round in 0..3 {
        let before = ledger.syncs();
        settle(&ledger, &record(at(round)));
        while ledger.syncs() == before {
            tokio::task::yield_now().await;
        }
    }
}
