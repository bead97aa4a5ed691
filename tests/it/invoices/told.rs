//! What webhooks are told of invoices.

use serde_json::{Value, json};

use super::{ask, draft, finalize, made, post, sold};
use crate::harness::door::Door;
use crate::harness::provider::{Call, Provider};
use crate::harness::reply::Reply;

const SECRET: &str = "a plain secret of 30 characters";
const TOLD: &str = "tollgate_webhook_deliveries_total{result=\"ok\"}";
const PENDING: &str = "tollgate_outbox_pending";

async fn receiver() -> Provider {
    let receiver = Provider::start().await;
    receiver.answer(|_| Reply::bytes(204, ""));
    receiver
}

fn hook(receiver: &Provider, events: &[&str]) -> Value {
    json!({"url": format!("{}/hook", receiver.url()), "secret": SECRET, "events": events})
}

/// Event and data of what came, in order.
fn events(calls: &[Call]) -> Vec<(String, Value)> {
    let event = |call: &Call| {
        let body = call.json();
        (body["type"].as_str().unwrap().to_owned(), body["data"].clone())
    };
    calls.iter().map(event).collect()
}

async fn change(gate: &Door, invoice: &Value, what: &str) -> Value {
    let path = format!("/admin/invoices/{}/{what}", invoice["id"].as_str().unwrap());
    post(gate, &path, &Value::Null).await.ok().json()
}

/// Covers H3.
#[tokio::test]
async fn a_final_invoice_is_told_once_and_signed() {
    let (provider, receiver, other) = (Provider::start().await, receiver().await, receiver().await);
    let hooks = vec![hook(&receiver, &["invoice.finalized"]), hook(&other, &["invoice.paid"])];
    let gate = sold(&provider).set("billing.webhooks", hooks).start().await;
    ask(&gate, "pro", "/v1/chat/completions").await;
    let made = draft(&gate, "pro", "2026-06").await;
    let last = finalize(&gate, &made).await;
    assert_eq!(finalize(&gate, &made).await, last, "once more tells nothing");
    gate.wait_for_metric(PENDING, 0).await;
    // What a restart finds on the way would be told now.
    let gate = gate.restart().await;
    assert_eq!(finalize(&gate, &made).await, last);
    change(&gate, &last, "pay").await;
    other.wait_for_calls(1).await;
    gate.wait_for_metric(TOLD, 1).await;
    gate.wait_for_metric(PENDING, 0).await;
    let calls = receiver.calls();
    assert_eq!(events(&calls), [("invoice.finalized".to_owned(), last)]);
    let call = &calls[0];
    let header = |name| call.header(name).unwrap();
    let body = std::str::from_utf8(&call.body).unwrap();
    let signed = format!("{}.{}.{body}", header("webhook-id"), header("webhook-timestamp"));
    assert_eq!(header("webhook-signature"), crate::webhooks::signature(SECRET, &signed).await);
}

#[tokio::test]
async fn what_becomes_of_a_final_invoice_is_told_and_of_a_draft_nothing() {
    let (provider, receiver) = (Provider::start().await, receiver().await);
    let all = ["invoice.finalized", "invoice.paid", "invoice.voided"];
    let hooks = vec![hook(&receiver, &all)];
    let gate = sold(&provider).set("billing.webhooks", hooks).start().await;
    change(&gate, &draft(&gate, "pro", "2026-06").await, "void").await;
    let first = finalize(&gate, &draft(&gate, "pro", "2026-06").await).await;
    let void = change(&gate, &first, "void").await;
    let second = finalize(&gate, &draft(&gate, "pro", "2026-06").await).await;
    let path = format!("/admin/invoices/{}/credit-note", second["id"].as_str().unwrap());
    let note = made(&post(&gate, &path, &json!({"amount": "1", "reason": "because"})).await);
    let paid = change(&gate, &second, "pay").await;
    assert_eq!(change(&gate, &second, "pay").await, paid, "once more tells nothing");
    gate.wait_for_metric(TOLD, 5).await;
    gate.wait_for_metric(PENDING, 0).await;
    let event = |kind: &str, data: &Value| (kind.to_owned(), data.clone());
    assert_eq!(
        events(&receiver.calls()),
        [
            event("invoice.finalized", &first),
            event("invoice.voided", &void),
            event("invoice.finalized", &second),
            event("invoice.finalized", &note),
            event("invoice.paid", &paid),
        ]
    );
}
