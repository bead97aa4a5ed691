//! A configuration coming into force: at the start, and at each reload.

use std::collections::BTreeMap;
use std::sync::Arc;

use ahash::{AHashMap, AHashSet};

use super::{Registry, State};
use crate::auth::key::KeyHash;
use crate::auth::keyring::{Identity, Prepared, SharedKey};
use crate::config::{Config, StaticKey};
use crate::store::StoreError;
use crate::store::accounts::{Account, Overrides, Status};

/// How many records are read at once.
const PAGE: usize = 1_000;

/// When a configuration comes into force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// The process starts: accounts whose plan is not there are told in the log
    /// and answered 403, as it would help nobody to serve none at all.
    Start,
    /// A running process reads its file again: the loss of a plan that accounts
    /// use is an error, and nothing changes.
    Reload,
}

/// Why a configuration cannot come into force.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// Two accounts have one key.
    #[error(transparent)]
    Shared(#[from] SharedKey),
    /// Accounts would lose their plan.
    #[error(
        "the plan {plan:?} is missing, which {accounts} account(s) with keys have: give them \
         another plan first, with `tollgate accounts set-plan`"
    )]
    PlanInUse {
        /// The plan.
        plan: String,
        /// Accounts that have it and a key in force.
        accounts: usize,
    },
    /// The store fails.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Registry {
    /// Puts `config` in force, with `given` for its keys, empty ones being none:
    /// its accounts are made or get its plans, every account is seen under its
    /// plans and limits, and keys that it gives no more stop. Blocks.
    ///
    /// # Errors
    /// [`ApplyError`]; nothing is changed then.
    pub fn apply(
        &self,
        config: Arc<Config>,
        given: &[StaticKey],
        occasion: Occasion,
    ) -> Result<(), ApplyError> {
        let mut state = self.state.lock();
        let mut next = State {
            configured: given.iter().map(|given| given.account.clone()).collect(),
            configured_keys: AHashSet::new(),
            plans: AHashMap::new(),
            config,
        };
        let mut accounts = self.every_account()?;
        let written = self.lay_over(&mut accounts, given);
        let mut identities = Vec::new();
        for given in given {
            let Some(account) = accounts.get(&*given.account) else { continue };
            // A key of a reload that could not be shown to anybody.
            if given.key.is_empty() {
                continue;
            }
            let hash = self.hasher.hash(given.key.expose());
            let key_id = hash.key_id();
            next.configured_keys.insert(key_id.clone());
            let user = &next.config.limits.user;
            let identity = Identity::new(account, Some(&given.plan), user, key_id);
            identities.push((hash, identity.within(given.budget)));
        }
        let mut without = BTreeMap::<&str, AHashSet<&str>>::new();
        let now = self.clock.wall();
        let mut after: Option<String> = None;
        loop {
            let page = self.keys.keys(None, after.as_deref(), PAGE)?;
            let Some(last) = page.last() else { break };
            after = Some(last.id.clone());
            for key in page.iter().filter(|key| key.in_force(now)) {
                let Some(account) = accounts.get(&key.account) else { continue };
                if next.plan(&account.plan).is_none() {
                    without.entry(&account.plan).or_default().insert(&account.id);
                }
                let identity = next.identity(account, key);
                identities.push((KeyHash::from_bytes(key.hash), identity));
            }
        }
        for (plan, accounts) in without {
            let accounts = accounts.len();
            if occasion == Occasion::Reload && state.plan(plan).is_some() {
                return Err(ApplyError::PlanInUse { plan: plan.to_owned(), accounts });
            }
            tracing::warn!(plan, accounts, "accounts are refused: their plan is not there");
        }
        let prepared = Prepared::new(identities)?;
        for id in &written {
            if let Some(account) = accounts.get(id) {
                self.accounts.replace(account)?;
            }
        }
        let mut noted = false;
        for account in accounts.values() {
            noted |= self.note(account, next.plan(&account.plan))?;
        }
        if occasion == Occasion::Start {
            noted |= self.note_ends(&accounts)?;
        }
        if noted || !written.is_empty() {
            self.accounts.flush()?;
        }
        self.keyring.replace(prepared);
        for account in accounts.values() {
            *next.plans.entry(account.plan.clone()).or_default() += 1;
        }
        self.recount(&state, &next);
        *state = next;
        Ok(())
    }

    fn every_account(&self) -> Result<AHashMap<String, Account>, StoreError> {
        let mut all = AHashMap::new();
        let mut after: Option<String> = None;
        loop {
            let page = self.accounts.accounts(after.as_deref(), PAGE)?;
            let Some(last) = page.last() else { return Ok(all) };
            after = Some(last.id.clone());
            all.extend(page.into_iter().map(|account| (account.id.clone(), account)));
        }
    }

    /// Makes the accounts of the configuration or gives them its plans; the ids
    /// of those that have changed.
    fn lay_over(
        &self,
        accounts: &mut AHashMap<String, Account>,
        given: &[StaticKey],
    ) -> Vec<String> {
        let mut written = Vec::new();
        for given in given {
            let id = given.account.to_string();
            let plan = &*given.plan.name;
            match accounts.get_mut(&id) {
                Some(account) if account.plan == plan => continue,
                Some(account) => plan.clone_into(&mut account.plan),
                None => {
                    let account = Account {
                        id: id.clone(),
                        name: id.clone(),
                        plan: plan.to_owned(),
                        status: Status::Active,
                        external_id: None,
                        overrides: Overrides::default(),
                        created_at: self.clock.wall(),
                    };
                    accounts.insert(id.clone(), account);
                }
            }
            written.push(id);
        }
        written
    }

    /// Shows how many accounts each plan has, plans of the configuration that
    /// have none and plans that have none any more included.
    fn recount(&self, before: &State, next: &State) {
        let none = next.config.plans.iter().map(|plan| &*plan.name);
        for plan in before.plans.keys().map(String::as_str).chain(none) {
            self.metrics.accounts(plan, next.plans.get(plan).copied().unwrap_or(0));
        }
        for (plan, count) in &next.plans {
            self.metrics.accounts(plan, *count);
        }
    }
}
