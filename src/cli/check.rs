//! `tollgate check` and `tollgate schema`.

use super::out::{Failure, Out};
use super::{ConfigFile, load};
use crate::config::{self, Errors};
use crate::connection::Certificate;

/// Checks a configuration and says what is off or not in force yet.
pub(super) fn run(file: &ConfigFile, out: &mut Out) -> Result<(), Failure> {
    let path = file.path()?;
    let checked = load(&path)?;
    if let Some(files) = &checked.listen.tls {
        Certificate::load(files).map_err(|error| {
            let place = error.place(files);
            Failure::Config(Errors::at(&path, place, error.to_string()).to_string())
        })?;
    }
    for provider in &checked.providers {
        if let Some(reason) = &provider.off {
            out.line(&format!("provider {} is off: {reason}", provider.name))?;
        }
    }
    if !checked.not_in_force.is_empty() {
        let keys = checked.not_in_force.join(", ");
        out.line(&format!("accepted and checked, but not in force yet: {keys}"))?;
    }
    for warning in &checked.warnings {
        out.line(&format!("warning: {warning}"))?;
    }
    out.line(&format!("{}: ok", path.display()))
}

/// Prints the JSON Schema of the configuration.
pub(super) fn schema(out: &mut Out) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(&config::schema())
        .map_err(|error| Failure::Failed(format!("cannot write the schema: {error}")))?;
    out.line(&text)
}
