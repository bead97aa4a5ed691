//! Messages in the cache and in flight. Covers D2, D3, E1 and invariant 4.

use serde_json::{Value, json};

use super::{before, body, post, stream_body};
use crate::harness::anthropic;
use crate::harness::client::Answer;
use crate::harness::gate::Gate;
use crate::harness::gateway::Gateway;
use crate::harness::provider::Provider;
use crate::harness::reply::Reply;

async fn cached(provider: &Provider) -> Gateway {
    let class = json!({"cache": {"ttl": "1h"}});
    before(provider).class("docs", "0.01", &class).start().await
}

async fn ask(gate: &Gateway, body: &Value, result: &str) -> Answer {
    let answer = gate.send(&post("/docs/v1/messages", body)).await.ok();
    assert_eq!(answer.header("x-tollgate-cache"), Some(result), "{body}");
    answer
}

/// The data of the events of `answer`.
fn events(answer: &Answer) -> Vec<Value> {
    let text = answer.text();
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    data.map(|data| serde_json::from_str(data).unwrap()).collect()
}

#[tokio::test]
async fn a_message_is_given_again_in_either_form() {
    let provider = Provider::start().await;
    let gate = cached(&provider).await;
    let whole = ask(&gate, &body(), "miss").await;
    assert_eq!(ask(&gate, &body(), "hit").await.body, whole.body);
    let streamed = ask(&gate, &stream_body(), "hit").await;
    assert_eq!(streamed.header("content-type"), Some("text/event-stream; charset=utf-8"));
    let kinds: Vec<Value> = events(&streamed).iter().map(|event| event["type"].clone()).collect();
    let expected = [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ];
    assert_eq!(kinds, expected);
    assert_eq!(events(&streamed)[0]["message"]["id"], "msg_mock", "the id is kept");
    provider.only_call();
}

#[tokio::test]
async fn a_stream_is_given_again_in_either_form() {
    let provider = Provider::start().await;
    let gate = cached(&provider).await;
    let streamed = ask(&gate, &stream_body(), "miss").await;
    assert_eq!(ask(&gate, &stream_body(), "hit").await.body, streamed.body);
    let whole = ask(&gate, &body(), "hit").await;
    assert_eq!(whole.json(), anthropic::message(&body()));
    assert_eq!(whole.header("content-type"), Some("application/json"));
    provider.only_call();
    let record = gate.records().await.into_iter().find(|it| it["cache"] == "hit").unwrap();
    assert_eq!(record["tokens"]["input"], anthropic::INPUT, "{record}");
    assert_eq!(record["cost"], "0", "{record}");
}

/// What a chat is asked never answers a message, however alike they are.
#[tokio::test]
async fn what_can_change_the_answer_is_another_entry() {
    let provider = Provider::start().await;
    let gate = cached(&provider).await;
    ask(&gate, &body(), "miss").await;
    for (field, value) in [
        ("max_tokens", json!(65)),
        ("system", json!("Be brief.")),
        ("top_k", json!(5)),
        ("thinking", json!({"type": "enabled", "budget_tokens": 1024})),
        ("unknown", json!(null)),
    ] {
        let mut other = body();
        other[field] = value;
        ask(&gate, &other, "miss").await;
    }
    let beta = post("/docs/v1/messages", &body()).header("anthropic-beta", "x");
    assert_eq!(gate.send(&beta).await.ok().header("x-tollgate-cache"), Some("miss"));
    let mut same = body();
    same["metadata"] = json!({"user_id": "somebody"});
    ask(&gate, &same, "hit").await;
    let mut stateful = body();
    stateful["container"] = json!("container_1");
    ask(&gate, &stateful, "bypass").await;
}

#[tokio::test]
async fn only_what_is_complete_is_kept() {
    let provider = Provider::start().await;
    let gate = cached(&provider).await;
    let mut failing = anthropic::message_events(&body())[..4].to_vec();
    failing.push(json!({"type": "error", "error": {"type": "api_error", "message": "x"}}));
    provider.next(anthropic::stream(failing));
    gate.send(&post("/docs/v1/messages", &stream_body())).await;
    provider.next(anthropic::error(429, "rate_limit_error"));
    gate.send(&post("/docs/v1/messages", &body())).await;
    ask(&gate, &body(), "miss").await;
    assert_eq!(provider.calls().len(), 3);
}

#[tokio::test]
async fn equal_messages_that_run_at_once_are_one_call() {
    let provider = Provider::start().await;
    let setup = before(&provider).set("batching.coalesce", true);
    let gate = setup.start().await;
    let held = Gate::closed();
    let events = anthropic::message_events(&body());
    let mut reply = Reply::stream().chunk(anthropic::written(&events[0])).wait(&held);
    for event in &events[1..] {
        reply = reply.chunk(anthropic::written(event));
    }
    provider.next(reply);
    let request = post("/v1/messages", &stream_body());
    let mut first = gate.open(&request).await;
    first.head().await;
    let mut second = gate.open(&request).await;
    let head = second.head().await;
    assert_eq!(head.header("x-tollgate-cache"), Some("coalesced"));
    held.open();
    for connection in [&mut first, &mut second] {
        for event in &events {
            assert_eq!(connection.event_data().await, anthropic::written(event).trim_end());
        }
        assert_eq!(connection.event().await.unwrap(), None);
    }
    provider.only_call();
    assert_eq!(gate.records().await.len(), 2);
}
