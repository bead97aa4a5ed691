//! An invoice for others: as the admin API shows it, and as a file in JSON, CSV or
//! HTML. Nothing of what providers charge is in any of them.

mod html;

use serde::Serialize;

use super::invoice::{Basis, Correction, Invoice, Line, Unit};
use crate::base::csv::field;
use crate::base::money::Money;
use crate::config::{Seller, Tax};
use crate::store::billing::Status;

pub use html::html;

/// An invoice as the admin API shows it.
#[derive(Serialize)]
pub struct View<'a> {
    id: &'a str,
    number: Option<&'a str>,
    account: &'a str,
    period: &'a str,
    status: &'static str,
    currency: &'a str,
    lines: Vec<LineView<'a>>,
    total: Money,
}

#[derive(Serialize)]
struct LineView<'a> {
    service: &'a str,
    endpoint: &'a str,
    description: &'a str,
    quantity: i64,
    unit_price: Money,
    total: Money,
    /// Where the model's tokens are what is counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
    /// Which tokens those are.
    #[serde(skip_serializing_if = "Option::is_none")]
    unit: Option<&'static str>,
}

/// The same with everything else that stands on it.
#[derive(Serialize)]
struct Whole<'a> {
    #[serde(flatten)]
    view: View<'a>,
    customer: &'a str,
    days: &'a [String; 2],
    corrects: Option<&'a Correction>,
    seller: Option<&'a Seller>,
    tax: Option<TaxView<'a>>,
    created_at: &'a str,
    issued_at: Option<&'a str>,
    issued_on: Option<&'a str>,
    hash: &'a str,
}

#[derive(Serialize)]
struct TaxView<'a> {
    name: &'a str,
    /// Percent.
    rate: Money,
    inclusive: bool,
}

impl<'a> From<&'a Invoice> for View<'a> {
    fn from(invoice: &'a Invoice) -> Self {
        let content = &invoice.content;
        Self {
            id: &content.id,
            number: content.number.as_deref(),
            account: &content.account,
            period: &content.period,
            status: invoice.status.into(),
            currency: &content.currency,
            lines: content.lines.iter().map(LineView::from).collect(),
            total: content.total,
        }
    }
}

impl<'a> From<&'a Line> for LineView<'a> {
    fn from(line: &'a Line) -> Self {
        let Line { service, endpoint, description, quantity, unit_price, total, basis } = line;
        let (quantity, unit_price, total) = (*quantity, *unit_price, *total);
        let (model, unit) = tokens(basis).unzip();
        Self { service, endpoint, description, quantity, unit_price, total, model, unit }
    }
}

/// The model and the kind of its tokens, where a line is about tokens.
fn tokens(basis: &Basis) -> Option<(&str, &'static str)> {
    match basis {
        Basis::Usage { model: Some(model), unit, .. } => Some((model, Unit::into(*unit))),
        _ => None,
    }
}

/// A rate in percent; it has six decimals, an amount twelve.
fn percent(tax: &Tax) -> Money {
    Money::from_picos(i128::from(tax.rate) * 1_000_000)
}

/// An invoice whole, as JSON: the admin API's fields and all that is printed.
pub fn json(invoice: &Invoice) -> impl Serialize {
    let content = &invoice.content;
    Whole {
        view: View::from(invoice),
        customer: &content.customer,
        days: &content.days,
        corrects: content.corrects.as_ref(),
        seller: content.seller.as_ref(),
        tax: content.tax.as_ref().map(|tax| TaxView {
            name: &tax.name,
            rate: percent(tax),
            inclusive: tax.inclusive,
        }),
        created_at: &content.created_at,
        issued_at: content.issued_at.as_deref(),
        issued_on: content.issued_on.as_deref(),
        hash: &invoice.hash,
    }
}

/// The columns of [`csv`].
const COLUMNS: [&str; 14] = [
    "id",
    "number",
    "account",
    "period",
    "status",
    "currency",
    "service",
    "endpoint",
    "description",
    "quantity",
    "unit_price",
    "total",
    "model",
    "unit",
];

/// An invoice as CSV (RFC 4180): a header, a row for each line, and one for the
/// total, whose service is `total`.
pub fn csv(invoice: &Invoice) -> String {
    let content = &invoice.content;
    let number = content.number.as_deref().unwrap_or_default();
    let status: &str = invoice.status.into();
    let head = [&*content.id, number, &content.account, &content.period, status, &content.currency];
    let mut text = COLUMNS.join(",") + "\r\n";
    let mut row = |cells: [&str; 8]| {
        let cells: Vec<_> = head.iter().chain(&cells).map(|cell| field(cell)).collect();
        text.push_str(&cells.join(","));
        text.push_str("\r\n");
    };
    for line in &content.lines {
        let (quantity, price) = (line.quantity.to_string(), line.unit_price.to_string());
        let (service, endpoint) = (&*line.service, &*line.endpoint);
        let (model, unit) = tokens(&line.basis).unwrap_or_default();
        let total = line.total.to_string();
        row([service, endpoint, &line.description, &quantity, &price, &total, model, unit]);
    }
    row(["total", "", "", "", "", &content.total.to_string(), "", ""]);
    text
}

/// What an invoice is called.
fn title(invoice: &Invoice) -> &'static str {
    match (&invoice.content.corrects, invoice.status) {
        (Some(_), _) => "Credit note",
        (None, Status::Draft) => "Draft invoice",
        (None, _) => "Invoice",
    }
}

#[cfg(test)]
mod tests;
