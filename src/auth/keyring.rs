//! Which account a key belongs to: one hash and one map lookup.

use std::collections::HashMap;
use std::sync::Arc;

use super::key::{KeyHash, KeyHasher};
use super::plan::effective_limits;
use crate::config::{Plan, StaticKey, UserLimits};

/// Who a key stands for and what that account may do.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The account's id.
    pub account: Arc<str>,
    /// The key's public name.
    pub key_id: Arc<str>,
    /// The account's plan.
    pub plan: Arc<Plan>,
    /// The account's limits: the plan's figures over the defaults.
    pub limits: UserLimits,
}

/// Every key in force: an immutable snapshot, replaced whole when a key changes.
#[derive(Debug)]
pub struct Keyring {
    hasher: KeyHasher,
    identities: HashMap<KeyHash, Arc<Identity>, ahash::RandomState>,
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

impl Keyring {
    /// A ring of `identities` whose keys were hashed by `hasher`.
    ///
    /// # Errors
    /// [`SharedKey`] where one key stands for two accounts. A key given twice to
    /// one account keeps its first identity.
    pub fn new(
        hasher: KeyHasher,
        identities: impl IntoIterator<Item = (KeyHash, Identity)>,
    ) -> Result<Self, SharedKey> {
        let mut map: HashMap<KeyHash, Arc<Identity>, _> = HashMap::default();
        for (hash, identity) in identities {
            match map.get(&hash) {
                None => {
                    map.insert(hash, Arc::new(identity));
                }
                Some(held) if held.account == identity.account => {}
                Some(held) => {
                    let (first, second) = (Arc::clone(&held.account), identity.account);
                    return Err(SharedKey { first, second });
                }
            }
        }
        Ok(Self { hasher, identities: map })
    }

    /// A ring of the configuration's keys, `defaults` being its `limits.user`. A
    /// key left empty is skipped: whoever starts the process fills it in first.
    ///
    /// # Errors
    /// [`SharedKey`] where one key stands for two accounts.
    pub fn of_configuration(
        hasher: KeyHasher,
        keys: &[StaticKey],
        defaults: &UserLimits,
    ) -> Result<Self, SharedKey> {
        let given = keys.iter().filter(|given| !given.key.is_empty());
        let identities: Vec<_> = given
            .map(|given| {
                let hash = hasher.hash(given.key.expose());
                let identity = Identity {
                    account: Arc::clone(&given.account),
                    key_id: hash.key_id(),
                    plan: Arc::clone(&given.plan),
                    limits: effective_limits(&given.plan, defaults),
                };
                (hash, identity)
            })
            .collect();
        Self::new(hasher, identities)
    }

    /// Who `key` stands for; `None` for a key that is not in force.
    pub fn identify(&self, key: &str) -> Option<&Arc<Identity>> {
        self.identities.get(&self.hasher.hash(key))
    }

    /// Keys in force.
    pub fn len(&self) -> usize {
        self.identities.len()
    }

    /// Whether no key is in force.
    pub fn is_empty(&self) -> bool {
        self.identities.is_empty()
    }
}

#[cfg(test)]
mod tests;
