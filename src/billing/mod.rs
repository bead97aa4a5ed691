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
pub mod invoice;
mod life;
mod lines;
mod usage;

use std::collections::{BTreeMap, BTreeSet};
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
    Adjustment, AdjustmentKind, Adjustments, Assignment, Choice, History, Invoices, Status, Step,
};
use crate::webhooks::Webhooks;
use calendar::{Month, Span};
use draft::{Billed, LATE, Sources};
pub use error::Refused;
use invoice::{Content, Invoice, Line};
use usage::{ByAccount, Usage};

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

    /// Makes the drafts of `month` anew, of one account or of all that owe or used
    /// something. Of all, those are left out whose invoice is final.
    ///
    /// # Errors
    /// [`Refused`]: for a month that has not begun; of one account also if its
    /// invoice is final or it did not exist then. Of all, the first account's whose
    /// draft cannot be made; those of the others are made, and the log names each.
    pub fn generate(
        &self,
        config: &Config,
        month: Month,
        account: Option<&str>,
    ) -> Result<Vec<Invoice>, Refused> {
        let _turn = self.turn.lock();
        let span = self.begun(config, month)?;
        let usage = self.usage(config, month, span, account)?;
        let accounts: Vec<String> = match account {
            Some(account) => vec![account.to_owned()],
            None => {
                let used = usage.keys().map(ToString::to_string);
                let all: BTreeSet<String> =
                    self.parts.history.assigned()?.into_iter().chain(used).collect();
                all.into_iter().collect()
            }
        };
        let mut made = Vec::new();
        let mut failed = None;
        for id in accounts {
            match self.draft_of(config, (month, span), &id, usage.get(&*id), account.is_some()) {
                Ok(draft) => made.extend(draft),
                Err(refused) if account.is_some() => return Err(refused),
                // One account's trouble is not the others'.
                Err(refused) => {
                    tracing::error!(account = id, error = %refused, "no invoice can be drafted");
                    failed.get_or_insert(refused);
                }
            }
        }
        failed.map_or(Ok(made), Err)
    }

    /// Writes the account's draft of `month`, which is `span`; none where its invoice
    /// is final or there is nothing on it, unless it is `wanted` all the same.
    fn draft_of(
        &self,
        config: &Config,
        (month, span): (Month, Span),
        account: &str,
        used: Option<&BTreeMap<Month, Usage>>,
        wanted: bool,
    ) -> Result<Option<Invoice>, Refused> {
        let own = self.own(account)?;
        if let Some(number) = own.billed.closed(month) {
            return if wanted { Err(Refused::AlreadyFinal(number.clone())) } else { Ok(None) };
        }
        if wanted && used.is_none() {
            self.known(account, &own)?;
            if own.history.first().is_none_or(|first| first.at >= span.to) {
                return Err(Refused::NothingThen);
            }
        }
        self.draft(config, month, account, &own, used, wanted)
    }

    /// Writes the account's draft of `month`; none where there is nothing on it,
    /// unless there was one or it is `wanted` all the same.
    fn draft(
        &self,
        config: &Config,
        month: Month,
        account: &str,
        own: &Own,
        usage: Option<&BTreeMap<Month, Usage>>,
        wanted: bool,
    ) -> Result<Option<Invoice>, Refused> {
        let lines = self.lines(config, month, own, usage, &own.adjustments)?;
        let is_it =
            |it: &&Invoice| it.status == Status::Draft && it.content.period == month.to_string();
        let before = own.invoices.iter().find(is_it);
        if lines.is_empty() && before.is_none() && !wanted {
            return Ok(None);
        }
        let customer = self.parts.accounts.account(account)?.map(|account| account.name);
        let now = self.parts.clock.wall();
        let content = Content {
            id: before.map_or_else(|| self.new_id("inv"), |draft| draft.content.id.clone()),
            number: None,
            account: account.to_owned(),
            customer: customer.unwrap_or_else(|| account.to_owned()),
            period: month.to_string(),
            days: month.days(),
            currency: config.invoicing.currency.to_string(),
            corrects: None,
            seller: config.invoicing.seller.clone(),
            tax: config.invoicing.tax.clone(),
            created_at: now.to_string(),
            issued_at: None,
            issued_on: None,
            base: own.billed.base.clone(),
            total: draft::total(&lines),
            lines,
        };
        let document = content.document(Status::Draft).ok_or(Refused::TooLarge)?;
        self.parts.invoices.change(&content.id, &|kept| match kept {
            Some(kept) if kept.status != Status::Draft => Step::Keep,
            _ => Step::Put(document.clone(), None),
        })?;
        Invoice::try_from(&document).map(Some)
    }

    fn lines(
        &self,
        config: &Config,
        month: Month,
        own: &Own,
        usage: Option<&BTreeMap<Month, Usage>>,
        adjustments: &[Adjustment],
    ) -> Result<Vec<Line>, Refused> {
        let none = BTreeMap::new();
        let usage = usage.unwrap_or(&none);
        let sources = Sources { history: &own.history, usage, adjustments, billed: &own.billed };
        sources.lines(month, &config.timezone, &config.invoicing)
    }

    /// The usage that the invoices of `month` are about: the month's, and that of
    /// the few months before it which an invoice has closed.
    fn usage(
        &self,
        config: &Config,
        month: Month,
        span: Span,
        account: Option<&str>,
    ) -> Result<ByAccount, Refused> {
        let mut from = span.from;
        'earliest: for before in month.before(LATE) {
            for status in [Status::Final, Status::Paid] {
                let choice = Choice {
                    account: account.map(str::to_owned),
                    period: Some(before.to_string()),
                    status: Some(status),
                };
                if !self.parts.invoices.invoices(&choice, None, 1)?.is_empty() {
                    from = before.span(&config.timezone).map_or(from, |before| before.from);
                    break 'earliest;
                }
            }
        }
        let span = Span { from, ..span };
        Ok(usage::read(&self.parts.ledger, account, span, &config.timezone)?)
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
        let now = self.parts.clock.wall();
        let month = month.or_else(|| Month::of(now, &config.timezone));
        let month = month.ok_or(Refused::FutureMonth)?;
        let span = self.begun(config, month)?;
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
            let usage = self.usage(config, month, span, Some(&adjustment.account))?;
            let usage = usage.get(&*adjustment.account);
            let mut all = own.adjustments.clone();
            all.push(adjustment.clone());
            let total = draft::total(&self.lines(config, month, &own, usage, &all)?);
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
        let choice = Choice { account: Some(account.to_owned()), ..Choice::default() };
        let invoices = self.invoices(&choice, None, usize::MAX)?;
        Ok(Own {
            history: self.parts.history.assignments(account)?,
            adjustments: self.adjustments(Some(account), None, usize::MAX)?,
            billed: Billed::of(invoices.iter()),
            invoices,
        })
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
