//! HTTP/2 with clients: by prior knowledge here, by ALPN in `tls`.

use h2::Reason;

use crate::harness::client::{Connection, Request};
use crate::harness::door::chat_body;
use crate::harness::eventually::{eventually, within};
use crate::harness::gate::Gate;
use crate::harness::h2_client::H2Client;
use crate::harness::openai;
use crate::harness::provider::Provider;
use crate::harness::reply::Reply;
use crate::harness::setup::{DEFAULT_PLAN, Tollgate, key_of};

const MODEL: &str = "gpt-4o-mini";

fn asking(body: impl Into<bytes::Bytes>) -> Request {
    Request::post_text("/v1/chat/completions", body).bearer(&key_of(DEFAULT_PLAN))
}

#[tokio::test]
async fn both_versions_get_the_same_answer() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).start().await;
    let first = gate.send(&gate.chat()).await.ok();
    let mut client = H2Client::open(gate.proxy).await;
    let second = client.send(&gate.chat()).await;
    assert_eq!((second.status, &second.body), (200, &first.body));
    assert_eq!(second.header("content-length"), Some(&*first.body.len().to_string()));
    for framing in ["connection", "keep-alive", "transfer-encoding", "upgrade"] {
        assert_eq!(second.header(framing), None, "{framing}");
    }
    let names = |all: &[(String, String)]| {
        let mut names: Vec<_> = all.iter().map(|(name, _)| name.clone()).collect();
        names.sort();
        names
    };
    let mut given: Vec<_> = second.headers.keys().map(ToString::to_string).collect();
    given.sort();
    let mut expected = names(&first.head.headers);
    expected.retain(|name| name != "connection");
    assert_eq!(given, expected);
    let calls = provider.calls();
    assert_eq!(calls[0].head.start, calls[1].head.start);
    assert_eq!(calls[0].head.headers, calls[1].head.headers);
    assert_eq!(calls[0].body, calls[1].body);
    // One connection takes one request after the other.
    for _ in 0..3 {
        assert_eq!(client.send(&gate.chat()).await.status, 200);
    }
    assert_eq!(gate.records().await.len(), 5);
}

#[tokio::test]
async fn a_stream_comes_event_by_event() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).start().await;
    let held = Gate::closed();
    let events = openai::chat_events(MODEL, true);
    provider.next(Reply::gated_events(&held, &events));
    let mut client = H2Client::open(gate.proxy).await;
    let mut stream = client.open_stream(&gate.stream()).await;
    let (status, headers) = stream.head().await.unwrap();
    assert_eq!((status, headers.get("transfer-encoding")), (200, None));
    for event in openai::chat_events(MODEL, false) {
        // Nothing of the next event exists yet when this one arrives.
        held.release();
        if event == "[DONE]" {
            held.release();
        }
        assert_eq!(stream.event().await.unwrap().unwrap(), format!("data: {event}\n\n"));
    }
    assert_eq!(stream.event().await.unwrap(), None);
    assert_eq!(gate.only_record().await["outcome"], "ok");
}

#[tokio::test]
async fn a_hundred_requests_share_one_connection() {
    let provider = Provider::start().await;
    let held = Gate::closed();
    let waits = held.clone();
    provider.answer(move |call| openai::answer(call).after(&waits));
    let gate = Tollgate::before(&provider).start().await;
    let mut client = H2Client::open(gate.proxy).await;
    let mut streams = Vec::new();
    for _ in 0..100 {
        streams.push(client.open_stream(&gate.chat()).await);
    }
    provider.wait_for_calls(100).await;
    assert_eq!(client.streams(), 100, "the limit that was announced");
    held.open();
    for stream in &mut streams {
        assert_eq!(stream.answer().await.status, 200);
    }
    assert_eq!(gate.records().await.len(), 100);
}

#[tokio::test]
async fn a_client_that_cancels_one_stream_ends_that_call_alone() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).start().await;
    let (cancelled, kept) = (Gate::closed(), Gate::closed());
    let events = openai::chat_events(MODEL, true);
    let half = |held: &Gate| {
        let reply = Reply::stream().event(&events[0]).wait(held);
        events[1..].iter().fold(reply, |reply, event| reply.event(event))
    };
    let mut client = H2Client::open(gate.proxy).await;
    provider.next(half(&kept));
    let mut other = client.open_stream(&gate.stream().header("x-request-id", "other")).await;
    other.head().await.unwrap();
    provider.next(half(&cancelled));
    let mut leaver = client.open_stream(&gate.stream().header("x-request-id", "leaver")).await;
    leaver.head().await.unwrap();
    assert!(leaver.event().await.unwrap().is_some());
    leaver.cancel();
    assert_eq!(provider.wait_for_disconnect().await, 1);
    assert_eq!(gate.record_of("leaver").await["outcome"], "client_gone_late");
    kept.open();
    assert_eq!(other.events().await.unwrap(), openai::chat_events(MODEL, false));
    assert_eq!(gate.record_of("other").await["outcome"], "ok");
    assert_eq!(provider.disconnects(), [1]);
}

#[tokio::test]
async fn a_client_that_cancels_before_the_answer_ends_the_call_too() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).start().await;
    provider.next(Reply::hang());
    let mut client = H2Client::open(gate.proxy).await;
    let leaver = client.open_stream(&gate.chat().header("x-request-id", "leaver")).await;
    provider.wait_for_calls(1).await;
    leaver.cancel();
    assert_eq!(gate.record_of("leaver").await["outcome"], "client_gone_early");
    assert_eq!(provider.wait_for_disconnect().await, 0);
    assert_eq!(client.send(&gate.chat()).await.status, 200, "the connection lives on");
}

#[tokio::test]
async fn a_connection_that_breaks_ends_every_call_on_it() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).start().await;
    provider.answer(|_| Reply::hang());
    let mut client = H2Client::open(gate.proxy).await;
    let mut streams = Vec::new();
    for _ in 0..5 {
        streams.push(client.open_stream(&gate.chat()).await);
    }
    provider.wait_for_calls(5).await;
    drop(streams);
    drop(client);
    let records = gate.wait_for_records(5).await;
    assert!(records.iter().all(|record| record["outcome"] == "client_gone_early"), "{records:?}");
    eventually("every call to be left", async || (provider.disconnects().len() == 5).then_some(()))
        .await;
}

#[tokio::test]
async fn a_stream_that_the_provider_cuts_is_reset() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).start().await;
    let events = openai::chat_events(MODEL, true);
    let two = events[0].len() + events[1].len() + 16;
    provider.next(Reply::events(&events).cut_after(two));
    let mut client = H2Client::open(gate.proxy).await;
    let mut stream = client.open_stream(&gate.stream().header("x-request-id", "cut")).await;
    stream.head().await.unwrap();
    for event in &openai::chat_events(MODEL, false)[..2] {
        assert_eq!(stream.event().await.unwrap().unwrap(), format!("data: {event}\n\n"));
    }
    let error = stream.event().await.expect_err("no proper end");
    assert!(error.is_reset(), "{error}");
    assert_eq!(gate.record_of("cut").await["outcome"], "cut");
    assert_eq!(client.send(&gate.chat()).await.status, 200, "the connection lives on");
}

#[tokio::test]
async fn refusals_have_their_words_and_keep_the_connection() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).set("listen.body_limit", "100KB").start().await;
    let mut client = H2Client::open(gate.proxy).await;
    let large = "x".repeat(200 * 1024);
    let stranger = Request::post("/v1/chat/completions", &chat_body()).bearer("tg_live_nobody");
    assert_eq!(client.send(&stranger).await.refused(401), "invalid_api_key");
    assert_eq!(client.send(&asking("{")).await.refused(400), "invalid_json");
    assert_eq!(client.send(&asking(large.clone())).await.refused(413), "request_too_large");
    assert_eq!(client.send(&Request::get("/nowhere")).await.refused(404), "not_found");
    let get = Request::get("/v1/chat/completions").bearer(&key_of(DEFAULT_PLAN));
    assert_eq!(client.send(&get).await.refused(405), "method_not_allowed");
    let head = client.send(&Request::new("HEAD", "/v1/models").bearer(&key_of(DEFAULT_PLAN))).await;
    assert_eq!((head.status, head.body.len()), (405, 0));
    let wide = gate.chat().header("x-wide", &"y".repeat(40 * 1024));
    assert_eq!(client.send(&wide).await.refused(431), "headers_too_large");
    assert_eq!(client.send(&gate.chat()).await.status, 200);
    assert_eq!(provider.calls().len(), 1);
}

#[tokio::test]
async fn a_refusal_does_not_wait_for_the_body() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).start().await;
    let mut client = H2Client::open(gate.proxy).await;
    let stranger = Request::post_text("/v1/chat/completions", "x".repeat(1024 * 1024));
    let stranger = stranger.bearer("tg_live_nobody");
    let (mut stream, mut out) = client.begin(&stranger).await;
    out.send_data("x".repeat(1000).into(), false).unwrap();
    assert_eq!(stream.answer().await.refused(401), "invalid_api_key");
    let told = std::future::poll_fn(|cx| out.poll_reset(cx));
    assert_eq!(within("a reset", told).await.unwrap(), Reason::NO_ERROR);
    assert_eq!(client.send(&gate.chat()).await.status, 200);
}

#[tokio::test]
async fn headers_beyond_the_announced_size_are_refused_by_the_protocol() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).start().await;
    let mut client = H2Client::open(gate.proxy).await;
    assert_eq!(client.send(&gate.chat()).await.status, 200);
    let wide = gate.chat().header("x-wide", &"y".repeat(80 * 1024));
    match client.open_stream(&wide).await.try_answer().await {
        Ok(answer) => assert_eq!(answer.status, 431),
        Err(error) => assert!(error.is_reset() || error.is_go_away(), "{error}"),
    }
    assert_eq!(provider.calls().len(), 1);
    assert_eq!(H2Client::open(gate.proxy).await.send(&gate.chat()).await.status, 200);
}

#[tokio::test]
async fn a_body_larger_than_every_window_arrives_whole() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).start().await;
    let mut body = chat_body();
    body["messages"][0]["content"] = "z".repeat(3 * 1024 * 1024).into();
    let request = asking(body.to_string());
    let mut client = H2Client::open(gate.proxy).await;
    assert_eq!(client.send(&request).await.status, 200);
    assert_eq!(provider.only_call().body, *request.body());
}

#[tokio::test]
async fn a_reader_that_stops_holds_up_nobody_else() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).start().await;
    let big = format!(r#"{{"choices":[],"pad":"{}"}}"#, "x".repeat(64 * 1024));
    let events: Vec<_> = std::iter::repeat_n(big, 50).chain(["[DONE]".to_owned()]).collect();
    provider.next(Reply::events(&events));
    let mut client = H2Client::open(gate.proxy).await;
    let mut builder = h2::client::Builder::new();
    builder.initial_connection_window_size(1024 * 1024);
    let mut narrow = H2Client::open_with(gate.proxy, &builder).await;
    let mut slow = narrow.open_stream(&gate.stream()).await;
    slow.head().await.unwrap();
    assert_eq!(narrow.send(&gate.chat()).await.status, 200);
    assert_eq!(client.send(&gate.chat()).await.status, 200);
    assert_eq!(slow.events().await.unwrap(), events);
}

#[tokio::test]
async fn requests_of_any_length_are_told_from_the_preface() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).start().await;
    // Shorter than the preface, which must not be waited for.
    let mut short = Connection::open(gate.proxy).await;
    short.send(b"GET / HTTP/1.0\r\n\r\n").await;
    assert_eq!(short.answer().await.status(), 404);
    // Like the preface at first.
    let bytes = gate.chat().bytes();
    let mut split = Connection::open(gate.proxy).await;
    split.send(&bytes[..1]).await;
    split.send(&bytes[1..]).await;
    assert_eq!(split.answer().await.status(), 200);
    let mut alike = Connection::open(gate.proxy).await;
    alike.send(b"PRI * HTTP/2.0\r\n\r\nAND NOW FOR SOMETHING ELSE\r\n\r\n").await;
    assert_eq!(alike.answer().await.status(), 400);
}

#[tokio::test]
async fn a_preface_that_does_not_come_is_not_waited_for() {
    use std::io::ErrorKind::{ConnectionReset, UnexpectedEof};
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).set("listen.header_timeout", "300ms").start().await;
    for begun in [&b"P"[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r"] {
        let mut slow = Connection::open(gate.proxy).await;
        slow.send(begun).await;
        // An answer or a closed connection: either way it is over.
        match slow.try_answer().await {
            Ok(answer) => assert!([400, 408].contains(&answer.status()), "{answer:?}"),
            Err(error) => assert!([UnexpectedEof, ConnectionReset].contains(&error.kind())),
        }
    }
}

// The stop blocks a thread.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_lets_running_streams_end_and_takes_no_new_ones() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).set("shutdown.grace", "30s").start().await;
    let held = Gate::closed();
    let events = openai::chat_events(MODEL, true);
    let reply = Reply::stream().event(&events[0]).wait(&held);
    provider.next(events[1..].iter().fold(reply, |reply, event| reply.event(event)));
    let mut client = H2Client::open(gate.proxy).await;
    let mut stream = client.open_stream(&gate.stream()).await;
    stream.head().await.unwrap();
    assert!(stream.event().await.unwrap().is_some());
    let restarted = tokio::spawn(gate.restart());
    client.closed_to_requests().await;
    held.open();
    assert_eq!(stream.events().await.unwrap(), openai::chat_events(MODEL, false)[1..]);
    client.ended().await.unwrap();
    let gate = within("the restart", restarted).await.unwrap();
    assert_eq!(gate.only_record().await["outcome"], "ok");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_connection_does_not_hold_up_a_stop() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).set("shutdown.grace", "60s").start().await;
    let mut client = H2Client::open(gate.proxy).await;
    assert_eq!(client.send(&gate.chat()).await.status, 200);
    // Far sooner than the grace.
    let gate = within("the restart", gate.restart()).await;
    client.ended().await.unwrap();
    assert_eq!(gate.records().await.len(), 1);
}
