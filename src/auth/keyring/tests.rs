//! From a key to an identity, while keys change.

use super::*;
use crate::store::accounts::Overrides;

const DEFAULTS: UserLimits =
    UserLimits { per_minute: 60, per_hour: 1_000, per_day: 10_000, concurrent: 50 };
const NOW: Timestamp = Timestamp(1_000_000);

fn plan(name: &str, per_minute: Option<u32>, concurrent: Option<u32>) -> Arc<Plan> {
    let nothing = Plan::nothing(name);
    Arc::new(Plan { requests_per_minute: per_minute, concurrent, ..nothing })
}

fn account(id: &str, plan: &str) -> Account {
    Account {
        id: id.to_owned(),
        name: id.to_owned(),
        plan: plan.to_owned(),
        status: Status::Active,
        external_id: None,
        overrides: Overrides::default(),
        created_at: NOW,
    }
}

fn hasher() -> KeyHasher {
    KeyHasher::new([1; 32])
}

fn given(id: &str, key: &str, plan: &Arc<Plan>) -> (KeyHash, Identity) {
    let hash = hasher().hash(key);
    (hash, Identity::new(&account(id, &plan.name), Some(plan), &DEFAULTS, hash.key_id()))
}

fn ring(identities: impl IntoIterator<Item = (KeyHash, Identity)>) -> Keyring {
    let ring = Keyring::new(hasher());
    ring.replace(Prepared::new(identities).unwrap());
    ring
}

/// Covers F1: a plan's own figure replaces the default of the same window, and
/// an account's own the plan's (A6).
#[test]
fn a_key_gives_account_plan_and_limits() {
    let (free, pro) = (plan("free", Some(5), None), plan("pro", None, Some(7)));
    let mut own = account("own", "pro");
    own.overrides.requests_per_minute = Some(2);
    own.overrides.concurrent = Some(u32::MAX);
    own.overrides.requests_per_month = Some(u64::MAX);
    let hash = hasher().hash("own-key-1");
    let ring = ring([
        given("demo", "demo-key-1", &free),
        given("demo", "demo-key-2", &free),
        given("shop", "shop-key-1", &pro),
        (hash, Identity::new(&own, Some(&pro), &DEFAULTS, hash.key_id())),
    ]);
    assert_eq!(ring.len(), 4);

    let first = ring.identify("demo-key-1", NOW).unwrap();
    let second = ring.identify("demo-key-2", NOW).unwrap();
    assert_eq!((&*first.account, &*first.plan.name), ("demo", "free"));
    assert_eq!(first.account, second.account);
    assert_ne!(first.key_id, second.key_id);
    assert_eq!((first.limits.per_minute, first.limits.per_hour), (5, 1_000));
    assert_eq!((first.limits.per_day, first.limits.concurrent), (10_000, 50));
    assert_eq!(first.requests_per_month, Some(0));

    let shop = ring.identify("shop-key-1", NOW).unwrap();
    assert_eq!((&*shop.account, shop.limits.per_minute, shop.limits.concurrent), ("shop", 60, 7));
    let own = ring.identify("own-key-1", NOW).unwrap();
    assert_eq!((own.limits.per_minute, own.limits.concurrent), (2, u32::MAX));
    assert_eq!(own.requests_per_month, None);
}

#[test]
fn an_unknown_key_is_nobody() {
    let ring = ring([given("demo", "demo-key-1", &plan("free", None, None))]);
    for key in ["demo-key-2", "demo-key-", "demo-key-11", "", "DEMO-KEY-1"] {
        assert!(ring.identify(key, NOW).is_none(), "{key:?}");
    }
    assert!(Keyring::new(hasher()).is_empty());
}

#[test]
fn one_key_for_two_accounts_is_an_error_that_does_not_show_the_key() {
    let free = plan("free", None, None);
    let twice = [given("demo", "same-key-1", &free), given("demo", "same-key-1", &free)];
    let ring = ring(twice);
    assert_eq!(ring.len(), 1);
    assert!(!format!("{ring:?}").contains("same-key-1"));
    let shared = [given("demo", "same-key-1", &free), given("shop", "same-key-1", &free)];
    let error = Prepared::new(shared).unwrap_err();
    assert_eq!(error, SharedKey { first: "demo".into(), second: "shop".into() });
    assert!(!error.to_string().contains("same-key-1"));
}

/// Covers A3: a key that is taken out stops, and so does each of an account.
#[test]
fn keys_come_and_go_one_by_one_and_with_their_account() {
    let free = plan("free", None, None);
    let ring = Keyring::new(hasher());
    for (id, key) in [("demo", "demo-key-1"), ("demo", "demo-key-2"), ("shop", "shop-key-1")] {
        let (hash, identity) = given(id, key, &free);
        ring.insert(hash, identity);
    }
    ring.remove(&hasher().hash("demo-key-1"));
    assert!(ring.identify("demo-key-1", NOW).is_none());
    assert!(ring.identify("demo-key-2", NOW).is_some());
    ring.remove_account("demo");
    assert!(ring.identify("demo-key-2", NOW).is_none());
    assert!(ring.identify("shop-key-1", NOW).is_some());
    ring.replace(Prepared::default());
    assert!(ring.is_empty());
}

#[test]
fn a_change_of_the_account_reaches_all_its_keys_and_no_other() {
    let (free, pro) = (plan("free", None, None), plan("pro", None, None));
    let ring = ring([
        given("demo", "demo-key-1", &free),
        given("demo", "demo-key-2", &free),
        given("shop", "shop-key-1", &free),
    ]);
    let mut changed = account("demo", "pro");
    changed.status = Status::Suspended;
    ring.update_account("demo", |held| {
        Identity::new(&changed, Some(&pro), &DEFAULTS, held.key_id.clone())
    });
    for key in ["demo-key-1", "demo-key-2"] {
        let identity = ring.identify(key, NOW).unwrap();
        assert_eq!((&*identity.plan.name, identity.access), ("pro", Access::Suspended));
    }
    let other = ring.identify("shop-key-1", NOW).unwrap();
    assert_eq!((&*other.plan.name, other.access), ("free", Access::Open));
    let gone = Identity::new(&account("demo", "gone"), None, &DEFAULTS, "key_1".into());
    assert_eq!((gone.access, &*gone.plan.name), (Access::NoPlan, "gone"));
}

#[test]
fn a_key_ends_at_its_moment_and_is_forgotten_later() {
    let (hash, identity) = given("demo", "demo-key-1", &plan("free", None, None));
    let ring = ring([(hash, identity.until(Some(NOW)))]);
    let before = Timestamp(NOW.0 - 1);
    assert!(ring.identify("demo-key-1", before).is_some());
    assert!(ring.identify("demo-key-1", NOW).is_none());
    ring.sweep(before);
    assert_eq!(ring.len(), 1);
    ring.sweep(NOW);
    assert!(ring.is_empty());
    // Its account is forgotten with it: nothing is left to change.
    ring.update_account("demo", |_| panic!("a key that is gone"));
}

/// Covers A2: slots are reserved only while somebody may use them.
#[test]
fn whether_anybody_is_dedicated_is_told_at_every_change() {
    let features = Some(vec![Arc::from("dedicated_instances")]);
    let big = Arc::new(Plan { features, ..Plan::nothing("big") });
    // Not gated by features, and so not dedicated either.
    let open = Arc::new(Plan { features: None, ..Plan::nothing("open") });
    let ring = ring([given("demo", "demo-key-1", &open)]);
    let said = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let say = said.clone();
    ring.tell_dedicated(move |any| say.lock().push(any));
    let told = || std::mem::take(&mut *said.lock());
    assert_eq!(told(), [false]);
    let insert = |id, key, plan| {
        let (hash, identity) = given(id, key, plan);
        ring.insert(hash, identity);
    };
    insert("corp", "corp-key-1", &big);
    assert_eq!(told(), [true]);
    insert("corp", "corp-key-2", &big);
    insert("demo", "demo-key-2", &open);
    ring.remove(&hasher().hash("corp-key-1"));
    assert!(told().is_empty(), "there is one still");
    for (status, expected) in [(Status::Suspended, false), (Status::Active, true)] {
        let corp = Account { status, ..account("corp", "big") };
        ring.update_account("corp", |held| {
            Identity::new(&corp, Some(&big), &DEFAULTS, held.key_id.clone())
        });
        assert_eq!(told(), [expected], "suspended, then not");
    }
    ring.remove_account("corp");
    assert_eq!(told(), [false]);
    ring.replace(Prepared::new([given("corp", "corp-key-3", &big)]).unwrap());
    assert_eq!(told(), [true]);
    let (hash, identity) = given("corp", "corp-key-3", &big);
    ring.insert(hash, identity.until(Some(NOW)));
    assert!(told().is_empty());
    ring.sweep(NOW);
    assert_eq!(told(), [false]);
    ring.replace(Prepared::new([given("corp", "corp-key-3", &big)]).unwrap());
    ring.replace(Prepared::default());
    assert_eq!(told(), [true, false]);
}
