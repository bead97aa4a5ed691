//! Requests to providers of another dialect than the client's: what goes out, what
//! comes back, and what it costs. Covers E4, E5, B1, I4.

mod bad;
mod faults;
mod others;

use serde_json::{Value, json};

use super::{MODEL, before, body, post, stream_body};
use crate::harness::anthropic;
use crate::harness::client::{Answer, Request};
use crate::harness::door::{self, chat_body};
use crate::harness::openai::{self, CACHED};
use crate::harness::provider::Provider;
use crate::harness::reply::Reply;
use crate::harness::setup::{DEFAULT_PLAN, PROVIDER_KEY, Setup, Tollgate, key_of};

/// 8 × $0.15 + 4 × $0.075 + 7 × $0.60 per million.
const COST: &str = "0.0000057";

/// A gateway that runs [`MODEL`] as `gpt-4o-mini` where it speaks as OpenAI does.
fn before_openai(provider: &Provider) -> Setup {
    Tollgate::before(provider).set("routing.retries", 0).models(&json!([{
        "name": MODEL, "targets": [{"provider": "mock", "model": "gpt-4o-mini"}],
        "cost": {"input": "0.15", "cached_input": "0.075", "output": "0.60"},
    }]))
}

/// A gateway that runs `gpt-4o-mini` as Claude where it speaks as Anthropic does.
fn before_anthropic(provider: &Provider) -> Setup {
    before(provider).models(&json!([{
        "name": "gpt-4o-mini", "targets": [{"provider": "mock", "model": "claude-sonnet-4-5"}],
        "cost": {"input": "3.00", "cached_input": "0.30", "output": "15.00"},
    }]))
}

/// The types of the events of `answer`.
fn kinds(answer: &Answer) -> Vec<String> {
    let text = answer.text();
    text.lines().filter_map(|line| line.strip_prefix("event: ")).map(str::to_owned).collect()
}

#[tokio::test]
async fn a_message_is_answered_by_a_chat() {
    let provider = Provider::start().await;
    let gate = before_openai(&provider).start().await;
    let request = post("/v1/messages?beta=true", &body()).header("anthropic-beta", "x");
    let mut connection = gate.open(&request).await;
    let answer = connection.answer().await.ok();
    let call = provider.only_call();
    assert_eq!(call.path(), "/v1/chat/completions", "the query was for another API");
    assert_eq!(call.header("authorization"), Some(format!("Bearer {PROVIDER_KEY}").as_str()));
    for name in ["anthropic-version", "anthropic-beta", "x-api-key"] {
        assert_eq!(call.header(name), None, "{name}");
    }
    let sent = call.json();
    assert_eq!(sent["model"], "gpt-4o-mini");
    assert_eq!(sent["messages"], json!([{"role": "user", "content": "Say hello."}]));
    assert_eq!(sent["max_tokens"], 64);
    let message = answer.json();
    assert_eq!((&message["type"], &message["role"]), (&json!("message"), &json!("assistant")));
    assert_eq!((&message["model"], &message["stop_reason"]), (&json!(MODEL), &json!("end_turn")));
    assert_eq!(message["content"], json!([{"type": "text", "text": openai::TEXT}]));
    assert_eq!(message["usage"]["input_tokens"], openai::INPUT - CACHED);
    assert_eq!(message["usage"]["cache_read_input_tokens"], CACHED);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let wire = String::from_utf8_lossy(&connection.take_wire()).into_owned();
    assert!(!wire.contains(PROVIDER_KEY), "the provider's key came down");
    assert!(!String::from_utf8_lossy(&call.wire).contains(&key_of(DEFAULT_PLAN)));
}

#[tokio::test]
async fn a_streamed_message_is_answered_by_a_streamed_chat() {
    let provider = Provider::start().await;
    let gate = before_openai(&provider).start().await;
    let answer = gate.send(&post("/v1/messages", &stream_body())).await.ok();
    assert_eq!(provider.only_call().json()["stream_options"], json!({"include_usage": true}));
    let kinds = kinds(&answer);
    assert_eq!(kinds.first().map(String::as_str), Some("message_start"), "{kinds:?}");
    assert_eq!(kinds.last().map(String::as_str), Some("message_stop"), "{kinds:?}");
    assert!(!answer.text().contains("[DONE]"), "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("text/event-stream; charset=utf-8"));
}

#[tokio::test]
async fn whatever_the_dialect_the_record_has_the_providers_figures() {
    let provider = Provider::start().await;
    let gate = before_openai(&provider).start().await;
    for body in [body(), stream_body()] {
        gate.send(&post("/v1/messages", &body)).await.ok();
    }
    for record in gate.wait_for_records(2).await {
        assert_eq!(record["tokens"]["input"], openai::INPUT, "{record}");
        assert_eq!(record["tokens"]["cached_input"], CACHED, "{record}");
        assert_eq!(record["tokens"]["output"], openai::OUTPUT, "{record}");
        assert_eq!((&record["cost"], &record["estimated"]), (&json!(COST), &json!(false)));
        assert_eq!((&record["outcome"], &record["price"]), (&json!("ok"), &json!("0.02")));
        assert_eq!((&record["path"], &record["attempts"]), (&json!("/v1/messages"), &json!(1)));
    }
}

#[tokio::test]
async fn a_chat_is_answered_by_a_message() {
    let provider = Provider::start().await;
    let gate = before_anthropic(&provider).start().await;
    let answer = gate.send(&gate.chat().header("openai-beta", "x")).await.ok();
    let call = provider.only_call();
    assert_eq!(call.path(), "/v1/messages");
    assert_eq!(call.header("x-api-key"), Some(PROVIDER_KEY));
    assert_eq!(call.header("anthropic-version"), Some("2023-06-01"));
    assert_eq!((call.header("authorization"), call.header("openai-beta")), (None, None));
    let sent = call.json();
    assert_eq!(sent["model"], "claude-sonnet-4-5");
    assert!(sent["max_tokens"].as_u64() > Some(0), "{sent}");
    let chat = answer.json();
    assert_eq!(
        (&chat["object"], &chat["model"]),
        (&json!("chat.completion"), &json!("gpt-4o-mini"))
    );
    assert_eq!(chat["choices"][0]["message"]["content"], anthropic::TEXT);
    assert_eq!(chat["choices"][0]["finish_reason"], "stop");
    assert_eq!(chat["usage"]["prompt_tokens"], anthropic::INPUT);
    assert_eq!(chat["created"], gate_seconds(), "the provider did not say when");
    let record = gate.only_record().await;
    let tokens = &record["tokens"];
    assert_eq!(tokens["input"], anthropic::INPUT, "{record}");
    assert_eq!(tokens["cached_input"], anthropic::READ, "{record}");
    // What is written to the provider's cache costs as other prompt tokens do, where
    // the model has no price for it.
    assert_eq!(tokens["cache_write"], anthropic::WRITTEN, "{record}");
    assert_eq!((&record["cost"], &record["estimated"]), (&json!("0.0001512"), &json!(false)));
}

/// When the test clock stands, in seconds.
fn gate_seconds() -> u64 {
    crate::harness::gateway::NOON.as_secs()
}

/// The usage is asked for in any case, and shown to who asks.
#[tokio::test]
async fn a_streamed_chat_shows_usage_to_who_asks() {
    let provider = Provider::start().await;
    let gate = before_anthropic(&provider).start().await;
    for asks in [false, true] {
        let mut body = door::stream_body();
        if asks {
            body["stream_options"] = json!({"include_usage": true});
        }
        let request = Request::post("/v1/chat/completions", &body).bearer(&key_of(DEFAULT_PLAN));
        let answer = gate.send(&request).await.ok();
        let events = answer.events();
        assert_eq!(events.last().map(String::as_str), Some("[DONE]"));
        let usages = events.iter().filter(|event| event.contains("\"prompt_tokens\"")).count();
        assert_eq!(usages, usize::from(asks), "{events:?}");
        let nulls = events.iter().filter(|event| event.contains("\"usage\":null")).count();
        assert!(asks || nulls == 0, "{events:?}");
    }
    for record in gate.wait_for_records(2).await {
        assert_eq!(record["tokens"]["output"], anthropic::OUTPUT, "{record}");
        assert_eq!((&record["cost"], &record["estimated"]), (&json!("0.0001512"), &json!(false)));
    }
}

/// Covers D2: what is kept is in the client's dialect.
#[tokio::test]
async fn a_translated_answer_is_kept_and_given_in_either_form() {
    let provider = Provider::start().await;
    let class = json!({"cache": {"ttl": "1h"}});
    let gate = before_openai(&provider).class("docs", "0.01", &class).start().await;
    let first = gate.send(&post("/docs/v1/messages", &stream_body())).await.ok();
    let again = gate.send(&post("/docs/v1/messages", &stream_body())).await.ok();
    assert_eq!(again.header("x-tollgate-cache"), Some("hit"));
    assert_eq!(again.body, first.body);
    let whole = gate.send(&post("/docs/v1/messages", &body())).await.ok();
    assert_eq!(whole.header("x-tollgate-cache"), Some("hit"));
    assert_eq!(whole.json()["content"], json!([{"type": "text", "text": openai::TEXT}]));
    assert_eq!(whole.json()["usage"]["output_tokens"], openai::OUTPUT);
    provider.only_call();
}

#[tokio::test]
async fn what_the_target_cannot_say_is_refused_by_name_and_costs_nothing() {
    let provider = Provider::start().await;
    let gate = before_anthropic(&provider).start().await;
    let mut body = chat_body();
    body["logit_bias"] = json!({"50256": -100});
    let error =
        gate.send(&gate.chat_text(&body.to_string())).await.refused(400, "unsupported_field");
    assert_eq!(error["param"], "logit_bias");
    let orphan = json!({"model": "gpt-4o-mini", "messages": [
        {"role": "user", "content": "Hello"},
        {"role": "tool", "tool_call_id": "call_9", "content": "Rain."},
    ]});
    gate.send(&gate.chat_text(&orphan.to_string())).await.refused(400, "invalid_value");
    assert!(provider.calls().is_empty());
    assert!(gate.records().await.is_empty(), "a refusal consumes nothing");

    let lenient = before_anthropic(&provider).set("routing.on_unsupported", "drop").start().await;
    lenient.send(&lenient.chat_text(&body.to_string())).await.ok();
    assert_eq!(provider.only_call().json()["logit_bias"], Value::Null);
}

/// Two targets: the first speaks as Anthropic does, the second as OpenAI.
async fn both(first: &Provider, second: &Provider) -> Setup {
    second.answer(openai::answer);
    let other = json!({
        "name": "other", "dialect": "openai", "base_url": second.url(), "api_key": "sk-other-key",
    });
    before(first).another_provider(other).models(&json!([{
        "name": "gpt-4o-mini",
        "targets": [{"provider": "mock", "model": "claude-sonnet-4-5"}, {"provider": "other"}],
        "cost": {"input": "0.15", "cached_input": "0.075", "output": "0.60"},
    }]))
}

#[tokio::test]
async fn a_target_that_can_say_it_is_preferred_to_one_that_cannot() {
    let (first, second) = (Provider::start().await, Provider::start().await);
    let gate = both(&first, &second).await.start().await;
    let mut body = chat_body();
    body["logit_bias"] = json!({"50256": -100});
    let answer = gate.send(&gate.chat_text(&body.to_string())).await.ok();
    assert_eq!(second.only_call().json(), body);
    assert!(first.calls().is_empty());
    let route = answer.header("x-tollgate-route").unwrap_or_default();
    assert!(route.contains(";other;"), "{route}");
    gate.send(&gate.chat()).await.ok();
    assert_eq!(first.calls().len(), 1, "what both can say goes to the first");
}

#[tokio::test]
async fn failover_goes_from_one_dialect_to_the_other() {
    let (first, second) = (Provider::start().await, Provider::start().await);
    let gate = both(&first, &second).await.set("routing.retries", 1).start().await;
    first.next(anthropic::error(529, "overloaded_error"));
    let answer = gate.send(&gate.chat()).await.ok();
    assert_eq!(answer.json()["id"], "chatcmpl-mock", "the second's own answer");
    // The other way, a message: the first is of its own dialect.
    first.next(anthropic::error(500, "api_error"));
    let mut body = body();
    body["model"] = json!("gpt-4o-mini");
    let answer = gate.send(&post("/v1/messages", &body)).await.ok();
    assert_eq!(answer.json()["content"][0]["text"], openai::TEXT);
    let paths: Vec<String> = second.calls().iter().map(|call| call.path().to_owned()).collect();
    assert_eq!(paths, ["/v1/chat/completions", "/v1/chat/completions"]);
    for record in gate.wait_for_records(2).await {
        assert_eq!((&record["attempts"], &record["provider"]), (&json!(2), &json!("other")));
        assert_eq!((&record["cost"], &record["quantity"]), (&json!(COST), &json!(1)), "{record}");
    }
}

#[tokio::test]
async fn tokens_are_counted_here_where_the_provider_does_not() {
    let provider = Provider::start().await;
    let gate = before_openai(&provider).start().await;
    let answer = gate.send(&post("/v1/messages/count_tokens", &body())).await.ok();
    assert!(answer.json()["input_tokens"].as_u64() > Some(3), "{}", answer.text());
    assert!(provider.calls().is_empty());
    let record = gate.only_record().await;
    assert_eq!((&record["attempts"], &record["quantity"]), (&json!(0), &json!(0)), "{record}");
    assert_eq!((&record["cost"], &record["outcome"]), (&json!("0"), &json!("ok")), "{record}");
}

#[tokio::test]
async fn the_built_in_provider_answers_messages() {
    let gate = Tollgate::sandbox().start().await;
    let answer = gate.send(&post("/v1/messages", &body())).await.ok();
    assert_eq!(answer.json()["type"], "message", "{}", answer.text());
    assert_eq!(answer.json()["model"], MODEL);
    let streamed = gate.send(&post("/v1/messages", &stream_body())).await.ok();
    assert_eq!(kinds(&streamed).last().map(String::as_str), Some("message_stop"));
    let texts: String = streamed.text().lines().filter(|it| it.contains("text_delta")).collect();
    assert!(!texts.is_empty(), "{}", streamed.text());
    for record in gate.wait_for_records(2).await {
        assert_eq!((&record["provider"], &record["outcome"]), (&json!("sandbox"), &json!("ok")));
    }
}

/// Azure has the model in the path, a version in the query, and a header of its own.
#[tokio::test]
async fn a_server_is_asked_where_and_how_it_wants_to_be() {
    let provider = Provider::start().await;
    provider.answer(|call| match call.path().split('?').next() {
        Some("/v1/deployments/my%2Fown/chat/completions") => {
            Reply::json(200, &openai::chat(&call.json()))
        }
        _ => Reply::error(404, "unknown_url"),
    });
    let gate = before_openai(&provider)
        .models(&json!([
            {"name": MODEL, "targets": [{"provider": "mock", "model": "my/own"}]},
            {"name": "gpt-4o-mini", "targets": [{"provider": "mock", "model": "my/own"}]},
            {"name": "*", "targets": [{"provider": "mock"}]},
        ]))
        .provider("auth", "api-key")
        .provider("query", "api-version=2024-10-21")
        .provider("model_path", "/deployments/{model}")
        .start()
        .await;
    gate.send(&post("/v1/messages", &body())).await.ok();
    gate.send(&gate.chat()).await.ok();
    for call in provider.calls() {
        assert_eq!(call.path(), "/v1/deployments/my%2Fown/chat/completions?api-version=2024-10-21");
        assert_eq!(call.header("api-key"), Some(PROVIDER_KEY));
        assert_eq!(call.header("authorization"), None);
    }
    let upwards = json!({"model": "..", "messages": []});
    gate.send(&gate.chat_text(&upwards.to_string())).await.refused(404, "model_not_found");
    assert_eq!(provider.calls().len(), 2);
}
