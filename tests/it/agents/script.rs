//! What the mock provider says to an agent: calls of its tools, one after the
//! other, then a text; in every dialect that providers speak. Sources: OpenAI API
//! reference, "Chat", "Responses" and their streams; Anthropic API reference,
//! "Messages" and "Streaming messages".

use serde_json::{Value, json};

use crate::harness::anthropic;
use crate::harness::openai;
use crate::harness::provider::Call;
use crate::harness::reply::Reply;

/// Prompt tokens that every answer reports.
pub(super) const INPUT: u64 = 12;
/// Answer tokens that every answer reports.
pub(super) const OUTPUT: u64 = 7;

/// Calls of tools by name and arguments, and the last text.
pub(super) struct Script {
    pub(super) calls: Vec<(&'static str, Value)>,
    pub(super) last: &'static str,
}

/// What is said in one answer.
#[derive(Clone)]
enum Said {
    Call { number: usize, name: &'static str, arguments: String },
    Text(&'static str),
}

impl Script {
    /// The answer to `call`: as many results as it brings, so far is the script.
    /// Who offers no tools is told the last text.
    pub(super) fn answer(&self, call: &Call) -> Reply {
        let asked = call.json();
        let number = results(&asked);
        let offers = asked["tools"].as_array().is_some_and(|tools| !tools.is_empty());
        let said = match self.calls.get(number) {
            Some((name, arguments)) if offers => {
                Said::Call { number, name, arguments: arguments.to_string() }
            }
            _ => Said::Text(self.last),
        };
        let streamed = asked["stream"] == true;
        let path = call.path().split('?').next().unwrap_or_default();
        match (path, streamed) {
            ("/v1/chat/completions", false) => Reply::json(200, &chat(&asked, &said)),
            ("/v1/chat/completions", true) => Reply::events(chat_events(&asked, &said)),
            ("/v1/responses", false) => Reply::json(200, &response(&asked, &said)),
            ("/v1/responses", true) => {
                let events = response_events(&asked, &said);
                events
                    .iter()
                    .fold(Reply::stream(), |reply, event| reply.chunk(anthropic::written(event)))
            }
            ("/v1/messages", false) => Reply::json(200, &message(&asked, &said)),
            ("/v1/messages", true) => anthropic::stream(message_events(&asked, &said)),
            _ => Reply::error(404, "unknown_url"),
        }
    }
}

/// How many results of tools `asked` brings, whichever dialect it is in.
fn results(asked: &Value) -> usize {
    let list = |name: &str| asked[name].as_array().into_iter().flatten();
    let tools = list("messages").filter(|message| message["role"] == "tool");
    let blocks = list("messages").filter_map(|message| message["content"].as_array()).flatten();
    let blocks = blocks.filter(|block| block["type"] == "tool_result");
    let items = list("input").filter(|item| item["type"] == "function_call_output");
    tools.count() + blocks.count() + items.count()
}

fn chat(asked: &Value, said: &Said) -> Value {
    let (message, finish) = match said {
        Said::Call { number, name, arguments } => (
            json!({"role": "assistant", "content": null, "tool_calls": [{
                "id": format!("call_{number}"), "type": "function",
                "function": {"name": name, "arguments": arguments},
            }]}),
            "tool_calls",
        ),
        Said::Text(text) => (json!({"role": "assistant", "content": text}), "stop"),
    };
    json!({
        "id": "chatcmpl-mock", "object": "chat.completion", "created": 1_700_000_000,
        "model": asked["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": openai::usage(),
    })
}

fn chat_events(asked: &Value, said: &Said) -> Vec<String> {
    let chunk = |delta: Value, finish: Option<&str>| {
        json!({
            "id": "chatcmpl-mock", "object": "chat.completion.chunk", "created": 1_700_000_000,
            "model": asked["model"],
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        })
    };
    let mut events = vec![chunk(json!({"role": "assistant", "content": null}), None)];
    match said {
        Said::Call { number, name, arguments } => {
            events.push(chunk(
                json!({"tool_calls": [{
                    "index": 0, "id": format!("call_{number}"), "type": "function",
                    "function": {"name": name, "arguments": ""},
                }]}),
                None,
            ));
            events.extend(halves(arguments).map(|half| {
                let function = json!({"arguments": half});
                chunk(json!({"tool_calls": [{"index": 0, "function": function}]}), None)
            }));
            events.push(chunk(json!({}), Some("tool_calls")));
        }
        Said::Text(text) => {
            events.extend(halves(text).map(|half| chunk(json!({"content": half}), None)));
            events.push(chunk(json!({}), Some("stop")));
        }
    }
    if asked["stream_options"]["include_usage"] == true {
        let mut last = chunk(json!({}), None);
        last["choices"] = json!([]);
        last["usage"] = openai::usage();
        events.push(last);
    }
    let done = std::iter::once("[DONE]".to_owned());
    events.iter().map(Value::to_string).chain(done).collect()
}

fn message(asked: &Value, said: &Said) -> Value {
    let (block, reason) = match said {
        Said::Call { number, name, arguments } => {
            let input: Value = serde_json::from_str(arguments).unwrap();
            let id = format!("toolu_{number}");
            (json!({"type": "tool_use", "id": id, "name": name, "input": input}), "tool_use")
        }
        Said::Text(text) => (json!({"type": "text", "text": text}), "end_turn"),
    };
    json!({
        "id": "msg_mock", "type": "message", "role": "assistant", "model": asked["model"],
        "content": [block], "stop_reason": reason, "stop_sequence": null,
        "usage": {"input_tokens": INPUT, "output_tokens": OUTPUT},
    })
}

fn message_events(asked: &Value, said: &Said) -> Vec<Value> {
    let mut start = message(asked, said);
    let reason = start["stop_reason"].take();
    let mut block = start["content"][0].take();
    start["content"] = json!([]);
    let delta = |delta: Value| json!({"type": "content_block_delta", "index": 0, "delta": delta});
    let deltas: Vec<Value> = match said {
        Said::Call { arguments, .. } => {
            block["input"] = json!({});
            let delta = |half| delta(json!({"type": "input_json_delta", "partial_json": half}));
            halves(arguments).map(delta).collect()
        }
        Said::Text(text) => {
            block["text"] = json!("");
            halves(text).map(|half| delta(json!({"type": "text_delta", "text": half}))).collect()
        }
    };
    let mut events = vec![
        json!({"type": "message_start", "message": start}),
        json!({"type": "content_block_start", "index": 0, "content_block": block}),
    ];
    events.extend(deltas);
    events.extend([
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": null},
               "usage": {"input_tokens": INPUT, "output_tokens": OUTPUT}}),
        json!({"type": "message_stop"}),
    ]);
    events
}

/// The item that a response has for what is said.
fn item(said: &Said) -> Value {
    match said {
        Said::Call { number, name, arguments } => json!({
            "type": "function_call", "id": format!("fc_{number}"), "status": "completed",
            "call_id": format!("call_{number}"), "name": name, "arguments": arguments,
        }),
        Said::Text(text) => json!({
            "type": "message", "id": "msg_mock", "status": "completed", "role": "assistant",
            "content": [{"type": "output_text", "text": text, "annotations": []}],
        }),
    }
}

fn response(asked: &Value, said: &Said) -> Value {
    json!({
        "id": "resp_mock", "object": "response", "created_at": 1_700_000_000, "status": "completed",
        "error": null, "incomplete_details": null, "instructions": asked["instructions"],
        "metadata": {}, "model": asked["model"], "output": [item(said)],
        "parallel_tool_calls": true, "temperature": 1.0, "tool_choice": "auto",
        "tools": asked["tools"], "top_p": 1.0,
        "usage": {
            "input_tokens": INPUT, "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": OUTPUT, "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": INPUT + OUTPUT,
        },
    })
}

fn response_events(asked: &Value, said: &Said) -> Vec<Value> {
    let done = response(asked, said);
    let (whole, mut begun) = (item(said), item(said));
    let mut created = done.clone();
    (created["status"], created["output"]) = (json!("in_progress"), json!([]));
    (created["usage"], begun["status"]) = (Value::Null, json!("in_progress"));
    let id = whole["id"].clone();
    let of = |kind: &str, more: Value| {
        let mut event = json!({"type": kind, "item_id": id, "output_index": 0});
        event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        event
    };
    let mut events = vec![json!({"type": "response.created", "response": created})];
    match said {
        Said::Call { arguments, .. } => {
            let kind = "response.function_call_arguments";
            begun["arguments"] = json!("");
            events.push(of("response.output_item.added", json!({"item": begun})));
            let delta = |half| of(&format!("{kind}.delta"), json!({"delta": half}));
            events.extend(halves(arguments).map(delta));
            events.push(of(&format!("{kind}.done"), json!({"arguments": arguments})));
        }
        Said::Text(text) => {
            begun["content"] = json!([]);
            events.push(of("response.output_item.added", json!({"item": begun})));
            let part = |text: &str| {
                let part = json!({"type": "output_text", "text": text, "annotations": []});
                json!({"content_index": 0, "part": part})
            };
            events.push(of("response.content_part.added", part("")));
            let delta = |half| json!({"content_index": 0, "delta": half, "logprobs": []});
            let delta = |half| of("response.output_text.delta", delta(half));
            events.extend(halves(text).map(delta));
            let all = json!({"content_index": 0, "text": text, "logprobs": []});
            events.push(of("response.output_text.done", all));
            events.push(of("response.content_part.done", part(text)));
        }
    }
    events.push(of("response.output_item.done", json!({"item": whole})));
    events.push(json!({"type": "response.completed", "response": done}));
    for (number, event) in events.iter_mut().enumerate() {
        event["sequence_number"] = json!(number);
    }
    events
}

/// A text in two pieces.
fn halves(text: &str) -> impl Iterator<Item = &str> {
    let (first, second) = text.split_at(text.floor_char_boundary(text.len() / 2));
    [first, second].into_iter()
}
