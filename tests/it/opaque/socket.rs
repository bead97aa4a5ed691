//! WebSockets: `/v1/realtime` passed through. Covers J1.

use serde_json::json;

use super::bulk::head;
use super::{before, get};
use crate::harness::client::{Connection, Request};
use crate::harness::eventually::within;
use crate::harness::gateway::Gateway;
use crate::harness::provider::{Provider, nowhere};
use crate::harness::reply::{Reply, Step};
use crate::harness::setup::{PROVIDER_KEY, Tollgate, key_of};
use crate::harness::websocket::{self, BINARY, Frame};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub(super) const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\
    connection: Upgrade\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
    set-cookie: theirs\r\n\r\n";

/// The client's handshake.
pub(super) fn handshake() -> Request {
    Request::get("/v1/realtime?model=gpt-realtime")
        .header("connection", "keep-alive, Upgrade")
        .header("upgrade", "WebSocket")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-extensions", "permessage-deflate")
}

fn own() -> Request {
    handshake().bearer(&key_of("tester"))
}

/// A provider that says 101 and then gives every message back; it gives the
/// handshake that it saw.
async fn echo() -> (String, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        stream.write_all(SWITCH.as_bytes()).await.unwrap();
        while let Some(frame) = websocket::read(&mut stream).await {
            stream.write_all(&frame.plain()).await.unwrap();
        }
        String::from_utf8(head).unwrap()
    });
    (url, serving)
}

async fn switched(gate: &Gateway) -> Connection {
    let mut client = gate.open(&own()).await;
    let head = client.any_head().await;
    assert_eq!(head.status(), 101, "{head:?}");
    assert_eq!(head.header("upgrade"), Some("websocket"));
    assert_eq!(head.header("connection"), Some("Upgrade"));
    assert_eq!(head.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert_eq!(head.header("set-cookie"), None);
    for framing in ["content-length", "transfer-encoding"] {
        assert_eq!(head.header(framing), None);
    }
    client.rest_is_raw();
    client
}

async fn exactly(client: &mut Connection, wanted: &[u8]) {
    let mut got = Vec::new();
    while got.len() < wanted.len() {
        got.extend_from_slice(&client.data().await.unwrap().expect("bytes"));
    }
    assert!(got == wanted, "{} bytes came, {} were sent", got.len(), wanted.len());
}

#[tokio::test]
async fn bytes_pass_both_ways_and_are_recorded() {
    let (url, serving) = echo().await;
    let gate = Tollgate::at(&url)
        .set("opaque.provider", "mock")
        .set("opaque.price", "0.25")
        .plan("tester", |plan| plan.concurrent(1))
        .start()
        .await;
    let mut client = switched(&gate).await;
    for word in ["hello", "\x00\x01\r\n\r\n", "again"] {
        client.send(&Frame::text(word).masked()).await;
        exactly(&mut client, &Frame::text(word).plain()).await;
    }
    get(&gate, "tester", "/v1/files").await.refused(429, "concurrency_limit_exceeded");
    drop(client);
    let seen = serving.await.unwrap();
    assert!(seen.starts_with("GET /v1/realtime?model=gpt-realtime HTTP/1.1\r\n"), "{seen}");
    assert!(seen.contains(&format!("authorization: Bearer {PROVIDER_KEY}\r\n")), "{seen}");
    assert!(seen.contains("sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"), "{seen}");
    assert!(!seen.contains("permessage-deflate"), "{seen}");
    let record = gate.wait_for_records(1).await.remove(0);
    for (field, value) in [
        ("path", json!("/v1/realtime")),
        ("status", json!(101)),
        ("outcome", json!("ok")),
        ("bytes_in", json!(16 + 3 * 6)),
        ("bytes_out", json!(16 + 3 * 2)),
        ("quantity", json!(1)),
        ("price", json!("0.25")),
        ("session", record["id"].clone()),
    ] {
        assert_eq!(record[field], value, "{field}: {record}");
    }
}

#[tokio::test]
async fn neither_way_waits_for_the_other() {
    let (url, serving) = echo().await;
    let gate = Tollgate::at(&url).set("opaque.provider", "mock").start().await;
    let mut client = TcpStream::connect(gate.proxy).await.unwrap();
    client.write_all(&own().bytes()).await.unwrap();
    assert!(head(&mut client).await.starts_with("HTTP/1.1 101"));
    let (mut from, mut out) = client.into_split();
    // More than all buffers on the way hold, before anything is read.
    let message = |number: u8| Frame { opcode: BINARY, payload: vec![number; 1_000_000] };
    let sending = tokio::spawn(async move {
        for number in 0..32 {
            out.write_all(&message(number).masked()).await.unwrap();
        }
        out
    });
    for number in 0..32 {
        let got = within("everything to come back", websocket::read(&mut from)).await;
        assert!(got == Some(message(number)), "message {number}");
    }
    drop((sending.await.unwrap(), from));
    serving.await.unwrap();
}

#[tokio::test]
async fn the_provider_may_close_or_refuse() {
    let provider = Provider::start().await;
    let gate = before(&provider).start().await;
    let bye = Frame::text("bye").plain();
    let switch = [SWITCH.as_bytes(), &bye].concat();
    provider.next(Reply::raw(switch).then(Step::Close));
    let mut client = switched(&gate).await;
    exactly(&mut client, &bye).await;
    assert!(client.closed().await.is_empty());
    provider.next(Reply::error(404, "no_such_model"));
    let refused = gate.send(&own()).await;
    assert_eq!(refused.json()["error"]["code"], "no_such_model");
    provider.next(Reply::close());
    gate.send(&own()).await.refused(502, "upstream_error");
    let outcomes: Vec<_> = gate
        .wait_for_records(3)
        .await
        .into_iter()
        .map(|record| record["outcome"].clone())
        .collect();
    assert_eq!(outcomes, ["ok", "provider_error", "provider_error"]);
    let away = Tollgate::at(&nowhere().await).set("opaque.provider", "mock").start().await;
    away.send(&own()).await.refused(502, "upstream_error");
}

#[tokio::test]
async fn a_client_that_leaves_closes_the_provider() {
    let provider = Provider::start().await;
    let gate = before(&provider).start().await;
    provider.next(Reply::raw(SWITCH).then(Step::Hang));
    let client = switched(&gate).await;
    client.reset();
    assert_eq!(provider.wait_for_disconnect().await, 0);
    gate.wait_for_records(1).await;
}

#[tokio::test]
async fn other_paths_do_not_switch() {
    let provider = Provider::start().await;
    let gate = before(&provider).start().await;
    let request =
        Request::get("/v1/files").header("upgrade", "websocket").bearer(&key_of("tester"));
    provider.next(Reply::json(200, &json!({"data": []})));
    gate.send(&request).await.ok();
    assert_eq!(provider.only_call().header("upgrade"), None);
}
