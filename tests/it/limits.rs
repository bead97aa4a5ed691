//! An account's limits are exact, and their headers true. Covers F1, F5 and
//! invariant 3.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use crate::harness::client::{Answer, Request};
use crate::harness::door::chat_body;
use crate::harness::eventually::eventually;
use crate::harness::gate::Gate;
use crate::harness::gateway::Gateway;
use crate::harness::provider::Provider;
use crate::harness::reply::Reply;
use crate::harness::setup::{Tollgate, key_of};

async fn limited(provider: &Provider, per_minute: u32) -> Gateway {
    Tollgate::before(provider)
        .plan("free", |plan| plan.per_minute(per_minute))
        .plan("other", |plan| plan.per_minute(per_minute))
        .start()
        .await
}

async fn chat(gate: &Gateway) -> Answer {
    gate.send(&gate.chat_as("free")).await
}

#[tokio::test]
async fn of_200_at_once_against_5_a_minute_exactly_5_pass() {
    let provider = Provider::start().await;
    let gate = limited(&provider, 5).await;
    let answers = join_all((0..200).map(|_| chat(&gate))).await;
    let passed = answers.iter().filter(|answer| answer.status() == 200).count();
    assert_eq!(passed, 5);
    for answer in answers.iter().filter(|answer| answer.status() != 200) {
        answer.refused(429, "rate_limit_exceeded");
    }
    assert_eq!(provider.calls().len(), 5);
    assert_eq!(gate.records().await.len(), 5);
}

#[tokio::test]
async fn every_answer_says_what_is_left() {
    let provider = Provider::start().await;
    let gate = limited(&provider, 3).await;
    for left in [2, 1, 0] {
        let answer = chat(&gate).await.ok();
        assert_eq!(answer.number("x-ratelimit-limit-requests"), 3);
        assert_eq!(answer.number("x-ratelimit-remaining-requests"), left);
        let reset = answer.header("x-ratelimit-reset-requests").unwrap_or_default();
        assert!(reset.ends_with('s') || reset.ends_with('m'), "{reset:?} is no duration");
    }
    let refused = chat(&gate).await;
    refused.refused(429, "rate_limit_exceeded");
    assert_eq!(refused.number("x-ratelimit-limit-requests"), 3);
    assert_eq!(refused.number("x-ratelimit-remaining-requests"), 0);
    assert_eq!(refused.header("x-should-retry").unwrap_or("true"), "true");
}

#[tokio::test]
async fn retry_after_is_true_to_the_millisecond() {
    let provider = Provider::start().await;
    let gate = limited(&provider, 3).await;
    chat(&gate).await.ok();
    gate.clock().advance(Duration::from_millis(20_500));
    chat(&gate).await.ok();
    chat(&gate).await.ok();
    let refused = chat(&gate).await;
    refused.refused(429, "rate_limit_exceeded");
    let wait = refused.number("retry-after-ms");
    assert!((39_500..=39_501).contains(&wait), "{wait} ms");
    assert_eq!(refused.number("retry-after"), 40, "seconds are rounded up");
    gate.clock().advance(Duration::from_millis(wait - 2));
    chat(&gate).await.refused(429, "rate_limit_exceeded");
    gate.clock().advance(Duration::from_millis(2));
    chat(&gate).await.ok();
    chat(&gate).await.refused(429, "rate_limit_exceeded");
}

#[tokio::test]
async fn the_window_slides() {
    let provider = Provider::start().await;
    let gate = limited(&provider, 5).await;
    gate.clock().advance(Duration::from_secs(59));
    for _ in 0..5 {
        chat(&gate).await.ok();
    }
    // A new minute on the clock is not a new window.
    gate.clock().advance(Duration::from_secs(30));
    chat(&gate).await.refused(429, "rate_limit_exceeded");
    gate.clock().advance(Duration::from_secs(31));
    for _ in 0..5 {
        chat(&gate).await.ok();
    }
    chat(&gate).await.refused(429, "rate_limit_exceeded");
}

#[tokio::test]
async fn accounts_do_not_share_and_keys_of_one_account_do() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider)
        .plan("free", |plan| plan.per_minute(2))
        .set(
            "keys",
            json!([
                {"account": "a", "plan": "free", "key": key_of("first")},
                {"account": "a", "plan": "free", "key": key_of("second")},
                {"account": "b", "plan": "free", "key": key_of("third")},
            ]),
        )
        .start()
        .await;
    for (key, passes) in
        [("first", true), ("second", true), ("first", false), ("second", false), ("third", true)]
    {
        let answer = gate.send(&gate.chat_as(key)).await;
        assert_eq!(answer.status(), if passes { 200 } else { 429 }, "{key}");
    }
}

#[tokio::test]
async fn a_refusal_consumes_nothing() {
    let provider = Provider::start().await;
    let gate = limited(&provider, 2).await;
    let key = gate.key("free");
    let bad = [
        Request::post_text("/v1/chat/completions", "{").bearer(&key),
        Request::post("/v1/chat/completions", &json!({"model": 7})).bearer(&key),
        Request::post("/v1/nowhere", &chat_body()).bearer(&key),
        Request::new("POST", "/v1/chat/completions").header("content-type", "a/b").bearer(&key),
    ];
    for request in bad.iter().chain(&bad) {
        let answer = gate.send(request).await;
        assert!((400..429).contains(&answer.status()), "{}", answer.status());
    }
    for _ in 0..2 {
        chat(&gate).await.ok();
    }
    // Being refused for the rate does not put the next chance off.
    for _ in 0..10 {
        chat(&gate).await.refused(429, "rate_limit_exceeded");
    }
    gate.clock().advance(Duration::from_millis(60_001));
    chat(&gate).await.ok();
}

#[tokio::test]
async fn a_providers_failure_stays_in_the_window() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider)
        .plan("free", |plan| plan.per_minute(1))
        .set("routing.retries", 0)
        .start()
        .await;
    provider.next(Reply::error(500, "theirs"));
    assert_eq!(chat(&gate).await.status(), 500);
    chat(&gate).await.refused(429, "rate_limit_exceeded");
}

#[tokio::test]
async fn looking_at_the_models_counts_as_a_request() {
    let provider = Provider::start().await;
    let gate = limited(&provider, 1).await;
    let models = Request::get("/v1/models").bearer(&gate.key("free"));
    gate.send(&models).await.ok();
    chat(&gate).await.refused(429, "rate_limit_exceeded");
    assert!(gate.records().await.is_empty(), "and makes no record");
}

#[tokio::test]
async fn a_model_that_is_refused_takes_nothing() {
    let provider = Provider::start().await;
    let gate = limited(&provider, 1).await;
    for name in ["a//b", "../files/file-1/content", "%2e%2e/files", "..%2Ffiles"] {
        let model = Request::get(&format!("/v1/models/{name}")).bearer(&gate.key("free"));
        gate.send(&model).await.refused(404, "model_not_found");
    }
    assert!(provider.calls().is_empty(), "nothing leads out of the models");
    chat(&gate).await.ok();
}

#[tokio::test]
async fn a_model_that_a_provider_is_asked_for_occupies_a_place() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).plan("free", |plan| plan.concurrent(1)).start().await;
    let held = Gate::closed();
    provider.next(Reply::json(200, &json!({"id": "theirs"})).after(&held));
    let model = Request::get("/v1/models/theirs").bearer(&gate.key("free"));
    let mut first = gate.open(&model).await;
    held.reached_by(1).await;
    chat(&gate).await.refused(429, "concurrency_limit_exceeded");
    held.open();
    first.answer().await.ok();
    chat(&gate).await.ok();
}

#[tokio::test]
async fn requests_at_once_are_limited_and_their_places_given_back() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).plan("free", |plan| plan.concurrent(2)).start().await;
    let held = Gate::closed();
    provider.next(Reply::json(200, &json!({"choices": []})).after(&held));
    provider.next(Reply::json(200, &json!({"choices": []})).after(&held));
    let mut first = gate.open(&gate.chat_as("free")).await;
    let second = gate.open(&gate.chat_as("free")).await;
    held.reached_by(2).await;
    let refused = chat(&gate).await;
    refused.refused(429, "concurrency_limit_exceeded");
    assert!(refused.number("retry-after") >= 1);
    assert!(refused.number("retry-after-ms") >= 1);
    // One leaves, one is answered: both places are free again.
    drop(second);
    provider.wait_for_disconnect().await;
    eventually("the place of the one that left", async || {
        (chat(&gate).await.status() == 200).then_some(())
    })
    .await;
    held.open();
    first.answer().await.ok();
    let answers = join_all([chat(&gate), chat(&gate)]).await;
    assert!(answers.iter().all(|answer| answer.status() == 200), "two places");
}

#[tokio::test]
async fn a_concurrency_refusal_consumes_nothing() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider)
        .plan("free", |plan| plan.concurrent(1).per_minute(2))
        .start()
        .await;
    let held = Gate::closed();
    provider.next(Reply::json(200, &json!({"choices": []})).after(&held));
    let mut first = gate.open(&gate.chat_as("free")).await;
    held.reached_by(1).await;
    for _ in 0..5 {
        let refused = chat(&gate).await;
        refused.refused(429, "concurrency_limit_exceeded");
        assert_eq!(refused.header("x-tollgate-class"), Some("default"), "as far as the head says");
    }
    held.open();
    first.answer().await.ok();
    chat(&gate).await.ok();
    chat(&gate).await.refused(429, "rate_limit_exceeded");
}
