//! The command line: what may be typed, and what comes of it.
//!
//! Answers go to standard output, everything else to standard error. Exit
//! codes: 0 done, 1 failed, 2 wrong usage or configuration.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{self, Config};

mod accounts;
mod check;
mod client;
mod format;
mod invoices;
mod keys;
mod ledger;
mod object;
mod out;
mod own;
mod prices;
mod report;
mod serve;
mod usage;
mod version;

use out::{Failure, Out};

/// A sidecar reverse proxy for people who sell AI requests.
#[derive(Debug, Parser)]
#[command(name = "tollgate", disable_version_flag = true, arg_required_else_help = true)]
struct Cli {
    /// Print the version
    #[arg(short = 'V', long)]
    version: bool,
    /// With --version: as JSON
    #[arg(long, requires = "version")]
    json: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until SIGTERM or SIGINT
    Serve(serve::Serve),
    /// Check a configuration: every error with file:line:column
    Check(ConfigFile),
    /// Print the JSON Schema of the configuration
    Schema,
    /// Make, show and change the accounts of a running instance
    Accounts(accounts::Accounts),
    /// Make, list, rotate and revoke the API keys of a running instance
    Keys(keys::Keys),
    /// Show usage records or their sums, from a running instance
    Usage(usage::Usage),
    /// Show what a running instance makes and spares
    Report(report::Report),
    /// Verify the ledger or rebuild its index, while no instance runs
    Ledger(ledger::Offline),
    /// Make a price file of what providers charge
    Prices(prices::Prices),
    /// Make, show, number and export the invoices of a running instance
    Invoices(invoices::Invoices),
}

/// Which configuration is meant.
#[derive(Debug, clap::Args)]
struct ConfigFile {
    /// The configuration [default: conf/tollgate.yaml, then /etc/tollgate/tollgate.yaml]
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ConfigFile {
    /// Its path, by default the first that is there.
    fn path(&self) -> Result<PathBuf, Failure> {
        self.config.clone().or_else(config::default_path).ok_or_else(|| {
            Failure::Usage(
                "no configuration: neither conf/tollgate.yaml nor /etc/tollgate/tollgate.yaml is \
                 there; give one with -c FILE (an empty file means the defaults)"
                    .to_owned(),
            )
        })
    }

    /// Reads and checks it.
    fn load(&self) -> Result<Config, Failure> {
        load(&self.path()?)
    }
}

fn load(path: &Path) -> Result<Config, Failure> {
    config::load(path).map_err(|errors| Failure::Config(errors.to_string()))
}

/// Runs the command that the process was called with.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nothing can be done about a terminal that is gone.
            let _unseen = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    let mut out = Out::stdout();
    let done = dispatch(&cli, &mut out).and_then(|()| out.flush());
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(&mut std::io::stderr()),
    }
}

fn dispatch(cli: &Cli, out: &mut Out) -> Result<(), Failure> {
    if cli.version {
        return version::print(cli.json, out);
    }
    match &cli.command {
        Some(Command::Serve(serve)) => serve.run(out),
        Some(Command::Check(file)) => check::run(file, out),
        Some(Command::Schema) => check::schema(out),
        Some(Command::Accounts(accounts)) => accounts.run(out),
        Some(Command::Keys(keys)) => keys.run(out),
        Some(Command::Usage(usage)) => usage.run(out),
        Some(Command::Report(report)) => report.run(out),
        Some(Command::Ledger(ledger)) => ledger.run(out),
        Some(Command::Prices(prices)) => prices.run(out),
        Some(Command::Invoices(invoices)) => invoices.run(out),
        None => Err(Failure::Usage("no command; see tollgate --help".to_owned())),
    }
}

/// A variable of the environment; empty counts as absent.
#[expect(clippy::disallowed_methods, reason = "the command line may read the environment")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_commands_are_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_contracts_commands_are_understood() {
        for line in [
            "tollgate serve",
            "tollgate serve -c a.yaml --upgrade",
            "tollgate check -c a.yaml",
            "tollgate schema",
            "tollgate usage --account a --from 2026-11-01 --to 2026-12-01 --by request --format json",
            "tollgate usage -c a.yaml --by day --format csv",
            "tollgate accounts create --name Shop --plan pro --override concurrent=5",
            "tollgate accounts list --format json",
            "tollgate accounts show a -c a.yaml --format json",
            "tollgate accounts set-plan a free",
            "tollgate accounts suspend a",
            "tollgate accounts resume a",
            "tollgate accounts delete a",
            "tollgate ledger verify -c a.yaml --format json",
            "tollgate ledger rebuild",
            "tollgate keys create --account a --name ci",
            "tollgate keys list --account a --format csv",
            "tollgate keys rotate key_1 --grace 1h",
            "tollgate keys revoke key_1",
            "tollgate report cache",
            "tollgate report cache -c a.yaml --from 2026-11-01 --to 2026-12-01 --format csv",
            "tollgate prices import prices.json",
            "tollgate prices import prices.json --provider openai --output conf/prices.yaml",
            "tollgate invoices generate --month 2026-11",
            "tollgate invoices list --status final --format csv",
            "tollgate invoices show inv_1",
            "tollgate invoices finalize inv_1",
            "tollgate invoices void inv_1 --format json",
            "tollgate invoices export inv_1 --format csv",
            "tollgate invoices push inv_1",
            "tollgate --version",
            "tollgate --version --json",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).is_ok(), "{line}");
        }
        for line in [
            "tollgate",
            "tollgate server",
            "tollgate usage --by hour",
            "tollgate usage --format xml",
            "tollgate --json",
            "tollgate check a.yaml",
            "tollgate ledger",
            "tollgate ledger verify --format csv",
            "tollgate accounts",
            "tollgate accounts create --name Shop",
            "tollgate accounts show",
            "tollgate accounts set-plan a",
            "tollgate keys create",
            "tollgate keys revoke",
            "tollgate report",
            "tollgate report cache --format xml",
            "tollgate prices import",
            "tollgate invoices generate",
            "tollgate invoices export inv_1 --format pdf",
        ] {
            let error = Cli::try_parse_from(line.split(' ')).unwrap_err();
            assert!(error.use_stderr(), "{line}");
        }
    }
}
