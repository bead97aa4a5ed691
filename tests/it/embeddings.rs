//! Embeddings: one call for several requests, and one entry of the cache for each
//! input. Covers E2, B3, D1 and invariants 2 and 4.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::client::{Answer, Connection, Request};
use crate::harness::gate::Gate;
use crate::harness::gateway::Gateway;
use crate::harness::provider::{Call, Provider};
use crate::harness::reply::Reply;
use crate::harness::setup::{DEFAULT_PLAN, Setup, Tollgate, key_of};

mod faults;
mod sums;

const HELD: &str = "tollgate_inflight{scope=\"held\"}";
/// Dollars for a million tokens of the model, as `priced` has it.
const PRICE: &str = "0.02";

/// A gateway with one priced model and a class `docs` that is cached for an hour.
fn priced(provider: &Provider) -> Setup {
    let models = json!([{
        "name": "embed", "targets": [{"provider": "mock", "model": "embed-1"}], "cost": {"input": PRICE},
    }]);
    Tollgate::before(provider)
        .models(&models)
        .class("docs", "0.01", &json!({"cache": {"ttl": "1h"}}))
        .set("routing.retries", 0)
}

/// The inputs of a call: texts, or arrays of tokens.
fn inputs(body: &Value) -> Vec<Value> {
    match &body["input"] {
        Value::Array(all) if !all.iter().all(Value::is_u64) => all.clone(),
        one => vec![one.clone()],
    }
}

/// The tokens of an input, for the provider: its characters, or its tokens.
fn tokens(input: &Value) -> u64 {
    let length = input.as_str().map_or_else(|| input.as_array().map_or(0, Vec::len), str::len);
    u64::try_from(length).unwrap()
}

/// The vector of an input, spelt in a way that no parser would write again.
fn vector(input: &Value, base64: bool) -> String {
    let sum = input.to_string().bytes().fold(7_u64, |sum, byte| sum * 31 % 9_973 + u64::from(byte));
    if base64 { format!("\"A{sum}==\"") } else { format!("[0.{sum}0, -1.50E+0,{sum}]") }
}

/// What the provider says to `body`, of which it answers the first `most` inputs.
fn said(body: &Value, most: usize) -> Reply {
    Reply::json_text(200, said_text(body, most))
}

fn said_text(body: &Value, most: usize) -> String {
    let all = inputs(body);
    let base64 = body["encoding_format"] == "base64";
    let entry = |(index, input): (usize, &Value)| {
        let vector = vector(input, base64);
        format!(r#"{{"object": "embedding","index":{index},"embedding":{vector}}}"#)
    };
    // The order of the entries is not that of the inputs.
    let mut data: Vec<String> = all.iter().enumerate().take(most).map(entry).collect();
    data.reverse();
    let used: u64 = all.iter().map(tokens).sum();
    let usage = format!(r#"{{"prompt_tokens":{used},"total_tokens":{used}}}"#);
    let (data, model) = (data.join(","), &body["model"]);
    format!(r#"{{"object":"list","data":[{data}],"model":{model},"usage":{usage}}}"#)
}

fn honest(call: &Call) -> Reply {
    said(&call.json(), usize::MAX)
}

fn body(input: &Value) -> Value {
    json!({"model": "embed", "input": input})
}

fn ask_as(plan: &str, class: &str, body: &Value) -> Request {
    Request::post(&format!("{class}/v1/embeddings"), body).bearer(&key_of(plan))
}

fn ask(input: &Value) -> Request {
    ask_as(DEFAULT_PLAN, "", &body(input))
}

/// That `answer` holds the vectors of `input`, in order, as the provider spelt them.
#[track_caller]
fn holds(answer: &Answer, input: &Value, result: &str) {
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert_eq!(answer.header("x-tollgate-cache"), Some(result), "{}", answer.text());
    let (json, text) = (answer.json(), answer.text());
    let all = inputs(&json!({"input": input}));
    let mut data = json["data"].as_array().unwrap().clone();
    data.sort_by_key(|entry| entry["index"].as_u64());
    assert_eq!(data.len(), all.len(), "{text}");
    for (index, (entry, input)) in data.iter().zip(&all).enumerate() {
        assert_eq!((&entry["index"], &entry["object"]), (&json!(index), &json!("embedding")));
        let spelt = vector(input, entry["embedding"].is_string());
        assert!(text.contains(&spelt), "{spelt} is not in {text}");
        assert_eq!(entry["embedding"], serde_json::from_str::<Value>(&spelt).unwrap(), "{text}");
    }
}

/// A gateway whose provider waits at a gate in its first call, and requests that
/// are held behind it.
struct Scene {
    provider: Provider,
    gate: Gateway,
    running: Gate,
    waiting: Vec<Connection>,
}

impl Scene {
    async fn begin(setup: impl FnOnce(Setup) -> Setup) -> Self {
        let provider = Provider::start().await;
        provider.answer(honest);
        let gate = setup(priced(&provider)).start().await;
        let running = Gate::closed();
        provider.next(said(&body(&json!("first")), usize::MAX).after(&running));
        let mut scene = Self { provider, gate, running, waiting: Vec::new() };
        scene.come(&ask(&json!("first"))).await;
        scene.provider.wait_for_calls(1).await;
        scene
    }

    /// Sends a request, and waits for no answer.
    async fn come(&mut self, request: &Request) {
        self.waiting.push(self.gate.open(request).await);
    }

    /// Sends a request that is to be held.
    async fn hold(&mut self, request: &Request, count: u64) {
        self.come(request).await;
        self.gate.wait_for_metric(HELD, count).await;
    }

    /// Lets the first call end, and gives the answers of all.
    async fn end(&mut self) -> Vec<Answer> {
        std::mem::replace(&mut self.running, Gate::closed()).open();
        let mut answers = Vec::new();
        for connection in &mut self.waiting {
            answers.push(connection.answer().await);
        }
        answers
    }

    /// The inputs of every call so far.
    fn calls(&self) -> Vec<Value> {
        self.provider.calls().iter().map(|call| call.json()["input"].clone()).collect()
    }
}

#[tokio::test]
async fn what_comes_while_a_call_runs_goes_as_one_behind_it() {
    let mut scene = Scene::begin(|setup| setup).await;
    let asked = [json!("one"), json!(["two", "three"]), json!(["fünf \"5\""])];
    for (input, count) in asked.iter().zip(1..) {
        scene.hold(&ask(input), count).await;
    }
    let answers = scene.end().await;
    holds(&answers[0], &json!("first"), "bypass");
    for (answer, input) in answers[1..].iter().zip(&asked) {
        holds(answer, input, "batched");
        assert_eq!(answer.header("x-tollgate-price-usd"), Some("0.02"));
        let used: u64 = inputs(&json!({"input": input})).iter().map(tokens).sum();
        let usage = answer.json()["usage"]["prompt_tokens"].as_u64().unwrap();
        assert!(usage.abs_diff(used) <= used, "{usage} of {used}");
    }
    let joint = json!(["one", "two", "three", "fünf \"5\""]);
    assert_eq!(scene.calls(), [json!("first"), joint]);
    assert!(scene.provider.calls().iter().all(|call| call.json()["model"] == "embed-1"));
    let records = scene.gate.records().await;
    assert_eq!(records.len(), 4);
    sums::add_up(&scene.provider, &records);
    let attempts: u64 = records.iter().filter_map(|record| record["attempts"].as_u64()).sum();
    assert_eq!(attempts, 2);
    let batched = records.iter().filter(|record| record["cache"] == "batched");
    assert!(batched.clone().all(|record| record["price"] == "0.02" && record["quantity"] == 1));
    assert_eq!(batched.count(), 3);
}

#[tokio::test]
async fn nothing_is_held_while_nothing_runs_and_bytes_pass_unchanged() {
    let provider = Provider::start().await;
    provider.answer(honest);
    let gate = priced(&provider).start().await;
    for (input, calls) in
        [(r#""alone""#, 1), (r#"["a" , "b"]"#, 2), ("[1, 2]", 3), ("[[1],[ 2]]", 4)]
    {
        let text = |model: &str| format!(r#"{{ "input" : {input},"model":"{model}" , "x":1.0}}"#);
        let key = key_of(DEFAULT_PLAN);
        let answer =
            gate.send(&Request::post_text("/v1/embeddings", text("embed")).bearer(&key)).await;
        let input: Value = serde_json::from_str(input).unwrap();
        holds(&answer, &input, "bypass");
        let call = provider.calls().pop().unwrap();
        assert_eq!((provider.calls().len(), call.body), (calls, text("embed-1").into()));
        // The model's public name alone is another one than the provider's.
        assert_eq!(
            answer.text(),
            said_text(&json!({"model": "embed", "input": input}), usize::MAX)
        );
    }
}

#[tokio::test]
async fn kinds_are_kept_apart() {
    let mut scene =
        Scene::begin(|setup| setup.plan(DEFAULT_PLAN, |plan| plan).plan("other", |plan| plan))
            .await;
    let with = |field: &str, value: Value| {
        let mut body = body(&json!(["x"]));
        body[field] = value;
        ask_as(DEFAULT_PLAN, "", &body)
    };
    // Each is the first of its kind, so it goes at once.
    for (request, calls) in [
        (ask_as("other", "", &body(&json!(["x"]))), 2),
        (ask_as(DEFAULT_PLAN, "/docs", &body(&json!(["x"]))), 3),
        (with("dimensions", json!(8)), 4),
        (with("encoding_format", json!("base64")), 5),
        (with("invented", json!(null)), 6),
        (ask(&json!([[1]])), 7),
        (ask(&json!(["x"])).header("openai-beta", "x"), 8),
    ] {
        scene.come(&request).await;
        scene.provider.wait_for_calls(calls).await;
    }
    // What cannot change an answer is no part of it.
    scene.hold(&with("user", json!("u")), 1).await;
    scene.hold(&with("metadata", json!({"a": "b"})), 2).await;
    scene.end().await;
    assert_eq!(scene.calls().last(), Some(&json!(["x", "x"])));
    assert_eq!(scene.calls().len(), 9);
}

#[tokio::test]
async fn base64_and_tokens_are_grouped_too() {
    let mut scene = Scene::begin(|setup| setup).await;
    let encoded = |input: &Value| {
        let mut body = body(input);
        body["encoding_format"] = json!("base64");
        ask_as(DEFAULT_PLAN, "", &body)
    };
    let held = Gate::closed();
    let mut first = body(&json!([5, 6]));
    first["encoding_format"] = json!("base64");
    scene.provider.next(said(&first, usize::MAX).after(&held));
    scene.come(&encoded(&json!([5, 6]))).await;
    scene.provider.wait_for_calls(2).await;
    scene.hold(&encoded(&json!([7, 8, 9])), 1).await;
    scene.hold(&encoded(&json!([[1], [2, 3]])), 2).await;
    held.open();
    let answers = scene.end().await;
    holds(&answers[2], &json!([7, 8, 9]), "batched");
    holds(&answers[3], &json!([[1], [2, 3]]), "batched");
    assert_eq!(scene.calls()[2], json!([[7, 8, 9], [1], [2, 3]]));
}

#[tokio::test]
async fn off_every_request_is_a_call() {
    let mut scene = Scene::begin(|setup| setup.set("batching.embeddings", false)).await;
    for calls in 2..4 {
        scene.come(&ask(&json!("one"))).await;
        scene.provider.wait_for_calls(calls).await;
    }
    for answer in scene.end().await {
        assert_eq!(answer.header("x-tollgate-cache"), Some("bypass"));
    }
}

#[tokio::test]
async fn an_array_fetches_only_what_is_missing() {
    let provider = Provider::start().await;
    provider.answer(honest);
    let gate = priced(&provider).start().await;
    let docs = |input: &Value| ask_as(DEFAULT_PLAN, "/docs", &body(input));
    let send = async |input: Value, result: &str| {
        let answer = gate.send(&docs(&input)).await;
        holds(&answer, &input, result);
        answer
    };
    send(json!(["a", "bb"]), "miss").await;
    gate.clock().advance(Duration::from_secs(20));
    send(json!("ccc"), "miss").await;
    gate.clock().advance(Duration::from_secs(30));
    let mixed = send(json!(["bb", "dddd", "ccc", "a"]), "miss").await;
    assert_eq!(mixed.json()["usage"], json!({"prompt_tokens": 10, "total_tokens": 10}));
    let hit = send(json!(["dddd", "ccc", "a", "a"]), "hit").await;
    assert_eq!(hit.number("age"), 50);
    // Counted here, `a` and `bb` are a token each: of the three they are two and one.
    assert_eq!(hit.json()["usage"]["total_tokens"], 4 + 3 + 2 + 2);
    let hit = send(json!("ccc"), "hit").await;
    assert_eq!(hit.number("age"), 30);
    send(json!(["bb"]), "hit").await;
    let asked: Vec<Value> =
        provider.calls().iter().map(|call| call.json()["input"].clone()).collect();
    assert_eq!(asked, [json!(["a", "bb"]), json!("ccc"), json!(["dddd"])]);
    let records = gate.records().await;
    sums::add_up(&provider, &records);
    let old = docs(&json!(["dddd", "a"])).header("cache-control", "max-age=40");
    holds(&gate.send(&old).await, &json!(["dddd", "a"]), "miss");
    assert_eq!(provider.calls()[3].json()["input"], json!(["a"]));
}

#[tokio::test]
async fn what_a_group_brought_is_kept_and_crosses_accounts_only_where_it_is_shared() {
    let open = json!({"cache": {"ttl": "1h", "scope": "shared"}});
    let mut scene = Scene::begin(|setup| {
        setup
            .class("open", "0.01", &open)
            .plan(DEFAULT_PLAN, |plan| plan)
            .plan("other", |plan| plan)
    })
    .await;
    scene.end().await;
    for class in ["/docs", "/open"] {
        scene.waiting.clear();
        let held = Gate::closed();
        let calls = scene.provider.calls().len();
        scene.provider.next(said(&body(&json!("z")), usize::MAX).after(&held));
        let from = |plan, input: Value| ask_as(plan, class, &body(&input));
        scene.come(&from(DEFAULT_PLAN, json!("z"))).await;
        scene.provider.wait_for_calls(calls + 1).await;
        // Another account's request is no part of the group.
        scene.come(&from("other", json!("y"))).await;
        scene.provider.wait_for_calls(calls + 2).await;
        scene.hold(&from(DEFAULT_PLAN, json!(["one", "two"])), 1).await;
        scene.hold(&from(DEFAULT_PLAN, json!("three")), 2).await;
        held.open();
        scene.end().await;
        let again = scene.gate.send(&from(DEFAULT_PLAN, json!(["three", "one"]))).await;
        holds(&again, &json!(["three", "one"]), "hit");
        let result = if class == "/open" { "hit" } else { "miss" };
        let others = scene.gate.send(&from("other", json!(["one", "three"]))).await;
        holds(&others, &json!(["one", "three"]), result);
    }
}
