//! The harness proves itself: the mock provider against the test client.

use serde_json::json;

use super::client::{Connection, Request};
use super::door::{Door, chat_body, stream_body};
use super::gate::Gate;
use super::openai;
use super::plan::Plan;
use super::provider::{Provider, nowhere};
use super::reply::{Reply, Step};
use super::sdk;
use super::setup::{Tollgate, key_of};

const CHAT: &str = "/v1/chat/completions";

fn chat() -> Request {
    Request::post(CHAT, &chat_body())
}

#[tokio::test]
async fn an_unscripted_call_is_answered_like_openai_and_recorded_to_the_byte() {
    let provider = Provider::start().await;
    let request = Request::post_text(CHAT, r#"{ "model":"gpt-4o-mini" ,"x":1e400}"#);
    let answer = request.send(provider.address()).await.ok();
    assert_eq!(answer.json()["choices"][0]["message"]["content"], openai::TEXT);
    let call = provider.only_call();
    assert_eq!(call.wire, request.bytes());
    assert_eq!((call.method(), call.path()), ("POST", CHAT));
    assert_eq!(&call.body[..], br#"{ "model":"gpt-4o-mini" ,"x":1e400}"#);
    assert_eq!(call.header("content-type"), Some("application/json"));
}

#[tokio::test]
async fn a_connection_is_kept_and_a_chunked_body_is_read() {
    let provider = Provider::start().await;
    let mut connection = Connection::open(provider.address()).await;
    connection.send(&chat().bytes()).await;
    connection.answer().await.ok();
    let head = format!("POST {CHAT} HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n");
    connection.send(head.as_bytes()).await;
    connection.send(b"3\r\n{\"m\r\n7;x=y\r\nodel\":1\r\n1\r\n}\r\n0\r\n\r\n").await;
    connection.answer().await.ok();
    let calls = provider.calls();
    assert_eq!(calls.len(), 2);
    assert_eq!(calls[1].json(), json!({"model": 1}));
    assert_eq!(calls[1].connection, 0);
    assert_eq!(provider.connections(), 1);
}

#[tokio::test]
async fn gated_events_come_one_by_one_as_the_test_releases_them() {
    let provider = Provider::start().await;
    let gate = Gate::closed();
    provider.next(Reply::gated_events(&gate, ["one", "two", "[DONE]"]));
    let mut connection = chat().open(provider.address()).await;
    assert_eq!(connection.head().await.status(), 200);
    for (number, expected) in ["one", "two", "[DONE]"].into_iter().enumerate() {
        gate.reached_by(number + 1).await;
        gate.release();
        assert_eq!(connection.event_data().await, expected);
    }
    assert_eq!(connection.event().await.unwrap(), None);
}

#[tokio::test]
async fn the_head_waits_for_the_test_and_an_interim_answer_goes_before_it() {
    let provider = Provider::start().await;
    let gate = Gate::closed();
    let interim = b"HTTP/1.1 103 Early Hints\r\n\r\n";
    provider.next(Reply::json(200, &json!({})).preceded_by(interim).after(&gate));
    let mut connection = chat().open(provider.address()).await;
    assert_eq!(connection.any_head().await.status(), 103);
    gate.reached_by(1).await;
    gate.open();
    assert_eq!(connection.answer().await.status(), 200);
}

#[tokio::test]
async fn a_caller_that_leaves_mid_answer_is_noticed() {
    let provider = Provider::start().await;
    let gate = Gate::closed();
    provider.next(Reply::json(200, &json!({})));
    provider.next(Reply::gated_events(&gate, ["never"]));
    chat().send(provider.address()).await.ok();
    let mut connection = chat().open(provider.address()).await;
    connection.head().await;
    drop(connection);
    assert_eq!(provider.wait_for_disconnect().await, 1);
    // A reset counts too, and so does a departure while the provider hangs.
    provider.next(Reply::hang());
    let connection = chat().open(provider.address()).await;
    provider.wait_for_calls(3).await;
    connection.reset();
    super::eventually::eventually("both", async || {
        (provider.disconnects() == [1, 2]).then_some(())
    })
    .await;
}

#[tokio::test]
async fn every_fault_is_what_it_says() {
    let provider = Provider::start().await;
    let address = provider.address();

    provider.next(Reply::close());
    assert!(chat().open(address).await.closed().await.is_empty());

    provider.next(Reply::reset());
    let mut reset = chat().open(address).await;
    assert_eq!(reset.data().await.unwrap(), None, "nothing is expected before a head");
    assert!(reset.closed().await.is_empty());

    provider.next(Reply::raw(&b"SSH-2.0-nonsense\r\n\r\n"[..]).then(Step::Close));
    assert_eq!(chat().open(address).await.any_head().await.start, "SSH-2.0-nonsense");

    // Cut in the middle of a chunk, and between two.
    for (bytes, whole) in [(9, 0), (13, 1), (20, 1)] {
        provider.next(Reply::events(["first", "second"]).cut_after(bytes));
        let mut cut = chat().open(address).await;
        cut.head().await;
        let mut events = 0;
        while let Ok(Some(event)) = cut.event().await {
            events += usize::from(event.ends_with(b"\n\n"));
        }
        assert_eq!(events, whole, "cut after {bytes}");
    }

    // More is claimed than sent: the connection ends first.
    provider.next(Reply::bytes(200, "short").claiming(50).then(Step::Close));
    let mut short = chat().open(address).await;
    short.head().await;
    assert_eq!(short.data().await.unwrap().unwrap(), "short");
    assert!(short.data().await.is_err());

    // The end of the body is the end of the connection.
    provider.next(Reply::bytes(200, "all of it").close_delimited());
    let answer = chat().send(address).await.ok();
    assert_eq!((answer.text().as_str(), answer.header("content-length")), ("all of it", None));

    assert!(std::net::TcpStream::connect(nowhere().await.trim_start_matches("http://")).is_err());
}

#[tokio::test]
async fn an_expectation_is_met_and_an_early_answer_does_not_wait_for_the_body() {
    let provider = Provider::start().await;
    let expecting = Request::post(CHAT, &chat_body()).header("expect", "100-continue");
    let mut connection = Connection::open(provider.address()).await;
    connection.send(expecting.head().as_bytes()).await;
    assert_eq!(connection.any_head().await.status(), 100);
    connection.send(chat_body().to_string().as_bytes()).await;
    connection.answer().await.ok();

    provider.next(Reply::error(413, "too_large").early());
    let mut connection = Connection::open(provider.address()).await;
    connection.send(expecting.head().as_bytes()).await;
    assert_eq!(connection.answer().await.status(), 413);
}

#[tokio::test]
async fn idle_connections_can_be_closed() {
    let provider = Provider::start().await;
    let mut connection = chat().open(provider.address()).await;
    connection.answer().await.ok();
    assert_eq!(provider.open_connections(), 1);
    provider.close_idle().await;
    connection.closed().await;
    assert_eq!(provider.open_connections(), 0);
}

#[tokio::test]
async fn a_stream_reports_usage_only_when_asked() {
    let provider = Provider::start().await;
    let mut body = stream_body();
    let plain = Request::post(CHAT, &body).send(provider.address()).await.ok();
    assert!(!plain.text().contains("usage"));
    body["stream_options"] = json!({"include_usage": true});
    let asked = Request::post(CHAT, &body).send(provider.address()).await.ok();
    assert_eq!(asked.events(), openai::chat_events("gpt-4o-mini", true));
    assert_eq!(asked.events().last().map(String::as_str), Some("[DONE]"));
}

#[test]
fn a_configuration_says_what_the_test_said() {
    let home = tempfile::TempDir::new().unwrap();
    let file = Tollgate::at("http://127.0.0.1:9/v1")
        .plan("free", |plan| plan.per_minute(5).per_hour(50).concurrent(2).included())
        .class("docs", "0.01", &json!({"feature": "basic_suggestions"}))
        .set("routing.retries", 0)
        .set("limits.user.concurrent", 3)
        .write(home.path());
    let config: serde_json::Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let expected = Plan::named("free").per_minute(5).per_hour(50).concurrent(2).included();
    assert_eq!(config["plans"], json!([expected.into_value()]));
    assert_eq!(config["keys"], json!([{"account": "free", "plan": "free", "key": key_of("free")}]));
    assert_eq!(config["classes"][0]["prefix"], "/docs");
    assert_eq!(config["routing"], json!({"retries": 0}));
    assert_eq!(config["limits"]["user"]["concurrent"], 3);
}

/// The scripts hold against a provider itself, so that what they find out about
/// the gateway is the gateway's doing.
#[tokio::test]
async fn the_sdk_scripts_hold_without_a_gateway() {
    let provider = Provider::start().await;
    let door = Door { proxy: provider.address(), admin: provider.address() };
    for script in ["chat.py", "stream.py", "tools.py", "embeddings.py", "many_at_once.py"] {
        sdk::run(script, &door, &[("TEXT", openai::TEXT)]).await;
    }
}
