//! `tollgate accounts`.

use clap::Subcommand;
use serde_json::{Map, Value, json};

use super::ConfigFile;
use super::client::{AdminClient, Method};
use super::format::{self, Columns};
use super::object::{Shape, follow, print_object, run};
use super::out::{Failure, Out};
use super::own;

/// The fields of an account.
const FIELDS: &[&str] = &["id", "name", "plan", "status", "external_id", "overrides", "created_at"];
/// Where accounts are.
const PATH: &str = "/admin/accounts";

/// Options of `tollgate accounts`.
#[derive(Debug, clap::Args)]
pub(super) struct Accounts {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Make an account
    Create {
        /// Its name
        #[arg(long)]
        name: String,
        /// Its plan
        #[arg(long)]
        plan: String,
        /// Its id [default: a new one]
        #[arg(long)]
        id: Option<String>,
        /// What your own application calls it
        #[arg(long, value_name = "ID")]
        external_id: Option<String>,
        /// A figure of its own instead of the plan's, such as
        /// requests_per_minute=100, requests_per_month=unlimited or
        /// prices.documentation=0.005; may be given several times
        #[arg(long = "override", value_name = "NAME=VALUE")]
        overrides: Vec<String>,
        #[command(flatten)]
        shape: Shape,
        #[command(flatten)]
        file: ConfigFile,
    },
    /// List the accounts
    List {
        /// How to print them
        #[arg(long, value_enum, default_value_t = format::Format::Table)]
        format: format::Format,
        #[command(flatten)]
        file: ConfigFile,
    },
    /// Show an account
    Show(One),
    /// Give an account another plan
    SetPlan {
        /// The account's id
        id: String,
        /// The plan
        plan: String,
        #[command(flatten)]
        shape: Shape,
        #[command(flatten)]
        file: ConfigFile,
    },
    /// Refuse an account's requests until it is resumed
    Suspend(One),
    /// Serve a suspended account again
    Resume(One),
    /// Remove an account and its keys; its usage records stay
    Delete(One),
    /// Give, list and take an account's own providers
    Providers(own::Providers),
    /// Give, list and take an account's own models
    Models(own::Models),
}

/// Which account is meant.
#[derive(Debug, clap::Args)]
struct One {
    /// The account's id
    id: String,
    #[command(flatten)]
    shape: Shape,
    #[command(flatten)]
    file: ConfigFile,
}

impl Accounts {
    /// Does it and prints what came of it.
    pub(super) fn run(&self, out: &mut Out) -> Result<(), Failure> {
        match &self.what {
            What::List { format, file } => {
                let client = AdminClient::find(file)?;
                run(follow(&client, PATH, &[], *format, Columns::Accounts, out))
            }
            What::Create { name, plan, id, external_id, overrides, shape, file } => {
                let own = if overrides.is_empty() { Value::Null } else { figures(overrides)? };
                let body = json!({
                    "id": id, "name": name, "plan": plan, "external_id": external_id,
                    "overrides": own,
                });
                send(file, Method::POST, PATH, Some(&body), shape, out)
            }
            What::Show(one) => one.send(Method::GET, None, out),
            What::SetPlan { id, plan, shape, file } => {
                let path = client_path(id)?;
                send(file, Method::PATCH, &path, Some(&json!({ "plan": plan })), shape, out)
            }
            What::Suspend(one) => {
                one.send(Method::PATCH, Some(json!({ "status": "suspended" })), out)
            }
            What::Resume(one) => one.send(Method::PATCH, Some(json!({ "status": "active" })), out),
            What::Delete(one) => one.send(Method::DELETE, None, out),
            What::Providers(providers) => providers.run(out),
            What::Models(models) => models.run(out),
        }
    }
}

impl One {
    fn send(&self, method: Method, body: Option<Value>, out: &mut Out) -> Result<(), Failure> {
        let path = client_path(&self.id)?;
        send(&self.file, method, &path, body.as_ref(), &self.shape, out)
    }
}

fn send(
    file: &ConfigFile,
    method: Method,
    path: &str,
    body: Option<&Value>,
    shape: &Shape,
    out: &mut Out,
) -> Result<(), Failure> {
    let client = AdminClient::find(file)?;
    let deleted = method == Method::DELETE;
    let object = run(client.send(method, path, body))?;
    print_object(&object, if deleted { &["id", "deleted"] } else { FIELDS }, shape, out)
}

pub(super) fn client_path(id: &str) -> Result<String, Failure> {
    Ok(format!("{PATH}/{}", super::object::segment(id)?))
}

/// The figures of `--override`: `name=value`, a dot leading into an object.
fn figures(given: &[String]) -> Result<Value, Failure> {
    let mut figures = Map::new();
    for text in given {
        let (name, value) = text
            .split_once('=')
            .ok_or_else(|| Failure::Usage(format!("--override {text:?}: expected NAME=VALUE")))?;
        // A number stays one; all else is a text.
        let read = || match value.parse::<u64>() {
            Ok(number) => json!(number),
            Err(_) => json!(value),
        };
        match name.split_once('.') {
            None => drop(figures.insert(name.to_owned(), read())),
            // A price is a text, so that every decimal stays as it is.
            Some((object, name)) => {
                let inner = figures.entry(object).or_insert_with(|| json!({}));
                if let Some(inner) = inner.as_object_mut() {
                    inner.insert(name.to_owned(), json!(value));
                }
            }
        }
    }
    Ok(Value::Object(figures))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_as_the_api_wants_them() {
        let given =
            ["requests_per_minute=5", "concurrent=unlimited", "prices.a=0.010", "prices.b=1"];
        let figures = figures(&given.map(str::to_owned)).unwrap();
        let wanted = json!({
            "requests_per_minute": 5, "concurrent": "unlimited",
            "prices": {"a": "0.010", "b": "1"},
        });
        assert_eq!(figures, wanted);
        assert!(matches!(super::figures(&["a".to_owned()]), Err(Failure::Usage(_))));
    }
}
