//! The journal on damaged files and failing disks. Covers H1 and invariants 1 and 7.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use proptest::prelude::*;

use super::merge::Merge;
use super::segment;
use crate::base::clock::TestClock;
use crate::config::Durability;
use crate::ledger::record::{Attempt, UsageRecord};
use crate::ledger::testing::{
    Faulty, MIDNIGHT, any_record, at, attempt, crash, one_shard, open, record, segments,
};
use crate::ledger::{
    Fault, Filter, Ledger, OpenError, Options, Page, Replay, Report, StorageError,
};

const ALL: Page = Page { after: None, limit: usize::MAX };

fn settle(ledger: &Ledger, record: &UsageRecord) -> Result<(), StorageError> {
    ledger.settle(record).map(|_| ())
}

/// A data directory with one segment: its bytes, the records, and where each
/// frame begins; the last number is the file's length.
fn written(count: u64) -> (tempfile::TempDir, Vec<u8>, Vec<UsageRecord>, Vec<usize>) {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open(dir.path(), one_shard());
    let records: Vec<_> = (0..count).map(|second| record(at(second))).collect();
    let mut starts = vec![segment::HEADER];
    for record in &records {
        settle(&ledger, record).unwrap();
        let length = fs::metadata(&segments(dir.path())[0]).unwrap().len();
        starts.push(usize::try_from(length).unwrap());
    }
    drop(ledger);
    let bytes = fs::read(&segments(dir.path())[0]).unwrap();
    (dir, bytes, records, starts)
}

/// What is read when the only segment holds `bytes`.
fn read(dir: &Path, bytes: &[u8]) -> (Vec<UsageRecord>, Report) {
    fs::write(&segments(dir)[0], bytes).unwrap();
    let mut records = Vec::new();
    let report = Ledger::verify(dir, &mut |record| records.push(record.clone())).unwrap();
    (records, report)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_record_and_attempt_survives_cbor(record in any_record()) {
        let bytes = minicbor::to_vec(&record).unwrap();
        prop_assert_eq!(&minicbor::decode::<UsageRecord>(&bytes).unwrap(), &record);
        let attempt = attempt(&record, 3);
        let bytes = minicbor::to_vec(&attempt).unwrap();
        prop_assert_eq!(minicbor::decode::<Attempt>(&bytes).unwrap(), attempt);
    }

    #[test]
    fn every_record_survives_the_journal(records in prop::collection::vec(any_record(), 1..8)) {
        let dir = tempfile::tempdir().unwrap();
        let (ledger, _) = open(dir.path(), Options::default());
        for record in &records {
            settle(&ledger, record).unwrap();
        }
        drop(ledger);
        prop_assert_eq!(open(dir.path(), Options::default()).1, records);
    }
}

#[test]
fn a_torn_tail_costs_only_itself() {
    let (dir, bytes, records, starts) = written(3);
    for end in starts[2] + 1..starts[3] {
        let (found, report) = read(dir.path(), &bytes[..end]);
        assert_eq!(found, records[..2], "cut at {end}");
        assert_eq!((report.torn, report.damaged), (1, 0), "cut at {end}");
        assert_eq!(report.damages[0].offset, starts[2] as u64);
    }
    for (end, whole) in [(starts[2], 2), (starts[1], 1), (starts[0], 0)] {
        let (found, report) = read(dir.path(), &bytes[..end]);
        assert_eq!((found.len(), report.torn, report.damaged), (whole, 0, 0));
    }
    for end in 0..segment::HEADER / 2 {
        let (found, report) = read(dir.path(), &bytes[..end]);
        assert_eq!((found.len(), report.torn, report.damaged), (0, 1, 0), "cut at {end}");
    }
}

#[test]
fn a_tail_of_zeros_is_torn() {
    let (dir, mut bytes, records, _) = written(2);
    bytes.extend([0; 5000]);
    let (found, report) = read(dir.path(), &bytes);
    assert_eq!((found, report.torn, report.damaged), (records, 1, 0));
}

#[test]
fn a_flipped_bit_is_located_and_costs_only_its_frame() {
    let (dir, bytes, records, starts) = written(3);
    let rest = [records[0].clone(), records[2].clone()];
    for at in starts[1]..starts[2] {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1 << (at % 8);
        let (found, report) = read(dir.path(), &bytes);
        assert_eq!(found, rest, "byte {at}");
        assert_eq!((report.torn, report.damaged), (0, 1), "byte {at}");
        let damage = &report.damages[0];
        assert_eq!((damage.fault, damage.offset), (Fault::Damaged, starts[1] as u64));
        assert_eq!(damage.length, (starts[2] - starts[1]) as u64);
        assert_eq!(*damage.path, *segments(dir.path())[0]);
    }
}

#[test]
fn text_of_a_client_is_never_taken_for_a_frame() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open(dir.path(), one_shard());
    // A whole frame of a segment without salt, within a text of a client.
    let mut forged = Vec::new();
    let payload = UsageRecord { account: "victim".into(), ..record(at(9)) };
    super::frame::encode(&mut forged, 0, super::frame::Kind::Settle, 5, &payload).unwrap();
    let carrier = minicbor::bytes::ByteVec::from(forged);
    let salt = super::scan::header(&{
        settle(&ledger, &record(at(1))).unwrap();
        segments(dir.path())[0].clone()
    })
    .unwrap()
    .0
    .unwrap()
    .salt;
    assert_ne!(salt, 0);
    drop(ledger);
    let mut bytes = fs::read(&segments(dir.path())[0]).unwrap();
    let mut frame = Vec::new();
    super::frame::encode(&mut frame, salt, super::frame::Kind::Settle, 1, &carrier).unwrap();
    frame[4] ^= 1;
    bytes.extend(frame);
    let (found, report) = read(dir.path(), &bytes);
    assert_eq!((found.len(), report.damaged), (1, 1));
}

#[test]
fn an_intact_frame_with_strange_content_is_reported() {
    let (dir, mut bytes, records, starts) = written(1);
    let salt = super::scan::header(&segments(dir.path())[0]).unwrap().0.unwrap().salt;
    let mut frame = Vec::new();
    super::frame::encode(&mut frame, salt, super::frame::Kind::Settle, 9, &"no record").unwrap();
    bytes.extend(&frame);
    let (found, report) = read(dir.path(), &bytes);
    assert_eq!((found, report.damaged), (records, 1));
    assert_eq!(report.damages[0].fault, Fault::Undecodable);
    assert_eq!(report.damages[0].offset, starts[1] as u64);
    assert_eq!(report.damages[0].length, frame.len() as u64);
}

#[test]
fn a_second_settlement_on_the_disk_counts_once() {
    let (dir, mut bytes, records, _) = written(1);
    let salt = super::scan::header(&segments(dir.path())[0]).unwrap().0.unwrap().salt;
    let second = UsageRecord { status: 502, ..records[0].clone() };
    let mut frame = Vec::new();
    super::frame::encode(&mut frame, salt, super::frame::Kind::Settle, 9, &second).unwrap();
    bytes.extend(&frame);
    let (found, report) = read(dir.path(), &bytes);
    assert_eq!((found, report.repeated), (records.clone(), 1));
    let (ledger, _) = open(dir.path(), one_shard());
    assert_eq!(ledger.records(&Filter::default(), ALL).unwrap().records, records);
    let rows = ledger.summary(&Filter::default(), crate::ledger::By::Class).unwrap();
    assert_eq!(rows[0].requests, 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn no_bytes_make_reading_fail(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
        cut in any::<prop::sample::Index>(),
        after in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let (dir, bytes, records, _) = written(4);
        let mut bytes = bytes[..=cut.index(bytes.len())].to_vec();
        bytes.extend(after);
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let (found, _) = read(dir.path(), &bytes);
        prop_assert!(found.iter().all(|found| records.contains(found)));
    }
}

#[test]
fn a_newer_format_is_refused_and_named() {
    let (dir, mut bytes, _, _) = written(1);
    let half = segment::HEADER / 2;
    bytes[8] = 2;
    let crc = crc32fast::hash(&bytes[..half - 4]);
    bytes[half - 4..half].copy_from_slice(&crc.to_le_bytes());
    fs::write(&segments(dir.path())[0], bytes).unwrap();
    let clock = Arc::new(TestClock::at(MIDNIGHT));
    let opened = Ledger::open(dir.path(), Durability::Process, clock, Replay::none());
    let Err(error @ OpenError::Newer { found: 2, supported: 1, .. }) = opened else {
        panic!("{opened:?}")
    };
    assert!(error.to_string().contains("use the version that wrote it"), "{error}");
}

#[test]
fn a_segment_without_a_readable_header_is_reported_and_the_others_are_read() {
    let (dir, bytes, records, _) = written(2);
    let spoiled = dir.path().join("journal").join(segment::file_name(1));
    let mut copy = bytes.clone();
    copy[0] ^= 1;
    copy[segment::HEADER / 2] ^= 1;
    fs::write(&spoiled, &copy).unwrap();
    let (found, report) = read(dir.path(), &bytes);
    assert_eq!((found, report.damaged, report.segments), (records, 1, 2));
    let damage = &report.damages[0];
    assert_eq!((damage.fault, damage.length), (Fault::Header, copy.len() as u64));
    assert_eq!(*damage.path, *spoiled);
    // Its number is not used again.
    let (ledger, _) = open(dir.path(), one_shard());
    settle(&ledger, &record(at(9))).unwrap();
    assert!(segments(dir.path())[2].ends_with(segment::file_name(2)));
}

#[test]
fn a_full_disk_refuses_and_recovers_by_itself() {
    for cannot_truncate in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let disk = Faulty::new();
        let (ledger, _) = open(dir.path(), disk.one_shard());
        let (first, refused, later) = (record(at(1)), record(at(2)), record(at(3)));
        let before = std::slice::from_ref(&first);
        settle(&ledger, &first).unwrap();
        disk.faults().room.store(40, SeqCst);
        disk.faults().cannot_truncate.store(cannot_truncate, SeqCst);
        for _ in 0..3 {
            assert!(matches!(settle(&ledger, &refused), Err(StorageError::Unavailable(_))));
            assert!(matches!(
                ledger.begin(&attempt(&refused, 1)),
                Err(StorageError::Unavailable(_))
            ));
        }
        assert!(!ledger.available());
        assert_eq!(ledger.records(&Filter::default(), ALL).unwrap().records, before);
        // A crash at this point loses nothing either.
        let (_, replayed) = open(crash(dir.path()).path(), one_shard());
        assert_eq!(replayed, before);

        assert!(ledger.probe().is_err() && !ledger.available());
        disk.faults().room.store(u64::MAX, SeqCst);
        disk.faults().cannot_truncate.store(false, SeqCst);
        ledger.probe().unwrap();
        assert!(ledger.available(), "a probe tells");
        assert_eq!(ledger.records(&Filter::default(), ALL).unwrap().records, before);
        settle(&ledger, &later).unwrap();
        settle(&ledger, &refused).unwrap();
        assert!(ledger.available());
        let all = [first.clone(), refused.clone(), later.clone()];
        assert_eq!(ledger.records(&Filter::default(), ALL).unwrap().records, all);
        drop(ledger);
        let (ledger, replayed) = open(dir.path(), one_shard());
        assert_eq!(replayed, [first, later, refused]);
        assert_eq!(ledger.report().damaged, 0, "{:?}", ledger.report());
        assert_eq!(segments(dir.path()).len(), if cannot_truncate { 2 } else { 1 });
    }
}

#[test]
fn frames_that_are_being_written_are_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open(dir.path(), Options { segment_bytes: 50_000, ..one_shard() });
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            (0..2000).for_each(|second| settle(&ledger, &record(at(second))).unwrap());
        });
        let mut most = 0;
        loop {
            let done = writer.is_finished();
            let segments = ledger.journal.segments();
            let lengths: u64 = segments.iter().map(|segment| segment.length).sum();
            let headers = (segments.len() * segment::HEADER) as u64;
            let (mut count, mut bytes) = (0, headers);
            let mut merge = Merge::new(segments);
            while let Some(item) = merge.next().unwrap() {
                count += 1;
                bytes += (super::frame::HEADER + item.payload.len()) as u64;
            }
            assert_eq!((bytes, merge.damages.len()), (lengths, 0));
            assert!(count >= most);
            most = count;
            if done {
                assert_eq!(count, 2000);
                break;
            }
        }
    });
}

#[tokio::test]
async fn a_failed_sync_is_told_to_those_who_wait_and_ends_the_segment() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Faulty::new();
    let clock = Arc::new(TestClock::at(MIDNIGHT));
    let options =
        Options { sync_interval: std::time::Duration::from_secs(3600), ..disk.one_shard() };
    let ledger =
        Ledger::open_with(dir.path(), Durability::Power, clock, options, Replay::none()).unwrap();
    // Once: what says that the record is void may be synced before this goes on.
    disk.faults().failing_syncs.store(1, SeqCst);
    let settled = ledger.settle(&record(at(1))).unwrap();
    assert!(matches!(ledger.durable(settled).await, Err(StorageError::NotDurable)));
    let settled = ledger.settle(&record(at(2))).unwrap();
    ledger.durable(settled).await.unwrap();
    assert_eq!(segments(dir.path()).len(), 2);
    assert_eq!(ledger.records(&Filter::default(), ALL).unwrap().records.len(), 2);
}
