use tempfile::TempDir;

use super::*;

const BUDGET: u64 = 1024 * 1024;

fn open(dir: &TempDir, budget: u64) -> FileBlobs {
    FileBlobs::open(dir.path(), budget).unwrap()
}

fn put(blobs: &FileBlobs, name: u8, expires: u64, tag: u8, value: &[u8]) {
    blobs.put(&[name; 32], Timestamp(expires), &[tag; 24], value).unwrap();
}

fn got(blobs: &FileBlobs, name: u8) -> Option<(u64, Vec<u8>)> {
    let value = blobs.get(&[name; 32]).unwrap();
    assert_eq!(blobs.has(&[name; 32]), value.is_some());
    value.map(|(expires, value)| (expires.0, value))
}

#[test]
fn what_is_put_is_found_after_reopening_and_replaced_whole() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = open(&dir, BUDGET);
    put(&blobs, 1, 9, 0, b"one");
    put(&blobs, 1, 12, 0, b"second");
    put(&blobs, 1, 12, 0, b"third");
    put(&blobs, 2, 12, 0, b"");
    drop(blobs);
    let blobs = open(&dir, BUDGET);
    assert_eq!(got(&blobs, 1), Some((12, b"third".to_vec())));
    assert_eq!(got(&blobs, 2), Some((12, Vec::new())));
    assert_eq!(got(&blobs, 3), None);
    blobs.sweep(Timestamp(11)).unwrap();
    assert_eq!(blobs.bytes(), 2 * BLOCK, "the first expiry is gone too");
    blobs.remove(&[2; 32]).unwrap();
    blobs.remove(&[2; 32]).unwrap();
    assert_eq!(blobs.bytes(), BLOCK);
    blobs.sweep(Timestamp(12)).unwrap();
    assert_eq!((got(&blobs, 1), blobs.bytes()), (None, 0));
    drop(blobs);
    assert_eq!(open(&dir, BUDGET).bytes(), 0);
}

/// Covers invariant 8.
#[test]
fn what_expires_first_makes_room() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = open(&dir, 3 * BLOCK);
    for (name, expires) in [(1, 50), (2, 40), (3, 60)] {
        put(&blobs, name, expires, 0, &[0; 100]);
    }
    put(&blobs, 4, 10, 0, &[0; 100]);
    assert_eq!(got(&blobs, 2), None);
    put(&blobs, 5, 70, 0, &[0; 4096]);
    assert_eq!((got(&blobs, 4), got(&blobs, 1)), (None, None));
    assert!(got(&blobs, 3).is_some() && got(&blobs, 5).is_some());
    put(&blobs, 3, 80, 0, &[0; 100_000]);
    assert_eq!(got(&blobs, 3), None, "what is larger than all cannot be kept, nor its old self");
    drop(blobs);
    let blobs = open(&dir, 1);
    assert_eq!((got(&blobs, 5), blobs.bytes()), (None, 0), "the budget became smaller");
}

#[test]
fn what_is_chosen_is_removed_and_nothing_else_after_reopening_too() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = open(&dir, BUDGET);
    for name in 1..=6 {
        put(&blobs, name, 9, name % 2, b"x");
    }
    drop(blobs);
    let blobs = open(&dir, BUDGET);
    assert_eq!(blobs.remove_all(&|_, tag| *tag == [1; 24]).unwrap(), 3);
    assert_eq!(blobs.remove_all(&|name, _| name[0] == 2).unwrap(), 1);
    let left: Vec<u8> = (1..=6).filter(|name| got(&blobs, *name).is_some()).collect();
    assert_eq!((left, blobs.bytes()), (vec![4, 6], 2 * BLOCK));
}

#[test]
fn what_is_unfinished_or_foreign_is_cleared_away_and_what_is_gone_is_not_found() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = open(&dir, BUDGET);
    put(&blobs, 1, 9, 0, b"one");
    put(&blobs, 2, 9, 0, b"two");
    let file = |name| blobs.path(&[name; 32], &blobs.place(&[name; 32]).unwrap());
    let (folder, first) = file(1);
    for name in [folder.join(UNFINISHED), folder.join("x"), dir.path().join("cache/y")] {
        std::fs::write(name, "half").unwrap();
    }
    std::fs::remove_file(file(2).1).unwrap();
    assert_eq!(blobs.get(&[2; 32]).unwrap(), None);
    let blobs = open(&dir, BUDGET);
    assert_eq!((got(&blobs, 1), got(&blobs, 2)), (Some((9, b"one".to_vec())), None));
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
    assert!(first.exists() && !dir.path().join("cache/y").exists());
    FileBlobs::discard(dir.path()).unwrap();
    FileBlobs::discard(dir.path()).unwrap();
    assert!(!dir.path().join(FOLDER).exists());
    std::fs::write(dir.path().join(FOLDER), "no folder").unwrap();
    assert!(FileBlobs::open(dir.path(), BUDGET).is_err());
}
