//! What goes to another dialect and back is what it was: requests, answers and streams,
//! with thinking, schemas and every kind of token. Covers E4.

use proptest::prelude::*;

use super::streams::{blocks, delta, start, stop};
use super::*;
use Dialect::{Chat, Completions, Gemini, Messages, Responses};

/// A block of an answer of Anthropic's.
#[derive(Clone, Debug)]
enum Block {
    Thinking(String, String),
    Redacted(String),
    Text(String),
    Call(Value),
}

fn word() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b c", "é\"\\\n", "{\"x\":1}", "data: \n\n", "𝄞"])
        .prop_map(String::from)
}

fn thinking() -> impl Strategy<Value = Block> {
    prop_oneof![
        (word(), "[A-Za-z0-9+/]{4,12}").prop_map(|(text, signed)| Block::Thinking(text, signed)),
        "[A-Za-z0-9]{2,9}".prop_map(Block::Redacted),
    ]
}

/// Thinking, then at most one text, then calls: the order that every dialect keeps.
fn answer() -> impl Strategy<Value = Vec<Block>> {
    let call =
        prop_oneof![Just(json!({})), word().prop_map(|word| json!({"a": [word, 1.5, null]}))];
    (
        prop::collection::vec(thinking(), 0..3),
        prop::option::of(word()),
        prop::collection::vec(call, 0..3),
    )
        .prop_map(|(thinking, text, calls)| {
            let text = text.map(Block::Text);
            thinking.into_iter().chain(text).chain(calls.into_iter().map(Block::Call)).collect()
        })
}

/// The answer, whole and as a stream, with all kinds of tokens.
fn of_anthropic(answer: &[Block]) -> (Value, String) {
    let (mut content, mut events) = (Vec::new(), Vec::new());
    let calls = answer.iter().any(|block| matches!(block, Block::Call(_)));
    for (index, block) in (0..).zip(answer) {
        let (whole, begun, deltas) = match block {
            Block::Thinking(text, signed) => (
                json!({"type": "thinking", "thinking": text, "signature": signed}),
                json!({"type": "thinking", "thinking": "", "signature": ""}),
                vec![
                    json!({"type": "thinking_delta", "thinking": text}),
                    json!({"type": "signature_delta", "signature": signed}),
                ],
            ),
            Block::Redacted(data) => {
                let block = json!({"type": "redacted_thinking", "data": data});
                (block.clone(), block, Vec::new())
            }
            Block::Text(text) => (
                json!({"type": "text", "text": text}),
                json!({"type": "text", "text": ""}),
                vec![json!({"type": "text_delta", "text": text})],
            ),
            Block::Call(input) => {
                let block = json!({"type": "tool_use", "id": format!("toolu_{index}"), "name": "f", "input": input});
                let delta = json!({"type": "input_json_delta", "partial_json": input.to_string()});
                (block.clone(), with(block, &json!({"input": {}})), vec![delta])
            }
        };
        content.push(whole);
        events.push(start(index, &begun));
        events.extend(deltas.iter().map(|it| delta(index, it)));
        events.push(stop(index));
    }
    let stop = if calls { "tool_use" } else { "end_turn" };
    let whole = json!({"id": "msg_9", "type": "message", "role": "assistant", "model": "target-model",
        "content": content, "stop_reason": stop, "stop_sequence": null,
        "usage": {"input_tokens": 4, "cache_creation_input_tokens": 6, "cache_read_input_tokens": 20, "output_tokens": 7,
            "output_tokens_details": {"thinking_tokens": 3}}});
    let events = blocks(&events, stop).replace(
        "\"usage\":{\"output_tokens\":7}",
        "\"usage\":{\"output_tokens\":7,\"output_tokens_details\":{\"thinking_tokens\":3}}",
    );
    (whole, events)
}

/// What a Gemini provider answers, in as many events as there are parts.
fn of_gemini(answer: &[Block]) -> (Value, String) {
    let parts: Vec<Value> = answer
        .iter()
        .map(|block| match block {
            Block::Thinking(text, _) | Block::Redacted(text) => {
                json!({"text": text, "thought": true})
            }
            Block::Text(text) => json!({"text": text}),
            Block::Call(input) => {
                json!({"functionCall": {"name": "f", "args": input}, "thoughtSignature": "QUI="})
            }
        })
        .collect();
    let object = |parts: &[Value], last: bool| {
        let mut candidate = json!({"content": {"role": "model", "parts": parts}});
        let mut object = json!({"responseId": "r9"});
        if last {
            candidate["finishReason"] = json!("STOP");
            object["usageMetadata"] = json!({"promptTokenCount": 30, "cachedContentTokenCount": 20,
                "candidatesTokenCount": 5, "thoughtsTokenCount": 2, "totalTokenCount": 37});
        }
        object["candidates"] = json!([candidate]);
        object
    };
    let mut events: Vec<Value> =
        parts.iter().map(|part| object(std::slice::from_ref(part), false)).collect();
    events.push(object(&[], true));
    let events = events.iter().map(|event| format!("data: {event}\n\n")).collect();
    (object(&parts, true), events)
}

proptest! {
    /// An answer that is read as a client's and written on by a provider of that dialect.
    #[test]
    fn an_answer_survives_two_translations(answer in answer(), chunk in 1_usize..90) {
        let (message, events) = of_anthropic(&answer);
        let chat = whole(&answers(Chat, Messages), &message);
        prop_assert_eq!(&whole(&answers(Messages, Chat), &chat), &message);
        let chunks = stream(&answers(Chat, Messages), &events, chunk).unwrap();
        let back = stream(&answers(Messages, Chat), &chunks, chunk).unwrap();
        prop_assert_eq!(add_up_message(&back), message);
    }

    /// For every client a stream comes to what the answer is whole.
    #[test]
    fn a_stream_of_geminis_is_what_it_is_whole(answer in answer(), chunk in 1_usize..90) {
        let (generated, events) = of_gemini(&answer);
        if answer.is_empty() {
            return Ok(());
        }
        let to = answers(Messages, Gemini);
        prop_assert_eq!(add_up_message(&stream(&to, &events, chunk).unwrap()), whole(&to, &generated));
        let to = answers(Responses, Gemini);
        let last = payloads(&stream(&to, &events, chunk).unwrap()).pop().unwrap();
        prop_assert_eq!(&last["response"], &whole(&to, &generated));
        let to = answers(Chat, Gemini);
        let (sum, one) = (add_up_chat(&stream(&to, &events, chunk).unwrap()), whole(&to, &generated));
        prop_assert_eq!(&sum["usage"], &one["usage"]);
        prop_assert_eq!(&sum["finish_reason"], &one["choices"][0]["finish_reason"]);
        for name in ["reasoning_content", "tool_calls"] {
            let expected = &one["choices"][0]["message"][name];
            let found = &sum["message"][name];
            let none = json!([]);
            prop_assert_eq!(if found == &none { &Value::Null } else { found }, expected);
        }
        let to = answers(Completions, Gemini);
        let texts = payloads(&stream(&to, &events, chunk).unwrap());
        let text: String = texts.iter().filter_map(|event| event["choices"][0]["text"].as_str()).collect();
        let one = whole(&to, &generated);
        prop_assert_eq!(text, one["choices"][0]["text"].as_str().unwrap());
    }

    /// What a provider signed, the clients of each dialect give back as they got it.
    #[test]
    fn signed_thinking_comes_back(answer in answer()) {
        let (message, _) = of_anthropic(&answer);
        if !answer.iter().any(|block| matches!(block, Block::Text(_) | Block::Call(_))) {
            return Ok(());
        }
        let calls = message["content"].as_array().unwrap().iter().filter(|block| block["type"] == "tool_use");
        let ids: Vec<&str> = calls.map(|call| call["id"].as_str().unwrap()).collect();
        let chat = whole(&answers(Chat, Messages), &message);
        let mut turns = vec![json!({"role": "user", "content": "x"}), chat["choices"][0]["message"].clone()];
        turns.extend(ids.iter().map(|id| json!({"role": "tool", "tool_call_id": id, "content": "y"})));
        let there = translate(Chat, Messages, &json!({ "messages": turns }));
        prop_assert_eq!(&there["messages"][1]["content"], &lone(&message["content"]));
        let response = whole(&answers(Responses, Messages), &message);
        let mut input = vec![json!({"role": "user", "content": "x"})];
        input.extend(response["output"].as_array().unwrap().iter().cloned());
        input.extend(ids.iter().map(|id| json!({"type": "function_call_output", "call_id": id, "output": "y"})));
        let there = translate(Responses, Messages, &json!({"model": "m", "input": input}));
        prop_assert_eq!(&there["messages"][1]["content"], &lone(&message["content"]));
    }

    /// Requests whose thinking, schema and cache markers Messages and Chat both say.
    #[test]
    fn a_request_of_messages_comes_back(
        effort in prop::sample::select(vec!["low", "medium", "high"]),
        think in any::<bool>(),
        schema in any::<bool>(),
        limit in 1_u64..100_000,
    ) {
        let mut body = json!({"model": "claude-opus-4-7", "max_tokens": limit,
            "messages": [{"role": "user", "content": "x"}]});
        let mut config = json!({});
        if think {
            body["thinking"] = json!({"type": "adaptive", "display": "summarized"});
            config["effort"] = json!(effort);
        }
        if schema {
            config["format"] = json!({"type": "json_schema", "schema": {"type": "object", "b": 1, "a": 2}});
        }
        if think || schema {
            body["output_config"] = config;
        }
        let text = body.to_string();
        let chat = ask(Messages, Chat, text.as_bytes(), "o3", OnUnsupported::Refuse);
        let back = ask(Chat, Messages, &chat.unwrap().body, "claude-opus-4-7", OnUnsupported::Refuse).unwrap();
        let back: Value = serde_json::from_slice(&back.body).unwrap();
        prop_assert_eq!(back, body);
    }

    /// A chat's markers and effort, to Messages in either way of thinking.
    #[test]
    fn markers_and_efforts_reach_messages(effort in prop::sample::select(vec!["low", "medium", "high"])) {
        let marker = json!({"type": "ephemeral", "ttl": "1h"});
        let chat = json!({"model": "m", "reasoning_effort": effort, "messages": [
            {"role": "system", "content": [{"type": "text", "text": "s", "cache_control": marker}]},
            {"role": "user", "content": [{"type": "text", "text": "x", "cache_control": marker}]}],
            "tools": [{"type": "function", "function": {"name": "f"}, "cache_control": marker}]});
        let there = translate(Chat, Messages, &chat);
        for place in ["/system/0", "/messages/0/content/0", "/tools/0"] {
            prop_assert_eq!(&there.pointer(place).unwrap()["cache_control"], &marker);
        }
        let back = ask(Messages, Chat, there.to_string().as_bytes(), "o3", OnUnsupported::Refuse).unwrap();
        let back: Value = serde_json::from_slice(&back.body).unwrap();
        prop_assert_eq!(&back["reasoning_effort"], effort);
    }
}

/// A text alone is written as such.
fn lone(content: &Value) -> Value {
    match content.as_array().unwrap().as_slice() {
        [text] if text["type"] == "text" => text["text"].clone(),
        _ => content.clone(),
    }
}
