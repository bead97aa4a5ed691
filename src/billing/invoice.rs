//! An invoice, and the form in which it is kept.
//!
//! Its content is JSON with its fields in this order and no white space. These
//! very bytes are hashed and kept; what cannot change is in them, and the status,
//! which can, stands beside them.

use serde::{Deserialize, Serialize};

use super::calendar::Span;
use super::error::Refused;
use crate::base::currency::Currency;
use crate::base::money::Money;
use crate::config::{Seller, Tax};
use crate::store::billing::{Document, Status};

/// What an invoice says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// Its id.
    pub id: String,
    /// Its number, once it is final.
    pub number: Option<String>,
    /// The account's id.
    pub account: String,
    /// The account's name when the invoice was made.
    pub customer: String,
    /// Its month, as `2026-11`.
    pub period: String,
    /// The period's first day and last, in the billing time zone.
    pub days: [String; 2],
    /// What of time it is about, whatever becomes of the billing time zone; none
    /// where it was made before invoices said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span: Option<Span>,
    /// The currency's code.
    pub currency: String,
    /// What it corrects, if it is a credit note.
    pub corrects: Option<Correction>,
    /// Who sells.
    pub seller: Option<Seller>,
    /// The tax that applies.
    pub tax: Option<Tax>,
    /// When it was made, RFC 3339.
    pub created_at: String,
    /// When it became final, RFC 3339.
    pub issued_at: Option<String>,
    /// Its date, in the billing time zone.
    pub issued_on: Option<String>,
    /// What the account's other invoices were when it was made: a draft that is
    /// out of step with them cannot become final.
    pub base: String,
    /// The lines.
    pub lines: Vec<Line>,
    /// Their sum.
    pub total: Money,
}

/// What a credit note corrects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Correction {
    /// The id of the invoice.
    pub id: String,
    /// Its number.
    pub number: String,
    /// Why.
    pub reason: String,
}

/// One line. Its total is rounded to the currency's decimals, once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// `ai_api`, `plan`, `adjustment` or `tax`.
    pub service: String,
    /// The class, the plan, what kind of adjustment, or the tax.
    pub endpoint: String,
    /// For people.
    pub description: String,
    /// How many.
    pub quantity: i64,
    /// The price of one.
    pub unit_price: Money,
    /// What is owed.
    pub total: Money,
    /// What it was made from.
    pub basis: Basis,
}

/// What a line was made from, exactly: what is billed once is not billed again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// Usage of a month.
    Usage {
        /// The month.
        month: String,
        /// The model, where its tokens are what is counted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        model: Option<String>,
        /// What is counted.
        unit: Unit,
        /// How many, where the line itself is a sum of many prices.
        sum_of: Option<i64>,
        /// What they come to.
        exact: Money,
    },
    /// A plan's fee in a month.
    Fee {
        /// The month.
        month: String,
        /// The fee for a whole month.
        monthly_price: Money,
        /// Microseconds that are billed.
        micros: i64,
    },
    /// An adjustment, by its id.
    Adjustment(String),
    /// Tax on the other lines.
    Tax,
    /// A part of a credit note.
    Credit,
}

/// What is counted, in words that follow the quantity.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    strum::Display,
    strum::IntoStaticStr,
)]
pub enum Unit {
    /// Requests.
    #[serde(rename = "requests")]
    #[strum(serialize = "requests")]
    Requests,
    /// Prompt tokens that the provider neither had cached nor put into its cache.
    #[serde(rename = "input tokens")]
    #[strum(serialize = "input tokens")]
    Input,
    /// Prompt tokens that the provider had cached.
    #[serde(rename = "cached input tokens")]
    #[strum(serialize = "cached input tokens")]
    CachedInput,
    /// Prompt tokens that the provider put into its cache.
    #[serde(rename = "cache write tokens")]
    #[strum(serialize = "cache write tokens")]
    CacheWrite,
    /// Answer tokens, reasoning included.
    #[serde(rename = "output tokens")]
    #[strum(serialize = "output tokens")]
    Output,
}

/// An invoice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invoice {
    /// Where it is in its life.
    pub status: Status,
    /// BLAKE3 of its content as it is kept, in hexadecimal.
    pub hash: String,
    /// What it says.
    pub content: Content,
}

impl Content {
    /// The currency that it is in.
    pub fn currency(&self) -> Currency {
        Currency::of(&self.currency).unwrap_or(Currency::USD)
    }

    /// The invoice as it is kept with this status. There is no content for which
    /// there is none.
    pub(super) fn document(&self, status: Status) -> Option<Document> {
        let content = serde_json::to_vec(self).ok()?;
        Some(Document {
            id: self.id.clone(),
            account: self.account.clone(),
            period: self.period.clone(),
            status,
            corrects: self.corrects.as_ref().map(|corrected| corrected.id.clone()),
            hash: *blake3::hash(&content).as_bytes(),
            content,
        })
    }
}

impl Invoice {
    /// The hash that it has, or had, as a draft.
    pub(super) fn draft_hash(&self) -> Option<String> {
        let content = self.content.clone();
        let draft = Content { number: None, issued_at: None, issued_on: None, ..content };
        let document = draft.document(Status::Draft)?;
        Some(blake3::Hash::from_bytes(document.hash).to_hex().to_string())
    }
}

impl TryFrom<&Document> for Invoice {
    type Error = Refused;

    /// Reads what is kept; a content that is not the one that was hashed is an
    /// error.
    fn try_from(document: &Document) -> Result<Self, Refused> {
        let damaged = || Refused::Damaged(document.id.clone());
        let hash = blake3::hash(&document.content);
        if hash.as_bytes() != &document.hash {
            return Err(damaged());
        }
        let content = serde_json::from_slice(&document.content).map_err(|_| damaged())?;
        Ok(Self { status: document.status, hash: hash.to_hex().to_string(), content })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Timestamp;

    pub(crate) fn content() -> Content {
        Content {
            id: "inv_1".to_owned(),
            number: Some("2026-000001".to_owned()),
            account: "shop".to_owned(),
            customer: "Shop".to_owned(),
            period: "2026-11".to_owned(),
            days: ["2026-11-01".to_owned(), "2026-11-30".to_owned()],
            span: Some(Span { from: Timestamp(1), to: Timestamp(2) }),
            currency: "USD".to_owned(),
            corrects: None,
            seller: None,
            tax: None,
            created_at: String::new(),
            issued_at: None,
            issued_on: None,
            base: String::new(),
            lines: vec![Line {
                service: "ai_api".to_owned(),
                endpoint: "default".to_owned(),
                description: "Requests".to_owned(),
                quantity: 3,
                unit_price: "0.02".parse().unwrap(),
                total: "0.06".parse().unwrap(),
                basis: Basis::Adjustment("adj_1".to_owned()),
            }],
            total: "0.06".parse().unwrap(),
        }
    }

    #[test]
    fn an_invoice_is_read_as_it_was_kept() {
        let document = content().document(Status::Final).unwrap();
        let invoice = Invoice::try_from(&document).unwrap();
        assert_eq!((invoice.content, invoice.status), (content(), Status::Final));
        let paid = Document { status: Status::Paid, ..document };
        assert_eq!(Invoice::try_from(&paid).unwrap().hash, invoice.hash);
    }

    /// What was kept before invoices had a span is read, and its hash holds.
    #[test]
    fn an_invoice_without_a_span_is_read() {
        let old = Content { span: None, ..content() };
        let document = old.document(Status::Final).unwrap();
        let text = String::from_utf8(document.content.clone()).unwrap();
        assert!(text.contains(r#""days":["2026-11-01","2026-11-30"],"currency""#), "{text}");
        assert_eq!(Invoice::try_from(&document).unwrap().content, old);
    }

    #[test]
    fn a_changed_content_is_found() {
        let mut document = content().document(Status::Final).unwrap();
        let text = String::from_utf8(document.content).unwrap().replace("0.06", "0.05");
        document.content = text.into_bytes();
        assert_eq!(Invoice::try_from(&document), Err(Refused::Damaged("inv_1".to_owned())));
    }
}
