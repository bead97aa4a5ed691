//! How the mock provider answers as Anthropic does, with answers that can be
//! foretold from the request. Sources: Anthropic API reference, "Create a
//! Message", "Streaming messages", "Count tokens in a Message", "Errors".

use serde_json::{Value, json};

use super::provider::Call;
use super::reply::Reply;

/// Prompt tokens that were neither read from the provider's cache nor written.
pub(crate) const FRESH: u64 = 12;
/// Prompt tokens that were read from it.
pub(crate) const READ: u64 = 4;
/// Prompt tokens that were written to it.
pub(crate) const WRITTEN: u64 = 3;
/// The whole prompt.
pub(crate) const INPUT: u64 = FRESH + READ + WRITTEN;
/// Answer tokens.
pub(crate) const OUTPUT: u64 = 7;
/// The text of every answer.
pub(crate) const TEXT: &str = "Hello from the provider, dear caller.";
/// What every count says.
pub(crate) const COUNT: u64 = 14;

/// The answer to `call`.
pub(crate) fn answer(call: &Call) -> Reply {
    let body = call.json();
    let path = call.path().split('?').next().unwrap_or_default();
    match (call.method(), path) {
        ("POST", "/v1/messages") if body["stream"] == true => stream(message_events(&body)),
        ("POST", "/v1/messages") => Reply::json(200, &message(&body)),
        ("POST", "/v1/messages/count_tokens") => Reply::json(200, &json!({"input_tokens": COUNT})),
        _ => error(404, "not_found_error"),
    }
}

/// Anthropic's error object.
pub(crate) fn error(status: u16, kind: &str) -> Reply {
    let message = format!("the provider says {kind}");
    let error = json!({"type": kind, "message": message});
    Reply::json(
        status,
        &json!({"type": "error", "error": error, "request_id": "req_of_the_provider"}),
    )
}

/// A stream of these events, each with its name.
pub(crate) fn stream(events: impl IntoIterator<Item = Value>) -> Reply {
    events.into_iter().fold(Reply::stream(), |reply, event| reply.chunk(written(&event)))
}

/// One event as it is on the wire.
pub(crate) fn written(event: &Value) -> String {
    format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or_default())
}

/// A whole message; one to a request with tools is a call of the first.
pub(crate) fn message(request: &Value) -> Value {
    let (content, reason) = match request["tools"][0]["name"].as_str() {
        Some(name) => (
            json!([{"type": "tool_use", "id": "toolu_1", "name": name, "input": {"city": "Paris"}}]),
            "tool_use",
        ),
        None => (json!([{"type": "text", "text": TEXT}]), "end_turn"),
    };
    json!({
        "id": "msg_mock", "type": "message", "role": "assistant", "model": request["model"],
        "content": content, "stop_reason": reason, "stop_sequence": null,
        "usage": {
            "input_tokens": FRESH, "cache_creation_input_tokens": WRITTEN,
            "cache_read_input_tokens": READ, "output_tokens": OUTPUT,
        },
    })
}

/// The events of the same message.
pub(crate) fn message_events(request: &Value) -> Vec<Value> {
    let mut start = message(request);
    let content = start["content"].take();
    let reason = start["stop_reason"].take();
    start["content"] = json!([]);
    start["usage"]["output_tokens"] = json!(1);
    let mut block = content[0].clone();
    let delta = |delta: Value| json!({"type": "content_block_delta", "index": 0, "delta": delta});
    let deltas: Vec<Value> = if block["type"] == "text" {
        block["text"] = json!("");
        let words = TEXT.split_inclusive(' ');
        words.map(|word| delta(json!({"type": "text_delta", "text": word}))).collect()
    } else {
        block["input"] = json!({});
        let pieces = ["", "{\"city\":", " \"Paris\"}"];
        let input = |piece| delta(json!({"type": "input_json_delta", "partial_json": piece}));
        pieces.into_iter().map(input).collect()
    };
    let mut events = vec![
        json!({"type": "message_start", "message": start}),
        json!({"type": "content_block_start", "index": 0, "content_block": block}),
        json!({"type": "ping"}),
    ];
    events.extend(deltas);
    events.extend([
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": null},
               "usage": {"output_tokens": OUTPUT}}),
        json!({"type": "message_stop"}),
    ]);
    events
}
