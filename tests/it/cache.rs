//! Answers given again. Covers D1, D2, D3, D5 and invariant 4.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::client::{Answer, Request};
use crate::harness::door::{chat_body, stream_body};
use crate::harness::gate::Gate;
use crate::harness::gateway::Gateway;
use crate::harness::openai::{self, CACHED, INPUT, OUTPUT};
use crate::harness::provider::Provider;
use crate::harness::reply::Reply;
use crate::harness::setup::{ADMIN_TOKEN, DEFAULT_PLAN, Setup, Tollgate, key_of};

/// A gateway with a class `docs` that is cached for an hour and a class `quick`
/// that is cached for a minute.
fn cached(provider: &Provider) -> Setup {
    Tollgate::before(provider)
        .class("docs", "0.01", &json!({"cache": {"ttl": "1h", "hit_rate_target": 0.6}}))
        .class("quick", "0.03", &json!({"cache": {"ttl": "1m"}}))
}

fn ask_as(plan: &str, class: &str, body: &Value) -> Request {
    Request::post(&format!("/{class}/v1/chat/completions"), body).bearer(&key_of(plan))
}

fn ask(body: &Value) -> Request {
    ask_as(DEFAULT_PLAN, "docs", body)
}

fn asking_usage() -> Value {
    let mut body = stream_body();
    body["stream_options"] = json!({"include_usage": true});
    body
}

#[track_caller]
fn is(answer: &Answer, result: &str) {
    let shown = answer.header("x-tollgate-cache");
    assert_eq!(shown, Some(result), "{:?} {}", answer.head, answer.text());
    assert_eq!(answer.header("age").is_some(), result == "hit", "{:?}", answer.head);
}

async fn expect(gate: &Gateway, request: &Request, result: &str) -> Answer {
    let answer = gate.send(request).await.ok();
    is(&answer, result);
    answer
}

#[tokio::test]
async fn an_equal_request_is_answered_from_the_cache_with_its_age() {
    let provider = Provider::start().await;
    let gate = cached(&provider).start().await;
    let first = expect(&gate, &ask(&chat_body()), "miss").await;
    gate.clock().advance(Duration::from_millis(90_700));
    let again = expect(&gate, &ask(&chat_body()), "hit").await;
    assert_eq!(again.number("age"), 90);
    assert_eq!(again.body, first.body);
    for name in ["content-type", "x-tollgate-route", "x-tollgate-price-usd", "x-tollgate-class"] {
        assert_eq!(again.header(name), first.header(name), "{name}");
        assert!(again.header(name).is_some(), "{name}");
    }
    provider.only_call();
}

#[tokio::test]
async fn spelling_does_not_matter_and_everything_else_does() {
    let provider = Provider::start().await;
    let gate = cached(&provider).start().await;
    let send = async |body: &str, result: &str| {
        let path = "/docs/v1/chat/completions";
        let request = Request::post_text(path, body.to_owned()).bearer(&key_of(DEFAULT_PLAN));
        expect(&gate, &request, result).await
    };
    send(r#"{"model":"gpt-4o-mini","messages":[{"role":"user","content":"é"}],"n":1}"#, "miss")
        .await;
    let spelt = "{ \"n\":1,\"messages\" : [ {\"content\":\"\\u00e9\",\n\"role\":\"user\"}],\"user\":\"x\",\
                 \"model\":\"gpt-4o-mini\" }";
    send(spelt, "hit").await;
    for other in [
        r#"{"model":"gpt-4o-mini","messages":[{"role":"user","content":"É"}],"n":1}"#,
        r#"{"model":"gpt-4o-mini","messages":[{"role":"user","content":"é"}],"n":1,"min_p":0}"#,
        r#"{"model":"gpt-4o","messages":[{"role":"user","content":"é"}],"n":1}"#,
    ] {
        send(other, "miss").await;
    }
    let body = json!({"model": "gpt-4o-mini", "messages": [], "temperature": 1});
    let text = body.to_string();
    send(&text, "miss").await;
    send(&text.replace(":1", ":1.0"), "miss").await;
    send(&text.replace(":1", ":1e0"), "miss").await;
    send(&text, "hit").await;
    let request = ask(&chat_body());
    expect(&gate, &request, "miss").await;
    expect(&gate, &request.clone().header("openai-beta", "x"), "miss").await;
    expect(&gate, &request.clone().header("user-agent", "x"), "hit").await;
    let mut query = Request::post("/docs/v1/chat/completions?a=1", &chat_body());
    query = query.bearer(&key_of(DEFAULT_PLAN));
    expect(&gate, &query, "miss").await;
}

#[tokio::test]
async fn an_entry_lives_as_long_as_its_class_says() {
    let provider = Provider::start().await;
    let gate = cached(&provider).start().await;
    for (class, seconds) in [("docs", 3_600), ("quick", 60)] {
        let request = ask_as(DEFAULT_PLAN, class, &chat_body());
        expect(&gate, &request, "miss").await;
        // A twentieth of it, at most, is taken off.
        gate.clock().advance(Duration::from_secs(seconds * 19 / 20) - Duration::from_micros(1));
        expect(&gate, &request, "hit").await;
        gate.clock().advance(Duration::from_secs(seconds / 20) + Duration::from_micros(1));
        expect(&gate, &request, "miss").await;
        expect(&gate, &request, "hit").await;
    }
}

#[tokio::test]
async fn a_class_without_a_cache_is_bypassed_unless_the_request_asks() {
    let provider = Provider::start().await;
    let gate = cached(&provider).start().await;
    expect(&gate, &gate.chat(), "bypass").await;
    expect(&gate, &gate.chat(), "bypass").await;
    let lasting = |text: &str| gate.chat().header("x-tollgate-cache-ttl", text);
    expect(&gate, &lasting("90"), "miss").await;
    gate.clock().advance(Duration::from_secs(85));
    expect(&gate, &lasting("2m"), "hit").await;
    gate.clock().advance(Duration::from_secs(5));
    expect(&gate, &lasting("2m"), "miss").await;
    gate.clock().advance(Duration::from_secs(114));
    expect(&gate, &lasting("1s"), "hit").await;
    expect(&gate, &lasting("0"), "bypass").await;
    let error = gate.send(&lasting("soon")).await.refused(400, "invalid_value");
    assert_eq!(error["param"], "x-tollgate-cache-ttl");
}

#[tokio::test]
async fn nothing_crosses_accounts_or_classes_unless_a_class_is_shared() {
    let provider = Provider::start().await;
    let shared = json!({"cache": {"ttl": "1h", "scope": "shared"}});
    let setup = cached(&provider).class("open", "0.01", &shared).class("open2", "0.01", &shared);
    let gate = setup.plan("ann", |plan| plan).plan("bob", |plan| plan).start().await;
    let body = chat_body();
    for (plan, class, result) in [
        ("ann", "docs", "miss"),
        ("bob", "docs", "miss"),
        ("ann", "quick", "miss"),
        ("ann", "docs", "hit"),
        ("bob", "docs", "hit"),
        ("ann", "open", "miss"),
        ("bob", "open", "hit"),
        ("bob", "open2", "miss"),
        ("ann", "open2", "hit"),
    ] {
        let answer = gate.send(&ask_as(plan, class, &body)).await.ok();
        assert_eq!(answer.header("x-tollgate-cache"), Some(result), "{plan} in {class}");
    }
}

#[tokio::test]
async fn the_request_steers() {
    let provider = Provider::start().await;
    let gate = cached(&provider).start().await;
    let steer = |directives: &str| ask(&chat_body()).header("cache-control", directives);
    gate.send(&steer("only-if-cached")).await.refused(504, "not_in_cache");
    expect(&gate, &steer("no-store"), "bypass").await;
    expect(&gate, &steer("max-age=60"), "miss").await;
    assert_eq!(provider.calls().len(), 2);
    expect(&gate, &steer("only-if-cached"), "hit").await;
    expect(&gate, &steer("no-store, max-age=9"), "bypass").await;
    gate.clock().advance(Duration::from_secs(60));
    expect(&gate, &steer("MAX-AGE=60, x"), "hit").await;
    gate.clock().advance(Duration::from_millis(1));
    expect(&gate, &steer("max-age=61"), "hit").await;
    gate.send(&steer("max-age=60, only-if-cached")).await.refused(504, "not_in_cache");
    gate.send(&steer("no-cache, only-if-cached")).await.refused(504, "not_in_cache");
    // Not looked up, but kept: the next one finds a younger answer.
    expect(&gate, &steer("no-cache"), "bypass").await;
    assert_eq!(expect(&gate, &steer("x"), "hit").await.number("age"), 0);
    assert_eq!(provider.calls().len(), 4);
    let distinct = |value: &str| ask(&chat_body()).header("x-tollgate-samples", value);
    expect(&gate, &distinct("distinct"), "bypass").await;
    expect(&gate, &distinct("shared"), "hit").await;
    let error = gate.send(&distinct("mine")).await.refused(400, "invalid_value");
    assert_eq!(error["param"], "x-tollgate-samples");
}

#[tokio::test]
async fn a_refusal_for_want_of_an_entry_consumes_nothing() {
    let provider = Provider::start().await;
    let gate = cached(&provider).plan("few", |plan| plan.per_minute(2)).start().await;
    let only = ask_as("few", "docs", &chat_body()).header("cache-control", "only-if-cached");
    for _ in 0..5 {
        let refused = gate.send(&only).await;
        refused.refused(504, "not_in_cache");
        is(&refused, "miss");
        assert_eq!(refused.number("x-ratelimit-remaining-requests"), 2);
    }
    assert_eq!(gate.records().await.len(), 0);
}

#[tokio::test]
async fn what_wants_a_sample_or_an_effect_of_its_own_is_not_answered_from_the_cache() {
    let provider = Provider::start().await;
    let own = json!({"samples": "distinct", "cache": {"ttl": "1h"}});
    let gate = cached(&provider).class("own", "0.01", &own).start().await;
    let distinct = ask_as(DEFAULT_PLAN, "own", &chat_body());
    expect(&gate, &distinct, "bypass").await;
    expect(&gate, &distinct, "bypass").await;
    let shared = distinct.header("x-tollgate-samples", "shared");
    expect(&gate, &shared, "miss").await;
    expect(&gate, &shared, "hit").await;
    let mut stored = chat_body();
    stored["store"] = true.into();
    expect(&gate, &ask(&stored), "bypass").await;
    expect(&gate, &ask(&stored), "bypass").await;
    stored["store"] = false.into();
    expect(&gate, &ask(&stored), "miss").await;
    expect(&gate, &ask(&stored), "hit").await;
}

#[tokio::test]
async fn a_stream_is_kept_whole_and_given_again() {
    let provider = Provider::start().await;
    let gate = cached(&provider).start().await;
    let with_usage = openai::chat_events("gpt-4o-mini", true);
    let without_usage = openai::chat_events("gpt-4o-mini", false);
    let first = expect(&gate, &ask(&stream_body()), "miss").await;
    assert_eq!(first.events(), without_usage);
    let again = expect(&gate, &ask(&stream_body()), "hit").await;
    assert_eq!(again.body, first.body);
    assert_eq!(again.header("content-type"), Some("text/event-stream"));
    assert_eq!(expect(&gate, &ask(&asking_usage()), "hit").await.events(), with_usage);
    let whole = expect(&gate, &ask(&chat_body()), "hit").await;
    assert_eq!(whole.header("content-type"), Some("application/json"));
    assert_eq!(whole.json(), openai::chat(&chat_body()));
    provider.only_call();
}

#[tokio::test]
async fn a_stream_whose_first_caller_asked_for_usage_serves_those_who_did_not() {
    let provider = Provider::start().await;
    let gate = cached(&provider).start().await;
    let first = expect(&gate, &ask(&asking_usage()), "miss").await;
    assert_eq!(first.events(), openai::chat_events("gpt-4o-mini", true));
    let again = expect(&gate, &ask(&stream_body()), "hit").await;
    assert_eq!(again.events(), openai::chat_events("gpt-4o-mini", false));
}

#[tokio::test]
async fn a_whole_answer_serves_those_who_want_a_stream() {
    let provider = Provider::start().await;
    let gate = cached(&provider).start().await;
    expect(&gate, &ask(&chat_body()), "miss").await;
    for (body, usage) in [(stream_body(), false), (asking_usage(), true)] {
        let answer = expect(&gate, &ask(&body), "hit").await;
        assert!(answer.header("content-type").unwrap().starts_with("text/event-stream"));
        let mut events = answer.events();
        assert_eq!(events.pop().as_deref(), Some("[DONE]"));
        let events: Vec<Value> =
            events.iter().map(|it| serde_json::from_str(it).unwrap()).collect();
        let text: String = events
            .iter()
            .filter_map(|event| event["choices"][0]["delta"]["content"].as_str())
            .collect();
        assert_eq!(text, openai::TEXT);
        assert!(events.iter().all(|event| event["id"] == "chatcmpl-mock"));
        let last = events.last().unwrap();
        assert_eq!(last["usage"], if usage { openai::usage() } else { Value::Null });
    }
    provider.only_call();
}

#[tokio::test]
async fn other_endpoints_are_kept_in_their_own_form() {
    let provider = Provider::start().await;
    let gate = cached(&provider).start().await;
    let post = |path: &str, body: &Value| {
        Request::post(&format!("/docs/v1/{path}"), body).bearer(&key_of(DEFAULT_PLAN))
    };
    let embedding = post("embeddings", &json!({"model": "gpt-4o-mini", "input": ["a", "b"]}));
    let first = expect(&gate, &embedding, "miss").await;
    assert_eq!(expect(&gate, &embedding, "hit").await.body, first.body);
    let completion = post("completions", &json!({"model": "gpt-4o-mini", "prompt": "x"}));
    let first = expect(&gate, &completion, "miss").await;
    assert_eq!(expect(&gate, &completion, "hit").await.body, first.body);
    let streamed = json!({"model": "gpt-4o-mini", "prompt": "x", "stream": true});
    let events = expect(&gate, &post("completions", &streamed), "hit").await.events();
    let event: Value = serde_json::from_str(&events[0]).unwrap();
    assert_eq!(event["choices"][0]["text"], openai::TEXT);

    let response =
        json!({"id": "resp_1", "object": "response", "status": "completed", "output": []});
    let events = [
        json!({"type": "response.created", "response": {"status": "in_progress"}}).to_string(),
        json!({"type": "response.completed", "response": response}).to_string(),
    ];
    provider.next(Reply::json(200, &response));
    provider.next(Reply::events(&events));
    let mut body = json!({"model": "gpt-4o-mini", "input": "x"});
    let whole = post("responses", &body);
    expect(&gate, &whole, "miss").await;
    assert_eq!(expect(&gate, &whole, "hit").await.json(), response);
    body["stream"] = true.into();
    let stream = post("responses", &body);
    expect(&gate, &stream, "miss").await;
    assert_eq!(expect(&gate, &stream, "hit").await.events(), events);
    provider.next(Reply::json(200, &response));
    body["background"] = true.into();
    expect(&gate, &post("responses", &body), "bypass").await;
}

#[tokio::test]
async fn errors_and_broken_answers_are_never_kept() {
    let provider = Provider::start().await;
    let gate = cached(&provider).set("routing.retries", 0).start().await;
    let body = openai::chat(&chat_body()).to_string();
    for reply in [
        Reply::error(400, "bad"),
        Reply::error(429, "slow_down"),
        Reply::error(500, "broken"),
        Reply::error(200, "within_an_answer"),
        Reply::json_text(201, body.clone()),
        Reply::json_text(200, body.clone()).cut_after(20),
        Reply::json_text(200, body.clone()).close_delimited().cut_after(20),
        Reply::json_text(200, "<html>"),
        Reply::json_text(200, body.clone()).reset_after(20),
    ] {
        provider.next(reply);
        is(&gate.send(&ask(&chat_body())).await, "miss");
    }
    let calls = provider.calls().len();
    expect(&gate, &ask(&chat_body()), "miss").await;
    expect(&gate, &ask(&chat_body()), "hit").await;
    assert_eq!(provider.calls().len(), calls + 1);
}

#[tokio::test]
async fn streams_that_do_not_end_well_are_never_kept() {
    let provider = Provider::start().await;
    let gate = cached(&provider).start().await;
    let events = openai::chat_events("gpt-4o-mini", true);
    let unfinished = &events[..events.len() - 1];
    let error = r#"{"error":{"message":"overloaded"}}"#.to_owned();
    let failing: Vec<String> =
        unfinished.iter().cloned().chain([error, "[DONE]".to_owned()]).collect();
    for reply in [
        Reply::events(unfinished).cut_after(300),
        Reply::events(&events).cut_after(300),
        Reply::events(unfinished).close_delimited(),
        Reply::events(unfinished),
        Reply::events(&failing),
    ] {
        provider.next(reply);
        let mut connection = gate.open(&ask(&stream_body())).await;
        let head = connection.head().await;
        assert_eq!(head.header("x-tollgate-cache"), Some("miss"));
        while let Ok(Some(_)) = connection.data().await {}
    }
    expect(&gate, &ask(&stream_body()), "miss").await;
    expect(&gate, &ask(&stream_body()), "hit").await;
}

#[tokio::test]
async fn a_stream_whose_caller_leaves_is_not_kept() {
    let provider = Provider::start().await;
    let gate = cached(&provider).start().await;
    let held = Gate::closed();
    provider.next(Reply::gated_events(&held, openai::chat_events("gpt-4o-mini", true)));
    let mut connection = gate.open(&ask(&stream_body())).await;
    connection.head().await;
    held.release();
    connection.event_data().await;
    connection.reset();
    provider.wait_for_disconnect().await;
    gate.wait_for_records(1).await;
    expect(&gate, &ask(&stream_body()), "miss").await;
}

#[tokio::test]
async fn an_entry_can_be_had_before_its_makers_last_event() {
    let provider = Provider::start().await;
    let gate = cached(&provider).start().await;
    let held = Gate::closed();
    let events = openai::chat_events("gpt-4o-mini", true);
    let shown = events.len() - 2;
    provider.next(Reply::gated_events(&held, &events));
    let mut connection = gate.open(&ask(&stream_body())).await;
    connection.head().await;
    (0..events.len() - 1).for_each(|_| held.release());
    for _ in 0..shown {
        connection.event_data().await;
    }
    // The end has not come: equal requests are calls of their own.
    expect(&gate, &ask(&stream_body()).header("cache-control", "no-store"), "bypass").await;
    held.release();
    while connection.event_data().await != "[DONE]" {}
    expect(&gate, &ask(&stream_body()), "hit").await;
}

#[tokio::test]
async fn equal_requests_at_once_are_each_a_call() {
    let provider = Provider::start().await;
    let gate = cached(&provider).start().await;
    let held = Gate::closed();
    let reply = Reply::json(200, &openai::chat(&chat_body()));
    provider.next(reply.clone().after(&held));
    provider.next(reply.after(&held));
    let mut one = gate.open(&ask(&chat_body())).await;
    let mut other = gate.open(&ask(&chat_body())).await;
    provider.wait_for_calls(2).await;
    held.open();
    is(&one.answer().await, "miss");
    is(&other.answer().await, "miss");
    expect(&gate, &ask(&chat_body()), "hit").await;
}

#[tokio::test]
async fn what_another_target_answers_is_not_taken_for_the_first_ones() {
    let provider = Provider::start().await;
    let spare = Provider::start().await;
    let models = json!([{"name": "gpt-4o-mini",
                         "targets": [{"provider": "mock"}, {"provider": "spare"}]}]);
    let other = json!({"name": "spare", "dialect": "openai", "base_url": spare.url(),
                       "api_key": "sk-other"});
    let gate = cached(&provider).models(&models).another_provider(other).start().await;
    provider.next(Reply::error(503, "away"));
    expect(&gate, &ask(&chat_body()), "miss").await;
    assert_eq!(spare.calls().len(), 1);
    expect(&gate, &ask(&chat_body()), "miss").await;
    expect(&gate, &ask(&chat_body()), "hit").await;
    assert_eq!((provider.calls().len(), spare.calls().len()), (2, 1));
}

/// Covers A5, B1 and C1.
#[tokio::test]
async fn a_hit_costs_nothing_and_is_charged_and_counted() {
    let provider = Provider::start().await;
    let gate = cached(&provider).start().await;
    expect(&gate, &ask(&chat_body()), "miss").await;
    expect(&gate, &ask(&chat_body()), "hit").await;
    expect(&gate, &ask(&stream_body()), "hit").await;
    expect(&gate, &gate.chat(), "bypass").await;
    let records = gate.records().await;
    let miss = records.iter().find(|record| record["cache"] == "miss").unwrap();
    let tokens = json!({"input": INPUT, "cached_input": CACHED, "output": OUTPUT, "reasoning": 2});
    let key = miss["cache_key"].as_str().unwrap();
    assert_eq!(key.len(), 32);
    assert!(key.bytes().all(|byte| byte.is_ascii_hexdigit()));
    assert_eq!((&miss["attempts"], &miss["price"]), (&json!(1), &json!("0.01")));
    assert_ne!(miss["cost"], "0");
    let hits: Vec<&Value> = records.iter().filter(|record| record["cache"] == "hit").collect();
    assert_eq!(hits.len(), 2);
    for hit in hits {
        for (field, expected) in [
            ("attempts", json!(0)),
            ("cost", json!("0")),
            ("price", json!("0.01")),
            ("quantity", json!(1)),
            ("outcome", json!("ok")),
            ("status", json!(200)),
            ("provider", json!("")),
            ("tokens", tokens.clone()),
            ("cache_key", json!(key)),
            ("unpriced", json!(false)),
        ] {
            assert_eq!(hit[field], expected, "{field} of {hit}");
        }
    }
    let bypass = records.iter().find(|record| record["cache"] == "bypass").unwrap();
    assert_eq!(bypass["cache_key"], Value::Null);
    let metrics = gate.admin("/metrics").await.ok().text();
    let saved = 2.0 * miss["cost"].as_str().unwrap().parse::<f64>().unwrap();
    for line in [
        "tollgate_cache_lookups_total{class=\"docs\",result=\"hit\"} 2".to_owned(),
        "tollgate_cache_lookups_total{class=\"docs\",result=\"miss\"} 1".to_owned(),
        "tollgate_cache_hit_ratio{class=\"docs\"} 0.6666666666666666".to_owned(),
        "tollgate_cache_hit_ratio_target{class=\"docs\"} 0.6".to_owned(),
        format!("tollgate_saved_dollars_total{{by=\"cache\"}} {saved}"),
    ] {
        assert!(metrics.lines().any(|shown| shown == line), "no {line} in {metrics}");
    }
    let bytes =
        metrics.lines().find_map(|it| it.strip_prefix("tollgate_cache_bytes{tier=\"memory\"} "));
    assert!(bytes.unwrap().parse::<u64>().unwrap() > 0);
    assert!(metrics.contains("tollgate_requests_total{cache=\"hit\",class=\"docs\""));
}

#[tokio::test]
async fn operators_remove_what_they_choose() {
    let provider = Provider::start().await;
    let setup = cached(&provider).plan("ann", |plan| plan).plan("bob", |plan| plan);
    let gate = setup.start().await;
    let fill = async || {
        for (plan, class) in [("ann", "docs"), ("bob", "docs"), ("ann", "quick")] {
            gate.send(&ask_as(plan, class, &chat_body())).await.ok();
        }
    };
    let purge = async |query: &str| {
        let request = Request::new("DELETE", &format!("/admin/cache{query}")).bearer(ADMIN_TOKEN);
        request.send(gate.admin).await.ok().json()["removed"].clone()
    };
    for (query, removed) in [
        ("?account=ann&class=docs", 1),
        ("?class=docs", 2),
        ("?model=gpt-4o-mini", 3),
        ("?model=gpt-4o", 0),
        ("?key=00", 0),
        ("", 3),
        ("", 0),
    ] {
        if removed > 0 {
            fill().await;
        }
        assert_eq!(purge(query).await, removed, "{query}");
    }
    fill().await;
    let records = gate.records().await;
    let of_bob = records.iter().rev().find(|record| record["account"] == "bob").unwrap();
    let key = of_bob["cache_key"].as_str().unwrap();
    assert_eq!(purge(&format!("?key={key}")).await, 1);
    is(&gate.send(&ask_as("bob", "docs", &chat_body())).await, "miss");
    is(&gate.send(&ask_as("ann", "docs", &chat_body())).await, "hit");
    let wrong = Request::new("DELETE", "/admin/cache?acount=ann").bearer(ADMIN_TOKEN);
    assert_eq!(wrong.send(gate.admin).await.status(), 400);
    let nobody = Request::new("DELETE", "/admin/cache").send(gate.admin).await;
    assert_eq!(nobody.status(), 401);
}
