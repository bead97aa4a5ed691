//! What is not strictly HTTP is refused in words, consumes nothing, and ends
//! the connection, so that nothing behind it is taken for a request.

use http::Method;
use serde_json::json;

use super::raw::{self, DATA, HEADERS, RST_STREAM};
use crate::harness::client::Request;
use crate::harness::door::chat_body;
use crate::harness::gateway::Gateway;
use crate::harness::h2_client::H2Client;
use crate::harness::provider::Provider;
use crate::harness::setup::{DEFAULT_PLAN, Tollgate, key_of};

const BAD: (u16, &str) = (400, "invalid_value");
const METHOD: (u16, &str) = (405, "method_not_allowed");
const LARGE: (u16, &str) = (431, "headers_too_large");
const MEDIA: (u16, &str) = (415, "unsupported_media_type");

/// A gateway with an account that has one request a minute, and its key's line.
async fn strict(provider: &Provider) -> (Gateway, String) {
    let gate = Tollgate::before(provider)
        .set("opaque.provider", "mock")
        .plan(DEFAULT_PLAN, |plan| plan.per_minute(1))
        .start()
        .await;
    (gate, format!("authorization: Bearer {}\r\n", key_of(DEFAULT_PLAN)))
}

/// The heads that are refused, and how. `{auth}` is the key's line.
#[expect(clippy::too_many_lines, reason = "a table")]
fn refused() -> Vec<(String, (u16, &'static str))> {
    let mut cases: Vec<(String, (u16, &str))> = Vec::new();
    let mut add = |head: &str, how| cases.push((head.to_owned(), how));
    // Two framings, or none that can be told.
    for fields in [
        "content-length: 2\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 2\r\n",
        "content-length: 2\r\nTransfer-Encoding : chunked\r\n",
        "content-length: 2\r\ncontent-length: 3\r\n",
        "content-length: 2\r\ncontent-length: 2\r\n",
        "content-length: 2, 2\r\n",
        "content-length: -2\r\n",
        "content-length: +2\r\n",
        "content-length: 0x2\r\n",
        "content-length: 2 2\r\n",
        "content-length:\r\n",
        "content-length: 99999999999999999999\r\n",
        "transfer-encoding: gzip\r\n",
        "transfer-encoding: chunked, gzip\r\n",
        "transfer-encoding: gzip, chunked\r\n",
        "transfer-encoding: chunked, chunked\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: identity\r\n",
        "transfer-encoding: xchunked\r\n",
        "transfer-encoding: \u{b}chunked\r\n",
        // Fields that parsers mend in different ways.
        "x-folded: a\r\n b\r\n",
        "x-folded: a\r\n\tb\r\n",
        "x-space : a\r\n",
        "x space: a\r\n",
        " x-first: a\r\n",
        "x-bare: a\rb\r\n",
        "x-feed: a\nx-b: c\r\n",
        "x-nul: a\0b\r\n",
        "no colon\r\n",
        ": no name\r\n",
        // What may stand once.
        "host: other\r\n",
        "content-type: application/json\r\ncontent-type: text/plain\r\n",
        "authorization: Bearer another\r\n",
        "x-api-key: a\r\nx-api-key: b\r\n",
        "content-encoding: identity\r\ncontent-encoding: gzip\r\n",
        "expect: 200-ok\r\n",
        "expect: 100-continue, 200-ok\r\n",
    ] {
        add(&format!("POST /v1/chat/completions HTTP/1.1\r\nhost: t\r\n{{auth}}{fields}"), BAD);
    }
    add("POST /v1/files HTTP/1.0\r\n{auth}transfer-encoding: chunked\r\n", BAD);
    add(
        "GET /v1/realtime HTTP/1.1\r\nhost: t\r\n{auth}connection: upgrade\r\n\
         upgrade: websocket\r\ncontent-length: 9\r\n",
        BAD,
    );
    // Hosts.
    for host in
        ["", "host:\r\n", "host: a b\r\n", "host: u@h\r\n", "host: h:x\r\n", "host: h:1:2\r\n"]
    {
        add(&format!("GET /v1/models HTTP/1.1\r\n{host}{{auth}}"), BAD);
    }
    for host in ["h:99999", "/", "h/p", "[::1", ":80", "h?q"] {
        add(&format!("GET /v1/models HTTP/1.1\r\nhost: {host}\r\n{{auth}}"), BAD);
    }
    // Targets.
    for target in [
        "*",
        "t:80",
        "v1/models",
        "http://other/v1/models",
        "http://t:81/v1/models",
        "http://u@t/v1/models",
        "http:///v1/models",
        "ftp://t/v1/models",
        "/v1/mod els",
        "/v1/models#x",
        "/v1/mod\u{1}els",
        "/v1/mod\u{7f}els",
        "/v1/mod\u{e9}ls",
        "//t\\v1 ",
        "/v1/models\t",
    ] {
        add(&format!("GET {target} HTTP/1.1\r\nhost: t\r\n{{auth}}"), BAD);
    }
    // First lines.
    for line in [
        "GET /v1/models",
        "GET /v1/models HTTP/0.9",
        "GET /v1/models HTTP/2.0",
        "GET /v1/models HTTP/1.2",
        "GET /v1/models http/1.1",
        "GET  /v1/models HTTP/1.1",
        "GET /v1/models HTTP/1.1 ",
        " GET /v1/models HTTP/1.1",
        "/v1/models",
        "G\u{1}T / HTTP/1.1",
        "PRI * HTTP/2.0",
        "\u{16}\u{3}\u{1}\u{2}",
    ] {
        add(&format!("{line}\r\nhost: t\r\n{{auth}}"), BAD);
    }
    add("GET /v1/models HTTP/1.1\nhost: t\n{auth}", BAD);
    for method in ["CONNECT", "TRACE", "BREW", "get", "Post", "PROPFIND"] {
        let target = if method == "CONNECT" { "t:443" } else { "/v1/models" };
        add(&format!("{method} {target} HTTP/1.1\r\nhost: t\r\n{{auth}}"), METHOD);
    }
    // Sizes.
    let start = "GET /v1/models HTTP/1.1\r\nhost: t\r\n{auth}";
    add(&format!("{start}{}", "x: y\r\n".repeat(300)), LARGE);
    add(&format!("{start}x: {}\r\n", "y".repeat(33 * 1024)), LARGE);
    add(&format!("GET /v1/{} HTTP/1.1\r\nhost: t\r\n", "y".repeat(33 * 1024)), LARGE);
    cases
}

#[tokio::test]
async fn what_is_not_strictly_http_is_refused_and_ends_the_connection() {
    let provider = Provider::start().await;
    let (gate, auth) = strict(&provider).await;
    let next = format!("GET /v1/models HTTP/1.1\r\nhost: t\r\n{auth}\r\n");
    for (head, (status, code)) in refused() {
        let head = head.replace("{auth}", &auth);
        let mut connection = gate.connect().await;
        // Behind it stands what would be a request.
        let bytes = format!("{head}\r\n{next}");
        connection.send(bytes.as_bytes()).await;
        let answer = connection.try_answer().await.unwrap_or_else(|gone| panic!("{gone} {head:?}"));
        let shown: String = head.chars().take(200).collect();
        assert_eq!(answer.status(), status, "{shown:?} {}", answer.text());
        let error = answer.refused(status, code);
        assert_eq!(error["param"].is_string(), code == BAD.1, "{shown:?} {error}");
        assert_eq!(answer.header("connection"), Some("close"), "{shown:?}");
        assert_eq!(answer.header("allow").is_some(), status == 405, "{shown:?}");
        let behind = connection.closed().await;
        assert!(behind.is_empty(), "{shown:?} let {behind:?} pass");
    }
    assert!(provider.calls().is_empty());
    // The one request of the minute is still there.
    gate.send(&gate.chat()).await.ok();
    assert_eq!(gate.records().await.len(), 1);
}

#[tokio::test]
async fn what_is_http_passes_however_it_is_written() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).start().await;
    let body = chat_body().to_string();
    let (length, auth) =
        (body.len(), format!("authorization: Bearer {}\r\n", key_of(DEFAULT_PLAN)));
    let kind = "content-type: application/json\r\n";
    let heads = [
        "POST /v1/chat/completions HTTP/1.1\r\nhost: t\r\n".to_owned(),
        "\r\n\r\nPOST /v1/chat/completions HTTP/1.1\r\nHOST:t\r\n".to_owned(),
        "POST http://t/v1/chat/completions HTTP/1.1\r\nhost: t\r\n".to_owned(),
        "POST HTTP://T:80/v1/chat/completions HTTP/1.1\r\nhost: t:80\r\n".to_owned(),
        "POST /v1/chat/completions HTTP/1.1\r\nhost: [::1]:8080\r\n".to_owned(),
        "POST /v1/chat/completions?a=%20b|{} HTTP/1.1\r\nhost: t:\r\n".to_owned(),
        "POST /v1/chat/completions HTTP/1.0\r\nexpect: 100-continue\r\n".to_owned(),
        "POST /v1/chat/completions HTTP/1.1\r\nhost: t\r\ncontent-encoding: Identity\r\n".to_owned(),
        // Java's own client offers this with every first request.
        "POST /v1/chat/completions HTTP/1.1\r\nhost: t\r\nconnection: Upgrade, HTTP2-Settings\r\n\
         upgrade: h2c\r\nhttp2-settings: AAEAAEAAAAIAAAAAAAMAAAAAAAQBAAAAAAUAAEAAAAYABgAA\r\n"
            .to_owned(),
        "POST /v1/chat/completions HTTP/1.1\r\nhost: t\r\nx-empty:\r\nx-far: \u{e9}\r\nx-tab: a\tb\r\n"
            .to_owned(),
        format!("POST /v1/chat/completions HTTP/1.1\r\nhost: t\r\n{}", "x: y\r\n".repeat(252)),
        format!("POST /v1/chat/completions HTTP/1.1\r\nhost: t\r\nx: {}\r\n", "y".repeat(32_000)),
    ];
    for head in &heads {
        let shown: String = head.chars().take(200).collect();
        let mut connection = gate.connect().await;
        let bytes = format!("{head}{auth}{kind}content-length: {length}\r\n\r\n{body}");
        connection.send(bytes.as_bytes()).await;
        let answer = connection.answer().await;
        assert_eq!(answer.status(), 200, "{shown:?} {}", answer.text());
    }
    let coded = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: t\r\n{auth}{kind}transfer-encoding: Chunked\r\n\r\n\
         {length:x};ext=1\r\n{body}\r\n0\r\ntrailer: x\r\n\r\n"
    );
    let mut connection = gate.connect().await;
    connection.send(coded.as_bytes()).await;
    connection.answer().await.ok();
    connection.send(&gate.chat().bytes()).await;
    connection.answer().await.ok();
    let calls = provider.calls();
    assert_eq!(calls.len(), heads.len() + 2);
    assert!(calls.iter().all(|call| call.body == body));
    assert_eq!(calls[3].path(), "/v1/chat/completions");
}

#[tokio::test]
async fn an_upgrade_that_nobody_offered_to_answer_changes_nothing() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).start().await;
    let mut connection = gate.connect().await;
    for upgrade in ["h2c", "websocket", "TLS/1.0"] {
        let request = gate.chat().header("connection", "upgrade").header("upgrade", upgrade);
        connection.send(&request.bytes()).await;
        connection.answer().await.ok();
    }
    assert_eq!(provider.calls().len(), 3);
    assert!(provider.calls().iter().all(|call| call.header("upgrade").is_none()));
}

#[tokio::test]
async fn http2_is_policed_by_the_same_rules() {
    let provider = Provider::start().await;
    let (gate, _) = strict(&provider).await;
    let mut client = H2Client::open(gate.proxy).await;
    let chat = || gate.chat();
    let models =
        |method: Method| Request::new(method.as_str(), "/v1/models").bearer(&key_of(DEFAULT_PLAN));
    let many = (0..260).fold(chat(), |request, n| request.header(&format!("x-{n}"), "y"));
    let cases = [
        (many, LARGE),
        (chat().header("x-wide", &"y".repeat(33 * 1024)), LARGE),
        (chat().header("expect", "200-ok"), BAD),
        (chat().header("content-type", "text/plain"), BAD),
        (chat().header("authorization", "Bearer another"), BAD),
        (chat().header("content-encoding", "gzip"), MEDIA),
        (models(Method::TRACE), METHOD),
        (models(Method::from_bytes(b"BREW").unwrap()), METHOD),
    ];
    for (request, (status, code)) in cases {
        assert_eq!(client.send(&request).await.refused(status), code);
    }
    assert_eq!(client.send(&chat()).await.status, 200, "nothing of it was taken");
    assert_eq!(provider.calls().len(), 1);
}

/// What a client library would not send, as frames.
#[tokio::test]
async fn http2_that_is_malformed_never_is_a_request() {
    let provider = Provider::start().await;
    let (gate, _) = strict(&provider).await;
    let bearer = format!("Bearer {}", key_of(DEFAULT_PLAN));
    let usual = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "t"),
        (":path", "/v1/chat/completions"),
        ("content-type", "application/json"),
        ("authorization", &bearer),
    ];
    let with = |more: &[(&'static str, &'static str)]| {
        let mut fields: Vec<(&str, &str)> = usual.to_vec();
        for (name, value) in more {
            match fields.iter_mut().find(|field| field.0 == *name && name.starts_with(':')) {
                Some(field) => field.1 = value,
                None => fields.push((name, value)),
            }
        }
        raw::block(&fields)
    };
    let body = chat_body().to_string();
    let blocks = [
        with(&[("transfer-encoding", "chunked")]),
        with(&[("connection", "close")]),
        with(&[("upgrade", "h2c")]),
        with(&[("content-length", "5")]),
        with(&[("content-length", "x")]),
        with(&[("content-length", "-1")]),
        with(&[("host", "other")]),
        with(&[("Upper", "x")]),
        with(&[("x-feed", "a\nb")]),
        with(&[(":path", "/v1/chat/com pletions")]),
        with(&[(":path", "http://t/v1/chat/completions")]),
        with(&[(":path", "")]),
        with(&[(":path", "*")]),
        with(&[(":authority", "u@t")]),
        with(&[(":authority", "")]),
        with(&[(":late", "x")]),
        raw::block(&usual[1..]),
    ];
    for (number, block) in blocks.iter().enumerate() {
        let mut client = raw::H2::open(gate.proxy).await;
        client.send(HEADERS, raw::END_HEADERS, 1, block).await;
        // It may have been reset already.
        client.try_send(DATA, raw::END_STREAM, 1, body.as_bytes()).await;
        let told = client.until(|frame| frame.ends_stream(1)).await;
        let refused = told.iter().any(|frame| {
            frame.kind == RST_STREAM || frame.is_goaway() || frame.status() == Some(400)
        });
        assert!(refused, "block {number}: {told:?}");
    }
    assert!(provider.calls().is_empty());
    let mut client = raw::H2::open(gate.proxy).await;
    client.send(HEADERS, raw::END_HEADERS, 1, &with(&[])).await;
    client.send(DATA, raw::END_STREAM, 1, body.as_bytes()).await;
    let told = client.until(|frame| frame.ends_stream(1)).await;
    assert!(told.iter().any(|frame| frame.status() == Some(200)), "{told:?}");
}

#[tokio::test]
async fn an_encoded_body_is_refused_in_both_lanes() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).set("opaque.provider", "mock").start().await;
    let key = key_of(DEFAULT_PLAN);
    for coding in ["gzip", "br", "identity, gzip", "x"] {
        let chat = gate.chat().header("content-encoding", coding);
        let file =
            Request::with_body("POST", "/v1/files", "multipart/form-data; boundary=X", "--X")
                .header("content-encoding", coding)
                .bearer(&key);
        let batch = Request::post("/v1/batches", &json!({}))
            .header("content-encoding", coding)
            .bearer(&key);
        for request in [chat, file, batch] {
            gate.send(&request).await.refused(MEDIA.0, MEDIA.1);
        }
    }
    assert!(provider.calls().is_empty());
}
