//! `tollgate report`.

use clap::Subcommand;

use super::ConfigFile;
use super::client::AdminClient;
use super::format::{Columns, Format};
use super::object::{follow, run};
use super::out::{Failure, Out};

/// Options of `tollgate report`.
#[derive(Debug, clap::Args)]
pub(super) struct Report {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Look-ups, hits against their target, and dollars saved, class by class
    Cache(Period),
}

/// Of when, and how it is printed.
#[derive(Debug, clap::Args)]
struct Period {
    #[command(flatten)]
    file: ConfigFile,
    /// First moment that counts: 2026-11-01 (midnight UTC) or RFC 3339 [default: this month]
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// First moment that does not count any more
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// How to print it
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

impl Report {
    /// Prints it.
    pub(super) fn run(&self, out: &mut Out) -> Result<(), Failure> {
        let What::Cache(period) = &self.what;
        let client = AdminClient::find(&period.file)?;
        let given = [("from", &period.from), ("to", &period.to)];
        let given = given.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)));
        let query: Vec<_> = given.collect();
        run(follow(&client, "/admin/reports/cache", &query, period.format, Columns::Cache, out))
    }
}
