//! Slow clients and floods are cut, each by a clock of its own. The clocks are
//! set short here; what is shipped is at most 15 s for each.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::raw::{self, CONTINUATION, DATA, HEADERS, PING, RST_STREAM, SETTINGS, WINDOW_UPDATE};
use crate::harness::door::{Door, chat_body, stream_body};
use crate::harness::eventually::within;
use crate::harness::gateway::Gateway;
use crate::harness::openai;
use crate::harness::provider::Provider;
use crate::harness::reply::Reply;
use crate::harness::setup::{DEFAULT_PLAN, Setup, Tollgate, key_of};
use crate::harness::tls::Authority;

/// Short clocks, far from each other: where two could end an attack, it is always the
/// same that does.
fn impatient(provider: &Provider) -> Setup {
    Tollgate::before(provider)
        .set("listen.header_timeout", "300ms")
        .set("listen.body_grace", "2s")
        .set("listen.min_body_rate", "1MB")
        .set("opaque.provider", "mock")
}

/// What a client does, and what must come of it.
#[derive(Clone)]
struct Attack {
    name: &'static str,
    /// The clock or bound that ends it.
    by: &'static str,
    /// What it sends at once.
    opening: Vec<u8>,
    /// What it sends again and again after that.
    drip: Vec<u8>,
    outcome: &'static str,
}

impl Attack {
    /// Whether a clock ends it, and not a bound.
    fn is_timed(&self) -> bool {
        self.by == "header_timeout" || self.by == "body_grace"
    }
}

fn attack(
    name: &'static str,
    by: &'static str,
    opening: impl Into<Vec<u8>>,
    drip: impl Into<Vec<u8>>,
    outcome: &'static str,
) -> Attack {
    Attack { name, by, opening: opening.into(), drip: drip.into(), outcome }
}

/// What a client has been told when nothing more comes, or a stream has ended.
fn outcome(told: &[u8], closed: bool) -> Option<&'static str> {
    let has = |part: &[u8]| memchr::memmem::find(told, part).is_some();
    let slow = has(b"\"code\":\"request_timeout\"");
    match (told.get(..12), closed) {
        (Some(b"HTTP/1.1 408"), true) if slow => Some("408, closed"),
        (Some(b"HTTP/1.1 400"), true) => Some("400, closed"),
        (Some(b"HTTP/1.1 408" | b"HTTP/1.1 400"), false) => None,
        (_, _) if slow => Some("stream refused in words"),
        (_, true) => Some("closed"),
        (_, false) => None,
    }
}

/// Carries an attack out, and gives what came of it and after how long.
async fn suffer(to: SocketAddr, attack: &Attack) -> (&'static str, Duration) {
    let begun = Instant::now();
    let stream = within("a connection", TcpStream::connect(to)).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let (opening, drip) = (attack.opening.clone(), attack.drip.clone());
    let dripping = tokio::spawn(async move {
        let mut pace = tokio::time::interval(Duration::from_millis(10));
        let mut next = opening;
        while writer.write_all(&next).await.is_ok() {
            next = drip.clone();
            pace.tick().await;
        }
    });
    let mut told = Vec::new();
    let came = within(attack.name, async {
        loop {
            let closed = !matches!(reader.read_buf(&mut told).await, Ok(1..));
            if let Some(outcome) = outcome(&told, closed) {
                return outcome;
            }
        }
    });
    let came = came.await;
    dripping.abort();
    (came, begun.elapsed())
}

/// Attacks on a connection without TLS.
fn plain(gate: &Door) -> Vec<Attack> {
    let key = key_of(DEFAULT_PLAN);
    let head = |path: &str, kind: &str, framing: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nhost: t\r\nauthorization: Bearer {key}\r\n\
             content-type: {kind}\r\n{framing}\r\n\r\n"
        )
    };
    let sized = head("/v1/chat/completions", "application/json", "content-length: 100000");
    let chunked = head("/v1/chat/completions", "application/json", "transfer-encoding: chunked");
    let file = head("/v1/files", "multipart/form-data; boundary=X", "content-length: 100000");
    let part = "--X\r\ncontent-disposition: form-data; name=file; filename=a\r\n\r\n";
    let timeout = "408, closed";
    let (header, body) = ("header_timeout", "body_grace");
    let half = gate.chat().bytes();
    let half = &half[..half.len() - 5];
    vec![
        attack("nothing at all", header, "", "", "closed"),
        attack("a header that stops", header, "GET / HTTP/1.1\r\nx: ", "", timeout),
        attack("a header, byte by byte", header, "GET / HTTP/1.1\r\nx: ", "a", timeout),
        attack("fields without end", header, "GET / HTTP/1.1\r\n", "x: y\r\n", timeout),
        attack("empty lines without end", header, "\r\n", "\r\n", timeout),
        attack("a head without its body", body, sized.clone(), "", timeout),
        attack("half a body", body, half, "", timeout),
        attack("a body, byte by byte", body, sized, " ", timeout),
        attack("a chunk's size that stops", body, format!("{chunked}5"), "", timeout),
        attack("a chunk's size, digit by digit", "its length", chunked.clone(), "0", "400, closed"),
        attack("a chunk's extension without end", body, format!("{chunked}5;"), "x", timeout),
        attack("chunks of one byte", body, chunked.clone(), "1\r\n \r\n", timeout),
        attack(
            "trailers without end",
            body,
            format!("{chunked}1\r\n \r\n0\r\n"),
            "x: y\r\n",
            timeout,
        ),
        attack("a file without its body", body, file.clone(), "", timeout),
        attack("a file, byte by byte", body, format!("{file}{part}"), "x", timeout),
    ]
}

/// Attacks by frames.
#[expect(clippy::too_many_lines, reason = "a table")]
fn frames() -> Vec<Attack> {
    let bearer = format!("Bearer {}", key_of(DEFAULT_PLAN));
    let block = raw::block(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "t"),
        (":path", "/v1/chat/completions"),
        ("content-type", "application/json"),
        ("authorization", &bearer),
    ]);
    let greeted = |more: &[Vec<u8>]| [raw::greeting(), more.concat()].concat();
    let open = || raw::frame(HEADERS, raw::END_HEADERS, 1, &block);
    let unfinished = || raw::frame(HEADERS, 0, 1, &block);
    let data = raw::frame(DATA, 0, 1, &[b' '; 16_000]);
    let many = |frame: Vec<u8>| greeted(&vec![frame; 20_000]);
    let resets = (0..20_000_u32).flat_map(|n| {
        let stream = 2 * n + 1;
        let open = raw::frame(HEADERS, raw::END_HEADERS, stream, &block);
        [open, raw::frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])]
    });
    let small = raw::frame(CONTINUATION, 0, 1, b"");
    let (header, body) = ("header_timeout", "body_grace");
    let words = "stream refused in words";
    vec![
        attack("h2: the preface alone", header, raw::PREFACE, "", "closed"),
        attack("h2: a greeting alone", header, raw::greeting(), "", "closed"),
        attack(
            "h2: pings alone",
            header,
            raw::greeting(),
            raw::frame(PING, 0, 0, &[0; 8]),
            "closed",
        ),
        attack("h2: half a frame's header", header, greeted(&[vec![0, 0]]), "", "closed"),
        attack(
            "h2: a frame, byte by byte",
            header,
            greeted(&[raw::frame(SETTINGS, 0, 0, &[0; 6000])[..20].to_vec()]),
            [0],
            "closed",
        ),
        attack("h2: a header block without end", header, greeted(&[unfinished()]), "", "closed"),
        attack(
            "h2: CONTINUATION without end",
            header,
            greeted(&[unfinished()]),
            small.clone(),
            "closed",
        ),
        attack(
            "h2: a block begun beside a request",
            header,
            greeted(&[open(), raw::frame(HEADERS, 0, 3, &block)]),
            "",
            "closed",
        ),
        attack("h2: a head without its body", body, greeted(&[open()]), "", words),
        attack(
            "h2: DATA, byte by byte",
            body,
            greeted(&[open()]),
            raw::frame(DATA, 0, 1, b" "),
            words,
        ),
        attack("h2: half a DATA frame", body, greeted(&[open(), data[..99].to_vec()]), "", words),
        attack(
            "h2: a DATA frame, byte by byte",
            body,
            greeted(&[open(), data[..99].to_vec()]),
            " ",
            words,
        ),
        attack("h2: PING flood", "frame rate", many(raw::frame(PING, 0, 0, &[0; 8])), "", "closed"),
        attack(
            "h2: SETTINGS flood",
            "frame rate",
            many(raw::frame(SETTINGS, 0, 0, &[])),
            "",
            "closed",
        ),
        attack(
            "h2: PRIORITY flood",
            "frame rate",
            many(raw::frame(2, 0, 1, &[0; 5])),
            "",
            "closed",
        ),
        attack(
            "h2: unknown frames",
            "frame rate",
            many(raw::frame(0xbe, 0, 1, &[0; 5])),
            "",
            "closed",
        ),
        attack(
            "h2: rapid reset",
            "h2, frame rate",
            greeted(&resets.collect::<Vec<_>>()),
            "",
            "closed",
        ),
        attack(
            "h2: empty CONTINUATION flood",
            "h2",
            [greeted(&[unfinished()]), small.repeat(20_000)].concat(),
            "",
            "closed",
        ),
        attack(
            "h2: empty DATA flood",
            "h2",
            [greeted(&[open()]), raw::frame(DATA, 0, 1, b"").repeat(200_000)].concat(),
            "",
            "closed",
        ),
    ]
}

fn show(attack: &Attack, outcome: &str, after: Duration) {
    println!("{:34} {:16} {:26} {:>5} ms", attack.name, attack.by, outcome, after.as_millis());
}

async fn all(gate: &Gateway, attacks: Vec<Attack>) {
    let suffered = join_all(attacks.iter().map(|attack| suffer(gate.proxy, attack))).await;
    for (attack, (outcome, after)) in attacks.iter().zip(&suffered) {
        show(attack, outcome, *after);
    }
    for (attack, (outcome, _)) in attacks.iter().zip(&suffered) {
        assert_eq!(*outcome, attack.outcome, "{}", attack.name);
    }
}

#[test]
fn no_clock_that_is_shipped_is_longer_than_15_s() {
    let environment = &tollgate::config::ProcessEnvironment;
    let config = tollgate::config::parse("", "t.yaml".as_ref(), environment).unwrap();
    let listen = config.listen;
    for clock in [listen.header_timeout, listen.body_grace, listen.stall_timeout] {
        assert!(clock <= Duration::from_secs(15), "{clock:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_slow_is_cut_and_occupies_nothing_after() {
    let provider = Provider::start().await;
    let gate = impatient(&provider).start().await;
    // The clocks that are shipped: what a bound ends must not meet a short one before.
    let patient = Tollgate::before(&provider).start().await;
    let (timed, bounded) =
        [plain(&gate), frames()].concat().into_iter().partition(Attack::is_timed);
    all(&gate, timed).await;
    all(&patient, bounded).await;
    for gate in [&gate, &patient] {
        gate.wait_for_metric("tollgate_inflight{scope=\"requests\"}", 0).await;
        gate.wait_for_metric("tollgate_connections", 0).await;
    }
    let calls = provider.calls();
    assert!(calls.iter().all(|call| call.path() != "/v1/chat/completions"), "{calls:?}");
    gate.send(&gate.chat()).await.ok();
    patient.send(&patient.chat()).await.ok();
}

#[tokio::test]
async fn a_handshake_that_stalls_is_cut() {
    let (provider, home) = (Provider::start().await, TempDir::new().unwrap());
    let files = Authority::new().issue().write(home.path());
    let gate = impatient(&provider).set("listen.tls", files).start().await;
    let hello = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    let header = "header_timeout";
    all(
        &gate,
        vec![
            attack("tls: nothing", header, "", "", "closed"),
            attack("tls: half a hello", header, hello, "", "closed"),
            attack("tls: a hello, byte by byte", header, hello, [0], "closed"),
        ],
    )
    .await;
    gate.wait_for_metric("tollgate_connections", 0).await;
}

/// A request for an answer larger than every buffer on its way.
fn large(streamed: bool) -> Vec<u8> {
    let body = if streamed { stream_body() } else { chat_body() };
    body.to_string().into_bytes()
}

/// Answers every call with 30 MB.
fn pour(provider: &Provider) {
    let big = json!({"choices": [], "pad": "x".repeat(100 * 1024)}).to_string();
    let events: Vec<_> = std::iter::repeat_n(big, 300).collect();
    let whole = json!({"choices": [], "pad": "x".repeat(30 * 1024 * 1024)}).to_string();
    provider.answer(move |call| match call.json()["stream"].as_bool() {
        Some(true) => Reply::events(&events),
        _ => Reply::json_text(200, whole.clone()),
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_does_not_read_its_answer_is_cut() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).set("listen.stall_timeout", "500ms").start().await;
    pour(&provider);
    // What is to be cut has come as far as the provider; then its connection ends.
    let cut = async |calls: usize| {
        provider.wait_for_calls(calls).await;
        gate.wait_for_metric("tollgate_connections", 0).await;
    };
    let key = key_of(DEFAULT_PLAN);
    let bearer = format!("Bearer {key}");
    for (streamed, calls) in [(true, 1), (false, 2)] {
        let body = large(streamed);
        let begun = Instant::now();
        let mut client = TcpStream::connect(gate.proxy).await.unwrap();
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: t\r\nauthorization: {bearer}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        client.write_all(&[head.as_bytes(), &body].concat()).await.unwrap();
        cut(calls).await;
        println!("an answer that is not read, streamed {streamed}: {:?}", begun.elapsed());
        let mut told = Vec::new();
        drop(client.read_to_end(&mut told).await);
        assert!(told.len() < 30 * 1024 * 1024, "it was cut");
    }
    let block = raw::block(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "t"),
        (":path", "/v1/chat/completions"),
        ("content-type", "application/json"),
        ("authorization", &bearer),
    ]);
    for streamed in [true, false] {
        // No room is ever given beyond the first 64 KB of the stream.
        let begun = Instant::now();
        let mut client = raw::H2::open(gate.proxy).await;
        let head = raw::frame(HEADERS, raw::END_HEADERS, 1, &block);
        let body = raw::frame(DATA, raw::END_STREAM, 1, &large(streamed));
        client.write(&[head, body].concat()).await;
        let told = client.until(|frame| frame.ends_stream(1)).await;
        assert_eq!(told.last().map(|frame| frame.kind), Some(RST_STREAM), "it was cut");
        println!("h2: no window, streamed {streamed}: {:?}", begun.elapsed());
    }
    // All the room there can be, and nothing is read from the socket.
    let begun = Instant::now();
    let mut client = raw::H2::open(gate.proxy).await;
    let widest = 0x7fff_0000_u32.to_be_bytes();
    let window = [&[0, 4][..], &0x7fff_ffff_u32.to_be_bytes()].concat();
    let mut frames =
        [raw::frame(SETTINGS, 0, 0, &window), raw::frame(WINDOW_UPDATE, 0, 0, &widest)].concat();
    for stream in [1, 3, 5] {
        frames.extend(raw::frame(HEADERS, raw::END_HEADERS, stream, &block));
        frames.extend(raw::frame(DATA, raw::END_STREAM, stream, &large(true)));
    }
    client.write(&frames).await;
    cut(7).await;
    println!("h2: the socket is not read: {:?}", begun.elapsed());
    gate.wait_for_metric("tollgate_inflight{scope=\"requests\"}", 0).await;
    let mut late = 0;
    for record in gate.records().await {
        // A whole answer is settled before its first byte is sent. Of the three streams the
        // first that stalls ends the connection, and one may have had nothing by then.
        let outcome = match (&record["stream"], &record["bytes_out"]) {
            (Value::Bool(false), _) => "ok",
            (_, nothing) if *nothing == 0 => "client_gone_early",
            _ => "client_gone_late",
        };
        assert_eq!(record["outcome"], outcome, "{record}");
        late += usize::from(outcome == "client_gone_late");
    }
    assert!(late >= 3, "only {late} of three connections were cut in a stream");
    provider.answer(|_| Reply::json(200, &openai::chat(&chat_body())));
    gate.send(&gate.chat()).await.ok();
}
