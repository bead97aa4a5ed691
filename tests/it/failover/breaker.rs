//! A provider that fails is left alone, and tried by one call at a time.

use std::time::Duration;

use serde_json::{Value, json};

use super::{in_order, state, two, way};
use crate::harness::client::Request;
use crate::harness::gate::Gate;
use crate::harness::gateway::Gateway;
use crate::harness::openai;
use crate::harness::provider::Provider;
use crate::harness::reply::Reply;
use crate::harness::setup::Tollgate;

const UP: &str = "tollgate_provider_up{provider=\"mock\"}";
const OPENED: &str = "tollgate_breaker_opened_total{provider=\"mock\"}";

async fn ready(gate: &Gateway) -> (u16, Value) {
    let answer = Request::get("/readyz").send(gate.admin).await;
    (answer.status(), answer.json()["checks"]["providers"].clone())
}

#[tokio::test]
async fn one_call_at_a_time_tries_what_has_failed() {
    let (first, second) = (Provider::start().await, Provider::start().await);
    let gate = two(&first, &second, &in_order()).start().await;
    first.answer(|_| Reply::error(500, "theirs"));
    for number in 1..=10 {
        assert_eq!(gate.metric(UP).await, 1, "{number}");
        assert_eq!(way(&gate.send(&gate.chat()).await.ok()), "spare;exact+failover");
    }
    let open = state(&gate, "mock").await;
    assert_eq!((&open["usable"], &open["reason"]), (&json!(false), &json!("breaker open")));
    assert_eq!(open["health"]["open_until"], "2026-06-15T12:00:15.000000Z");
    assert_eq!((gate.metric(UP).await, gate.metric(OPENED).await), (0, 1));
    assert_eq!(ready(&gate).await, (200, json!("ok")), "the other is usable");
    for request in [gate.chat(), gate.stream()] {
        assert_eq!(way(&gate.send(&request).await.ok()), "spare;exact+health");
    }
    assert_eq!(first.calls().len(), 10, "it is left alone");

    // It fails once more, and is left alone as long again.
    gate.clock().advance(Duration::from_secs(15));
    assert_eq!(gate.metric(UP).await, 1, "half-open is usable");
    assert_eq!(way(&gate.send(&gate.chat()).await.ok()), "spare;exact+failover");
    assert_eq!(way(&gate.send(&gate.chat()).await.ok()), "spare;exact+health");
    assert_eq!((first.calls().len(), gate.metric(UP).await), (11, 0));

    // While one call tries it, all others go elsewhere.
    gate.clock().advance(Duration::from_secs(15));
    let held = Gate::closed();
    let at_it = held.clone();
    first.answer(move |call| openai::answer(call).after(&at_it));
    let mut trial = gate.open(&gate.chat()).await;
    held.reached_by(1).await;
    for _ in 0..5 {
        assert_eq!(way(&gate.send(&gate.chat()).await.ok()), "spare;exact+health");
    }
    assert_eq!(first.calls().len(), 12);
    held.open();
    assert_eq!(way(&trial.answer().await.ok()), "mock;exact");
    assert_eq!(way(&gate.send(&gate.chat()).await.ok()), "mock;exact", "it has closed");
    assert_eq!(state(&gate, "mock").await["health"]["breaker"], "closed");
    assert_eq!((gate.metric(UP).await, gate.metric(OPENED).await), (1, 1));
}

#[tokio::test]
async fn a_trial_whose_client_leaves_lets_another_be_made() {
    let (first, second) = (Provider::start().await, Provider::start().await);
    let gate = two(&first, &second, &in_order()).start().await;
    first.answer(|_| Reply::reset());
    for _ in 0..10 {
        gate.send(&gate.chat()).await.ok();
    }
    gate.clock().advance(Duration::from_secs(15));
    first.answer(|_| Reply::hang());
    let trial = gate.open(&gate.chat()).await;
    first.wait_for_calls(11).await;
    assert_eq!(way(&gate.send(&gate.chat()).await.ok()), "spare;exact+health");
    trial.reset();
    first.wait_for_disconnect().await;
    gate.wait_for_records(12).await;
    first.answer(openai::answer);
    assert_eq!(way(&gate.send(&gate.chat()).await.ok()), "mock;exact");
}

#[tokio::test]
async fn the_last_target_is_never_refused() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).set("routing.retries", 0).start().await;
    provider.answer(|_| Reply::error(503, "theirs"));
    for _ in 0..10 {
        assert_eq!(gate.send(&gate.chat()).await.status(), 503);
    }
    assert_eq!(state(&gate, "mock").await["health"]["breaker"], "open");
    let (status, reason) = ready(&gate).await;
    assert_eq!((status, reason.as_str()), (503, Some("the breakers of all providers are open")));
    provider.answer(openai::answer);
    gate.send(&gate.chat()).await.ok();
    assert_eq!(state(&gate, "mock").await["health"]["breaker"], "open", "it was no trial");
    gate.clock().advance(Duration::from_secs(15));
    assert_eq!(ready(&gate).await.0, 200, "a trial may be made");
    gate.send(&gate.chat()).await.ok();
    assert_eq!(state(&gate, "mock").await["health"]["breaker"], "closed");
}

#[tokio::test]
async fn answers_that_break_off_open_it_too() {
    let (first, second) = (Provider::start().await, Provider::start().await);
    let gate = two(&first, &second, &in_order()).start().await;
    let events = openai::chat_events("gpt-4o-mini", true);
    first.answer(move |_| Reply::events(&events).cut_after(40));
    // Each call is well as far as its header says, and then not.
    for _ in 0..5 {
        let mut client = gate.open(&gate.stream()).await;
        assert_eq!(client.head().await.status(), 200);
        while let Ok(Some(_)) = client.data().await {}
    }
    gate.wait_for_records(5).await;
    assert_eq!(state(&gate, "mock").await["health"]["breaker"], "open");
}

#[tokio::test]
async fn a_customers_own_mistakes_do_not_open_it() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).start().await;
    for status in [400, 404, 413, 422, 429] {
        provider.answer(move |_| Reply::error(status, "theirs"));
        for _ in 0..5 {
            assert_eq!(gate.send(&gate.chat()).await.status(), status);
        }
    }
    let health = state(&gate, "mock").await["health"].clone();
    assert_eq!((&health["breaker"], &health["failures"]), (&json!("closed"), &json!(0)));
}

/// A reload keeps what is known of a provider whose address and keys stay.
#[tokio::test]
async fn what_is_known_outlives_a_reload() {
    let (first, second) = (Provider::start().await, Provider::start().await);
    let gate = two(&first, &second, &in_order()).start().await;
    first.answer(|_| Reply::reset());
    for _ in 0..10 {
        gate.send(&gate.chat()).await.ok();
    }
    gate.tell("POST", "/admin/config/reload", &Value::Null).await.ok();
    assert_eq!(gate.metric(UP).await, 0);
    assert_eq!(way(&gate.send(&gate.chat()).await.ok()), "spare;exact+health");
}

/// A trial is decided by its header: the answer may go on for as long as it likes.
#[tokio::test]
async fn a_long_answer_to_a_trial_keeps_nobody_from_the_next() {
    let (first, second) = (Provider::start().await, Provider::start().await);
    let gate = two(&first, &second, &in_order()).start().await;
    let fail = async || {
        first.answer(|_| Reply::reset());
        for _ in 0..10 {
            gate.send(&gate.chat()).await.ok();
        }
        assert_eq!(state(&gate, "mock").await["health"]["breaker"], "open");
        gate.clock().advance(Duration::from_secs(15));
        first.answer(openai::answer);
    };
    fail().await;
    let held = Gate::closed();
    first.next(Reply::stream().event("{}").wait(&held).event("[DONE]"));
    let mut trial = gate.open(&gate.stream()).await;
    assert_eq!(trial.head().await.status(), 200);
    trial.event_data().await;
    fail().await;
    assert_eq!(way(&gate.send(&gate.chat()).await.ok()), "mock;exact");
    held.open();
    assert!(trial.event().await.is_ok());
}
