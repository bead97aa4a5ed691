//! `billing`: months, currency, tax, and who sells.

use jiff::tz::TimeZone;

use super::common::{entries, required};
use crate::base::currency::Currency;
use crate::config::field::Field;
use crate::config::raw::{RawInvoices, RawSeller, RawTax};
use crate::config::report::Report;
use crate::config::tree::Mark;
use crate::config::types::{Invoicing, Seller, Tax};

/// Longest text on an invoice, in bytes.
const LONGEST: usize = 256;
/// Most lines of an address or a footer.
const MOST_LINES: usize = 20;

/// Checks `billing.timezone`: a name of the IANA time zone database, of the
/// system's copy or else of the one that is built in.
pub(super) fn timezone(raw: &Field<RawInvoices>, report: &mut Report) -> TimeZone {
    let named = raw.value().and_then(|billing| billing.timezone.placed());
    let Some((mark, name)) = named else { return TimeZone::UTC };
    TimeZone::get(name).unwrap_or_else(|_| {
        report.error(mark, "expected a time zone such as Europe/Berlin");
        TimeZone::UTC
    })
}

/// Checks the rest of `billing`.
pub(super) fn check(raw: &Field<RawInvoices>, report: &mut Report) -> Invoicing {
    let none = RawInvoices::default();
    let raw = raw.value().unwrap_or(&none);
    let currency = raw.currency.placed().and_then(|(mark, code)| {
        let currency = Currency::of(code);
        if currency.is_none() {
            report.error(mark, "expected an ISO 4217 currency, three capital letters such as USD");
        }
        currency
    });
    Invoicing {
        currency: currency.unwrap_or(Currency::USD),
        tax: raw.tax.placed().and_then(|(mark, raw)| tax(mark, raw, report)),
        seller: raw.seller.placed().and_then(|(mark, raw)| seller(mark, raw, report)),
    }
}

fn tax(mark: Mark, raw: &RawTax, report: &mut Report) -> Option<Tax> {
    let rate = required(&raw.rate, mark, "rate", report);
    let name = raw.name.placed().and_then(|(mark, name)| text(mark, name, report));
    Some(Tax {
        rate: rate?.1.0,
        name: name.unwrap_or_else(|| "Tax".to_owned()),
        inclusive: raw.inclusive.or(false),
    })
}

fn seller(mark: Mark, raw: &RawSeller, report: &mut Report) -> Option<Seller> {
    let name = required(&raw.name, mark, "name", report);
    let name = name.and_then(|(mark, name)| text(mark, name, report));
    let (address, footer) = (lines(&raw.address, report), lines(&raw.footer, report));
    Some(Seller { name: name?, address, footer })
}

fn lines(raw: &Field<Vec<Field<String>>>, report: &mut Report) -> Vec<String> {
    let (lines, _) = entries(raw, "a line of text", report);
    if let Some(mark) = raw.mark().filter(|_| lines.len() > MOST_LINES) {
        report.error(mark, format!("at most {MOST_LINES} lines"));
    }
    lines.into_iter().filter_map(|(mark, line)| text(mark, line, report)).collect()
}

/// A text that fits on a line of an invoice.
fn text(mark: Mark, text: &str, report: &mut Report) -> Option<String> {
    let fits = (1..=LONGEST).contains(&text.len()) && !text.contains(char::is_control);
    if !fits || text.trim().is_empty() {
        report.error(mark, format!("a text of 1 to {LONGEST} bytes without control characters"));
        return None;
    }
    Some(text.to_owned())
}
