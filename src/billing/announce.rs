//! Tells who wants to know what became of an invoice.

use serde_json::Value;

use super::calendar::Month;
use super::export::View;
use super::invoice::Invoice;
use super::{Biller, Status};
use crate::base::clock::Timestamp;
use crate::config::{Config, INVOICE_FINALIZED, INVOICE_PAID, INVOICE_VOIDED};
use crate::store::outbox::Once;

impl Biller {
    /// Tells that an invoice or credit note is final. Once more in the same month
    /// tells it to nobody, unless it could not be told before.
    pub(super) fn finalized(&self, config: &Config, invoice: &Invoice) {
        let content = &invoice.content;
        tracing::info!(id = content.id, number = content.number, "an invoice is final");
        let issued = content.issued_at.as_deref().and_then(|at| at.parse::<jiff::Timestamp>().ok());
        let issued = issued.and_then(|at| u64::try_from(at.as_microsecond()).ok());
        let month = |at: Timestamp| Month::of(at, &config.timezone);
        let Some(issued) = issued.and_then(|issued| month(Timestamp(issued))) else { return };
        // Later the mark that it was told may be forgotten.
        if month(self.parts.clock.wall()) == Some(issued) {
            let name = format!("{INVOICE_FINALIZED}\n{}", content.id);
            let once = Once { period: issued.to_string(), name };
            self.announce(INVOICE_FINALIZED, invoice, Some(&once));
        }
    }

    /// Tells that a final invoice has become paid or void. Of a draft nobody was
    /// told, so nobody is told that it is gone.
    pub(super) fn marked(&self, before: Status, invoice: &Invoice) {
        match (before, invoice.status) {
            (Status::Final, Status::Paid) => self.announce(INVOICE_PAID, invoice, None),
            (Status::Final, Status::Void) => self.announce(INVOICE_VOIDED, invoice, None),
            _ => {}
        }
    }

    /// The change is made, so what goes wrong here must not refuse it.
    fn announce(&self, kind: &'static str, invoice: &Invoice, once: Option<&Once>) {
        let data = serde_json::to_value(View::from(invoice)).unwrap_or(Value::Null);
        let event = self.parts.webhooks.event(kind, data);
        if let Err(error) = self.parts.webhooks.post(&event, once) {
            tracing::error!(%error, kind, id = invoice.content.id, "an event cannot be kept");
        }
    }
}
