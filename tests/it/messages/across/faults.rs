//! Providers of another dialect that refuse, fail, or break their own protocol.

use serde_json::json;

use super::{before_anthropic, before_openai, kinds};
use crate::harness::anthropic;
use crate::harness::openai;
use crate::harness::provider::Provider;
use crate::harness::reply::Reply;
use crate::messages::{body, post, stream_body};

#[tokio::test]
async fn a_refusal_comes_in_the_clients_shape_without_keys_and_addresses() {
    let provider = Provider::start().await;
    let gate = before_openai(&provider).start().await;
    let said = json!({"error": {
        "message": "max_tokens is too large; see https://internal.example.com/docs",
        "type": "invalid_request_error", "param": "max_tokens", "code": "bad",
    }});
    provider.next(Reply::json(400, &said));
    let answer = gate.send(&post("/v1/messages", &body())).await;
    assert_eq!(answer.status(), 400);
    let error = answer.json();
    assert_eq!(
        (&error["type"], &error["error"]["type"]),
        (&json!("error"), &json!("invalid_request_error"))
    );
    let message = error["error"]["message"].as_str().unwrap_or_default();
    assert!(message.starts_with("max_tokens is too large"), "{message}");
    assert!(!message.contains("internal.example"), "{message}");

    provider.next(Reply::error(429, "rate_limit_exceeded").header("retry-after", "7"));
    let answer = gate.send(&post("/v1/messages", &body())).await;
    assert_eq!(answer.status(), 429);
    assert_eq!(answer.json()["error"]["type"], "rate_limit_error");
    assert_eq!(answer.header("retry-after"), Some("7"));

    let gate = before_anthropic(&provider).start().await;
    provider.next(anthropic::error(404, "not_found_error"));
    let answer = gate.send(&gate.chat()).await;
    assert_eq!(answer.status(), 404);
    let error = answer.json();
    assert_eq!(error["error"]["message"], "the provider says not_found_error");
    assert_eq!(error["type"], json!(null));
    provider.next(anthropic::error(401, "authentication_error"));
    gate.send(&gate.chat()).await.refused(502, "upstream_error");
    for record in gate.wait_for_records(2).await {
        assert_eq!((&record["quantity"], &record["cost"]), (&json!(0), &json!("0")), "{record}");
    }
}

#[tokio::test]
async fn an_answer_that_makes_no_sense_is_a_502_and_not_charged() {
    let provider = Provider::start().await;
    let gate = before_openai(&provider).start().await;
    for garbage in ["<html>", "{}", "[1]", "{\"choices\":[", "{\"choices\":7}"] {
        provider.next(Reply::json_text(200, garbage));
        let answer = gate.send(&post("/v1/messages", &body())).await;
        assert_eq!(answer.status(), 502, "{garbage}: {}", answer.text());
        assert_eq!(answer.json()["error"]["code"], "upstream_error");
    }
    for record in gate.wait_for_records(5).await {
        assert_eq!(
            (&record["outcome"], &record["quantity"]),
            (&json!("cut"), &json!(0)),
            "{record}"
        );
    }
}

#[tokio::test]
async fn a_stream_that_makes_no_sense_or_breaks_off_is_cut() {
    let provider = Provider::start().await;
    let gate = before_openai(&provider).start().await;
    let events = openai::chat_events("gpt-4o-mini", true);
    let garbled = Reply::events(&events[..3]).event("{\"choices\":").event("[DONE]");
    let early = Reply::events(&events[..3]);
    let length: usize = events[..3].iter().map(|event| event.len() + 8).sum();
    let cut = Reply::events(&events[..3]).cut_after(length);
    for reply in [garbled, early, cut] {
        provider.next(reply);
        let mut connection = gate.open(&post("/v1/messages", &stream_body())).await;
        connection.head().await;
        let mut seen = String::new();
        let whole = loop {
            match connection.event().await {
                Ok(Some(event)) => seen.push_str(&String::from_utf8_lossy(&event)),
                Ok(None) => break true,
                Err(_) => break false,
            }
        };
        assert!(!whole, "the connection must not look complete: {seen}");
        assert!(seen.contains("message_start") && !seen.contains("message_stop"), "{seen}");
    }
    let records = gate.wait_for_records(3).await;
    for record in records {
        assert_eq!(
            (&record["outcome"], &record["quantity"]),
            (&json!("cut"), &json!(0)),
            "{record}"
        );
        assert!(record["tokens"]["output"].as_u64() > Some(0), "{record}");
    }
}

#[tokio::test]
async fn an_error_within_a_stream_is_told_in_the_clients_shape() {
    let provider = Provider::start().await;
    let gate = before_openai(&provider).start().await;
    let events = openai::chat_events("gpt-4o-mini", true);
    let error = "{\"error\":{\"message\":\"no more\",\"type\":\"server_error\",\"code\":null}}";
    provider.next(Reply::events(&events[..3]).event(error));
    let answer = gate.send(&post("/v1/messages", &stream_body())).await;
    assert_eq!(kinds(&answer).last().map(String::as_str), Some("error"), "{}", answer.text());
    assert_eq!(gate.only_record().await["outcome"], "cut");
}

/// A server that refuses `stream_options` is asked without, and its tokens counted.
#[tokio::test]
async fn a_server_without_usage_in_streams_is_not_asked_for_it() {
    let provider = Provider::start().await;
    let gate = before_openai(&provider).provider("stream_usage", false).start().await;
    gate.send(&post("/v1/messages", &stream_body())).await.ok();
    assert_eq!(provider.only_call().json()["stream_options"], json!(null));
    let record = gate.only_record().await;
    assert_eq!(record["estimated"], true, "{record}");
    assert!(record["tokens"]["input"].as_u64() > Some(0), "{record}");
    assert!(record["tokens"]["output"].as_u64() > Some(0), "{record}");

    let gate = before_openai(&provider).start().await;
    provider.next(Reply::error(400, "stream_options"));
    gate.send(&post("/v1/messages", &stream_body())).await.ok();
    gate.send(&post("/v1/messages", &stream_body())).await.ok();
    let asked: Vec<bool> =
        provider.calls()[1..].iter().map(|call| !call.json()["stream_options"].is_null()).collect();
    assert_eq!(asked, [true, false, false], "it is asked once");
}

/// Azure's first chunk has no id and no choice; servers of Mistral give text in parts.
#[tokio::test]
async fn the_oddities_of_compatible_servers_are_understood() {
    let provider = Provider::start().await;
    let gate = before_openai(&provider).start().await;
    let chunk = |id: &str, choices: serde_json::Value| {
        json!({"id": id, "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices}).to_string()
    };
    let say =
        |delta: serde_json::Value| json!([{"index": 0, "delta": delta, "finish_reason": null}]);
    let thinking = json!([{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}]);
    let events = [
        chunk("", json!([])),
        chunk("", say(json!({"role": "assistant", "content": thinking}))),
        chunk("", say(json!({"content": [{"type": "text", "text": "Hello"}]}))),
        chunk("", json!([{"index": 0, "delta": {}, "finish_reason": "stop"}])),
        "[DONE]".to_owned(),
    ];
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..2 {
        provider.next(Reply::events(&events));
        let answer = gate.send(&post("/v1/messages", &stream_body())).await.ok();
        let text = answer.text();
        let payload = |name: &str| {
            let mut data = text.lines().filter_map(|line| line.strip_prefix("data: "));
            let line = data.find(|line| line.contains(name));
            serde_json::from_str::<serde_json::Value>(line.unwrap_or_default()).unwrap()
        };
        let id = payload("message_start")["message"]["id"].as_str().unwrap_or_default().to_owned();
        assert!(id.len() > 20 && id.starts_with("msg_"), "{id}");
        assert!(ids.insert(id), "two answers have one id");
        assert_eq!(payload("thinking_delta")["delta"]["thinking"], "Hm.");
        assert_eq!(payload("text_delta")["delta"]["text"], "Hello");
    }
    let records = gate.wait_for_records(2).await;
    assert!(records.iter().all(|record| record["outcome"] == "ok"), "{records:?}");
}

/// Covers E4: whoever asks gets no more than that the answer made no sense.
#[tokio::test]
async fn a_stream_out_of_order_is_cut_and_says_nothing_of_the_provider() {
    let provider = Provider::start().await;
    let gate = before_anthropic(&provider).start().await;
    let events = anthropic::message_events(&body());
    let twice = [&events[..1], &events[..]].concat();
    let early = [&events[..1], &events[2..]].concat();
    let mut foreign = events[..4].to_vec();
    foreign.push(json!({"type": "error", "error": {"type": "api_error",
        "message": "at https://internal.example.com with key sk-ant-0123456789abcdef"}}));
    for (events, ends) in [(twice, false), (early, false), (foreign, true)] {
        provider.next(anthropic::stream(events));
        let mut connection = gate.open(&gate.stream()).await;
        connection.head().await;
        let mut seen = String::new();
        let whole = loop {
            match connection.event().await {
                Ok(Some(event)) => seen.push_str(&String::from_utf8_lossy(&event)),
                Ok(None) => break true,
                Err(_) => break false,
            }
        };
        assert_eq!(whole, ends, "{seen}");
        assert!(!seen.contains("[DONE]"), "{seen}");
        assert!(!seen.contains("internal.example") && !seen.contains("sk-ant"), "{seen}");
    }
    for record in gate.wait_for_records(3).await {
        assert_eq!(
            (&record["outcome"], &record["quantity"]),
            (&json!("cut"), &json!(0)),
            "{record}"
        );
    }
}
