//! What accounts were, from which moment on.
//!
//! An account and its history are two writes, the account first. What breaks off
//! between them is made up for when a configuration is applied, which the next
//! start does first of all.

use std::sync::Arc;

use ahash::AHashMap;

use super::Registry;
use crate::config::{Billing, Plan};
use crate::store::StoreError;
use crate::store::accounts::{Account, Status};
use crate::store::billing::{Assignment, Standing};

impl Registry {
    /// Notes what `account` is from now on under `plan`, unless that is what it
    /// was; says whether it did. The first note holds from the account's making,
    /// and none from before the one that it follows, whatever the clock does. An
    /// account whose plan is not there stays what it was.
    pub(super) fn note(
        &self,
        account: &Account,
        plan: Option<&Arc<Plan>>,
    ) -> Result<bool, StoreError> {
        let Some(plan) = plan else { return Ok(false) };
        let latest = self.history.latest(&account.id)?;
        let next = Assignment {
            sequence: latest.as_ref().map_or(0, |latest| latest.sequence) + 1,
            at: match &latest {
                Some(latest) => self.clock.wall().max(latest.at),
                None => account.created_at,
            },
            plan: plan.name.to_string(),
            monthly_price: plan.monthly_price,
            included: plan.billing == Billing::Included,
            standing: match account.status {
                Status::Active => Standing::Active,
                Status::Suspended => Standing::Suspended,
            },
        };
        let same = |latest: &Assignment| {
            let what = |it: &Assignment| (it.monthly_price, it.included, it.standing);
            latest.plan == next.plan && what(latest) == what(&next)
        };
        if latest.as_ref().is_some_and(same) {
            return Ok(false);
        }
        self.history.append(&account.id, &next)?;
        Ok(true)
    }

    /// Notes of accounts that are not among `accounts` any more that they are gone,
    /// where a deletion broke off before it did; says whether there were any.
    pub(super) fn note_ends(
        &self,
        accounts: &AHashMap<String, Account>,
    ) -> Result<bool, StoreError> {
        let mut noted = false;
        for id in self.history.assigned()? {
            if !accounts.contains_key(&id) {
                noted |= self.note_end(&id)?;
            }
        }
        Ok(noted)
    }

    /// Notes that the account is gone from now on, unless that is noted; says
    /// whether it did.
    pub(super) fn note_end(&self, account: &str) -> Result<bool, StoreError> {
        let latest = self.history.latest(account)?;
        let Some(latest) = latest.filter(|latest| latest.standing != Standing::Deleted) else {
            return Ok(false);
        };
        let next = Assignment {
            sequence: latest.sequence + 1,
            at: self.clock.wall().max(latest.at),
            standing: Standing::Deleted,
            ..latest
        };
        self.history.append(account, &next)?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests;
