//! Tells who wants to know what became of an invoice.
//!
//! What is to be told is kept with the change itself, in one transaction, under
//! the id that its event will have. So it is told whenever the process ended in
//! between, at the next start or as soon as anybody asks for such a change again;
//! and a mark keeps it from being told twice.

use serde_json::Value;

use super::Biller;
use super::error::Refused;
use super::export::View;
use super::invoice::Invoice;
use crate::config::{INVOICE_FINALIZED, INVOICE_PAID, INVOICE_VOIDED};
use crate::store::billing::{Change, Status};
use crate::store::outbox::Once;
use crate::webhooks::Event;

impl Biller {
    /// Tells what was not told yet. The changes are made, so what goes wrong here
    /// must not refuse them.
    pub(super) fn tell(&self) {
        let untold = match self.parts.invoices.untold() {
            Ok(untold) => untold,
            Err(error) => return tracing::error!(%error, "what became of invoices cannot be read"),
        };
        for change in untold {
            if let Err(error) = self.tell_of(&change) {
                let (id, status) = (&change.invoice, change.status);
                tracing::error!(%error, %status, id, "what became of an invoice cannot be told");
            }
        }
    }

    fn tell_of(&self, change: &Change) -> Result<(), Refused> {
        let (event, time) = (change.event, change.event.time());
        let kind = match change.status {
            Status::Draft => None,
            Status::Final => Some(INVOICE_FINALIZED),
            Status::Paid => Some(INVOICE_PAID),
            Status::Void => Some(INVOICE_VOIDED),
        };
        if let Some(kind) = kind {
            // As it was then, whatever it is now; nothing else of it changes.
            let invoice = Invoice { status: change.status, ..self.invoice(&change.invoice)? };
            let data = serde_json::to_value(View::from(&invoice)).unwrap_or(Value::Null);
            let period = time.to_string().chars().take("2026-11".len()).collect();
            let once = Once { period, name: format!("{kind}\n{}", change.invoice) };
            self.parts.webhooks.post(&Event { kind, id: event, time, data }, Some(&once))?;
        }
        Ok(self.parts.invoices.told(event)?)
    }
}
