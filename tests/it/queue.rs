//! Calls to providers have slots, and a bounded queue waits for them. Covers F3.

use futures_util::future::join_all;
use serde_json::json;

use crate::harness::client::{Connection, Request};
use crate::harness::door::chat_body;
use crate::harness::gate::Gate;
use crate::harness::gateway::Gateway;
use crate::harness::provider::{Call, Provider};
use crate::harness::reply::{Reply, Step};
use crate::harness::setup::{DEFAULT_PLAN, Setup, Tollgate, key_of};

const DEPTH: &str = "tollgate_queue_depth";
const CALLS: &str = "tollgate_inflight{scope=\"provider\"}";
const REQUESTS: &str = "tollgate_inflight{scope=\"requests\"}";
const FULL: &str = "tollgate_refused_total{layer=\"global\",window=\"queue\"}";
const LATE: &str = "tollgate_refused_total{layer=\"global\",window=\"queue_timeout\"}";

fn slots(provider: &Provider, concurrent: u32, queue: u32) -> Setup {
    Tollgate::before(provider)
        .set("limits.global.concurrent", concurrent)
        .set("limits.global.queue", queue)
        .set("limits.global.queue_timeout", "10m")
        .plan(DEFAULT_PLAN, |plan| plan)
}

/// Every answer waits at this gate before its head.
fn hold(provider: &Provider) -> Gate {
    let held = Gate::closed();
    let gate = held.clone();
    provider.answer(move |_| Reply::json(200, &json!({"choices": []})).after(&gate));
    held
}

/// A request whose prompt says which one it is.
async fn ask(gate: &Gateway, number: usize) -> Connection {
    let body = json!({
        "model": "gpt-4o-mini", "messages": [{"role": "user", "content": format!("number {number}")}],
    });
    gate.open(&gate.chat_text(&body.to_string())).await
}

fn number(call: &Call) -> String {
    call.json()["messages"][0]["content"].as_str().unwrap_or_default().to_owned()
}

async fn nothing_is_left(gate: &Gateway) {
    for series in [DEPTH, CALLS, REQUESTS] {
        gate.wait_for_metric(series, 0).await;
    }
}

#[tokio::test]
async fn the_queue_is_first_in_first_out() {
    let provider = Provider::start().await;
    let held = hold(&provider);
    let gate = slots(&provider, 2, 10).start().await;
    let mut clients = Vec::new();
    for number in 0..6 {
        clients.push(ask(&gate, number).await);
        // One after the other, so that the order of arrival is known.
        if number < 2 {
            held.reached_by(number + 1).await;
        } else {
            gate.wait_for_metric(DEPTH, number as u64 - 1).await;
        }
    }
    assert_eq!(provider.calls().len(), 2, "four wait");
    assert_eq!(gate.metric(CALLS).await, 2);
    for done in 0..4 {
        held.release();
        held.reached_by(3 + done).await;
    }
    held.open();
    for client in &mut clients {
        client.answer().await.ok();
    }
    let order: Vec<_> = provider.calls().iter().map(number).collect();
    assert_eq!(
        order.get(2..),
        Some(&["number 2", "number 3", "number 4", "number 5"].map(String::from)[..])
    );
    nothing_is_left(&gate).await;
    assert_eq!(gate.metric("tollgate_queue_wait_seconds_count").await, 6);
}

#[tokio::test]
async fn over_the_queue_a_request_is_refused_and_consumes_nothing() {
    let provider = Provider::start().await;
    let held = hold(&provider);
    let gate = slots(&provider, 1, 1).plan("tight", |plan| plan.per_minute(1)).start().await;
    let mut first = ask(&gate, 0).await;
    held.reached_by(1).await;
    let mut second = ask(&gate, 1).await;
    gate.wait_for_metric(DEPTH, 1).await;
    for _ in 0..5 {
        let refused = gate.send(&gate.chat_as("tight")).await;
        refused.refused(503, "overloaded");
        assert!(refused.number("retry-after") >= 1);
        assert_eq!(refused.number("x-ratelimit-remaining-requests"), 1);
    }
    held.open();
    first.answer().await.ok();
    second.answer().await.ok();
    gate.send(&gate.chat_as("tight")).await.ok();
    gate.send(&gate.chat_as("tight")).await.refused(429, "rate_limit_exceeded");
    assert_eq!(gate.records().await.len(), 3, "a refusal makes no record");
    assert_eq!(gate.metric(FULL).await, 5);
    nothing_is_left(&gate).await;
}

#[tokio::test]
async fn a_wait_ends_at_the_deadline_and_consumes_nothing() {
    let provider = Provider::start().await;
    let held = hold(&provider);
    let gate = slots(&provider, 1, 10)
        .set("limits.global.queue_timeout", "30ms")
        .plan("tight", |plan| plan.per_minute(1))
        .start()
        .await;
    let mut first = ask(&gate, 0).await;
    held.reached_by(1).await;
    for _ in 0..3 {
        let refused = gate.send(&gate.chat_as("tight")).await;
        refused.refused(503, "overloaded");
        assert!(refused.number("retry-after-ms") >= 1);
    }
    held.open();
    first.answer().await.ok();
    gate.send(&gate.chat_as("tight")).await.ok();
    assert_eq!(gate.records().await.len(), 2);
    assert_eq!(gate.metric(LATE).await, 3);
    nothing_is_left(&gate).await;
}

#[tokio::test]
async fn whoever_leaves_leaves_the_queue_at_once() {
    let provider = Provider::start().await;
    let held = hold(&provider);
    let gate = slots(&provider, 1, 100).start().await;
    let mut first = ask(&gate, 0).await;
    held.reached_by(1).await;
    let mut waiting = join_all((1..=50).map(|number| ask(&gate, number))).await;
    gate.wait_for_metric(DEPTH, 50).await;
    // By FIN and by RST, from the middle of the queue.
    for (nth, client) in waiting.drain(10..40).enumerate() {
        if nth % 2 == 0 { client.reset() } else { drop(client) }
    }
    gate.wait_for_metric(DEPTH, 20).await;
    assert_eq!(provider.calls().len(), 1);
    held.open();
    first.answer().await.ok();
    for client in &mut waiting {
        client.answer().await.ok();
    }
    assert_eq!(provider.calls().len(), 21, "nobody is asked for those that left");
    nothing_is_left(&gate).await;
    let records = gate.wait_for_records(51).await;
    let gone = records.iter().filter(|record| record["outcome"] == "client_gone_early");
    assert!(gone.clone().all(|record| record["attempts"] == 0 && record["quantity"] == 0));
    assert_eq!(gone.count(), 30);
}

#[tokio::test]
async fn a_stream_holds_its_slot_to_its_end() {
    let provider = Provider::start().await;
    let middle = Gate::closed();
    let gate = slots(&provider, 1, 10).start().await;
    let event = json!({"choices": [{"delta": {"content": "a"}}]}).to_string();
    provider.next(Reply::events([event.as_str()]).wait(&middle).event("[DONE]"));
    let mut stream = gate.open(&gate.stream()).await;
    stream.head().await;
    middle.reached_by(1).await;
    let mut second = ask(&gate, 1).await;
    gate.wait_for_metric(DEPTH, 1).await;
    middle.open();
    second.answer().await.ok();
    stream.body().await;
    assert_eq!(provider.calls().len(), 2);
    nothing_is_left(&gate).await;
}

#[tokio::test]
async fn a_slot_comes_back_from_every_failure() {
    let provider = Provider::start().await;
    let gate = slots(&provider, 1, 0).set("routing.retries", 0).start().await;
    let answer = || Reply::json(200, &json!({"choices": []}));
    for reply in [
        answer().then(Step::Close),
        Reply::error(500, "theirs"),
        Reply::error(400, "theirs"),
        answer().cut_after(3),
        answer().reset_after(3),
        Reply::events(["{}"]).cut_after(4),
    ] {
        provider.next(reply);
        let mut client = ask(&gate, 0).await;
        let _whole = client.try_answer().await;
        gate.wait_for_metric(CALLS, 0).await;
    }
    // A client that leaves in the middle of its call.
    let held = Gate::closed();
    provider.next(answer().after(&held));
    let client = ask(&gate, 0).await;
    held.reached_by(1).await;
    drop(client);
    nothing_is_left(&gate).await;
    ask(&gate, 0).await.answer().await.ok();
}

#[tokio::test]
async fn a_retry_waits_without_its_slot() {
    let provider = Provider::start().await;
    let gate = slots(&provider, 1, 10).set("routing.retries", 1).start().await;
    let held = Gate::closed();
    provider.next(Reply::error(503, "theirs").after(&held));
    let mut first = ask(&gate, 1).await;
    held.reached_by(1).await;
    let mut second = ask(&gate, 2).await;
    gate.wait_for_metric(DEPTH, 1).await;
    held.open();
    first.answer().await.ok();
    second.answer().await.ok();
    // The one that waited went before the repetition of the one that failed.
    let order: Vec<_> = provider.calls().iter().map(number).collect();
    assert_eq!(order, ["number 1", "number 2", "number 1"]);
    nothing_is_left(&gate).await;
}

#[tokio::test]
async fn the_sandbox_takes_slots_too() {
    let gate = Tollgate::sandbox()
        .another_provider(json!({"name": "off", "dialect": "openai", "api_key": ""}))
        .provider("latency", "10m")
        .set("limits.global.concurrent", 1)
        .set("limits.global.queue", 0)
        .start()
        .await;
    let first = gate.open(&gate.chat()).await;
    gate.wait_for_metric(CALLS, 1).await;
    gate.send(&gate.chat()).await.refused(503, "overloaded");
    drop(first);
    nothing_is_left(&gate).await;
}

#[tokio::test]
async fn an_answer_from_the_cache_waits_for_no_slot() {
    let provider = Provider::start().await;
    let gate = slots(&provider, 1, 0)
        .class("docs", "0.01", &json!({"cache": {"ttl": "1h"}}))
        .start()
        .await;
    let cached = Request::post("/docs/v1/chat/completions", &chat_body());
    let cached = cached.bearer(&gate.key(DEFAULT_PLAN));
    gate.send(&cached).await.ok();
    let held = hold(&provider);
    let mut running = ask(&gate, 0).await;
    held.reached_by(1).await;
    let answer = gate.send(&cached).await.ok();
    assert_eq!(answer.header("x-tollgate-cache"), Some("hit"));
    gate.send(&gate.chat()).await.refused(503, "overloaded");
    held.open();
    running.answer().await.ok();
}

/// Also of requests that are passed on without being understood.
#[tokio::test]
async fn a_client_that_leaves_takes_what_is_not_understood_along() {
    let provider = Provider::start().await;
    let held = hold(&provider);
    let gate = slots(&provider, 1, 10).set("opaque.provider", "mock").start().await;
    let running = ask(&gate, 0).await;
    provider.wait_for_calls(1).await;
    let waiting = gate.open(&Request::get("/v1/files").bearer(&key_of(DEFAULT_PLAN))).await;
    gate.wait_for_metric(DEPTH, 1).await;
    drop(waiting);
    gate.wait_for_metric(DEPTH, 0).await;
    gate.wait_for_metric(REQUESTS, 1).await;
    held.open();
    drop(running);
    nothing_is_left(&gate).await;
    assert_eq!(provider.calls().len(), 1);
}
