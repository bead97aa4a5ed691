//! The headers of every answer, and refusals as HTTP.

use std::fmt::{Display, Write as _};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{AGE, ALLOW, CONTENT_TYPE, IntoHeaderName};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::json;

use crate::app::App;
use crate::base::headers::{self as own, Fields};
use crate::base::money::Money;
use crate::exchange::{AnswerHead, Client, Errors, Exchange, Gone, RateStanding};
use crate::notice::Kind;
use crate::refusal::Refusal;

/// Headers that may be added to a provider's.
const MORE: usize = 4;

/// Whether a header of a provider's answer stays here: framing is made anew, and
/// the seller's account with the provider is no customer's business.
fn is_withheld(name: &str) -> bool {
    let known = matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "transfer-encoding"
            | "content-length"
            | "trailer"
            | "upgrade"
            | "date"
            | "x-request-id"
            | "request-id"
            | "openai-organization"
            | "openai-project"
            | "anthropic-organization-id"
            | "set-cookie"
            // They speak of the provider's host, or would be taken to speak of ours.
            | "server"
            | "via"
            | "x-powered-by"
            | "nel"
            | "report-to"
            | "location"
            | "alt-svc"
            | "strict-transport-security"
    );
    known
        || name.starts_with("x-ratelimit-")
        || name.starts_with("anthropic-ratelimit-")
        || name.starts_with("x-tollgate-")
}

/// The provider's headers that a customer may see.
pub fn returned(provider: &HeaderMap) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(provider.len() + MORE);
    for (name, value) in provider {
        if !is_withheld(name.as_str()) {
            headers.append(name.clone(), value.clone());
        }
    }
    headers
}

/// `headers` with room for Tollgate's own.
pub fn roomy(headers: &HeaderMap) -> HeaderMap {
    let mut roomy = HeaderMap::with_capacity(headers.len() + MORE);
    for (name, value) in headers {
        roomy.append(name.clone(), value.clone());
    }
    roomy
}

/// What the headers of an answer say of a request beyond its exchange.
#[derive(Clone, Copy, Debug)]
pub struct Said<'s, R> {
    /// The value of `x-tollgate-route`.
    pub route: Option<R>,
    /// Where the account's tokens stand.
    pub tokens: Option<RateStanding>,
    /// The month's limits of which a threshold was reached, in percent.
    pub warnings: &'s [(Kind, u8)],
    /// What the request costs.
    pub price: Option<Money>,
}

/// Tollgate's own headers of an answer whose others are `headers`; the class may
/// change those, not these.
///
/// `now` is on the monotonic clock.
pub fn stamp(headers: &mut HeaderMap, exchange: &Exchange, now: Duration) -> Fields {
    let said = Said {
        route: exchange.route.as_deref(),
        tokens: exchange.token_standing,
        warnings: &exchange.warnings,
        price: None,
    };
    stamp_as(headers, exchange, now, &said)
}

/// The same, where more is known.
pub fn stamp_as<R: Display>(
    headers: &mut HeaderMap,
    exchange: &Exchange,
    now: Duration,
    said: &Said<'_, R>,
) -> Fields {
    let mut fields = Fields::new();
    if let Some(class) = &exchange.class {
        class.headers.response.apply(headers);
        fields.text(&own::CLASS, &class.name);
    }
    fields.text(&own::REQUEST_ID, &exchange.request_id);
    if exchange.errors == Errors::Anthropic {
        // Where the SDKs of Anthropic look for it.
        headers.remove(own::ANTHROPIC_REQUEST_ID);
        fields.text(&own::ANTHROPIC_REQUEST_ID, &exchange.request_id);
    }
    fields.text(&own::CACHE, exchange.cache.as_str());
    if let Some(age) = exchange.age {
        headers.remove(AGE);
        fields.number(&AGE, age);
    }
    if let Some(route) = &said.route {
        fields.with(&own::ROUTE, |out| put_display(out, route));
    }
    if let Some(standing) = &exchange.standing {
        put_standing(&mut fields, &own::REQUESTS, standing);
    }
    if let Some(standing) = &said.tokens {
        put_standing(&mut fields, &own::TOKENS, standing);
    }
    if let Some(left) = exchange.quota_left {
        fields.number(&own::QUOTA_REMAINING, left);
    }
    put_warnings(&mut fields, said.warnings);
    if let Some(price) = said.price {
        fields.with(&own::PRICE, |out| put_display(out, &price));
    }
    // Time spent waiting for a provider or for the client's body is not ours.
    let ours = now.saturating_sub(exchange.started).saturating_sub(exchange.waited);
    fields.with(&own::OVERHEAD, |out| put_millis(out, ours));
    fields
}

/// `quota=80, budget=100`.
fn put_warnings(fields: &mut Fields, warnings: &[(Kind, u8)]) {
    if warnings.is_empty() {
        return;
    }
    let parts: Vec<_> =
        warnings.iter().map(|(kind, percent)| format!("{}={percent}", kind.as_str())).collect();
    fields.text(&own::WARNING, &parts.join(", "));
}

fn put_standing(
    fields: &mut Fields,
    [limit, remaining, reset]: &[HeaderName; 3],
    standing: &RateStanding,
) {
    fields.number(limit, standing.limit);
    fields.number(remaining, standing.remaining);
    fields.with(reset, |out| put_duration(out, standing.reset));
}

fn put_display(out: &mut BytesMut, value: &impl Display) {
    // Only a value's own `Display` could fail, and these do not.
    let _written = write!(out, "{value}");
}

/// Sets a header whose value is ours; one that HTTP cannot carry is left out.
pub fn put(headers: &mut HeaderMap, name: impl IntoHeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// Answers `refusal` in the shape of the path's API and counts it.
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
    let own = stamp(&mut headers, exchange, app.clock.monotonic());
    let body = error_body(exchange.errors, refusal, &exchange.request_id);
    client.send_whole(AnswerHead { status: refusal.status, headers, own }, body).await
}

/// Counts an answer that no bill counts.
pub fn count(app: &App, exchange: &Exchange, status: StatusCode) {
    let class = exchange.class.as_ref().map_or("none", |class| &class.name);
    let plan = exchange.plan.as_deref().unwrap_or("none");
    app.metrics.answered(class, plan, status.as_u16());
}

/// The error object of an API: OpenAI's with all four fields, plus the request's
/// id; or Anthropic's, plus our `code` and `param`.
pub fn error_body(errors: Errors, refusal: &Refusal, request_id: &str) -> Bytes {
    let object = match errors {
        Errors::OpenAi => json!({
            "error": {
                "message": refusal.message,
                "type": refusal.code.kind(),
                "param": refusal.param,
                "code": refusal.code.as_str(),
                "request_id": request_id,
            }
        }),
        Errors::Anthropic => json!({
            "type": "error",
            "error": {
                "type": anthropic_kind(refusal.status),
                "message": refusal.message,
                "param": refusal.param,
                "code": refusal.code.as_str(),
            },
            "request_id": request_id,
        }),
    };
    Bytes::from(object.to_string())
}

/// The `type` that Anthropic gives an error of this status. Source: Anthropic API
/// reference, "Errors"; where Anthropic has no such status, the type of its class.
const fn anthropic_kind(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 | 529 => "overloaded_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    }
}

/// Milliseconds with microseconds: `0.182`.
fn put_millis(out: &mut BytesMut, span: Duration) {
    let mut digits = itoa::Buffer::new();
    out.extend_from_slice(digits.format(span.as_millis()).as_bytes());
    put_thousandths(out, span.subsec_micros() % 1_000);
}

/// `.` and the three digits of `fraction`, which is below 1,000.
fn put_thousandths(out: &mut BytesMut, fraction: u32) {
    let mut digits = itoa::Buffer::new();
    let [_, fraction @ ..] = digits.format(1_000 + fraction).as_bytes() else { return };
    out.extend_from_slice(b".");
    out.extend_from_slice(fraction);
}

/// A duration as OpenAI writes them in `x-ratelimit-reset-*`: `120ms`, `1.2s`,
/// `6m0s`, `1h30m0s`. A begun millisecond counts.
fn put_duration(out: &mut BytesMut, span: Duration) {
    let mut digits = itoa::Buffer::new();
    let mut put = |out: &mut BytesMut, value: u64, unit: &[u8]| {
        out.extend_from_slice(digits.format(value).as_bytes());
        out.extend_from_slice(unit);
    };
    let millis = span.subsec_nanos().div_ceil(1_000_000);
    let (seconds, rest) = match millis {
        1_000 => (span.as_secs() + 1, 0),
        rest => (span.as_secs(), rest),
    };
    if seconds == 0 {
        return put(out, rest.into(), b"ms");
    }
    let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
    if hours > 0 {
        put(out, hours, b"h");
    }
    if hours > 0 || minutes > 0 {
        put(out, minutes, b"m");
    }
    put(out, seconds % 60, b"");
    if rest > 0 {
        put_thousandths(out, rest);
        while out.last() == Some(&b'0') {
            out.truncate(out.len() - 1);
        }
    }
    out.extend_from_slice(b"s");
}

fn ceil_div(value: u128, by: u128) -> u128 {
    value.div_ceil(by)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::refusal::Code;

    fn written(put: fn(&mut BytesMut, Duration), span: Duration) -> String {
        let mut out = BytesMut::new();
        put(&mut out, span);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn durations_are_written_as_openai_writes_them() {
        for (millis, text) in [
            (0, "0ms"),
            (120, "120ms"),
            (1_000, "1s"),
            (1_200, "1.2s"),
            (10_050, "10.05s"),
            (60_000, "1m0s"),
            (61_005, "1m1.005s"),
            (5_400_000, "1h30m0s"),
            (3_600_000, "1h0m0s"),
        ] {
            assert_eq!(written(put_duration, Duration::from_millis(millis)), text);
        }
        assert_eq!(written(put_duration, Duration::from_micros(1)), "1ms");
        assert_eq!(written(put_duration, Duration::from_micros(1_999_999)), "2s");
        assert_eq!(written(put_millis, Duration::from_micros(182)), "0.182");
        assert_eq!(written(put_millis, Duration::from_micros(1_234_050)), "1234.050");
    }

    #[test]
    fn an_error_has_all_four_fields_and_the_id() {
        let refusal = Refusal::new(Code::InvalidValue, "no").param("stream");
        let value: serde_json::Value =
            serde_json::from_slice(&error_body(Errors::OpenAi, &refusal, "req_1")).unwrap();
        assert_eq!(
            value,
            json!({"error": {"message": "no", "type": "invalid_request_error",
                   "param": "stream", "code": "invalid_value", "request_id": "req_1"}})
        );
    }

    #[test]
    fn an_error_has_anthropics_shape_on_its_paths() {
        let refusal = Refusal::new(Code::InvalidValue, "no").param("max_tokens");
        let body = error_body(Errors::Anthropic, &refusal, "req_1");
        let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            value,
            json!({"type": "error", "request_id": "req_1", "error": {"message": "no",
                   "type": "invalid_request_error", "param": "max_tokens",
                   "code": "invalid_value"}})
        );
        for (code, kind) in [
            (Code::InvalidJson, "invalid_request_error"),
            (Code::InvalidApiKey, "authentication_error"),
            (Code::ModelNotInPlan, "permission_error"),
            (Code::ModelNotFound, "not_found_error"),
            (Code::RequestTimeout, "invalid_request_error"),
            (Code::RequestTooLarge, "request_too_large"),
            (Code::InsufficientQuota, "rate_limit_error"),
            (Code::InternalError, "api_error"),
            (Code::UpstreamError, "api_error"),
            (Code::Overloaded, "overloaded_error"),
            (Code::UpstreamTimeout, "api_error"),
        ] {
            assert_eq!(anthropic_kind(code.status()), kind, "{code:?}");
        }
    }
}
