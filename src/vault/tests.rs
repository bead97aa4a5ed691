use std::fs;
use std::os::unix::fs::PermissionsExt;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

const ACME: Owner<'_> = Owner::Account("acme");
const DAY: Day = Day(20_619);

fn home() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn load(home: &TempDir) -> Vault {
    Vault::load(home.path(), None, &[]).unwrap()
}

fn keyring(home: &TempDir) -> Vec<PathBuf> {
    let files = fs::read_dir(home.path().join("vault/keyring")).unwrap();
    files.map(|file| file.unwrap().path()).collect()
}

/// Covers D4.
#[test]
fn what_is_sealed_opens_with_its_owner_day_and_context_alone_and_after_a_restart() {
    let home = home();
    let vault = load(&home);
    let sealed = vault.seal(ACME, DAY, b"context", b"hello").unwrap();
    let again = vault.seal(ACME, DAY, b"context", b"hello").unwrap();
    assert_ne!(sealed, again);
    vault.seal(Owner::Account("other"), DAY, b"", b"").unwrap();
    vault.seal(Owner::Class("acme"), DAY, b"", b"").unwrap();
    let check = |vault: &Vault| {
        let open = |owner, day, context: &[u8]| vault.open(owner, day, context, &sealed);
        assert_eq!(open(ACME, DAY, b"context").as_deref(), Some(&b"hello"[..]));
        assert_eq!(open(Owner::Account("other"), DAY, b"context"), None);
        assert_eq!(open(Owner::Account("nobody"), DAY, b"context"), None);
        assert_eq!(open(Owner::Class("acme"), DAY, b"context"), None);
        for day in [0, DAY.0 - 1, DAY.0 + 1, u32::MAX] {
            assert_eq!(open(ACME, Day(day), b"context"), None);
        }
        assert_eq!(open(ACME, DAY, b"contex"), None);
        assert_eq!(open(ACME, DAY, b""), None);
    };
    check(&vault);
    drop(vault);
    check(&load(&home));
}

#[test]
fn a_clock_that_is_set_back_a_little_can_still_seal_and_none_that_is_far_ahead() {
    let home = home();
    let vault = load(&home);
    vault.seal(ACME, DAY, b"", b"").unwrap();
    assert!(vault.seal(ACME, Day(DAY.0 - MARGIN), b"", b"").is_ok());
    for day in [DAY.0 - MARGIN - 1, DAY.0 + LONGEST, u32::MAX] {
        assert!(matches!(vault.seal(ACME, Day(day), b"", b""), Err(SealError::Day)));
    }
    assert_eq!(Day::of(Timestamp(86_400_000_000 * 2 - 1)), Day(1));
}

/// Covers D4, I3.
#[test]
fn a_forgotten_owner_is_forgotten_at_once_and_for_ever() {
    let home = home();
    let vault = load(&home);
    let sealed = vault.seal(ACME, DAY, b"", b"hello").unwrap();
    let other = vault.seal(Owner::Account("other"), DAY, b"", b"hello").unwrap();
    vault.forget(ACME).unwrap();
    vault.forget(Owner::Account("nobody")).unwrap();
    let gone = |vault: &Vault| {
        assert_eq!(vault.open(ACME, DAY, b"", &sealed), None);
        assert!(vault.open(Owner::Account("other"), DAY, b"", &other).is_some());
    };
    gone(&vault);
    drop(vault);
    let vault = load(&home);
    gone(&vault);
    let new = vault.seal(ACME, DAY, b"", b"hello").unwrap();
    gone(&vault);
    assert!(vault.open(ACME, DAY, b"", &new).is_some());
}

/// Covers I3.
#[test]
fn an_expired_day_is_gone_and_later_ones_are_not() {
    let home = home();
    let vault = load(&home);
    let on = |day| vault.seal(ACME, Day(day), b"", b"hello").unwrap();
    let sealed: Vec<(u32, Vec<u8>)> = (0..4).map(|n| (DAY.0 + n, on(DAY.0 + n))).collect();
    vault.expire(Day(DAY.0 + 2)).unwrap();
    vault.expire(DAY).unwrap();
    let check = |vault: &Vault| {
        for (day, sealed) in &sealed {
            let opened = vault.open(ACME, Day(*day), b"", sealed);
            assert_eq!(opened.is_some(), *day >= DAY.0 + 2, "{day}");
        }
        assert!(matches!(vault.seal(ACME, DAY, b"", b""), Err(SealError::Day)));
    };
    check(&vault);
    drop(vault);
    check(&load(&home));
}

/// Covers I2.
#[test]
fn the_master_key_changes_at_a_start_and_while_running() {
    let home = home();
    let sealed = load(&home).seal(ACME, DAY, b"", b"hello").unwrap();
    let (first, second) = (Key::new([1; 32]), Key::new([2; 32]));
    let opens = |vault: &Vault| vault.open(ACME, DAY, b"", &sealed).is_some();

    // From the vault's own key to a given one: the own one is read unasked.
    assert!(opens(&Vault::load(home.path(), Some(&first), &[]).unwrap()));
    fs::remove_file(home.path().join("vault/master.key")).unwrap();
    assert!(opens(&Vault::load(home.path(), Some(&first), &[]).unwrap()));
    assert!(!home.path().join("vault/master.key").exists());

    let refused = Vault::load(home.path(), Some(&second), &[]).unwrap_err();
    assert!(matches!(refused, OpenError::Unknown(_)), "{refused}");
    let both = [Key::new([3; 32]), first.clone()];
    assert!(opens(&Vault::load(home.path(), Some(&second), &both).unwrap()));
    let vault = Vault::load(home.path(), Some(&second), &[]).unwrap();
    assert!(opens(&vault));

    vault.rotate(Some(&first)).unwrap();
    assert!(opens(&vault));
    drop(vault);
    let vault = Vault::load(home.path(), Some(&first), &[]).unwrap();
    vault.rotate(None).unwrap();
    drop(vault);
    assert!(opens(&load(&home)));
}

#[test]
fn a_crash_before_the_rename_leaves_the_keyring_as_it_was() {
    // As it stands between the file's making and its renaming, half or whole.
    for whole in [false, true] {
        let home = home();
        let sealed = load(&home).seal(ACME, DAY, b"", b"hello").unwrap();
        let file = keyring(&home).remove(0);
        let unfinished = file.with_extension("new");
        let bytes = if whole { fs::read(&file).unwrap() } else { b"TG".to_vec() };
        fs::write(&unfinished, bytes).unwrap();
        let vault = load(&home);
        assert!(vault.open(ACME, DAY, b"", &sealed).is_some());
        vault.forget(ACME).unwrap();
        assert!(!unfinished.exists());
        let vault = load(&home);
        assert!(vault.open(ACME, DAY, b"", &sealed).is_none());
        assert!(vault.seal(ACME, DAY, b"", b"hello").is_ok());
        assert!(load(&home).open(ACME, DAY, b"", &sealed).is_none());
    }
}

#[test]
fn a_keyring_that_was_changed_is_refused_and_names_its_file() {
    let home = home();
    load(&home).seal(ACME, DAY, b"", b"hello").unwrap();
    let file = keyring(&home).remove(0);
    let good = fs::read(&file).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&file, bad).unwrap();
        let error = Vault::load(home.path(), None, &[]).unwrap_err();
        assert!(matches!(error, OpenError::Damaged(_) | OpenError::Unknown(_)), "{at}: {error}");
        assert!(error.to_string().contains(file.to_str().unwrap()));
    }
    for length in 0..good.len() {
        fs::write(&file, &good[..length]).unwrap();
        assert!(Vault::load(home.path(), None, &[]).is_err(), "{length}");
    }
    fs::write(&file, good).unwrap();
    load(&home);
    fs::write(home.path().join("vault/master.key"), "hunter2").unwrap();
    let error = Vault::load(home.path(), None, &[]).unwrap_err();
    assert!(matches!(error, OpenError::Master(_)) && !error.to_string().contains("hunter2"));
}

#[test]
fn its_files_are_their_owners_alone_and_name_nobody() {
    let home = home();
    load(&home).seal(Owner::Account("acme-account"), DAY, b"", b"hello").unwrap();
    let mut files = keyring(&home);
    files.push(home.path().join("vault/master.key"));
    assert_eq!(files.len(), 2);
    for file in files {
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let text = fs::read(&file).unwrap();
        assert!(!text.windows(4).any(|part| part == b"acme"));
    }
}

#[test]
fn owners_that_begin_at_once_all_have_one_key() {
    let home = home();
    let vault = load(&home);
    let seal = |owner: usize| {
        let name = format!("a{}", owner % 8);
        let sealed = vault.seal(Owner::Account(&name), DAY, b"", b"hello").unwrap();
        (name, sealed)
    };
    let sealed: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..32).map(|owner| scope.spawn(move || seal(owner))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let later = load(&home);
    for (name, sealed) in &sealed {
        assert!(vault.open(Owner::Account(name), DAY, b"", sealed).is_some());
        assert!(later.open(Owner::Account(name), DAY, b"", sealed).is_some());
    }
}

proptest! {
    #[test]
    fn any_change_of_a_sealed_message_is_seen(
        plain in proptest::collection::vec(any::<u8>(), 0..64),
        context in proptest::collection::vec(any::<u8>(), 0..16),
        at in any::<proptest::sample::Index>(),
        flip in 1..=u8::MAX,
        cut in any::<proptest::sample::Index>(),
    ) {
        let key = [7; 32];
        let sealed = seal::seal(&key, &context, &plain).unwrap();
        prop_assert_eq!(seal::open(&key, &context, &sealed).unwrap(), plain);
        let mut changed = sealed.clone();
        changed[at.index(sealed.len())] ^= flip;
        prop_assert_eq!(seal::open(&key, &context, &changed), None);
        let short = &sealed[..cut.index(sealed.len())];
        prop_assert_eq!(seal::open(&key, &context, short), None);
        let mut long = sealed.clone();
        long.push(flip);
        prop_assert_eq!(seal::open(&key, &context, &long), None);
        prop_assert_eq!(seal::open(&[8; 32], &context, &sealed), None);
    }
}

proptest! {
    // Most steps wait for the disk.
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever is done in whatever order, across restarts: what was sealed opens
    /// unless its owner was forgotten or its day expired since.
    #[test]
    fn a_message_opens_until_it_is_erased(
        steps in proptest::collection::vec((0..5_u8, 0..3_u8, 0..=MARGIN), 1..24)
    ) {
        let home = home();
        let mut vault = load(&home);
        let mut kept: Vec<(String, u32, Vec<u8>)> = Vec::new();
        let mut erased = kept.clone();
        let mut expired = 0;
        for (step, owner, day) in steps {
            let name = format!("a{owner}");
            let day = DAY.0 + day;
            match step {
                0 | 1 => match vault.seal(Owner::Account(&name), Day(day), b"", b"x") {
                    Ok(sealed) => kept.push((name, day, sealed)),
                    Err(error) => prop_assert!(day < expired || expired == 0, "{error}"),
                },
                2 => {
                    vault.forget(Owner::Account(&name)).unwrap();
                    erased.extend(kept.extract_if(.., |(owner, ..)| *owner == name));
                }
                3 => {
                    vault.expire(Day(day)).unwrap();
                    expired = expired.max(day);
                    erased.extend(kept.extract_if(.., |(_, made, _)| *made < day));
                }
                _ => {
                    drop(vault);
                    vault = load(&home);
                }
            }
            for (owner, day, sealed) in &kept {
                prop_assert!(vault.open(Owner::Account(owner), Day(*day), b"", sealed).is_some());
            }
            for (owner, day, sealed) in &erased {
                prop_assert!(vault.open(Owner::Account(owner), Day(*day), b"", sealed).is_none());
            }
        }
    }
}
