//! Own providers of every dialect: asked as the seller's are, by their own key.

use serde_json::{Value, json};

use super::{KEY_A, equip_with, give, holds, setup};
use crate::harness::anthropic;
use crate::harness::client::{Answer, Request};
use crate::harness::door::chat_body;
use crate::harness::gateway::Gateway;
use crate::harness::gemini;
use crate::harness::openai;
use crate::harness::provider::{Call, Provider};
use crate::harness::setup::{PROVIDER_KEY, key_of};

fn chat(streamed: bool) -> Request {
    let mut body = chat_body();
    (body["model"], body["stream"]) = (json!("mine"), json!(streamed));
    Request::post("/v1/chat/completions", &body).bearer(&key_of("a"))
}

fn message(streamed: bool) -> Request {
    let messages = json!([{"role": "user", "content": "Say hello."}]);
    let body = json!({"model": "mine", "max_tokens": 64, "messages": messages, "stream": streamed});
    Request::post("/v1/messages", &body).header("x-api-key", &key_of("a"))
}

/// That `call` carries the account's key in `header` alone, and nobody else's.
fn carries_own_key(call: &Call, header: &str, value: &str) {
    assert_eq!(call.header(header), Some(value));
    for other in ["authorization", "x-api-key", "x-goog-api-key", "api-key"] {
        assert_eq!(call.header(other).is_some(), other == header, "{other}");
    }
    let wire = String::from_utf8_lossy(&call.wire);
    assert_eq!(wire.matches(KEY_A).count(), 1);
    assert!(!wire.contains(PROVIDER_KEY) && !wire.contains(&key_of("a")));
}

/// The answer says the account's own name for the model, and nobody's key.
fn says_mine(answer: &Answer) {
    assert_eq!(answer.header("x-tollgate-route"), Some("expert;mine;customer;own"));
    let text = answer.text();
    assert!(text.contains("\"model\":\"mine\"") && !text.contains(KEY_A), "{text}");
}

/// Two records, whole and streamed, at the provider's figures and no cost.
async fn are_recorded(gate: &Gateway, input: u64, output: u64) {
    for record in gate.wait_for_records(2).await {
        let tokens = (&record["tokens"]["input"], &record["tokens"]["output"]);
        assert_eq!(tokens, (&json!(input), &json!(output)), "{record}");
        let names = (&record["provider"], &record["model_used"], &record["outcome"]);
        assert_eq!(names, (&json!("customer"), &json!("mine"), &json!("ok")), "{record}");
        assert_eq!((&record["cost"], &record["price"]), (&json!("0"), &json!("0.02")), "{record}");
        assert_eq!(record["estimated"], false, "{record}");
    }
}

#[tokio::test]
async fn a_chat_runs_on_ones_own_provider_that_speaks_messages() {
    let (seller, own) = (Provider::start().await, Provider::start().await);
    own.answer(anthropic::answer);
    let gate = setup(&seller, &own).start().await;
    equip_with(&gate, "a", &own, KEY_A, json!("anthropic")).await;
    let whole = gate.send(&chat(false)).await.ok();
    assert_eq!(whole.json()["choices"][0]["message"]["content"], anthropic::TEXT);
    let streamed = gate.send(&chat(true)).await.ok();
    assert_eq!(streamed.events().last().map(String::as_str), Some("[DONE]"));
    [whole, streamed].iter().for_each(says_mine);
    for call in own.calls() {
        assert_eq!((call.path(), &call.json()["model"]), ("/v1/messages", &json!("gpt-x")));
        assert_eq!(call.header("anthropic-version"), Some("2023-06-01"));
        carries_own_key(&call, "x-api-key", KEY_A);
    }
    assert!(seller.calls().is_empty());
    are_recorded(&gate, anthropic::INPUT, anthropic::OUTPUT).await;
}

#[tokio::test]
async fn a_message_runs_on_ones_own_provider_that_speaks_chats() {
    let (seller, own) = (Provider::start().await, Provider::start().await);
    let gate = setup(&seller, &own).start().await;
    equip_with(&gate, "a", &own, KEY_A, Value::Null).await;
    let whole = gate.send(&message(false)).await.ok();
    assert_eq!(whole.json()["content"], json!([{"type": "text", "text": openai::TEXT}]));
    let streamed = gate.send(&message(true)).await.ok();
    assert!(streamed.text().contains("event: message_stop"), "{}", streamed.text());
    [whole, streamed].iter().for_each(says_mine);
    for call in own.calls() {
        assert_eq!((call.path(), &call.json()["model"]), ("/v1/chat/completions", &json!("gpt-x")));
        carries_own_key(&call, "authorization", &format!("Bearer {KEY_A}"));
    }
    are_recorded(&gate, openai::INPUT, openai::OUTPUT).await;
}

#[tokio::test]
async fn a_message_passes_to_ones_own_provider_of_its_dialect() {
    let (seller, own) = (Provider::start().await, Provider::start().await);
    own.answer(anthropic::answer);
    let gate = setup(&seller, &own).start().await;
    equip_with(&gate, "a", &own, KEY_A, json!("anthropic")).await;
    let request = message(false).header("anthropic-beta", "a-beta");
    let answer = gate.send(&request).await.ok();
    says_mine(&answer);
    let call = own.only_call();
    let sent = String::from_utf8_lossy(request.body()).replace("\"mine\"", "\"gpt-x\"");
    assert_eq!(call.body, sent);
    assert_eq!(call.header("anthropic-beta"), Some("a-beta"));
    carries_own_key(&call, "x-api-key", KEY_A);
}

#[tokio::test]
async fn a_chat_runs_on_ones_own_gemini() {
    let (seller, own) = (Provider::start().await, Provider::start().await);
    own.answer(gemini::answer);
    let gate = setup(&seller, &own).start().await;
    equip_with(&gate, "a", &own, KEY_A, json!("gemini")).await;
    let model = json!({"name": "mine", "provider": "p", "model": "gemini-pro"});
    give(&gate, "a", "models", &model).await;
    let whole = gate.send(&chat(false)).await.ok();
    assert_eq!(whole.json()["choices"][0]["message"]["content"], gemini::TEXT);
    let streamed = gate.send(&chat(true)).await.ok();
    [whole, streamed].iter().for_each(says_mine);
    for call in own.calls() {
        assert!(call.path().starts_with("/v1/models/gemini-pro:"), "{}", call.path());
        carries_own_key(&call, "x-goog-api-key", KEY_A);
    }
    are_recorded(&gate, gemini::INPUT, gemini::OUTPUT + gemini::THOUGHTS).await;
}

#[tokio::test]
async fn the_dialect_is_kept_with_the_sealed_key_and_goes_with_the_account() {
    let (seller, own) = (Provider::start().await, Provider::start().await);
    own.answer(anthropic::answer);
    let gate = setup(&seller, &own).start().await;
    gate.tell("POST", "/admin/accounts", &json!({"id": "c", "name": "c", "plan": "a"})).await;
    let key = gate.tell("POST", "/admin/keys", &json!({"account": "c"})).await.json();
    equip_with(&gate, "c", &own, KEY_A, json!("anthropic")).await;
    let gate = gate.restart().await;
    let shown = gate.admin("/admin/accounts/c/providers").await.ok();
    let provider = &shown.json()["data"][0];
    assert_eq!((&provider["dialect"], &provider["api_key"]), (&json!("anthropic"), &json!("***")));
    let mut body = chat_body();
    body["model"] = json!("mine");
    let request = Request::post("/v1/chat/completions", &body).bearer(key["key"].as_str().unwrap());
    gate.send(&request).await.ok();
    assert_eq!(own.only_call().header("x-api-key"), Some(KEY_A));
    assert!(!holds(&gate.data(), KEY_A.as_bytes()), "the key lies in the data directory");
    assert_eq!(gate.tell("DELETE", "/admin/accounts/c", &Value::Null).await.status(), 200);
    gate.send(&request).await.refused(401, "invalid_api_key");
    // An account of the same id is another one.
    gate.tell("POST", "/admin/accounts", &json!({"id": "c", "name": "c", "plan": "a"})).await;
    let left = gate.admin("/admin/accounts/c/providers").await.ok();
    assert_eq!(left.json()["data"], json!([]));
}

#[tokio::test]
async fn the_rules_for_addresses_and_dialects_hold_for_every_dialect() {
    let (seller, own) = (Provider::start().await, Provider::start().await);
    let gate = setup(&seller, &own).start().await;
    let path = "/admin/accounts/a/providers";
    for dialect in ["anthropic", "gemini"] {
        for url in ["https://127.0.0.1/v1", "http://api.example.com", "https://10.0.0.1"] {
            let body = json!({"name": "p", "dialect": dialect, "base_url": url});
            let error = gate.tell("POST", path, &body).await.refused(400, "invalid_value");
            assert_eq!(error["param"], "base_url", "{dialect} {url}");
        }
    }
    for dialect in [json!("sandbox"), json!("Anthropic"), json!(7)] {
        let body = json!({"name": "p", "dialect": dialect, "base_url": own.url()});
        let error = gate.tell("POST", path, &body).await.refused(400, "invalid_value");
        assert_eq!(error["param"], "dialect", "{dialect}");
    }
}
