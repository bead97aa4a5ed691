//! A refused body never lets the next request on its connection be read
//! wrongly, however requests are refused, framed and sized. Covers invariant 8.

use bytes::{BufMut, BytesMut};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::door::chat_body;
use crate::harness::eventually::within;
use crate::harness::gateway::Gateway;
use crate::harness::provider::Provider;
use crate::harness::setup::{Tollgate, key_of};
use crate::harness::wire::{Framing, Wire};

/// At which stage a request ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Answered,
    UnknownKey,
    NoPath,
    NoMethod,
    TooLarge,
    WrongKind,
    Limited,
    NoJson,
    Ambiguous,
}

use Stage::*;

const STAGES: [Stage; 9] =
    [Answered, UnknownKey, NoPath, NoMethod, TooLarge, WrongKind, Limited, NoJson, Ambiguous];

impl Stage {
    const fn status(self) -> u16 {
        match self {
            Answered => 200,
            UnknownKey => 401,
            NoPath => 404,
            NoMethod => 405,
            TooLarge => 413,
            WrongKind => 415,
            Limited => 429,
            NoJson | Ambiguous => 400,
        }
    }
}

#[derive(Clone, Debug)]
struct Sent {
    stage: Stage,
    chunked: bool,
    /// Bytes of bait in the body, roughly.
    size: usize,
}

/// A body that is requests by itself, each of which would be answered.
fn bait(size: usize) -> String {
    let key = key_of("rich");
    let body = chat_body().to_string();
    let one = format!(
        "\r\n\r\nPOST /v1/chat/completions HTTP/1.1\r\nhost: bait\r\nauthorization: Bearer {key}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}\
         GET /v1/models HTTP/1.1\r\nhost: bait\r\nauthorization: Bearer {key}\r\n\r\n",
        body.len()
    );
    one.repeat(size / one.len() + 1)
}

impl Sent {
    fn bytes(&self) -> BytesMut {
        let (mut key, mut path, mut method) = (key_of("rich"), "/v1/chat/completions", "POST");
        let mut kind = "application/json";
        let mut body = bait(self.size);
        match self.stage {
            Answered => {
                // Bait inside of what is answered, too.
                let mut chat = chat_body();
                chat["messages"][0]["content"] = body.into();
                body = chat.to_string();
            }
            UnknownKey => key = "tg_live_nobody_knows_it".to_owned(),
            NoPath => path = "/nowhere",
            NoMethod => method = "PUT",
            TooLarge => body = bait(1024 * 1024 + 1),
            WrongKind => kind = "text/plain",
            Limited => key = key_of("spent"),
            NoJson | Ambiguous => {}
        }
        let mut bytes = BytesMut::new();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: t\r\nauthorization: Bearer {key}\r\n\
             content-type: {kind}\r\n"
        );
        bytes.put_slice(head.as_bytes());
        if self.chunked || self.stage == Ambiguous {
            let length = if self.stage == Ambiguous { "content-length: 4\r\n" } else { "" };
            bytes.put_slice(format!("{length}transfer-encoding: chunked\r\n\r\n").as_bytes());
            for chunk in body.as_bytes().chunks(10_000) {
                bytes.put_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                bytes.put_slice(chunk);
                bytes.put_slice(b"\r\n");
            }
            bytes.put_slice(b"0\r\n\r\n");
        } else {
            bytes.put_slice(format!("content-length: {}\r\n\r\n{body}", body.len()).as_bytes());
        }
        bytes
    }
}

/// Sends all at once on one connection, and behind it a request without a key
/// that ends it; gives the statuses that come back.
async fn pipelined(gate: &Gateway, sent: &[Sent]) -> Vec<u16> {
    let stream = within("a connection", TcpStream::connect(gate.proxy)).await.unwrap();
    let (reader, mut writer) = stream.into_split();
    let mut bytes = BytesMut::new();
    for request in sent {
        bytes.put_slice(&request.bytes());
    }
    bytes.put_slice(b"GET /v1/models HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n");
    let writing = tokio::spawn(async move {
        // The other side may stop taking them. The end of this half would be
        // the client's leaving.
        drop(writer.write_all(&bytes).await);
        writer
    });
    let mut wire = Wire::new(reader);
    let mut statuses = Vec::new();
    while let Ok(Some(head)) = within("an answer", wire.head()).await {
        wire.expect_body(head.framing(Framing::Close));
        let body = within("a body", wire.body()).await;
        body.unwrap_or_else(|error| panic!("an answer after {statuses:?} broke off: {error}"));
        statuses.push(head.status());
    }
    assert!(wire.unread().is_empty(), "half an answer: {:?}", wire.unread());
    drop(writing.await.unwrap());
    statuses
}

async fn check(gate: &Gateway, provider: &Provider, sent: &[Sent]) {
    let before = provider.calls().len();
    let statuses = pipelined(gate, sent).await;
    let expected: Vec<u16> =
        sent.iter().map(|request| request.stage.status()).chain([401]).collect();
    let common = expected.get(..statuses.len());
    assert_eq!(common, Some(&statuses[..]), "of {expected:?} in {sent:?}");
    if statuses.len() < expected.len() {
        let last = statuses.last();
        assert!(last.is_some_and(|last| *last != 200), "{statuses:?} of {expected:?} in {sent:?}");
    }
    let answered = statuses.iter().filter(|status| **status == 200).count();
    assert_eq!(provider.calls().len() - before, answered, "no bait was answered: {sent:?}");
}

async fn gateway() -> (Provider, Gateway) {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider)
        .set("listen.body_limit", "1MB")
        .plan("rich", |plan| plan)
        .plan("spent", |plan| plan.per_minute(1))
        .start()
        .await;
    gate.send(&gate.chat_as("spent")).await.ok();
    (provider, gate)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_refusal_between_two_answers() {
    let (provider, gate) = gateway().await;
    for stage in STAGES {
        for (chunked, size) in [(false, 1), (true, 1), (false, 60_000), (true, 200_000)] {
            let ok = Sent { stage: Answered, chunked, size: 1 };
            let sent = [ok.clone(), Sent { stage, chunked, size }, ok];
            check(&gate, &provider, &sent).await;
        }
    }
    // A small body that is here already costs no connection.
    for stage in [UnknownKey, NoPath, NoMethod, WrongKind, Limited, NoJson] {
        let sent = [stage, Answered].map(|stage| Sent { stage, chunked: false, size: 1 });
        assert_eq!(pipelined(&gate, &sent).await, [stage.status(), 200, 401], "{stage:?}");
    }
}

#[test]
fn any_sequence_is_answered_as_if_sent_one_by_one_or_ends_at_a_refusal() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (provider, gate) = runtime.block_on(gateway());
    let size = prop::sample::select(vec![1, 3_000, 60_000, 70_000, 250_000]);
    let one = (prop::sample::select(STAGES.to_vec()), any::<bool>(), size)
        .prop_map(|(stage, chunked, size)| Sent { stage, chunked, size });
    let sequences = prop::collection::vec(one, 1..7);
    let config = Config { cases: 48, failure_persistence: None, ..Config::default() };
    TestRunner::new(config)
        .run(&sequences, |sent| {
            runtime.block_on(check(&gate, &provider, &sent));
            Ok(())
        })
        .unwrap();
    runtime.block_on(async move { drop((gate, provider)) });
}

/// A refusal can be read to its end by a client that goes on sending, and the
/// end of the answer is the end of the connection.
#[tokio::test]
async fn after_a_refusal_the_connection_is_half_closed_and_the_rest_discarded() {
    let (_provider, gate) = gateway().await;
    let stranger = Sent { stage: UnknownKey, chunked: false, size: 200_000 };
    let bytes = stranger.bytes();
    let mut stream = TcpStream::connect(gate.proxy).await.unwrap();
    stream.write_all(&bytes[..1_000]).await.unwrap();
    let mut told = Vec::new();
    within("the end of the answer", stream.read_to_end(&mut told)).await.unwrap();
    assert!(told.starts_with(b"HTTP/1.1 401 "), "{}", String::from_utf8_lossy(&told));
    // What comes within the bound is still taken, without a reset.
    stream.write_all(&bytes[1_000..100_000]).await.unwrap();
}
