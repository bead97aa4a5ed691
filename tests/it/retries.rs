//! What is tried again, and how often. Covers E5.

use serde_json::json;

use crate::harness::openai;
use crate::harness::provider::Provider;
use crate::harness::reply::Reply;
use crate::harness::setup::Tollgate;

#[tokio::test]
async fn a_failure_before_the_first_byte_is_tried_again() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).set("routing.retries", 2).start().await;
    for (number, reply) in [Reply::error(503, "theirs"), Reply::reset()].into_iter().enumerate() {
        let before = provider.calls().len();
        provider.next(reply);
        let id = format!("try-{number}");
        gate.send(&gate.chat().header("x-request-id", &id)).await.ok();
        let calls = provider.calls();
        assert!(calls.len() >= before + 2);
        assert_eq!(calls[before].body, calls[before + 1].body);
        let record = gate.record_of(&id).await;
        assert_eq!((&record["outcome"], &record["quantity"]), (&json!("ok"), &json!(1)));
        assert_eq!(record["attempts"], json!(calls.len() - before));
    }
}

#[tokio::test]
async fn retries_come_to_an_end() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).set("routing.retries", 2).start().await;
    provider.answer(|_| Reply::error(503, "theirs"));
    let answer = gate.send(&gate.chat()).await;
    assert_eq!(answer.status(), 503);
    assert_eq!(provider.calls().len(), 3);
    let record = gate.only_record().await;
    assert_eq!((&record["attempts"], &record["quantity"]), (&json!(3), &json!(0)));
}

#[tokio::test]
async fn a_provider_that_refuses_stream_options_is_asked_once_without() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).start().await;
    provider.answer(|call| {
        if call.json().get("stream_options").is_some() {
            return Reply::json(
                400,
                &json!({"error": {
                    "message": "Unrecognized request argument supplied: stream_options",
                    "type": "invalid_request_error", "param": null, "code": null,
                }}),
            );
        }
        Reply::events(openai::chat_events("gpt-4o-mini", false))
    });
    let answer = gate.send(&gate.stream()).await.ok();
    assert_eq!(answer.events(), openai::chat_events("gpt-4o-mini", false));
    assert_eq!(provider.calls().len(), 2);
    gate.send(&gate.stream()).await.ok();
    assert_eq!(provider.calls().len(), 3, "what was learned is kept");
    for record in gate.records().await {
        assert_eq!((&record["estimated"], &record["status"]), (&json!(true), &json!(200)));
    }
}
