//! Damage of any kind at any place: the rest is read once, and a verification
//! names the place. Covers H1 and invariant 7.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use crate::base::clock::{TestClock, Timestamp};
use crate::base::id::RecordId;
use crate::config::Durability;
use crate::ledger::journal::scan::{self, Scan};
use crate::ledger::journal::segment::{self, Segment};
use crate::ledger::testing::{MIDNIGHT, at, open, record, segments};
use crate::ledger::{Digest, Ledger, Options, Replay, Report};

/// One kind of damage, at a place that is drawn.
#[derive(Clone, Copy, Debug)]
enum Harm {
    Flip,
    Cut,
    Remove,
    Copy,
    Swap,
    Repeat,
    FlipIndex,
    CutIndex,
    RemoveIndex,
}

const HARMS: [Harm; 9] = [
    Harm::Flip,
    Harm::Cut,
    Harm::Remove,
    Harm::Copy,
    Harm::Swap,
    Harm::Repeat,
    Harm::FlipIndex,
    Harm::CutIndex,
    Harm::RemoveIndex,
];

/// A frame: where it begins and ends, and its record.
type Frame = (usize, usize, RecordId);

fn frames(path: &Path) -> Vec<Frame> {
    let (header, length) = scan::header(path).unwrap();
    let number = segment::number_of(path).unwrap();
    let (header, path) = (header.unwrap(), path.into());
    let mut scan =
        Scan::open(&Segment { number, path, header, length, span: None, index: None, harm: None })
            .unwrap();
    let mut found = Vec::new();
    while let Some(frame) = scan.next(&mut Vec::new()).unwrap() {
        let begin = usize::try_from(frame.offset).unwrap();
        let id = Digest::read(scan.payload()).unwrap().id;
        found.push((begin, begin + super::frame::HEADER + scan.payload().len(), id));
    }
    found
}

/// Writes 60 records into about a dozen segments of two shards.
fn write(dir: &Path) {
    let options = Options { shards: 2, segment_bytes: 2_000, ..Options::default() };
    let (ledger, _) = open(dir, options);
    let half = |first: u64| {
        let ledger = &ledger;
        move || {
            for second in (first..60).step_by(2) {
                let _settled = ledger.settle(&record(at(second))).unwrap();
            }
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(half(0));
        scope.spawn(half(1));
    });
}

/// Does `harm` to the segment at `path`: the frames that are lost by it, and the
/// file that must be named.
fn inflict(
    harm: Harm,
    path: &Path,
    frames: &[Frame],
    (one, other): (prop::sample::Index, prop::sample::Index),
) -> (Vec<RecordId>, PathBuf) {
    let mut bytes = fs::read(path).unwrap();
    let journal = path.parent().unwrap();
    let index = journal.parent().unwrap().join("index").join(path.file_name().unwrap());
    let index = index.with_extension("index");
    let all = || frames.iter().map(|(_, _, id)| *id).collect::<Vec<_>>();
    match harm {
        Harm::Flip => {
            let at = segment::HEADER + one.index(bytes.len() - segment::HEADER);
            bytes[at] ^= 1 << other.index(8);
            fs::write(path, &bytes).unwrap();
            let hit = frames.iter().filter(|(begin, end, _)| (*begin..*end).contains(&at));
            (hit.map(|(_, _, id)| *id).collect(), path.to_owned())
        }
        Harm::Cut => {
            let keep = segment::HEADER + one.index(bytes.len() - segment::HEADER);
            fs::write(path, &bytes[..keep]).unwrap();
            let gone = frames.iter().filter(|(_, end, _)| *end > keep);
            (gone.map(|(_, _, id)| *id).collect(), index)
        }
        Harm::Remove => {
            fs::remove_file(path).unwrap();
            (all(), index)
        }
        Harm::Copy => {
            // A number that no segment had: one that was removed is known by its.
            let beside = fs::read_dir(index.parent().unwrap()).unwrap();
            let named = beside.map(|entry| entry.unwrap().path().with_extension("journal"));
            let all = segments(journal.parent().unwrap()).into_iter().chain(named);
            let next = all.filter_map(|path| segment::number_of(&path)).max().unwrap() + 1;
            let copy = journal.join(segment::file_name(next));
            fs::copy(path, &copy).unwrap();
            (Vec::new(), copy)
        }
        Harm::Swap => {
            let (first, second) = (frames[0], frames[frames.len() - 1]);
            let mut swapped = bytes[..first.0].to_vec();
            swapped.extend(&bytes[second.0..second.1]);
            swapped.extend(&bytes[first.1..second.0]);
            swapped.extend(&bytes[first.0..first.1]);
            fs::write(path, swapped).unwrap();
            (Vec::new(), path.to_owned())
        }
        Harm::Repeat => {
            let (begin, end, _) = frames[one.index(frames.len())];
            bytes.extend_from_within(begin..end);
            fs::write(path, bytes).unwrap();
            (Vec::new(), path.to_owned())
        }
        Harm::FlipIndex => {
            let mut bytes = fs::read(&index).unwrap();
            let at = one.index(bytes.len());
            bytes[at] ^= 1 << other.index(8);
            fs::write(&index, bytes).unwrap();
            (Vec::new(), index)
        }
        Harm::CutIndex => {
            let bytes = fs::read(&index).unwrap();
            fs::write(&index, &bytes[..one.index(bytes.len())]).unwrap();
            (Vec::new(), index)
        }
        Harm::RemoveIndex => {
            fs::remove_file(&index).unwrap();
            (Vec::new(), index)
        }
    }
}

fn verify(dir: &Path) -> (Vec<RecordId>, Report) {
    let mut found = Vec::new();
    let report = Ledger::verify(dir, &mut |record| found.push(record.id)).unwrap();
    found.sort_unstable();
    (found, report)
}

/// The records that a start gives out.
fn start(dir: &Path) -> Vec<RecordId> {
    let mut found = Vec::new();
    let mut each = |digest: &Digest<'_>| found.push(digest.id);
    let clock = std::sync::Arc::new(TestClock::at(MIDNIGHT));
    let replay = Replay::none().records(Timestamp(0), &mut each);
    drop(Ledger::open(dir, Durability::Process, clock, replay).unwrap());
    found.sort_unstable();
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_is_intact_is_read_once_and_damage_is_named(
        harms in prop::collection::vec((0..HARMS.len(), any::<(prop::sample::Index, prop::sample::Index)>()), 1..5),
        first in any::<prop::sample::Index>(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path());
        prop_assert!(verify(dir.path()).1.is_whole());
        let paths = segments(dir.path());
        let mut intact: BTreeMap<RecordId, PathBuf> = BTreeMap::new();
        let contents: Vec<Vec<Frame>> = paths.iter().map(|path| frames(path)).collect();
        for (path, frames) in paths.iter().zip(&contents) {
            intact.extend(frames.iter().map(|(_, _, id)| (*id, path.clone())));
        }
        // One damage a segment, so that what each of them costs is known.
        let mut named = Vec::new();
        for (number, (harm, places)) in harms.iter().enumerate() {
            let at = (first.index(paths.len()) + number) % paths.len();
            let several = contents[at].len() > 1;
            let harm = if several { HARMS[*harm] } else { Harm::Flip };
            let (lost, name) = inflict(harm, &paths[at], &contents[at], *places);
            lost.iter().for_each(|id| drop(intact.remove(id)));
            named.push((harm, name));
        }
        let expected: Vec<RecordId> = intact.into_keys().collect();
        let (found, report) = verify(dir.path());
        prop_assert_eq!(&found, &expected, "{:?}", report);
        for (harm, name) in named {
            let damaged = report.damages.iter().any(|damage| *damage.path == *name);
            let flawed = report.flaws.iter().any(|flaw| flaw.path == name);
            prop_assert!(damaged || flawed, "{harm:?} of {} in {report:?}", name.display());
            if !matches!(harm, Harm::RemoveIndex) {
                prop_assert!(!report.is_whole(), "{harm:?} in {report:?}");
            }
        }
        prop_assert_eq!(start(dir.path()), &expected[..]);
        Ledger::rebuild(dir.path()).unwrap();
        let (_, replayed) = open(dir.path(), Options::default());
        prop_assert_eq!(replayed.len(), expected.len());
    }
}

#[test]
fn a_segment_in_the_middle_that_is_gone_is_named_without_an_index() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path());
    fs::remove_dir_all(dir.path().join("index")).unwrap();
    let gone = segments(dir.path())[2].clone();
    let lost = frames(&gone).len() as u64;
    fs::remove_file(&gone).unwrap();
    let (found, report) = verify(dir.path());
    assert_eq!((found.len() as u64, report.missing_segments), (60 - lost, 1));
    assert_eq!(report.missing_frames, lost);
    assert!(report.damages.iter().any(|damage| *damage.path == *gone), "{report:?}");
    assert!(!report.is_whole());
}

#[test]
fn frames_cut_off_cleanly_before_others_are_missed_without_an_index() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open(dir.path(), Options { segment_bytes: 2_000, ..super::one_shard() });
    for second in 0..20 {
        let _settled = ledger.settle(&record(at(second))).unwrap();
    }
    drop(ledger);
    fs::remove_dir_all(dir.path().join("index")).unwrap();
    let path = &segments(dir.path())[1];
    let last = *frames(path).last().unwrap();
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..last.0]).unwrap();
    let (_, report) = verify(dir.path());
    assert_eq!((report.missing_frames, report.damaged), (1, 1), "{report:?}");
    assert!(!report.is_whole());
}

#[test]
fn a_torn_end_counts_until_a_start_has_met_it() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open(dir.path(), super::one_shard());
    let _settled = ledger.settle(&record(at(1))).unwrap();
    let crashed = super::crash(dir.path());
    let path = &segments(crashed.path())[0];
    let mut bytes = fs::read(path).unwrap();
    bytes.extend_from_within(segment::HEADER..segment::HEADER + 30);
    fs::write(path, bytes).unwrap();
    let (_, report) = verify(crashed.path());
    assert_eq!((report.torn, report.is_whole()), (1, false));
    open(crashed.path(), super::one_shard());
    let (_, report) = verify(crashed.path());
    assert_eq!((report.torn, report.torn_known, report.is_whole()), (1, 1, true));
}
