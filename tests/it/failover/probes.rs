//! Calls of Tollgate's own that look whether a provider is alive.

use std::time::Duration;

use serde_json::json;

use super::{in_order, state, two, way};
use crate::harness::eventually::eventually;
use crate::harness::gateway::Gateway;
use crate::harness::openai;
use crate::harness::provider::Provider;
use crate::harness::reply::Reply;
use crate::harness::setup::{PROVIDER_KEY, Tollgate};

/// Lets an interval pass, and waits until the probe of it has ended with `result`.
async fn probe(gate: &Gateway, result: &str) {
    let series = format!("tollgate_provider_probes_total{{provider=\"mock\",result=\"{result}\"}}");
    let before = gate.metric(&series).await;
    gate.clock().advance(Duration::from_secs(10));
    gate.wait_for_metric(&series, before + 1).await;
}

#[tokio::test]
async fn probes_find_out_before_customers_do() {
    let (first, second) = (Provider::start().await, Provider::start().await);
    let settings = json!({"interval": "10s", "path": "/health?deep=1", "timeout": "60s"});
    let gate = two(&first, &second, &in_order()).provider("probe", settings).start().await;
    let health = |reply: fn() -> Reply| {
        move |call: &crate::harness::provider::Call| match call.method() {
            "GET" => reply(),
            _ => openai::answer(call),
        }
    };
    // The first is made at once; here the provider does not know the path.
    let first_one = "tollgate_provider_probes_total{provider=\"mock\",result=\"ok\"}";
    gate.wait_for_metric(first_one, 1).await;
    let call = first.only_call();
    assert_eq!((call.method(), call.path()), ("GET", "/v1/health?deep=1"));
    assert_eq!(call.header("authorization"), Some(&*format!("Bearer {PROVIDER_KEY}")));
    first.answer(health(|| Reply::json(200, &json!({"up": true}))));
    probe(&gate, "ok").await;
    first.answer(health(|| Reply::error(503, "down")));
    for _ in 0..3 {
        assert_eq!(way(&gate.send(&gate.chat()).await.ok()), "mock;exact");
        probe(&gate, "failed").await;
    }
    let mock = state(&gate, "mock").await;
    assert_eq!((&mock["usable"], &mock["health"]["breaker"]), (&json!(false), &json!("open")));
    assert_eq!(way(&gate.send(&gate.chat()).await.ok()), "spare;exact+health");
    // While they fail it stays open, though its time is over.
    for _ in 0..2 {
        probe(&gate, "failed").await;
    }
    assert_eq!(way(&gate.send(&gate.chat()).await.ok()), "spare;exact+health");
    first.answer(health(|| Reply::json(200, &json!({"up": true}))));
    probe(&gate, "ok").await;
    eventually("the breaker to close", async || {
        (state(&gate, "mock").await["health"]["breaker"] == "closed").then_some(())
    })
    .await;
    assert_eq!(way(&gate.send(&gate.chat()).await.ok()), "mock;exact");
    assert_eq!(gate.records().await.len(), 6, "probes are no customer's requests");
}

#[tokio::test]
async fn without_the_key_nothing_is_called() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).start().await;
    for _ in 0..5 {
        gate.clock().advance(Duration::from_secs(600));
        // Of what happens next, this shows when it has happened.
        gate.send(&gate.chat()).await.ok();
    }
    assert!(provider.calls().iter().all(|call| call.method() == "POST"));
}
