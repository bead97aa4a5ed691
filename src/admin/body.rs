//! The body of a request: a JSON object whose every member is known.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{FromRequest, Request};
use serde_json::{Map, Value};

use super::error::ApiError;
use crate::base::money::Money;

/// Largest body, in bytes.
const LARGEST: usize = 64 * 1024;
/// Longest text in a body, in bytes.
const LONGEST: usize = 256;

/// The members of an object that have not been read yet. Every error names the
/// member at fault, with the path that leads to it.
#[derive(Debug, Default)]
pub(super) struct Members {
    path: String,
    members: Map<String, Value>,
}

/// What a request says about something that may be left out or taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said<T> {
    /// Nothing.
    Nothing,
    /// `null`: what was given before is taken back.
    Null,
    /// This.
    Value(T),
}

impl<T> Said<T> {
    /// The value; `null` is as good as nothing.
    pub(super) fn value(self) -> Option<T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Nothing | Self::Null => None,
        }
    }

    /// What `before` becomes.
    pub(super) fn or(self, before: Option<T>) -> Option<T> {
        match self {
            Self::Nothing => before,
            Self::Null => None,
            Self::Value(value) => Some(value),
        }
    }
}

impl<S: Send + Sync> FromRequest<S> for Members {
    type Rejection = ApiError;

    /// Whatever the content type says. No body is an empty object.
    async fn from_request(request: Request<Body>, _: &S) -> Result<Self, ApiError> {
        let body = to_bytes(request.into_body(), LARGEST).await.map_err(|_| ApiError::TooLarge)?;
        if body.trim_ascii().is_empty() {
            return Ok(Self::default());
        }
        let members = serde_json::from_slice(&body).map_err(|error| {
            // The error's own text may quote the body.
            let (line, column) = (error.line(), error.column());
            ApiError::BadJson(format!("it goes wrong at line {line}, column {column}"))
        })?;
        Ok(Self { path: String::new(), members })
    }
}

impl Members {
    /// The text called `name`; 1 to 256 bytes without control characters.
    pub(super) fn text(&mut self, name: &str) -> Result<Said<String>, ApiError> {
        let message = "a text of 1 to 256 bytes without control characters";
        self.read(name, message, |value| {
            let text = value.as_str()?;
            let fits = (1..=LONGEST).contains(&text.len()) && !text.trim().is_empty();
            (fits && !text.contains(char::is_control)).then(|| text.to_owned())
        })
    }

    /// The identifier called `name`, as the configuration's names are: 1 to 128
    /// visible ASCII characters without quotes, commas, semicolons and
    /// backslashes.
    pub(super) fn id(&mut self, name: &str) -> Result<Said<String>, ApiError> {
        let message = "1 to 128 visible ASCII characters, no quotes, commas, semicolons or \
                       backslashes";
        let allowed = |byte: u8| byte.is_ascii_graphic() && !b"\"',;\\`".contains(&byte);
        self.read(name, message, |value| {
            let text = value.as_str()?;
            let fits = (1..=128).contains(&text.len()) && text.bytes().all(allowed);
            fits.then(|| text.to_owned())
        })
    }

    /// The limit called `name`: a whole number from 1, or `unlimited`, which is
    /// the largest number.
    pub(super) fn limit(&mut self, name: &str) -> Result<Said<u64>, ApiError> {
        self.read(name, "a whole number from 1, or \"unlimited\"", |value| match value.as_str() {
            Some("unlimited") => Some(u64::MAX),
            Some(_) => None,
            None => value.as_u64().filter(|limit| *limit > 0),
        })
    }

    /// The same, below 2³² − 1.
    pub(super) fn small_limit(&mut self, name: &str) -> Result<Said<u32>, ApiError> {
        Ok(match self.limit(name)? {
            Said::Nothing => Said::Nothing,
            Said::Null => Said::Null,
            Said::Value(u64::MAX) => Said::Value(u32::MAX),
            Said::Value(limit) => match u32::try_from(limit) {
                Ok(limit) if limit < u32::MAX => Said::Value(limit),
                _ => return Err(self.bad(name, "a whole number below 4294967295")),
            },
        })
    }

    /// The budget called `name`: dollars a month, more than 0. As
    /// [`Said::Value`] of [`Money::MAX`], `unlimited`.
    pub(super) fn budget(&mut self, name: &str) -> Result<Said<Money>, ApiError> {
        let message = "dollars, more than 0, with at most 12 decimals, such as \"25\", or \
                       \"unlimited\"";
        self.read(name, message, |value| match value.as_str() {
            Some("unlimited") => Some(Money::MAX),
            _ => dollars(value).filter(|budget| !budget.is_zero()),
        })
    }

    /// The switch called `name`.
    pub(super) fn switch(&mut self, name: &str) -> Result<Said<bool>, ApiError> {
        self.read(name, "true or false", |value| match value.as_str() {
            Some(text) => text.parse().ok(),
            None => value.as_bool(),
        })
    }

    /// The duration called `name`: seconds, or a text such as `90s`, `30m`, `1h`
    /// or `7d`.
    pub(super) fn duration(&mut self, name: &str) -> Result<Said<Duration>, ApiError> {
        self.read(name, "seconds, or a text such as 90s, 30m, 1h or 7d", |value| {
            let Some(text) = value.as_str() else { return value.as_u64().map(Duration::from_secs) };
            let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
            let unit = match text.strip_prefix(digits)? {
                "" | "s" => 1,
                "m" => 60,
                "h" => 3_600,
                "d" => 86_400,
                _ => return None,
            };
            digits.parse::<u64>().ok()?.checked_mul(unit).map(Duration::from_secs)
        })
    }

    /// The object called `name`.
    pub(super) fn object(&mut self, name: &str) -> Result<Said<Self>, ApiError> {
        let path = format!("{}{name}.", self.path);
        self.read(name, "an object", |value| {
            let members = value.as_object()?.clone();
            Some(Self { path: path.clone(), members })
        })
    }

    /// What `parse` makes of the member called `name`; a `None` is an error with
    /// this `message`.
    pub(super) fn read<T>(
        &mut self,
        name: &str,
        message: &'static str,
        parse: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Said<T>, ApiError> {
        match self.members.remove(name) {
            None => Ok(Said::Nothing),
            Some(Value::Null) => Ok(Said::Null),
            Some(value) => parse(&value).map(Said::Value).ok_or_else(|| self.bad(name, message)),
        }
    }

    /// The names of the members that have not been read.
    pub(super) fn names(&self) -> Vec<String> {
        self.members.keys().cloned().collect()
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// 400 if a member has not been read: nobody knows it.
    pub(super) fn end(self) -> Result<(), ApiError> {
        match self.members.keys().next() {
            None => Ok(()),
            Some(name) => Err(self.bad(name, "there is no such field here")),
        }
    }

    /// The error about the member called `name`.
    pub(super) fn bad(&self, name: &str, message: &'static str) -> ApiError {
        ApiError::BadParameter { param: format!("{}{name}", self.path).into(), message }
    }
}

/// An amount of dollars, from 0: a number, or a text.
pub(super) fn dollars(value: &Value) -> Option<Money> {
    let number = value.is_number().then(|| value.to_string());
    let text = value.as_str().or(number.as_deref())?;
    text.parse().ok().filter(|amount| *amount >= Money::ZERO)
}
