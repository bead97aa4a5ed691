//! Requests that want samples of their own of one prompt are one call. Covers B3, E2
//! and invariants 2 and 4.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::client::{Answer, Connection, Request};
use crate::harness::door::chat_body;
use crate::harness::gate::Gate;
use crate::harness::gateway::Gateway;
use crate::harness::provider::{Call, Provider};
use crate::harness::reply::Reply;
use crate::harness::setup::{Setup, Tollgate, key_of};

mod faults;
mod mixes;
mod streams;
mod sums;

const WAITING: &str = "tollgate_inflight{scope=\"window\"}";
const WINDOW: Duration = Duration::from_millis(100);

/// A provider that makes up to four samples in a call, and a class whose requests
/// want their own.
fn sampling(provider: &Provider) -> Setup {
    provider.answer(honest);
    Tollgate::before(provider)
        .provider("n_max", 4)
        .set("routing.retries", 0)
        .class("own", "0.01", &json!({"samples": "distinct"}))
        .plan("shop", |plan| plan)
        .plan("other", |plan| plan)
}

/// How many answers a call asks for.
fn count(body: &Value) -> u64 {
    body["n"].as_u64().unwrap_or(1)
}

/// The text of the choice with this number: the further, the longer.
fn text(number: u64) -> String {
    format!("Sample {number}{}", " and more".repeat(usize::try_from(number).unwrap() * 2))
}

/// What the provider says that a call has used: its prompt once, and answers.
fn usage(body: &Value) -> Value {
    let prompt = body["messages"][0]["content"].as_str().map_or(0, str::len) as u64;
    let output = 5 * count(body) + 2;
    json!({
        "prompt_tokens": prompt, "completion_tokens": output, "total_tokens": prompt + output,
        "prompt_tokens_details": {"cached_tokens": prompt / 3},
        "completion_tokens_details": {"reasoning_tokens": count(body)},
    })
}

/// The answer to `body`, of which it makes the choices that `makes` says.
fn said(body: &Value, makes: impl Fn(u64) -> bool) -> Value {
    let choice = |number| {
        let message = json!({"role": "assistant", "content": text(number)});
        json!({"index": number, "message": message, "finish_reason": "stop"})
    };
    // Their order is not that of their numbers.
    let choices: Vec<Value> =
        (0..count(body)).rev().filter(|one| makes(*one)).map(choice).collect();
    json!({
        "id": "chatcmpl-7", "object": "chat.completion", "created": 1_700_000_000,
        "model": body["model"], "choices": choices, "usage": usage(body),
    })
}

/// Answers every call with all that it asks for.
pub(crate) fn honest(call: &Call) -> Reply {
    let body = call.json();
    match body["stream"] == true {
        true => Reply::events(streams::events(&body, |_| true)),
        false => Reply::json(200, &said(&body, |_| true)),
    }
}

fn ask_as(plan: &str, body: &Value) -> Request {
    Request::post("/own/v1/chat/completions", body).bearer(&key_of(plan))
}

fn ask(body: &Value) -> Request {
    ask_as("shop", body)
}

/// A gateway, and requests that have come to it.
struct Scene {
    provider: Provider,
    gate: Gateway,
    coming: Vec<Connection>,
}

impl Scene {
    async fn begin(setup: impl FnOnce(Setup) -> Setup) -> Self {
        let provider = Provider::start().await;
        let gate = setup(sampling(&provider)).start().await;
        Self { provider, gate, coming: Vec::new() }
    }

    /// Sends a request, and waits for no answer.
    async fn come(&mut self, request: &Request) {
        self.coming.push(self.gate.open(request).await);
    }

    /// Sends a request that waits for others, as the last of so many.
    async fn wait(&mut self, request: &Request, count: u64) {
        self.come(request).await;
        self.gate.wait_for_metric(WAITING, count).await;
    }

    /// Lets so many equal requests wait for each other.
    async fn gather(&mut self, request: &Request, count: u64) {
        for number in 1..=count {
            self.wait(request, number).await;
        }
    }

    /// Closes the windows.
    fn close(&self) {
        self.gate.clock().advance(WINDOW);
    }

    /// The answers of all that have come.
    async fn answers(&mut self) -> Vec<Answer> {
        let mut answers = Vec::new();
        for connection in &mut self.coming {
            answers.push(connection.answer().await);
        }
        self.coming.clear();
        answers
    }

    /// How many answers each call so far asks for.
    fn counts(&self) -> Vec<u64> {
        self.provider.calls().iter().map(|call| count(&call.json())).collect()
    }
}

/// That `answer` is a whole one with the choice of this number as its only one.
#[track_caller]
fn holds(answer: &Answer, number: u64, result: &str) {
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert_eq!(answer.header("x-tollgate-cache"), Some(result), "{}", answer.text());
    let json = answer.json();
    let choices = json["choices"].as_array().unwrap();
    assert_eq!(choices.len(), 1, "{json}");
    assert_eq!((&choices[0]["index"], &choices[0]["finish_reason"]), (&json!(0), &json!("stop")));
    assert_eq!(choices[0]["message"]["content"], text(number), "{json}");
    assert_eq!(
        (&json["object"], &json["created"]),
        (&json!("chat.completion"), &json!(1_700_000_000))
    );
}

#[tokio::test]
async fn what_comes_within_a_window_is_one_call_dealt_out() {
    let mut scene = Scene::begin(|setup| setup).await;
    scene.gather(&ask(&chat_body()), 3).await;
    assert!(scene.provider.calls().is_empty());
    let held = Gate::closed();
    let mut body = chat_body();
    body["n"] = json!(3);
    scene.provider.next(Reply::json(200, &said(&body, |_| true)).after(&held));
    scene.close();
    let call = scene.provider.wait_for_calls(1).await.remove(0);
    // All that was asked for is as it came.
    let asked = chat_body().to_string().replacen('{', "{\"n\":3,", 1);
    assert_eq!(call.body, asked);
    // One call takes one slot.
    assert_eq!(scene.gate.metric("tollgate_inflight{scope=\"provider\"}").await, 1);
    assert_eq!(scene.gate.metric(WAITING).await, 0);
    held.open();
    let answers = scene.answers().await;
    assert_eq!(scene.counts(), [3]);
    let mut ids = Vec::new();
    let mut outputs = 0;
    for (answer, number) in answers.iter().zip(0..) {
        holds(answer, number, "batched");
        assert_eq!(answer.header("x-tollgate-price-usd"), Some("0.01"));
        let json = answer.json();
        ids.push(json["id"].as_str().unwrap().to_owned());
        let (given, own) = (usage(&body), &json["usage"]);
        for field in ["prompt_tokens", "prompt_tokens_details"] {
            assert_eq!(own[field], given[field], "{json}");
        }
        let own = |field: &str| json["usage"][field].as_u64().unwrap();
        assert_eq!(own("total_tokens"), own("prompt_tokens") + own("completion_tokens"));
        outputs += own("completion_tokens");
    }
    assert_eq!(ids, ["chatcmpl-7", "chatcmpl-7-1", "chatcmpl-7-2"]);
    assert_eq!(outputs, usage(&body)["completion_tokens"].as_u64().unwrap());
    let records = scene.gate.records().await;
    sums::add_up(&scene.provider, &records);
    let attempts: u64 = records.iter().filter_map(|record| record["attempts"].as_u64()).sum();
    assert_eq!((records.len(), attempts), (3, 1));
    let mut own: Vec<u64> =
        records.iter().filter_map(|record| record["tokens"]["output"].as_u64()).collect();
    own.sort_unstable();
    assert!(own[0] < own[2], "who got more has used more: {own:?}");
    for record in &records {
        assert_eq!((&record["cache"], &record["price"]), (&json!("batched"), &json!("0.01")));
        assert_eq!(record["tokens"]["input"], usage(&body)["prompt_tokens"]);
        assert_eq!((&record["quantity"], &record["estimated"]), (&json!(1), &json!(false)));
    }
    // 7 × $0.15 + 3 × $0.075 per million for the prompt, of which a third was paid.
    let saved = scene.gate.admin("/metrics").await.ok().text();
    let line = "tollgate_saved_dollars_total{by=\"batch\"} ";
    let saved = saved.lines().find_map(|it| it.strip_prefix(line)).unwrap();
    let saved: f64 = saved.parse().unwrap();
    assert!((saved - 2.0 * 0.000_001_275).abs() < 1e-12, "{saved}");
}

#[tokio::test]
async fn one_alone_goes_as_it_came_when_its_window_closes() {
    let mut scene = Scene::begin(|setup| setup).await;
    let text = r#"{ "messages": [{"role":"user","content":"x"}],"model":"gpt-4o-mini" , "y":1.0}"#;
    let request = Request::post_text("/own/v1/chat/completions", text).bearer(&key_of("shop"));
    scene.gather(&request, 1).await;
    scene.gate.clock().advance(WINDOW - Duration::from_millis(1));
    // Another window, which shows that the first is open still.
    scene.wait(&ask(&chat_body()), 2).await;
    scene.gate.clock().advance(Duration::from_millis(1));
    let call = scene.provider.wait_for_calls(1).await.remove(0);
    assert_eq!(call.body, text);
    scene.close();
    for answer in scene.answers().await {
        holds(&answer, 0, "bypass");
    }
    assert_eq!(scene.counts(), [1, 1]);
    let again = scene.provider.calls()[1].json();
    assert!(again.get("n").is_none());
}

#[tokio::test]
async fn a_full_window_goes_at_once_and_who_comes_then_waits_anew() {
    let mut scene = Scene::begin(|setup| setup).await;
    scene.gather(&ask(&chat_body()), 3).await;
    scene.come(&ask(&chat_body())).await;
    scene.provider.wait_for_calls(1).await;
    for (answer, number) in scene.answers().await.iter().zip(0..) {
        holds(answer, number, "batched");
    }
    scene.gather(&ask(&chat_body()), 1).await;
    scene.close();
    holds(&scene.answers().await[0], 0, "bypass");
    assert_eq!(scene.counts(), [4, 1]);
}

/// Nothing of these waits: the clock stands.
#[tokio::test]
async fn what_does_not_share_goes_at_once() {
    let mut scene = Scene::begin(|setup| setup).await;
    let with = |field: &str, value: Value| {
        let mut body = chat_body();
        body[field] = value;
        ask(&body)
    };
    let plain = || ask(&chat_body());
    let requests = [
        with("n", json!(2)),
        with("n", json!(1)),
        with("n", json!(null)),
        with("store", json!(true)),
        plain().header("cache-control", "no-store"),
        plain().header("x-tollgate-samples", "shared"),
        plain().header("idempotency-key", "k"),
        Request::post("/v1/chat/completions", &chat_body()).bearer(&key_of("shop")),
    ];
    for (request, calls) in requests.iter().zip(1..) {
        scene.come(request).await;
        scene.provider.wait_for_calls(calls).await;
    }
    let answers = scene.answers().await;
    assert!(answers.iter().all(|answer| answer.header("x-tollgate-cache") == Some("bypass")));
    assert_eq!(answers[0].json()["choices"].as_array().unwrap().len(), 2);
    assert_eq!(scene.gate.metric(WAITING).await, 0);
}

#[tokio::test]
async fn it_is_off_where_the_provider_makes_one_or_the_file_says_so() {
    type Off = fn(Setup) -> Setup;
    let ways: [Off; 3] = [
        |setup| setup.provider("n_max", 1),
        |setup| setup.set("batching.samples", false),
        |setup| setup.set("batching.window", "0s"),
    ];
    for way in ways {
        let mut scene = Scene::begin(way).await;
        for calls in 1..3 {
            scene.come(&ask(&chat_body())).await;
            scene.provider.wait_for_calls(calls).await;
        }
        for answer in scene.answers().await {
            holds(&answer, 0, "bypass");
        }
    }
}

#[tokio::test]
async fn kinds_are_kept_apart_and_nothing_crosses_accounts() {
    let open = json!({"samples": "distinct", "cache": {"ttl": "1h", "scope": "shared"}});
    let mut scene = Scene::begin(|setup| setup.class("open", "0.01", &open)).await;
    let with = |field: &str, value: Value| {
        let mut body = chat_body();
        body[field] = value;
        ask(&body)
    };
    let in_open =
        |plan: &str| Request::post("/open/v1/chat/completions", &chat_body()).bearer(&key_of(plan));
    let asked = |plan: &str| {
        let request = Request::post("/v1/chat/completions", &chat_body()).bearer(&key_of(plan));
        request.header("x-tollgate-samples", "distinct")
    };
    let apart = [
        ask(&chat_body()),
        ask_as("other", &chat_body()),
        in_open("shop"),
        in_open("other"),
        asked("shop"),
        with("temperature", json!(0.5)),
        with("invented", json!({"a": [1]})),
        with("stream", json!(true)),
        ask(&chat_body()).header("openai-beta", "x"),
    ];
    for (request, count) in apart.iter().zip(1..) {
        scene.wait(request, count).await;
    }
    // What cannot change an answer is no part of it.
    scene.wait(&with("user", json!("u")), 10).await;
    scene.wait(&asked("shop"), 11).await;
    scene.close();
    for answer in scene.answers().await {
        answer.ok();
    }
    let mut counts = scene.counts();
    counts.sort_unstable();
    assert_eq!(counts, [1, 1, 1, 1, 1, 1, 1, 2, 2]);
}

/// Samples of one's own are not kept, and not looked up.
#[tokio::test]
async fn samples_are_not_cached() {
    let cached = json!({"samples": "distinct", "cache": {"ttl": "1h"}});
    let mut scene = Scene::begin(|setup| setup.class("kept", "0.01", &cached)).await;
    let request = Request::post("/kept/v1/chat/completions", &chat_body()).bearer(&key_of("shop"));
    for round in 1..3 {
        scene.gather(&request, 2).await;
        scene.close();
        for (answer, number) in scene.answers().await.iter().zip(0..) {
            holds(answer, number, "batched");
        }
        assert_eq!(scene.counts(), vec![2; round]);
    }
}
