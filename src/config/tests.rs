//! Covers J3: configuration in YAML, checked with line and column.

mod contract;
mod defaults;
mod errors;
mod manner;
mod meaning;
mod outside;
mod prices;
mod rewrite;

use std::collections::BTreeMap;
use std::path::Path;

use super::{Config, Environment, Errors, parse};

/// Surroundings that a test makes up.
#[derive(Default)]
struct Surroundings {
    variables: BTreeMap<String, String>,
    open_files: Option<u64>,
}

impl Surroundings {
    fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }
}

impl Environment for Surroundings {
    fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).cloned()
    }

    fn open_files(&self) -> Option<u64> {
        self.open_files
    }
}

fn source() -> &'static Path {
    Path::new("conf/tollgate.yaml")
}

/// The meaning of `text`, which must be right.
fn config(text: &str) -> Config {
    parse(text, source(), &Surroundings::default()).unwrap_or_else(|errors| panic!("{errors}"))
}

fn errors(text: &str) -> Errors {
    parse(text, source(), &Surroundings::default()).expect_err("the text is wrong")
}

/// The errors of `text` as `line:column: message`.
fn lines(text: &str) -> Vec<String> {
    let line =
        |error: &super::ConfigError| format!("{}:{}: {}", error.line, error.column, error.message);
    errors(text).iter().map(line).collect()
}

/// That `text` has exactly one error, at `line:column`, with `words` in it.
#[track_caller]
fn one_error(text: &str, place: &str, words: &str) {
    let lines = lines(text);
    assert_eq!(lines.len(), 1, "{lines:#?}");
    let (line, rest) = lines[0].split_once(": ").expect("a place and a message");
    assert_eq!(line, place, "{rest}");
    assert!(rest.contains(words), "{rest}");
}
