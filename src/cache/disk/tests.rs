use std::collections::HashMap;
use std::sync::atomic::AtomicU64;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::base::clock::TestClock;
use crate::cache::Cache;
use crate::cache::entry::Answer;
use crate::cache::entry::tests::entry;
use crate::cache::key::tests::named;
use crate::cache::writer::{Job, Writer};
use crate::store::blobs::Name;
use crate::telemetry::metrics::Metrics;

const NOON: Timestamp = Timestamp(1_781_524_800_000_000);
const HOUR: Duration = Duration::from_secs(3_600);

type Value = (Timestamp, Tag, Vec<u8>);

/// Values in memory, whose store can be made to fail.
#[derive(Default)]
struct Held {
    values: Mutex<HashMap<Name, Value>>,
    fails: AtomicBool,
}

impl Held {
    fn works(&self) -> Result<(), StoreError> {
        match self.fails.load(Ordering::Relaxed) {
            true => Err(sled::Error::Unsupported("by the test".to_owned()).into()),
            false => Ok(()),
        }
    }
}

impl Blobs for Held {
    fn has(&self, name: &Name) -> bool {
        self.values.lock().contains_key(name)
    }

    fn get(&self, name: &Name) -> Result<Option<(Timestamp, Vec<u8>)>, StoreError> {
        self.works()?;
        Ok(self.values.lock().get(name).map(|(expires, _, value)| (*expires, value.clone())))
    }

    fn put(
        &self,
        name: &Name,
        expires: Timestamp,
        tag: &Tag,
        value: &[u8],
    ) -> Result<(), StoreError> {
        self.works()?;
        self.values.lock().insert(*name, (expires, *tag, value.to_vec()));
        Ok(())
    }

    fn remove(&self, name: &Name) -> Result<(), StoreError> {
        self.works()?;
        self.values.lock().remove(name);
        Ok(())
    }

    fn remove_all(&self, chosen: &dyn Fn(&Name, &Tag) -> bool) -> Result<u64, StoreError> {
        self.works()?;
        let removed = self.values.lock().extract_if(|name, held| chosen(name, &held.1)).count();
        Ok(removed as u64)
    }

    fn sweep(&self, _now: Timestamp) -> Result<(), StoreError> {
        self.works()
    }

    fn bytes(&self) -> u64 {
        self.values.lock().values().map(|(_, _, value)| value.len() as u64).sum()
    }
}

struct World {
    held: Arc<Held>,
    vault: Arc<Vault>,
    clock: Arc<TestClock>,
    metrics: Metrics,
    purges: AtomicU64,
    disk: Disk,
    _home: TempDir,
}

impl World {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let vault = Arc::new(Vault::load(home.path(), None, &[]).unwrap());
        let (held, clock) = (Arc::new(Held::default()), Arc::new(TestClock::at(NOON)));
        let metrics = Metrics::new([]).unwrap();
        let disk = Disk::new(parts(&held, &vault, &clock, &metrics), &[1; 32]);
        Self { held, vault, clock, metrics, purges: AtomicU64::new(0), disk, _home: home }
    }

    fn now(&self) -> Duration {
        self.clock.monotonic()
    }

    fn put(&self, key: &Key, entry: &Entry) {
        self.disk.put(key, entry, 0, &self.purges);
    }

    fn shows(&self, line: &str) -> bool {
        self.metrics.render().unwrap().lines().any(|shown| shown == format!("tollgate_{line}"))
    }
}

fn parts(held: &Arc<Held>, vault: &Arc<Vault>, clock: &Arc<TestClock>, metrics: &Metrics) -> Parts {
    Parts {
        blobs: held.clone(),
        vault: vault.clone(),
        clock: clock.clone(),
        metrics: metrics.cache_disk(),
    }
}

fn acme() -> Whose {
    Whose::Account("acme".into())
}

#[test]
fn an_entry_ages_on_the_wall_clock_while_nobody_runs() {
    let world = World::new();
    let mut made = entry("acme", world.now(), HOUR);
    made.aged = Duration::from_secs(7);
    world.clock.advance(Duration::from_secs(60));
    world.put(&named("a"), &made);
    // Another process, whose monotonic clock begins anew.
    let clock = Arc::new(TestClock::at(Timestamp(NOON.0 + micros(HOUR / 2))));
    let later = Disk::new(parts(&world.held, &world.vault, &clock, &world.metrics), &[1; 32]);
    let found = later.get(&named("a"), &acme()).unwrap();
    let now = clock.monotonic();
    assert_eq!(found.age(now), HOUR / 2 + Duration::from_secs(7));
    assert_eq!(found.lifetime(), HOUR / 2);
    clock.advance(HOUR / 2 - Duration::from_micros(1));
    assert!(later.get(&named("a"), &acme()).is_some());
    clock.advance(Duration::from_micros(1));
    assert!(later.get(&named("a"), &acme()).is_none());
    assert!(world.shows("cache_unreadable_total 0"));
}

#[test]
fn an_entry_is_its_owners_alone_and_compressed_where_that_helps() {
    let world = World::new();
    let mut text = entry("acme", world.now(), HOUR);
    text.answer = Answer::Whole("word ".repeat(10_000).into());
    world.put(&named("a"), &text);
    assert!(world.held.bytes() < 1_000);
    for other in [Whose::Account("other".into()), Whose::Class("acme".into())] {
        world.put(&named("a"), &text);
        assert!(world.disk.get(&named("a"), &other).is_none());
    }
    let mut shared = entry("acme", world.now(), HOUR);
    (shared.shared, shared.class) = (true, "docs".into());
    world.put(&named("b"), &shared);
    assert!(world.disk.get(&named("b"), &Whose::Class("docs".into())).is_some());
    world.vault.forget(Whose::Class("docs".into()).owner()).unwrap();
    assert!(world.disk.get(&named("b"), &Whose::Class("docs".into())).is_none());
    assert!(world.shows("cache_unreadable_total 3"));
    assert!(!world.held.has(named("b").as_bytes()), "what cannot be read is removed");
}

#[test]
fn what_is_too_large_or_fails_is_not_written_and_counted() {
    let world = World::new();
    let mut large = entry("acme", world.now(), HOUR);
    let noise: Vec<u8> = (0..LARGEST_VALUE).map(|_| rand::random()).collect();
    large.answer = Answer::Whole(noise.into());
    world.put(&named("a"), &large);
    assert!(world.shows("cache_unwritten_total{reason=\"too_large\"} 1"));
    world.held.fails.store(true, Ordering::Relaxed);
    world.put(&named("a"), &entry("acme", world.now(), HOUR));
    assert!(world.shows("cache_unwritten_total{reason=\"failed\"} 1"));
    assert!(world.shows("store_up{store=\"cache\"} 0"));
    assert!(world.disk.get(&named("a"), &acme()).is_none());
    assert_eq!(world.disk.purge(&Filter::default()), 0);
    world.held.fails.store(false, Ordering::Relaxed);
    world.put(&named("a"), &entry("acme", world.now(), HOUR));
    assert!(world.shows("store_up{store=\"cache\"} 1"));
    assert!(world.disk.get(&named("a"), &acme()).is_some());
    assert!(world.shows("cache_unreadable_total 0"));
}

#[test]
fn a_purge_is_not_overtaken_by_what_waits_to_be_written() {
    let world = World::new();
    world.purges.store(1, Ordering::SeqCst);
    world.put(&named("a"), &entry("acme", world.now(), HOUR));
    assert_eq!(world.held.bytes(), 0);
    assert!(world.shows("cache_unwritten_total{reason=\"purged\"} 1"));

    let cache = || Cache::new([1; 32], 1024 * 1024, world.metrics.cache_level("memory"));
    let cache = cache().over(parts(&world.held, &world.vault, &world.clock, &world.metrics));
    let cache = cache.unwrap();
    let before = cache.epoch();
    cache.purge(&Filter::default());
    cache.insert(named("a"), entry("acme", world.now(), HOUR), before);
    assert!(cache.get(&named("a"), world.now()).is_none());
    cache.insert(named("a"), entry("acme", world.now(), HOUR), cache.epoch());
    assert!(cache.get(&named("a"), world.now()).is_some());
    cache.close();
    assert!(world.held.has(named("a").as_bytes()));
    assert_eq!(cache.purge(&Filter::default()), 1, "one entry in two tiers");
    assert!(cache.get(&named("a"), world.now()).is_none());
    assert!(!world.held.has(named("a").as_bytes()));
}

/// Covers invariant 8.
#[test]
fn a_full_queue_drops_what_comes_and_a_close_writes_what_waits() {
    let world = World::new();
    let parts = parts(&world.held, &world.vault, &world.clock, &world.metrics);
    let disk = Arc::new(Disk::new(parts, &[1; 32]));
    let writer = Writer::start(disk.clone(), Arc::default()).unwrap();
    let mut large = entry("acme", world.now(), HOUR);
    large.answer = Answer::Whole(vec![0; LARGEST].into());
    let large = Arc::new(large);
    let offer = |number: u32| {
        let key = named(&number.to_string());
        writer.offer(Job { key, entry: large.clone(), epoch: 0 });
    };
    // Nothing is written meanwhile.
    let turn = disk.turn.lock();
    (0..6).for_each(offer);
    assert!(world.shows("cache_unwritten_total{reason=\"queue_full\"} 3"));
    drop(turn);
    writer.close();
    assert_eq!(world.held.values.lock().len(), 3);
    offer(6);
    assert!(world.shows("cache_unwritten_total{reason=\"queue_full\"} 4"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A value that was changed, cut or moved is a miss, and nothing worse.
    #[test]
    fn a_damaged_value_is_a_miss(
        at in any::<proptest::sample::Index>(),
        flip in 1..=u8::MAX,
        kind in 0..4_u8,
    ) {
        let world = World::new();
        world.put(&named("a"), &entry("acme", world.now(), HOUR));
        let mut values = world.held.values.lock();
        let (expires, _, value) = values.get_mut(named("a").as_bytes()).unwrap();
        let place = at.index(value.len());
        match kind {
            0 => value[place] ^= flip,
            1 => value.truncate(place),
            2 => value.push(flip),
            _ => expires.0 += 1,
        }
        drop(values);
        prop_assert!(world.disk.get(&named("a"), &acme()).is_none());
        prop_assert!(world.shows("cache_unreadable_total 1"));
    }
}

#[test]
fn a_value_of_another_key_is_a_miss() {
    let world = World::new();
    world.put(&named("a"), &entry("acme", world.now(), HOUR));
    let moved = world.held.values.lock().remove(named("a").as_bytes()).unwrap();
    world.held.values.lock().insert(*named("b").as_bytes(), moved);
    assert!(world.disk.get(&named("b"), &acme()).is_none());
}

/// Covers D2.
#[test]
fn a_lifetime_is_up_to_a_twentieth_shorter_and_always_the_same() {
    let lifetimes: Vec<Duration> =
        (0..200).map(|number| named(&number.to_string()).jittered(HOUR)).collect();
    assert!(lifetimes.iter().all(|lifetime| (HOUR * 19 / 20..=HOUR).contains(lifetime)));
    let (least, most) = (lifetimes.iter().min().unwrap(), lifetimes.iter().max().unwrap());
    assert!(*most - *least > HOUR / 25);
    assert_eq!(named("a").jittered(HOUR), named("a").jittered(HOUR));
}
