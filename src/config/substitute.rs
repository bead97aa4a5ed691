//! Values from outside the file: `${VAR}`, `${VAR:-default}`, `file:PATH` and
//! `credential:NAME`.
//!
//! Substitution works on the parsed tree, scalar by scalar, never on keys, so a
//! value cannot add keys, lists or lines. The grammar is the shell's:
//!
//! - `${VAR}` is the variable; not set is an error.
//! - `${VAR:-default}` is `default` where the variable is not set or empty.
//! - `$$` is `$`. Any other `$` is itself.
//! - A scalar that, as written, begins with `file:` is the content of that
//!   file (relative to the configuration's), one trailing line break cut. It
//!   works for every value: whoever writes the file may read with the rights of
//!   the process anyway. `${VAR}` may be part of the path; a variable's value
//!   that begins with `file:` is just text.
//! - `credential:NAME` is the same for the file `NAME` in
//!   `$CREDENTIALS_DIRECTORY`, where systemd puts a service's credentials.
//!
//! A plain scalar gets its type after substitution, a quoted one stays text.
//! What came from outside is marked, and never shown in an error.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::tree::{Fault, Kind, Node, Scalar};

/// Largest file that a value may come from, in bytes.
const MAX_FILE: u64 = 64 * 1024;

/// What a configuration may ask of its surroundings, so that tests own it.
pub trait Environment {
    /// The variable `name`, if it is set and is UTF-8.
    fn variable(&self, name: &str) -> Option<String>;

    /// How many descriptors the process may open; `None` where that is unknown
    /// or unlimited.
    fn open_files(&self) -> Option<u64>;
}

/// The process's own surroundings.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessEnvironment;

impl Environment for ProcessEnvironment {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that asks the process")]
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn open_files(&self) -> Option<u64> {
        let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
        soft_limit(&limits)
    }
}

/// The soft limit of open files in the text of `/proc/self/limits`.
fn soft_limit(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Substitutes in every scalar of `node`; `base` is the configuration's own
/// directory. Faults name variables and files, never values.
pub(super) fn substitute(
    node: &mut Node,
    base: &Path,
    environment: &dyn Environment,
    faults: &mut Vec<Fault>,
) {
    match &mut node.kind {
        Kind::Scalar(scalar) => match fill(scalar, base, environment) {
            Ok(outside) => node.mark.outside |= outside,
            Err(message) => {
                faults.push((node.mark, message));
                node.kind = Kind::Bad;
            }
        },
        Kind::Bad => {}
        Kind::List(items) => {
            for item in items {
                substitute(item, base, environment, faults);
            }
        }
        Kind::Map(entries) => {
            for entry in entries {
                substitute(&mut entry.value, base, environment, faults);
            }
        }
    }
}

/// Fills one scalar in; whether part of it came from outside.
fn fill(scalar: &mut Scalar, base: &Path, environment: &dyn Environment) -> Result<bool, String> {
    let source = ["file:", "credential:"].into_iter().find_map(|scheme| {
        scalar.text.strip_prefix(scheme).map(|rest| (scheme, rest.trim().to_owned()))
    });
    if let Some((scheme, rest)) = source {
        let name = expand(&rest, environment)?.map_or(rest, |(name, _)| name);
        let path = match scheme {
            "file:" => base.join(name),
            _ => credential(&name, environment)?,
        };
        scalar.text = read(&path).map_err(|reason| format!("`{}`: {reason}", scalar.text))?;
        return Ok(true);
    }
    let Some((text, outside)) = expand(&scalar.text, environment)? else { return Ok(false) };
    scalar.text = text;
    Ok(outside)
}

/// `text` with its variables filled in, and whether there were any; `None` if
/// there is no `$` in it.
fn expand(text: &str, environment: &dyn Environment) -> Result<Option<(String, bool)>, String> {
    if !text.contains('$') {
        return Ok(None);
    }
    let mut filled = String::with_capacity(text.len());
    let mut outside = false;
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        filled.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            filled.push('$');
            rest = after;
        } else if let Some(after) = after.strip_prefix('{') {
            let (inside, after) = after
                .split_once('}')
                .ok_or("`${` without its `}` (write `$$` for a dollar sign)")?;
            filled.push_str(&variable(inside, environment)?);
            outside = true;
            rest = after;
        } else {
            filled.push('$');
            rest = after;
        }
    }
    filled.push_str(rest);
    Ok(Some((filled, outside)))
}

/// The value of `NAME` or `NAME:-default`.
fn variable(inside: &str, environment: &dyn Environment) -> Result<String, String> {
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    let letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    if !name.bytes().next().is_some_and(letter)
        || !name.bytes().all(|byte| letter(byte) || byte.is_ascii_digit())
    {
        return Err("between `${` and `}` stands the name of a variable, or `NAME:-default`".into());
    }
    match (environment.variable(name), default) {
        (Some(value), None) => Ok(value),
        (Some(value), Some(_)) if !value.is_empty() => Ok(value),
        (_, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(format!(
            "the environment variable {name} is not set (`${{{name}:-}}` would allow that)"
        )),
    }
}

fn credential(name: &str, environment: &dyn Environment) -> Result<PathBuf, String> {
    if name.is_empty() || name.contains('/') || name.starts_with('.') {
        return Err("after `credential:` stands the name of a credential".to_owned());
    }
    match environment.variable("CREDENTIALS_DIRECTORY") {
        Some(directory) => Ok(Path::new(&directory).join(name)),
        None => Err(format!(
            "the credential {name} is not there: CREDENTIALS_DIRECTORY is not set \
             (systemd sets it for a service with LoadCredential=)"
        )),
    }
}

/// The content of a file; the error does not name it.
fn read(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes))
        .map_err(|error| format!("cannot read it: {error}"))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(format!("it is larger than {} KB", MAX_FILE / 1024));
    }
    let mut text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}
