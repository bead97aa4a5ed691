//! The configuration: typed, checked, with the contract's defaults.
//!
//! A file goes through steps, each in a file of its own: `tree` parses YAML and
//! remembers where every value stands, `substitute` fills `${VAR}`, `file:` and
//! `credential:` in, `defaults` lays the contract's defaults under it, `read`
//! fills the `raw` structs, which are what may be written, and `check` turns
//! them into [`Config`], which is what it means. Every error of a file is
//! reported at once with its line and column; no step stops at the first.

mod check;
mod defaults;
mod field;
mod force;
mod raw;
mod read;
mod report;
mod schema;
mod substitute;
mod tree;
mod types;

use std::io::Read;
use std::path::{Path, PathBuf};

pub use report::{ConfigError, Errors};
pub use schema::schema;
pub use substitute::{Environment, ProcessEnvironment};
pub use types::*;

use report::Report;

/// Largest configuration, in bytes.
const MAX_FILE: u64 = 1024 * 1024;

/// Where a configuration is looked for when none is named.
const PLACES: [&str; 2] = ["conf/tollgate.yaml", "/etc/tollgate/tollgate.yaml"];

/// The configuration that is used when none is named: the first that is there
/// of `conf/tollgate.yaml` and `/etc/tollgate/tollgate.yaml`.
pub fn default_path() -> Option<PathBuf> {
    PLACES.iter().map(PathBuf::from).find(|path| path.is_file())
}

/// The parts of a base URL such as `https://api.example.com/v1`.
///
/// # Errors
/// What is wrong with it; the URL itself is not shown.
pub fn base_url(text: &str) -> Result<BaseUrl, &'static str> {
    check::parse_url(text)
}

/// Reads and checks the configuration at `path` in the process's environment.
///
/// # Errors
/// Every error of the file; one if it cannot be read.
pub fn load(path: &Path) -> Result<Config, Errors> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes))
        .map_err(|error| Errors::whole(path, format!("cannot read it: {error}")))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(Errors::whole(path, format!("it is larger than {} KB", MAX_FILE / 1024)));
    }
    let text = String::from_utf8(bytes)
        .map_err(|_| Errors::whole(path, "it is not UTF-8 text".to_owned()))?;
    parse(&text, path, &ProcessEnvironment)
}

/// Checks `text`, the configuration at `source`. An empty text is valid and
/// means the defaults. `source` names the file in errors, and `file:` values
/// are relative to its directory.
///
/// # Errors
/// Every error of the text, in its order.
pub fn parse(text: &str, source: &Path, environment: &dyn Environment) -> Result<Config, Errors> {
    let mut report = Report::default();
    let (root, faults) = tree::parse(text);
    report.faults = faults;
    let config = root.and_then(|mut root| {
        let base = source.parent().unwrap_or(Path::new(""));
        substitute::substitute(&mut root, base, environment, &mut report.faults);
        let not_in_force = force::not_in_force(&root);
        let defaults = defaults::tree(environment, &mut report.faults);
        defaults::lay_under(&mut root, &defaults);
        let raw = read::read::<raw::RawConfig>(&root, &mut report.faults)?;
        let mut config = check::check(&raw, source, environment, &mut report);
        config.not_in_force = not_in_force;
        Some(config)
    });
    match (report.errors(source), config) {
        (Some(errors), _) => Err(errors),
        (None, Some(mut config)) => {
            config.warnings = report.warnings;
            Ok(config)
        }
        (None, None) => Err(Errors::whole(source, "it cannot be read".to_owned())),
    }
}

#[cfg(test)]
mod tests;
