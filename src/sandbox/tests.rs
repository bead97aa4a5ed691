use std::collections::BTreeSet;

use super::*;
use crate::base::sse;
use crate::meter::stream::StreamMeter;
use crate::meter::{estimate, usage};

mod refusals;

const NOW: Timestamp = Timestamp(1_764_000_000_123_456);

fn ask(path: &str, body: &Value) -> Reply {
    respond(path, body.to_string().as_bytes(), NOW)
}

/// The body of an answer that is whole and fine.
fn whole(path: &str, body: &Value) -> Value {
    let reply = ask(path, body);
    assert_eq!((reply.status, reply.content_type), (200, "application/json"), "{reply:?}");
    let ReplyBody::Whole(body) = reply.body else { panic!("a stream") };
    serde_json::from_slice(&body).unwrap()
}

/// The events of a stream, and their data where it is JSON.
fn stream(path: &str, body: &Value) -> (Vec<Bytes>, Vec<Value>) {
    let reply = ask(path, body);
    assert_eq!((reply.status, reply.content_type), (200, "text/event-stream; charset=utf-8"));
    let ReplyBody::Events(events) = reply.body else { panic!("no stream") };
    let json = |event: &Bytes| serde_json::from_slice(&sse::data(event).unwrap()).ok();
    let data = events.iter().filter_map(json).collect();
    (events, data)
}

fn keys(object: &Value) -> BTreeSet<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

fn set<const N: usize>(names: [&'static str; N]) -> BTreeSet<&'static str> {
    BTreeSet::from(names)
}

fn chat(more: Value) -> Value {
    with(json!({ "model": "gpt-4o", "messages": [{ "role": "user", "content": "Hello" }] }), more)
}

fn with(mut body: Value, more: Value) -> Value {
    let Value::Object(more) = more else { panic!("no object") };
    body.as_object_mut().unwrap().extend(more);
    body
}

const CHAT: &str = "/v1/chat/completions";
const RESPONSES: &str = "/v1/responses";

fn weather() -> Value {
    json!({ "type": "function", "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": { "city": { "type": "string" }, "days": { "type": "integer" } },
            "required": ["city", "days"],
        },
    }})
}

/// Covers J2.
#[test]
fn a_chat_completion_has_the_documented_fields() {
    let answer = whole(CHAT, &chat(json!({})));
    assert_eq!(
        keys(&answer),
        set([
            "id",
            "object",
            "created",
            "model",
            "choices",
            "usage",
            "service_tier",
            "system_fingerprint"
        ])
    );
    let choice = &answer["choices"][0];
    assert_eq!(keys(choice), set(["index", "message", "logprobs", "finish_reason"]));
    assert_eq!(keys(&choice["message"]), set(["role", "content", "refusal", "annotations"]));
    assert_eq!(answer["object"], "chat.completion");
    assert_eq!(answer["model"], "gpt-4o");
    assert_eq!(answer["created"], 1_764_000_000);
    assert!(answer["id"].as_str().unwrap().starts_with("chatcmpl-"));
    assert_eq!(choice["finish_reason"], "stop");
    let text = choice["message"]["content"].as_str().unwrap();
    assert!(text.contains("sandbox"));
    let tokens = usage::body_usage(answer.to_string().as_bytes()).unwrap();
    assert_eq!(tokens.output, estimate::text_tokens(text));
    assert_eq!(tokens.input, 8);
}

#[test]
fn the_same_request_gets_the_same_answer() {
    assert_eq!(ask(CHAT, &chat(json!({}))), ask(CHAT, &chat(json!({}))));
    let other = chat(json!({ "messages": [{ "role": "user", "content": "Hello!" }] }));
    assert_ne!(whole(CHAT, &other)["id"], whole(CHAT, &chat(json!({})))["id"]);
}

#[test]
fn a_stream_says_what_the_whole_answer_says() {
    let answer = whole(CHAT, &chat(json!({ "n": 2 })));
    let (events, chunks) = stream(CHAT, &chat(json!({ "n": 2, "stream": true })));
    assert_eq!(events.last().unwrap(), "data: [DONE]\n\n");
    assert_eq!(chunks.len(), events.len() - 1);
    for index in [0, 1] {
        let mine = chunks.iter().map(|chunk| &chunk["choices"][0]).filter(|c| c["index"] == index);
        let text: String =
            mine.clone().filter_map(|choice| choice["delta"]["content"].as_str()).collect();
        assert_eq!(answer["choices"][index]["message"]["content"], text.as_str());
        let reasons: Vec<&Value> = mine.clone().map(|choice| &choice["finish_reason"]).collect();
        assert_eq!(reasons.iter().filter(|reason| !reason.is_null()).count(), 1);
        assert_eq!(**reasons.last().unwrap(), "stop");
        assert_eq!(mine.clone().next().unwrap()["delta"]["role"], "assistant");
    }
    assert_eq!(
        keys(&chunks[0]),
        set(["id", "object", "created", "model", "choices", "service_tier", "system_fingerprint"])
    );
    assert_eq!(chunks[0]["object"], "chat.completion.chunk");
    assert!(chunks.iter().all(|chunk| chunk["id"] == answer["id"]));
}

#[test]
fn usage_comes_last_in_a_stream_that_asks_for_it() {
    let body = chat(json!({ "stream": true, "stream_options": { "include_usage": true } }));
    let (events, chunks) = stream(CHAT, &body);
    let (last, others) = chunks.split_last().unwrap();
    assert!(others.iter().all(|chunk| chunk.get("usage") == Some(&Value::Null)));
    assert_eq!(last["choices"], json!([]));
    assert_eq!(last["usage"], whole(CHAT, &chat(json!({})))["usage"]);
    let mut meter = StreamMeter::new();
    let seen: Vec<_> = events.iter().map(|event| meter.observe(event)).collect();
    assert_eq!(seen.iter().filter(|seen| seen.is_usage_only).count(), 1);
    assert!(seen.last().unwrap().is_terminal);
    assert_eq!(meter.finish().tokens, usage::body_usage(last.to_string().as_bytes()));
}

/// The estimate of a stream without usage is what the sandbox itself counts.
#[test]
fn a_stream_without_usage_is_estimated_right() {
    let (events, _) = stream(CHAT, &chat(json!({ "stream": true })));
    let mut meter = StreamMeter::new();
    events.iter().for_each(|event| _ = meter.observe(event));
    let expected = &whole(CHAT, &chat(json!({})))["usage"]["completion_tokens"];
    assert_eq!(*expected, meter.finish().output);
}

#[test]
fn the_bounds_of_an_answer_are_kept() {
    for name in ["max_tokens", "max_completion_tokens"] {
        let answer = whole(CHAT, &chat(json!({ name: 5 })));
        assert_eq!(answer["choices"][0]["finish_reason"], "length");
        assert_eq!(answer["usage"]["completion_tokens"], 5);
    }
    let answer = whole(CHAT, &chat(json!({ "stop": ["sandbox", "Tollgate"] })));
    assert_eq!(answer["choices"][0]["message"]["content"], "This answer comes from the ");
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    assert_eq!(whole(CHAT, &chat(json!({ "n": 3 })))["choices"].as_array().unwrap().len(), 3);
}

#[test]
fn a_tool_is_called_when_asked_for() {
    let named = json!({ "type": "function", "function": { "name": "get_weather" } });
    for more in [
        json!({ "tool_choice": "required" }),
        json!({ "tool_choice": named }),
        json!({ "messages": [{ "role": "user", "content": "Use a tool, please." }] }),
        json!({ "messages": [{ "role": "user", "content": [
            { "type": "text", "text": "Get weather for Paris" }] }] }),
    ] {
        let body = with(chat(json!({ "tools": [weather()] })), more);
        let answer = whole(CHAT, &body);
        let choice = &answer["choices"][0];
        assert_eq!(choice["finish_reason"], "tool_calls", "{body}");
        assert_eq!(choice["message"]["content"], Value::Null);
        let call = &choice["message"]["tool_calls"][0];
        assert_eq!(keys(call), set(["id", "type", "function"]));
        assert_eq!(call["function"]["name"], "get_weather");
        let arguments = call["function"]["arguments"].as_str().unwrap();
        let parsed: Value = serde_json::from_str(arguments).unwrap();
        assert_eq!(parsed, json!({ "city": "sandbox", "days": 1 }));

        let (_, chunks) = stream(CHAT, &with(body, json!({ "stream": true })));
        let calls = || {
            let deltas = chunks.iter().map(|chunk| &chunk["choices"][0]["delta"]["tool_calls"][0]);
            deltas.filter(|call| !call.is_null())
        };
        let streamed: String =
            calls().filter_map(|call| call["function"]["arguments"].as_str()).collect();
        assert_eq!(streamed, arguments);
        assert!(calls().all(|call| call["index"] == 0));
        assert_eq!(calls().next().unwrap()["id"], call["id"]);
        let last = chunks.last().unwrap();
        assert_eq!(last["choices"][0]["finish_reason"], "tool_calls");
    }
}

#[test]
fn no_tool_is_called_unasked_or_after_its_result() {
    let result = json!({ "messages": [
        { "role": "user", "content": "Use a tool" },
        { "role": "assistant", "content": null, "tool_calls": [] },
        { "role": "tool", "tool_call_id": "call_1", "content": "tool says 20" },
    ]});
    for more in [json!({}), json!({ "tool_choice": "none" }), result] {
        let body = with(chat(json!({ "tools": [weather()] })), more);
        assert_eq!(whole(CHAT, &body)["choices"][0]["finish_reason"], "stop");
    }
}

#[test]
fn json_answers_are_json() {
    let content = |format: Value| -> Value {
        let answer = whole(CHAT, &chat(json!({ "response_format": format })));
        serde_json::from_str(answer["choices"][0]["message"]["content"].as_str().unwrap()).unwrap()
    };
    assert!(content(json!({ "type": "json_object" }))["answer"].is_string());
    let schema = json!({
        "type": "object", "properties": { "n": { "type": "integer" } }, "required": ["n"],
    });
    let format = json!({ "type": "json_schema", "json_schema": { "name": "x", "schema": schema } });
    assert_eq!(content(format), json!({ "n": 1 }));
}

#[test]
fn completions_answer_every_prompt() {
    let path = "/v1/completions";
    let answer = whole(path, &json!({ "model": "m", "prompt": ["a", "b"], "n": 2 }));
    assert_eq!(
        keys(&answer),
        set(["id", "object", "created", "model", "choices", "usage", "system_fingerprint"])
    );
    assert_eq!(answer["object"], "text_completion");
    assert_eq!(answer["choices"].as_array().unwrap().len(), 4);
    assert_eq!(keys(&answer["choices"][3]), set(["text", "index", "logprobs", "finish_reason"]));
    assert_eq!(answer["choices"][3]["finish_reason"], "length");
    assert_eq!(answer["usage"]["completion_tokens"], 4 * 16);
    for prompt in [json!("a"), json!([1, 2]), json!([[1], [2]])] {
        whole(path, &json!({ "model": "m", "prompt": prompt }));
    }

    let body = json!({ "model": "m", "prompt": "Hi", "echo": true, "max_tokens": 99 });
    let text = whole(path, &body)["choices"][0]["text"].as_str().unwrap().to_owned();
    assert!(text.starts_with("HiThis answer"), "{text}");
    let asking = json!({ "stream": true, "stream_options": { "include_usage": true } });
    let (events, chunks) = stream(path, &with(body, asking));
    let streamed: String =
        chunks.iter().filter_map(|chunk| chunk["choices"][0]["text"].as_str()).collect();
    assert_eq!(streamed, text);
    assert_eq!(chunks.last().unwrap()["choices"], json!([]));
    assert_eq!(events.last().unwrap(), "data: [DONE]\n\n");
}

#[test]
fn embeddings_are_unit_vectors_that_depend_on_the_input() {
    let path = "/v1/embeddings";
    let answer = whole(path, &json!({ "model": "m", "input": ["a", "b", "a"], "dimensions": 64 }));
    assert_eq!(keys(&answer), set(["object", "data", "model", "usage"]));
    assert_eq!(answer["usage"], json!({ "prompt_tokens": 3, "total_tokens": 3 }));
    let data = answer["data"].as_array().unwrap();
    assert_eq!(keys(&data[1]), set(["object", "index", "embedding"]));
    assert_eq!(data[1]["index"], 1);
    let vector = |index: usize| -> Vec<f64> {
        data[index]["embedding"].as_array().unwrap().iter().map(|n| n.as_f64().unwrap()).collect()
    };
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    assert_eq!(vector(0).len(), 64);
    assert!((dot(&vector(0), &vector(0)) - 1.0).abs() < 1e-5);
    assert!(dot(&vector(0), &vector(1)).abs() < 0.5);
    assert_eq!(vector(0), vector(2));

    let body = json!({ "model": "m", "input": "a", "dimensions": 64, "encoding_format": "base64" });
    let text = whole(path, &body)["data"][0]["embedding"].as_str().unwrap().to_owned();
    let bytes = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, text).unwrap();
    let floats: Vec<f64> =
        bytes.as_chunks::<4>().0.iter().map(|four| f64::from(f32::from_le_bytes(*four))).collect();
    assert!(floats.iter().zip(vector(0)).all(|(a, b)| (a - b).abs() < 1e-6));

    for input in [json!([1, 2]), json!([[1, 2], [3]])] {
        let answer = whole(path, &json!({ "model": "text-embedding-3-large", "input": input }));
        assert_eq!(answer["data"][0]["embedding"].as_array().unwrap().len(), 3_072);
    }
}

#[test]
fn a_response_has_the_documented_fields() {
    let answer = whole(RESPONSES, &json!({ "model": "m", "input": "Hello" }));
    assert_eq!(
        keys(&answer),
        set([
            "id",
            "object",
            "created_at",
            "status",
            "background",
            "error",
            "incomplete_details",
            "instructions",
            "max_output_tokens",
            "max_tool_calls",
            "metadata",
            "model",
            "output",
            "parallel_tool_calls",
            "previous_response_id",
            "reasoning",
            "service_tier",
            "store",
            "temperature",
            "text",
            "tool_choice",
            "tools",
            "top_logprobs",
            "top_p",
            "truncation",
            "usage",
            "user",
        ])
    );
    assert_eq!((&answer["object"], &answer["status"]), (&json!("response"), &json!("completed")));
    let item = &answer["output"][0];
    assert_eq!(keys(item), set(["id", "type", "status", "role", "content"]));
    let part = &item["content"][0];
    assert_eq!(keys(part), set(["type", "annotations", "logprobs", "text"]));
    let tokens = usage::body_usage(answer.to_string().as_bytes()).unwrap();
    assert_eq!(tokens.output, estimate::text_tokens(part["text"].as_str().unwrap()));
    assert_eq!(whole(RESPONSES, &json!({ "input": "Hello" }))["model"], "sandbox");
}

#[test]
fn a_streamed_response_has_the_documented_sequence() {
    let body = json!({ "model": "m", "input": [{ "role": "user", "content": "Hello" }] });
    let answer = whole(RESPONSES, &body);
    let (events, data) = stream(RESPONSES, &with(body, json!({ "stream": true })));
    let mut kinds: Vec<&str> = data.iter().map(|event| event["type"].as_str().unwrap()).collect();
    for (number, (event, kind)) in events.iter().zip(&kinds).enumerate() {
        assert_eq!(sse::name(event), Some(kind.as_bytes()));
        assert_eq!(data[number]["sequence_number"], number);
    }
    kinds.dedup();
    assert_eq!(
        kinds,
        [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.completed",
        ]
    );
    assert_eq!(data.last().unwrap()["response"], answer);
    let text: String = data.iter().filter_map(|event| event["delta"].as_str()).collect();
    assert_eq!(answer["output"][0]["content"][0]["text"], text.as_str());
    let mut meter = StreamMeter::new();
    let seen: Vec<_> = events.iter().map(|event| meter.observe(event)).collect();
    assert_eq!(seen.iter().filter(|seen| seen.is_terminal).count(), 1);
    assert_eq!(meter.finish().tokens, usage::body_usage(answer.to_string().as_bytes()));
}

#[test]
fn a_response_calls_functions_and_can_be_cut() {
    let tool = json!({ "type": "function", "name": "f", "parameters": {} });
    let body = json!({
        "model": "m", "input": "x", "stream": true, "tool_choice": "required",
        "tools": [{ "type": "web_search" }, tool],
    });
    let (_, data) = stream(RESPONSES, &body);
    let done = data.iter().find(|e| e["type"] == "response.function_call_arguments.done").unwrap();
    assert_eq!(done["arguments"], "{}");
    let item = &data.last().unwrap()["response"]["output"][0];
    assert_eq!(keys(item), set(["id", "type", "status", "call_id", "name", "arguments"]));

    let body = json!({ "model": "m", "input": "x", "stream": true, "max_output_tokens": 3 });
    let (_, data) = stream(RESPONSES, &body);
    let last = data.last().unwrap();
    assert_eq!(last["type"], "response.incomplete");
    assert_eq!(last["response"]["incomplete_details"]["reason"], "max_output_tokens");
    assert_eq!(last["response"]["output"][0]["status"], "incomplete");
    assert_eq!(last["response"]["usage"]["output_tokens"], 3);
}

#[test]
fn models_are_listed() {
    let list = whole("/v1/models", &json!({}));
    assert_eq!(list["object"], "list");
    assert_eq!(keys(&list["data"][0]), set(["id", "object", "created", "owned_by"]));
    assert_eq!(whole("/v1/models/any", &json!({}))["id"], "any");
    assert_eq!(ask("/v1/unknown", &json!({})).status, 404);
}
