//! Tokens per minute: reserved on an estimate, settled on what the record says.
//! Covers F1, F5 and invariant 3.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::harness::client::{Answer, Connection, Request};
use crate::harness::door::chat_body;
use crate::harness::eventually::eventually;
use crate::harness::gate::Gate;
use crate::harness::gateway::Gateway;
use crate::harness::openai::{INPUT, OUTPUT};
use crate::harness::provider::Provider;
use crate::harness::reply::Reply;
use crate::harness::setup::{Setup, Tollgate, key_of};

const LIMIT: &str = "x-ratelimit-limit-tokens";
const LEFT: &str = "x-ratelimit-remaining-tokens";
const RESET: &str = "x-ratelimit-reset-tokens";
const REFUSED: &str = "tollgate_refused_total{layer=\"user\",window=\"tokens\"}";
/// What the provider says that every answer took.
const USED: u64 = INPUT + OUTPUT;

fn limited(provider: &Provider, per_minute: u64) -> Setup {
    Tollgate::before(provider)
        .plan("free", |plan| {
            plan.set("tokens_per_minute", per_minute).set("requests_per_month", 1_000)
        })
        .plan("endless", |plan| plan)
        .set("routing.retries", 0)
}

/// A request whose answer takes at most `most` tokens.
fn of_at_most(most: u64) -> Request {
    let mut body = chat_body();
    body["max_tokens"] = most.into();
    Request::post("/v1/chat/completions", &body).bearer(&key_of("free"))
}

async fn models(gate: &Gateway) -> Answer {
    gate.send(&Request::get("/v1/models").bearer(&key_of("free"))).await.ok()
}

async fn left(gate: &Gateway) -> u64 {
    models(gate).await.number(LEFT)
}

/// Sends `request`, whose answer is held back until `gate` opens.
async fn hold(tollgate: &Gateway, provider: &Provider, request: &Request) -> (Connection, Gate) {
    let held = Gate::closed();
    provider.next(Reply::json(200, &answer()).after(&held));
    let open = tollgate.open(request).await;
    held.reached_by(1).await;
    (open, held)
}

fn answer() -> Value {
    json!({"choices": [], "usage": {"prompt_tokens": INPUT, "completion_tokens": OUTPUT}})
}

#[track_caller]
fn refused(answer: &Answer) -> Duration {
    answer.refused(429, "rate_limit_exceeded");
    assert_eq!(answer.header("x-should-retry"), None);
    let wait = answer.number("retry-after-ms");
    assert_eq!(answer.number("retry-after"), wait.div_ceil(1_000));
    Duration::from_millis(wait)
}

#[tokio::test]
async fn an_estimate_is_reserved_and_the_real_figure_counts_in_its_place() {
    let provider = Provider::start().await;
    let gate = limited(&provider, 10_000).start().await;
    let fresh = models(&gate).await;
    assert_eq!((fresh.number(LIMIT), fresh.number(LEFT)), (10_000, 10_000));
    assert_eq!(fresh.header(RESET), Some("0ms"));
    let (mut open, held) = hold(&gate, &provider, &of_at_most(4_000)).await;
    let reserved = 10_000 - left(&gate).await;
    // The prompt is estimated.
    assert!((4_001..4_100).contains(&reserved), "{reserved} tokens are reserved");
    gate.clock().advance(Duration::from_secs(10));
    held.open();
    let settled = open.answer().await.ok();
    assert_eq!(settled.number(LEFT), 10_000 - USED, "a whole answer shows what is settled");
    assert_eq!(settled.header(RESET), Some("50s"), "at the moment of the reservation");
    assert_eq!(left(&gate).await, 10_000 - USED);
    // A stream's head is sent before its usage is known.
    let mut body = chat_body();
    (body["stream"], body["max_tokens"]) = (true.into(), 1_000.into());
    let stream = Request::post("/v1/chat/completions", &body).bearer(&key_of("free"));
    let head = gate.send(&stream).await.ok();
    assert!(head.number(LEFT) <= 10_000 - USED - 1_001, "{}", head.number(LEFT));
    assert_eq!(left(&gate).await, 10_000 - 2 * USED);
    gate.clock().advance(Duration::from_secs(50));
    assert_eq!(left(&gate).await, 10_000 - USED, "the first has left");
    assert_eq!(gate.send(&gate.chat_as("endless")).await.ok().header(LIMIT), None);
}

#[tokio::test]
async fn a_refusal_takes_nothing_and_names_the_moment() {
    let provider = Provider::start().await;
    let gate = limited(&provider, 5_000).start().await;
    let (mut open, held) = hold(&gate, &provider, &of_at_most(4_000)).await;
    gate.clock().advance(Duration::from_millis(12_345));
    let before = models(&gate).await;
    let requests = "x-ratelimit-remaining-requests";
    let quota = "x-tollgate-quota-remaining";
    for _ in 0..3 {
        let answer = gate.send(&of_at_most(2_000)).await;
        assert_eq!(refused(&answer), Duration::from_millis(60_000 - 12_345));
        for name in [LEFT, requests, quota] {
            assert_eq!(answer.number(name), before.number(name), "{name}");
        }
        let message = answer.json()["error"]["message"].as_str().unwrap_or_default().to_owned();
        assert!(message.contains("5000 tokens per minute"), "{message}");
    }
    gate.wait_for_metric(REFUSED, 3).await;
    assert_eq!(provider.calls().len(), 1);
    // What fits is served.
    gate.send(&of_at_most(100)).await.ok();
    let after = models(&gate).await;
    assert_eq!(after.number(quota), before.number(quota) - 1);
    assert_eq!(after.number(requests), before.number(requests) - 2, "itself and the models");
    gate.clock().advance(Duration::from_millis(60_000 - 12_345 - 1));
    assert_eq!(refused(&gate.send(&of_at_most(4_900)).await), Duration::from_millis(1));
    gate.clock().advance(Duration::from_millis(1));
    gate.send(&of_at_most(4_900)).await.ok();
    held.open();
    open.answer().await.ok();
}

#[tokio::test]
async fn what_is_larger_than_the_limit_is_told_so() {
    let provider = Provider::start().await;
    let gate = limited(&provider, 500).start().await;
    // Without a limit of its own an answer is taken to be 512 tokens.
    for request in [of_at_most(500), gate.chat_as("free"), of_at_most(u64::MAX)] {
        let answer = gate.send(&request).await;
        answer.refused(429, "rate_limit_exceeded");
        assert_eq!(answer.header("x-should-retry"), Some("false"));
        assert_eq!(answer.header("retry-after"), None);
        let message = answer.json()["error"]["message"].as_str().unwrap_or_default().to_owned();
        assert!(message.contains("never"), "{message}");
        assert_eq!(answer.number(LEFT), 500);
    }
    gate.send(&of_at_most(400)).await.ok();
}

/// An image is counted as one, not by the length of its text.
#[tokio::test]
async fn an_image_in_a_prompt_is_not_reserved_by_its_length() {
    let provider = Provider::start().await;
    let gate = limited(&provider, 3_000).start().await;
    let url = format!("data:image/png;base64,{}", "iVBORw0KGgo".repeat(60_000));
    let body = json!({
        "model": "gpt-4o-mini", "max_tokens": 1_000,
        "messages": [{"role": "user", "content": [
            {"type": "text", "text": "What is it?"},
            {"type": "image_url", "image_url": {"url": url}},
        ]}],
    });
    let image = Request::post("/v1/chat/completions", &body).bearer(&key_of("free"));
    let (mut open, held) = hold(&gate, &provider, &image).await;
    let reserved = 3_000 - left(&gate).await;
    assert!((1_500..2_000).contains(&reserved), "{reserved} tokens are reserved");
    held.open();
    open.answer().await.ok();
    assert_eq!(left(&gate).await, 3_000 - USED);
}

/// Covers F5: exactly as many as fit, however they come.
#[tokio::test]
async fn of_100_at_once_exactly_as_many_pass_as_fit() {
    let provider = Provider::start().await;
    let gate = limited(&provider, 10_000).start().await;
    let one = {
        let (mut open, held) = hold(&gate, &provider, &of_at_most(1_000)).await;
        let reserved = 10_000 - left(&gate).await;
        held.open();
        open.answer().await.ok();
        reserved
    };
    gate.clock().advance(Duration::from_secs(60));
    let held = Gate::closed();
    let reply = held.clone();
    provider.answer(move |_| Reply::json(200, &answer()).after(&reply));
    let fit = usize::try_from(10_000 / one).unwrap();
    let asked = async {
        join_all((0..100).map(|_| async {
            let answer = gate.send(&of_at_most(1_000)).await;
            if answer.status() != 200 {
                refused(&answer);
            }
            answer.status()
        }))
        .await
    };
    let opened = async {
        gate.wait_for_metric(REFUSED, 100 - fit as u64).await;
        held.open();
    };
    let (statuses, ()) = tokio::join!(asked, opened);
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), fit);
    assert_eq!(left(&gate).await, 10_000 - fit as u64 * USED);
}

#[tokio::test]
async fn what_uses_nothing_gives_all_back() {
    let provider = Provider::start().await;
    let gate = limited(&provider, 5_000)
        .set("limits.global.concurrent", 1)
        .set("limits.global.queue", 0)
        .start()
        .await;
    for status in [400, 500, 503] {
        provider.next(Reply::error(status, "theirs"));
        let answer = gate.send(&of_at_most(1_000)).await;
        assert_eq!((answer.status(), answer.number(LEFT)), (status, 5_000));
    }
    let nonsense = Request::post_text("/v1/chat/completions", "{").bearer(&key_of("free"));
    assert_eq!(gate.send(&nonsense).await.number(LEFT), 5_000);
    // A client that leaves has used its prompt; one for which there is no slot
    // has used nothing.
    let (open, held) = hold(&gate, &provider, &of_at_most(1_000)).await;
    let held_back = left(&gate).await;
    let full = gate.send(&of_at_most(1_000)).await;
    full.refused(503, "overloaded");
    assert_eq!(full.number(LEFT), held_back);
    assert_eq!(left(&gate).await, held_back);
    drop(open);
    let record = gate.wait_for_records(4).await.pop().unwrap();
    let prompt = record["tokens"]["input"].as_u64().unwrap();
    assert!(prompt > 0 && record["tokens"]["output"] == 0, "{record}");
    eventually("the rest to be given back", async || {
        (left(&gate).await == 5_000 - prompt).then_some(())
    })
    .await;
    held.open();
}

#[tokio::test]
async fn an_answer_from_the_cache_counts_the_tokens_that_it_was_made_of() {
    let provider = Provider::start().await;
    let gate = limited(&provider, 2_000)
        .class("docs", "0.01", &json!({"cache": {"ttl": "1h"}}))
        .start()
        .await;
    let mut body = chat_body();
    body["max_tokens"] = 1_900.into();
    let ask = Request::post("/docs/v1/chat/completions", &body).bearer(&key_of("free"));
    assert_eq!(gate.send(&ask).await.ok().number(LEFT), 2_000 - USED);
    // Its reservation is what it is known to take, so all of these fit.
    let hits = 2_000 / USED - 1;
    for hit in 0..hits {
        let answer = gate.send(&ask).await.ok();
        assert_eq!(answer.header("x-tollgate-cache"), Some("hit"));
        assert_eq!(answer.number(LEFT), 2_000 - USED * (hit + 2));
    }
    let answer = gate.send(&ask).await;
    refused(&answer);
    assert_eq!((answer.header("x-tollgate-cache"), answer.header("age")), (Some("bypass"), None));
    gate.clock().advance(Duration::from_secs(60));
    gate.send(&ask).await.ok();
}

#[tokio::test]
async fn an_account_has_its_own_figure_and_a_restart_keeps_the_count() {
    let provider = Provider::start().await;
    let gate = limited(&provider, 1_000).start().await;
    let own = |limit: Value| json!({"overrides": {"tokens_per_minute": limit}});
    gate.send(&of_at_most(100)).await.ok();
    let changed = gate.change("/admin/accounts/free", &own(json!(3_000))).await.ok();
    assert_eq!(changed.json()["overrides"]["tokens_per_minute"], 3_000);
    assert_eq!(left(&gate).await, 3_000 - USED);
    gate.clock().advance(Duration::from_secs(20));
    gate.send(&of_at_most(2_500)).await.ok();
    let gate = gate.restart().await;
    // A new process has a new clock, which stands where the first one began:
    // both are in its minute.
    assert_eq!(models(&gate).await.number(LIMIT), 3_000);
    assert_eq!(left(&gate).await, 3_000 - 2 * USED);
    gate.clock().advance(Duration::from_secs(60));
    assert_eq!(left(&gate).await, 3_000);
    gate.change("/admin/accounts/free", &own(json!("unlimited"))).await.ok();
    assert_eq!(models(&gate).await.header(LEFT), None);
    gate.change("/admin/accounts/free", &own(Value::Null)).await.ok();
    assert_eq!(models(&gate).await.number(LIMIT), 1_000);
}
