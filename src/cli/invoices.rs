//! `tollgate invoices`.

use clap::{Subcommand, ValueEnum};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::ConfigFile;
use super::client::{AdminClient, Method};
use super::format::{self, Columns, Printer};
use super::object::{Shape, follow, print_object, run, segment};
use super::out::{Failure, Out};

/// The fields of an invoice.
const FIELDS: &[&str] =
    &["id", "number", "account", "period", "status", "currency", "total", "hash", "lines"];
/// Where invoices are.
const PATH: &str = "/admin/invoices";

/// Options of `tollgate invoices`.
#[derive(Debug, clap::Args)]
pub(super) struct Invoices {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Make the drafts of a month anew
    Generate {
        /// The month, such as 2026-11
        #[arg(long)]
        month: String,
        /// Only this account's
        #[arg(long, value_name = "ID")]
        account: Option<String>,
        /// Of what is left, where the ledger is damaged
        #[arg(long)]
        despite_damage: bool,
        /// How to print them
        #[arg(long, value_enum, default_value_t = format::Format::Table)]
        format: format::Format,
        #[command(flatten)]
        file: ConfigFile,
    },
    /// List invoices
    List {
        /// Only this account's
        #[arg(long, value_name = "ID")]
        account: Option<String>,
        /// Only this month's
        #[arg(long)]
        month: Option<String>,
        /// Only those that are draft, final, paid or void
        #[arg(long)]
        status: Option<String>,
        /// How to print them
        #[arg(long, value_enum, default_value_t = format::Format::Table)]
        format: format::Format,
        #[command(flatten)]
        file: ConfigFile,
    },
    /// Show an invoice
    Show(One),
    /// Give a draft its number; it does not change any more
    Finalize {
        #[command(flatten)]
        one: One,
        /// The hash that `show` gave: refuse if the draft is another one now
        #[arg(long)]
        hash: Option<String>,
    },
    /// Say that a final invoice is paid
    Pay(One),
    /// Make a draft or a final invoice void
    Void(One),
    /// Send an invoice to Stripe
    Push(One),
    /// Print an invoice as a file for the customer
    Export {
        /// The invoice's id
        id: String,
        /// The file's format
        #[arg(long, value_enum, default_value_t = Export::Html)]
        format: Export,
        #[command(flatten)]
        file: ConfigFile,
    },
}

/// Which invoice is meant.
#[derive(Debug, clap::Args)]
struct One {
    /// The invoice's id
    id: String,
    #[command(flatten)]
    shape: Shape,
    #[command(flatten)]
    file: ConfigFile,
}

/// A file for the customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Export {
    /// A page to print
    Html,
    /// A row for each line
    Csv,
    /// Everything that stands on it
    Json,
}

impl Invoices {
    /// Does it and prints what came of it.
    pub(super) fn run(&self, out: &mut Out) -> Result<(), Failure> {
        match &self.what {
            What::Generate { month, account, despite_damage, format, file } => {
                let client = AdminClient::find(file)?;
                let body = json!({
                    "month": month, "account": account, "despite_damage": despite_damage,
                });
                let made = run(client.send(Method::POST, PATH, Some(&body)))?;
                if account.is_some() {
                    let mut printer = Printer::new(*format, Columns::Invoices, out);
                    printer.page(&[made])?;
                    return printer.end();
                }
                let query = [("month", month.as_str()), ("status", "draft")];
                run(follow(&client, PATH, &query, *format, Columns::Invoices, out))
            }
            What::List { account, month, status, format, file } => {
                let client = AdminClient::find(file)?;
                let given = [("account", account), ("month", month), ("status", status)];
                let query = given.into_iter().filter_map(|(name, it)| Some((name, it.as_deref()?)));
                let query: Vec<_> = query.collect();
                run(follow(&client, PATH, &query, *format, Columns::Invoices, out))
            }
            // As a table with its hash, which the other has as a header.
            What::Show(one) if one.shape.is_table() => one.send(Method::GET, "/export", None, out),
            What::Show(one) => one.send(Method::GET, "", None, out),
            What::Finalize { one, hash } => {
                let body = hash.as_ref().map(|hash| json!({ "hash": hash }));
                one.send(Method::POST, "/finalize", body.as_ref(), out)
            }
            What::Pay(one) => one.send(Method::POST, "/pay", None, out),
            What::Void(one) => one.send(Method::POST, "/void", None, out),
            What::Push(one) => one.send(Method::POST, "/push", None, out),
            What::Export { id, format, file } => {
                let client = AdminClient::find(file)?;
                let format = match format {
                    Export::Html => "html",
                    Export::Csv => "csv",
                    Export::Json => "json",
                };
                let path = format!("{PATH}/{}/export", segment(id)?);
                let text = run(client.text(&path, &[("format", format)]))?;
                out.text(&text)
            }
        }
    }
}

impl One {
    fn send(
        &self,
        method: Method,
        what: &str,
        body: Option<&Value>,
        out: &mut Out,
    ) -> Result<(), Failure> {
        let path = format!("{PATH}/{}{what}", segment(&self.id)?);
        let client = AdminClient::find(&self.file)?;
        let invoice = run(client.send(method, &path, body))?;
        if !self.shape.is_table() {
            return print_object(&invoice, FIELDS, &self.shape, out);
        }
        let (head, lines) = parts(&invoice)?;
        print_object(&head, FIELDS, &self.shape, out)?;
        out.line("")?;
        let mut printer = Printer::new(format::Format::Table, Columns::InvoiceLines, out);
        printer.page(&lines)?;
        printer.end()
    }
}

/// An invoice without its lines, and the lines.
fn parts(invoice: &RawValue) -> Result<(Box<RawValue>, Vec<Box<RawValue>>), Failure> {
    let unreadable =
        |_| Failure::Failed("the instance answered with something else than an invoice".to_owned());
    let mut head: serde_json::Map<String, Value> =
        serde_json::from_str(invoice.get()).map_err(unreadable)?;
    let lines = match head.remove("lines") {
        Some(Value::Array(lines)) => lines,
        _ => Vec::new(),
    };
    let raw = |value: &Value| RawValue::from_string(value.to_string()).map_err(unreadable);
    let lines = lines.iter().map(raw).collect::<Result<_, _>>()?;
    Ok((raw(&Value::Object(head))?, lines))
}
