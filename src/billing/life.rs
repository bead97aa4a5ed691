//! What becomes of an invoice: draft → final → paid or void; corrected by a
//! credit note, never changed.

use super::calendar::{self, Month};
use super::error::Refused;
use super::invoice::{Content, Correction, Invoice};
use super::lines::Lines;
use super::{Biller, Own, draft};
use crate::base::money::Money;
use crate::config::Config;
use crate::store::billing::{Document, Status, Step};

impl Biller {
    /// Makes a draft final, as it is: it gets the next number of the year, in one
    /// step. Once more is no error, and changes nothing. Where `seen` is given, it is
    /// the hash of the draft that is meant.
    ///
    /// # Errors
    /// [`Refused`]; nothing is changed then.
    pub fn finalize(
        &self,
        config: &Config,
        id: &str,
        seen: Option<&str>,
    ) -> Result<Invoice, Refused> {
        let _turn = self.turn.lock();
        let invoice = self.invoice(id)?;
        let is = invoice.status;
        if !matches!(is, Status::Draft | Status::Final) {
            return Err(Refused::Status { is, must: "a draft" });
        }
        if seen.is_some() && invoice.draft_hash().as_deref() != seen {
            return Err(Refused::NotAsSeen);
        }
        if is == Status::Final {
            self.tell();
            return Ok(invoice);
        }
        let content = invoice.content;
        let own = self.own(&content.account)?;
        let period: Month = content.period.parse().map_err(|_| Refused::NothingThen)?;
        if let Some(number) = own.billed.closed(period) {
            return Err(Refused::AlreadyFinal(number.clone()));
        }
        if own.billed.base != content.base {
            return Err(Refused::OutOfDate);
        }
        if content.total < Money::ZERO {
            return Err(Refused::BelowZero(content.total));
        }
        self.issue(config, content)
    }

    /// Says that a final invoice is paid. Once more is no error, and changes
    /// nothing.
    ///
    /// # Errors
    /// [`Refused`]; nothing is changed then.
    pub fn pay(&self, id: &str) -> Result<Invoice, Refused> {
        let _turn = self.turn.lock();
        let invoice = self.invoice(id)?;
        match invoice.status {
            Status::Paid => {
                self.tell();
                Ok(invoice)
            }
            was @ Status::Final => self.mark(id, was, Status::Paid),
            is => Err(Refused::Status { is, must: "final" }),
        }
    }

    /// Makes a draft or a final invoice void: it is not owed, keeps the number
    /// that it has, and its month can be invoiced anew.
    ///
    /// # Errors
    /// [`Refused`]; nothing is changed then.
    pub fn void(&self, id: &str) -> Result<Invoice, Refused> {
        let _turn = self.turn.lock();
        let invoice = self.invoice(id)?;
        match invoice.status {
            Status::Draft | Status::Final => {}
            is => {
                self.tell();
                return Err(Refused::Status { is, must: "a draft or final" });
            }
        }
        let own = self.own(&invoice.content.account)?;
        if own.notes(id).next().is_some() {
            return Err(Refused::HasCreditNotes);
        }
        self.mark(id, invoice.status, Status::Void)
    }

    /// Gives back a part of a final or paid invoice: an invoice of its own, final
    /// at once, with lines below zero. The amounts, above zero, contain the tax.
    ///
    /// # Errors
    /// [`Refused`]; nothing is changed then.
    pub fn credit_note(
        &self,
        config: &Config,
        id: &str,
        amounts: &[(String, Money)],
        reason: &str,
    ) -> Result<Invoice, Refused> {
        let _turn = self.turn.lock();
        let Invoice { status, content: invoice, .. } = self.invoice(id)?;
        let number = match (status, &invoice.number, &invoice.corrects) {
            (Status::Final | Status::Paid, Some(number), None) => number.clone(),
            (is, _, None) => return Err(Refused::Status { is, must: "final or paid" }),
            (is, _, Some(_)) => {
                return Err(Refused::Status { is, must: "an invoice and no credit note" });
            }
        };
        let currency = invoice.currency();
        if amounts.iter().any(|(_, amount)| !currency.holds(*amount)) {
            return Err(Refused::TooFine(currency.code(), currency.decimals()));
        }
        let given: Money = self.own(&invoice.account)?.notes(id).map(|it| it.content.total).sum();
        let left = invoice.total + given;
        if amounts.iter().map(|(_, amount)| *amount).sum::<Money>() > left {
            return Err(Refused::MoreThanInvoiced(left));
        }
        let period: Month = invoice.period.parse().map_err(|_| Refused::NothingThen)?;
        let mut lines = Lines { currency, zone: &config.timezone, period, lines: Vec::new() };
        lines.credits(amounts, invoice.tax.as_ref())?;
        let content = Content {
            id: self.new_id("inv"),
            number: None,
            corrects: Some(Correction { id: invoice.id, number, reason: reason.to_owned() }),
            created_at: self.parts.clock.wall().to_string(),
            total: draft::total(&lines.lines),
            lines: lines.lines,
            ..invoice
        };
        self.issue(config, content)
    }

    /// Sends an invoice to Stripe.
    ///
    /// # Errors
    /// [`Refused::NoInvoice`], [`Refused::NoStripe`].
    pub fn push(&self, id: &str) -> Result<Invoice, Refused> {
        self.invoice(id)?;
        Err(Refused::NoStripe)
    }

    /// Numbers what is not final yet and makes it so.
    fn issue(&self, config: &Config, content: Content) -> Result<Invoice, Refused> {
        let (now, zone) = (self.parts.clock.wall(), &config.timezone);
        let id = content.id.clone();
        let content = Content {
            issued_at: Some(now.to_string()),
            issued_on: calendar::day(now, zone),
            ..content
        };
        let (year, event) = (calendar::year(now, zone), self.ids.next(now));
        let document = self.parts.invoices.change(&id, &|kept| match kept {
            Some(kept) if kept.status != Status::Draft => Step::Keep,
            _ => {
                let content = content.clone();
                Step::Number(
                    year,
                    event,
                    Box::new(move |number| {
                        let number = Some(number.to_owned());
                        Content { number, ..content.clone() }.document(Status::Final)
                    }),
                )
            }
        })?;
        self.parts.invoices.flush()?;
        let invoice = Invoice::try_from(&document.ok_or(Refused::NoInvoice)?)?;
        tracing::info!(id, number = invoice.content.number, "an invoice is final");
        self.tell();
        Ok(invoice)
    }

    fn mark(&self, id: &str, was: Status, status: Status) -> Result<Invoice, Refused> {
        // Of a draft nobody was told, so nobody is told that it is gone.
        let event = self.ids.next(self.parts.clock.wall());
        let event = Some(event).filter(|_| was != Status::Draft);
        let document = self.parts.invoices.change(id, &|kept| match kept {
            None => Step::Keep,
            Some(kept) => Step::Put(Document { status, ..kept }, event),
        })?;
        self.parts.invoices.flush()?;
        let invoice = Invoice::try_from(&document.ok_or(Refused::NoInvoice)?)?;
        self.tell();
        Ok(invoice)
    }
}

impl Own {
    /// The credit notes for the invoice with this id that count.
    fn notes(&self, id: &str) -> impl Iterator<Item = &Invoice> {
        self.invoices.iter().filter(move |it| {
            let counts = matches!(it.status, Status::Final | Status::Paid);
            counts && it.content.corrects.as_ref().is_some_and(|corrected| corrected.id == id)
        })
    }
}
