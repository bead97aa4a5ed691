//! What is wrong with a configuration, all at once.

use std::fmt;
use std::path::Path;

use super::tree::{Fault, Mark};

/// One error of a configuration.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ConfigError {
    /// The file, as given.
    pub file: String,
    /// Line, from 1. What is wrong as a whole stands at 1:1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong, without any secret.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column, message } = self;
        write!(f, "{file}:{line}:{column}: {message}")
    }
}

/// Every error of a configuration, in the order of the file; at least one.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(transparent)]
pub struct Errors(Vec<ConfigError>);

impl Errors {
    /// The error that is about the file as a whole.
    pub fn whole(file: &Path, message: String) -> Self {
        Self::at(file, (1, 1), message)
    }

    /// One error about what stands at `place`, its line and column.
    pub fn at(file: &Path, (line, column): (usize, usize), message: String) -> Self {
        let file = file.display().to_string();
        Self(vec![ConfigError { file, line, column, message }])
    }

    /// The errors in the order of the file.
    pub fn iter(&self) -> std::slice::Iter<'_, ConfigError> {
        self.0.iter()
    }
}

impl<'a> IntoIterator for &'a Errors {
    type Item = &'a ConfigError;
    type IntoIter = std::slice::Iter<'a, ConfigError>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Errors {
    /// One error a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Errors {}

/// Collects while a configuration is read and checked.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// Errors with their positions.
    pub(super) faults: Vec<Fault>,
    /// What is off or doubtful but no error, in sentences.
    pub(super) warnings: Vec<String>,
}

impl Report {
    /// Adds an error at `mark`.
    pub(super) fn error(&mut self, mark: Mark, message: impl Into<String>) {
        self.faults.push((mark, message.into()));
    }

    /// Adds a warning, a whole sentence.
    pub(super) fn warn(&mut self, sentence: impl Into<String>) {
        self.warnings.push(sentence.into());
    }

    /// The errors, if there are any, in the order of the file.
    pub(super) fn errors(&mut self, file: &Path) -> Option<Errors> {
        if self.faults.is_empty() {
            return None;
        }
        let mut faults = std::mem::take(&mut self.faults);
        faults.sort();
        faults.dedup();
        let file = file.display().to_string();
        let errors = faults.into_iter().map(|(mark, message)| {
            let (line, column, message) = if mark.is_default() {
                (1, 1, format!("in the built-in defaults: {message}"))
            } else {
                (mark.line, mark.column, message)
            };
            ConfigError { file: file.clone(), line, column, message }
        });
        Some(Errors(errors.collect()))
    }
}
