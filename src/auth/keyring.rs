//! Which account a key belongs to: one hash and one map lookup.
//!
//! The ring is changed while requests run: a key that is revoked, or whose
//! account is suspended, has stopped by the next request.

mod dedicated;

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use super::key::{KeyHash, KeyHasher};
use super::plan::effective_limits;
use crate::base::clock::Timestamp;
use crate::base::money::Money;
use crate::config::{Class, LossGuard, Plan, UserLimits};
use crate::store::accounts::{Account, Status};
use dedicated::Dedicated;

/// Parts with a lock of their own.
const SHARDS: usize = 64;

type Identities = HashMap<KeyHash, Arc<Identity>, ahash::RandomState>;
type Owners = HashMap<Arc<str>, Vec<KeyHash>, ahash::RandomState>;

/// Whether an account's requests are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// They are.
    Open,
    /// The account is suspended.
    Suspended,
    /// The configuration has no plan of the name of the account's.
    NoPlan,
}

/// Who a key stands for and what that account may do: all that a request needs.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The account's id.
    pub account: Arc<str>,
    /// What the account's things at providers are kept under.
    pub owner: Arc<str>,
    /// The key's public name.
    pub key_id: Arc<str>,
    /// The account's plan.
    pub plan: Arc<Plan>,
    /// The account's limits: its own figures over the plan's over the defaults.
    pub limits: UserLimits,
    /// Requests in a calendar month; `None` is unlimited.
    pub requests_per_month: Option<u64>,
    /// Dollars that the account may spend on requests in a calendar month; `None`
    /// is unlimited.
    pub budget: Option<Money>,
    /// Dollars that requests with the key may cost in a calendar month; `None` is
    /// unlimited.
    pub key_budget: Option<Money>,
    /// Whether its requests are paid from a balance.
    pub prepaid: bool,
    /// Tokens in any 60 s; `None` is unlimited.
    pub tokens_per_minute: Option<u32>,
    /// The account's own prices of a request, by class.
    pub prices: Arc<[(Arc<str>, Money)]>,
    /// The account's own loss guard, in every class.
    pub loss_guard: Option<LossGuard>,
    /// Whether its requests are served.
    pub access: Access,
    /// From when on the key is not in force any more.
    pub expires_at: Option<Timestamp>,
}

impl Identity {
    /// What `account` may do under `plan`, by a key called `key_id`; `defaults`
    /// is `limits.user` of the configuration. Without a plan it may do nothing.
    pub fn new(
        account: &Account,
        plan: Option<&Arc<Plan>>,
        defaults: &UserLimits,
        key_id: Arc<str>,
    ) -> Self {
        let access = match (account.status, plan) {
            (Status::Suspended, _) => Access::Suspended,
            (Status::Active, None) => Access::NoPlan,
            (Status::Active, Some(_)) => Access::Open,
        };
        let plan = plan.map_or_else(|| Arc::new(Plan::nothing(&account.plan)), Arc::clone);
        let own = &account.overrides;
        let quota = own.requests_per_month.or(plan.requests_per_month);
        let tokens = own.tokens_per_minute.or(plan.tokens_per_minute);
        let prices = own.prices.iter().map(|(class, price)| (Arc::from(&**class), *price));
        Self {
            account: Arc::from(&*account.id),
            owner: account.owner_name().into(),
            key_id,
            limits: effective_limits(&plan, own, defaults),
            requests_per_month: quota.filter(|limit| *limit < u64::MAX),
            budget: own.budget.or(plan.budget).filter(|budget| *budget < Money::MAX),
            key_budget: None,
            prepaid: own.prepaid.unwrap_or(plan.prepaid),
            tokens_per_minute: tokens.filter(|limit| *limit < u32::MAX),
            prices: prices.collect(),
            loss_guard: own.loss_guard,
            plan,
            access,
            expires_at: None,
        }
    }

    /// The same, until `expires_at`.
    #[must_use]
    pub fn until(mut self, expires_at: Option<Timestamp>) -> Self {
        self.expires_at = expires_at;
        self
    }

    /// Whether what requests cost is limited, by budgets or a balance.
    pub const fn has_budget(&self) -> bool {
        self.budget.is_some() || self.key_budget.is_some() || self.prepaid
    }

    /// The same, with a budget of the key's own.
    #[must_use]
    pub fn within(mut self, key_budget: Option<Money>) -> Self {
        self.key_budget = key_budget;
        self
    }

    /// Price of a request beyond the quota; `None` where such a request is refused
    /// or there is no quota.
    pub fn overage(&self) -> Option<Money> {
        self.plan.overage.filter(|_| self.requests_per_month.is_some())
    }

    /// The account's own price of a request of `class`, where it has one.
    pub fn own_price(&self, class: &Class) -> Option<Money> {
        self.prices.iter().find(|(name, _)| *name == class.name).map(|(_, price)| *price)
    }

    /// What happens to a request of `class` that is expected to cost more than
    /// it earns.
    pub fn loss_guard(&self, class: &Class) -> LossGuard {
        self.loss_guard.unwrap_or(class.loss_guard)
    }

    fn in_force(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|end| now < end)
    }
}

/// Every key in force. Reading takes the lock of one of 64 parts, for reading.
#[derive(Debug)]
pub struct Keyring {
    hasher: KeyHasher,
    shards: [RwLock<Identities>; SHARDS],
    /// The keys of each account; taken by whoever changes something, so that
    /// changes come one after the other.
    owners: Mutex<Owners>,
    dedicated: Dedicated,
}

/// Identities that may replace those of a ring: no key stands for two accounts.
#[derive(Debug, Default)]
pub struct Prepared {
    identities: Identities,
}

/// One key was given to two accounts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("accounts {first:?} and {second:?} have the same API key")]
pub struct SharedKey {
    /// An account.
    pub first: Arc<str>,
    /// The other account.
    pub second: Arc<str>,
}

impl Prepared {
    /// Checks `identities`. A key given twice to one account keeps its first
    /// identity.
    ///
    /// # Errors
    /// [`SharedKey`] where one key stands for two accounts.
    pub fn new(
        identities: impl IntoIterator<Item = (KeyHash, Identity)>,
    ) -> Result<Self, SharedKey> {
        let mut prepared = Self::default();
        for (hash, identity) in identities {
            match prepared.identities.get(&hash) {
                None => {
                    prepared.identities.insert(hash, Arc::new(identity));
                }
                Some(held) if held.account == identity.account => {}
                Some(held) => {
                    let (first, second) = (Arc::clone(&held.account), identity.account);
                    return Err(SharedKey { first, second });
                }
            }
        }
        Ok(prepared)
    }
}

impl Keyring {
    /// An empty ring of keys hashed by `hasher`.
    pub fn new(hasher: KeyHasher) -> Self {
        let shards = std::array::from_fn(|_| RwLock::default());
        Self { hasher, shards, owners: Mutex::default(), dedicated: Dedicated::default() }
    }

    /// Tells `told` now, and at every change, whether any account that is served
    /// under a plan with dedicated capacity has a key.
    pub fn tell_dedicated(&self, told: impl Fn(bool) + Send + Sync + 'static) {
        self.dedicated.tell(Box::new(told));
    }

    /// Puts `prepared` in the place of everything. A request that comes
    /// meanwhile finds its key as it was or as it is now.
    pub fn replace(&self, prepared: Prepared) {
        let mut owners = self.owners.lock();
        let mut parts: [Identities; SHARDS] = std::array::from_fn(|_| Identities::default());
        owners.clear();
        self.dedicated.replace(prepared.identities.values().map(|identity| &**identity));
        for (hash, identity) in prepared.identities {
            owners.entry(Arc::clone(&identity.account)).or_default().push(hash);
            if let Some(part) = parts.get_mut(place(&hash)) {
                part.insert(hash, identity);
            }
        }
        for (shard, part) in self.shards.iter().zip(parts) {
            let before = std::mem::replace(&mut *shard.write(), part);
            drop(before);
        }
    }

    /// Puts a key in force; one with this hash is replaced.
    pub fn insert(&self, hash: KeyHash, identity: Identity) {
        let mut owners = self.owners.lock();
        let account = Arc::clone(&identity.account);
        if let Some(shard) = self.shards.get(place(&hash)) {
            let identity = Arc::new(identity);
            let before = shard.write().insert(hash, identity.clone());
            self.dedicated.change(before.as_deref(), Some(&identity));
            if let Some(before) = before {
                disown(&mut owners, &before.account, &hash);
            }
            owners.entry(account).or_default().push(hash);
        }
    }

    /// Takes a key out of force.
    pub fn remove(&self, hash: &KeyHash) {
        let mut owners = self.owners.lock();
        let removed = self.shards.get(place(hash)).and_then(|shard| shard.write().remove(hash));
        if let Some(identity) = removed {
            self.dedicated.change(Some(&identity), None);
            disown(&mut owners, &identity.account, hash);
        }
    }

    /// Takes every key of an account out of force.
    pub fn remove_account(&self, account: &str) {
        let mut owners = self.owners.lock();
        for hash in owners.remove(account).unwrap_or_default() {
            if let Some(shard) = self.shards.get(place(&hash)) {
                let removed = shard.write().remove(&hash);
                self.dedicated.change(removed.as_deref(), None);
            }
        }
    }

    /// Makes the identity of every key of an account anew.
    pub fn update_account(&self, account: &str, anew: impl Fn(&Identity) -> Identity) {
        let owners = self.owners.lock();
        for hash in owners.get(account).into_iter().flatten() {
            let Some(shard) = self.shards.get(place(hash)) else { continue };
            if let Some(identity) = shard.write().get_mut(hash) {
                let before = std::mem::replace(identity, Arc::new(anew(identity)));
                self.dedicated.change(Some(&before), Some(identity));
            }
        }
    }

    /// Forgets the keys that are not in force any more at `now`.
    pub fn sweep(&self, now: Timestamp) {
        let mut owners = self.owners.lock();
        for shard in &self.shards {
            shard.write().retain(|hash, identity| {
                let keep = identity.in_force(now);
                if !keep {
                    self.dedicated.change(Some(identity), None);
                    disown(&mut owners, &identity.account, hash);
                }
                keep
            });
        }
    }

    /// Who `key` stands for at `now`; `None` for a key that is not in force.
    pub fn identify(&self, key: &str, now: Timestamp) -> Option<Arc<Identity>> {
        let hash = self.hasher.hash(key);
        let identity = self.shards.get(place(&hash))?.read().get(&hash).cloned()?;
        identity.in_force(now).then_some(identity)
    }

    /// Whether `identity` is still served at `now`: its key is in force, and its
    /// account, the one that was made then, is open.
    pub fn still_serves(&self, identity: &Identity, now: Timestamp) -> bool {
        let hashes = self.owners.lock().get(&identity.account).cloned().unwrap_or_default();
        hashes.iter().any(|hash| {
            let held = self.shards.get(place(hash)).and_then(|it| it.read().get(hash).cloned());
            held.is_some_and(|held| {
                let same = held.key_id == identity.key_id && held.owner == identity.owner;
                same && held.access == Access::Open && held.in_force(now)
            })
        })
    }

    /// Shows every identity to `look`, an account's once for each key.
    pub fn each(&self, mut look: impl FnMut(&Arc<Identity>)) {
        for shard in &self.shards {
            shard.read().values().for_each(&mut look);
        }
    }

    /// Keys that are held.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().len()).sum()
    }

    /// Whether no key is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The part that a key is in; its hash map looks at other bytes.
fn place(hash: &KeyHash) -> usize {
    let [.., last] = *hash.as_bytes();
    usize::from(last) % SHARDS
}

fn disown(owners: &mut Owners, account: &str, hash: &KeyHash) {
    if let Some(hashes) = owners.get_mut(account) {
        hashes.retain(|held| held != hash);
        if hashes.is_empty() {
            owners.remove(account);
        }
    }
}

#[cfg(test)]
mod tests;
