//! `tollgate accounts providers` and `tollgate accounts models`: what accounts have
//! of their own.

use std::io::Read;
use std::path::PathBuf;

use clap::Subcommand;
use serde_json::{Value, json};

use super::ConfigFile;
use super::accounts::client_path;
use super::client::{AdminClient, Method};
use super::format::{self, Columns};
use super::object::{Shape, follow, print_object, run, segment};
use super::out::{Failure, Out};

/// Longest key, in bytes; more is no key.
const LONGEST_KEY: u64 = 4_096;

/// Options of `tollgate accounts providers`.
#[derive(Debug, clap::Args)]
pub(super) struct Providers {
    #[command(subcommand)]
    what: WithProviders,
}

#[derive(Debug, Subcommand)]
enum WithProviders {
    /// Give an account a provider, in the place of one of this name
    Add {
        /// The account's id
        account: String,
        /// The provider's name
        name: String,
        /// Its base, such as `https://api.openai.com/v1`
        #[arg(long, value_name = "URL")]
        base_url: String,
        /// What it speaks
        #[arg(long, value_parser = ["openai", "anthropic", "gemini"], default_value = "openai")]
        dialect: String,
        /// The file that its key is in; - is the standard input [default: no key]
        #[arg(long, value_name = "FILE")]
        api_key_file: Option<PathBuf>,
        #[command(flatten)]
        shape: Shape,
        #[command(flatten)]
        file: ConfigFile,
    },
    /// List an account's providers
    List(Whose),
    /// Take a provider from an account
    Remove(Named),
}

/// Options of `tollgate accounts models`.
#[derive(Debug, clap::Args)]
pub(super) struct Models {
    #[command(subcommand)]
    what: WithModels,
}

#[derive(Debug, Subcommand)]
enum WithModels {
    /// Give an account a model, in the place of one of this name
    Add {
        /// The account's id
        account: String,
        /// The name that the account uses
        name: String,
        /// The account's provider that it runs on [default: none: --model is a public model]
        #[arg(long, value_name = "NAME")]
        provider: Option<String>,
        /// The provider's name of it [default: the same]
        #[arg(long, value_name = "NAME")]
        model: Option<String>,
        #[command(flatten)]
        shape: Shape,
        #[command(flatten)]
        file: ConfigFile,
    },
    /// List an account's models
    List(Whose),
    /// Take a model from an account
    Remove(Named),
}

/// Whose list is meant.
#[derive(Debug, clap::Args)]
struct Whose {
    /// The account's id
    account: String,
    /// How to print it
    #[arg(long, value_enum, default_value_t = format::Format::Table)]
    format: format::Format,
    #[command(flatten)]
    file: ConfigFile,
}

/// Which one is meant.
#[derive(Debug, clap::Args)]
struct Named {
    /// The account's id
    account: String,
    /// Its name
    name: String,
    #[command(flatten)]
    shape: Shape,
    #[command(flatten)]
    file: ConfigFile,
}

impl Providers {
    /// Does it and prints what came of it.
    pub(super) fn run(&self, out: &mut Out) -> Result<(), Failure> {
        match &self.what {
            WithProviders::Add { account, name, base_url, dialect, api_key_file, shape, file } => {
                let key = api_key_file.as_ref().map(read_key).transpose()?;
                let body = json!({
                    "name": name, "base_url": base_url, "dialect": dialect, "api_key": key,
                });
                let fields = &["name", "dialect", "base_url", "api_key", "created_at"];
                add(file, &path(account, "providers")?, &body, fields, shape, out)
            }
            WithProviders::List(whose) => whose.list("providers", Columns::OwnProviders, out),
            WithProviders::Remove(named) => named.remove("providers", out),
        }
    }
}

impl Models {
    /// Does it and prints what came of it.
    pub(super) fn run(&self, out: &mut Out) -> Result<(), Failure> {
        match &self.what {
            WithModels::Add { account, name, provider, model, shape, file } => {
                let body = json!({ "name": name, "provider": provider, "model": model });
                let fields = &["name", "provider", "model", "created_at"];
                add(file, &path(account, "models")?, &body, fields, shape, out)
            }
            WithModels::List(whose) => whose.list("models", Columns::OwnModels, out),
            WithModels::Remove(named) => named.remove("models", out),
        }
    }
}

impl Whose {
    fn list(&self, what: &str, columns: Columns, out: &mut Out) -> Result<(), Failure> {
        let client = AdminClient::find(&self.file)?;
        run(follow(&client, &path(&self.account, what)?, &[], self.format, columns, out))
    }
}

impl Named {
    fn remove(&self, what: &str, out: &mut Out) -> Result<(), Failure> {
        let path = format!("{}/{}", path(&self.account, what)?, segment(&self.name)?);
        let client = AdminClient::find(&self.file)?;
        let object = run(client.send(Method::DELETE, &path, None))?;
        print_object(&object, &["name", "deleted"], &self.shape, out)
    }
}

fn path(account: &str, what: &str) -> Result<String, Failure> {
    Ok(format!("{}/{what}", client_path(account)?))
}

fn add(
    file: &ConfigFile,
    path: &str,
    body: &Value,
    fields: &[&str],
    shape: &Shape,
    out: &mut Out,
) -> Result<(), Failure> {
    let client = AdminClient::find(file)?;
    let object = run(client.send(Method::POST, path, Some(body)))?;
    print_object(&object, fields, shape, out)
}

/// The key in a file: not on the command line, which others can see.
fn read_key(file: &PathBuf) -> Result<String, Failure> {
    let mut text = String::new();
    let read = match file.as_os_str() == "-" {
        true => std::io::stdin().lock().take(LONGEST_KEY).read_to_string(&mut text),
        false => std::fs::File::open(file)
            .and_then(|file| file.take(LONGEST_KEY).read_to_string(&mut text)),
    };
    read.map_err(|error| Failure::Failed(format!("cannot read {}: {error}", file.display())))?;
    Ok(text.trim().to_owned())
}
