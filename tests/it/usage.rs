//! What a customer can ask about itself. Covers F1 and A4.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::client::{Answer, Request};
use crate::harness::door::{Door, chat_body, stream_body};
use crate::harness::gate::Gate;
use crate::harness::provider::Provider;
use crate::harness::reply::Reply;
use crate::harness::setup::{Setup, Tollgate, key_of};

fn three_plans(provider: &Provider) -> Setup {
    Tollgate::before(provider)
        .plan("free", |plan| plan.included().set("requests_per_month", 1_000).per_minute(2))
        .plan("pro", |plan| {
            plan.set("requests_per_month", 2)
                .set("overage", "0.05")
                .set("budget", "1.50")
                .per_minute(30)
                .per_hour(100)
                .concurrent(8)
        })
        .plan("endless", |plan| plan.set("requests_per_minute", "unlimited"))
        .set("limits.user.per_hour", "unlimited")
        .set("limits.user.per_day", "unlimited")
        .set("routing.retries", 0)
}

async fn ask(gate: &Door, account: &str, path: &str) -> Answer {
    gate.send(&Request::get(path).bearer(&key_of(account))).await
}

async fn usage(gate: &Door, account: &str) -> Value {
    ask(gate, account, "/v1/usage").await.ok().json()
}

#[tokio::test]
async fn it_is_the_same_before_and_after_asking_and_readable_when_a_window_is_full() {
    let provider = Provider::start().await;
    let gate = three_plans(&provider).start().await;
    for left in [1, 0] {
        let answer = gate.send(&gate.chat_as("free")).await.ok();
        assert_eq!(answer.number("x-ratelimit-remaining-requests"), left);
    }
    gate.clock().advance(Duration::from_secs(20));
    gate.send(&gate.chat_as("free")).await.refused(429, "rate_limit_exceeded");
    let first = usage(&gate, "free").await;
    for _ in 0..5 {
        assert_eq!(usage(&gate, "free").await, first);
    }
    let key_id = first["key_id"].as_str().unwrap();
    assert!(key_id.starts_with("key_"), "{first}");
    let nothing = json!({"charged": "0", "reserved": "0", "budget": null, "remaining": null});
    let wanted = json!({
        "object": "usage", "account": "free", "key_id": key_id, "plan": "free",
        "billing": "included",
        "period": {
            "month": "2026-06",
            "start": "2026-06-01T00:00:00.000000Z", "end": "2026-07-01T00:00:00.000000Z",
        },
        "windows": {
            "minute": {"limit": 2, "used": 2, "remaining": 0, "reset_ms": 40_000},
            "hour": null, "day": null,
        },
        "tokens": null,
        "concurrent": {"limit": 100_000, "running": 0, "remaining": 100_000},
        "quota": {"limit": 1_000, "used": 2, "running": 0, "remaining": 998},
        "overage": null,
        "spend": {"account": nothing, "key": nothing},
        "balance": null,
        "warnings": [],
    });
    assert_eq!(first, wanted);
    gate.clock().advance(Duration::from_secs(40));
    gate.send(&gate.chat_as("free")).await.ok();
}

#[tokio::test]
async fn a_metered_plan_shows_what_was_spent_and_what_runs() {
    let provider = Provider::start().await;
    let gate = three_plans(&provider).set("keys.1.budget", "0.20").start().await;
    for _ in 0..3 {
        gate.send(&gate.chat_as("pro")).await.ok();
    }
    let held = Gate::closed();
    provider.next(Reply::json(200, &json!({"choices": []})).after(&held));
    let mut running = gate.open(&gate.chat_as("pro")).await;
    held.reached_by(1).await;
    let seen = usage(&gate, "pro").await;
    assert_eq!(seen["quota"], json!({"limit": 2, "used": 3, "running": 1, "remaining": 0}));
    assert_eq!(seen["overage"], json!({"price": "0.05", "requests": 1}));
    let account =
        json!({"charged": "0.09", "reserved": "0.05", "budget": "1.5", "remaining": "1.36"});
    assert_eq!(seen["spend"]["account"], account);
    assert_eq!(seen["spend"]["key"]["remaining"], "0.06");
    assert_eq!(seen["concurrent"], json!({"limit": 8, "running": 1, "remaining": 7}));
    assert_eq!(seen["windows"]["minute"]["used"], 4);
    assert_eq!(seen["windows"]["hour"]["remaining"], 96);
    assert_eq!(seen["warnings"], json!([{"kind": "quota", "threshold": 100}]));
    held.open();
    running.answer().await.ok();
    let seen = usage(&gate, "pro").await;
    assert_eq!(seen["spend"]["key"]["remaining"], "0.06");
    assert_eq!(seen["spend"]["account"]["reserved"], "0");
    let gate = gate.restart().await;
    assert_eq!(usage(&gate, "pro").await, seen);
}

#[tokio::test]
async fn a_plan_without_limits_shows_none() {
    let provider = Provider::start().await;
    let gate = three_plans(&provider).start().await;
    gate.send(&gate.chat_as("endless")).await.ok();
    let seen = usage(&gate, "endless").await;
    assert_eq!(seen["windows"], json!({"minute": null, "hour": null, "day": null}));
    assert_eq!(seen["quota"], json!({"limit": null, "used": 1, "running": 0, "remaining": null}));
    assert_eq!(seen["spend"]["account"]["charged"], "0.02");
    assert_eq!(seen["spend"]["account"]["budget"], Value::Null);
}

#[tokio::test]
async fn its_address_is_limited_and_its_key_must_be_known() {
    let provider = Provider::start().await;
    let gate = three_plans(&provider)
        .class("docs", "0.01", &json!({}))
        .set("limits.ip.per_minute", 4)
        .start()
        .await;
    ask(&gate, "free", "/docs/v1/usage").await.ok();
    for method in ["POST", "PUT", "DELETE"] {
        let request = Request::new(method, "/v1/usage").bearer(&key_of("free"));
        let answer = gate.send(&request).await;
        assert_eq!((answer.status(), answer.header("allow")), (405, Some("GET")), "{method}");
    }
    gate.send(&Request::get("/v1/usage")).await.refused(401, "invalid_api_key");
    // At most 1.5 times the limit passes, one of it already.
    let mut refused = ask(&gate, "free", "/v1/usage").await.ok();
    for _ in 0..5 {
        refused = ask(&gate, "free", "/v1/usage").await;
    }
    let message = refused.refused(429, "rate_limit_exceeded")["message"].to_string();
    assert!(message.contains("your address"), "{message}");
    let suspended = json!({"status": "suspended"});
    gate.change("/admin/accounts/free", &suspended).await.ok();
    ask(&gate, "free", "/v1/usage").await.refused(403, "account_suspended");
}

#[tokio::test]
async fn a_record_is_shown_to_its_own_account_alone_and_without_its_cost() {
    let provider = Provider::start().await;
    let gate = three_plans(&provider).start().await;
    let named = |id: &str, account: &str, body: &Value| {
        let request = Request::post("/v1/chat/completions", body).bearer(&key_of(account));
        request.header("x-request-id", id)
    };
    gate.send(&named("mine", "pro", &chat_body())).await.ok();
    gate.send(&named("other", "free", &chat_body())).await.ok();
    // An id that is used again names the newest.
    gate.send(&named("mine", "pro", &stream_body())).await.ok();
    let own = gate.send(&gate.chat_as("pro")).await.ok();
    let own_id = own.header("x-request-id").unwrap();

    let answer = ask(&gate, "pro", "/v1/usage/mine").await.ok();
    let record = answer.json();
    assert_eq!((&record["request_id"], &record["stream"]), (&json!("mine"), &json!(true)));
    assert_eq!((&record["price"], &record["outcome"]), (&json!("0.02"), &json!("ok")));
    assert_eq!(record["tokens"]["input"], 12);
    for secret in ["cost", "margin", "provider", "attempts", "unpriced", "text_hash", "cache_key"] {
        assert!(record.get(secret).is_none(), "{secret} in {record}");
    }
    let third = ask(&gate, "pro", &format!("/v1/usage/{own_id}")).await.ok().json();
    assert_eq!((&third["price"], &third["unit_price"]), (&json!("0.05"), &json!("0.05")));
    for (account, path) in [("pro", "/v1/usage/other"), ("endless", "/v1/usage/mine")] {
        ask(&gate, account, path).await.refused(404, "not_found");
    }
    // It reads the ledger, so it counts in the windows: free has 2 a minute.
    ask(&gate, "free", "/v1/usage/other").await.ok();
    ask(&gate, "free", "/v1/usage/other").await.refused(429, "rate_limit_exceeded");
    usage(&gate, "free").await;
}
