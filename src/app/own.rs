//! Models and providers of accounts' own, in force.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ahash::AHashMap;
use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::accounts::InForce;
use crate::app::Reach;
use crate::base::clock::Clock;
use crate::base::secret::Secret;
use crate::config::{self, Dialect, Manner, Pool, Provider, Routing, Target};
use crate::route::health::Health;
use crate::store::custom::{Own, OwnProvider};
use crate::telemetry::metrics::Metrics;
use crate::upstream::{Origin, Timeouts};
use crate::vault::{Owner, Vault};

/// What metrics, records and `x-tollgate-route` call every account's own provider:
/// their number has no bound.
pub const CUSTOMER: &str = "customer";

/// What one of an account's model names stands for.
#[derive(Clone, Debug)]
pub enum OwnModel {
    /// A model of the seller's, by its public name.
    Alias(Arc<str>),
    /// A model at a provider of the account's own.
    There {
        /// The provider and its name of the model.
        target: Target,
        /// The provider's own identity.
        id: Arc<str>,
    },
}

/// What one account has.
#[derive(Debug)]
struct Account {
    models: Vec<(Arc<str>, OwnModel)>,
    providers: Vec<Arc<Held>>,
}

/// A provider of an account's own.
struct Held {
    id: Arc<str>,
    account: Arc<str>,
    kept: OwnProvider,
    /// Made when it is first called: opening its key takes some milliseconds.
    made: Mutex<Option<Made>>,
}

/// How a provider of an account's own is reached.
struct Made {
    /// As they were configured then.
    timeouts: Timeouts,
    reach: Option<Arc<Reach>>,
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held").field("id", &self.id).finish_non_exhaustive()
    }
}

type Accounts = AHashMap<Arc<str>, Arc<Account>>;

/// What every account has.
pub struct OwnModels {
    accounts: ArcSwap<Accounts>,
    /// Held while something changes.
    changing: Mutex<()>,
    vault: Arc<Vault>,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
}

impl OwnModels {
    /// Nothing yet.
    pub fn new(vault: &Arc<Vault>, metrics: &Arc<Metrics>, clock: &Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self {
            accounts: ArcSwap::default(),
            changing: Mutex::default(),
            vault: vault.clone(),
            metrics: metrics.clone(),
            clock: clock.clone(),
        })
    }

    /// What `name` stands for among `account`'s own.
    pub fn find(&self, account: &str, name: &str) -> Option<OwnModel> {
        let accounts = self.accounts.load();
        let models = &accounts.get(account)?.models;
        models.iter().find(|(own, _)| **own == *name).map(|(_, model)| model.clone())
    }

    /// The names of `account`'s own models.
    pub fn names(&self, account: &str) -> Vec<Arc<str>> {
        let accounts = self.accounts.load();
        let models = accounts.get(account).map(|held| held.models.iter());
        models.into_iter().flatten().map(|(name, _)| name.clone()).collect()
    }

    /// How `account`'s provider with this id is reached; `None` if it is not there
    /// any more, or its key cannot be opened.
    pub fn reach(&self, account: &str, id: &str, routing: &Routing) -> Option<Arc<Reach>> {
        let accounts = self.accounts.load();
        let held = accounts.get(account)?.providers.iter().find(|held| *held.id == *id)?;
        let timeouts = Timeouts {
            connect: routing.connect_timeout,
            first_byte: routing.first_byte_timeout,
            chunk: routing.chunk_timeout,
        };
        let mut made = held.made.lock();
        let reach = match made.take() {
            Some(it) if it.timeouts == timeouts => it.reach,
            other => {
                let before = other.and_then(|it| it.reach);
                self.connect(held, timeouts, before.as_deref())
            }
        };
        made.insert(Made { timeouts, reach }).reach.clone()
    }

    /// Reaches a provider that was reached as `before`, if it was.
    fn connect(
        &self,
        held: &Held,
        timeouts: Timeouts,
        before: Option<&Reach>,
    ) -> Option<Arc<Reach>> {
        let key = match held.kept.sealed.is_empty() {
            true => Secret::default(),
            false => {
                let owner = Owner::Account(&held.account);
                let opened = self.vault.open_lasting(owner, held.id.as_bytes(), &held.kept.sealed);
                let key = opened.and_then(|key| String::from_utf8(key).ok());
                if key.is_none() {
                    tracing::error!(provider = %held.id, "the key of an account's provider cannot be opened");
                }
                Secret::new(key?)
            }
        };
        let base = config::base_url(&held.kept.base_url).ok()?;
        let provider = shown(held.kept.spoken.dialect());
        let origin = Origin::new(base, &key, &provider.manner, timeouts, self.clock.clone());
        // Its connections are nobody else's, whoever has the same address.
        let origin = origin.apart(group(&held.id), !held.kept.allowed)?;
        let series = self.metrics.provider(CUSTOMER);
        Some(Arc::new(Reach {
            provider,
            origin,
            further: Vec::new(),
            health: before.map_or_else(|| Arc::new(Health::new(1)), |it| it.health.clone()),
            series,
            refuses_usage: before.is_some_and(|it| it.refuses_usage.load(Ordering::Relaxed)).into(),
        }))
    }
}

impl InForce for OwnModels {
    fn put(&self, account: &str, own: &Own) {
        let _changing = self.changing.lock();
        let mut accounts = Accounts::clone(&self.accounts.load());
        let account: Arc<str> = Arc::from(account);
        let before = accounts.remove(&account);
        if !(own.models.is_empty() && own.providers.is_empty()) {
            let held = |kept: &OwnProvider| {
                let same = |held: &&Arc<Held>| *held.id == *kept.id;
                let before = before.as_ref().and_then(|it| it.providers.iter().find(same));
                before.cloned().unwrap_or_else(|| {
                    Arc::new(Held {
                        id: Arc::from(&*kept.id),
                        account: account.clone(),
                        kept: kept.clone(),
                        made: Mutex::default(),
                    })
                })
            };
            let providers: Vec<Arc<Held>> = own.providers.iter().map(held).collect();
            let models = own.models.iter().filter_map(|model| {
                let name: Arc<str> = Arc::from(&*model.name);
                let Some(provider) = &model.provider else {
                    return Some((name, OwnModel::Alias(Arc::from(&*model.model))));
                };
                let held = providers.iter().find(|held| held.kept.name == *provider)?;
                let target = Target {
                    provider: shown(held.kept.spoken.dialect()),
                    model: Some(Arc::from(&*model.model)),
                    weight: None,
                    thinking: None,
                };
                Some((name, OwnModel::There { target, id: held.id.clone() }))
            });
            let models = models.collect();
            accounts.insert(account, Arc::new(Account { models, providers }));
        }
        self.accounts.store(Arc::new(accounts));
    }
}

/// An account's own provider as others see it: its address and key are in its
/// [`Reach`] alone.
fn shown(dialect: Dialect) -> Arc<Provider> {
    Arc::new(Provider {
        name: Arc::from(CUSTOMER),
        dialect,
        base_url: None,
        api_key: Secret::default(),
        further_keys: Vec::new(),
        off: None,
        n_max: 1,
        stream_usage: true,
        latency: Duration::ZERO,
        pool: Pool::Shared,
        manner: Manner::usual(dialect),
        probe: None,
    })
}

/// What connections are told apart by: 8 bytes of a hash, never 0, which is
/// everybody's.
fn group(id: &str) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *blake3::hash(id.as_bytes()).as_bytes();
    u64::from_be_bytes([a, b, c, d, e, f, g, h]) | 1
}
