//! Lists as tables, JSON or CSV.

mod columns;

use std::collections::BTreeMap;

use clap::ValueEnum;
use comfy_table::{CellAlignment, Table, presets};
use serde_json::value::RawValue;

pub(super) use self::columns::Columns;
use super::out::{Failure, Out};
use crate::base::csv;
use crate::base::money::Money;

/// How a list is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people
    Table,
    /// One array of what the admin API gives
    Json,
    /// With a header line
    Csv,
}

/// Prints a list page by page.
pub(super) struct Printer<'a> {
    format: Format,
    columns: Columns,
    out: &'a mut Out,
    printed: u64,
    totals: Totals,
}

impl<'a> Printer<'a> {
    pub(super) fn new(format: Format, columns: Columns, out: &'a mut Out) -> Self {
        Self { format, columns, out, printed: 0, totals: Totals::default() }
    }

    /// Prints one page.
    pub(super) fn page(&mut self, items: &[Box<RawValue>]) -> Result<(), Failure> {
        if self.printed == 0 {
            self.begin()?;
        }
        if self.format == Format::Table {
            self.table(items)?;
        }
        for item in items {
            match self.format {
                Format::Table => {}
                Format::Json => {
                    self.out.text(if self.printed == 0 { "\n  " } else { ",\n  " })?;
                    self.out.text(item.get())?;
                }
                Format::Csv => {
                    let cells =
                        self.columns.all().iter().map(|name| csv::field(&self.cell(item, name)));
                    let line = cells.collect::<Vec<_>>().join(",");
                    self.out.line(&line)?;
                }
            }
            self.printed = self.printed.saturating_add(1);
        }
        Ok(())
    }

    /// Ends the list.
    pub(super) fn end(self) -> Result<(), Failure> {
        match self.format {
            Format::Json if self.printed == 0 => self.out.line("]"),
            Format::Json => self.out.line("\n]"),
            Format::Table if self.printed == 0 => self.out.line(match self.columns {
                Columns::Records | Columns::Sums | Columns::Cache => "no usage in this period",
                Columns::Accounts => "no accounts",
                Columns::Keys => "no keys",
                Columns::OwnProviders => "no providers",
                Columns::OwnModels => "no models",
                Columns::Invoices => "no invoices",
                Columns::InvoiceLines => "no lines",
            }),
            Format::Table | Format::Csv => Ok(()),
        }
    }

    fn begin(&mut self) -> Result<(), Failure> {
        match self.format {
            Format::Json => self.out.text("["),
            Format::Csv => {
                let header = self.columns.all().join(",");
                self.out.line(&header)
            }
            Format::Table => Ok(()),
        }
    }

    /// Each page is a table of its own: widths are known only for what is held.
    fn table(&mut self, items: &[Box<RawValue>]) -> Result<(), Failure> {
        if items.is_empty() {
            return Ok(());
        }
        let names = self.columns.on_a_screen();
        let mut table = Table::new();
        table.load_preset(presets::NOTHING);
        table.set_header(names.iter().map(|name| name.replace("tokens.", "")));
        for item in items {
            let cells: Vec<String> = names.iter().map(|name| self.cell(item, name)).collect();
            self.totals.add(names, &cells);
            table.add_row(cells.iter().map(|cell| visible(cell)));
        }
        if self.columns == Columns::Sums && items.len() > 1 {
            table.add_row(names.iter().map(|name| self.totals.show(name)));
        }
        for (index, name) in names.iter().enumerate() {
            let Some(column) = table.column_mut(index) else { continue };
            column.set_padding((0, 2));
            if is_figure(name) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        for line in table.lines() {
            self.out.line(line.trim_end())?;
        }
        Ok(())
    }

    fn cell(&self, item: &RawValue, name: &str) -> String {
        let cell = field(item, name);
        // The row of all together has no class.
        let total = self.columns == Columns::Cache && name == "class" && cell.is_empty();
        if total { "total".to_owned() } else { cell }
    }
}

/// Sums of the columns of sums.
#[derive(Default)]
struct Totals {
    counts: BTreeMap<&'static str, u64>,
    amounts: BTreeMap<&'static str, Money>,
}

impl Totals {
    fn add(&mut self, names: &[&'static str], cells: &[String]) {
        for (name, cell) in names.iter().zip(cells) {
            if matches!(*name, "revenue" | "cost" | "margin") {
                *self.amounts.entry(name).or_default() += cell.parse().unwrap_or_default();
            } else if let Ok(count) = cell.parse::<u64>() {
                let sum = self.counts.entry(name).or_default();
                *sum = sum.saturating_add(count);
            }
        }
    }

    fn show(&self, name: &str) -> String {
        let amount = self.amounts.get(name).map(ToString::to_string);
        let count = || self.counts.get(name).map(ToString::to_string);
        match name {
            "by" => "total".to_owned(),
            _ => amount.or_else(count).unwrap_or_default(),
        }
    }
}

fn is_figure(name: &str) -> bool {
    name.starts_with("tokens.")
        || matches!(name, "requests" | "revenue" | "cost" | "margin" | "price" | "duration_ms")
        || name.starts_with("saved.")
        || name.starts_with("bytes.")
        || matches!(name, "lookups" | "hits" | "stale" | "coalesced" | "batched")
        || name.starts_with("hit_ratio")
        || matches!(name, "quantity" | "unit_price" | "total")
}

/// The field called `name`, a dot leading into an object: a string as its text,
/// anything else as its JSON, so that no figure changes; absent or null is empty.
pub(super) fn field(item: &RawValue, name: &str) -> String {
    let object: BTreeMap<String, Box<RawValue>> =
        serde_json::from_str(item.get()).unwrap_or_default();
    let (name, inner) = match name.split_once('.') {
        Some((name, inner)) => (name, Some(inner)),
        None => (name, None),
    };
    match (object.get(name), inner) {
        (None, _) => String::new(),
        (Some(value), Some(inner)) => field(value, inner),
        (Some(value), None) if value.get() == "null" => String::new(),
        (Some(value), None) => {
            serde_json::from_str(value.get()).unwrap_or_else(|_| value.get().to_owned())
        }
    }
}

/// A text that a terminal shows and does not obey: clients choose some of the
/// texts in a record.
pub(super) fn visible(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::super::out::tests::Written;
    use super::*;

    fn printed(format: Format, columns: Columns, pages: &[&[&str]]) -> String {
        let written = Written::default();
        let mut out = written.out();
        let mut printer = Printer::new(format, columns, &mut out);
        for page in pages {
            let items: Vec<_> = page
                .iter()
                .map(|text| RawValue::from_string((*text).to_owned()).unwrap())
                .collect();
            printer.page(&items).unwrap();
        }
        printer.end().unwrap();
        out.flush().unwrap();
        written.text()
    }

    const A: &str = r#"{"by":"a","requests":2,"tokens":{"input":10,"cached_input":0,"output":5,"reasoning":0},"revenue":"0.04","cost":"0.005","margin":"0.035"}"#;
    const B: &str = r#"{"by":"b","requests":1,"tokens":{"input":1,"cached_input":0,"output":2,"reasoning":0},"revenue":"0","cost":"0.0000000000001","margin":"-0.5"}"#;

    #[test]
    fn pages_become_one_array_and_figures_keep_their_bytes() {
        let odd = r#"{"metadata":{"n":123456789012345678901234567890},"price":"0.020"}"#;
        let text = printed(Format::Json, Columns::Records, &[&[odd, odd], &[odd]]);
        assert_eq!(text, format!("[\n  {odd},\n  {odd},\n  {odd}\n]\n"));
        assert_eq!(printed(Format::Json, Columns::Records, &[&[]]), "[]\n");
    }

    #[test]
    fn csv_has_a_header_and_every_field() {
        let record = r#"{"id":"1","account":"=cmd()","model_asked":"a,\"b\"","price":"-1.5","tokens":{"output":3},"similarity":null,"metadata":{"k":1}}"#;
        let text = printed(Format::Csv, Columns::Records, &[&[record]]);
        let (header, line) = text.trim_end().split_once('\n').unwrap();
        assert_eq!(header.split(',').count(), Columns::Records.all().len());
        assert!(line.starts_with("1,,,'=cmd(),,,,,,\"a,\"\"b\"\"\","), "{line}");
        assert!(line.contains(",-1.5,"), "{line}");
        assert!(line.contains(",\"{\"\"k\"\":1}\","), "{line}");
        assert_eq!(printed(Format::Csv, Columns::Sums, &[&[]]).lines().count(), 1);
    }

    #[test]
    fn sums_end_with_their_exact_total() {
        let a = A.replace("0.005", "0.000000000001");
        let b = B.replace("0.0000000000001", "0.000000000002");
        let text = printed(Format::Table, Columns::Sums, &[&[&a, &b]]);
        let last: Vec<&str> = text.lines().last().unwrap().split_whitespace().collect();
        assert_eq!(last, ["total", "3", "11", "0", "7", "0", "0.04", "0.000000000003", "-0.465"]);
        assert!(!printed(Format::Table, Columns::Sums, &[&[A]]).contains("total"));
        assert_eq!(printed(Format::Table, Columns::Sums, &[&[]]), "no usage in this period\n");
    }

    #[test]
    fn what_the_cache_spares_ends_with_the_total() {
        let row = r#"{"class":"docs","lookups":3,"hits":1,"hit_ratio":0.3333333333333333,"hit_ratio_target":null,"saved":{"cache":"0.1"},"bytes":{"memory":7}}"#;
        let total = row.replace("\"docs\"", "null");
        let text = printed(Format::Csv, Columns::Cache, &[&[row, &total]]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], Columns::Cache.all().join(","));
        assert_eq!(lines[1], "docs,3,1,,,,0.3333333333333333,,0.1,,,7,");
        assert_eq!(lines[2], "total,3,1,,,,0.3333333333333333,,0.1,,,7,");
        let table = printed(Format::Table, Columns::Cache, &[&[row, &total]]);
        assert!(table.lines().last().unwrap().starts_with("total"), "{table}");
    }

    #[test]
    fn a_terminal_is_never_told_what_to_do() {
        let record = r#"{"account":"\u001b[2Jx\u0007","endpoint":"default"}"#;
        let text = printed(Format::Table, Columns::Records, &[&[record]]);
        assert!(text.contains("default") && text.contains("[2Jx"), "{text:?}");
        assert!(!text.contains('\u{1b}') && !text.contains('\u{7}'), "{text:?}");
    }
}
