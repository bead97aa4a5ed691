//! Usage that is priced by the token, as invoices show it.

use serde_json::{Value, json};

use super::{ask, draft, finalize};
use crate::harness::anthropic;
use crate::harness::client::Request;
use crate::harness::provider::Provider;
use crate::harness::setup::{Tollgate, key_of};
use crate::messages;

const MODEL: &str = "gpt-4o-mini";

/// A line's class, model, unit, quantity, unit price and total.
fn usage(invoice: &Value) -> Vec<[String; 6]> {
    let names = ["endpoint", "model", "unit", "quantity", "unit_price", "total"];
    let cell = |line: &Value, name: &str| match &line[name] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let lines = invoice["lines"].as_array().unwrap().iter();
    let used = lines.filter(|line| line["service"] == "ai_api");
    used.map(|line| names.map(|name| cell(line, name))).collect()
}

/// Covers H2: by class, model, kind of token and price, in every form; what
/// paid a minimum is a request.
#[tokio::test]
async fn tokens_are_lines_by_model_kind_and_rate() {
    let provider = Provider::start().await;
    let own = json!({"input": "2500", "cached_input": "1000", "output": "10000"});
    let gate = Tollgate::before(&provider)
        .class("tokens", "0", &json!({"tokens_price": own}))
        .class("least", "0", &json!({"tokens_price": {"markup": 2, "minimum": "5"}}))
        .plan("pro", |plan| plan.set("monthly_price", 0))
        .start()
        .await;
    for class in ["tokens", "least", "tokens"] {
        ask(&gate, "pro", &format!("/{class}/v1/chat/completions")).await;
    }
    let made = draft(&gate, "pro", "2026-06").await;
    // Twice 8 prompt tokens, 4 cached ones and 7 of the answer.
    let wanted = [
        ["least", "null", "null", "1", "5", "5"],
        ["tokens", MODEL, "input tokens", "16", "0.0025", "0.04"],
        ["tokens", MODEL, "cached input tokens", "8", "0.001", "0.01"],
        ["tokens", MODEL, "output tokens", "14", "0.01", "0.14"],
    ];
    assert_eq!(usage(&made), wanted);
    let sums = gate.admin("/admin/usage?by=account&account=pro").await.ok().json();
    // 0.04 + 0.008 + 0.14 + 5: as the lines before they are rounded.
    assert_eq!((&made["total"], &sums["data"][0]["revenue"]), (&json!("5.19"), &json!("5.188")));

    let last = finalize(&gate, &made).await;
    let path = format!("/admin/invoices/{}/export?format=", last["id"].as_str().unwrap());
    let whole = gate.admin(&format!("{path}json")).await.ok().json();
    assert_eq!(usage(&whole), wanted);
    let csv = gate.admin(&format!("{path}csv")).await.ok().text();
    let row = format!(",16,0.0025,0.04,{MODEL},input tokens\r\n");
    assert!(csv.contains(&row), "{csv}");
    let page = gate.admin(&format!("{path}html")).await.ok().text();
    let text = format!("tokens, {MODEL}: cached input tokens at USD 1000.00 a million");
    assert!(page.contains(&text), "{page}");

    // What is final is not billed again, and what comes later is, by the token.
    ask(&gate, "pro", "/tokens/v1/chat/completions").await;
    gate.clock().advance(std::time::Duration::from_secs(16 * 86_400));
    let next = usage(&draft(&gate, "pro", "2026-07").await);
    let counts: Vec<&str> = next.iter().map(|line| &*line[3]).collect();
    assert_eq!(counts, ["8", "4", "7"]);
}

/// What is written to the provider's cache is a kind of its own, at its own rate: from
/// usage through the record and the sums to the invoice.
#[tokio::test]
async fn what_is_written_to_a_providers_cache_is_a_line() {
    let provider = Provider::start().await;
    let gate = messages::before(&provider)
        .class("tokens", "0", &json!({"tokens_price": {"markup": 1000}}))
        .plan("pro", |plan| plan.set("monthly_price", 0))
        .start()
        .await;
    for body in [messages::body(), messages::stream_body()] {
        let request = Request::post("/tokens/v1/messages", &body).bearer(&key_of("pro"));
        gate.send(&request).await.ok();
    }
    let model = messages::MODEL;
    for record in gate.wait_for_records(2).await {
        assert_eq!(record["rates"]["cache_write"], "0.00375", "{record}");
        assert_eq!((&record["cost"], &record["price"]), (&json!("0.00015345"), &json!("0.15345")));
    }
    let sums = gate.admin("/admin/usage?by=model&account=pro").await.ok().json();
    assert_eq!(sums["data"][0]["tokens"]["cache_write"], 2 * anthropic::WRITTEN, "{sums}");
    let made = draft(&gate, "pro", "2026-06").await;
    // 24 × $0.003, 8 × $0.0003, 6 × $0.00375 and 14 × $0.015.
    let wanted = [
        ["tokens", model, "input tokens", "24", "0.003", "0.07"],
        ["tokens", model, "cached input tokens", "8", "0.0003", "0"],
        ["tokens", model, "cache write tokens", "6", "0.00375", "0.02"],
        ["tokens", model, "output tokens", "14", "0.015", "0.21"],
    ];
    assert_eq!(usage(&made), wanted);
}
