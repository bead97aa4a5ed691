//! A provider that fails changes an answer, never a record and never the
//! process. Covers E5 as far as one target goes, and invariants 6 and 7.

use serde_json::{Value, json};

use crate::harness::client::Answer;
use crate::harness::eventually::eventually;
use crate::harness::gateway::Gateway;
use crate::harness::openai;
use crate::harness::provider::{Provider, nowhere};
use crate::harness::reply::{Reply, Step};
use crate::harness::setup::{PROVIDER_KEY, Tollgate};

/// A gateway that gives up after the first attempt.
async fn strict(provider: &Provider) -> Gateway {
    Tollgate::before(provider).set("routing.retries", 0).start().await
}

/// One that also waits no longer than a moment where `clock` of `routing` runs.
async fn impatient(provider: &Provider, clock: &str, moment: &str) -> Gateway {
    Tollgate::before(provider).set("routing.retries", 0).set(clock, moment).start().await
}

/// The record of the request that got this answer; it must not be charged.
async fn uncharged(gate: &Gateway, answer: &Answer, outcome: &str) -> Value {
    let id = answer.header("x-request-id").expect("x-request-id");
    // It is there before the answer's last byte, so nothing is waited for.
    let record = gate.records().await.into_iter().find(|record| record["request_id"] == id);
    let record = record.expect("a record");
    assert_eq!((&record["status"], &record["outcome"]), (&json!(answer.status()), &json!(outcome)));
    assert_eq!((&record["quantity"], &record["price"]), (&json!(0), &json!("0")), "{record}");
    record
}

fn hides_the_provider(answer: &Answer, provider: &Provider) {
    let text = format!("{:?} {}", answer.head, answer.text());
    assert!(!text.contains(PROVIDER_KEY), "{text}");
    assert!(!text.contains(&provider.address().to_string()), "{text}");
}

#[tokio::test]
async fn an_unreachable_provider_is_502() {
    let gate = Tollgate::at(&nowhere().await).set("routing.retries", 1).start().await;
    for request in [gate.chat(), gate.stream()] {
        let answer = gate.send(&request).await;
        answer.refused(502, "upstream_error");
        uncharged(&gate, &answer, "provider_error").await;
    }
}

#[tokio::test]
async fn the_built_in_provider_never_stands_in_for_another() {
    let gate = Tollgate::at(&nowhere().await)
        .another_provider(json!({"name": "sandbox", "dialect": "sandbox"}))
        .models(&json!([
            {"name": "*", "targets": [{"provider": "mock"}, {"provider": "sandbox"}]},
        ]))
        .start()
        .await;
    gate.send(&gate.chat()).await.refused(502, "upstream_error");
}

#[tokio::test]
async fn an_answer_that_breaks_off_before_its_header_ends_is_502() {
    let provider = Provider::start().await;
    let gate = strict(&provider).await;
    let replies = [
        Reply::close(),
        Reply::reset(),
        Reply::raw("HTTP/1.1 200 OK\r\ncontent-le").then(Step::Close),
        Reply::raw("nonsense that is no HTTP\r\n\r\n").then(Step::Close),
        Reply::raw("HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n{}").then(Step::Close),
    ];
    for (number, reply) in replies.into_iter().enumerate() {
        for request in [gate.chat(), gate.stream()] {
            provider.next(reply.clone());
            let answer = gate.send(&request).await;
            assert_eq!(answer.status(), 502, "reply {number}");
            answer.refused(502, "upstream_error");
            hides_the_provider(&answer, &provider);
            uncharged(&gate, &answer, "provider_error").await;
        }
    }
    gate.send(&gate.chat()).await.ok();
}

#[tokio::test]
async fn a_provider_that_says_nothing_is_504() {
    let provider = Provider::start().await;
    let gate = impatient(&provider, "routing.first_byte_timeout", "300ms").await;
    for (count, request) in [(1, gate.chat()), (2, gate.stream())] {
        provider.next(Reply::hang());
        let answer = gate.send(&request).await;
        answer.refused(504, "upstream_timeout");
        uncharged(&gate, &answer, "provider_error").await;
        eventually("the provider to be left", async || {
            (provider.disconnects().len() == count).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_whole_request_has_a_time_out_of_its_own() {
    let provider = Provider::start().await;
    let gate = impatient(&provider, "routing.timeout", "2s").await;
    provider.next(Reply::json_text(200, r#"{"choices":[]}"#).hang_after(4));
    let answer = gate.open(&gate.chat()).await.head().await;
    assert_eq!(answer.status(), 504);
    provider.wait_for_disconnect().await;
}

#[tokio::test]
async fn a_stream_that_stalls_is_cut_and_the_provider_left() {
    let provider = Provider::start().await;
    let gate = impatient(&provider, "routing.chunk_timeout", "2s").await;
    let events = openai::chat_events("gpt-4o-mini", true);
    provider.next(Reply::events(&events).hang_after(events[0].len() + 8));
    let mut connection = gate.open(&gate.stream()).await;
    assert_eq!(connection.head().await.status(), 200);
    connection.event_data().await;
    assert!(connection.event().await.is_err(), "a stalled stream must not look whole");
    provider.wait_for_disconnect().await;
    let record = gate.wait_for_records(1).await.remove(0);
    assert_eq!(record["outcome"], "cut");
}

#[tokio::test]
async fn a_json_answer_that_is_cut_never_looks_whole() {
    let provider = Provider::start().await;
    let gate = strict(&provider).await;
    let body = openai::chat(&json!({"model": "gpt-4o-mini"})).to_string();
    let replies = [
        Reply::json_text(200, body.clone()).cut_after(40),
        Reply::json_text(200, body.clone()).reset_after(40),
        Reply::json_text(200, body.clone()).chunked().cut_after(40),
        Reply::json_text(200, body.clone()).claiming(body.len() + 1).then(Step::Close),
    ];
    for (number, reply) in replies.into_iter().enumerate() {
        provider.next(reply);
        let answer = gate.send(&gate.chat()).await;
        assert_eq!(answer.status(), 502, "reply {number}");
        answer.refused(502, "upstream_error");
        assert_eq!(gate.records().await.len(), number + 1);
    }
}

#[tokio::test]
async fn the_providers_refusals_pass_with_their_bodies() {
    let provider = Provider::start().await;
    let gate = strict(&provider).await;
    for status in [400, 404, 409, 413, 422, 429] {
        let body =
            format!("{{ \"error\" : {{\"code\":\"theirs\",\"n\":1e400, \"s\":{status}}}}}\n");
        provider.next(Reply::json_text(status, body.clone()).header("retry-after", "7"));
        let answer = gate.send(&gate.chat()).await;
        assert_eq!((answer.status(), answer.text()), (status, body));
        assert_eq!(answer.header("retry-after"), Some("7"));
        assert_eq!(answer.header("content-type"), Some("application/json"));
        uncharged(&gate, &answer, "provider_error").await;
    }
    assert_eq!(provider.calls().len(), 6, "none of them was tried again");
}

#[tokio::test]
async fn trouble_with_the_sellers_own_key_is_not_the_customers() {
    let provider = Provider::start().await;
    let gate = strict(&provider).await;
    for status in [401, 403] {
        provider.next(Reply::json(
            status,
            &json!({"error": {"message": format!("Incorrect API key: {PROVIDER_KEY}")}}),
        ));
        let answer = gate.send(&gate.chat()).await;
        answer.refused(502, "upstream_error");
        hides_the_provider(&answer, &provider);
    }
}

#[tokio::test]
async fn a_5xx_keeps_its_status_in_the_clients_shape() {
    let provider = Provider::start().await;
    let gate = strict(&provider).await;
    for status in [500, 502, 503, 529] {
        provider.next(Reply::bytes(status, "<html>at 10.0.0.7</html>"));
        let answer = gate.send(&gate.chat()).await;
        let code = answer.json()["error"]["code"].as_str().unwrap_or_default().to_owned();
        assert_eq!(answer.refused(status, &code)["type"], "server_error");
        assert_eq!(answer.header("x-tollgate-route"), Some("simple;gpt-4o-mini;mock;exact"));
        assert!(!answer.text().contains("10.0.0.7"), "{}", answer.text());
        uncharged(&gate, &answer, "provider_error").await;
    }
}

#[tokio::test]
async fn a_pooled_connection_that_died_is_replaced_once() {
    let provider = Provider::start().await;
    let gate = strict(&provider).await;
    gate.send(&gate.chat()).await.ok();
    // It dies under the request, without an answer.
    provider.next(Reply::close());
    gate.send(&gate.chat()).await.ok();
    let calls = provider.calls();
    assert_eq!(calls.len(), 3);
    assert_eq!(calls[0].connection, calls[1].connection, "the connection was pooled");
    assert_ne!(calls[1].connection, calls[2].connection, "and replaced");
    // It died before the request came.
    provider.close_idle().await;
    gate.send(&gate.chat()).await.ok();
    // A fresh one that dies is the provider's failure.
    provider.close_idle().await;
    provider.next(Reply::close());
    provider.next(Reply::close());
    gate.send(&gate.chat()).await.refused(502, "upstream_error");
}

#[tokio::test]
async fn the_providers_wish_to_close_is_kept() {
    let provider = Provider::start().await;
    let gate = strict(&provider).await;
    for _ in 0..3 {
        let reply = Reply::json(200, &json!({"choices": []})).header("connection", "close");
        provider.next(reply.then(Step::Close));
        let mut connection = gate.open(&gate.chat()).await;
        connection.answer().await.ok();
        // It is the provider's connection that ends, not the client's.
        connection.send(&gate.chat().bytes()).await;
        connection.answer().await.ok();
    }
    assert_eq!(provider.calls().len(), 6);
}

#[tokio::test]
async fn interim_answers_are_skipped() {
    let provider = Provider::start().await;
    let gate = strict(&provider).await;
    let interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n";
    provider.next(Reply::json_text(200, r#"{"choices":[]}"#).preceded_by(interim));
    let mut connection = gate.open(&gate.chat()).await;
    assert_eq!(connection.any_head().await.status(), 200);
    assert_eq!(connection.body().await, r#"{"choices":[]}"#);
}

#[tokio::test]
async fn absurd_usage_is_survived() {
    let provider = Provider::start().await;
    let gate = strict(&provider).await;
    let absurd = ["1e400", "-5", "18446744073709551615", "\"many\"", "null", "{}", "[[[]]]"];
    for (number, figure) in absurd.into_iter().enumerate() {
        let body = format!(
            r#"{{"choices":[],"usage":{{"prompt_tokens":{figure},"completion_tokens":{figure}}}}}"#
        );
        provider.next(Reply::json_text(200, body.clone()));
        assert_eq!(gate.send(&gate.chat()).await.ok().text(), body);
        let records = gate.records().await;
        assert_eq!(records.len(), number + 1);
        assert!(records.iter().all(|record| record["outcome"] == "ok"), "{figure}");
    }
}
