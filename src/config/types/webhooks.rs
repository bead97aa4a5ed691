//! Who is told of events.

use std::sync::Arc;

use crate::base::secret::Secret;

/// A quota or budget of a month has come to a threshold.
pub const QUOTA_WARNING: &str = "quota.warning";

/// An invoice or credit note has got its number.
pub const INVOICE_FINALIZED: &str = "invoice.finalized";

/// A final invoice is paid.
pub const INVOICE_PAID: &str = "invoice.paid";

/// A final invoice is not owed any more.
pub const INVOICE_VOIDED: &str = "invoice.voided";

/// Every event that an address can be told of.
pub const EVENTS: [&str; 4] = [QUOTA_WARNING, INVOICE_FINALIZED, INVOICE_PAID, INVOICE_VOIDED];

/// An address that is told of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// The whole address. It may carry a password or a token, so it is shown
    /// nowhere.
    pub url: Secret,
    /// The address as it may be shown: without user, password and query.
    pub shown: Arc<str>,
    /// The text of the key that signs.
    pub secret: Secret,
    /// The events that it is told of, each of [`EVENTS`]; `None` is all.
    pub events: Option<Vec<&'static str>>,
}

impl Webhook {
    /// Whether it is told of events called `kind`.
    pub fn wants(&self, kind: &str) -> bool {
        self.events.as_ref().is_none_or(|events| events.contains(&kind))
    }
}
