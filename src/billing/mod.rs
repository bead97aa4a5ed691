//! Invoices: what the ledger, the plans and the adjustments of a month come to.
//!
//! Nothing here decides a price: records carry theirs, and a plan's fee is noted
//! with each assignment. Invariants: a line is rounded once, and the total is the
//! sum of the lines; numbers are given out in one transaction with the status, so
//! they have no gaps; a numbered invoice never changes; what one invoice has
//! billed no other bills again.

mod announce;
mod balance;
pub mod calendar;
mod draft;
mod error;
pub mod export;
mod fees;
mod generate;
pub mod invoice;
mod life;
mod lines;
mod months;
mod reading;
mod usage;

use std::sync::Arc;

use parking_lot::Mutex;

use crate::admission::rate::Rates;
use crate::base::clock::Clock;
use crate::base::id::RecordIds;
use crate::base::money::Money;
use crate::config::Config;
use crate::ledger::Ledger;
use crate::store::accounts::Accounts;
use crate::store::billing::{
    Adjustment, AdjustmentKind, Adjustments, Assignment, Choice, History, Invoices,
};
use crate::webhooks::Webhooks;
use calendar::{Month, Span};
use draft::Billed;
pub use error::Refused;
use invoice::Invoice;

/// The largest adjustment: 10¹⁵ of the currency. An invoice with a thousand of them
/// and tax is still exact.
const LARGEST: Money = Money::from_picos(10_i128.pow(27));

/// What [`Biller::new`] joins.
pub struct Parts {
    /// The usage records.
    pub ledger: Arc<Ledger>,
    /// The accounts.
    pub accounts: Arc<dyn Accounts>,
    /// Their plans over time.
    pub history: Arc<dyn History>,
    /// Their adjustments.
    pub adjustments: Arc<dyn Adjustments>,
    /// Their invoices.
    pub invoices: Arc<dyn Invoices>,
    /// Their prepaid balances.
    pub rates: Arc<Rates>,
    /// Who is told what becomes of them.
    pub webhooks: Arc<Webhooks>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// Makes invoices and changes what they are. Everything blocks.
pub struct Biller {
    parts: Parts,
    ids: RecordIds,
    /// Held while something changes: changes come one after the other.
    turn: Mutex<()>,
}

/// An adjustment to be made.
#[derive(Clone, Debug)]
pub struct NewAdjustment {
    /// The account.
    pub account: String,
    /// What it changes.
    pub kind: AdjustmentKind,
    /// See [`Adjustment::amount`].
    pub amount: Money,
    /// What it is for.
    pub description: String,
    /// The month that it belongs to; the present one where there is none. Nothing
    /// of the balance belongs to another.
    pub month: Option<Month>,
}

/// What is known of one account.
struct Own {
    history: Vec<Assignment>,
    adjustments: Vec<Adjustment>,
    invoices: Vec<Invoice>,
    billed: Billed,
}

impl Biller {
    /// A biller of these parts. It tells what came to be before it and was not
    /// told, because the process ended.
    pub fn new(parts: Parts) -> Self {
        let biller = Self { parts, ids: RecordIds::default(), turn: Mutex::new(()) };
        biller.tell();
        biller
    }

    /// Adds a credit or debit to a month whose invoice is not final, or pays into
    /// or out of the prepaid balance.
    ///
    /// # Errors
    /// [`Refused`]: also where the month's invoice, as it would be now, would then
    /// be below zero, or where the balance has less than is to be paid back.
    pub fn adjust(&self, config: &Config, wanted: NewAdjustment) -> Result<Adjustment, Refused> {
        let _turn = self.turn.lock();
        let NewAdjustment { account, kind, amount, description, month } = wanted;
        let own = self.own(&account)?;
        self.known(&account, &own)?;
        let currency = config.invoicing.currency;
        if !currency.holds(amount) {
            return Err(Refused::TooFine(currency.code(), currency.decimals()));
        }
        if amount > LARGEST || amount < -LARGEST {
            return Err(Refused::TooMuch(LARGEST));
        }
        let now = self.parts.clock.wall();
        let month = month.or_else(|| Month::of(now, &config.timezone));
        let month = month.ok_or(Refused::FutureMonth)?;
        self.begun(config, month)?;
        let id = self.new_id("adj");
        let (month_text, created_at) = (month.to_string(), now);
        let adjustment =
            Adjustment { id, account, month: month_text, amount, description, created_at, kind };
        if kind != AdjustmentKind::Invoice {
            return self.transfer(adjustment);
        }
        if let Some(number) = own.billed.closed(month) {
            return Err(Refused::AlreadyFinal(number.clone()));
        }
        if amount < Money::ZERO {
            // What the ledger has lost is owed by nobody, so it allows for no credit.
            let (reading, _) = self.read(config, month, &adjustment.account, &own)?;
            let mut all = own.adjustments.clone();
            all.push(adjustment.clone());
            let total = draft::total(&self.lines(config, &own, &reading, &all, true)?);
            if total < Money::ZERO {
                return Err(Refused::BelowZero(total));
            }
        }
        self.parts.adjustments.add_adjustment(&adjustment)?;
        Ok(adjustment)
    }

    /// At most `limit` adjustments in the order of their ids, those after `after`;
    /// of one account, if it is given.
    ///
    /// # Errors
    /// [`Refused::Store`].
    pub fn adjustments(
        &self,
        account: Option<&str>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Adjustment>, Refused> {
        Ok(self.parts.adjustments.adjustments(account, after, limit)?)
    }

    /// The invoice with this id.
    ///
    /// # Errors
    /// [`Refused::NoInvoice`], [`Refused::Damaged`], [`Refused::Store`].
    pub fn invoice(&self, id: &str) -> Result<Invoice, Refused> {
        let document = self.parts.invoices.invoice(id)?.ok_or(Refused::NoInvoice)?;
        Invoice::try_from(&document)
    }

    /// At most `limit` invoices of a choice in the order of their ids, those after
    /// `after`.
    ///
    /// # Errors
    /// [`Refused::Damaged`], [`Refused::Store`].
    pub fn invoices(
        &self,
        choice: &Choice,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Invoice>, Refused> {
        let found = self.parts.invoices.invoices(choice, after, limit)?;
        found.iter().map(Invoice::try_from).collect()
    }

    fn own(&self, account: &str) -> Result<Own, Refused> {
        let invoices = self.of_account(account)?;
        Ok(Own {
            history: self.parts.history.assignments(account)?,
            adjustments: self.adjustments(Some(account), None, usize::MAX)?,
            billed: Billed::of(invoices.iter()),
            invoices,
        })
    }

    fn of_account(&self, account: &str) -> Result<Vec<Invoice>, Refused> {
        let choice = Choice { account: Some(account.to_owned()), ..Choice::default() };
        self.invoices(&choice, None, usize::MAX)
    }

    fn known(&self, account: &str, own: &Own) -> Result<(), Refused> {
        if own.history.is_empty() && self.parts.accounts.account(account)?.is_none() {
            return Err(Refused::NoAccount);
        }
        Ok(())
    }

    /// The span of a month that has begun.
    fn begun(&self, config: &Config, month: Month) -> Result<Span, Refused> {
        let span = month.span(&config.timezone).ok_or(Refused::NothingThen)?;
        if span.from > self.parts.clock.wall() {
            return Err(Refused::FutureMonth);
        }
        Ok(span)
    }

    /// A new id; a later one is larger.
    fn new_id(&self, kind: &str) -> String {
        format!("{kind}_{}", self.ids.next(self.parts.clock.wall()).0.simple())
    }
}

#[cfg(test)]
mod tests;
