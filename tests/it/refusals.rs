//! Bad input is refused at once, in the shape that clients know, and never
//! reaches a provider. Covers F4, J1.

use serde_json::{Value, json};

use crate::harness::client::Request;
use crate::harness::door::chat_body;
use crate::harness::gateway::Gateway;
use crate::harness::provider::Provider;
use crate::harness::setup::{DEFAULT_PLAN, Setup, Tollgate, key_of};

const CHAT: &str = "/v1/chat/completions";

async fn closed_catalogue() -> (Provider, Gateway) {
    let provider = Provider::start().await;
    let gate = small(&provider).start().await;
    (provider, gate)
}

/// Only the priced model, and small caps.
fn small(provider: &Provider) -> Setup {
    Tollgate::before(provider)
        .models(&json!([
            {"name": "gpt-4o-mini", "tier": "simple", "targets": [{"provider": "mock"}]},
        ]))
        .set("listen.body_limit", "1MB")
}

/// Sends `body` and gives the error object of the refusal.
async fn refusal(gate: &Gateway, body: &str, status: u16, code: &str) -> Value {
    gate.send(&gate.chat_text(body)).await.refused(status, code)
}

#[tokio::test]
async fn what_is_no_json_is_refused_with_the_place() {
    let (provider, gate) = closed_catalogue().await;
    let broken = r#"{"model":"gpt-4o-mini","messages":[}"#;
    let error = refusal(&gate, broken, 400, "invalid_json").await;
    let message = error["message"].as_str().unwrap_or_default().to_owned();
    let place = broken.find('}').map(|at| [at.to_string(), (at + 1).to_string()]);
    let named = place.is_some_and(|place| place.iter().any(|place| message.contains(place)));
    assert!(named, "the offset is missing: {message}");
    assert!(!message.contains("gpt-4o-mini"), "the body is quoted: {message}");
    for body in ["", " ", "{", "nope", "{\"model\":\"gpt-4o-mini\"} x", "{\"model\":\"\u{1}\"}"] {
        refusal(&gate, body, 400, "invalid_json").await;
    }
    assert!(provider.calls().is_empty());
}

#[tokio::test]
async fn invalid_utf_8_is_refused() {
    let (provider, gate) = closed_catalogue().await;
    let body = b"{\"model\":\"gpt-4o-mini\",\"messages\":[\"\xff\xfe\"]}".to_vec();
    let request = Request::post_text(CHAT, body).bearer(&key_of(DEFAULT_PLAN));
    gate.send(&request).await.refused(400, "invalid_json");
    assert!(provider.calls().is_empty());
}

#[tokio::test]
async fn a_field_of_the_wrong_type_is_named() {
    let (provider, gate) = closed_catalogue().await;
    let cases = [
        (json!({"model": 7}), "model"),
        (json!({"model": null}), "model"),
        (json!({"model": ["gpt-4o-mini"]}), "model"),
        (json!({"messages": []}), "model"),
        (json!({"model": "gpt-4o-mini", "stream": "yes"}), "stream"),
        (json!({"model": "gpt-4o-mini", "stream": 1}), "stream"),
        (json!({"model": "gpt-4o-mini", "stream": true, "stream_options": 1}), "stream_options"),
    ];
    for (body, param) in cases {
        let error = refusal(&gate, &body.to_string(), 400, "invalid_value").await;
        let named = error["param"].as_str().unwrap_or_default();
        assert!(named == param, "{body}: {error}");
    }
    for body in ["[]", "null", "\"text\"", "7"] {
        let answer = gate.send(&gate.chat_text(body)).await;
        assert_eq!(answer.status(), 400, "{body}");
        assert!(answer.json()["error"]["code"].is_string());
    }
    assert!(provider.calls().is_empty());
}

#[tokio::test]
async fn a_repeated_key_is_refused_where_it_is_read_and_passes_elsewhere() {
    let (provider, gate) = closed_catalogue().await;
    for body in [
        r#"{"model":"gpt-4o-mini","messages":[],"model":"gpt-4o-mini"}"#,
        r#"{"model":"gpt-4o-mini","stream":false,"messages":[],"stream":true}"#,
        r#"{"model":"gpt-4o-mini","messages":[],"mod\u0065l":"gpt-4o-mini"}"#,
    ] {
        let answer = gate.send(&gate.chat_text(body)).await;
        assert_eq!(answer.status(), 400, "{body}");
        assert_eq!(answer.json()["error"]["type"], "invalid_request_error");
    }
    assert!(provider.calls().is_empty());
    let body = r#"{"model":"gpt-4o-mini","messages":[],"x":1,"x":2}"#;
    gate.send(&gate.chat_text(body)).await.ok();
    assert_eq!(provider.only_call().body, body);
}

#[tokio::test]
async fn nesting_is_bounded() {
    let (provider, gate) = closed_catalogue().await;
    let nested = |depth: usize| {
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        format!(r#"{{"model":"gpt-4o-mini","messages":{open}{close}}}"#)
    };
    for depth in [129, 1_000, 400_000] {
        let answer = gate.send(&gate.chat_text(&nested(depth))).await;
        assert_eq!(answer.status(), 400, "{depth} deep");
        assert_eq!(answer.json()["error"]["type"], "invalid_request_error");
    }
    assert!(provider.calls().is_empty());
    gate.send(&gate.chat_text(&nested(120))).await.ok();
}

#[tokio::test]
async fn a_model_that_matches_no_entry_is_not_found() {
    let (provider, gate) = closed_catalogue().await;
    let body = r#"{"model":"no-such-model","messages":[]}"#;
    let error = refusal(&gate, body, 404, "model_not_found").await;
    assert_eq!(error["param"], "model");
    let request = Request::get("/v1/models/no-such-model").bearer(&key_of(DEFAULT_PLAN));
    gate.send(&request).await.refused(404, "model_not_found");
    assert!(provider.calls().is_empty());
}

#[tokio::test]
async fn unknown_paths_and_methods_are_refused() {
    let (provider, gate) = closed_catalogue().await;
    let key = key_of(DEFAULT_PLAN);
    for path in ["/", "/v2/chat/completions", "/chat/completions", "/nowhere/v1/models", "/v1"] {
        let request = Request::post(path, &chat_body()).bearer(&key);
        gate.send(&request).await.refused(404, "not_found");
    }
    for path in ["/v1/nowhere", "/v1/chat/completions/", "/v1//chat/completions"] {
        let answer = gate.send(&Request::post(path, &chat_body()).bearer(&key)).await;
        answer.refused(404, "endpoint_not_enabled");
    }
    for (method, path) in
        [("GET", "/v1/embeddings"), ("PUT", CHAT), ("DELETE", CHAT), ("POST", "/v1/models")]
    {
        let answer = gate.send(&Request::new(method, path).bearer(&key)).await;
        answer.refused(405, "method_not_allowed");
        assert!(answer.header("allow").is_some(), "{method} {path}");
    }
    assert!(provider.calls().is_empty());
}

#[tokio::test]
async fn connect_is_refused() {
    let (provider, gate) = closed_catalogue().await;
    let mut connection = gate.connect().await;
    let target = provider.address();
    let head = format!(
        "CONNECT {target} HTTP/1.1\r\nhost: {target}\r\nauthorization: Bearer {}\r\n\r\n",
        key_of(DEFAULT_PLAN)
    );
    connection.send(head.as_bytes()).await;
    connection.answer().await.refused(405, "method_not_allowed");
    assert_eq!(provider.connections(), 0);
}

#[tokio::test]
async fn a_key_is_needed_and_must_be_known() {
    let (provider, gate) = closed_catalogue().await;
    let chat = || Request::post(CHAT, &chat_body());
    let requests = [
        chat(),
        chat().bearer("nobody-knows-this-key"),
        chat().bearer(""),
        chat().header("authorization", "Basic dXNlcjpwYXNz"),
        chat().header("authorization", &key_of(DEFAULT_PLAN)),
        chat().header("x-api-key", "nobody-knows-this-key"),
        chat().bearer(&"k".repeat(5_000)),
        Request::get("/v1/models"),
    ];
    for request in requests {
        let answer = gate.send(&request).await;
        answer.refused(401, "invalid_api_key");
        assert!(!answer.text().contains("nobody-knows"), "the key is quoted");
    }
    assert!(provider.calls().is_empty());
    assert!(gate.records().await.is_empty(), "a refusal makes no record");
}

#[tokio::test]
async fn a_plan_without_the_feature_is_refused() {
    let provider = Provider::start().await;
    let gate = small(&provider)
        .plan("poor", |plan| plan.set("features", json!(["basic_suggestions"])))
        .class("dear", "0.05", &json!({"feature": "advanced_suggestions"}))
        .start()
        .await;
    let request = Request::post("/dear/v1/chat/completions", &chat_body()).bearer(&key_of("poor"));
    gate.send(&request).await.refused(403, "feature_not_in_plan");
    assert!(provider.calls().is_empty());
    gate.send(&gate.chat_as("poor")).await.ok();
}

#[tokio::test]
async fn a_plan_that_names_no_features_is_not_gated_by_them() {
    let provider = Provider::start().await;
    let gate = small(&provider)
        .plan("plain", |plan| plan.set("features", json!(null)))
        .class("dear", "0.05", &json!({"feature": "advanced_suggestions"}))
        .start()
        .await;
    let request = Request::post("/dear/v1/chat/completions", &chat_body()).bearer(&key_of("plain"));
    gate.send(&request).await.ok();
    gate.send(&gate.chat_as("plain")).await.ok();
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_before_it_is_read() {
    let (provider, gate) = closed_catalogue().await;
    let body = format!(r#"{{"model":"gpt-4o-mini","messages":["{}"]}}"#, "x".repeat(2_000_000));
    let request = gate.chat_text(&body);
    // Nothing of the body is sent: the answer comes all the same.
    let mut connection = gate.connect().await;
    connection.send(request.head().as_bytes()).await;
    connection.answer().await.refused(413, "request_too_large");
    // Nobody says how long it is: the answer comes once it is too long.
    let mut connection = gate.connect().await;
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: t\r\ncontent-type: application/json\r\n\
         authorization: Bearer {}\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n",
        key_of(DEFAULT_PLAN),
        body.len()
    );
    connection.send(head.as_bytes()).await;
    drop(connection.try_send(body.as_bytes()).await);
    connection.answer().await.refused(413, "request_too_large");
    assert!(provider.calls().is_empty());
}

#[tokio::test]
async fn other_media_types_and_encodings_are_refused() {
    let (provider, gate) = closed_catalogue().await;
    let key = key_of(DEFAULT_PLAN);
    for kind in ["text/plain", "multipart/form-data; boundary=x", "application/jsonx"] {
        let request = Request::new("POST", CHAT).header("content-type", kind).bearer(&key);
        gate.send(&request).await.refused(415, "unsupported_media_type");
    }
    let request = gate.chat().header("content-encoding", "gzip");
    gate.send(&request).await.refused(415, "unsupported_media_type");
    assert!(provider.calls().is_empty());
    let charset = Request::new("POST", CHAT)
        .header("content-type", "Application/JSON; charset=utf-8")
        .bearer(&key);
    gate.send(&charset).await.refused(400, "invalid_json");
}

#[tokio::test]
async fn a_header_over_the_limit_is_refused() {
    let (provider, gate) = closed_catalogue().await;
    let request = gate.chat().header("x-large", &"x".repeat(100_000));
    gate.send(&request).await.refused(431, "headers_too_large");
    assert!(provider.calls().is_empty());
}

#[tokio::test]
async fn a_header_that_does_not_end_in_time_is_refused() {
    let provider = Provider::start().await;
    let gate = small(&provider).set("listen.header_timeout", "2s").start().await;
    let mut connection = gate.connect().await;
    connection.send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: t\r\nx-slow: ").await;
    connection.answer().await.refused(408, "request_timeout");
    connection.closed().await;
}

#[tokio::test]
async fn a_body_slower_than_the_least_rate_is_refused() {
    let provider = Provider::start().await;
    let gate = small(&provider)
        .set("listen.min_body_rate", "100KB")
        .set("listen.body_grace", "300ms")
        .start()
        .await;
    let mut connection = gate.connect().await;
    let request = gate.chat_text(&" ".repeat(500_000));
    connection.send(request.head().as_bytes()).await;
    connection.send(b"{").await;
    connection.answer().await.refused(408, "request_timeout");
    assert!(provider.calls().is_empty());
}

#[tokio::test]
async fn a_body_that_breaks_off_is_refused_and_never_forwarded() {
    let (provider, gate) = closed_catalogue().await;
    let request = gate.chat().bytes();
    let mut connection = gate.connect().await;
    connection.send(&request[..request.len() - 5]).await;
    connection.half_close().await;
    connection.answer().await.refused(400, "invalid_json");
    connection.closed().await;
    assert!(provider.calls().is_empty());
}

#[tokio::test]
async fn a_request_that_is_no_http_is_refused_and_the_connection_closed() {
    let (provider, gate) = closed_catalogue().await;
    let key = key_of(DEFAULT_PLAN);
    let start = format!("POST {CHAT} HTTP/1.1\r\nhost: t\r\nauthorization: Bearer {key}\r\n");
    let bad = [
        "\u{16}\u{3}\u{1}\r\n\r\n".to_owned(),
        "NONSENSE\r\n\r\n".to_owned(),
        format!("{start}content-length: 5\r\ncontent-length: 6\r\n\r\n{{}}"),
        format!("{start}content-length: -1\r\n\r\n"),
        format!("{start}transfer-encoding: gzip\r\n\r\n"),
        format!("{start}bad header\r\n\r\n"),
        format!("{start}content-type: audio/mpeg\r\ncontent-type: application/json\r\n\r\n"),
        format!("{start}authorization: Bearer another-key\r\n\r\n"),
        format!("{start}host: another\r\ncontent-length: 2\r\n\r\n{{}}"),
        format!("{start}transfer-encoding: chunked\r\n\r\nxyz\r\n{{}}\r\n0\r\n\r\n"),
    ];
    for request in bad {
        let mut connection = gate.connect().await;
        connection.send(request.as_bytes()).await;
        let status = connection.head().await.status();
        assert_eq!(status, 400, "{request:?}");
        connection.closed().await;
    }
    assert!(provider.calls().is_empty());
    gate.send(&gate.chat()).await.ok();
}

#[tokio::test]
async fn an_expectation_is_met_only_where_the_body_is_wanted() {
    let (provider, gate) = closed_catalogue().await;
    let stranger = Request::post(CHAT, &chat_body())
        .bearer("nobody-knows-this-key")
        .header("expect", "100-continue");
    let mut connection = gate.connect().await;
    connection.send(stranger.head().as_bytes()).await;
    assert_eq!(connection.any_head().await.status(), 401, "no 100 before a refusal");
    assert!(provider.calls().is_empty());

    let wanted = gate.chat().header("expect", "100-continue");
    let mut connection = gate.connect().await;
    connection.send(wanted.head().as_bytes()).await;
    assert_eq!(connection.any_head().await.status(), 100);
    connection.send(chat_body().to_string().as_bytes()).await;
    connection.answer().await.ok();
}

#[tokio::test]
async fn a_client_in_the_middle_of_10_mb_can_read_its_refusal() {
    let (provider, gate) = closed_catalogue().await;
    let body = " ".repeat(10_000_000);
    let stranger = Request::post_text(CHAT, body.clone()).bearer("nobody-knows-this-key");
    for (request, status, code) in
        [(stranger, 401, "invalid_api_key"), (gate.chat_text(&body), 413, "request_too_large")]
    {
        for _ in 0..10 {
            let mut connection = gate.connect().await;
            // It may be told to stop; it reads only then, as simple clients do.
            drop(connection.try_send(&request.bytes()).await);
            connection.answer().await.refused(status, code);
        }
    }
    assert!(provider.calls().is_empty());
}

#[tokio::test]
async fn the_clients_request_id_comes_back_if_it_is_harmless() {
    let (_provider, gate) = closed_catalogue().await;
    let request = Request::post(CHAT, &chat_body()).header("x-request-id", "mine-42");
    let answer = gate.send(&request).await;
    assert_eq!(answer.refused(401, "invalid_api_key")["request_id"], "mine-42");
}
