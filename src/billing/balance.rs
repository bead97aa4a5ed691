//! What is paid into and out of prepaid balances.
//!
//! What is paid in counts once it is kept; what is paid back is taken before, so
//! that no request is paid from it meanwhile. Where the store fails nobody knows
//! what it has kept: the next start reads it, and until then the balance is the
//! smaller of both.

use std::sync::Arc;

use super::{Biller, Refused};
use crate::admission::balance::{Balance, Insufficient};
use crate::store::billing::{Adjustment, AdjustmentKind};

impl Biller {
    /// Keeps a payment into or out of the balance, which is in force when this
    /// returns. The caller holds the turn.
    ///
    /// # Errors
    /// [`Refused::MoreThanLeft`], [`Refused::Store`].
    pub(super) fn transfer(&self, payment: Adjustment) -> Result<Adjustment, Refused> {
        let account = self.parts.rates.account(&Arc::from(&*payment.account));
        if payment.kind == AdjustmentKind::Withdrawal {
            let left = account.withdraw(payment.amount);
            left.map_err(|Insufficient(left)| Refused::MoreThanLeft(left))?;
        }
        self.parts.adjustments.add_adjustment(&payment)?;
        if payment.kind == AdjustmentKind::Deposit {
            account.deposit(payment.amount);
        }
        Ok(payment)
    }

    /// Where the prepaid balance of `account` stands. The default is that of one
    /// that never had any.
    pub fn balance(&self, account: &str) -> Balance {
        self.parts.rates.find(account).map_or_else(Balance::default, |account| account.balance())
    }
}
