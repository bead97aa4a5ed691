//! What webhooks are told of invoices.

use serde_json::{Value, json};
use tollgate::base::clock::Timestamp;
use tollgate::base::id::{RecordId, RecordIds};
use tollgate::store::Store;
use tollgate::store::billing::{Book, Document, Invoices, Status, Step};

use super::{ask, draft, finalize, made, month_of, post, sold};
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

/// Makes an invoice what it is at the end of a process that told nobody of it.
fn changed_at_the_end(data: &std::path::Path, id: &str, status: Status, event: RecordId) {
    let book = Book::new(&Store::open(data).unwrap()).unwrap();
    let step = |kept: Option<Document>| {
        Step::Put(Document { status, ..kept.clone().unwrap() }, Some(event))
    };
    book.change(id, &step).unwrap();
}

/// Covers H3: nothing that became of an invoice is lost for a crash's sake, and
/// nothing is told twice.
#[tokio::test]
async fn what_a_crash_kept_back_is_told_once_by_the_next_start() {
    let (provider, receiver) = (Provider::start().await, receiver().await);
    let hooks = vec![hook(&receiver, &["invoice.paid", "invoice.voided"])];
    let mut gate = sold(&provider).set("billing.webhooks", hooks).spawn().await;
    let account = gate.admin("/admin/accounts/pro").await.ok().json();
    let last = finalize(&gate, &draft(&gate, "pro", &month_of(&account)).await).await;
    let id = last["id"].as_str().unwrap().to_owned();
    let data = gate.file().with_file_name("data");
    let moment = 1_795_478_400_000_000;
    for (status, kind) in [(Status::Paid, "invoice.paid"), (Status::Void, "invoice.voided")] {
        let event = RecordIds::default().next(Timestamp(moment));
        gate.kill();
        changed_at_the_end(&data, &id, status, event);
        gate = gate.kill_and_restart().await;
        gate.wait_for_metric(TOLD, 1).await;
        gate.wait_for_metric(PENDING, 0).await;
        let calls = receiver.calls();
        let told = calls.last().unwrap();
        let shown = gate.admin(&format!("/admin/invoices/{id}")).await.ok().json();
        assert_eq!(events(std::slice::from_ref(told)), [(kind.to_owned(), shown)]);
        let public = format!("evt_{}", event.0.simple());
        assert_eq!(told.header("webhook-id"), Some(&*public));

        // The process ended after it was told, and before that was noted.
        gate.terminate().await;
        changed_at_the_end(&data, &id, status, event);
        gate = gate.kill_and_restart().await;
        gate.wait_for_metric(PENDING, 0).await;
        assert_eq!(receiver.calls().len(), calls.len(), "nothing is told twice");
    }
}
