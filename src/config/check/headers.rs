//! The headers that a class changes.

use http::{HeaderName, HeaderValue};

use super::common::named;
use crate::config::field::Field;
use crate::config::raw::{RawHeaderChanges, RawHeaders};
use crate::config::report::Report;
use crate::config::tree::Mark;
use crate::config::types::{HeaderChanges, HeaderRules};

/// Headers that belong to one connection or to the form of a message, RFC 9110
/// §7.6.1 and §8, and those that Tollgate answers with or is steered by.
const NEVER: [&str; 27] = [
    "accept-encoding",
    "age",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "date",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "retry-after",
    "retry-after-ms",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "www-authenticate",
    "x-request-id",
    "x-should-retry",
];

/// Checks `headers`.
pub(super) fn check(raw: &Field<RawHeaders>, report: &mut Report) -> HeaderRules {
    let Some(raw) = raw.value() else { return HeaderRules::default() };
    HeaderRules { request: changes(&raw.request, report), response: changes(&raw.response, report) }
}

fn changes(raw: &Field<RawHeaderChanges>, report: &mut Report) -> HeaderChanges {
    let Some(raw) = raw.value() else { return HeaderChanges::default() };
    let mut changes = HeaderChanges::default();
    for (mark, text) in raw.remove.value().into_iter().flatten().filter_map(Field::placed) {
        changes.remove.extend(name(text, mark, report));
    }
    for (text, value) in raw.set.value().into_iter().flatten() {
        let Some((mark, value)) = value.placed() else {
            if let Field::Null(mark) = value {
                report.error(*mark, "a header has a value; `remove` takes it out");
            }
            continue;
        };
        let Some(name) = name(text, mark, report) else { continue };
        let plain = value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
        let value = HeaderValue::from_str(value.trim()).ok().filter(|_| plain);
        match value {
            Some(value) => changes.set.push((name, value)),
            None => report.error(mark, "a header's value is visible ASCII characters"),
        }
    }
    changes
}

/// A header that may be changed: none of the connection's, none that carries
/// credentials, none of Tollgate's own.
fn name(text: &str, mark: Mark, report: &mut Report) -> Option<HeaderName> {
    let shown = named(mark, text);
    let Ok(name) = HeaderName::from_bytes(text.as_bytes()) else {
        report.error(mark, format!("{shown} is no name of a header"));
        return None;
    };
    let lower = name.as_str();
    let secret = ["auth", "cookie", "secret", "token"].iter().any(|word| lower.contains(word))
        || lower.ends_with("key");
    if secret {
        let message =
            format!("{shown} carries credentials, which `providers[].api_key` is for, or a cookie");
        report.error(mark, message);
        return None;
    }
    let own = ["x-tollgate-", "x-ratelimit-", "sec-websocket-", "x-forwarded-"];
    if NEVER.contains(&lower) || own.iter().any(|prefix| lower.starts_with(prefix)) {
        report.error(mark, format!("{shown} is Tollgate's own to set"));
        return None;
    }
    Some(name)
}
