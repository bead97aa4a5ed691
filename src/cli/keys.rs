//! `tollgate keys`.

use clap::Subcommand;
use serde_json::json;

use super::ConfigFile;
use super::client::{AdminClient, Method};
use super::format::{self, Columns};
use super::object::{Shape, follow, print_object, run, segment};
use super::out::{Failure, Out};

/// The fields of a key in lists.
const FIELDS: &[&str] =
    &["id", "account", "name", "prefix", "created_at", "revoked_at", "expires_at", "budget"];
/// The fields of a key that has just been made.
const MADE: &[&str] = &["id", "account", "name", "created_at", "budget", "key"];
/// Where keys are.
const PATH: &str = "/admin/keys";

/// Options of `tollgate keys`.
#[derive(Debug, clap::Args)]
pub(super) struct Keys {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Make a key and print it, once
    Create {
        /// The account that it stands for
        #[arg(long, value_name = "ID")]
        account: String,
        /// Its name
        #[arg(long)]
        name: Option<String>,
        /// Most that requests with it may cost in a month, in dollars [default:
        /// no limit of its own]
        #[arg(long, value_name = "DOLLARS")]
        budget: Option<String>,
        #[command(flatten)]
        shape: Shape,
        #[command(flatten)]
        file: ConfigFile,
    },
    /// List the keys, without their text
    List {
        /// Only this account's
        #[arg(long, value_name = "ID")]
        account: Option<String>,
        /// How to print them
        #[arg(long, value_enum, default_value_t = format::Format::Table)]
        format: format::Format,
        #[command(flatten)]
        file: ConfigFile,
    },
    /// Make a key in the place of another and print it, once
    Rotate {
        /// The old key's id
        id: String,
        /// How long the old key stays in force: 90s, 30m, 1h, 7d
        #[arg(long, value_name = "TIME", default_value = "0s")]
        grace: String,
        #[command(flatten)]
        shape: Shape,
        #[command(flatten)]
        file: ConfigFile,
    },
    /// Stop a key at once, for good
    Revoke {
        /// The key's id
        id: String,
        #[command(flatten)]
        shape: Shape,
        #[command(flatten)]
        file: ConfigFile,
    },
}

impl Keys {
    /// Does it and prints what came of it.
    pub(super) fn run(&self, out: &mut Out) -> Result<(), Failure> {
        match &self.what {
            What::List { account, format, file } => {
                let client = AdminClient::find(file)?;
                let query: Vec<_> = account.iter().map(|id| ("account", id.as_str())).collect();
                run(follow(&client, PATH, &query, *format, Columns::Keys, out))
            }
            What::Create { account, name, budget, shape, file } => {
                let body = json!({ "account": account, "name": name, "budget": budget });
                let client = AdminClient::find(file)?;
                let made = run(client.send(Method::POST, PATH, Some(&body)))?;
                print_object(&made, MADE, shape, out)
            }
            What::Rotate { id, grace, shape, file } => {
                let path = format!("{PATH}/{}/rotate", segment(id)?);
                let client = AdminClient::find(file)?;
                let body = json!({ "grace": grace });
                let made = run(client.send(Method::POST, &path, Some(&body)))?;
                print_object(&made, MADE, shape, out)
            }
            What::Revoke { id, shape, file } => {
                let path = format!("{PATH}/{}", segment(id)?);
                let client = AdminClient::find(file)?;
                let key = run(client.send(Method::DELETE, &path, None))?;
                print_object(&key, FIELDS, shape, out)
            }
        }
    }
}
