//! The headers of every answer, and refusals as HTTP.

use std::time::Duration;

use bytes::Bytes;
use http::header::{AGE, ALLOW, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::json;

use crate::app::App;
use crate::exchange::{AnswerHead, Client, Exchange, Gone, RateStanding};
use crate::notice::Kind;
use crate::refusal::Refusal;

/// Headers of a provider's answer that stay here: framing is made anew, and the
/// seller's account with the provider is no customer's business.
const WITHHELD: [HeaderName; 21] = [
    HeaderName::from_static("connection"),
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("transfer-encoding"),
    HeaderName::from_static("content-length"),
    HeaderName::from_static("trailer"),
    HeaderName::from_static("upgrade"),
    HeaderName::from_static("date"),
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("openai-organization"),
    HeaderName::from_static("openai-project"),
    HeaderName::from_static("anthropic-organization-id"),
    HeaderName::from_static("set-cookie"),
    // They speak of the provider's host, or would be taken to speak of ours.
    HeaderName::from_static("server"),
    HeaderName::from_static("via"),
    HeaderName::from_static("x-powered-by"),
    HeaderName::from_static("nel"),
    HeaderName::from_static("report-to"),
    HeaderName::from_static("location"),
    HeaderName::from_static("alt-svc"),
    HeaderName::from_static("strict-transport-security"),
];

/// The provider's headers that a customer may see.
pub fn returned(provider: &HeaderMap) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(provider.len() + 16);
    for (name, value) in provider {
        let withheld = WITHHELD.contains(name)
            || name.as_str().starts_with("x-ratelimit-")
            || name.as_str().starts_with("anthropic-ratelimit-")
            || name.as_str().starts_with("x-tollgate-");
        if !withheld {
            headers.append(name.clone(), value.clone());
        }
    }
    headers
}

/// Puts Tollgate's own headers on an answer, which then are none that the class may
/// change.
///
/// `waited` is the time spent waiting for a provider or for the client's body,
/// which is not overhead.
pub fn stamp(headers: &mut HeaderMap, exchange: &Exchange, now: Duration) {
    if let Some(class) = &exchange.class {
        class.headers.response.apply(headers);
    }
    put(headers, "x-request-id", &exchange.request_id);
    headers.insert("x-tollgate-cache", HeaderValue::from_static(exchange.cache.as_str()));
    if let Some(age) = exchange.age {
        headers.insert(AGE, HeaderValue::from(age));
    }
    if let Some(class) = &exchange.class {
        put(headers, "x-tollgate-class", &class.name);
    }
    if let Some(route) = &exchange.route {
        put(headers, "x-tollgate-route", route);
    }
    if let Some(standing) = &exchange.standing {
        stamp_standing(headers, standing);
    }
    if let Some(standing) = &exchange.token_standing {
        stamp_tokens(headers, standing);
    }
    if let Some(left) = exchange.quota_left {
        headers.insert("x-tollgate-quota-remaining", HeaderValue::from(left));
    }
    stamp_warnings(headers, &exchange.warnings);
    let own = now.saturating_sub(exchange.started).saturating_sub(exchange.waited);
    put(headers, "x-tollgate-overhead-ms", &millis(own));
}

/// Says of which monthly limits a threshold was reached: `quota=80, budget=100`.
pub fn stamp_warnings(headers: &mut HeaderMap, warnings: &[(Kind, u8)]) {
    if warnings.is_empty() {
        return;
    }
    let parts: Vec<_> =
        warnings.iter().map(|(kind, percent)| format!("{}={percent}", kind.as_str())).collect();
    put(headers, "x-tollgate-warning", &parts.join(", "));
}

fn stamp_standing(headers: &mut HeaderMap, standing: &RateStanding) {
    headers.insert("x-ratelimit-limit-requests", HeaderValue::from(standing.limit));
    headers.insert("x-ratelimit-remaining-requests", HeaderValue::from(standing.remaining));
    put(headers, "x-ratelimit-reset-requests", &openai_duration(standing.reset));
}

/// Puts on an answer where the account's tokens stand.
pub fn stamp_tokens(headers: &mut HeaderMap, standing: &RateStanding) {
    headers.insert("x-ratelimit-limit-tokens", HeaderValue::from(standing.limit));
    headers.insert("x-ratelimit-remaining-tokens", HeaderValue::from(standing.remaining));
    put(headers, "x-ratelimit-reset-tokens", &openai_duration(standing.reset));
}

/// Sets a header whose value is ours; one that HTTP cannot carry is left out.
pub fn put(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// Answers `refusal` in the OpenAI shape and counts it.
///
/// # Errors
/// [`Gone`] if the client has left.
pub async fn refuse<C: Client>(
    app: &App,
    client: &mut C,
    exchange: &Exchange,
    refusal: &Refusal,
) -> Result<(), Gone> {
    if let Some(layer) = refusal.layer {
        app.metrics.refused(layer, refusal.window);
    }
    if !exchange.billed {
        count(app, exchange, refusal.status);
    }
    let mut headers = HeaderMap::with_capacity(16);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(wait) = refusal.retry_after {
        let exact = ceil_div(wait.as_nanos(), 1_000_000);
        put(&mut headers, "retry-after-ms", &exact.to_string());
        put(&mut headers, "retry-after", &ceil_div(exact, 1_000).to_string());
    }
    if refusal.in_vain {
        // The official SDKs heed this.
        headers.insert("x-should-retry", HeaderValue::from_static("false"));
    }
    if let Some(methods) = refusal.allow {
        headers.insert(ALLOW, HeaderValue::from_static(methods));
    }
    stamp(&mut headers, exchange, app.clock.monotonic());
    let body = error_body(refusal, &exchange.request_id);
    client.send_whole(AnswerHead { status: refusal.status, headers }, body).await
}

/// Counts an answer that no bill counts.
pub fn count(app: &App, exchange: &Exchange, status: StatusCode) {
    let class = exchange.class.as_ref().map_or("none", |class| &class.name);
    let plan = exchange.plan.as_deref().unwrap_or("none");
    app.metrics.answered(class, plan, status.as_u16());
}

/// The OpenAI error object with all four fields, plus the request's id.
pub fn error_body(refusal: &Refusal, request_id: &str) -> Bytes {
    let object = json!({
        "error": {
            "message": refusal.message,
            "type": refusal.code.kind(),
            "param": refusal.param,
            "code": refusal.code.as_str(),
            "request_id": request_id,
        }
    });
    Bytes::from(object.to_string())
}

/// Milliseconds with microseconds: `0.182`.
fn millis(span: Duration) -> String {
    let micros = span.as_micros();
    format!("{}.{:03}", micros / 1_000, micros % 1_000)
}

/// A duration as OpenAI writes them in `x-ratelimit-reset-*`: `120ms`, `1.2s`,
/// `6m0s`, `1h30m0s`.
fn openai_duration(span: Duration) -> String {
    let millis = ceil_div(span.as_nanos(), 1_000_000);
    let (seconds, rest) = (millis / 1_000, millis % 1_000);
    if seconds == 0 {
        return format!("{rest}ms");
    }
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let fraction = format!(".{rest:03}");
    let seconds = format!("{seconds}{}s", fraction.trim_end_matches('0').trim_end_matches('.'));
    match (hours, minutes) {
        (0, 0) => seconds,
        (0, minutes) => format!("{minutes}m{seconds}"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}"),
    }
}

fn ceil_div(value: u128, by: u128) -> u128 {
    value.div_ceil(by)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::refusal::Code;

    #[test]
    fn durations_are_written_as_openai_writes_them() {
        for (millis, text) in [
            (0, "0ms"),
            (120, "120ms"),
            (1_000, "1s"),
            (1_200, "1.2s"),
            (60_000, "1m0s"),
            (61_005, "1m1.005s"),
            (5_400_000, "1h30m0s"),
        ] {
            assert_eq!(openai_duration(Duration::from_millis(millis)), text);
        }
        assert_eq!(openai_duration(Duration::from_micros(1)), "1ms");
        assert_eq!(millis(Duration::from_micros(182)), "0.182");
    }

    #[test]
    fn an_error_has_all_four_fields_and_the_id() {
        let refusal = Refusal::new(Code::InvalidValue, "no").param("stream");
        let value: serde_json::Value =
            serde_json::from_slice(&error_body(&refusal, "req_1")).unwrap();
        assert_eq!(
            value,
            json!({"error": {"message": "no", "type": "invalid_request_error",
                   "param": "stream", "code": "invalid_value", "request_id": "req_1"}})
        );
    }
}
