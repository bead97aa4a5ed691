//! The operators' listener. Covers C4, I4.

use serde_json::json;

use crate::harness::client::Request;
use crate::harness::provider::Provider;
use crate::harness::reply::Reply;
use crate::harness::setup::{ADMIN_TOKEN, DEFAULT_PLAN, PROVIDER_KEY, Tollgate, key_of};

#[tokio::test]
async fn health_needs_no_token() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).start().await;
    for path in ["/healthz", "/readyz", "/metrics"] {
        let answer = Request::get(path).send(gate.admin).await.ok();
        assert!(!answer.body.is_empty());
    }
}

#[tokio::test]
async fn a_gateway_without_a_usable_provider_is_alive_but_not_ready() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).provider("api_key", "").start().await;
    assert_eq!(Request::get("/healthz").send(gate.admin).await.status(), 200);
    assert_eq!(Request::get("/readyz").send(gate.admin).await.status(), 503);
}

#[tokio::test]
async fn everything_else_needs_the_admin_token() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).start().await;
    for path in ["/admin/usage?by=request", "/admin/config", "/admin/providers"] {
        for key in [None, Some(key_of(DEFAULT_PLAN)), Some(format!("{ADMIN_TOKEN}x"))] {
            let mut request = Request::get(path);
            if let Some(key) = key {
                request = request.bearer(&key);
            }
            request.send(gate.admin).await.refused(401, "invalid_api_key");
        }
        gate.admin(path).await.ok();
    }
}

#[tokio::test]
async fn the_customers_listener_has_none_of_it() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).start().await;
    for path in ["/metrics", "/healthz", "/admin/usage?by=request", "/admin/config"] {
        let answer = gate.send(&Request::get(path).bearer(ADMIN_TOKEN)).await;
        assert!(matches!(answer.status(), 401 | 404), "{path}: {}", answer.status());
    }
}

#[tokio::test]
async fn secrets_are_masked() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).start().await;
    gate.send(&gate.chat()).await.ok();
    for path in ["/admin/config", "/admin/providers", "/metrics", "/admin/usage?by=request"] {
        let text = gate.admin(path).await.ok().text();
        for secret in [PROVIDER_KEY, ADMIN_TOKEN, &key_of(DEFAULT_PLAN), "Say hello"] {
            assert!(!text.contains(secret), "{path} shows {secret}");
        }
    }
}

#[tokio::test]
async fn usage_can_be_asked_for_an_account_and_a_time() {
    let provider = Provider::start().await;
    let gate =
        Tollgate::before(&provider).plan("a", |plan| plan).plan("b", |plan| plan).start().await;
    gate.send(&gate.chat_as("a")).await.ok();
    gate.send(&gate.chat_as("b")).await.ok();
    gate.send(&gate.chat_as("b")).await.ok();
    let cases = [
        ("account=a", 1),
        ("account=b", 2),
        ("account=nobody", 0),
        ("from=2026-06-15&to=2026-06-16", 3),
        ("from=2026-06-16", 0),
        ("to=2026-06-15T11:59:59Z", 0),
        ("account=b&from=2026-06-15T12:00:00Z&to=2026-06-15T13:00:00Z", 2),
    ];
    for (query, count) in cases {
        let list = gate.admin(&format!("/admin/usage?by=request&{query}")).await.ok().json();
        assert_eq!(list["data"].as_array().map(Vec::len), Some(count), "{query}");
        assert_eq!(list["next"], json!(null), "{query}");
    }
    for by in ["class", "model", "account", "day"] {
        let list = gate.admin(&format!("/admin/usage?by={by}")).await.ok().json();
        let requests = list["data"].as_array().into_iter().flatten();
        let sum: u64 = requests.filter_map(|row| row["requests"].as_u64()).sum();
        assert_eq!(sum, 3, "{by}");
    }
    let wrong = [("by=colour", "by"), ("by=request&from=yesterday", "from"), ("to=0", "to")];
    for (query, param) in wrong {
        let error =
            gate.admin(&format!("/admin/usage?{query}")).await.refused(400, "invalid_value");
        assert_eq!(error["param"], param, "{query}");
    }
}

#[tokio::test]
async fn metrics_tell_what_happened() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider)
        .plan("tester", |plan| plan.per_minute(3))
        .set("routing.retries", 0)
        .start()
        .await;
    gate.send(&gate.chat()).await.ok();
    gate.send(&gate.stream()).await.ok();
    provider.next(Reply::error(500, "theirs"));
    assert_eq!(gate.send(&gate.chat()).await.status(), 500);
    gate.send(&gate.chat()).await.refused(429, "rate_limit_exceeded");
    let text = gate.admin("/metrics").await.ok().text();
    let value = |name: &str, labels: &[&str]| -> f64 {
        text.lines()
            .filter(|line| line.split(['{', ' ']).next() == Some(name))
            .filter(|line| labels.iter().all(|label| line.contains(label)))
            .filter_map(|line| line.rsplit(' ').next())
            .filter_map(|number| number.parse::<f64>().ok())
            .sum()
    };
    let expected = [
        ("tollgate_requests_total", &["code=\"200\"", "model=\"gpt-4o-mini\""][..], 2.0),
        ("tollgate_requests_total", &["code=\"500\""][..], 1.0),
        ("tollgate_provider_requests_total", &["provider=\"mock\"", "code=\"200\""][..], 2.0),
        ("tollgate_refused_total", &["layer=\"user\"", "window=\"minute\""][..], 1.0),
        ("tollgate_tokens_total", &["direction=\"output\""][..], 14.0),
        ("tollgate_revenue_dollars_total", &["class=\"default\""][..], 0.04),
        ("tollgate_provider_cost_dollars_total", &["provider=\"mock\""][..], 0.000_011_4),
        ("tollgate_request_duration_seconds_count", &[][..], 3.0),
        ("tollgate_build_info", &[][..], 1.0),
    ];
    for (name, labels, wanted) in expected {
        let found = value(name, labels);
        let near = (wanted * 0.999_999..=wanted * 1.000_001).contains(&found);
        assert!(near, "{name} {labels:?} is {found}, not {wanted}\n{text}");
    }
    assert!(!text.contains("account="), "no series per customer by default");
}

#[tokio::test]
async fn nothing_is_left_in_flight() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).set("routing.retries", 0).start().await;
    provider.next(Reply::close());
    for _ in 0..3 {
        gate.send(&gate.stream()).await;
    }
    let busy = gate.admin("/metrics").await.ok().text();
    let busy: Vec<&str> =
        busy.lines().filter(|line| line.starts_with("tollgate_inflight")).collect();
    assert!(!busy.is_empty());
    assert!(busy.iter().all(|line| line.ends_with(" 0")), "{busy:?}");
}
