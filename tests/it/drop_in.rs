//! What Tollgate has no reason to change passes unchanged, in both directions.
//! Covers J1, I4 and invariant 5.

use bytes::Bytes;
use serde_json::json;

use crate::harness::client::Request;
use crate::harness::openai;
use crate::harness::provider::Provider;
use crate::harness::reply::Reply;
use crate::harness::setup::{DEFAULT_PLAN, PROVIDER_KEY, Tollgate, key_of};

/// Odd order, odd spacing, unknown fields, escapes, numbers that no float holds.
const ODD: &str = "{ \"messages\" : [\t{\"content\":\"Gr\\u00fc\\u00df \u{1F44B} \\/\",\r\n \"role\":\"user\"} ],\n  \
    \"unknown\":{\"b\":1e400,\"a\":123456789012345678901234567890.10,\"z\":-0.0,\"t\":1E+2},\
    \"metadata\":{\"k\" : \"v\"}, \"model\"  :  \"gpt-4o-mini\",\"temperature\":0.10 , \"seed\":9007199254740993}\n ";

#[tokio::test]
async fn a_request_reaches_the_provider_byte_for_byte() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).start().await;
    gate.send(&gate.chat_text(ODD)).await.ok();
    assert_eq!(provider.only_call().body, ODD);
}

#[tokio::test]
async fn an_answer_reaches_the_client_byte_for_byte() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).start().await;
    let odd = format!("\n {{\"usage\": {},\"choices\" :[ ],\"x\":1e999}}\t\n", openai::usage());
    for reply in [
        Reply::json_text(200, odd.clone()),
        Reply::json_text(200, odd.clone()).chunked(),
        Reply::json_text(200, odd.clone()).close_delimited(),
    ] {
        provider.next(reply);
        let answer = gate.send(&gate.chat()).await.ok();
        assert_eq!(answer.body, odd);
        assert_eq!(answer.header("content-type"), Some("application/json"));
    }
}

#[tokio::test]
async fn a_public_name_is_replaced_and_nothing_else() {
    let provider = Provider::start().await;
    let models = json!([
        {"name": "gpt-4o-mini", "targets": [{"provider": "mock", "model": "their-own-name"}]},
    ]);
    let gate = Tollgate::before(&provider).models(&models).start().await;
    gate.send(&gate.chat_text(ODD)).await.ok();
    let expected = ODD.replace("\"gpt-4o-mini\"", "\"their-own-name\"");
    assert_eq!(provider.only_call().body, expected);
}

#[tokio::test]
async fn an_unknown_model_goes_under_its_own_name() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).start().await;
    let body = r#"{"model":"some/new-model:2","messages":[]}"#;
    gate.send(&gate.chat_text(body)).await.ok();
    assert_eq!(provider.only_call().body, body);
}

#[tokio::test]
async fn a_chunked_request_arrives_whole() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).start().await;
    let mut connection = gate.connect().await;
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: t\r\ncontent-type: application/json\r\n\
         authorization: Bearer {}\r\ntransfer-encoding: chunked\r\n\r\n",
        key_of(DEFAULT_PLAN)
    );
    connection.send(head.as_bytes()).await;
    for part in ODD.as_bytes().chunks(7) {
        connection.send(format!("{:x}\r\n", part.len()).as_bytes()).await;
        connection.send(part).await;
        connection.send(b"\r\n").await;
    }
    connection.send(b"0\r\n\r\n").await;
    connection.answer().await.ok();
    let call = provider.only_call();
    assert_eq!(call.body, ODD);
    assert_eq!(call.header("content-length"), Some(ODD.len().to_string().as_str()));
}

#[tokio::test]
async fn a_prompt_of_16_mb_passes_whole() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).start().await;
    let text = "0123456789abcdef".repeat(1024 * 1024);
    let body =
        format!(r#"{{"messages":[{{"role":"user","content":"{text}"}}],"model":"gpt-4o-mini"}}"#);
    gate.send(&gate.chat_text(&body)).await.ok();
    assert!(provider.only_call().body == body, "the prompt arrived changed");
}

#[tokio::test]
async fn an_answer_of_16_mb_passes_whole() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).start().await;
    let text = "0123456789abcdef".repeat(1024 * 1024);
    let body = Bytes::from(format!(r#"{{"choices":[],"text":"{text}"}}"#));
    provider.next(Reply::json_text(200, body.clone()));
    let answer = gate.send(&gate.chat()).await.ok();
    assert!(answer.body == body, "the answer arrived changed");
}

#[tokio::test]
async fn only_listed_headers_reach_the_provider() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).start().await;
    let mut request = gate.chat();
    let passing = [
        ("accept", "application/json"),
        ("user-agent", "OpenAI/Python 3.54.0"),
        ("openai-beta", "assistants=v2"),
        ("x-stainless-lang", "python"),
        ("x-stainless-retry-count", "0"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ];
    let stopped = [
        ("accept-encoding", "gzip, br"),
        ("cookie", "session=secret"),
        ("idempotency-key", "the-clients-own"),
        ("x-forwarded-for", "192.0.2.7"),
        ("openai-organization", "org-theirs"),
        ("x-custom", "anything"),
        ("x-tollgate-class", "default"),
        ("x-api-key", "another-key-of-the-client"),
        ("te", "trailers"),
        ("x-request-id", "the-clients-request"),
    ];
    for (name, value) in passing.iter().chain(&stopped) {
        request = request.header(name, value);
    }
    gate.send(&request).await.ok();
    let call = provider.only_call();
    for (name, value) in passing {
        assert_eq!(call.header(name), Some(value), "{name}");
    }
    for (name, value) in stopped {
        assert_ne!(call.header(name), Some(value), "{name}");
    }
    let mut names: Vec<&str> = call.head.headers.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    let mut expected: Vec<&str> = passing.iter().map(|(name, _)| *name).collect();
    expected.extend(["authorization", "content-length", "content-type", "host"]);
    expected.sort_unstable();
    names.retain(|name| *name != "connection");
    assert_eq!(names, expected);
    assert_eq!(call.header("host"), Some(provider.address().to_string().as_str()));
}

#[tokio::test]
async fn the_query_string_reaches_the_provider() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).start().await;
    let body = json!({"model": "gpt-4o-mini", "messages": []});
    let request = Request::post("/v1/chat/completions?api-version=2026-01&x=%20a", &body)
        .bearer(&key_of(DEFAULT_PLAN));
    gate.send(&request).await.ok();
    assert_eq!(provider.only_call().path(), "/v1/chat/completions?api-version=2026-01&x=%20a");
}

#[tokio::test]
async fn keys_never_cross() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).start().await;
    let key = key_of(DEFAULT_PLAN);
    for name in ["authorization", "x-api-key"] {
        let shown = if name == "x-api-key" { key.clone() } else { format!("Bearer {key}") };
        let body = json!({"model": "gpt-4o-mini", "messages": []});
        let request = Request::post("/v1/chat/completions", &body).header(name, &shown);
        let mut connection = gate.open(&request).await;
        connection.answer().await.ok();
        let wire = String::from_utf8_lossy(&connection.take_wire()).into_owned();
        assert!(!wire.contains(PROVIDER_KEY), "the provider's key came down");
    }
    for call in provider.calls() {
        let expected = format!("Bearer {PROVIDER_KEY}");
        assert_eq!(call.header("authorization"), Some(expected.as_str()));
        let wire = String::from_utf8_lossy(&call.wire).into_owned();
        assert!(!wire.contains(&key), "the client's key went up");
    }
}

#[tokio::test]
async fn the_providers_account_stays_its_sellers_secret() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).start().await;
    let secret = [
        ("x-request-id", "req_of_the_provider"),
        ("openai-organization", "org-of-the-seller"),
        ("set-cookie", "__cf_bm=1"),
        ("x-ratelimit-limit-requests", "987654"),
        ("x-ratelimit-remaining-tokens", "987654"),
    ];
    let reply = secret
        .iter()
        .fold(Reply::json(200, &json!({"choices": []})), |reply, (name, value)| {
            reply.header(name, value)
        })
        .header("openai-version", "2020-10-01");
    provider.next(reply);
    let answer = gate.send(&gate.chat().header("x-request-id", "mine-1")).await.ok();
    for (name, value) in secret {
        assert_ne!(answer.header(name), Some(value), "{name}");
    }
    assert_eq!(answer.header("x-request-id"), Some("mine-1"), "the client's own is kept");
    assert_eq!(answer.header("connection").unwrap_or("keep-alive"), "keep-alive");
}

#[tokio::test]
async fn a_connection_serves_many_requests_also_pipelined() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).start().await;
    let mut connection = gate.connect().await;
    for number in 1..=3 {
        connection.send(&gate.chat().bytes()).await;
        connection.answer().await.ok();
        assert_eq!(provider.calls().len(), number);
    }
    let two = [gate.chat().bytes(), gate.stream().bytes(), gate.chat().bytes()].concat();
    connection.send(&two).await;
    for _ in 0..3 {
        connection.answer().await.ok();
    }
    assert_eq!(provider.connections(), 1, "the provider's connection is kept as well");
}

#[tokio::test]
async fn every_answer_says_what_happened() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider)
        .class("documentation", "0.01", &json!({"feature": "basic_suggestions"}))
        .start()
        .await;
    let body = json!({"model": "gpt-4o-mini", "messages": []});
    let request =
        Request::post("/documentation/v1/chat/completions", &body).bearer(&key_of(DEFAULT_PLAN));
    let answer = gate.send(&request).await.ok();
    assert_eq!(answer.header("x-tollgate-class"), Some("documentation"));
    assert_eq!(answer.header("x-tollgate-cache"), Some("bypass"));
    assert_eq!(answer.header("x-tollgate-price-usd"), Some("0.01"));
    let route = answer.header("x-tollgate-route").unwrap_or_default();
    assert!(route.starts_with("simple;gpt-4o-mini;mock;"), "{route}");
    assert!(answer.header("x-request-id").is_some_and(|id| !id.is_empty()));
    let overhead = answer.header("x-tollgate-overhead-ms").unwrap_or_default();
    assert!(overhead.parse::<f64>().is_ok(), "{overhead:?}");
    assert_eq!(provider.only_call().path(), "/v1/chat/completions", "the prefix is Tollgate's own");
    let cost = answer.head.headers.iter().find(|(name, _)| name.contains("cost"));
    assert_eq!(cost, None, "cost never reaches a customer");
}
