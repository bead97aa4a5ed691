//! What pays for an account's requests: budgets and the prepaid balance, together
//! or not at all.

use std::sync::Arc;

use super::{AccountState, Counts};
use crate::admission::balance::{Balance, Insufficient};
use crate::admission::quota::Allowance;
use crate::admission::spend::Purse;
use crate::base::money::Money;

impl AccountState {
    /// Where the prepaid balance stands.
    pub fn balance(&self) -> Balance {
        self.counts.lock().balance.as_deref().copied().unwrap_or_default()
    }

    /// Adds to what was paid in: it holds for every request that asks from now on.
    pub fn deposit(&self, amount: Money) {
        self.counts.lock().balance.get_or_insert_default().deposit(amount);
    }

    /// Takes back of what was paid in and is neither charged nor reserved.
    ///
    /// # Errors
    /// [`Insufficient`]; nothing is changed then.
    pub fn withdraw(&self, amount: Money) -> Result<(), Insufficient> {
        self.counts.lock().balance.get_or_insert_default().withdraw(amount)
    }

    /// Counts what requests of the past have paid from the balance, for rebuilding
    /// from the journal.
    pub fn restore_paid(&self, charged: Money) {
        self.counts.lock().balance.get_or_insert_default().charge(charged);
    }
}

impl Counts {
    /// Reserves `most` of everything that pays for a request, or of nothing. Gives
    /// what does not allow it, and the budget or what is left of the balance.
    pub(super) fn hold(
        &mut self,
        month: u32,
        key: &Arc<str>,
        most: Money,
        allowance: &Allowance,
    ) -> Result<(), (Purse, Money)> {
        let pays = allowance.prepaid && !most.is_zero();
        if pays && let Err(Insufficient(left)) = self.balance.get_or_insert_default().hold(most) {
            return Err((Purse::Balance, left));
        }
        self.months.hold(month, key, most, allowance).map_err(|purse| {
            if pays && let Some(balance) = &mut self.balance {
                balance.let_go(most);
            }
            let budget = match purse {
                Purse::Key => allowance.key_budget,
                Purse::Account | Purse::Balance => allowance.budget,
            };
            (purse, budget.unwrap_or_default())
        })
    }

    /// Undoes one `hold`.
    pub(super) fn let_go(
        &mut self,
        month: u32,
        key: &Arc<str>,
        most: Money,
        allowance: &Allowance,
    ) {
        self.months.let_go(month, key, most);
        if allowance.prepaid
            && let Some(balance) = &mut self.balance
        {
            balance.let_go(most);
        }
    }
}
