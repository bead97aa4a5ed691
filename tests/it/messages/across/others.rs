//! Gemini as a provider; completions and responses of clients across dialects.

use serde_json::{Value, json};

use super::{before_anthropic, kinds};
use crate::harness::anthropic;
use crate::harness::client::Request;
use crate::harness::gemini;
use crate::harness::openai;
use crate::harness::provider::Provider;
use crate::harness::setup::{DEFAULT_PLAN, PROVIDER_KEY, Setup, Tollgate, key_of};
use crate::messages::{MODEL, body, post, stream_body};

fn ask(path: &str, body: &Value) -> Request {
    Request::post(path, body).bearer(&key_of(DEFAULT_PLAN))
}

fn before_gemini(provider: &Provider) -> Setup {
    provider.answer(gemini::answer);
    let target = json!({"provider": "mock", "model": "gemini-pro"});
    let cost = json!({"input": "0.15", "cached_input": "0.075", "output": "0.60"});
    Tollgate::before(provider).provider("dialect", "gemini").set("routing.retries", 0).models(
        &json!([
            {"name": "gpt-4o-mini", "targets": [target], "cost": cost},
            {"name": MODEL, "targets": [target], "cost": cost},
            {"name": "lost", "targets": [{"provider": "mock"}]},
        ]),
    )
}

#[tokio::test]
async fn gemini_answers_chats_and_messages_in_either_form() {
    let provider = Provider::start().await;
    let gate = before_gemini(&provider).start().await;
    let chat = gate.send(&gate.chat()).await.ok().json();
    assert_eq!(chat["choices"][0]["message"]["content"], gemini::TEXT);
    assert_eq!(chat["model"], "gpt-4o-mini");
    let message = gate.send(&post("/v1/messages", &body())).await.ok().json();
    assert_eq!(message["content"][0]["text"], gemini::TEXT);
    let streamed = gate.send(&gate.stream()).await.ok();
    let said = |event: &String| {
        let event: Value = serde_json::from_str(event).ok()?;
        event["choices"][0]["delta"]["content"].as_str().map(str::to_owned)
    };
    assert_eq!(streamed.events().iter().filter_map(said).collect::<String>(), gemini::TEXT);
    assert_eq!(streamed.events().last().map(String::as_str), Some("[DONE]"));
    let streamed = gate.send(&post("/v1/messages", &stream_body())).await.ok();
    assert_eq!(kinds(&streamed).last().map(String::as_str), Some("message_stop"));
    for call in provider.calls() {
        assert_eq!(call.header("x-goog-api-key"), Some(PROVIDER_KEY));
        assert_eq!(call.header("authorization"), None);
        let wire = String::from_utf8_lossy(&call.wire).into_owned();
        assert!(!wire.contains(&key_of(DEFAULT_PLAN)), "the client's key went up");
    }
    let records = gate.records().await;
    assert_eq!(records.len(), 4);
    for record in records {
        let tokens = &record["tokens"];
        assert_eq!(tokens["input"], gemini::INPUT, "{record}");
        assert_eq!(tokens["cached_input"], gemini::CACHED, "{record}");
        assert_eq!(tokens["output"], gemini::OUTPUT + gemini::THOUGHTS, "{record}");
        // 8 × $0.15 + 4 × $0.075 + 10 × $0.60 per million.
        assert_eq!((&record["cost"], &record["estimated"]), (&json!("0.0000075"), &json!(false)));
    }
}

#[tokio::test]
async fn geminis_refusals_come_in_the_clients_shape() {
    let provider = Provider::start().await;
    let gate = before_gemini(&provider).start().await;
    let lost = json!({"model": "lost", "messages": [{"role": "user", "content": "Hello"}]});
    let answer = gate.send(&gate.chat_text(&lost.to_string())).await;
    assert_eq!(answer.status(), 404);
    let message = answer.json()["error"]["message"].as_str().unwrap_or_default().to_owned();
    assert!(message.starts_with("no such model") && !message.contains("internal"), "{message}");
}

#[tokio::test]
async fn embeddings_have_no_way_across() {
    let provider = Provider::start().await;
    let gate = before_gemini(&provider).start().await;
    let asked = json!({"model": "gpt-4o-mini", "input": "hello"});
    let error = gate.send(&ask("/v1/embeddings", &asked)).await.refused(400, "unsupported_field");
    assert_eq!(error["param"], "model");
    assert!(provider.calls().is_empty());
}

#[tokio::test]
async fn completions_and_responses_run_where_messages_are_spoken() {
    let provider = Provider::start().await;
    let gate = before_anthropic(&provider).start().await;
    let completion = json!({"model": "gpt-4o-mini", "prompt": "Once upon a time"});
    let answer = gate.send(&ask("/v1/completions", &completion)).await.ok().json();
    assert_eq!(answer["choices"][0]["text"], anthropic::TEXT);
    let response = json!({"model": "gpt-4o-mini", "input": "Say hello.", "store": false});
    let answer = gate.send(&ask("/v1/responses", &response)).await.ok().json();
    assert_eq!(answer["object"], "response");
    assert_eq!(answer["output"][0]["content"][0]["text"], anthropic::TEXT, "{answer}");
    let mut streamed = response.clone();
    streamed["stream"] = json!(true);
    let answer = gate.send(&ask("/v1/responses", &streamed)).await.ok();
    assert_eq!(kinds(&answer).last().map(String::as_str), Some("response.completed"));
    for record in gate.wait_for_records(3).await {
        assert_eq!(record["tokens"]["input"], anthropic::INPUT, "{record}");
        assert_eq!(record["tokens"]["output"], anthropic::OUTPUT, "{record}");
        assert_eq!((&record["outcome"], &record["estimated"]), (&json!("ok"), &json!(false)));
    }
}

#[tokio::test]
async fn responses_become_chats_where_a_server_has_none() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).provider("responses", false).start().await;
    let response = json!({"model": "gpt-4o-mini", "input": "Say hello.", "store": false});
    let answer = gate.send(&ask("/v1/responses", &response)).await.ok().json();
    assert_eq!(provider.only_call().path(), "/v1/chat/completions");
    assert_eq!(answer["output"][0]["content"][0]["text"], openai::TEXT, "{answer}");
    let mut stateful = response;
    stateful["background"] = json!(true);
    let refused = gate.send(&ask("/v1/responses", &stateful)).await;
    refused.refused(400, "unsupported_field");
    provider.only_call();
}
