//! What is tried again, and how often. Covers E5.

use std::time::Duration;

use serde_json::json;

use crate::harness::gateway::Gateway;
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

/// A gateway whose model runs at `first`, and at `second` if that fails.
async fn between(first: &Provider, second: &Provider, retries: u32) -> Gateway {
    let spare = json!({
        "name": "spare", "dialect": "openai", "base_url": second.url(), "api_key": "sk-spare-key",
    });
    let targets = json!([{"provider": "mock"}, {"provider": "spare", "model": "its-own-name"}]);
    Tollgate::before(first)
        .another_provider(spare)
        .models(&json!([{"name": "gpt-4o-mini", "tier": "simple", "targets": targets}]))
        .set("routing.retries", retries)
        .start()
        .await
}

#[tokio::test]
async fn the_next_target_answers_where_the_first_fails() {
    let (first, second) = (Provider::start().await, Provider::start().await);
    let gate = between(&first, &second, 1).await;
    let failures = [
        Reply::error(503, "theirs"),
        Reply::reset(),
        Reply::error(429, "slow down").header("retry-after", "60"),
    ];
    for (number, reply) in failures.into_iter().enumerate() {
        for request in [gate.chat(), gate.stream()] {
            first.next(reply.clone());
            let id = format!("over-{number}-{}", second.calls().len());
            let answer = gate.send(&request.header("x-request-id", &id)).await.ok();
            assert_eq!(
                answer.header("x-tollgate-route"),
                Some("simple;gpt-4o-mini;spare;exact+failover"),
                "{number}"
            );
            let record = gate.record_of(&id).await;
            let said = (&record["provider"], &record["outcome"], &record["attempts"]);
            assert_eq!(said, (&json!("spare"), &json!("ok"), &json!(2)));
            // What was limited may be asked again.
            gate.clock().advance(Duration::from_secs(60));
        }
    }
    let calls = second.calls();
    assert_eq!(calls.len(), 6);
    assert!(calls.iter().all(|call| call.json()["model"] == "its-own-name"));
    assert_eq!(calls[0].header("authorization"), Some("Bearer sk-spare-key"));
    // The first is asked first again.
    gate.send(&gate.chat()).await.ok();
    assert_eq!(second.calls().len(), 6);
}

#[tokio::test]
async fn nothing_is_tried_again_once_a_byte_has_come() {
    let (first, second) = (Provider::start().await, Provider::start().await);
    let gate = between(&first, &second, 2).await;
    let events = openai::chat_events("gpt-4o-mini", true);
    first.next(Reply::events(&events).cut_after(events[0].len() + 8));
    let mut connection = gate.open(&gate.stream()).await;
    assert_eq!(connection.head().await.status(), 200);
    connection.event_data().await;
    assert!(connection.event().await.is_err());
    assert!(second.calls().is_empty());
}

/// One customer's mistake must not cost the others their figures.
#[tokio::test]
async fn a_refusal_of_a_clients_own_options_teaches_nothing() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).start().await;
    provider.answer(|call| match call.json()["stream_options"].get("bogus") {
        Some(_) => Reply::error(400, "Unknown parameter: 'stream_options.bogus'."),
        None => Reply::events(openai::chat_events("gpt-4o-mini", true)),
    });
    let body =
        r#"{"model":"gpt-4o-mini","stream":true,"stream_options":{"bogus":1},"messages":[]}"#;
    assert_eq!(gate.send(&gate.chat_text(body)).await.status(), 400);
    gate.send(&gate.stream().header("x-request-id", "after")).await.ok();
    let asked = provider.calls().pop().unwrap().json();
    assert_eq!(asked["stream_options"], json!({"include_usage": true}));
    assert_eq!(gate.record_of("after").await["estimated"], json!(false));
}
