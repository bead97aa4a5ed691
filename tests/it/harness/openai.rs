//! How the mock provider answers when nothing is scripted: like OpenAI, with
//! answers that can be foretold from the request.

use serde_json::{Value, json};

use super::provider::Call;
use super::reply::Reply;

/// Prompt tokens that every answer reports.
pub(crate) const INPUT: u64 = 12;
/// Of these, the ones that the provider had cached.
pub(crate) const CACHED: u64 = 4;
/// Answer tokens that every answer reports.
pub(crate) const OUTPUT: u64 = 7;
/// The text of every chat answer.
pub(crate) const TEXT: &str = "Hello from the provider, dear caller.";

/// The answer to `call`.
pub(crate) fn answer(call: &Call) -> Reply {
    let body = call.json();
    let path = call.path().split('?').next().unwrap_or_default();
    match (call.method(), path) {
        ("POST", "/v1/chat/completions") if body["stream"] == true => chat_stream(&body),
        ("POST", "/v1/chat/completions") => Reply::json(200, &chat(&body)),
        ("POST", "/v1/completions") => Reply::json(200, &completion(&body)),
        ("POST", "/v1/embeddings") => Reply::json(200, &embeddings(&body)),
        ("GET", "/v1/models") => Reply::json(200, &models()),
        ("GET", _) if path.starts_with("/v1/models/") => {
            Reply::json(200, &model(path.trim_start_matches("/v1/models/")))
        }
        _ => Reply::error(404, "unknown_url"),
    }
}

/// The usage object of every chat answer.
pub(crate) fn usage() -> Value {
    json!({
        "prompt_tokens": INPUT, "completion_tokens": OUTPUT, "total_tokens": INPUT + OUTPUT,
        "prompt_tokens_details": {"cached_tokens": CACHED},
        "completion_tokens_details": {"reasoning_tokens": 2},
    })
}

/// A whole chat answer; one with `tools` in it is a tool call.
pub(crate) fn chat(request: &Value) -> Value {
    let (message, finish) = match request["tools"][0]["function"]["name"].as_str() {
        Some(name) => (
            json!({"role": "assistant", "content": null, "tool_calls": [{
                "id": "call_1", "type": "function",
                "function": {"name": name, "arguments": "{\"city\":\"Paris\"}"},
            }]}),
            "tool_calls",
        ),
        None => (json!({"role": "assistant", "content": TEXT}), "stop"),
    };
    json!({
        "id": "chatcmpl-mock", "object": "chat.completion", "created": 1_700_000_000,
        "model": request["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": usage(),
    })
}

/// The data of every event of a streamed chat answer, `[DONE]` included; the
/// event with the usage only if `with_usage`.
pub(crate) fn chat_events(model: &str, with_usage: bool) -> Vec<String> {
    let event = |choices: Value, usage: Value| {
        let mut event = json!({
            "id": "chatcmpl-mock", "object": "chat.completion.chunk", "created": 1_700_000_000,
            "model": model, "choices": choices,
        });
        if with_usage {
            event["usage"] = usage;
        }
        event.to_string()
    };
    let delta = |delta: Value, finish: Value| json!([{"index": 0, "delta": delta, "finish_reason": finish}]);
    let mut events =
        vec![event(delta(json!({"role": "assistant", "content": ""}), Value::Null), Value::Null)];
    for word in TEXT.split_inclusive(' ') {
        events.push(event(delta(json!({"content": word}), Value::Null), Value::Null));
    }
    events.push(event(delta(json!({}), json!("stop")), Value::Null));
    if with_usage {
        events.push(event(json!([]), usage()));
    }
    events.push("[DONE]".to_owned());
    events
}

/// Whether the request asks for usage in its stream.
pub(crate) fn wants_usage(request: &Value) -> bool {
    request["stream_options"]["include_usage"] == true
}

fn chat_stream(request: &Value) -> Reply {
    let model = request["model"].as_str().unwrap_or_default();
    let mut events = chat_events(model, wants_usage(request));
    if let Some(name) = request["tools"][0]["function"]["name"].as_str() {
        // The call takes the place of the text.
        let said = events.iter().take_while(|event| !event.contains("\"stop\"")).count();
        events[said] = events[said].replace("\"stop\"", "\"tool_calls\"");
        let calls = ["", "{\"city\":", "\"Paris\"}"].map(|arguments| {
            let mut call = json!({"index": 0, "function": {"arguments": arguments}});
            if arguments.is_empty() {
                call["id"] = json!("call_1");
                call["type"] = json!("function");
                call["function"]["name"] = json!(name);
            }
            let delta = json!({"tool_calls": [call]});
            json!({
                "id": "chatcmpl-mock", "object": "chat.completion.chunk",
                "created": 1_700_000_000, "model": model,
                "choices": [{"index": 0, "delta": delta, "finish_reason": null}],
            })
            .to_string()
        });
        events.splice(1..said, calls);
    }
    Reply::events(events)
}

fn completion(request: &Value) -> Value {
    json!({
        "id": "cmpl-mock", "object": "text_completion", "created": 1_700_000_000,
        "model": request["model"],
        "choices": [{"index": 0, "text": TEXT, "finish_reason": "stop", "logprobs": null}],
        "usage": usage(),
    })
}

fn embeddings(request: &Value) -> Value {
    let count = request["input"].as_array().map_or(1, Vec::len);
    let vector = [0.25_f32, -1.5, 3.0];
    let embedding = if request["encoding_format"] == "base64" {
        json!(base64(&vector.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<_>>()))
    } else {
        json!(vector)
    };
    let data: Vec<Value> = (0..count)
        .map(|index| json!({"object": "embedding", "index": index, "embedding": embedding}))
        .collect();
    json!({
        "object": "list", "model": request["model"], "data": data,
        "usage": {"prompt_tokens": INPUT, "total_tokens": INPUT},
    })
}

fn model(id: &str) -> Value {
    json!({"id": id, "object": "model", "created": 1_700_000_000, "owned_by": "mock"})
}

fn models() -> Value {
    json!({"object": "list", "data": [model("gpt-4o-mini"), model("gpt-4o")]})
}

/// RFC 4648 §4, for lengths that are a multiple of three.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks_exact(3) {
        let bits = group.iter().fold(0_usize, |bits, byte| (bits << 8) | usize::from(*byte));
        for shift in [18, 12, 6, 0] {
            text.push(char::from(DIGITS[(bits >> shift) & 63]));
        }
    }
    text
}
