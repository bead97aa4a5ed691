//! Streams: dealt out while they come.

use serde_json::{Value, json};

use super::{Scene, ask, count, sums, text, usage};
use crate::harness::client::{Connection, Request};
use crate::harness::door::stream_body;
use crate::harness::gate::Gate;
use crate::harness::reply::Reply;

/// The data of the events of the answer to `body`, of which it makes the choices that
/// `makes` says: by turns, and two in one event at the end.
pub(super) fn events(body: &Value, makes: impl Fn(u64) -> bool) -> Vec<String> {
    let with_usage = body["stream_options"]["include_usage"] == true;
    let event = |choices: Vec<Value>, usage: Value| {
        let mut event = json!({
            "id": "chatcmpl-7", "object": "chat.completion.chunk", "created": 1_700_000_000,
            "model": body["model"], "choices": choices,
        });
        if with_usage {
            event["usage"] = usage;
        }
        event.to_string()
    };
    let delta = |number: u64, delta: Value, finish: Value| json!({"index": number, "delta": delta, "finish_reason": finish});
    let all: Vec<u64> = (0..count(body)).filter(|number| makes(*number)).collect();
    let mut events = Vec::new();
    for number in &all {
        let opening = json!({"role": "assistant", "content": ""});
        events.push(event(vec![delta(*number, opening, Value::Null)], Value::Null));
    }
    let words: Vec<Vec<String>> = all
        .iter()
        .map(|number| text(*number).split_inclusive(' ').map(str::to_owned).collect())
        .collect();
    for place in 0..words.iter().map(Vec::len).max().unwrap_or(0) {
        for (number, words) in all.iter().zip(&words) {
            if let Some(word) = words.get(place) {
                let said = delta(*number, json!({"content": word}), Value::Null);
                events.push(event(vec![said], Value::Null));
            }
        }
    }
    let ends = all.iter().map(|number| delta(*number, json!({}), json!("stop"))).collect();
    events.push(event(ends, Value::Null));
    if with_usage {
        events.push(event(Vec::new(), usage(body)));
    }
    events.push("[DONE]".to_owned());
    events
}

/// The joint body of so many streamed requests, as the provider sees it.
pub(super) fn joint(samples: u64) -> Value {
    let mut body = stream_body();
    body["n"] = json!(samples);
    body["stream_options"] = json!({"include_usage": true});
    body
}

pub(super) fn with_usage() -> Request {
    let mut body = stream_body();
    body["stream_options"] = json!({"include_usage": true});
    ask(&body)
}

/// Reads a stream to its end, after `said`: that it is the choice of this number alone,
/// with its own figures if it asked for them. Gives its answer tokens, if so.
pub(super) async fn holds(
    connection: &mut Connection,
    number: u64,
    mut said: String,
    asked: bool,
) -> Option<u64> {
    let (mut finish, mut output, mut ids) = (Vec::new(), None, Vec::new());
    loop {
        let data = connection.event_data().await;
        if data == "[DONE]" {
            break;
        }
        assert!(output.is_none(), "nothing comes after the usage but the end");
        let event: Value = serde_json::from_str(&data).unwrap();
        ids.push(event["id"].as_str().unwrap().to_owned());
        assert_eq!(event.get("usage").is_some(), asked, "{event}");
        match event["choices"].as_array().unwrap().as_slice() {
            [choice] => {
                assert_eq!(choice["index"], 0, "{event}");
                said.push_str(choice["delta"]["content"].as_str().unwrap_or_default());
                finish.extend(choice["finish_reason"].as_str().map(str::to_owned));
            }
            [] => {
                let used = &event["usage"];
                output = used["completion_tokens"].as_u64();
                let total = used["prompt_tokens"].as_u64().unwrap() + output.unwrap();
                assert_eq!(used["total_tokens"], total, "{event}");
            }
            _ => panic!("{event}"),
        }
    }
    assert_eq!(connection.event().await.unwrap(), None);
    assert_eq!((said, finish), (text(number), vec!["stop".to_owned()]));
    ids.dedup();
    let id = if number == 0 { "chatcmpl-7".to_owned() } else { format!("chatcmpl-7-{number}") };
    assert_eq!(ids, [id]);
    assert_eq!(output.is_some(), asked);
    output
}

#[tokio::test]
async fn each_has_its_own_stream_while_it_comes() {
    let mut scene = Scene::begin(|setup| setup).await;
    scene.wait(&ask(&stream_body()), 1).await;
    scene.wait(&with_usage(), 2).await;
    scene.wait(&with_usage(), 3).await;
    let held = Gate::closed();
    let body = joint(3);
    scene.provider.next(Reply::gated_events(&held, events(&body, |_| true)));
    scene.close();
    let call = scene.provider.wait_for_calls(1).await.remove(0);
    assert_eq!(count(&call.json()), 3);
    // Who has its first event can read it, whatever others have.
    for (number, place) in (0..3).zip(0_usize..) {
        held.release();
        let connection = &mut scene.coming[place];
        let head = connection.head().await;
        assert_eq!(head.header("x-tollgate-cache"), Some("batched"));
        assert_eq!(head.header("content-type"), Some("text/event-stream"));
        let first: Value = serde_json::from_str(&connection.event_data().await).unwrap();
        assert_eq!(first["choices"][0]["delta"]["role"], "assistant", "{number}");
    }
    held.open();
    holds(&mut scene.coming[0], 0, String::new(), false).await;
    let one = holds(&mut scene.coming[1], 1, String::new(), true).await.unwrap();
    let two = holds(&mut scene.coming[2], 2, String::new(), true).await.unwrap();
    assert!(one < two);
    let records = scene.gate.records().await;
    sums::add_up(&scene.provider, &records);
    let total: u64 = records.iter().filter_map(|it| it["tokens"]["output"].as_u64()).sum();
    assert_eq!(total, usage(&body)["completion_tokens"].as_u64().unwrap());
    assert!(
        records.iter().all(|record| record["tokens"]["input"] == usage(&body)["prompt_tokens"])
    );
    assert_eq!(scene.counts(), [3]);
}

/// The provider that says nothing of usage has it counted, and divided all the same.
#[tokio::test]
async fn without_figures_each_is_counted() {
    let mut scene = Scene::begin(|setup| setup).await;
    scene.gather(&ask(&stream_body()), 2).await;
    let mut body = joint(2);
    body["stream_options"] = Value::Null;
    scene.provider.next(Reply::events(events(&body, |_| true)));
    scene.close();
    for (connection, number) in scene.coming.iter_mut().zip(0..) {
        connection.head().await;
        holds(connection, number, String::new(), false).await;
    }
    let records = scene.gate.records().await;
    assert!(records.iter().all(|record| record["estimated"] == true));
    let mut outputs: Vec<_> =
        records.iter().filter_map(|record| record["tokens"]["output"].as_u64()).collect();
    outputs.sort_unstable();
    assert!(outputs[0] > 0 && outputs[0] < outputs[1], "{outputs:?}");
}

/// One who reads nothing holds up nobody.
#[tokio::test]
async fn a_slow_reader_slows_nobody() {
    let mut scene = Scene::begin(|setup| setup).await;
    scene.gather(&ask(&stream_body()), 2).await;
    let delta = |number: u64, text: &str| {
        json!({"id": "c", "choices": [{"index": number, "delta": {"content": text}}]}).to_string()
    };
    let long = "x".repeat(60_000);
    let mut reply = Reply::stream();
    for _ in 0..100 {
        reply = reply.event(&delta(0, &long)).event(&delta(1, "y"));
    }
    scene.provider.next(reply.event("[DONE]"));
    scene.close();
    let [slow, quick] = scene.coming.as_mut_slice() else { panic!("two have come") };
    slow.head().await;
    quick.head().await;
    for _ in 0..100 {
        assert!(quick.event_data().await.contains("\"content\":\"y\""));
    }
    assert_eq!(quick.event_data().await, "[DONE]");
    for _ in 0..100 {
        assert_eq!(slow.event_data().await.len(), delta(0, &long).len());
    }
    assert_eq!(slow.event_data().await, "[DONE]");
}
