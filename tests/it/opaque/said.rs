//! What clients name in the messages of a WebSocket. Covers J1.

use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream};

use super::bulk::head;
use super::socket::{SWITCH, handshake};
use crate::harness::client::Request;
use crate::harness::eventually::within;
use crate::harness::gateway::Gateway;
use crate::harness::setup::{Tollgate, key_of};
use crate::harness::websocket::{self, BINARY, CLOSE, Frame};

type Messages = Arc<Mutex<Vec<Frame>>>;

/// A provider that makes a file of each upload, and hears and repeats what is said in
/// WebSockets; what it heard.
async fn provider() -> (String, Messages) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let heard = Messages::default();
    let hearing = Arc::clone(&heard);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, Arc::clone(&hearing)));
        }
    });
    (url, heard)
}

async fn serve(mut stream: TcpStream, heard: Messages) {
    if head(&mut stream).await.starts_with("POST") {
        let made = r#"{"id":"file-of-a"}"#;
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{made}",
            made.len()
        );
        stream.write_all(answer.as_bytes()).await.unwrap();
        return drop(stream.read_to_end(&mut Vec::new()).await);
    }
    stream.write_all(SWITCH.as_bytes()).await.unwrap();
    while let Some(frame) = websocket::read(&mut stream).await {
        let plain = frame.plain();
        heard.lock().push(frame);
        if stream.write_all(&plain).await.is_err() {
            break;
        }
    }
}

/// A gateway before it with the accounts `a`, who has a file, and `b`.
async fn gate(url: &str, ownership: &str) -> Gateway {
    let gate = Tollgate::at(url)
        .set("opaque.provider", "mock")
        .set("opaque.ownership", ownership)
        .plan("a", |plan| plan)
        .plan("b", |plan| plan)
        .start()
        .await;
    let made = Request::post("/v1/assistants", &json!({})).bearer(&key_of("a"));
    assert_eq!(gate.send(&made).await.ok().json()["id"], "file-of-a");
    gate
}

async fn open(gate: &Gateway, tenant: &str) -> TcpStream {
    let mut stream = TcpStream::connect(gate.proxy).await.unwrap();
    stream.write_all(&handshake().bearer(&key_of(tenant)).bytes()).await.unwrap();
    assert!(head(&mut stream).await.starts_with("HTTP/1.1 101"));
    stream
}

/// Says what is sound, and hears it.
async fn say(stream: &mut TcpStream, frame: &Frame) {
    stream.write_all(&frame.masked()).await.unwrap();
    let heard = within("what was said", websocket::read(stream)).await;
    assert_eq!(heard.as_ref(), Some(frame));
}

async fn closed(stream: &mut OwnedReadHalf) -> Frame {
    loop {
        match websocket::read(stream).await {
            Some(frame) if frame.opcode == CLOSE => return frame,
            Some(_) => {}
            None => panic!("no close"),
        }
    }
}

fn event(id: &str) -> String {
    json!({"type": "conversation.item.create", "item": {"type": "message", "content": [
        {"type": "input_image", "file_id": id}]}})
    .to_string()
}

/// The parts of a message, in frames of their own.
fn parts(parts: &[&[u8]]) -> Vec<u8> {
    let last = parts.len() - 1;
    let frame = |(number, part): (usize, &&[u8])| {
        let opcode = if number == 0 { 1 } else { 0 };
        let mut frame = Frame { opcode, payload: part.to_vec() }.masked();
        frame[0] = opcode | if number == last { 0x80 } else { 0 };
        frame
    };
    parts.iter().enumerate().flat_map(frame).collect()
}

#[tokio::test]
async fn a_message_names_its_accounts_things_alone() {
    let (url, heard) = provider().await;
    let gate = gate(&url, "enforce").await;
    let anothers = event("file-of-a");
    let wide: Vec<u8> = anothers.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let (start, end) = anothers.as_bytes().split_at(anothers.find("of-a").unwrap());
    let ping = [&parts(&[start, b"", end])[..start.len() + 6], &[0x89, 0x80, 1, 2, 3, 4]].concat();
    let rest = &parts(&[start, b"", end])[start.len() + 6..];
    let long = json!({"audio": "A".repeat(3 << 20), "x": "file-of-a"}).to_string();
    let rejected = [
        Frame::text(&anothers).masked(),
        Frame::text(&anothers.replace("file-", "\\u0066ile-")).masked(),
        Frame::text(&anothers.replace("file_id", "anything")).masked(),
        Frame::text(&event("file-of-nobody")).masked(),
        Frame { opcode: BINARY, payload: anothers.clone().into_bytes() }.masked(),
        Frame { opcode: BINARY, payload: wide }.masked(),
        parts(&[start, end]),
        [&ping, rest].concat(),
        Frame::text(&long).masked(),
    ];
    for (number, bytes) in rejected.into_iter().enumerate() {
        let mut stream = open(&gate, "b").await;
        say(&mut stream, &Frame::text(&event("a picture"))).await;
        let before = heard.lock().len();
        let (mut from, mut out) = stream.into_split();
        // It may be refused before all of it is sent.
        let sending = tokio::spawn(async move { out.write_all(&bytes).await.map(|()| out) });
        let said = within(&format!("a close after message {number}"), closed(&mut from)).await;
        drop(sending.await);
        assert_eq!(said.code(), 1008, "message {number}");
        assert!(said.payload.ends_with(b"names something that does not exist."));
        let named = |frame: &Frame| frame.payload.windows(4).any(|it| it == b"of-a");
        assert!(!heard.lock()[before..].iter().any(named), "message {number}");
    }
    // In what is no JSON to one server another finds names.
    for text in ["/**/{}", "{/*\"*/\"x\":\"file-of-a\"/*\"*/}", "{\"a\":\"\n\"}", "{\"a\":1}\0"] {
        let mut stream = open(&gate, "b").await;
        stream.write_all(&Frame::text(text).masked()).await.unwrap();
        let (mut from, _out) = stream.into_split();
        assert_eq!(within("a close", closed(&mut from)).await.code(), 1007, "{text:?}");
    }
    let mut stream = open(&gate, "a").await;
    for text in [anothers, json!({"type": "response.cancel", "response_id": "resp_1"}).to_string()]
    {
        say(&mut stream, &Frame::text(&text)).await;
    }
    say(&mut stream, &Frame { opcode: BINARY, payload: vec![0, 0, 255, 1, 0] }).await;
}

/// Covers J1: whoever is alone names what it likes.
#[tokio::test]
async fn without_ownership_nothing_is_looked_at() {
    let (url, heard) = provider().await;
    let gate = gate(&url, "off").await;
    let mut stream = open(&gate, "b").await;
    say(&mut stream, &Frame::text(&event("file-of-a"))).await;
    assert_eq!(heard.lock().len(), 1);
}

#[tokio::test]
async fn what_could_name_things_has_a_largest_size() {
    let (url, _heard) = provider().await;
    let gate = gate(&url, "enforce").await;
    let mut stream = open(&gate, "b").await;
    let sound = json!({"type": "input_audio_buffer.append", "audio": "A".repeat(3 << 20)});
    let frame = Frame::text(&sound.to_string());
    let bytes = frame.masked();
    let (mut from, mut out) = stream.split();
    let (sent, heard) = tokio::join!(out.write_all(&bytes), websocket::read(&mut from));
    sent.unwrap();
    assert_eq!(heard, Some(frame));
    let many = Frame::text(&format!("[{}1]", "1,".repeat(1 << 20))).masked();
    let (mut from, mut out) = stream.into_split();
    let sending = tokio::spawn(async move { out.write_all(&many).await.map(|()| out) });
    let closed = within("a close", websocket::read(&mut from)).await.unwrap();
    assert_eq!(closed.code(), 1009);
    drop(sending.await);
}
