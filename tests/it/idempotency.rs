//! `idempotency-key`: one run, one charge, one answer. Covers A5, H1 and
//! invariants 1 and 2.

mod gone;

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::client::{Answer, Request};
use crate::harness::door::{Door, chat_body, stream_body};
use crate::harness::eventually::within;
use crate::harness::gate::Gate;
use crate::harness::openai;
use crate::harness::provider::Provider;
use crate::harness::reply::Reply;
use crate::harness::setup::{DEFAULT_PLAN, Tollgate, key_of};

const REQUESTS: &str = "tollgate_inflight{scope=\"requests\"}";
const ABOARD: &str = "tollgate_inflight{scope=\"aboard\"}";
const DAY: Duration = Duration::from_secs(86_400);

/// A request of the fixture's own account under `key`, recorded as `id`.
fn keyed(key: &str, id: &str, body: &Value) -> Request {
    keyed_as(DEFAULT_PLAN, "/v1/chat/completions", key, id, body)
}

fn keyed_as(plan: &str, path: &str, key: &str, id: &str, body: &Value) -> Request {
    let request = Request::post(path, body).bearer(&key_of(plan));
    request.header("idempotency-key", key).header("x-request-id", id)
}

fn series(result: &str) -> String {
    format!("tollgate_idempotency_requests_total{{result=\"{result}\"}}")
}

fn other_body() -> Value {
    let mut body = chat_body();
    body["messages"][0]["content"] = json!("Say goodbye.");
    body
}

/// A whole answer that comes when `gate` opens.
fn held(gate: &Gate) -> Reply {
    Reply::json(200, &openai::chat(&chat_body())).after(gate)
}

/// A stream whose first event comes at once and the rest when `gate` opens.
fn held_stream(gate: &Gate) -> Reply {
    let events = openai::chat_events("gpt-4o-mini", true);
    let (first, rest) = events.split_first().unwrap();
    rest.iter().fold(Reply::stream().event(first).wait(gate), |reply, data| reply.event(data))
}

#[track_caller]
fn is_a_repeat(answer: &Answer, cache: &str) {
    assert_eq!(answer.status(), 200, "{:?} {}", answer.head, answer.text());
    assert_eq!(answer.header("x-tollgate-cache"), Some(cache), "{:?}", answer.head);
    assert_eq!(answer.header("x-tollgate-price-usd"), Some("0"), "{:?}", answer.head);
}

/// Holds the record of `id` to what it is to say of outcome, quantity and cache.
async fn is_recorded(door: &Door, id: &str, outcome: &str, quantity: u64, cache: &str) -> Value {
    let record = door.record_of(id).await;
    assert_eq!(record["outcome"], outcome, "{record}");
    assert_eq!(record["quantity"], quantity, "{record}");
    assert_eq!(record["cache"], cache, "{record}");
    if quantity == 0 {
        assert_eq!(record["price"], "0", "{record}");
    }
    record
}

/// Holds the record of a repeat to consuming nothing at all.
async fn consumed_nothing(door: &Door, id: &str, cache: &str) {
    let record = is_recorded(door, id, "ok", 0, cache).await;
    assert_eq!(record["cost"], "0", "{record}");
    assert_eq!(record["attempts"], 0, "{record}");
    assert_eq!(record["tokens"]["input"], 0, "{record}");
    assert_eq!(record["tokens"]["output"], 0, "{record}");
}

#[tokio::test]
async fn a_repeat_has_the_stored_answer_and_is_not_charged() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).start().await;
    provider.next(Reply::json(201, &openai::chat(&chat_body())).header("x-theirs", "kept"));
    let first = gate.send(&keyed("k", "a", &chat_body())).await;
    assert_eq!((first.status(), first.header("x-tollgate-price-usd")), (201, Some("0.02")));
    gate.clock().advance(Duration::from_millis(90_700));
    let again = gate.send(&keyed("k", "b", &chat_body())).await;
    assert_eq!((again.status(), &again.body), (201, &first.body));
    assert_eq!(again.number("age"), 90);
    for name in ["content-type", "x-theirs", "x-tollgate-route", "x-tollgate-class"] {
        assert_eq!(again.header(name), first.header(name), "{name}");
        assert!(again.header(name).is_some(), "{name}");
    }
    assert_eq!(again.header("x-tollgate-cache"), Some("hit"));
    assert_eq!(again.header("x-tollgate-price-usd"), Some("0"));
    assert_eq!(again.header("x-request-id"), Some("b"));
    assert_eq!(provider.only_call().header("idempotency-key"), None);
    is_recorded(&gate, "a", "ok", 1, "bypass").await;
    consumed_nothing(&gate, "b", "hit").await;
    for (result, count) in [("first", 1), ("stored", 1), ("joined", 0), ("conflict", 0)] {
        assert_eq!(gate.metric(&series(result)).await, count, "{result}");
    }
}

#[tokio::test]
async fn a_stream_is_given_again_to_the_byte_with_and_without_its_usage() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).start().await;
    let mut asking = stream_body();
    asking["stream_options"] = json!({"include_usage": true});
    for (key, body) in [("plain", stream_body()), ("usage", asking)] {
        let first = gate.send(&keyed(key, key, &body)).await.ok();
        let again = gate.send(&keyed(key, &format!("{key}-2"), &body)).await;
        is_a_repeat(&again, "hit");
        assert_eq!(again.body, first.body);
        assert_eq!(again.events(), openai::chat_events("gpt-4o-mini", key == "usage"));
        assert_eq!(again.header("content-type"), first.header("content-type"));
    }
    assert_eq!(provider.calls().len(), 2);
}

#[tokio::test]
async fn a_key_holds_for_a_day() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).start().await;
    gate.send(&keyed("k", "a", &chat_body())).await.ok();
    gate.clock().advance(DAY - Duration::from_micros(1));
    is_a_repeat(&gate.send(&keyed("k", "b", &chat_body())).await, "hit");
    gate.send(&keyed("k", "c", &other_body())).await.refused(409, "idempotency_conflict");
    gate.clock().advance(Duration::from_micros(1));
    gate.send(&keyed("k", "d", &other_body())).await.ok();
    is_recorded(&gate, "d", "ok", 1, "bypass").await;
    assert_eq!(provider.calls().len(), 2);
}

#[tokio::test]
async fn another_request_under_the_key_is_a_conflict_and_consumes_nothing() {
    let provider = Provider::start().await;
    let setup = Tollgate::before(&provider)
        .class("docs", "0.01", &json!({}))
        .plan("ann", |plan| plan.per_minute(50).set("requests_per_month", 50))
        .plan("bob", |plan| plan);
    let gate = setup.start().await;
    let ann = |path: &str, id: &str, body: &Value| keyed_as("ann", path, "k", id, body);
    let chat = "/v1/chat/completions";
    let running = Gate::closed();
    provider.next(held(&running));
    let mut first = gate.open(&ann(chat, "a", &chat_body())).await;
    provider.wait_for_calls(1).await;
    let conflicts = async || {
        for (number, body) in [other_body(), stream_body()].iter().enumerate() {
            let refused = gate.send(&ann(chat, "no", body)).await;
            let error = refused.refused(409, "idempotency_conflict");
            assert_eq!(error["param"], "idempotency-key");
            assert_eq!(refused.header("x-should-retry"), Some("false"), "{number}");
            assert_eq!(refused.number("x-ratelimit-remaining-requests"), 49);
            assert_eq!(refused.number("x-tollgate-quota-remaining"), 49);
        }
    };
    conflicts().await;
    running.open();
    first.answer().await.ok();
    conflicts().await;
    // How it is spelt does not matter, and a key is one of account, path and class.
    let spelt = chat_body().to_string().replacen('{', "{ \n", 1);
    let request = Request::post_text(chat, spelt).bearer(&key_of("ann"));
    let request = request.header("idempotency-key", "k").header("x-request-id", "spelt");
    is_a_repeat(&gate.send(&request).await, "hit");
    gate.send(&ann("/docs/v1/chat/completions", "c", &other_body())).await.ok();
    let input = json!({"model": "gpt-4o-mini", "input": "x"});
    gate.send(&ann("/v1/embeddings", "d", &input)).await.ok();
    gate.send(&keyed_as("bob", chat, "k", "e", &other_body())).await.ok();
    assert_eq!(provider.calls().len(), 4);
    let records = gate.wait_for_records(5).await;
    assert!(records.iter().all(|record| record["request_id"] != "no"), "{records:#?}");
    assert_eq!(gate.metric(&series("conflict")).await, 4);
}

#[tokio::test]
async fn a_key_that_is_none_is_refused() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).start().await;
    let (long, longest) = ("k".repeat(256), "k".repeat(255));
    for key in ["", "a b", long.as_str()] {
        let error = gate.send(&keyed(key, "a", &chat_body())).await.refused(400, "invalid_value");
        assert_eq!(error["param"], "idempotency-key");
    }
    gate.send(&keyed(&longest, "b", &chat_body())).await.ok();
    // Where nothing runs there is nothing to repeat.
    let models = Request::get("/v1/models").bearer(&key_of(DEFAULT_PLAN));
    gate.send(&models.header("idempotency-key", "a b")).await.ok();
    gate.only_record().await;
}

#[tokio::test]
async fn a_hundred_at_once_are_one_call_and_one_charge() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).start().await;
    let running = Gate::closed();
    provider.next(held(&running));
    let mut clients = Vec::new();
    for number in 0..100 {
        clients.push(gate.open(&keyed("k", &format!("r{number}"), &chat_body())).await);
    }
    gate.wait_for_metric(&series("joined"), 99).await;
    running.open();
    let expected = serde_json::to_vec(&openai::chat(&chat_body())).unwrap();
    for client in &mut clients {
        assert_eq!(client.answer().await.ok().body, expected);
    }
    let call = provider.only_call();
    assert_eq!(call.header("idempotency-key"), None);
    let records = gate.wait_for_records(100).await;
    let charged: Vec<_> = records.iter().filter(|record| record["quantity"] != 0).collect();
    assert_eq!(charged.len(), 1, "{charged:#?}");
    assert_eq!((&charged[0]["price"], &charged[0]["cache"]), (&json!("0.02"), &json!("bypass")));
    assert_ne!(charged[0]["cost"], "0");
    for record in records.iter().filter(|record| record["quantity"] == 0) {
        let said = [&record["price"], &record["cost"], &record["cache"], &record["outcome"]];
        assert_eq!(said, ["0", "0", "coalesced", "ok"], "{record}");
    }
    is_a_repeat(&gate.send(&keyed("k", "late", &chat_body())).await, "hit");
}

#[tokio::test]
async fn a_repeat_joins_a_stream_from_its_beginning() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).start().await;
    let running = Gate::closed();
    provider.next(held_stream(&running));
    let mut first = gate.open(&keyed("k", "a", &stream_body())).await;
    assert_eq!(first.head().await.status(), 200);
    first.event_data().await;
    let mut second = gate.open(&keyed("k", "b", &stream_body())).await;
    let head = second.head().await;
    assert_eq!(head.header("x-tollgate-cache"), Some("coalesced"));
    assert_eq!(head.header("x-tollgate-price-usd"), Some("0"));
    assert_eq!(second.event_data().await, openai::chat_events("gpt-4o-mini", false)[0]);
    running.open();
    assert_eq!(first.body().await, second.body().await);
    provider.only_call();
    is_recorded(&gate, "a", "ok", 1, "bypass").await;
    consumed_nothing(&gate, "b", "coalesced").await;
}

#[tokio::test]
async fn a_first_whose_client_leaves_pays_for_the_repeat_that_has_its_answer() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).start().await;
    for (key, body, streamed) in [("whole", chat_body(), false), ("stream", stream_body(), true)] {
        let running = Gate::closed();
        provider.next(if streamed { held_stream(&running) } else { held(&running) });
        let calls = provider.calls().len() + 1;
        let (one, two, three) = (format!("{key}-1"), format!("{key}-2"), format!("{key}-3"));
        let first = gate.open(&keyed(key, &one, &body)).await;
        provider.wait_for_calls(calls).await;
        let joined = gate.metric(&series("joined")).await;
        let mut second = gate.open(&keyed(key, &two, &body)).await;
        gate.wait_for_metric(&series("joined"), joined + 1).await;
        gate.wait_for_metric(ABOARD, 2).await;
        drop(first);
        gate.wait_for_metric(ABOARD, 1).await;
        running.open();
        let answer = second.answer().await.ok();
        assert_eq!(answer.header("x-tollgate-cache"), Some("coalesced"));
        drop(second);
        let paid = is_recorded(&gate, &one, "ok", 1, "bypass").await;
        assert_eq!(paid["status"], 200, "{paid}");
        assert_ne!(paid["cost"], "0", "{paid}");
        consumed_nothing(&gate, &two, "coalesced").await;
        let again = gate.send(&keyed(key, &three, &body)).await;
        is_a_repeat(&again, "hit");
        assert_eq!(again.body, answer.body);
        assert_eq!(provider.calls().len(), calls);
    }
}

#[tokio::test]
async fn a_first_that_fails_leaves_the_key_free() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).set("routing.retries", 0).start().await;
    // The first one is on a fresh connection, so it is not sent again.
    let failures = [
        ("broken", Reply::close(), 502, "provider_error"),
        ("error", Reply::error(500, "theirs"), 500, "provider_error"),
        ("refusal", Reply::error(400, "theirs"), 400, "provider_error"),
        ("cut", Reply::json(200, &openai::chat(&chat_body())).cut_after(150), 502, "cut"),
    ];
    for (key, reply, status, outcome) in failures {
        provider.next(reply);
        let failed = gate.send(&keyed(key, key, &chat_body())).await;
        assert_eq!(failed.status(), status, "{key}");
        is_recorded(&gate, key, outcome, 0, "bypass").await;
        let id = format!("{key}-2");
        gate.send(&keyed(key, &id, &other_body())).await.ok();
        is_recorded(&gate, &id, "ok", 1, "bypass").await;
    }
    provider.next(Reply::events(openai::chat_events("gpt-4o-mini", true)).cut_after(400));
    let mut cut = gate.open(&keyed("stream", "stream", &stream_body())).await;
    assert!(cut.try_answer().await.is_err());
    is_recorded(&gate, "stream", "cut", 0, "bypass").await;
    gate.send(&keyed("stream", "stream-2", &other_body())).await.ok();
    assert_eq!(provider.calls().len(), 10);
}

#[tokio::test]
async fn those_who_joined_a_first_that_fails_fail_with_it_and_the_key_is_free() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).set("routing.retries", 0).start().await;
    let running = Gate::closed();
    provider.next(Reply::close().after(&running));
    let mut first = gate.open(&keyed("k", "a", &chat_body())).await;
    provider.wait_for_calls(1).await;
    let mut second = gate.open(&keyed("k", "b", &chat_body())).await;
    gate.wait_for_metric(&series("joined"), 1).await;
    running.open();
    first.answer().await.refused(502, "upstream_error");
    second.answer().await.refused(502, "upstream_error");
    is_recorded(&gate, "a", "provider_error", 0, "bypass").await;
    is_recorded(&gate, "b", "provider_error", 0, "coalesced").await;
    gate.send(&keyed("k", "c", &other_body())).await.ok();
    is_recorded(&gate, "c", "ok", 1, "bypass").await;
}

#[tokio::test]
async fn a_first_whose_client_leaves_with_nobody_aboard_leaves_the_key_free() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).start().await;
    provider.next(held(&Gate::closed()));
    let first = gate.open(&keyed("k", "a", &chat_body())).await;
    provider.wait_for_calls(1).await;
    drop(first);
    provider.wait_for_disconnect().await;
    is_recorded(&gate, "a", "client_gone_early", 0, "bypass").await;
    gate.wait_for_metric(REQUESTS, 0).await;
    gate.send(&keyed("k", "b", &other_body())).await.ok();
    is_recorded(&gate, "b", "ok", 1, "bypass").await;
}

#[tokio::test]
async fn a_repeat_counts_in_the_windows_and_not_in_the_quota() {
    let provider = Provider::start().await;
    let limited = Tollgate::before(&provider)
        .plan("few", |plan| plan.per_minute(3).set("requests_per_month", 2))
        .start()
        .await;
    let send = async |id: &str| {
        let path = "/v1/chat/completions";
        limited.send(&keyed_as("few", path, "k", id, &chat_body())).await
    };
    for (id, left) in [("a", 2), ("b", 1), ("c", 0)] {
        let answer = send(id).await.ok();
        assert_eq!(answer.number("x-ratelimit-remaining-requests"), left);
        assert_eq!(answer.number("x-tollgate-quota-remaining"), 1, "{id}");
    }
    send("d").await.refused(429, "rate_limit_exceeded");
}

#[tokio::test]
async fn an_answer_from_the_cache_is_charged_once_under_a_key() {
    let provider = Provider::start().await;
    let cached = json!({"cache": {"ttl": "1h"}});
    let gate = Tollgate::before(&provider).class("docs", "0.01", &cached).start().await;
    let path = "/docs/v1/chat/completions";
    let plain = Request::post(path, &chat_body()).bearer(&key_of(DEFAULT_PLAN));
    let made = gate.send(&plain).await.ok();
    let send = |id: &str| keyed_as(DEFAULT_PLAN, path, "k", id, &chat_body());
    let first = gate.send(&send("a")).await.ok();
    assert_eq!(first.header("x-tollgate-cache"), Some("hit"));
    let again = gate.send(&send("b")).await;
    is_a_repeat(&again, "hit");
    assert_eq!((&first.body, &again.body), (&made.body, &made.body));
    assert_eq!(again.header("x-tollgate-route"), first.header("x-tollgate-route"));
    provider.only_call();
    is_recorded(&gate, "a", "ok", 1, "hit").await;
    consumed_nothing(&gate, "b", "hit").await;
}

#[tokio::test]
async fn an_answer_outlives_a_restart() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).start().await;
    let first = gate.send(&keyed("k", "a", &chat_body())).await.ok();
    let gate = gate.restart().await;
    let again = gate.send(&keyed("k", "b", &chat_body())).await;
    is_a_repeat(&again, "hit");
    assert_eq!(again.body, first.body);
    gate.send(&keyed("k", "c", &other_body())).await.refused(409, "idempotency_conflict");
    provider.only_call();
}

#[tokio::test]
async fn an_answer_that_a_client_has_outlives_a_kill_and_cannot_be_read_in_the_files() {
    let provider = Provider::start().await;
    let mut gate = Tollgate::before(&provider).spawn().await;
    for round in 0..5 {
        let body = if round % 2 == 0 { chat_body() } else { stream_body() };
        let key = format!("secret-name-{round}");
        let first = gate.send(&keyed(&key, &format!("a{round}"), &body)).await.ok();
        gate = within("a restart", gate.kill_and_restart()).await;
        let again = gate.send(&keyed(&key, &format!("b{round}"), &body)).await;
        is_a_repeat(&again, "hit");
        assert_eq!(again.body, first.body);
        assert_eq!(provider.calls().len(), round + 1);
        is_recorded(&gate, &format!("a{round}"), "ok", 1, "bypass").await;
        consumed_nothing(&gate, &format!("b{round}"), "hit").await;
    }
    gate.kill();
    let data = gate.file().with_file_name("data");
    let mut files = 0;
    every_file(&data, &mut |path, bytes| {
        files += 1;
        for planted in ["chatcmpl-mock", "Say hello.", "secret-name"] {
            let found = memchr::memmem::find(bytes, planted.as_bytes());
            assert_eq!(found, None, "{planted} stands in {}", path.display());
        }
    });
    assert!(files > 3, "only {files} files in {}", data.display());
}

fn every_file(folder: &Path, each: &mut impl FnMut(&Path, &[u8])) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => every_file(&path, each),
            false => each(&path, &std::fs::read(&path).unwrap()),
        }
    }
}
