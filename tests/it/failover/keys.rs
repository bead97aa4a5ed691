//! Several keys of one provider.

use std::time::Duration;

use serde_json::json;

use super::{in_order, state, two, way};
use crate::harness::gateway::Gateway;
use crate::harness::openai;
use crate::harness::provider::{Call, Provider};
use crate::harness::reply::Reply;
use crate::harness::setup::{PROVIDER_KEY, Tollgate};

const SECOND: &str = "sk-second-secret-0123456789";
const THIRD: &str = "sk-third-secret-0123456789";

async fn with_three(provider: &Provider) -> Gateway {
    Tollgate::before(provider).provider("api_keys", json!([SECOND, THIRD])).start().await
}

fn key(call: &Call) -> &str {
    call.header("authorization").and_then(|value| value.strip_prefix("Bearer ")).unwrap()
}

/// The keys of the calls since the first `before`.
fn keys(provider: &Provider, before: usize) -> Vec<String> {
    provider.calls()[before..].iter().map(|call| key(call).to_owned()).collect()
}

#[tokio::test]
async fn keys_are_used_in_turn() {
    let provider = Provider::start().await;
    let gate = with_three(&provider).await;
    for _ in 0..4 {
        gate.send(&gate.chat()).await.ok();
    }
    assert_eq!(keys(&provider, 0), [PROVIDER_KEY, SECOND, THIRD, PROVIDER_KEY]);
}

#[tokio::test]
async fn a_limited_key_rests_and_the_next_answers() {
    let provider = Provider::start().await;
    let gate = with_three(&provider).await;
    provider.answer(|call| match key(call) {
        SECOND => Reply::error(429, "slow_down").header("retry-after", "20"),
        _ => openai::answer(call),
    });
    for number in 0..6 {
        let id = format!("r-{number}");
        gate.send(&gate.chat().header("x-request-id", &id)).await.ok();
    }
    let used = keys(&provider, 0);
    assert_eq!(used.iter().filter(|key| **key == SECOND).count(), 1, "{used:?}");
    assert_eq!(gate.record_of("r-1").await["attempts"], 2, "each attempt is counted");
    assert_eq!(gate.metric("tollgate_retries_total").await, 1);
    let states = state(&gate, "mock").await["health"]["keys"].clone();
    assert_eq!(states[1], json!({"state": "limited", "until": "2026-06-15T12:00:20.000000Z"}));
    provider.answer(openai::answer);
    gate.clock().advance(Duration::from_secs(20));
    let before = provider.calls().len();
    for _ in 0..3 {
        gate.send(&gate.chat()).await.ok();
    }
    assert!(keys(&provider, before).contains(&SECOND.to_owned()));
}

#[tokio::test]
async fn a_refused_key_rests_long() {
    for status in [401, 403] {
        let provider = Provider::start().await;
        let gate = with_three(&provider).await;
        provider.answer(move |call| match key(call) {
            PROVIDER_KEY => Reply::error(status, "invalid_api_key"),
            _ => openai::answer(call),
        });
        for seconds in [0, 0, 0, 500, 0, 0] {
            gate.clock().advance(Duration::from_secs(seconds));
            gate.send(&gate.chat()).await.ok();
        }
        let used = keys(&provider, 0);
        assert_eq!(used.iter().filter(|key| **key == PROVIDER_KEY).count(), 1, "{used:?}");
        let seen = gate.admin("/admin/providers").await.ok().text();
        let config = gate.admin("/admin/config").await.ok().text();
        for key in [PROVIDER_KEY, SECOND, THIRD] {
            assert!(!seen.contains(key) && !config.contains(key), "a key is shown");
        }
        assert!(config.contains(r#""api_keys":["***","***"]"#), "{config}");
        let rested = "tollgate_provider_keys_rested_total{provider=\"mock\",reason=\"refused\"}";
        assert_eq!(gate.metric(rested).await, 1);
    }
}

#[tokio::test]
async fn a_target_without_a_good_key_is_the_last() {
    let (first, second) = (Provider::start().await, Provider::start().await);
    let gate = two(&first, &second, &in_order()).start().await;
    first.answer(|_| Reply::error(401, "invalid_api_key"));
    assert_eq!(way(&gate.send(&gate.chat()).await.ok()), "spare;exact+failover");
    assert_eq!(way(&gate.send(&gate.chat()).await.ok()), "spare;exact+health");
    assert_eq!(first.calls().len(), 1);
    // Nobody else answers: the seller's trouble is a 502.
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).start().await;
    provider.answer(|_| Reply::error(401, "invalid_api_key"));
    for calls in 1..=2 {
        gate.send(&gate.chat()).await.refused(502, "upstream_error");
        assert_eq!(provider.calls().len(), calls, "it is not tried again");
    }
}

/// A response can be found again with the key that it was made with.
#[tokio::test]
async fn what_the_provider_keeps_is_made_with_the_first_key() {
    let provider = Provider::start().await;
    let gate = with_three(&provider).await;
    provider.answer(|_| Reply::json(200, &json!({"id": "resp_1", "object": "response"})));
    for _ in 0..3 {
        let body = json!({"model": "gpt-4o-mini", "input": "Hello."});
        let request = crate::harness::client::Request::post("/v1/responses", &body);
        gate.send(&request.bearer(&gate.key("tester"))).await.ok();
    }
    assert_eq!(keys(&provider, 0), [PROVIDER_KEY; 3]);
}
