//! Requests and answers that a class changes, and names that pass through another.
//! Covers J5, I1 and invariant 5.

mod across;

use serde_json::{Value, json};

use crate::harness::client::Request;
use crate::harness::door::{chat_body, stream_body};
use crate::harness::gateway::Gateway;
use crate::harness::openai;
use crate::harness::provider::Provider;
use crate::harness::reply::Reply;
use crate::harness::setup::{DEFAULT_PLAN, Setup, Tollgate, key_of};

/// A gateway with a class `made` that has these further keys.
fn with_class(provider: &Provider, more: &Value) -> Setup {
    Tollgate::before(provider).class("made", "0.01", more)
}

/// The same, where `fast` is the public name of the provider's `gpt-x`.
fn renamed(provider: &Provider) -> Setup {
    with_class(provider, &json!({"cache": {"ttl": "1h"}})).models(&json!([
        {"name": "fast", "tier": "simple", "targets": [{"provider": "mock", "model": "gpt-x"}]},
        {"name": "*", "targets": [{"provider": "mock"}]},
    ]))
}

fn post(path: &str, body: &Value) -> Request {
    Request::post(&format!("/made/v1/{path}"), body).bearer(&key_of(DEFAULT_PLAN))
}

fn post_text(path: &str, body: &str) -> Request {
    Request::post_text(&format!("/made/v1/{path}"), body.to_owned()).bearer(&key_of(DEFAULT_PLAN))
}

fn named(model: &str, more: &Value) -> Value {
    let mut body = chat_body();
    body["model"] = json!(model);
    for (name, value) in more.as_object().into_iter().flatten() {
        body[name] = value.clone();
    }
    body
}

/// A count takes none of the fields that only an answer needs; what is about the prompt
/// is counted as it is sent.
#[tokio::test]
async fn a_count_of_tokens_sees_the_prompt_of_the_message_and_no_other_fields() {
    let provider = Provider::start().await;
    provider.answer(crate::harness::anthropic::answer);
    let rules = json!({
        "rewrite": {
            "set": {"temperature": 0, "max_tokens": 50, "tool_choice": {"type": "none"}},
            "default": {"stop_sequences": ["x"], "system": "Be kind."},
            "remove": ["metadata"],
        },
        "template": {"system": "Be brief."},
    });
    let gate = with_class(&provider, &rules).provider("dialect", "anthropic").start().await;
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "Hello"}]});
    gate.send(&post("messages/count_tokens", &body)).await.ok();
    let mut message = body.clone();
    message["max_tokens"] = json!(9);
    gate.send(&post("messages", &message)).await.ok();
    let [counted, sent] = [0, 1].map(|call| provider.calls()[call].json());
    for name in ["temperature", "max_tokens", "stop_sequences"] {
        assert_eq!(counted.get(name), None, "{name}");
        assert!(sent.get(name).is_some(), "{name}");
    }
    for name in ["system", "tool_choice", "messages", "model"] {
        assert!(counted.get(name).is_some(), "{name}");
        assert_eq!(counted[name], sent[name], "{name}");
    }
}

#[tokio::test]
async fn fields_are_rewritten_where_they_stand() {
    let provider = Provider::start().await;
    let rules = json!({"rewrite": {
        "set": {"temperature": 0, "reasoning.effort": "low"},
        "default": {"max_tokens": 100, "stop": ["a", "b"]},
        "cap": {"max_tokens": 200, "n": 1},
        "remove": ["logit_bias", "metadata"],
    }});
    let gate = with_class(&provider, &rules).start().await;
    let body = r#"{ "model":"m", "temperature" : 1.50,"n":9, "max_tokens":500,"logit_bias":{"1":2}, "metadata":{"team":"x"},"messages":[ ] , "stop":"c"}"#;
    gate.send(&post_text("chat/completions", body)).await.ok();
    let sent = provider.only_call();
    assert_eq!(
        std::str::from_utf8(&sent.body).unwrap(),
        r#"{"reasoning":{"effort":"low"}, "model":"m", "temperature" : 0,"n":1, "max_tokens":200,"messages":[ ] , "stop":"c"}"#
    );
    let record = gate.only_record().await;
    // What the record says of the request is what the client sent.
    assert_eq!(record["metadata"], json!({"team": "x"}));
    assert_eq!(record["bytes_in"], json!(body.len()));
    let refused = gate.send(&post("chat/completions", &named("m", &json!({"n": "2"})))).await;
    assert_eq!(refused.refused(400, "invalid_value")["param"], json!("n"));
    let kind = json!({"reasoning": "high"});
    let refused = gate.send(&post("chat/completions", &named("m", &kind))).await;
    assert_eq!(refused.refused(400, "invalid_value")["param"], json!("reasoning"));
    // Other classes' requests pass as they come.
    gate.send(&gate.chat_text(body)).await.ok();
    assert_eq!(provider.calls()[1].body, body.as_bytes());
}

#[tokio::test]
async fn the_cache_knows_the_rewritten_request() {
    let provider = Provider::start().await;
    let rules = json!({"cache": {"ttl": "1h"}, "rewrite": {"set": {"temperature": 0}}});
    let gate = with_class(&provider, &rules).start().await;
    for (temperature, expected) in [(json!(1), "miss"), (json!(0.5), "hit"), (Value::Null, "hit")] {
        let body = named("m", &json!({"temperature": temperature}));
        let answer = gate.send(&post("chat/completions", &body)).await.ok();
        assert_eq!(answer.header("x-tollgate-cache"), Some(expected), "{temperature}");
    }
    provider.only_call();
}

#[tokio::test]
async fn a_template_goes_before_the_prompt_or_replaces_the_clients() {
    let provider = Provider::start().await;
    let gate = with_class(&provider, &json!({"template": "Be brief."}))
        .class("own", "0.01", &json!({"template": {"system": "Ours.", "position": "replace"}}))
        .start()
        .await;
    let system = |text: &str| json!({"role": "system", "content": text});
    let messages = json!([system("Shout."), {"role": "user", "content": "Hi"}]);
    let body = named("m", &json!({"messages": messages}));
    gate.send(&post("chat/completions", &body)).await.ok();
    let request = Request::post("/own/v1/chat/completions", &body).bearer(&key_of(DEFAULT_PLAN));
    gate.send(&request).await.ok();
    gate.send(&post("completions", &json!({"model": "m", "prompt": "Hi"}))).await.ok();
    let calls = provider.calls();
    assert_eq!(calls[0].json()["messages"], json!([system("Be brief."), messages[0], messages[1]]));
    assert_eq!(calls[1].json()["messages"], json!([system("Ours."), messages[1]]));
    assert_eq!(calls[2].json()["prompt"], json!("Be brief.\n\nHi"));
}

/// A response repeats what was asked: the customer's own words, not the seller's.
#[tokio::test]
async fn a_response_repeats_what_the_client_sent() {
    let provider = Provider::start().await;
    provider.answer(|call| {
        let asked = call.json();
        let response = json!({
            "id": "resp_1", "object": "response", "model": "gpt-x-2026", "status": "completed",
            "instructions": asked["instructions"], "user": asked["user"],
            "prompt_cache_key": asked["prompt_cache_key"], "output": [],
            "usage": {"input_tokens": 3, "output_tokens": 2},
        });
        match asked["stream"] == true {
            true => Reply::events([
                json!({"type": "response.created", "response": response}).to_string(),
                json!({"type": "response.completed", "response": response}).to_string(),
            ]),
            false => Reply::json(200, &response),
        }
    });
    let by = |change: &str| json!({"rewrite": {change: {"instructions": "Be brief."}}});
    let replaced = json!({"template": {"system": "Be brief.", "position": "replace"}});
    for (class, sent) in [
        (json!({"template": "Be brief."}), ["Be brief.\n\nShout.", "Be brief."]),
        (replaced, ["Be brief."; 2]),
        (by("set"), ["Be brief."; 2]),
        (by("default"), ["Shout.", "Be brief."]),
    ] {
        let gate = with_class(&provider, &class)
            .models(&json!([
                {"name": "fast", "tier": "simple", "targets": [{"provider": "mock", "model": "gpt-x"}]},
            ]))
            .start()
            .await;
        for (own, sent) in [json!("Shout."), Value::Null].into_iter().zip(sent) {
            repeats(&provider, &gate, &own, sent).await;
        }
    }
}

/// That a response with the instructions `own` repeats those, though `sent` goes out.
async fn repeats(provider: &Provider, gate: &Gateway, own: &Value, sent: &str) {
    let mut body = json!({
        "model": "fast", "input": "Hi", "instructions": own, "user": "jo@example.com",
        "prompt_cache_key": "jo", "store": false,
    });
    let check = |response: &Value| {
        assert_eq!(&response["instructions"], own, "{response}");
        assert_eq!(response["user"], "jo@example.com");
        assert_eq!(response["prompt_cache_key"], "jo");
        assert_eq!(response["model"], "fast");
    };
    check(&gate.send(&post("responses", &body)).await.ok().json());
    body["stream"] = json!(true);
    let events = gate.send(&post("responses", &body)).await.ok().events();
    assert_eq!(events.len(), 2);
    for event in events {
        check(&serde_json::from_str::<Value>(&event).unwrap()["response"]);
    }
    for call in provider.calls().iter().rev().take(2) {
        assert_eq!(call.json()["instructions"], sent);
    }
}

/// What the provider keeps has the seller's words in it.
#[tokio::test]
async fn what_is_fetched_later_does_not_show_the_sellers_words() {
    let provider = Provider::start().await;
    provider.answer(|call| {
        let response = json!({
            "id": "resp_1", "object": "response", "model": "gpt-x", "status": "completed",
            "output": [{"type": "message", "id": "msg_1", "instructions": "kept"}],
            "instructions": "Be brief, or \"else\".",
        });
        if !call.path().contains("stream=true") {
            return Reply::json(200, &response);
        }
        let event = |kind: &str| json!({"type": kind, "response": response}).to_string();
        Reply::events([event("response.created"), event("response.completed")])
    });
    let rule = json!({"rewrite": {"set": {"instructions": "Be brief."}}});
    let template = json!({"template": "Be brief."});
    for (class, hides) in [(rule, true), (template, true), (json!({}), false)] {
        let gate = with_class(&provider, &class).set("opaque.provider", "mock").start().await;
        let body = json!({"model": "gpt-4o-mini", "input": "Hi", "store": true});
        gate.send(&post("responses", &body)).await.ok();
        let check = |response: &Value| {
            let shown = response["instructions"].as_str();
            assert_eq!(shown, (!hides).then_some("Be brief, or \"else\"."), "{response}");
            assert_eq!(response["output"][0]["instructions"], "kept");
        };
        let get = |path: &str| Request::get(path).bearer(&key_of(DEFAULT_PLAN));
        check(&gate.send(&get("/v1/responses/resp_1")).await.ok().json());
        check(&gate.send(&post("responses/resp_1/cancel", &json!({}))).await.ok().json());
        let events = gate.send(&get("/v1/responses/resp_1?stream=true")).await.ok().events();
        assert_eq!(events.len(), 2);
        for event in events {
            check(&serde_json::from_str::<Value>(&event).unwrap()["response"]);
        }
    }
    let template = json!({"template": "Be brief."});
    let gate = with_class(&provider, &template).set("opaque.provider", "mock").start().await;
    let messages = "/v1/chat/completions/chatcmpl-1/messages";
    let listed = gate.send(&Request::get(messages).bearer(&key_of(DEFAULT_PLAN))).await;
    listed.refused(404, "endpoint_not_enabled");
}

#[tokio::test]
async fn customers_see_the_public_name_of_the_model() {
    let provider = Provider::start().await;
    let gate = renamed(&provider).start().await;
    let whole = gate.send(&post("chat/completions", &named("fast", &json!({})))).await.ok();
    let sent = provider.only_call().json();
    assert_eq!(sent["model"], "gpt-x");
    // Nothing but the name differs from what the provider sent.
    let expected = openai::chat(&sent).to_string().replace("\"gpt-x\"", "\"fast\"");
    assert_eq!(whole.text(), expected);
    let again = gate.send(&post("chat/completions", &named("fast", &json!({})))).await.ok();
    assert_eq!((again.header("x-tollgate-cache"), &again.body), (Some("hit"), &whole.body));
    let stream = json!({"stream": true, "stream_options": {"include_usage": true}, "seed": 1});
    let events = gate.send(&post("chat/completions", &named("fast", &stream))).await.ok().events();
    assert_eq!(events, openai::chat_events("fast", true));
    let embedded = json!({"model": "fast", "input": ["a", "b"]});
    assert_eq!(gate.send(&post("embeddings", &embedded)).await.ok().json()["model"], "fast");
    // Under its own name a model's answer passes as it comes.
    provider.next(Reply::json(200, &json!({"model": "other-2026", "choices": []})));
    let own = gate.send(&post("chat/completions", &named("other", &json!({})))).await.ok();
    assert_eq!(own.json()["model"], "other-2026");
}

/// Names of one length: a chunk that needs a change must not pass as it came.
#[tokio::test]
async fn a_name_of_the_same_length_is_replaced_too() {
    let provider = Provider::start().await;
    let models = json!([
        {"name": "abcde", "tier": "simple", "targets": [{"provider": "mock", "model": "gpt-x"}]},
    ]);
    let gate = Tollgate::before(&provider).models(&models).start().await;
    let mut body = stream_body();
    body["model"] = json!("abcde");
    // Without anything to take out again, most chunks pass as they came.
    body["stream_options"] = json!({"include_usage": true});
    let request = Request::post("/v1/chat/completions", &body).bearer(&key_of(DEFAULT_PLAN));
    let events = gate.send(&request).await.ok().events();
    assert_eq!(events, openai::chat_events("abcde", true));
}

#[tokio::test]
async fn the_providers_name_is_shown_where_the_seller_wants_it() {
    let provider = Provider::start().await;
    let gate = renamed(&provider).set("routing.public_model_name", false).start().await;
    let answer = gate.send(&post("chat/completions", &named("fast", &json!({})))).await.ok();
    assert_eq!(answer.json()["model"], "gpt-x");
}

async fn users_sent(gate: &Gateway, provider: &Provider, plan: &str, body: &Value) -> Value {
    let before = provider.calls().len();
    let path = if body["input"].is_null() { "chat/completions" } else { "embeddings" };
    let request = Request::post(&format!("/v1/{path}"), body).bearer(&key_of(plan));
    gate.send(&request).await.ok();
    provider.calls()[before].json()
}

#[tokio::test]
async fn providers_see_end_users_as_keyed_hashes_alone() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).plan("one", |it| it).plan("two", |it| it).start().await;
    let mut body = named(
        "gpt-4o-mini",
        &json!({
            "user": "jo@example.com", "safety_identifier": "jo@ex\u{e4}mple.com",
            "prompt_cache_key": "jo@example.com", "metadata": {"user_id": "a label"},
        }),
    );
    let first = users_sent(&gate, &provider, "one", &body).await;
    let second = users_sent(&gate, &provider, "one", &body).await;
    let other = users_sent(&gate, &provider, "two", &body).await;
    body["stream"] = json!(true);
    let streamed = users_sent(&gate, &provider, "one", &body).await;
    for field in ["user", "safety_identifier", "prompt_cache_key"] {
        assert_eq!(first[field].as_str().unwrap().len(), 32, "{field}");
        assert_eq!((&first[field], &first[field]), (&second[field], &streamed[field]), "{field}");
        assert_ne!(first[field], other[field], "{field}");
    }
    assert_ne!(first["user"], first["prompt_cache_key"]);
    assert_eq!(first["metadata"], body["metadata"]);
    let wire: Vec<u8> = provider.calls().iter().flat_map(|call| call.wire.to_vec()).collect();
    assert!(!String::from_utf8_lossy(&wire).contains("example.com"));
    let wrong = named("gpt-4o-mini", &json!({"user": 7}));
    let request = Request::post("/v1/chat/completions", &wrong).bearer(&key_of("one"));
    assert_eq!(gate.send(&request).await.refused(400, "invalid_value")["param"], "user");
}

/// A call for a part of the inputs is made anew of the request.
#[tokio::test]
async fn a_call_for_some_inputs_names_nobody_either() {
    let provider = Provider::start().await;
    let gate = with_class(&provider, &json!({"cache": {"ttl": "1h"}})).start().await;
    for input in [json!(["a"]), json!(["a", "b"])] {
        let body = json!({"model": "gpt-4o-mini", "input": input, "user": "jo"});
        gate.send(&post("embeddings", &body)).await.ok();
    }
    let calls = provider.calls();
    assert_eq!(calls[1].json()["input"], json!(["b"]));
    assert_eq!(calls[0].json()["user"].as_str().unwrap().len(), 32);
    assert_eq!(calls[1].json()["user"], calls[0].json()["user"]);
}

#[tokio::test]
async fn a_restart_changes_no_hash_and_the_seller_may_do_without() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).start().await;
    let body = named("gpt-4o-mini", &json!({"user": "jo"}));
    let before = users_sent(&gate, &provider, DEFAULT_PLAN, &body).await;
    let gate = gate.restart().await;
    assert_eq!(users_sent(&gate, &provider, DEFAULT_PLAN, &body).await["user"], before["user"]);
    let plain = Tollgate::before(&provider).set("privacy.hash_end_users", false).start().await;
    assert_eq!(users_sent(&plain, &provider, DEFAULT_PLAN, &body).await["user"], "jo");
}

#[tokio::test]
async fn headers_are_set_and_removed_both_ways() {
    let provider = Provider::start().await;
    let rules = json!({"cache": {"ttl": "1h"}, "headers": {
        "request": {
            "set": {"openai-organization": "org-1", "User-Agent": "the seller's"},
            "remove": ["openai-beta", "x-stainless-lang"],
        },
        "response": {"set": {"x-served-by": "us"}, "remove": ["x-odd"]},
    }});
    let gate = with_class(&provider, &rules).start().await;
    provider.answer(|call| {
        let reply = Reply::json(200, &openai::chat(&call.json()));
        reply.header("x-odd", "1").header("x-served-by", "them").header("x-kept", "2")
    });
    let request = |path: &str| {
        Request::post(path, &chat_body())
            .bearer(&key_of(DEFAULT_PLAN))
            .header("user-agent", "sdk")
            .header("openai-beta", "b")
            .header("x-stainless-lang", "python")
    };
    for result in ["miss", "hit"] {
        let answer = gate.send(&request("/made/v1/chat/completions")).await.ok();
        assert_eq!(answer.header("x-tollgate-cache"), Some(result));
        assert_eq!(answer.header("x-served-by"), Some("us"));
        assert_eq!((answer.header("x-odd"), answer.header("x-kept")), (None, Some("2")));
    }
    let sent = provider.only_call();
    assert_eq!(sent.header("openai-organization"), Some("org-1"));
    assert_eq!(sent.header("user-agent"), Some("the seller's"));
    assert_eq!((sent.header("openai-beta"), sent.header("x-stainless-lang")), (None, None));
    let answer = gate.send(&request("/v1/chat/completions")).await.ok();
    assert_eq!((answer.header("x-served-by"), answer.header("x-odd")), (Some("them"), Some("1")));
    assert_eq!(provider.calls()[1].header("x-stainless-lang"), Some("python"));
}
