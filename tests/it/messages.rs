//! Anthropic's Messages before a provider that speaks them: passed byte for byte,
//! metered, kept and shared as chats are. Covers E4, J1, B1, D2, I4.

mod across;
mod kept;
mod models;

mod refusals;
mod sdk;

use serde_json::{Value, json};

use crate::harness::anthropic::{self, INPUT, OUTPUT, READ, TEXT, WRITTEN};
use crate::harness::client::Request;
use crate::harness::gate::Gate;
use crate::harness::provider::Provider;
use crate::harness::setup::{DEFAULT_PLAN, PROVIDER_KEY, Setup, Tollgate, key_of};

pub(crate) const MODEL: &str = "claude-sonnet";

/// Odd order, odd spacing, unknown fields, escapes, numbers that no float holds.
const ODD: &str = "{ \"messages\" : [\t{\"content\":[{\"type\":\"text\", \"text\":\"Gr\\u00fc\\u00df \\/\",\
    \"cache_control\" :{\"type\":\"ephemeral\"}}],\r\n \"role\":\"user\"} ],\n \"max_tokens\":  64,\
    \"unknown\":{\"b\":1234567890123456789012.10,\"z\":-0.0}, \"model\"  :  \"claude-sonnet\",\"temperature\":0.10}\n ";

/// 12 × $3.00 + 4 × $0.30 + 3 × $3.75 + 7 × $15.00 per million.
const COST: &str = "0.00015345";

/// A gateway before a provider that speaks as Anthropic does.
pub(crate) fn before(provider: &Provider) -> Setup {
    provider.answer(anthropic::answer);
    Tollgate::before(provider).provider("dialect", "anthropic").set("routing.retries", 0).models(
        &json!([{
            "name": MODEL, "targets": [{"provider": "mock"}],
            "cost": {"input": "3.00", "cached_input": "0.30", "cache_write": "3.75", "output": "15.00"},
        }]),
    )
}

pub(crate) fn body() -> Value {
    json!({"model": MODEL, "max_tokens": 64, "messages": [{"role": "user", "content": "Say hello."}]})
}

pub(crate) fn stream_body() -> Value {
    let mut body = body();
    body["stream"] = true.into();
    body
}

/// A request as the official SDK sends it.
pub(crate) fn post(path: &str, body: &Value) -> Request {
    post_text(path, &body.to_string())
}

pub(crate) fn post_text(path: &str, body: &str) -> Request {
    Request::post_text(path, body.to_owned())
        .header("x-api-key", &key_of(DEFAULT_PLAN))
        .header("anthropic-version", "2023-06-01")
}

#[tokio::test]
async fn a_request_and_its_answers_pass_byte_for_byte() {
    let provider = Provider::start().await;
    let gate = before(&provider).start().await;
    let answer = gate.send(&post_text("/v1/messages", ODD)).await.ok();
    let call = provider.only_call();
    assert_eq!(call.body, ODD);
    assert_eq!(call.path(), "/v1/messages");
    assert_eq!(answer.text(), anthropic::message(&body()).to_string());

    let answer = gate.send(&post("/v1/messages?beta=true", &stream_body())).await.ok();
    let sent: String = anthropic::message_events(&body()).iter().map(anthropic::written).collect();
    assert_eq!(answer.text(), sent);
    assert_eq!(answer.header("content-type"), Some("text/event-stream"));
    assert_eq!(provider.calls()[1].path(), "/v1/messages?beta=true");
    assert_eq!(provider.calls()[1].json(), stream_body());
}

#[tokio::test]
async fn the_name_of_the_model_is_replaced_where_it_stands() {
    let provider = Provider::start().await;
    let models = json!([{"name": MODEL, "targets": [{"provider": "mock", "model": "claude-4-5"}]}]);
    let gate = before(&provider).models(&models).start().await;
    gate.send(&post_text("/v1/messages", ODD)).await.ok();
    let expected = ODD.replace("\"claude-sonnet\"", "\"claude-4-5\"");
    assert_eq!(provider.only_call().body, expected);
}

#[tokio::test]
async fn the_providers_key_stands_where_it_is_looked_for_and_keys_never_cross() {
    let provider = Provider::start().await;
    let gate = before(&provider).start().await;
    let named = post("/v1/messages", &body()).header("anthropic-beta", "a-beta");
    let unnamed = Request::post("/v1/messages", &body()).bearer(&key_of(DEFAULT_PLAN));
    let newer = Request::post("/v1/messages", &body())
        .bearer(&key_of(DEFAULT_PLAN))
        .header("anthropic-version", "2099-01-01");
    for (request, version) in
        [(named, "2023-06-01"), (unnamed, "2023-06-01"), (newer, "2099-01-01")]
    {
        let mut connection = gate.open(&request).await;
        connection.answer().await.ok();
        let wire = String::from_utf8_lossy(&connection.take_wire()).into_owned();
        assert!(!wire.contains(PROVIDER_KEY), "the provider's key came down");
        let call = provider.calls().pop().unwrap();
        assert_eq!(call.header("x-api-key"), Some(PROVIDER_KEY));
        assert_eq!(call.header("authorization"), None);
        let versions = call.head.headers.iter().filter(|(name, _)| name == "anthropic-version");
        assert_eq!(versions.map(|(_, value)| value.as_str()).collect::<Vec<_>>(), [version]);
        let wire = String::from_utf8_lossy(&call.wire).into_owned();
        assert!(!wire.contains(&key_of(DEFAULT_PLAN)), "the client's key went up");
    }
    assert_eq!(provider.calls()[0].header("anthropic-beta"), Some("a-beta"));
}

#[tokio::test]
async fn both_forms_are_metered_at_the_providers_figures() {
    let provider = Provider::start().await;
    let gate = before(&provider).start().await;
    for body in [body(), stream_body()] {
        gate.send(&post("/v1/messages", &body)).await.ok();
    }
    let records = gate.records().await;
    assert_eq!(records.len(), 2);
    for record in records {
        let tokens = json!({"input": INPUT, "cached_input": READ, "output": OUTPUT,
            "reasoning": 0, "cache_write": WRITTEN});
        assert_eq!(record["tokens"], tokens, "{record}");
        assert_eq!((&record["cost"], &record["estimated"]), (&json!(COST), &json!(false)));
        assert_eq!((&record["outcome"], &record["path"]), (&json!("ok"), &json!("/v1/messages")));
        assert_eq!((&record["price"], &record["quantity"]), (&json!("0.02"), &json!(1)));
    }
}

#[tokio::test]
async fn a_stream_that_breaks_off_costs_what_was_produced() {
    let provider = Provider::start().await;
    let gate = before(&provider).start().await;
    let events = anthropic::message_events(&body());
    let cut = anthropic::stream(events[..5].to_vec()).then(crate::harness::reply::Step::Close);
    let length: usize = events[..5].iter().map(|event| anthropic::written(event).len()).sum();
    provider.next(cut.cut_after(length));
    let mut connection = gate.open(&post("/v1/messages", &stream_body())).await;
    connection.head().await;
    while let Ok(Some(_)) = connection.event().await {}
    let record = gate.wait_for_records(1).await.remove(0);
    assert_eq!((&record["outcome"], &record["quantity"]), (&json!("cut"), &json!(0)), "{record}");
    assert_eq!(record["tokens"]["input"], INPUT, "{record}");
    assert_eq!(record["estimated"], true, "{record}");
    assert!(record["tokens"]["output"].as_u64() > Some(0), "{record}");
}

#[tokio::test]
async fn an_error_within_a_stream_is_passed_on_and_not_charged() {
    let provider = Provider::start().await;
    let gate = before(&provider).start().await;
    let mut events = anthropic::message_events(&body())[..4].to_vec();
    events.push(
        json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}),
    );
    provider.next(anthropic::stream(events.clone()));
    let answer = gate.send(&post("/v1/messages", &stream_body())).await;
    let sent: String = events.iter().map(anthropic::written).collect();
    assert_eq!(answer.text(), sent);
    let record = gate.only_record().await;
    assert_eq!((&record["outcome"], &record["price"]), (&json!("cut"), &json!("0")), "{record}");
}

/// The client gets each event before the next is sent.
#[tokio::test]
async fn events_are_neither_held_back_nor_merged() {
    let provider = Provider::start().await;
    let gate = before(&provider).start().await;
    let held = Gate::closed();
    let events = anthropic::message_events(&body());
    let reply = events.iter().fold(crate::harness::reply::Reply::stream(), |reply, event| {
        reply.wait(&held).chunk(anthropic::written(event))
    });
    provider.next(reply);
    let mut connection = gate.open(&post("/v1/messages", &stream_body())).await;
    connection.head().await;
    for event in &events {
        held.release();
        assert_eq!(connection.event_data().await, anthropic::written(event).trim_end());
    }
    assert_eq!(connection.event().await.unwrap(), None);
}

#[tokio::test]
async fn counting_tokens_is_free_and_takes_no_place_in_the_month() {
    let provider = Provider::start().await;
    let setup = before(&provider);
    let gate = setup
        .plan(DEFAULT_PLAN, |plan| plan.set("requests_per_month", 1).per_minute(100))
        .start()
        .await;
    let mut body = body();
    body.as_object_mut().unwrap().remove("max_tokens");
    for _ in 0..3 {
        let answer = gate.send(&post("/v1/messages/count_tokens", &body)).await.ok();
        assert_eq!(answer.json(), json!({"input_tokens": anthropic::COUNT}));
        assert_eq!(answer.header("x-tollgate-price-usd"), Some("0"));
    }
    assert_eq!(provider.calls()[0].path(), "/v1/messages/count_tokens");
    for record in gate.wait_for_records(3).await {
        assert_eq!(
            (&record["outcome"], &record["quantity"]),
            (&json!("ok"), &json!(0)),
            "{record}"
        );
        assert_eq!((&record["price"], &record["cost"]), (&json!("0"), &json!("0")), "{record}");
        assert_eq!(record["tokens"]["input"], 0, "{record}");
    }
    // The month's only place is still there; with that taken, tokens are counted all the same.
    gate.send(&post("/v1/messages", &self::body())).await.ok();
    let refused = gate.send(&post("/v1/messages", &self::body())).await;
    assert_eq!(refused.status(), 429);
    gate.send(&post("/v1/messages/count_tokens", &body)).await.ok();
}

#[tokio::test]
async fn a_class_limits_the_answer_by_max_tokens() {
    let provider = Provider::start().await;
    let setup = before(&provider);
    let gate = setup.class("short", "0.01", &json!({"max_output_tokens": 10})).start().await;
    let answer = gate.send(&post("/short/v1/messages", &body())).await.ok();
    assert_eq!(provider.only_call().json()["max_tokens"], 10);
    assert_eq!(answer.json()["content"][0]["text"], TEXT);
    assert_eq!(answer.header("x-tollgate-class"), Some("short"));
}
