//! Requests that are wrong, or that the provider of another dialect does not take: a 400
//! in the client's shape that names the field, and no call. Covers E4, I4.

use serde_json::{Value, json};

use super::{before_anthropic, before_openai};
use crate::harness::client::{Answer, Request};
use crate::harness::door::chat_body;
use crate::harness::gemini;
use crate::harness::provider::Provider;
use crate::harness::setup::{DEFAULT_PLAN, Setup, Tollgate, key_of};
use crate::messages::{MODEL, post};

fn ask(path: &str, body: &Value) -> Request {
    Request::post(path, body).bearer(&key_of(DEFAULT_PLAN))
}

/// That `answer` refuses with this code and names `param`, in the shape of the API of
/// `path`.
#[track_caller]
fn named(path: &str, answer: &Answer, code: &str, param: &str) {
    let body = answer.json();
    let text = answer.text();
    assert_eq!(answer.status(), 400, "{path} {param}: {text}");
    let error = &body["error"];
    assert_eq!((&error["code"], &error["param"]), (&json!(code), &json!(param)), "{path}: {text}");
    assert_eq!(error["type"], "invalid_request_error", "{path}: {text}");
    let anthropics = path == "/v1/messages";
    assert_eq!(body["type"] == "error", anthropics, "{path}: {text}");
}

fn before_gemini(provider: &Provider) -> Setup {
    provider.answer(gemini::answer);
    let target = json!({"provider": "mock", "model": "gemini-2.5-flash"});
    Tollgate::before(provider).provider("dialect", "gemini").set("routing.retries", 0).models(
        &json!([
            {"name": "gpt-4o-mini", "targets": [target]}, {"name": MODEL, "targets": [target]},
        ]),
    )
}

#[tokio::test]
async fn what_is_wrong_is_named_in_each_clients_shape() {
    let image = |url: &str| json!([{"type": "image_url", "image_url": {"url": url}}]);
    let chat = |messages: Value| {
        ("/v1/chat/completions", json!({"model": "gpt-4o-mini", "messages": messages}))
    };
    let message = |messages: Value| {
        ("/v1/messages", json!({"model": MODEL, "max_tokens": 9, "messages": messages}))
    };
    let response = |input: Value| {
        ("/v1/responses", json!({"model": "gpt-4o-mini", "input": input, "store": false}))
    };
    let cases = [
        (
            chat(
                json!([{"role": "user", "content": "x"}, {"role": "tool", "tool_call_id": "c", "content": "y"}]),
            ),
            "invalid_value",
            "messages[1].tool_call_id",
        ),
        (chat(json!([{"role": "robot", "content": "x"}])), "invalid_value", "messages[0].role"),
        (chat(json!([])), "invalid_value", "messages"),
        (
            chat(json!([{"role": "user", "content": image("data:image/png;base64,@")}])),
            "invalid_value",
            "messages[0].content[0].image_url.url",
        ),
        (
            chat(json!([{"role": "user", "content": image("https://x.test/a.png")}])),
            "unsupported_field",
            "messages[0].content[0].image_url",
        ),
        (
            chat(json!([{"role": "assistant", "content": "Hi"}, {"role": "user", "content": "x"}])),
            "unsupported_field",
            "messages[0].role",
        ),
        (
            message(
                json!([{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t"}]}]),
            ),
            "invalid_value",
            "messages[0].content[0].tool_use_id",
        ),
        (message(json!([{"role": "user", "content": []}])), "invalid_value", "messages[0].content"),
        (
            message(json!([{"role": "user", "content": [{"type": "image", "source":
            {"type": "base64", "media_type": "image/png", "data": "!"}}]}])),
            "invalid_value",
            "messages[0].content[0].source.data",
        ),
        (
            response(json!([{"type": "function_call_output", "call_id": "c", "output": "y"}])),
            "invalid_value",
            "input[0].call_id",
        ),
        (response(json!([])), "invalid_value", "input"),
        (
            ("/v1/completions", json!({"model": "gpt-4o-mini", "prompt": [1, 2]})),
            "invalid_value",
            "prompt",
        ),
    ];
    let provider = Provider::start().await;
    let gate = before_gemini(&provider).start().await;
    for ((path, body), code, param) in &cases {
        let request = if *path == "/v1/messages" { post(path, body) } else { ask(path, body) };
        named(path, &gate.send(&request).await, code, param);
    }
    assert!(provider.calls().is_empty());
    assert!(gate.records().await.is_empty(), "a refusal consumes nothing");
}

#[tokio::test]
async fn an_image_above_the_declared_bound_is_refused_by_its_place() {
    let provider = Provider::start().await;
    let gate = before_anthropic(&provider).provider("image_limit", "1KB").start().await;
    let body = |bytes: usize| {
        let url = format!("data:image/png;base64,{}", "AAAA".repeat(bytes / 3));
        json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content":
            [{"type": "image_url", "image_url": {"url": url}}]}]})
    };
    let path = "/v1/chat/completions";
    let param = "messages[0].content[0].image_url";
    named(path, &gate.send(&ask(path, &body(1200))).await, "unsupported_field", param);
    gate.send(&ask(path, &body(900))).await.ok();
    assert_eq!(provider.calls().len(), 1);
}

/// Covers that nobody is left in the dark: the operator sees what requests went without.
#[tokio::test]
async fn what_is_dropped_is_counted_by_field() {
    let provider = Provider::start().await;
    let gate = before_anthropic(&provider).set("routing.on_unsupported", "drop").start().await;
    let mut body = chat_body();
    body["logit_bias"] = json!({"50256": -100});
    body["never_heard_of"] = json!(1);
    for _ in 0..2 {
        gate.send(&gate.chat_text(&body.to_string())).await.ok();
    }
    for (field, count) in [("logit_bias", 2), ("other", 2), ("seed", 0)] {
        let series =
            format!("tollgate_dropped_fields_total{{class=\"default\",field=\"{field}\"}}");
        assert_eq!(gate.metric(&series).await, count, "{field}");
    }
}

/// A model that does not think: refused by name, or dropped. Clients of Messages ask for
/// thinking as a matter of course, so theirs is dropped in any case, and counted.
#[tokio::test]
async fn thinking_goes_to_models_that_think() {
    let provider = Provider::start().await;
    let gate = before_openai(&provider).start().await;
    let mut body = crate::messages::body();
    body["thinking"] = json!({"type": "enabled", "budget_tokens": 2000});
    gate.send(&post("/v1/messages", &body)).await.ok();
    assert_eq!(provider.only_call().json()["reasoning_effort"], Value::Null);
    let series = "tollgate_dropped_fields_total{class=\"default\",field=\"thinking\"}";
    assert_eq!(gate.metric(series).await, 1);
    let declared = before_openai(&provider).provider("thinking", "effort").start().await;
    declared.send(&post("/v1/messages", &body)).await.ok();
    assert_eq!(provider.calls()[1].json()["reasoning_effort"], "low");

    let strict = before_anthropic(&provider).provider("thinking", "none").start().await;
    let mut chat = chat_body();
    chat["reasoning_effort"] = json!("low");
    let path = "/v1/chat/completions";
    let refused = strict.send(&ask(path, &chat)).await;
    named(path, &refused, "unsupported_field", "reasoning_effort");
    assert_eq!(provider.calls().len(), 2);
}

/// What a server is declared to call things is changed in chats of its own dialect too.
#[tokio::test]
async fn a_chat_goes_out_in_the_words_of_its_server() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider)
        .provider("token_limit", "max_tokens")
        .provider("developer_role", false)
        .start()
        .await;
    let body = r#"{"model":"gpt-4o-mini", "max_completion_tokens" : 9,"messages":[{"role":"developer","content":"x"},{"role":"user","content":"y"}]}"#;
    gate.send(&gate.chat_text(body)).await.ok();
    let expected =
        body.replace("max_completion_tokens", "max_tokens").replace("developer", "system");
    assert_eq!(provider.only_call().body, expected);
}
