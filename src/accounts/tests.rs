//! Accounts and keys as operators change them, seen by a request.

use super::*;
use crate::admin::fixture;
use crate::app::own::OwnModels;
use crate::auth::keyring::Access;
use crate::base::clock::TestClock;
use crate::config::StaticKey;
use crate::store::Store;
use crate::store::accounts::Directory;
use crate::store::billing::Book;
use crate::store::custom::EmbeddedModels;
use crate::store::ownership::EmbeddedOwners;

const NOW: Timestamp = Timestamp(1_795_496_400_000_000);
const HOUR: Duration = Duration::from_secs(3_600);

struct World {
    registry: Registry,
    keyring: Arc<Keyring>,
    clock: Arc<TestClock>,
    metrics: Arc<Metrics>,
}

fn given(config: &Config, account: &str, plan: &str, key: &str) -> StaticKey {
    let plan = config.plans.iter().find(|known| *known.name == *plan).unwrap();
    StaticKey { account: account.into(), plan: plan.clone(), key: Secret::new(key), budget: None }
}

/// A configuration with these plans; the account `demo` has the first.
fn config(plans: &[&str]) -> Arc<Config> {
    let mut config = fixture::config("/data".as_ref());
    config.plans = plans.iter().map(|name| fixture::plan(name)).collect();
    config.keys = vec![given(&config, "demo", plans[0], "demo-key-1")];
    Arc::new(config)
}

impl World {
    fn open(dir: &std::path::Path, config: &Arc<Config>) -> Self {
        let store = Store::open(dir).unwrap();
        let directory = Arc::new(Directory::new(&store).unwrap());
        let hasher = KeyHasher::new([1; 32]);
        let keyring = Arc::new(Keyring::new(hasher.clone()));
        let clock = Arc::new(TestClock::at(NOW));
        let metrics = Arc::new(Metrics::new([]).unwrap());
        let vault = Arc::new(Vault::load(dir, None, &[]).unwrap());
        let clock_of: Arc<dyn Clock> = clock.clone();
        let in_force = OwnModels::new(&vault, &metrics, &clock_of);
        let parts = Parts {
            accounts: directory.clone(),
            keys: directory,
            history: Arc::new(Book::new(&store).unwrap()),
            keyring: keyring.clone(),
            hasher,
            clock: clock.clone(),
            metrics: metrics.clone(),
            custom: Arc::new(EmbeddedModels::new(&store).unwrap()),
            in_force,
            vault,
            cache: fixture::cache(),
            things: Arc::new(EmbeddedOwners::open(&store).unwrap()),
        };
        let registry = Registry::new(config.clone(), parts);
        registry.apply(config.clone(), &config.keys, Occasion::Start).unwrap();
        Self { registry, keyring, clock, metrics }
    }

    fn new() -> (tempfile::TempDir, Self) {
        let dir = tempfile::tempdir().unwrap();
        let world = Self::open(dir.path(), &config(&["free", "pro"]));
        (dir, world)
    }

    fn shop(&self) -> Account {
        let wanted = NewAccount {
            id: Some("shop".to_owned()),
            name: "Shop".to_owned(),
            plan: "free".to_owned(),
            ..NewAccount::default()
        };
        self.registry.create(wanted).unwrap()
    }

    fn plan_of(&self, key: &str) -> Option<String> {
        let identity = self.keyring.identify(key, self.clock.wall())?;
        (identity.access == Access::Open).then(|| identity.plan.name.to_string())
    }

    fn reload(&self, config: &Arc<Config>) -> Result<(), ApplyError> {
        self.registry.apply(config.clone(), &config.keys, Occasion::Reload)
    }

    fn accounts_of(&self, plan: &str) -> Option<String> {
        let text = self.metrics.render().unwrap();
        let start = format!("tollgate_accounts{{plan=\"{plan}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&start)).map(str::to_owned)
    }
}

/// Covers A3: what was made is in force again after the process has ended.
#[test]
fn keys_survive_the_process_as_hashes() {
    let (dir, world) = World::new();
    world.shop();
    let (key, text) = world.registry.create_key("shop", Some("ci".to_owned()), None).unwrap();
    assert!(text.expose().starts_with(&key.prefix));
    assert_eq!(world.plan_of(text.expose()).as_deref(), Some("free"));
    drop(world);
    let again = World::open(dir.path(), &config(&["free", "pro"]));
    assert_eq!(again.plan_of(text.expose()).as_deref(), Some("free"));
    assert_eq!(again.registry.keys(Some("shop"), None, 9).unwrap(), [key]);
    drop(again);
    for entry in std::fs::read_dir(dir.path().join("store")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            let found = memchr::memmem::find(&bytes, text.expose().as_bytes());
            assert_eq!(found, None, "{} has the key", path.display());
        }
    }
}

#[test]
fn a_suspended_account_is_refused_until_it_is_active_again() {
    let (_dir, world) = World::new();
    world.shop();
    let (_, text) = world.registry.create_key("shop", None, None).unwrap();
    let status = |status| Change { status: Some(status), ..Change::default() };
    world.registry.change("shop", status(Status::Suspended)).unwrap();
    let held = world.keyring.identify(text.expose(), NOW).unwrap();
    assert_eq!(held.access, Access::Suspended);
    // A key that is made meanwhile is no way around it.
    let (_, other) = world.registry.create_key("shop", None, None).unwrap();
    assert_eq!(world.plan_of(other.expose()), None);
    world.registry.change("shop", status(Status::Active)).unwrap();
    assert!(world.plan_of(text.expose()).is_some() && world.plan_of(other.expose()).is_some());
}

#[test]
fn a_rotated_key_ends_with_its_grace() {
    let (_dir, world) = World::new();
    world.shop();
    let (first, text) = world.registry.create_key("shop", Some("ci".to_owned()), None).unwrap();
    let (second, new) = world.registry.rotate(&first.id, HOUR).unwrap();
    assert_eq!((second.name.as_deref(), second.account.as_str()), (Some("ci"), "shop"));
    assert!(world.plan_of(text.expose()).is_some() && world.plan_of(new.expose()).is_some());
    world.clock.advance(HOUR);
    assert_eq!(world.plan_of(text.expose()), None);
    assert!(world.plan_of(new.expose()).is_some());
    assert_eq!(world.registry.rotate(&first.id, HOUR), Err(Refused::KeyEnded));
    // Without a grace it stops at once; and a second rotation never prolongs.
    let (third, newer) = world.registry.rotate(&second.id, Duration::ZERO).unwrap();
    assert_eq!(world.plan_of(new.expose()), None);
    world.registry.rotate(&third.id, HOUR).unwrap();
    world.registry.rotate(&third.id, HOUR * 9).unwrap();
    world.clock.advance(HOUR);
    assert_eq!(world.plan_of(newer.expose()), None);
}

#[test]
fn a_revoked_key_has_stopped_for_good() {
    let (dir, world) = World::new();
    world.shop();
    let (key, text) = world.registry.create_key("shop", None, None).unwrap();
    let revoked = world.registry.revoke(&key.id).unwrap();
    assert_eq!((revoked.revoked_at, world.plan_of(text.expose())), (Some(NOW), None));
    assert_eq!(world.registry.revoke(&key.id).unwrap(), revoked);
    assert_eq!(world.registry.revoke("key_0").unwrap_err(), Refused::NoKey);
    drop(world);
    let again = World::open(dir.path(), &config(&["free", "pro"]));
    assert_eq!(again.plan_of(text.expose()), None);
}

#[test]
fn a_deleted_account_takes_its_keys_along() {
    let (_dir, world) = World::new();
    world.shop();
    let (key, text) = world.registry.create_key("shop", None, None).unwrap();
    assert_eq!(world.accounts_of("free").as_deref(), Some("2"));
    world.registry.delete("shop").unwrap();
    assert_eq!(world.plan_of(text.expose()), None);
    assert_eq!(world.registry.delete("shop"), Err(Refused::NoAccount));
    assert_eq!(world.registry.revoke(&key.id).unwrap_err(), Refused::NoKey);
    assert_eq!(world.registry.create_key("shop", None, None), Err(Refused::NoAccount));
    assert_eq!(world.accounts_of("free").as_deref(), Some("1"));
}

/// The file's accounts are there from the start, and its plan wins at each
/// start and reload; its keys live in the file alone.
#[test]
fn the_files_plan_wins_and_its_keys_go_with_it() {
    let (dir, world) = World::new();
    assert_eq!(world.plan_of("demo-key-1").as_deref(), Some("free"));
    assert_eq!(world.registry.keys(None, None, 9).unwrap(), []);
    let pro = Change { plan: Some("pro".to_owned()), ..Change::default() };
    world.registry.change("demo", pro).unwrap();
    assert_eq!(world.plan_of("demo-key-1").as_deref(), Some("pro"));
    world.reload(&config(&["free", "pro"])).unwrap();
    assert_eq!(world.plan_of("demo-key-1").as_deref(), Some("free"));
    assert_eq!(world.registry.account("demo").unwrap().plan, "free");

    assert_eq!(world.registry.delete("demo"), Err(Refused::ConfiguredAccount));
    let id = world.keyring.identify("demo-key-1", NOW).unwrap().key_id.to_string();
    assert_eq!(world.registry.revoke(&id).unwrap_err(), Refused::ConfiguredKey);

    let mut without = Config::clone(&config(&["free", "pro"]));
    without.keys = vec![given(&without, "other", "pro", "other-key-1")];
    world.reload(&Arc::new(without)).unwrap();
    assert_eq!(world.plan_of("demo-key-1"), None);
    assert_eq!(world.plan_of("other-key-1").as_deref(), Some("pro"));
    // The account itself stays, and may go now.
    world.registry.delete("demo").unwrap();
    drop(world);
    let again = World::open(dir.path(), &config(&["pro"]));
    assert_eq!(again.plan_of("demo-key-1").as_deref(), Some("pro"));
}

#[test]
fn a_plan_that_accounts_with_keys_have_cannot_go_in_a_reload() {
    let (dir, world) = World::new();
    world.shop();
    // Without a key nobody loses anything.
    world.reload(&config(&["pro"])).unwrap();
    world.reload(&config(&["pro", "free"])).unwrap();
    let (_, text) = world.registry.create_key("shop", None, None).unwrap();
    let refused = world.reload(&config(&["pro"])).unwrap_err();
    assert_eq!(refused, ApplyError::PlanInUse { plan: "free".to_owned(), accounts: 1 });
    assert_eq!(world.plan_of(text.expose()).as_deref(), Some("free"));
    drop(world);
    // A start goes on without it, and the account can be given another plan.
    let again = World::open(dir.path(), &config(&["pro"]));
    let held = again.keyring.identify(text.expose(), NOW).unwrap();
    assert_eq!((held.access, &*held.plan.name), (Access::NoPlan, "free"));
    again.reload(&config(&["pro"])).unwrap();
    let pro = Change { plan: Some("pro".to_owned()), ..Change::default() };
    again.registry.change("shop", pro).unwrap();
    assert_eq!(again.plan_of(text.expose()).as_deref(), Some("pro"));
}

#[test]
fn two_accounts_with_one_key_change_nothing() {
    let (_dir, world) = World::new();
    world.shop();
    let (_, text) = world.registry.create_key("shop", None, None).unwrap();
    let mut taken = Config::clone(&config(&["free", "pro"]));
    taken.keys.push(given(&taken, "thief", "pro", text.expose()));
    assert!(matches!(world.reload(&Arc::new(taken)), Err(ApplyError::Shared(_))));
    assert_eq!(world.plan_of(text.expose()).as_deref(), Some("free"));
    assert_eq!(world.registry.account("thief"), Err(Refused::NoAccount));
}

#[test]
fn what_names_nothing_is_refused() {
    let (_dir, world) = World::new();
    let wanted = |plan: &str, class: Option<&str>| NewAccount {
        name: "Shop".to_owned(),
        plan: plan.to_owned(),
        overrides: Overrides {
            prices: class.map(|class| (class.to_owned(), Default::default())).into_iter().collect(),
            ..Overrides::default()
        },
        ..NewAccount::default()
    };
    let refused = world.registry.create(wanted("gold", None)).unwrap_err();
    assert_eq!(refused, Refused::NoPlan("free, pro".to_owned()));
    let refused = world.registry.create(wanted("pro", Some("chat"))).unwrap_err();
    assert_eq!(refused, Refused::NoClass("chat".to_owned()));
    let made = world.registry.create(wanted("pro", None)).unwrap();
    assert!(made.id.starts_with("acct_") && made.id.len() == 21, "{}", made.id);
    let again = NewAccount { id: Some(made.id), ..wanted("pro", None) };
    assert_eq!(world.registry.create(again), Err(Refused::Taken));
    let gold = Change { plan: Some("gold".to_owned()), ..Change::default() };
    assert!(matches!(world.registry.change("demo", gold), Err(Refused::NoPlan(_))));
    assert_eq!(world.registry.list(None, 9).unwrap().len(), 2);
}
