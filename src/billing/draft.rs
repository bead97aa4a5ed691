//! What a month's invoice of an account says: what it owes by the ledger, its
//! plans and its adjustments, less what other invoices have billed already.
//!
//! An invoice may be final before its month is over, and a request that began in
//! a month may end after it. What a final invoice left out stands on the next
//! month's, so that everything is billed once.

use std::collections::{BTreeMap, BTreeSet};

use jiff::tz::TimeZone;

use super::calendar::{Month, Span};
use super::error::Refused;
use super::fees::{Fees, PlanFee};
use super::invoice::{Basis, Invoice, Line};
use super::lines::Lines;
use super::months::Months;
use super::reading::Reading;
use super::usage::{Amount, Kind, Usage};
use crate::base::money::Money;
use crate::config::Invoicing;
use crate::store::billing::{Adjustment, AdjustmentKind, Assignment, Status};

/// What the account's invoices that count have billed.
#[derive(Default)]
pub(super) struct Billed {
    months: BTreeMap<String, (Usage, Fees)>,
    adjustments: BTreeSet<String>,
    /// The months that have an invoice of their own.
    closed: Months,
    /// The ids of all that counts, hashed.
    pub(super) base: String,
}

impl Billed {
    /// What `invoices` of one account have billed. Drafts, void invoices and
    /// credit notes have billed nothing.
    pub(super) fn of<'a>(invoices: impl Iterator<Item = &'a Invoice>) -> Self {
        let mut billed = Self::default();
        let mut ids = BTreeSet::new();
        for invoice in invoices {
            let content = &invoice.content;
            let counts = matches!(invoice.status, Status::Final | Status::Paid);
            if !counts || content.corrects.is_some() {
                continue;
            }
            ids.insert(&*content.id);
            let number = content.number.clone().unwrap_or_default();
            if let Ok(month) = content.period.parse() {
                billed.closed.close(month, number, content.span);
            }
            content.lines.iter().for_each(|line| billed.add(line));
        }
        let ids: Vec<&str> = ids.into_iter().collect();
        billed.base = blake3::hash(ids.join(" ").as_bytes()).to_hex().to_string();
        billed
    }

    fn add(&mut self, line: &Line) {
        match &line.basis {
            Basis::Usage { month, model, unit, sum_of, exact } => {
                let kind = Kind {
                    service: line.service.as_str().into(),
                    endpoint: line.endpoint.as_str().into(),
                    model: model.as_deref().map(Into::into),
                    unit: *unit,
                };
                let amount = Amount { quantity: sum_of.unwrap_or(line.quantity), exact: *exact };
                let unit_price = sum_of.is_none().then_some(line.unit_price);
                let usage = &mut self.months.entry(month.clone()).or_default().0;
                usage.put(kind, unit_price, amount);
            }
            Basis::Fee { month, monthly_price, micros } => {
                let plan = line.endpoint.clone();
                let fee = PlanFee { plan, monthly_price: *monthly_price };
                self.months.entry(month.clone()).or_default().1.put(fee, *micros, None);
            }
            Basis::Adjustment(id) => drop(self.adjustments.insert(id.clone())),
            Basis::Tax | Basis::Credit => {}
        }
    }

    /// The number of the month's own invoice, if that is final.
    pub(super) fn closed(&self, month: Month) -> Option<&String> {
        self.closed.number(month)
    }

    /// The months that an invoice of `month` is about, and when each begins and
    /// ends: itself, the last one, and the few before it that are closed.
    ///
    /// # Errors
    /// [`Refused::NothingThen`].
    pub(super) fn about(
        &self,
        month: Month,
        zone: &TimeZone,
    ) -> Result<Vec<(Month, Span)>, Refused> {
        let closed = |month: &Month| self.closed(*month).is_some();
        let earlier = month.before(LATE).into_iter().filter(closed);
        let with_span = |month| Some((month, self.closed.span(month, zone)?));
        let months = earlier.chain([month]).map(with_span).collect::<Option<_>>();
        months.ok_or(Refused::NothingThen)
    }
}

/// How many months back usage and fees are looked for that came after their own
/// month's invoice.
pub(super) const LATE: usize = 3;

/// What an account's invoice is made from.
pub(super) struct Sources<'a> {
    /// The account's plans.
    pub(super) history: &'a [Assignment],
    /// Its usage in the months that the invoice is about; the last one is its own.
    pub(super) reading: &'a Reading,
    /// Its adjustments.
    pub(super) adjustments: &'a [Adjustment],
    /// What was billed already.
    pub(super) billed: &'a Billed,
    /// Whether what the ledger has lost is of no matter.
    pub(super) despite_damage: bool,
}

impl Sources<'_> {
    /// The lines of the invoice, tax included.
    ///
    /// # Errors
    /// [`Refused::TooLarge`], [`Refused::NothingThen`], [`Refused::UsageGone`].
    pub(super) fn lines(
        &self,
        zone: &TimeZone,
        invoicing: &Invoicing,
    ) -> Result<Vec<Line>, Refused> {
        let currency = invoicing.currency;
        let months = self.reading.months();
        let (month, _) = *months.last().ok_or(Refused::NothingThen)?;
        let mut lines = Lines { currency, zone, period: month, lines: Vec::new() };
        for (month, span) in months {
            let fees = Fees::of(self.history, *span);
            lines.fees((*month, *span), &fees.less(&self.billed_in(*month).1))?;
        }
        for (month, _) in months {
            let used = self.reading.usage().get(month).cloned().unwrap_or_default();
            let owed = used.less(&self.billed_in(*month).0);
            let (owed, lost) = owed.without_loss(&self.reading.void(*month));
            if lost && !self.despite_damage {
                return Err(Refused::UsageGone(month.to_string()));
            }
            lines.usage(*month, &owed)?;
        }
        let due = |adjustment: &&Adjustment| {
            if adjustment.kind != AdjustmentKind::Invoice {
                return false;
            }
            let own: Option<Month> = adjustment.month.parse().ok();
            let earlier = own.filter(|own| *own < month && self.billed.closed(*own).is_some());
            (own == Some(month) || earlier.is_some())
                && !self.billed.adjustments.contains(&adjustment.id)
        };
        for adjustment in self.adjustments.iter().filter(due) {
            lines.adjustment(adjustment)?;
        }
        if let Some(tax) = invoicing.tax.as_ref().filter(|_| !lines.lines.is_empty()) {
            lines.tax(tax)?;
        }
        Ok(lines.lines)
    }

    fn billed_in(&self, month: Month) -> (Usage, Fees) {
        self.billed.months.get(&month.to_string()).cloned().unwrap_or_default()
    }
}

/// The sum of `lines`.
pub(super) fn total(lines: &[Line]) -> Money {
    lines.iter().map(|line| line.total).sum()
}
