//! Real shapes of each pair, and properties. Covers E4.

mod answers;
mod bad;
mod chat_to_messages;
mod completions;
mod gemini;
mod ids;
mod messages_to_chat;
mod models;
mod mutations;
mod properties;
mod responses;
mod roundtrips;
mod streams;

use bytes::BytesMut;
use serde_json::{Value, json};

use super::*;
use crate::base::sse::{self, Piece, Splitter};

/// The moment of every answer.
const NOW: Timestamp = Timestamp(1_700_000_000_000_000);

/// The translation of `body`, or what is wrong with it.
fn try_translate(
    from: Dialect,
    to: Dialect,
    body: &Value,
    on: OnUnsupported,
) -> Result<Translated, Bad> {
    ask(from, to, body.to_string().as_bytes(), "target-model", on)
}

/// The translation of `body` for the target's model `model`.
fn ask(
    from: Dialect,
    to: Dialect,
    body: &[u8],
    model: &str,
    on: OnUnsupported,
) -> Result<Translated, Bad> {
    let to = To { dialect: to, model, wording: &Wording::default() };
    request(from, &to, body, on)
}

/// The provider's body for `body`.
fn translate(from: Dialect, to: Dialect, body: &Value) -> Value {
    let translated = try_translate(from, to, body, OnUnsupported::Refuse).unwrap();
    serde_json::from_slice(&translated.body).unwrap()
}

/// The field that keeps `body` from being translated.
fn unsupported(from: Dialect, to: Dialect, body: &Value) -> String {
    match try_translate(from, to, body, OnUnsupported::Refuse) {
        Err(Bad::Unsupported(unsupported)) => unsupported.param,
        other => panic!("{other:?}"),
    }
}

/// The field that is wrong in `body`.
fn invalid(from: Dialect, to: Dialect, body: &Value) -> String {
    match try_translate(from, to, body, OnUnsupported::Refuse) {
        Err(Bad::Invalid { param, .. }) => param,
        other => panic!("{other:?}"),
    }
}

/// `body` with the members of `more`.
fn with(mut body: Value, more: &Value) -> Value {
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// A small request in dialect `from`.
fn question(from: Dialect) -> Value {
    let messages = json!([{"role": "user", "content": "Hi"}]);
    match from {
        Dialect::Completions => json!({"model": "public", "prompt": "Hi"}),
        Dialect::Responses => json!({"model": "public", "input": "Hi"}),
        Dialect::Messages => json!({"model": "public", "max_tokens": 9, "messages": messages}),
        Dialect::Chat | Dialect::Gemini => json!({"model": "public", "messages": messages}),
    }
}

/// The translation of the answers to [`question`].
fn answers(from: Dialect, to: Dialect) -> Translation {
    let body = question(from);
    let answers = try_translate(from, to, &body, OnUnsupported::Refuse).unwrap().answers;
    Translation { ids: Ids::of("own"), ..answers.at(NOW) }
}

/// The whole answer `body` for the client of `translation`.
fn whole(translation: &Translation, body: &Value) -> Value {
    serde_json::from_slice(&translation.whole(body.to_string().as_bytes()).unwrap()).unwrap()
}

/// What a stream of `events` comes to for the client, pushed in chunks of
/// `chunk` bytes.
fn stream(translation: &Translation, events: &str, chunk: usize) -> Result<String, Garbled> {
    let mut translator = translation.events();
    let mut out = BytesMut::new();
    for chunk in events.as_bytes().chunks(chunk) {
        translator.push(chunk, &mut out)?;
    }
    translator.end(&mut out)?;
    Ok(String::from_utf8(out.to_vec()).unwrap())
}

/// The payloads of `events`, `[DONE]` left out. Checks that the name of each
/// event is its type.
fn payloads(events: &str) -> Vec<Value> {
    let mut splitter = Splitter::new(1 << 20);
    splitter.push(Bytes::copy_from_slice(events.as_bytes()));
    let mut payloads = Vec::new();
    while let Some(Piece::Event(event)) = splitter.next_piece() {
        let data = sse::data(&event).unwrap();
        if data.as_ref() != b"[DONE]" {
            let payload: Value = serde_json::from_slice(&data).unwrap();
            if let Some(name) = sse::name(&event) {
                assert_eq!(payload["type"], std::str::from_utf8(name).unwrap());
            }
            payloads.push(payload);
        }
    }
    assert_eq!(splitter.finish(), None);
    payloads
}

/// A stream as servers of OpenAI's family write it.
fn plain_events(payloads: &[Value]) -> String {
    let events: String = payloads.iter().map(|payload| format!("data: {payload}\n\n")).collect();
    events + "data: [DONE]\n\n"
}

/// A stream as Anthropic writes it.
fn named_events(payloads: &[Value]) -> String {
    let event = |payload: &Value| {
        format!("event: {}\ndata: {payload}\n\n", payload["type"].as_str().unwrap())
    };
    payloads.iter().map(event).collect()
}

fn append(to: &mut Value, more: &Value) {
    let text = format!("{}{}", to.as_str().unwrap_or_default(), more.as_str().unwrap());
    *to = text.into();
}

/// What the events of a chat completion add up to: the message of choice 0
/// with its `finish_reason`, and the usage.
fn add_up_chat(events: &str) -> Value {
    assert!(events.ends_with("data: [DONE]\n\n"), "{events}");
    let mut message = json!({"content": null, "tool_calls": []});
    let (mut usage, mut finish) = (Value::Null, Value::Null);
    for chunk in payloads(events) {
        assert_eq!(chunk["object"], "chat.completion.chunk");
        usage = chunk.get("usage").cloned().unwrap_or(usage);
        let Some(choice) = chunk["choices"].get(0) else { continue };
        finish = if choice["finish_reason"].is_null() {
            finish
        } else {
            choice["finish_reason"].clone()
        };
        for name in ["content", "refusal", "reasoning_content"] {
            if let Some(text) = choice["delta"].get(name) {
                append(&mut message[name], text);
            }
        }
        for call in choice["delta"]["tool_calls"].as_array().into_iter().flatten() {
            let calls = message["tool_calls"].as_array_mut().unwrap();
            let index = usize::try_from(call["index"].as_u64().unwrap()).unwrap();
            if index == calls.len() {
                let mut call = call.clone();
                call.as_object_mut().unwrap().remove("index");
                calls.push(call);
            } else {
                append(&mut calls[index]["function"]["arguments"], &call["function"]["arguments"]);
            }
        }
        for block in choice["delta"]["thinking_blocks"].as_array().into_iter().flatten() {
            let index = usize::try_from(block["index"].as_u64().unwrap()).unwrap();
            let mut block = block.clone();
            block.as_object_mut().unwrap().remove("index");
            if message["thinking_blocks"].get(index).is_none() {
                match message["thinking_blocks"].as_array_mut() {
                    Some(blocks) => blocks.push(block),
                    None => message["thinking_blocks"] = json!([block]),
                }
            } else {
                for name in ["thinking", "signature"] {
                    if let Some(text) = block.get(name) {
                        append(&mut message["thinking_blocks"][index][name], text);
                    }
                }
            }
        }
    }
    json!({"message": message, "finish_reason": finish, "usage": usage})
}

/// What the events of a message add up to; checks that blocks follow each
/// other.
fn add_up_message(events: &str) -> Value {
    let payloads = payloads(events);
    assert_eq!(payloads.first().unwrap()["type"], "message_start");
    assert_eq!(payloads.last().unwrap()["type"], "message_stop");
    let mut message = payloads[0]["message"].clone();
    let mut open = None;
    for event in &payloads[1..] {
        let index = event["index"].as_u64().map(|index| usize::try_from(index).unwrap());
        match event["type"].as_str().unwrap() {
            "content_block_start" => {
                assert_eq!(open, None);
                open = index;
                let blocks = message["content"].as_array_mut().unwrap();
                assert_eq!(index, Some(blocks.len()));
                blocks.push(event["content_block"].clone());
            }
            "content_block_delta" => {
                assert_eq!(open, index);
                let block = &mut message["content"][index.unwrap()];
                let delta = &event["delta"];
                match delta["type"].as_str().unwrap() {
                    "text_delta" => append(&mut block["text"], &delta["text"]),
                    "thinking_delta" => append(&mut block["thinking"], &delta["thinking"]),
                    "signature_delta" => append(&mut block["signature"], &delta["signature"]),
                    "input_json_delta" => append(&mut block["partial"], &delta["partial_json"]),
                    other => panic!("{other}"),
                }
            }
            "content_block_stop" => {
                assert_eq!(open.take(), index);
                let block = message["content"][index.unwrap()].as_object_mut().unwrap();
                if let Some(partial) = block.remove("partial") {
                    let input = serde_json::from_str(partial.as_str().unwrap()).unwrap();
                    block.insert("input".to_owned(), input);
                }
            }
            "message_delta" => {
                let changes = event["delta"].as_object().unwrap().clone();
                message.as_object_mut().unwrap().extend(changes);
                message["usage"] = event["usage"].clone();
            }
            "message_stop" => {}
            other => panic!("{other}"),
        }
    }
    assert_eq!(open, None);
    message
}
