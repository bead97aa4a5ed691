//! `tollgate usage`.

use std::fmt;

use clap::ValueEnum;

use super::ConfigFile;
use super::client::AdminClient;
use super::format::{self, Columns};
use super::object::{follow, run};
use super::out::{Failure, Out};

/// Options of `tollgate usage`.
#[derive(Debug, clap::Args)]
pub(super) struct Usage {
    #[command(flatten)]
    file: ConfigFile,
    /// Only this account
    #[arg(long, value_name = "ID")]
    account: Option<String>,
    /// First moment that counts: 2026-11-01 (midnight UTC) or RFC 3339 [default: this month]
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// First moment that does not count any more
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// Single requests, or sums
    #[arg(long, value_enum, default_value_t = By::Class)]
    by: By,
    /// How to print them
    #[arg(long, value_enum, default_value_t = format::Format::Table)]
    format: format::Format,
}

/// What a line stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum By {
    Request,
    Class,
    Model,
    Account,
    Day,
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl By {
    /// The value of the API's `by`.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Class => "class",
            Self::Model => "model",
            Self::Account => "account",
            Self::Day => "day",
        }
    }
}

impl Usage {
    /// Prints the list to its end.
    pub(super) fn run(&self, out: &mut Out) -> Result<(), Failure> {
        let client = AdminClient::find(&self.file)?;
        run(self.print(&client, out))
    }

    async fn print(&self, client: &AdminClient, out: &mut Out) -> Result<(), Failure> {
        let columns = match self.by {
            By::Request => Columns::Records,
            _ => Columns::Sums,
        };
        let mut query = vec![("by", self.by.as_str())];
        let given = [("account", &self.account), ("from", &self.from), ("to", &self.to)];
        query.extend(given.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?))));
        follow(client, "/admin/usage", &query, self.format, columns, out).await
    }
}

#[cfg(test)]
mod tests;
