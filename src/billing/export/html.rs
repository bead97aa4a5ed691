//! An invoice as a page that prints on A4: one file, without scripts, whose every
//! text is escaped.

use std::fmt::Write;

use super::title;
use crate::base::currency::Currency;
use crate::base::money::Money;
use crate::billing::invoice::{Basis, Invoice, Line};
use crate::store::billing::Status;

const STYLE: &str = include_str!("invoice.css");

/// The page.
pub fn html(invoice: &Invoice) -> String {
    let content = &invoice.content;
    let (title, currency) = (title(invoice), content.currency());
    let name = match &content.number {
        Some(number) => format!("{title} {}", Text(number)),
        None => title.to_owned(),
    };
    let (taxes, sold): (Vec<&Line>, Vec<&Line>) =
        content.lines.iter().partition(|line| line.basis == Basis::Tax);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{name}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <header>\n<div class=\"seller\">{}</div>\n<div class=\"what\"><h1>{title}</h1>{}</div>\n\
         </header>\n{}{}{}{}</main>\n</body>\n</html>\n",
        seller(invoice),
        facts(invoice),
        customer(invoice),
        table(&sold, currency),
        sums(&sold, &taxes, content.total, currency),
        footer(invoice),
    )
}

/// What keeps a page from being taken for what it is not.
fn stamp(status: Status) -> String {
    match status {
        Status::Final => String::new(),
        Status::Draft | Status::Paid | Status::Void => {
            format!("<p class=\"stamp {status}\">{status}</p>\n")
        }
    }
}

fn seller(invoice: &Invoice) -> String {
    let Some(seller) = &invoice.content.seller else { return String::new() };
    let mut text = format!("<strong>{}</strong>", Text(&seller.name));
    text.extend(seller.address.iter().map(|line| format!("<br>{}", Text(line))));
    text
}

/// Number, date, period.
fn facts(invoice: &Invoice) -> String {
    let content = &invoice.content;
    let [first, last] = &content.days;
    let mut rows = Vec::new();
    rows.extend(content.number.as_ref().map(|number| ("Number", number.clone())));
    rows.extend(content.issued_on.as_ref().map(|day| ("Date", day.clone())));
    rows.extend(content.corrects.as_ref().map(|it| ("Corrects", format!("Invoice {}", it.number))));
    rows.push(("Period", format!("{first} – {last}")));
    rows.push(("Currency", content.currency.clone()));
    let row = |(name, value): (&str, String)| {
        format!("<tr><th>{name}</th><td>{}</td></tr>", Text(&value))
    };
    let rows: String = rows.into_iter().map(row).collect();
    format!("<table class=\"facts\">{rows}</table>")
}

fn customer(invoice: &Invoice) -> String {
    let content = &invoice.content;
    let to = if content.corrects.is_some() { "Credit to" } else { "Bill to" };
    let mut text = format!(
        "<section class=\"customer\">{}<h2>{to}</h2><strong>{}</strong><br>Account {}",
        stamp(invoice.status),
        Text(&content.customer),
        Text(&content.account)
    );
    if let Some(corrected) = &content.corrects {
        let reason = Text(&corrected.reason);
        text.push_str(&format!("<p class=\"reason\">Reason: {reason}</p>"));
    }
    text + "</section>\n"
}

fn table(lines: &[&Line], currency: Currency) -> String {
    let mut text = "<table class=\"lines\">\n<thead><tr><th>Description</th>\
                    <th class=\"figure\">Quantity</th><th class=\"figure\">Unit price</th>\
                    <th class=\"figure\">Amount</th></tr></thead>\n<tbody>\n"
        .to_owned();
    for line in lines {
        text.push_str(&format!(
            "<tr><td>{}</td><td class=\"figure\">{}</td><td class=\"figure\">{}</td>\
             <td class=\"figure\">{}</td></tr>\n",
            Text(&line.description),
            grouped(&line.quantity.to_string()),
            grouped(&currency.show(line.unit_price)),
            grouped(&currency.show(line.total)),
        ));
    }
    if lines.is_empty() {
        text.push_str("<tr><td colspan=\"4\">Nothing to bill in this period.</td></tr>\n");
    }
    text + "</tbody>\n</table>\n"
}

fn sums(sold: &[&Line], taxes: &[&Line], total: Money, currency: Currency) -> String {
    let row = |class: &str, name: &str, amount: String| {
        let name = Text(name);
        format!("<tr class=\"{class}\"><th>{name}</th><td class=\"figure\">{amount}</td></tr>\n")
    };
    let mut text = "<table class=\"sums\">\n".to_owned();
    if !taxes.is_empty() {
        let subtotal = sold.iter().map(|line| line.total).sum();
        text.push_str(&row("", "Subtotal", grouped(&currency.show(subtotal))));
    }
    for tax in taxes {
        // A tax that the amounts contain is told, and adds nothing.
        let amount = match tax.total.is_zero() {
            true => String::new(),
            false => grouped(&currency.show(tax.total)),
        };
        text.push_str(&row("", &tax.description, amount));
    }
    let total = format!("{currency} {}", grouped(&currency.show(total)));
    text + &row("total", "Total", total) + "</table>\n"
}

fn footer(invoice: &Invoice) -> String {
    let seller = invoice.content.seller.as_ref();
    let lines = seller.into_iter().flat_map(|seller| &seller.footer);
    let lines: Vec<_> = lines.map(|line| Text(line).to_string()).collect();
    let (id, hash) = (Text(&invoice.content.id), &invoice.hash);
    let seal = match invoice.content.number {
        Some(_) => format!("<p class=\"seal\">{id} · BLAKE3 {hash}</p>"),
        None => String::new(),
    };
    format!("<footer><p>{}</p>{seal}</footer>\n", lines.join("<br>"))
}

/// A decimal number with commas between its thousands.
fn grouped(number: &str) -> String {
    let (whole, fraction) = number.split_once('.').map_or((number, None), |(a, b)| (a, Some(b)));
    let (sign, digits) = whole.strip_prefix('-').map_or(("", whole), |digits| ("−", digits));
    let mut text = sign.to_owned();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    match fraction {
        Some(fraction) => format!("{text}.{fraction}"),
        None => text,
    }
}

/// A text in which nothing is markup.
struct Text<'a>(&'a str);

impl std::fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}
