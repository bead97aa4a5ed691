//! What operators do to accounts and keys: checked, kept, then in force.
//!
//! A change is in the store, and survives the end of the process, before it is
//! in the keyring; and it is in the keyring before the operator has the answer.
//! So an account that is suspended, or a key that is revoked, has stopped by the
//! first request after the answer.

mod apply;
mod custom;
mod error;
mod history;

use std::sync::Arc;
use std::time::Duration;

use ahash::{AHashMap, AHashSet};
use parking_lot::Mutex;

use crate::auth::key::{self, KeyHash, KeyHasher};
use crate::auth::keyring::{Identity, Keyring};
use crate::base::clock::{Clock, Timestamp};
use crate::base::money::Money;
use crate::base::secret::Secret;
use crate::cache::{Cache, Filter};
use crate::config::{Config, Plan};
use crate::store::accounts::{Account, Accounts, ApiKey, Keys, Overrides, Status};
use crate::store::billing::History;
use crate::store::custom::CustomModels;
use crate::store::ownership::Owners;
use crate::telemetry::metrics::Metrics;
use crate::vault::{Owner, Vault};

pub use apply::{ApplyError, Occasion};
pub use custom::{InForce, NewModel, NewProvider};
pub use error::Refused;

/// Largest `grace` of a rotation: 90 days.
pub const LONGEST_GRACE: Duration = Duration::from_secs(90 * 86_400);

/// The accounts and keys of one deployment.
pub struct Registry {
    accounts: Arc<dyn Accounts>,
    keys: Arc<dyn Keys>,
    custom: Arc<dyn CustomModels>,
    in_force: Arc<dyn InForce>,
    history: Arc<dyn History>,
    keyring: Arc<Keyring>,
    hasher: KeyHasher,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    vault: Arc<Vault>,
    cache: Arc<Cache>,
    things: Arc<dyn Owners>,
    /// Held while something changes: changes come one after the other.
    state: Mutex<State>,
}

struct State {
    config: Arc<Config>,
    /// The accounts that the configuration gives.
    configured: AHashSet<Arc<str>>,
    /// The ids of the keys that the configuration gives.
    configured_keys: AHashSet<Arc<str>>,
    /// Accounts by plan.
    plans: AHashMap<String, i64>,
}

/// What [`Registry::new`] joins.
pub struct Parts {
    /// Where accounts are kept.
    pub accounts: Arc<dyn Accounts>,
    /// Where keys are kept.
    pub keys: Arc<dyn Keys>,
    /// Where models and providers of accounts' own are kept.
    pub custom: Arc<dyn CustomModels>,
    /// Those in force.
    pub in_force: Arc<dyn InForce>,
    /// Where every change of a plan is kept.
    pub history: Arc<dyn History>,
    /// The keys in force.
    pub keyring: Arc<Keyring>,
    /// What hashes keys, as for the keyring.
    pub hasher: KeyHasher,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where accounts are counted.
    pub metrics: Arc<Metrics>,
    /// The keys of what is kept of accounts.
    pub vault: Arc<Vault>,
    /// Their answers that are given again.
    pub cache: Arc<Cache>,
    /// Their things at providers.
    pub things: Arc<dyn Owners>,
}

/// An account to be made.
#[derive(Clone, Debug, Default)]
pub struct NewAccount {
    /// Its id; made where there is none.
    pub id: Option<String>,
    /// Its name.
    pub name: String,
    /// Its plan.
    pub plan: String,
    /// What the seller's own application calls it.
    pub external_id: Option<String>,
    /// Its own figures.
    pub overrides: Overrides,
}

/// What is to become of an account; `None` leaves it as it is.
#[derive(Default)]
pub struct Change {
    /// Its name.
    pub name: Option<String>,
    /// Its plan.
    pub plan: Option<String>,
    /// Whether it may send requests.
    pub status: Option<Status>,
    /// What the seller's own application calls it; `Some(None)` is nothing.
    pub external_id: Option<Option<String>>,
    /// What makes its new figures of its old ones.
    pub overrides: Option<Box<dyn FnOnce(Overrides) -> Overrides + Send>>,
}

impl Registry {
    /// The registry of `config`; nothing is in force before
    /// [`Registry::apply`].
    pub fn new(config: Arc<Config>, parts: Parts) -> Self {
        let state = State {
            config,
            configured: AHashSet::new(),
            configured_keys: AHashSet::new(),
            plans: AHashMap::new(),
        };
        let Parts { accounts, keys, custom, in_force, history, .. } = parts;
        let Parts { keyring, hasher, clock, metrics, vault, cache, things, .. } = parts;
        Self {
            accounts,
            keys,
            custom,
            in_force,
            history,
            keyring,
            hasher,
            clock,
            metrics,
            vault,
            cache,
            things,
            state: Mutex::new(state),
        }
    }

    /// Makes an account. Blocks.
    ///
    /// # Errors
    /// [`Refused`]; nothing is changed then.
    pub fn create(&self, wanted: NewAccount) -> Result<Account, Refused> {
        let mut state = self.state.lock();
        let NewAccount { id, name, plan, external_id, overrides } = wanted;
        state.check(&plan, &overrides)?;
        let id = id.unwrap_or_else(|| format!("acct_{:016x}", rand::random::<u64>()));
        let status = Status::Active;
        let created_at = self.clock.wall();
        let account = Account { id, name, plan, status, external_id, overrides, created_at };
        if !self.accounts.add(&account)? {
            return Err(Refused::Taken);
        }
        self.note(&account, state.plan(&account.plan))?;
        self.accounts.flush()?;
        self.count(&mut state, None, Some(&account.plan));
        Ok(account)
    }

    /// The account with this id. Blocks.
    ///
    /// # Errors
    /// [`Refused::NoAccount`], [`Refused::Store`].
    pub fn account(&self, id: &str) -> Result<Account, Refused> {
        self.accounts.account(id)?.ok_or(Refused::NoAccount)
    }

    /// At most `limit` accounts in the order of their ids, those after `after`.
    /// Blocks.
    ///
    /// # Errors
    /// [`Refused::Store`].
    pub fn list(&self, after: Option<&str>, limit: usize) -> Result<Vec<Account>, Refused> {
        Ok(self.accounts.accounts(after, limit)?)
    }

    /// Changes an account; its keys are its new self at once. Blocks.
    ///
    /// # Errors
    /// [`Refused`]; nothing is changed then.
    pub fn change(&self, id: &str, change: Change) -> Result<Account, Refused> {
        let mut state = self.state.lock();
        let mut account = self.account(id)?;
        let before = account.plan.clone();
        let Change { name, plan, status, external_id, overrides } = change;
        account.name = name.unwrap_or(account.name);
        account.plan = plan.unwrap_or(account.plan);
        account.status = status.unwrap_or(account.status);
        account.external_id = external_id.unwrap_or(account.external_id);
        if let Some(change) = overrides {
            account.overrides = change(account.overrides);
            state.check_classes(&account.overrides)?;
        }
        // An account whose plan is gone may be suspended or renamed all the same.
        if account.plan != before {
            state.check_plan(&account.plan)?;
        }
        self.accounts.replace(&account)?;
        self.note(&account, state.plan(&account.plan))?;
        self.accounts.flush()?;
        let (plan, user) = (state.plan(&account.plan), &state.config.limits.user);
        self.keyring.update_account(id, |held| {
            Identity::new(&account, plan, user, held.key_id.clone())
                .until(held.expires_at)
                .within(held.key_budget)
        });
        self.count(&mut state, Some(&before), Some(&account.plan));
        Ok(account)
    }

    /// Removes an account and its keys, and makes what was kept of its requests and
    /// answers unreadable; its records stay. Blocks.
    ///
    /// # Errors
    /// [`Refused`]; the account is there still. After [`Refused::Store`] or
    /// [`Refused::Vault`] a part may be done: call again.
    pub fn delete(&self, id: &str) -> Result<(), Refused> {
        let mut state = self.state.lock();
        let account = self.account(id)?;
        if state.configured.contains(id) {
            return Err(Refused::ConfiguredAccount);
        }
        self.forget(id)?;
        self.remove_own(id)?;
        self.accounts.remove(id)?;
        self.note_end(id)?;
        self.accounts.flush()?;
        self.keyring.remove_account(id);
        self.cache.purge(&Filter { account: Some(id.to_owned()), ..Filter::default() });
        // What runs may still note things. They stay its own: an account made later
        // under this id has another name there.
        if let Err(error) = self.things.release_all(&account.owner_name()) {
            tracing::error!(%error, "whose the things of a removed account were may be left");
        }
        // What was sealed in between, while requests were admitted.
        if let Err(error) = self.forget(id) {
            tracing::error!(%error, "what was kept of a removed account may be left");
        }
        self.count(&mut state, Some(&account.plan), None);
        Ok(())
    }

    /// Makes a key, with a budget in dollars a month of its own if it is given. Its
    /// text is in the answer and nowhere else. Blocks.
    ///
    /// # Errors
    /// [`Refused`]; nothing is changed then.
    pub fn create_key(
        &self,
        account: &str,
        name: Option<String>,
        budget: Option<Money>,
    ) -> Result<(ApiKey, Secret), Refused> {
        let state = self.state.lock();
        let account = self.account(account)?;
        self.make_key(&state, &account, name, budget)
    }

    /// At most `limit` keys in the order of their ids, those after `after`; of
    /// one account, if it is given. Those of the configuration are not among
    /// them. Blocks.
    ///
    /// # Errors
    /// [`Refused::NoAccount`], [`Refused::Store`].
    pub fn keys(
        &self,
        account: Option<&str>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ApiKey>, Refused> {
        if let Some(account) = account {
            self.account(account)?;
        }
        Ok(self.keys.keys(account, after, limit)?)
    }

    /// Makes a key in the place of another, which stays in force for `grace`,
    /// at most [`LONGEST_GRACE`]. It has the budget of the old one, of which it has
    /// spent nothing yet. Blocks.
    ///
    /// # Errors
    /// [`Refused`]; nothing is changed then.
    pub fn rotate(&self, id: &str, grace: Duration) -> Result<(ApiKey, Secret), Refused> {
        let state = self.state.lock();
        let mut old = self.own_key(&state, id)?;
        let now = self.clock.wall();
        if !old.in_force(now) {
            return Err(Refused::KeyEnded);
        }
        let account = self.account(&old.account)?;
        let grace = u64::try_from(grace.min(LONGEST_GRACE).as_micros()).unwrap_or(0);
        let end = Timestamp(now.0.saturating_add(grace));
        let end = old.expires_at.map_or(end, |before| before.min(end));
        old.expires_at = Some(end);
        // The new one first: what breaks off in between leaves two keys, not none.
        let made = self.make_key(&state, &account, old.name.clone(), old.budget)?;
        self.keys.replace_key(&old)?;
        self.accounts.flush()?;
        let hash = KeyHash::from_bytes(old.hash);
        if old.in_force(now) {
            let identity = state.identity(&account, &old);
            self.keyring.insert(hash, identity);
        } else {
            self.keyring.remove(&hash);
        }
        Ok(made)
    }

    /// Takes a key out of force for good; once more is no error. Blocks.
    ///
    /// # Errors
    /// [`Refused`]; nothing is changed then.
    pub fn revoke(&self, id: &str) -> Result<ApiKey, Refused> {
        let state = self.state.lock();
        let mut key = self.own_key(&state, id)?;
        if key.revoked_at.is_none() {
            key.revoked_at = Some(self.clock.wall());
            self.keys.replace_key(&key)?;
            self.accounts.flush()?;
        }
        self.keyring.remove(&KeyHash::from_bytes(key.hash));
        Ok(key)
    }

    /// Forgets the keys whose grace is over.
    pub fn sweep(&self) {
        self.keyring.sweep(self.clock.wall());
    }

    fn forget(&self, account: &str) -> Result<(), Refused> {
        let forgotten = self.vault.forget(Owner::Account(account));
        forgotten.map_err(|error| Refused::Vault(error.to_string()))
    }

    /// A key that is kept here, and not given by the configuration.
    fn own_key(&self, state: &State, id: &str) -> Result<ApiKey, Refused> {
        match self.keys.key(id)? {
            _ if state.configured_keys.contains(id) => Err(Refused::ConfiguredKey),
            Some(key) => Ok(key),
            None => Err(Refused::NoKey),
        }
    }

    fn make_key(
        &self,
        state: &State,
        account: &Account,
        name: Option<String>,
        budget: Option<Money>,
    ) -> Result<(ApiKey, Secret), Refused> {
        loop {
            let text = key::generate();
            let hash = self.hasher.hash(text.expose());
            let key = ApiKey {
                id: hash.key_id().to_string(),
                account: account.id.clone(),
                name: name.clone(),
                prefix: key::shown_prefix(text.expose()).to_owned(),
                hash: *hash.as_bytes(),
                created_at: self.clock.wall(),
                revoked_at: None,
                expires_at: None,
                budget,
            };
            // An id is 48 bits of the hash: rarely, it is taken.
            if self.keys.add_key(&key)? {
                self.accounts.flush()?;
                self.keyring.insert(hash, state.identity(account, &key));
                return Ok((key, text));
            }
        }
    }

    /// Counts an account under the plan that it has come to.
    fn count(&self, state: &mut State, before: Option<&str>, after: Option<&str>) {
        for (plan, step) in [(before, -1), (after, 1)] {
            let Some(plan) = plan else { continue };
            let count = state.plans.entry(plan.to_owned()).or_default();
            *count += step;
            self.metrics.accounts(plan, *count);
        }
    }
}

impl State {
    fn plan(&self, name: &str) -> Option<&Arc<Plan>> {
        self.config.plans.iter().find(|plan| *plan.name == *name)
    }

    fn identity(&self, account: &Account, key: &ApiKey) -> Identity {
        let (plan, user) = (self.plan(&account.plan), &self.config.limits.user);
        Identity::new(account, plan, user, Arc::from(&*key.id))
            .until(key.expires_at)
            .within(key.budget)
    }

    fn check(&self, plan: &str, overrides: &Overrides) -> Result<(), Refused> {
        self.check_plan(plan)?;
        self.check_classes(overrides)
    }

    fn check_plan(&self, name: &str) -> Result<(), Refused> {
        if self.plan(name).is_some() {
            return Ok(());
        }
        let names: Vec<&str> = self.config.plans.iter().map(|plan| &*plan.name).collect();
        Err(Refused::NoPlan(names.join(", ")))
    }

    fn check_classes(&self, overrides: &Overrides) -> Result<(), Refused> {
        let classes = &self.config.classes;
        for name in overrides.prices.keys() {
            if !classes.iter().any(|class| *class.name == **name) {
                return Err(Refused::NoClass(name.clone()));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
