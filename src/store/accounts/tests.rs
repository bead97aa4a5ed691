//! What every backend of [`Accounts`] and [`Keys`] keeps.

use super::*;
use crate::store::Store;

const NOW: Timestamp = Timestamp(1_795_496_400_000_000);

fn account(id: &str) -> Account {
    Account {
        id: id.to_owned(),
        name: format!("The {id}"),
        plan: "pro".to_owned(),
        status: Status::Active,
        external_id: None,
        overrides: Overrides::default(),
        created_at: NOW,
    }
}

fn key(id: &str, account: &str) -> ApiKey {
    ApiKey {
        id: id.to_owned(),
        account: account.to_owned(),
        name: None,
        prefix: "tg_live_abcd".to_owned(),
        hash: [7; 32],
        created_at: NOW,
        revoked_at: None,
        expires_at: None,
        budget: None,
    }
}

fn open(dir: &std::path::Path) -> Directory {
    Directory::new(&Store::open(dir).unwrap()).unwrap()
}

fn ids(keys: &[ApiKey]) -> Vec<&str> {
    keys.iter().map(|key| &*key.id).collect()
}

/// Covers A3 and A6: what is kept is what was given, also after reopening.
#[test]
fn accounts_and_keys_survive_reopening_whole() {
    let dir = tempfile::tempdir().unwrap();
    let mut shop = account("shop");
    shop.status = Status::Suspended;
    shop.external_id = Some("crm-7".to_owned());
    shop.overrides = Overrides {
        requests_per_minute: Some(u32::MAX),
        requests_per_month: Some(u64::MAX),
        concurrent: Some(3),
        budget: Some(Money::MAX),
        tokens_per_minute: Some(90_000),
        prices: [("documentation".to_owned(), "0.005".parse().unwrap())].into(),
        ..Overrides::default()
    };
    let mut old = key("key_1", "shop");
    old.name = Some("ci".to_owned());
    old.revoked_at = Some(NOW);
    old.budget = Some("2.5".parse().unwrap());
    old.expires_at = Some(Timestamp(NOW.0 + 1));
    let directory = open(dir.path());
    assert!(directory.add(&shop).unwrap() && directory.add_key(&old).unwrap());
    directory.flush().unwrap();
    drop(directory);
    let directory = open(dir.path());
    assert_eq!(directory.account("shop").unwrap(), Some(shop));
    assert_eq!(directory.key("key_1").unwrap(), Some(old));
    assert_eq!(directory.account("key_1").unwrap(), None);
}

#[test]
fn an_id_is_given_once() {
    let dir = tempfile::tempdir().unwrap();
    let directory = open(dir.path());
    assert!(directory.add(&account("a")).unwrap());
    let other = Account { name: "Another".to_owned(), ..account("a") };
    assert!(!directory.add(&other).unwrap());
    assert_eq!(directory.account("a").unwrap().unwrap().name, "The a");
    assert!(directory.add_key(&key("k", "a")).unwrap());
    assert!(!directory.add_key(&key("k", "b")).unwrap());
    assert_eq!(directory.keys(Some("b"), None, 9).unwrap(), []);
}

#[test]
fn lists_go_on_where_they_ended() {
    let dir = tempfile::tempdir().unwrap();
    let directory = open(dir.path());
    for id in ["c", "a", "ab", "b"] {
        directory.add(&account(id)).unwrap();
    }
    let page = directory.accounts(None, 3).unwrap();
    let names: Vec<_> = page.iter().map(|account| &*account.id).collect();
    assert_eq!(names, ["a", "ab", "b"]);
    let rest = directory.accounts(Some("b"), 3).unwrap();
    assert_eq!(rest, [account("c")]);

    for (id, of) in [("k3", "a"), ("k1", "a"), ("k2", "ab"), ("k4", "a")] {
        directory.add_key(&key(id, of)).unwrap();
    }
    assert_eq!(ids(&directory.keys(Some("a"), None, 2).unwrap()), ["k1", "k3"]);
    assert_eq!(ids(&directory.keys(Some("a"), Some("k3"), 2).unwrap()), ["k4"]);
    assert_eq!(ids(&directory.keys(None, Some("k1"), 2).unwrap()), ["k2", "k3"]);
}

#[test]
fn an_account_goes_with_its_keys_alone() {
    let dir = tempfile::tempdir().unwrap();
    let directory = open(dir.path());
    for id in ["a", "ab"] {
        directory.add(&account(id)).unwrap();
    }
    for (id, of) in [("k1", "a"), ("k2", "ab"), ("k3", "a")] {
        directory.add_key(&key(id, of)).unwrap();
    }
    assert!(directory.remove("a").unwrap() && !directory.remove("a").unwrap());
    assert_eq!(ids(&directory.keys(None, None, 9).unwrap()), ["k2"]);
    assert_eq!(directory.keys(Some("a"), None, 9).unwrap(), []);
    assert_eq!(directory.accounts(None, 9).unwrap(), [account("ab")]);
}

#[test]
fn a_key_is_in_force_until_it_expires_or_is_revoked() {
    let mut old = key("k", "a");
    old.expires_at = Some(NOW);
    assert!(old.in_force(Timestamp(NOW.0 - 1)) && !old.in_force(NOW));
    let mut gone = key("k", "a");
    gone.revoked_at = Some(NOW);
    assert!(!gone.in_force(Timestamp(0)));
}

/// A record of a version that knows more is read all the same.
#[test]
fn fields_that_are_not_known_are_passed_over() {
    let mut bytes = minicbor::to_vec(account("a")).unwrap();
    // A map of one more entry: number 20, the text "new".
    bytes[0] += 1;
    bytes.extend([0x14, 0x63, b'n', b'e', b'w']);
    assert_eq!(minicbor::decode::<Account>(&bytes).unwrap(), account("a"));
}
