//! What the columns of each list are: fields of what the admin API gives.

/// What a list is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Columns {
    /// Usage records.
    Records,
    /// Sums of them.
    Sums,
    /// Accounts.
    Accounts,
    /// Keys.
    Keys,
    /// An account's own providers.
    OwnProviders,
    /// An account's own models.
    OwnModels,
    /// Invoices.
    Invoices,
    /// The lines of an invoice.
    InvoiceLines,
    /// What the cache spares.
    Cache,
}

/// Every field of a usage record.
const RECORD: &[&str] = &[
    "id",
    "time",
    "request_id",
    "account",
    "key_id",
    "plan",
    "service",
    "endpoint",
    "path",
    "model_asked",
    "model_used",
    "provider",
    "tier",
    "status",
    "outcome",
    "cache",
    "similarity",
    "stream",
    "attempts",
    "quantity",
    "unit_price",
    "list_price",
    "price",
    "cost",
    "unpriced",
    "tokens.input",
    "tokens.cached_input",
    "tokens.output",
    "tokens.reasoning",
    "tokens.cache_write",
    "estimated",
    "bytes_in",
    "bytes_out",
    "duration_ms",
    "first_byte_ms",
    "text_hash",
    "cache_key",
    "complexity",
    "metadata",
    "rates.input",
    "rates.cached_input",
    "rates.cache_write",
    "rates.output",
    "prepaid",
    "saved.cache",
    "saved.coalesce",
    "saved.batch",
    "session",
    "void",
];
/// The fields of a usage record that fit on a screen.
const RECORD_SHORT: &[&str] = &[
    "time",
    "account",
    "endpoint",
    "model_used",
    "provider",
    "status",
    "outcome",
    "cache",
    "tokens.input",
    "tokens.output",
    "price",
    "cost",
    "duration_ms",
];
/// The fields of a sum.
const SUM: &[&str] = &[
    "by",
    "requests",
    "tokens.input",
    "tokens.cached_input",
    "tokens.output",
    "tokens.reasoning",
    "tokens.cache_write",
    "revenue",
    "cost",
    "margin",
];
/// The fields of an account.
const ACCOUNT: &[&str] =
    &["id", "name", "plan", "status", "external_id", "overrides", "created_at"];
/// The fields of a key.
const KEY: &[&str] =
    &["id", "account", "name", "prefix", "created_at", "revoked_at", "expires_at", "budget"];

/// The fields of an account's own provider.
const OWN_PROVIDER: &[&str] = &["name", "dialect", "base_url", "api_key", "created_at"];
/// The fields of an account's own model.
const OWN_MODEL: &[&str] = &["name", "provider", "model", "created_at"];

/// The fields of an invoice.
const INVOICE: &[&str] = &["id", "number", "account", "period", "status", "currency", "total"];
/// The fields of a line of an invoice.
const INVOICE_LINE: &[&str] =
    &["service", "endpoint", "description", "quantity", "unit_price", "total"];

/// The fields of what the cache spares.
const CACHE: &[&str] = &[
    "class",
    "lookups",
    "hits",
    "stale",
    "coalesced",
    "batched",
    "hit_ratio",
    "hit_ratio_target",
    "saved.cache",
    "saved.coalesce",
    "saved.batch",
    "bytes.memory",
    "bytes.disk",
];

impl Columns {
    /// All of them, as CSV has them.
    pub(super) const fn all(self) -> &'static [&'static str] {
        match self {
            Self::Records => RECORD,
            Self::Sums => SUM,
            Self::Accounts => ACCOUNT,
            Self::Keys => KEY,
            Self::OwnProviders => OWN_PROVIDER,
            Self::OwnModels => OWN_MODEL,
            Self::Invoices => INVOICE,
            Self::InvoiceLines => INVOICE_LINE,
            Self::Cache => CACHE,
        }
    }

    /// Those that fit on a screen.
    pub(super) const fn on_a_screen(self) -> &'static [&'static str] {
        match self {
            Self::Records => RECORD_SHORT,
            _ => self.all(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::admin::fixture;
    use crate::base::clock::Timestamp;
    use crate::base::money::Money;
    use crate::ledger::record::{Savings, TokenRates, Tokens, UsageRecord};

    /// Whatever a record can have is in its CSV.
    #[test]
    fn a_record_has_a_column_for_each_field() {
        let record = fixture::record(Timestamp(0), "a", "chat");
        let one = Money::from_picos(1);
        let record = UsageRecord {
            tokens: Tokens { cache_write: 1, ..record.tokens },
            rates: Some(TokenRates {
                input: one,
                cached_input: one,
                output: one,
                cache_write: Some(one),
            }),
            prepaid: true,
            saved: Some(Savings { cache: one, coalesce: one, batch: one }),
            session: Some(record.id),
            void: true,
            ..record
        };
        let shown = serde_json::to_value(&record).unwrap();
        let mut fields = BTreeSet::new();
        for (name, value) in shown.as_object().unwrap() {
            match value.as_object() {
                Some(inner) => fields.extend(inner.keys().map(|inner| format!("{name}.{inner}"))),
                None => drop(fields.insert(name.clone())),
            }
        }
        let columns: BTreeSet<String> = RECORD.iter().map(ToString::to_string).collect();
        assert_eq!(fields, columns);
        assert!(RECORD_SHORT.iter().all(|name| RECORD.contains(name)));
    }
}
