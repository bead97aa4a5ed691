//! How a provider's server differs from others of its dialect.

use std::sync::Arc;

use super::common::size;
use crate::config::field::Field;
use crate::config::raw::{RawAuth, RawProvider, RawThinking, RawThinkingField, RawTokenLimit};
use crate::config::report::Report;
use crate::config::types::{Auth, Dialect, Manner, Thinking, ThinkingField, TokenLimit, Wording};

/// The largest bound of an image, in bytes.
const MOST_IMAGE: u64 = 1024 * 1024 * 1024;

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
        for (key, mark) in [
            ("model_path", entry.model_path.mark()),
            ("responses", entry.responses.mark()),
            ("token_limit", entry.token_limit.mark()),
            ("developer_role", entry.developer_role.mark()),
            ("thinking_field", entry.thinking_field.mark()),
        ] {
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
        wording: wording(entry, dialect, report),
        ..usual
    }
}

fn wording(entry: &RawProvider, dialect: Dialect, report: &mut Report) -> Wording {
    let image_limit = &entry.image_limit;
    let image_limit = image_limit.placed().map(|_| size(image_limit, 1..=MOST_IMAGE, report));
    Wording {
        thinking: thinking(&entry.thinking, dialect, report),
        token_limit: entry.token_limit.value().map(|limit| match limit {
            RawTokenLimit::MaxTokens => TokenLimit::MaxTokens,
            RawTokenLimit::MaxCompletionTokens => TokenLimit::MaxCompletionTokens,
        }),
        developer_role: entry.developer_role.value().copied(),
        thinking_field: match entry.thinking_field.value() {
            Some(RawThinkingField::Reasoning) => ThinkingField::Reasoning,
            Some(RawThinkingField::ReasoningContent) | None => ThinkingField::ReasoningContent,
        },
        image_limit,
    }
}

/// How a model at a provider of `dialect` is told to think, where it is said.
pub(super) fn thinking(
    field: &Field<RawThinking>,
    dialect: Dialect,
    report: &mut Report,
) -> Option<Thinking> {
    let (mark, raw) = field.placed()?;
    let thinking = match raw {
        RawThinking::None => Thinking::None,
        RawThinking::Effort => Thinking::Effort,
        RawThinking::Budget => Thinking::Budget,
        RawThinking::Adaptive => Thinking::Adaptive,
        RawThinking::Level => Thinking::Level,
    };
    let (fits, words): (&[Thinking], _) = match dialect {
        Dialect::OpenAi => (&[Thinking::Effort], "effort"),
        Dialect::Anthropic => (&[Thinking::Budget, Thinking::Adaptive], "budget or adaptive"),
        Dialect::Gemini => (&[Thinking::Budget, Thinking::Level], "budget or level"),
        Dialect::Sandbox => {
            report.error(mark, "a sandbox has no `thinking`");
            return None;
        }
    };
    if thinking != Thinking::None && !fits.contains(&thinking) {
        report.error(mark, format!("at a provider of this dialect it is none, {words}"));
        return None;
    }
    Some(thinking)
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
