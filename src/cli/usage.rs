//! `tollgate usage`.

use std::fmt;

use clap::ValueEnum;

use super::ConfigFile;
use super::client::AdminClient;
use super::format::{self, Columns, Printer};
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
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::Failed(format!("cannot start: {error}")))?;
        runtime.block_on(self.print(&client, out))
    }

    /// Follows the pages one by one: memory holds one page, however long the
    /// list is.
    async fn print(&self, client: &AdminClient, out: &mut Out) -> Result<(), Failure> {
        let columns = match self.by {
            By::Request => Columns::Records,
            _ => Columns::Sums,
        };
        let mut printer = Printer::new(self.format, columns, out);
        let mut after: Option<String> = None;
        loop {
            let mut query = vec![("by", self.by.as_str())];
            let given = [("account", &self.account), ("from", &self.from), ("to", &self.to)];
            let given = given.into_iter().chain([("after", &after)]);
            query.extend(given.filter_map(|(name, value)| Some((name, value.as_deref()?))));
            let page = client.page("/admin/usage", &query).await?;
            printer.page(&page.data)?;
            match page.next {
                // A cursor that does not move would go on for ever.
                Some(next) if after.as_ref() != Some(&next) => after = Some(next),
                _ => return printer.end(),
            }
        }
    }
}

#[cfg(test)]
mod tests;
