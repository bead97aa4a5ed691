//! What was lost is known for as long as it is lost, and of which time it was.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::clock::{TestClock, Timestamp};
use crate::config::Durability;
use crate::ledger::journal::scan::Fault;
use crate::ledger::testing::{MIDNIGHT, at, record, segments};
use crate::ledger::{Filter, Flaw, Ledger, Options, Page, Replay};

const DAY: u64 = 86_400;

/// The ledger on day `day`, one shard and short segments.
fn open(dir: &Path, day: u64) -> (Ledger, Arc<TestClock>) {
    let clock = Arc::new(TestClock::at(at(day * DAY)));
    let options = Options { shards: 1, segment_bytes: 300, ..Options::default() };
    let replay = Replay::none();
    let ledger = Ledger::open_with(dir, Durability::Process, clock.clone(), options, replay);
    (ledger.unwrap(), clock)
}

/// A record on each of ten days, in a few segments.
fn write(dir: &Path) -> Vec<PathBuf> {
    for first in [0, 5] {
        let (ledger, clock) = open(dir, first);
        for day in first..first + 5 {
            let _settled = ledger.settle(&record(at(day * DAY))).unwrap();
            clock.advance(std::time::Duration::from_secs(DAY));
        }
    }
    let mut all = segments(dir);
    all.sort();
    assert!(all.len() > 5, "{}", all.len());
    all
}

fn days(days: Range<u64>) -> Range<Timestamp> {
    at(days.start * DAY)..at(days.end * DAY)
}

/// `fault` is known of the ten days and nothing of the days `whole`, by each of
/// two starts and one on an index that was made anew.
#[track_caller]
fn known(dir: &Path, fault: Fault, whole: Range<u64>) {
    for start in 0..3 {
        if start == 2 {
            Ledger::rebuild(dir).unwrap();
        }
        let (ledger, _) = open(dir, 20);
        let _settled = ledger.settle(&record(at(20 * DAY))).unwrap();
        let found = ledger.harmed(&days(0..10)).map(|damage| damage.fault);
        assert_eq!(found, Some(fault), "start {start}");
        assert_eq!(ledger.harmed(&days(whole.clone())), None, "start {start}");
        let long_before = Timestamp(0)..Timestamp(MIDNIGHT.0 - 2 * DAY * 1_000_000);
        assert_eq!(ledger.harmed(&long_before), None, "start {start}");
    }
}

#[test]
fn a_whole_ledger_is_not_harmed() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path());
    let (ledger, _) = open(dir.path(), 20);
    assert_eq!(ledger.harmed(&(Timestamp(0)..Timestamp(u64::MAX))), None);
}

#[test]
fn a_segment_that_is_gone_is_known() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::remove_file(&write(dir.path())[1]).unwrap();
    known(dir.path(), Fault::Missing, 8..10);
}

#[test]
fn an_end_that_is_gone_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let segment = &write(dir.path())[0];
    let length = std::fs::metadata(segment).unwrap().len();
    let file = std::fs::File::options().write(true).open(segment).unwrap();
    file.set_len(length / 2).unwrap();
    known(dir.path(), Fault::Missing, 8..10);
}

/// Makes every sidecar one of the format before.
fn age(dir: &Path) {
    for entry in std::fs::read_dir(dir.join("index")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "index") {
            let mut bytes = std::fs::read(&path).unwrap();
            assert_eq!(&bytes[8..12], &4_u32.to_le_bytes());
            bytes[8] = 3;
            std::fs::write(path, bytes).unwrap();
        }
    }
}

/// An index of a version before is made anew without a word, but for what it alone
/// knows: the end of a segment that is gone, found before the upgrade or after it.
#[test]
fn what_is_lost_is_known_after_an_upgrade() {
    for upgraded_before in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let segment = write(dir.path()).remove(0);
        if upgraded_before {
            age(dir.path());
        }
        let found = Ledger::verify(dir.path(), &mut |_| {}).unwrap();
        assert!(found.is_whole());
        assert_eq!(found.flaws.iter().any(|found| found.flaw == Flaw::Older), upgraded_before);
        let length = std::fs::metadata(&segment).unwrap().len();
        std::fs::File::options().write(true).open(&segment).unwrap().set_len(length / 2).unwrap();
        if !upgraded_before {
            drop(open(dir.path(), 20));
            age(dir.path());
        }
        known(dir.path(), Fault::Missing, 8..10);
        let found = Ledger::verify(dir.path(), &mut |_| {}).unwrap();
        assert!(found.flaws.iter().all(|found| found.flaw != Flaw::Older), "{:?}", found.flaws);
    }
}

/// As a copy or a power loss may leave it: the index knows what it had.
#[test]
fn a_segment_without_anything_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let segment = &write(dir.path())[1];
    std::fs::File::options().write(true).open(segment).unwrap().set_len(0).unwrap();
    for start in 0..2 {
        let (ledger, _) = open(dir.path(), 20);
        let found = ledger.harmed(&days(0..10)).map(|damage| damage.fault);
        assert_eq!(found, Some(Fault::Torn), "start {start}");
        assert_eq!(ledger.harmed(&days(8..10)), None, "start {start}");
    }
}

#[test]
fn a_header_that_is_damaged_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let segment = &write(dir.path())[1];
    let mut bytes = std::fs::read(segment).unwrap();
    bytes[..96].fill(1);
    std::fs::write(segment, bytes).unwrap();
    known(dir.path(), Fault::Header, 8..10);
}

/// The index has the record; where it is lost too, the new one has the damage.
#[test]
fn a_record_that_is_damaged_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let segment = &write(dir.path())[0];
    let mut bytes = std::fs::read(segment).unwrap();
    bytes[130] ^= 1;
    std::fs::write(segment, bytes).unwrap();
    let (ledger, _) = open(dir.path(), 20);
    assert_eq!(ledger.harmed(&days(0..10)), None, "it has not been read");
    let read = ledger.records(&Filter::default(), Page { after: None, limit: 100 }).unwrap();
    assert_eq!(read.damage.map(|damage| damage.fault), Some(Fault::Damaged));
    assert_eq!(read.records.len(), 9);
    drop(ledger);
    Ledger::rebuild(dir.path()).unwrap();
    known(dir.path(), Fault::Damaged, 8..10);
}

/// The last segment is gone: only the index shows that, and the next one must not
/// be taken for it.
#[test]
fn a_last_segment_that_is_gone_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let all = write(dir.path());
    std::fs::remove_file(all.last().unwrap()).unwrap();
    known(dir.path(), Fault::Missing, 0..3);
}
