//! Streams pass event by event: none lost, none merged, none held back.
//! Covers J1, B1 and invariant 5.

use serde_json::json;

use crate::harness::client::Request;
use crate::harness::door::stream_body;
use crate::harness::gate::Gate;
use crate::harness::gateway::Gateway;
use crate::harness::openai::{self, CACHED, INPUT, OUTPUT};
use crate::harness::provider::Provider;
use crate::harness::reply::Reply;
use crate::harness::setup::{DEFAULT_PLAN, Tollgate, key_of};

const MODEL: &str = "gpt-4o-mini";

async fn before(provider: &Provider) -> Gateway {
    Tollgate::before(provider).start().await
}

/// A streamed request that asks for usage itself.
fn asking() -> Request {
    let mut body = stream_body();
    body["stream_options"] = json!({"include_usage": true});
    Request::post("/v1/chat/completions", &body).bearer(&key_of(DEFAULT_PLAN))
}

#[tokio::test]
async fn each_event_arrives_before_the_next_is_sent() {
    let provider = Provider::start().await;
    let gate = before(&provider).await;
    let held = Gate::closed();
    let events = openai::chat_events(MODEL, true);
    provider.next(Reply::gated_events(&held, &events));
    let mut connection = gate.open(&asking()).await;
    let head = connection.head().await;
    assert_eq!(head.header("content-type"), Some("text/event-stream"));
    for event in &events {
        held.release();
        assert_eq!(&connection.event_data().await, event);
    }
    assert_eq!(connection.event().await.unwrap(), None);
    assert_eq!(events.last().map(String::as_str), Some("[DONE]"));
}

#[tokio::test]
async fn a_burst_keeps_every_byte() {
    let provider = Provider::start().await;
    let gate = before(&provider).await;
    let events: Vec<String> = (0..500)
        .map(|n| format!(r#"{{"choices":[{{"index":0,"delta":{{"content":"{n}"}}}}]}}"#))
        .chain(openai::chat_events(MODEL, true))
        .collect();
    provider.next(Reply::events(&events));
    let answer = gate.send(&asking()).await.ok();
    let expected: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
    assert_eq!(answer.text(), expected);
}

#[tokio::test]
async fn events_split_and_joined_by_the_provider_keep_every_byte() {
    let provider = Provider::start().await;
    let gate = before(&provider).await;
    let events = openai::chat_events(MODEL, true);
    let text: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
    // Comments, other fields, carriage returns: all that a stream may hold.
    let text =
        format!(": keep-alive\n\nevent: x\r\nid: 7\r\ndata: {{\"choices\":[]}}\r\n\r\n{text}");
    for size in [1, 7, 100, 100_000] {
        let reply = text
            .as_bytes()
            .chunks(size)
            .fold(Reply::stream(), |reply, part| reply.chunk(part.to_vec()));
        provider.next(reply);
        assert_eq!(gate.send(&asking()).await.ok().text(), text, "in pieces of {size}");
    }
    provider.next(
        Reply::bytes(200, text.clone())
            .header("content-type", "text/event-stream")
            .close_delimited(),
    );
    assert_eq!(gate.send(&asking()).await.ok().text(), text, "until the connection's end");
}

#[tokio::test]
async fn usage_is_asked_for_and_taken_out_again() {
    let provider = Provider::start().await;
    let gate = before(&provider).await;
    let answer = gate.send(&gate.stream()).await.ok();
    let sent = provider.only_call().json();
    assert_eq!(sent["stream_options"], json!({"include_usage": true}));
    assert_eq!(answer.events(), openai::chat_events(MODEL, false));
    let record = gate.only_record().await;
    assert_eq!(
        record["tokens"],
        json!({"input": INPUT, "cached_input": CACHED, "output": OUTPUT, "reasoning": 2})
    );
    assert_eq!((&record["estimated"], &record["stream"]), (&json!(false), &json!(true)));
}

#[tokio::test]
async fn a_client_that_asked_for_usage_gets_the_providers_bytes() {
    let provider = Provider::start().await;
    let gate = before(&provider).await;
    let request = asking();
    let answer = gate.send(&request).await.ok();
    assert!(request.bytes().ends_with(&provider.only_call().body), "nothing was to be changed");
    assert_eq!(answer.events(), openai::chat_events(MODEL, true));
}

#[tokio::test]
async fn a_long_prompt_arrives_to_the_byte() {
    let provider = Provider::start().await;
    let gate = before(&provider).await;
    for size in [17_000, 300_000, 2_500_000] {
        let mut body = stream_body();
        body["messages"][0]["content"] = "0123456789".repeat(size / 10).into();
        body["stream_options"] = json!({"include_usage": true});
        let unchanged = Request::post("/v1/chat/completions", &body).bearer(&key_of(DEFAULT_PLAN));
        gate.send(&unchanged).await.ok();
        let calls = provider.calls();
        assert!(calls.last().unwrap().body == unchanged.body(), "{size}");
        // Asked for usage, it goes in several pieces.
        body["stream_options"] = json!({"include_usage": false});
        let asked = Request::post("/v1/chat/completions", &body).bearer(&key_of(DEFAULT_PLAN));
        gate.send(&asked).await.ok();
        body["stream_options"] = json!({"include_usage": true});
        assert!(provider.calls().last().unwrap().json() == body, "{size}");
    }
}

#[tokio::test]
async fn a_client_that_refuses_usage_does_not_get_it() {
    let provider = Provider::start().await;
    let gate = before(&provider).await;
    let mut body = stream_body();
    body["stream_options"] = json!({"include_usage": false, "include_obfuscation": false});
    let request = Request::post("/v1/chat/completions", &body).bearer(&key_of(DEFAULT_PLAN));
    let answer = gate.send(&request).await.ok();
    assert_eq!(
        provider.only_call().json()["stream_options"],
        json!({"include_usage": true, "include_obfuscation": false})
    );
    assert_eq!(answer.events(), openai::chat_events(MODEL, false));
}

#[tokio::test]
async fn a_provider_declared_without_stream_usage_is_not_asked() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).provider("stream_usage", false).start().await;
    provider.next(Reply::events(openai::chat_events(MODEL, false)));
    let answer = gate.send(&gate.stream()).await.ok();
    assert_eq!(answer.events(), openai::chat_events(MODEL, false));
    assert_eq!(provider.only_call().json().get("stream_options"), None);
    let record = gate.only_record().await;
    assert_eq!(record["estimated"], true);
    assert!(record["tokens"]["input"].as_u64().is_some_and(|tokens| tokens > 0), "{record}");
    assert!(record["tokens"]["output"].as_u64().is_some_and(|tokens| tokens > 0), "{record}");
}

#[tokio::test]
async fn json_in_answer_to_a_streamed_request_passes() {
    let provider = Provider::start().await;
    let gate = before(&provider).await;
    let body = format!("{{ \"usage\" : {} }}", openai::usage());
    provider.next(Reply::json_text(200, body.clone()));
    let answer = gate.send(&gate.stream()).await.ok();
    assert_eq!(answer.body, body);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(gate.only_record().await["tokens"]["input"], INPUT);
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_providers_call_at_once() {
    let provider = Provider::start().await;
    let gate = before(&provider).await;
    let held = Gate::closed();
    let events = openai::chat_events(MODEL, true);
    for (count, reset) in [(1, false), (2, true)] {
        provider.next(Reply::stream().event(&events[0]).wait(&held).event(&events[1]));
        let id = format!("leaver-{count}");
        let mut connection = gate.open(&gate.stream().header("x-request-id", &id)).await;
        connection.head().await;
        assert_eq!(connection.event_data().await, openai::chat_events(MODEL, false)[0]);
        held.reached_by(count).await;
        if reset {
            connection.reset()
        } else {
            drop(connection)
        }
        crate::harness::eventually::eventually("the provider to be left", async || {
            (provider.disconnects().len() == count).then_some(())
        })
        .await;
        assert_eq!(gate.record_of(&id).await["outcome"], "client_gone_late");
    }
}

#[tokio::test]
async fn a_client_that_leaves_before_the_first_byte_ends_the_call_too() {
    let provider = Provider::start().await;
    let gate = before(&provider).await;
    for request in [gate.chat(), gate.stream()] {
        let seen = provider.calls().len();
        let id = format!("leaver-{seen}");
        provider.next(Reply::hang());
        let connection = gate.open(&request.header("x-request-id", &id)).await;
        provider.wait_for_calls(seen + 1).await;
        drop(connection);
        assert_eq!(gate.record_of(&id).await["outcome"], "client_gone_early");
    }
    crate::harness::eventually::eventually("both calls to be left", async || {
        (provider.disconnects() == [0, 1]).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_stream_that_breaks_off_never_looks_whole() {
    let provider = Provider::start().await;
    let gate = before(&provider).await;
    let events = openai::chat_events(MODEL, true);
    let whole: Vec<usize> = events.iter().map(|event| event.len() + 8).collect();
    let between = whole[0] + whole[1];
    let replies = [
        Reply::events(&events).cut_after(between),
        Reply::events(&events).cut_after(between + 10),
        Reply::events(&events).reset_after(between),
    ];
    for (number, reply) in replies.into_iter().enumerate() {
        provider.next(reply);
        let id = format!("cut-{number}");
        let mut connection = gate.open(&gate.stream().header("x-request-id", &id)).await;
        assert_eq!(connection.head().await.status(), 200);
        let mut ended_well = false;
        let mut seen = Vec::new();
        loop {
            match connection.event().await {
                Ok(Some(event)) => seen.push(event),
                Ok(None) => break ended_well = true,
                Err(_) => break,
            }
        }
        assert!(!ended_well, "reply {number} ended like a whole answer: {seen:?}");
        assert!(!seen.iter().any(|event| event.ends_with(b"[DONE]\n\n")), "{seen:?}");
        assert!(seen.len() >= 2, "what came before the cut was lost: {seen:?}");
        assert_eq!(gate.record_of(&id).await["outcome"], "cut");
    }
}

#[tokio::test]
async fn a_slow_reader_gets_everything() {
    let provider = Provider::start().await;
    let gate = before(&provider).await;
    // More than the sockets' buffers hold, so that somebody has to wait.
    let big = format!(r#"{{"choices":[],"pad":"{}"}}"#, "x".repeat(64 * 1024));
    let events: Vec<String> = std::iter::repeat_n(big, 400).chain(["[DONE]".to_owned()]).collect();
    provider.next(Reply::events(&events));
    let mut connection = gate.open(&asking()).await;
    connection.head().await;
    for event in &events {
        assert!(&connection.event_data().await == event, "an event was changed");
    }
    assert_eq!(connection.event().await.unwrap(), None);
}
