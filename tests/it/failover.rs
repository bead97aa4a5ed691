//! Who is asked: by preference, weight and load, and by how providers fare. Covers E5.

mod breaker;
mod keys;
mod outage;
mod probes;

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::gate::Gate;
use crate::harness::gateway::Gateway;
use crate::harness::openai;
use crate::harness::provider::Provider;
use crate::harness::reply::Reply;
use crate::harness::setup::{Setup, Tollgate};

/// The state of the provider called `name`, as operators see it.
pub(crate) async fn state(gate: &Gateway, name: &str) -> Value {
    let all = gate.admin("/admin/providers").await.ok().json();
    all["data"].as_array().unwrap().iter().find(|one| one["name"] == name).unwrap().clone()
}

/// Why the request ran where it did.
fn way(answer: &crate::harness::client::Answer) -> String {
    let way = answer.header("x-tollgate-route").unwrap_or_default();
    way.split(';').skip(2).collect::<Vec<_>>().join(";")
}

/// A model that runs at `first`, and at `second`, with these targets.
fn two(first: &Provider, second: &Provider, targets: &Value) -> Setup {
    let spare = json!({
        "name": "spare", "dialect": "openai", "base_url": second.url(), "api_key": "sk-spare-key",
    });
    Tollgate::before(first)
        .another_provider(spare)
        .models(&json!([{"name": "gpt-4o-mini", "tier": "simple", "targets": targets}]))
}

fn in_order() -> Value {
    json!([{"provider": "mock"}, {"provider": "spare"}])
}

#[tokio::test]
async fn targets_with_weights_share_and_others_are_asked_in_order() {
    let (first, second) = (Provider::start().await, Provider::start().await);
    let equal = json!([{"provider": "mock", "weight": 1}, {"provider": "spare", "weight": 1}]);
    let gate = two(&first, &second, &equal).start().await;
    for _ in 0..60 {
        let answer = gate.send(&gate.chat()).await.ok();
        assert!(["mock;exact+weight", "spare;exact+weight"].contains(&&*way(&answer)));
    }
    let calls = (first.calls().len(), second.calls().len());
    assert!(calls.0 > 5 && calls.1 > 5 && calls.0 + calls.1 == 60, "{calls:?}");

    let (first, second) = (Provider::start().await, Provider::start().await);
    let gate = two(&first, &second, &in_order()).start().await;
    for _ in 0..20 {
        assert_eq!(way(&gate.send(&gate.chat()).await.ok()), "mock;exact");
    }
    assert!(second.calls().is_empty());
}

#[tokio::test]
async fn an_answer_of_any_of_the_equals_is_kept() {
    let (first, second) = (Provider::start().await, Provider::start().await);
    let equal = json!([{"provider": "mock", "weight": 1}, {"provider": "spare", "weight": 9}]);
    let gate = two(&first, &second, &equal).start().await;
    for number in 0..20 {
        let body = json!({
            "model": "gpt-4o-mini", "messages": [{"role": "user", "content": number.to_string()}],
        });
        let request = gate.chat_text(&body.to_string()).header("x-tollgate-cache-ttl", "1h");
        assert_eq!(gate.send(&request).await.ok().header("x-tollgate-cache"), Some("miss"));
        assert_eq!(gate.send(&request).await.ok().header("x-tollgate-cache"), Some("hit"));
    }
    assert!(!second.calls().is_empty());
}

#[tokio::test]
async fn the_less_loaded_is_asked_by_latency() {
    let providers = [Provider::start().await, Provider::start().await];
    let gate = two(&providers[0], &providers[1], &in_order())
        .set("routing.prefer", "latency")
        .start()
        .await;
    // Who is not known is asked first, so two requests make both known.
    for _ in 0..2 {
        assert!(way(&gate.send(&gate.chat()).await.ok()).ends_with("exact+latency"));
    }
    assert!(providers.iter().all(|provider| provider.calls().len() == 1));
    let held = Gate::closed();
    for provider in &providers {
        let held = held.clone();
        provider.answer(move |call| openai::answer(call).after(&held));
    }
    // One call runs at each before a second runs anywhere, and so on.
    let mut clients = Vec::new();
    for round in 1..=3 {
        for number in 0..2 {
            clients.push(gate.open(&gate.chat()).await);
            held.reached_by((round - 1) * 2 + number + 1).await;
        }
        let calls = providers.each_ref().map(|provider| provider.calls().len());
        assert_eq!(calls, [1 + round, 1 + round]);
    }
    held.open();
    for client in &mut clients {
        client.answer().await.ok();
    }
}

#[tokio::test]
async fn a_limited_target_rests_as_long_as_it_asks() {
    let waits = [
        ("retry-after", "30", 30),
        ("retry-after-ms", "4000", 4),
        // The clock stands at 12:00.
        ("retry-after", "Mon, 15 Jun 2026 12:00:50 GMT", 50),
    ];
    for (header, value, seconds) in waits {
        let (first, second) = (Provider::start().await, Provider::start().await);
        let gate = two(&first, &second, &in_order()).start().await;
        first.next(Reply::error(429, "slow_down").header(header, value));
        assert_eq!(way(&gate.send(&gate.chat()).await.ok()), "spare;exact+failover");
        for step in [0, seconds - 1] {
            gate.clock().advance(Duration::from_secs(step));
            assert_eq!(way(&gate.send(&gate.stream()).await.ok()), "spare;exact+health");
        }
        assert_eq!(first.calls().len(), 1, "it is left alone");
        gate.clock().advance(Duration::from_secs(1));
        assert_eq!(way(&gate.send(&gate.chat()).await.ok()), "mock;exact", "{header}: {value}");
    }
}

/// A call that went out before says nothing of the limit that came after it.
#[tokio::test]
async fn an_answer_that_was_on_its_way_ends_no_rest() {
    let (first, second) = (Provider::start().await, Provider::start().await);
    let gate = two(&first, &second, &in_order()).start().await;
    let held = Gate::closed();
    first.next(Reply::json(200, &openai::chat(&json!({"model": "gpt-4o-mini"}))).after(&held));
    let mut under_way = gate.open(&gate.chat()).await;
    first.wait_for_calls(1).await;
    first.next(Reply::error(429, "theirs").header("retry-after", "60"));
    assert_eq!(way(&gate.send(&gate.chat()).await.ok()), "spare;exact+failover");
    held.open();
    under_way.answer().await.ok();
    assert_eq!(way(&gate.send(&gate.chat()).await.ok()), "spare;exact+health");
    assert_eq!(first.calls().len(), 2);
}

#[tokio::test]
async fn a_limited_target_rests_for_that_model_alone() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).start().await;
    provider.next(Reply::error(429, "slow_down").header("retry-after", "30"));
    assert_eq!(gate.send(&gate.chat()).await.status(), 429);
    let key = |state: &Value| state["health"]["keys"][0]["state"].clone();
    assert_eq!(key(&state(&gate, "mock").await), "limited");
    let rested = "tollgate_provider_keys_rested_total{provider=\"mock\",reason=\"limited\"}";
    assert_eq!(gate.metric(rested).await, 1);
    // The last target is asked all the same, and once it answers it rests no more.
    gate.send(&gate.chat()).await.ok();
    assert_eq!(key(&state(&gate, "mock").await), "ready");
}

#[tokio::test]
async fn what_said_429_is_not_asked_again_by_the_same_request() {
    let (first, second) = (Provider::start().await, Provider::start().await);
    let gate = two(&first, &second, &in_order()).set("routing.retries", 5).start().await;
    first.next(Reply::error(429, "slow_down").header("retry-after", "60"));
    second.answer(|_| Reply::error(500, "theirs"));
    assert_eq!(gate.send(&gate.chat()).await.status(), 500);
    assert_eq!((first.calls().len(), second.calls().len()), (1, 5));
    assert_eq!(gate.only_record().await["attempts"], 6);
    // Nor by another one as a retry, while it rests.
    gate.send(&gate.chat()).await.refused(500, "upstream_error");
    assert_eq!(first.calls().len(), 1);
}

#[tokio::test]
async fn all_attempts_are_within_one_deadline() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider)
        .set("routing.retries", 10)
        .set("routing.timeout", "1s")
        .set("routing.first_byte_timeout", "400ms")
        .start()
        .await;
    provider.answer(|_| Reply::hang());
    gate.send(&gate.chat()).await.refused(504, "upstream_timeout");
    // Two wait their time, the third what is left; there is none for a fourth.
    let attempts = gate.only_record().await["attempts"].as_u64().unwrap();
    assert!((1..=3).contains(&attempts), "{attempts}");
    // The last of them may have been left before the provider could read it.
    let calls = provider.wait_for_calls(usize::try_from(attempts).unwrap()).await;
    assert_eq!(calls.len() as u64, attempts);
}
