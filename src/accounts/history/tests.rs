//! What an account was, as it is told afterwards. Covers A4.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::accounts::{Change, NewAccount, Occasion, Parts, Registry};
use crate::admin::fixture;
use crate::app::own::OwnModels;
use crate::auth::key::KeyHasher;
use crate::auth::keyring::Keyring;
use crate::base::clock::{Clock, Timestamp};
use crate::config::{Config, Plan};
use crate::store::Store;
use crate::store::accounts::{Accounts, Directory, Status};
use crate::store::billing::{Assignment, Book, History, Standing};
use crate::store::custom::EmbeddedModels;
use crate::store::ownership::EmbeddedOwners;
use crate::telemetry::metrics::Metrics;
use crate::vault::Vault;

/// A wall clock that is set to any moment.
struct Wall(AtomicU64);

impl Clock for Wall {
    fn wall(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

struct World {
    registry: Registry,
    directory: Arc<Directory>,
    book: Arc<Book>,
    clock: Arc<Wall>,
    _dir: tempfile::TempDir,
}

/// The plans `free` and `pro`, the latter at `fee` a month.
fn config(fee: &str) -> Arc<Config> {
    let mut config = fixture::config("/data".as_ref());
    let pro = Plan { monthly_price: fee.parse().unwrap(), ..(*fixture::plan("pro")).clone() };
    config.plans = vec![fixture::plan("free"), Arc::new(pro)];
    Arc::new(config)
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let directory = Arc::new(Directory::new(&store).unwrap());
        let book = Arc::new(Book::new(&store).unwrap());
        let clock = Arc::new(Wall(AtomicU64::new(1_000)));
        let hasher = KeyHasher::new([1; 32]);
        let vault = Arc::new(Vault::load(dir.path(), None, &[]).unwrap());
        let metrics = Arc::new(Metrics::new([]).unwrap());
        let wall: Arc<dyn Clock> = clock.clone();
        let parts = Parts {
            custom: Arc::new(EmbeddedModels::new(&store).unwrap()),
            in_force: OwnModels::new(&vault, &metrics, &wall),
            accounts: directory.clone(),
            keys: directory.clone(),
            history: book.clone(),
            keyring: Arc::new(Keyring::new(hasher.clone())),
            hasher,
            clock: clock.clone(),
            metrics,
            vault,
            cache: fixture::cache(),
            things: Arc::new(EmbeddedOwners::open(&store).unwrap()),
        };
        let registry = Registry::new(config("29"), parts);
        registry.apply(config("29"), &[], Occasion::Start).unwrap();
        Self { registry, directory, book, clock, _dir: dir }
    }

    fn create(&self) {
        let (id, plan) = (Some("shop".to_owned()), "free".to_owned());
        let wanted = NewAccount { id, plan, name: "Shop".to_owned(), ..NewAccount::default() };
        self.registry.create(wanted).unwrap();
    }

    fn at(&self, moment: u64) -> &Self {
        self.clock.0.store(moment, Ordering::SeqCst);
        self
    }

    fn plan(&self, plan: &str) {
        let change = Change { plan: Some(plan.to_owned()), ..Change::default() };
        self.registry.change("shop", change).unwrap();
    }

    fn told(&self) -> Vec<(u64, u64, String, String, Standing)> {
        let all = self.book.assignments("shop").unwrap();
        let tell = |it: Assignment| {
            (it.sequence, it.at.0, it.plan, it.monthly_price.to_string(), it.standing)
        };
        all.into_iter().map(tell).collect()
    }
}

fn note(
    n: u64,
    at: u64,
    plan: &str,
    fee: &str,
    standing: Standing,
) -> (u64, u64, String, String, Standing) {
    (n, at, plan.to_owned(), fee.to_owned(), standing)
}

#[test]
fn every_change_is_noted_with_its_moment_and_fee() {
    let world = World::new();
    world.create();
    world.at(2_000).plan("pro");
    world.at(2_500).plan("pro");
    let suspended = Change { status: Some(Status::Suspended), ..Change::default() };
    world.at(3_000).registry.change("shop", suspended).unwrap();
    world.at(4_000).registry.apply(config("39"), &[], Occasion::Reload).unwrap();
    world.at(5_000).registry.apply(config("39"), &[], Occasion::Reload).unwrap();
    world.at(6_000).registry.delete("shop").unwrap();
    world.at(7_000).create();
    assert_eq!(
        world.told(),
        [
            note(1, 1_000, "free", "0", Standing::Active),
            note(2, 2_000, "pro", "29", Standing::Active),
            note(3, 3_000, "pro", "29", Standing::Suspended),
            note(4, 4_000, "pro", "39", Standing::Suspended),
            note(5, 6_000, "pro", "39", Standing::Deleted),
            note(6, 7_000, "free", "0", Standing::Active),
        ]
    );
}

#[test]
fn a_clock_that_steps_back_moves_no_note_before_another() {
    let world = World::new();
    world.create();
    world.at(5_000).plan("pro");
    world.at(2_000).plan("free");
    world.at(3_000).plan("pro");
    world.at(6_000).plan("free");
    let told: Vec<_> = world.told().into_iter().map(|(n, at, plan, ..)| (n, at, plan)).collect();
    let wanted = [
        (1, 1_000, "free"),
        (2, 5_000, "pro"),
        (3, 5_000, "free"),
        (4, 5_000, "pro"),
        (5, 6_000, "free"),
    ];
    assert_eq!(told, wanted.map(|(n, at, plan)| (n, at, plan.to_owned())));
}

/// The process ended between an account's change and its note, or the account is
/// from before there were notes.
#[test]
fn a_start_notes_what_was_not_noted() {
    let world = World::new();
    world.create();
    let shop = world.directory.account("shop").unwrap().unwrap();
    let changed = crate::store::accounts::Account { plan: "pro".to_owned(), ..shop.clone() };
    world.directory.replace(&changed).unwrap();
    let old = crate::store::accounts::Account { id: "old".to_owned(), ..shop };
    world.directory.add(&old).unwrap();
    world.at(2_000).registry.apply(config("29"), &[], Occasion::Start).unwrap();
    let told = world.told();
    assert_eq!(told.last(), Some(&note(2, 2_000, "pro", "29", Standing::Active)));
    let old = world.book.assignments("old").unwrap();
    assert_eq!((old.len(), old[0].at), (1, Timestamp(1_000)), "since it was made");
}

/// Or its fee would be billed for ever.
#[test]
fn a_deletion_that_broke_off_is_made_up_for_at_the_next_start() {
    let world = World::new();
    world.create();
    // The account is gone, and the process ended before its history said so.
    world.directory.remove("shop").unwrap();
    world.at(5_000).registry.apply(config("29"), &[], Occasion::Start).unwrap();
    let told = world.told();
    assert_eq!(told.last().map(|last| (last.1, last.4)), Some((5_000, Standing::Deleted)));
    world.at(6_000).registry.apply(config("29"), &[], Occasion::Start).unwrap();
    assert_eq!(world.told(), told, "once");
}
