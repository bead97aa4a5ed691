//! How a provider's server differs from others of its dialect.

use std::sync::Arc;

use crate::config::field::Field;
use crate::config::raw::{RawAuth, RawProvider};
use crate::config::report::Report;
use crate::config::types::{Auth, Dialect, Manner};

/// Checks what `entry`, a provider of `dialect`, says of its server.
pub(super) fn check(entry: &RawProvider, dialect: Dialect, report: &mut Report) -> Manner {
    if dialect == Dialect::Sandbox {
        for (key, mark) in [("auth", entry.auth.mark()), ("query", entry.query.mark())] {
            if let Some(mark) = mark {
                report.error(mark, format!("a sandbox has no `{key}`"));
            }
        }
    }
    if dialect != Dialect::OpenAi {
        for (key, mark) in
            [("model_path", entry.model_path.mark()), ("responses", entry.responses.mark())]
        {
            if let Some(mark) = mark {
                report.error(mark, format!("only a provider of the dialect openai has `{key}`"));
            }
        }
    }
    let usual = Manner::usual(dialect);
    let auth = entry.auth.value().map_or(usual.auth, |auth| match auth {
        RawAuth::Bearer => Auth::Bearer,
        RawAuth::ApiKey => Auth::ApiKey,
        RawAuth::XApiKey => Auth::XApiKey,
        RawAuth::XGoogApiKey => Auth::XGoogApiKey,
    });
    Manner {
        auth,
        query: query(&entry.query, report),
        model_path: model_path(&entry.model_path, report),
        lacks_responses: !entry.responses.or(true),
        ..usual
    }
}

/// A query string without its question mark.
fn query(field: &Field<String>, report: &mut Report) -> Option<Arc<str>> {
    let (mark, text) = field.placed()?;
    let fits =
        |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#' | b'"' | b'<' | b'>');
    if text.is_empty() || !text.bytes().all(fits) {
        report.error(mark, "expected a query string such as api-version=2024-10-21");
        return None;
    }
    Some(Arc::from(text.as_str()))
}

/// A path with one `{model}` in it.
fn model_path(field: &Field<String>, report: &mut Report) -> Option<Arc<str>> {
    let (mark, text) = field.placed()?;
    let text = text.trim_end_matches('/');
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.~%:@".contains(&byte);
    let parts: Vec<&str> = text.split("{model}").collect();
    let fits = matches!(parts.as_slice(), [before, after]
        if before.starts_with('/') && before.bytes().chain(after.bytes()).all(plain));
    if !fits {
        report.error(mark, "expected a path with {model} once, such as /deployments/{model}");
        return None;
    }
    Some(Arc::from(text))
}
