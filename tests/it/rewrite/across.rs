//! What a class changes where the provider speaks another dialect than the client:
//! rules are in the client's terms, answers in its names.

use serde_json::{Value, json};

use super::with_class;
use crate::harness::anthropic;
use crate::harness::client::{Answer, Request};
use crate::harness::openai;
use crate::harness::provider::Provider;
use crate::harness::setup::{DEFAULT_PLAN, Setup, key_of};

const WHO: &str = "jo@example.com";

/// A provider that speaks as OpenAI does and runs `fast` as its `gpt-x`.
fn on_openai(provider: &Provider, class: &Value) -> Setup {
    with_class(provider, class).models(&json!([
        {"name": "fast", "tier": "simple", "targets": [{"provider": "mock", "model": "gpt-x"}]},
    ]))
}

/// The same as Anthropic does.
fn on_anthropic(provider: &Provider, class: &Value) -> Setup {
    provider.answer(anthropic::answer);
    on_openai(provider, class).provider("dialect", "anthropic")
}

fn post(path: &str, body: &Value) -> Request {
    Request::post(&format!("/made/v1/{path}"), body).bearer(&key_of(DEFAULT_PLAN))
}

fn with(body: &Value, name: &str, value: Value) -> Value {
    let mut body = body.clone();
    body[name] = value;
    body
}

/// The JSON of each event of `answer` that has any.
fn events(answer: &Answer) -> Vec<Value> {
    let text = answer.text();
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    data.filter_map(|data| serde_json::from_str(data).ok()).collect()
}

/// That `pseudonym` is one, and that nothing of `provider`'s wire names anybody.
fn names_nobody(provider: &Provider, pseudonym: &Value) {
    let text = pseudonym.as_str().unwrap_or_default();
    assert!(text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit()), "{pseudonym}");
    let wire: Vec<u8> = provider.calls().iter().flat_map(|call| call.wire.to_vec()).collect();
    assert!(!String::from_utf8_lossy(&wire).contains(WHO));
}

fn message() -> Value {
    json!({
        "model": "fast", "max_tokens": 500, "temperature": 0.9, "top_k": 4, "system": "Shout.",
        "messages": [{"role": "user", "content": "Hi"}], "metadata": {"user_id": WHO},
    })
}

#[tokio::test]
async fn a_message_is_rewritten_before_it_becomes_a_chat() {
    let provider = Provider::start().await;
    let class = json!({
        "template": "Be brief.",
        "rewrite": {
            "set": {"temperature": 0}, "default": {"stop_sequences": ["END"]},
            "cap": {"max_tokens": 32}, "remove": ["top_k"],
        },
    });
    let gate = on_openai(&provider, &class).start().await;
    for streamed in [false, true] {
        let answer =
            gate.send(&post("messages", &with(&message(), "stream", json!(streamed)))).await;
        let answer = answer.ok();
        match streamed {
            false => assert_eq!(answer.json()["model"], "fast"),
            true => assert_eq!(events(&answer)[0]["message"]["model"], "fast"),
        }
        assert!(!answer.text().contains("gpt-x"), "{}", answer.text());
    }
    for call in provider.calls() {
        let sent = call.json();
        let system = sent["messages"][0].to_string();
        assert!(system.contains("Be brief.") && system.contains("Shout."), "{sent}");
        assert_eq!((&sent["model"], &sent["max_tokens"]), (&json!("gpt-x"), &json!(32)), "{sent}");
        assert_eq!((&sent["temperature"], &sent["stop"]), (&json!(0), &json!(["END"])), "{sent}");
        assert_eq!(sent["top_k"], Value::Null);
        assert_eq!(sent["messages"][0]["role"], "system");
        names_nobody(&provider, &sent["user"]);
    }
    let refused = post("messages", &with(&message(), "max_tokens", json!("9")));
    assert_eq!(gate.send(&refused).await.json()["error"]["param"], "max_tokens");
}

#[tokio::test]
async fn a_template_replaces_a_messages_own_system() {
    let provider = Provider::start().await;
    let class = json!({
        "template": {"system": "Ours.", "position": "replace"}, "rewrite": {"remove": ["top_k"]},
    });
    let gate = on_openai(&provider, &class).start().await;
    gate.send(&post("messages", &message())).await.ok();
    let sent = provider.only_call().json();
    assert!(sent["messages"][0].to_string().contains("Ours."), "{sent}");
    assert!(!sent.to_string().contains("Shout."), "{sent}");
}

#[tokio::test]
async fn a_response_is_rewritten_before_it_becomes_a_message_and_repeats_the_clients_words() {
    let provider = Provider::start().await;
    let class = json!({
        "template": "Be brief.",
        "rewrite": {
            "set": {"temperature": 0}, "default": {"top_p": 0.5},
            "cap": {"max_output_tokens": 32}, "remove": ["background", "truncation"],
        },
    });
    let gate = on_anthropic(&provider, &class).start().await;
    let check = |response: &Value, own: &Value| {
        let said = json!({
            "model": response["model"], "instructions": response["instructions"],
            "user": response["user"], "prompt_cache_key": response["prompt_cache_key"],
        });
        let cache_key = &response["prompt_cache_key"];
        assert!(cache_key.is_null() || cache_key == "jo", "{said}");
        let (model, user) = (&said["model"], &said["user"]);
        assert_eq!((model, user), (&json!("fast"), &json!(WHO)), "{said}");
        assert_eq!(&said["instructions"], own, "{said}");
    };
    for own in [json!("Shout."), Value::Null] {
        let body = json!({
            "model": "fast", "input": "Hi", "instructions": own, "user": WHO, "store": false,
            "background": true, "truncation": "auto", "max_output_tokens": 500,
            "temperature": 0.9, "prompt_cache_key": "jo",
        });
        check(&gate.send(&post("responses", &body)).await.ok().json(), &own);
        let streamed =
            gate.send(&post("responses", &with(&body, "stream", json!(true)))).await.ok();
        let repeats: Vec<Value> = events(&streamed)
            .into_iter()
            .filter_map(|mut event| event.get_mut("response").map(Value::take))
            .collect();
        assert!(repeats.len() >= 2, "{}", streamed.text());
        repeats.iter().for_each(|response| check(response, &own));
        assert!(!streamed.text().contains("gpt-x") && !streamed.text().contains("Be brief."));
        for call in provider.calls().iter().rev().take(2) {
            let sent = call.json();
            let system = sent["system"].to_string();
            assert!(system.contains("Be brief."), "{sent}");
            assert_eq!(system.contains("Shout."), !own.is_null(), "{sent}");
            assert_eq!((&sent["model"], &sent["max_tokens"]), (&json!("gpt-x"), &json!(32)));
            assert_eq!((&sent["temperature"], &sent["top_p"]), (&json!(0), &json!(0.5)), "{sent}");
            names_nobody(&provider, &sent["metadata"]["user_id"]);
        }
    }
}

/// A rule may make a request expressible that was not.
#[tokio::test]
async fn a_chat_is_rewritten_before_it_is_judged() {
    let provider = Provider::start().await;
    let class = json!({
        "template": "Be brief.",
        "rewrite": {"remove": ["logit_bias"], "cap": {"max_tokens": 32, "n": 1}},
    });
    let gate = on_anthropic(&provider, &class).start().await;
    let body = json!({
        "model": "fast", "max_tokens": 500, "n": 3, "logit_bias": {"50256": -100}, "user": WHO,
        "messages": [{"role": "system", "content": "Shout."}, {"role": "user", "content": "Hi"}],
    });
    for streamed in [false, true] {
        let request = post("chat/completions", &with(&body, "stream", json!(streamed)));
        let answer = gate.send(&request).await.ok();
        let says = |one: &Value| one["model"] == "fast";
        match streamed {
            false => assert!(says(&answer.json()), "{}", answer.text()),
            true => assert!(events(&answer).iter().all(says), "{}", answer.text()),
        }
    }
    for call in provider.calls() {
        let sent = call.json();
        let system = sent["system"].to_string();
        assert!(system.contains("Be brief.") && system.contains("Shout."), "{sent}");
        assert_eq!(sent["max_tokens"], 32);
        names_nobody(&provider, &sent["metadata"]["user_id"]);
    }
}

/// The same person has the same pseudonym, whichever dialects are between.
#[tokio::test]
async fn a_pseudonym_is_the_same_on_every_way() {
    let (provider, class) = (Provider::start().await, json!({}));
    let plain = with(&message(), "top_k", Value::Null);
    let chat = json!({"model": "fast", "user": WHO, "messages": message()["messages"]});
    let response = json!({"model": "fast", "user": WHO, "input": "Hi", "store": false});
    let asked = [("messages", &plain), ("chat/completions", &chat), ("responses", &response)];
    let mut seen = Vec::new();
    // Each gateway has a key of its own, so each dialect is one of its providers.
    let other = Provider::start().await;
    other.answer(anthropic::answer);
    let theirs = json!({
        "name": "theirs", "dialect": "anthropic", "base_url": other.url(), "api_key": "sk-theirs-1",
    });
    let gate = with_class(&provider, &class)
        .provider("responses", false)
        .another_provider(theirs)
        .models(&json!([
            {"name": "fast", "targets": [{"provider": "mock"}]},
            {"name": "wise", "targets": [{"provider": "theirs"}]},
        ]))
        .start()
        .await;
    for (path, body) in asked {
        gate.send(&post(path, body)).await.ok();
        seen.push(provider.calls().last().unwrap().json()["user"].clone());
        gate.send(&post(path, &with(body, "model", json!("wise")))).await.ok();
        seen.push(other.calls().last().unwrap().json()["metadata"]["user_id"].clone());
    }
    for one in [&provider, &other] {
        names_nobody(one, &seen[0]);
    }
    assert!(seen.iter().all(|one| *one == seen[0]), "{seen:?}");
}

#[tokio::test]
async fn headers_and_the_cache_are_as_on_other_ways() {
    let provider = Provider::start().await;
    let class = json!({"cache": {"ttl": "1h"}, "template": "Be brief.", "headers": {
        "request": {"set": {"openai-organization": "org-1", "user-agent": "the seller's"}},
        "response": {"set": {"x-served-by": "us"}},
    }, "rewrite": {"remove": ["top_k"]}});
    let gate = on_openai(&provider, &class).start().await;
    let request = |body: &Value| {
        let request = post("messages", body).header("anthropic-version", "2023-06-01");
        request.header("anthropic-beta", "b").header("user-agent", "sdk")
    };
    let mut bodies = Vec::new();
    for result in ["miss", "hit"] {
        let answer = gate.send(&request(&message())).await.ok();
        assert_eq!(answer.header("x-tollgate-cache"), Some(result));
        assert_eq!(answer.header("x-served-by"), Some("us"));
        assert_eq!(answer.json()["content"][0]["text"], openai::TEXT);
        bodies.push(answer.body);
    }
    assert_eq!(bodies[0], bodies[1]);
    let streamed = gate.send(&request(&with(&message(), "stream", json!(true)))).await.ok();
    assert_eq!(streamed.header("x-tollgate-cache"), Some("hit"));
    assert_eq!(events(&streamed)[0]["message"]["model"], "fast");
    let sent = provider.only_call();
    assert_eq!(sent.header("openai-organization"), Some("org-1"));
    assert_eq!(sent.header("user-agent"), Some("the seller's"));
    assert_eq!((sent.header("anthropic-beta"), sent.header("anthropic-version")), (None, None));
}
