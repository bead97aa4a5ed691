//! The prepaid balance of an account: what was paid in, less what its requests
//! have cost, less what those that run may still cost.
//!
//! It has no month. Only accounts that are or were prepaid have one in memory;
//! it is rebuilt from the deposits that are kept and from the records that say
//! they were paid from it.
//!
//! Invariant: at no moment is more charged and reserved than was paid in.

use serde::ser::{Serialize, SerializeStruct, Serializer};

use crate::base::money::Money;

/// Dollars of a prepaid account. The default is that of one that never paid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Balance {
    /// Everything that was paid in, less what was taken back.
    pub deposited: Money,
    /// What requests have cost.
    pub charged: Money,
    /// What running requests may cost at most.
    pub reserved: Money,
}

/// There is less left than is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("only ${0} of the balance is left")]
pub struct Insufficient(
    /// What is left, at least 0.
    pub Money,
);

impl Balance {
    /// What is left for requests that come. Below 0 only where the store has lost
    /// deposits that the ledger has charges of.
    pub fn remaining(&self) -> Money {
        self.deposited - self.charged - self.reserved
    }

    /// What is shown of it: nothing to one who is not prepaid and never was.
    pub fn shown(self, prepaid: bool) -> Option<Self> {
        Some(self).filter(|balance| prepaid || *balance != Self::default())
    }

    /// Adds to what was paid in.
    pub fn deposit(&mut self, amount: Money) {
        self.deposited += amount;
    }

    /// Takes back of what was paid in.
    ///
    /// # Errors
    /// [`Insufficient`]; nothing is changed then.
    pub fn withdraw(&mut self, amount: Money) -> Result<(), Insufficient> {
        self.spare(amount)?;
        self.deposited -= amount;
        Ok(())
    }

    /// Reserves `most` for a request. What costs nothing is never refused.
    ///
    /// # Errors
    /// [`Insufficient`]; nothing is reserved then.
    pub fn hold(&mut self, most: Money) -> Result<(), Insufficient> {
        if most.is_zero() {
            return Ok(());
        }
        self.spare(most)?;
        self.reserved += most;
        Ok(())
    }

    /// Undoes one `hold`.
    pub fn let_go(&mut self, most: Money) {
        self.reserved -= most;
    }

    /// Counts what a request has cost.
    pub fn charge(&mut self, price: Money) {
        self.charged += price;
    }

    fn spare(&self, amount: Money) -> Result<(), Insufficient> {
        let left = self.remaining();
        if amount <= left { Ok(()) } else { Err(Insufficient(left.max(Money::ZERO))) }
    }
}

/// As customers and operators see it.
impl Serialize for Balance {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut shown = serializer.serialize_struct("Balance", 4)?;
        shown.serialize_field("deposited", &self.deposited)?;
        shown.serialize_field("charged", &self.charged)?;
        shown.serialize_field("reserved", &self.reserved)?;
        shown.serialize_field("remaining", &self.remaining())?;
        shown.end()
    }
}

#[cfg(test)]
mod tests;
