use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn stream(events: &[Value]) -> Bytes {
    let events = events.iter().map(|event| format!("data: {event}\n\n"));
    Bytes::from(events.chain(["data: [DONE]\n\n".to_owned()]).collect::<String>())
}

fn whole(shape: Shape, events: &Bytes) -> Value {
    serde_json::from_slice(&to_whole(shape, events).expect("a whole answer")).unwrap()
}

fn events(bytes: &Bytes) -> Vec<Value> {
    let text = std::str::from_utf8(bytes).unwrap();
    let mut found: Vec<&str> = text
        .split_terminator("\n\n")
        .map(|event| event.strip_prefix("data: ").expect("one data line"))
        .collect();
    assert_eq!(found.pop(), Some("[DONE]"));
    found.into_iter().map(|data| serde_json::from_str(data).unwrap()).collect()
}

fn chunk(choices: &Value) -> Value {
    json!({"id": "c", "object": "chat.completion.chunk", "created": 7, "model": "m",
           "system_fingerprint": "fp", "choices": choices, "usage": null, "obfuscation": "xx"})
}

fn delta(index: u64, delta: &Value, finish: Value) -> Value {
    chunk(&json!([{"index": index, "delta": delta, "logprobs": null, "finish_reason": finish}]))
}

/// Covers D2.
#[test]
fn a_stream_adds_up_to_a_whole_answer() {
    let mut last = chunk(&json!([]));
    last["usage"] = json!({"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5});
    let events = stream(&[
        delta(0, &json!({"role": "assistant", "content": "", "refusal": null}), Value::Null),
        delta(
            1,
            &json!({"role": "assistant", "content": null, "tool_calls": [
            {"index": 0, "id": "call_a", "type": "function",
             "function": {"name": "f", "arguments": ""}}]}),
            Value::Null,
        ),
        delta(0, &json!({"content": "Hel"}), Value::Null),
        delta(
            1,
            &json!({"tool_calls": [{"index": 0, "function": {"arguments": "{\"a\""}}]}),
            Value::Null,
        ),
        delta(
            1,
            &json!({"tool_calls": [
            {"index": 1, "id": "call_b", "type": "function",
             "function": {"name": "g", "arguments": "{}"}}]}),
            Value::Null,
        ),
        delta(0, &json!({"content": "lo \"you\"\n"}), Value::Null),
        delta(
            1,
            &json!({"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]}),
            Value::Null,
        ),
        delta(0, &json!({}), json!("stop")),
        delta(1, &json!({}), json!("tool_calls")),
        last,
    ]);
    assert_eq!(
        whole(Shape::Chat, &events),
        json!({
            "id": "c", "object": "chat.completion", "created": 7, "model": "m",
            "system_fingerprint": "fp",
            "choices": [
                {"index": 0, "finish_reason": "stop", "logprobs": null,
                 "message": {"role": "assistant", "content": "Hello \"you\"\n", "refusal": null}},
                {"index": 1, "finish_reason": "tool_calls", "logprobs": null,
                 "message": {"role": "assistant", "content": null, "tool_calls": [
                    {"id": "call_a", "type": "function",
                     "function": {"name": "f", "arguments": "{\"a\":1}"}},
                    {"id": "call_b", "type": "function",
                     "function": {"name": "g", "arguments": "{}"}}]}},
            ],
            "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
        })
    );
}

#[test]
fn log_probabilities_are_joined_and_keep_their_spelling() {
    let piece = |token: &str, number: &str| {
        format!(
            "data: {{\"id\":\"c\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{token}\"}},\
             \"logprobs\":{{\"content\":[{{\"token\":\"{token}\",\"logprob\":{number},\
             \"top_logprobs\":[]}}],\"refusal\":null}}}}]}}\n\n"
        )
    };
    let events = Bytes::from(piece("a", "-0.31725305") + &piece("b", "-1e-5"));
    let text = String::from_utf8(to_whole(Shape::Chat, &events).unwrap().to_vec()).unwrap();
    assert!(text.contains(r#""logprob":-0.31725305"#), "{text}");
    assert!(text.contains(r#""logprob":-1e-5"#), "{text}");
    assert_eq!(whole(Shape::Chat, &events)["choices"][0]["logprobs"]["content"][1]["token"], "b");
    assert!(!text.contains("finish_reason"), "nothing is made up: {text}");
}

#[test]
fn completions_of_the_older_kind_add_up_too() {
    let chunk = |text: &str, finish: Value| {
        json!({"id": "c", "object": "text_completion", "created": 7, "model": "m",
               "choices": [{"text": text, "index": 0, "logprobs": null, "finish_reason": finish}]})
    };
    let events =
        stream(&[chunk("a", Value::Null), chunk("b", Value::Null), chunk("", json!("stop"))]);
    let expected = chunk("ab", json!("stop"));
    assert_eq!(whole(Shape::Completion, &events), expected);
    let again = to_stream(Shape::Completion, expected.to_string().as_bytes(), true).unwrap();
    let mut only = expected;
    only["usage"] = Value::Null;
    assert_eq!(self::events(&again), [only]);
}

#[test]
fn a_whole_answer_becomes_chunks() {
    let answer = json!({
        "id": "c", "object": "chat.completion", "created": 7, "model": "m",
        "choices": [{"index": 0, "finish_reason": "tool_calls", "logprobs": null, "message": {
            "role": "assistant", "content": "Wait.", "refusal": null,
            "tool_calls": [{"id": "call_a", "type": "function",
                            "function": {"name": "f", "arguments": "{}"}}]}}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    });
    let chunk = |delta: Value, finish: Value| {
        json!({"id": "c", "object": "chat.completion.chunk", "created": 7, "model": "m",
               "choices": [{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}]})
    };
    let call = json!({"index": 0, "id": "call_a", "type": "function",
                      "function": {"name": "f", "arguments": "{}"}});
    let mut expected = vec![
        chunk(json!({"role": "assistant", "content": "", "refusal": null}), Value::Null),
        chunk(json!({"content": "Wait."}), Value::Null),
        chunk(json!({"tool_calls": [call]}), Value::Null),
        chunk(json!({}), json!("tool_calls")),
    ];
    // Line ends between tokens are no line ends of the event.
    let pretty = serde_json::to_string_pretty(&answer).unwrap().replace('\n', "\r\n");
    let plain = to_stream(Shape::Chat, pretty.as_bytes(), false).unwrap();
    assert_eq!(events(&plain), expected);
    let asked = to_stream(Shape::Chat, answer.to_string().as_bytes(), true).unwrap();
    for chunk in &mut expected {
        chunk["usage"] = Value::Null;
    }
    let mut last = expected[0].clone();
    last["choices"] = json!([]);
    last["usage"] = answer["usage"].clone();
    expected.push(last);
    assert_eq!(events(&asked), expected);
}

#[test]
fn what_has_no_other_form_is_not_made_up() {
    for text in ["", "[]", "{}", "{\"choices\":3}", "{\"choices\":[1]}", "{\"choices\":[{}]}"] {
        assert_eq!(to_stream(Shape::Chat, text.as_bytes(), true), None, "{text}");
    }
    for text in [
        "data: [DONE]\n\n",
        "data: {\"choices\":[]}\n\ndata: [DONE]\n\n",
        "data: {\"error\":{}}\n\n",
        "data: {\"choices\":[{\"index\":-1}]}\n\n",
        "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n",
        "data: x\n\n",
    ] {
        assert_eq!(to_whole(Shape::Chat, &Bytes::from(text)), None, "{text}");
    }
    assert_eq!(to_stream(Shape::Fixed, b"{\"choices\":[{}]}", true), None);
    assert_eq!(to_whole(Shape::Fixed, &stream(&[delta(0, &json!({}), Value::Null)])), None);
}

fn word() -> impl Strategy<Value = String> {
    "[a-z\"\\\\\n\r\u{e9}\u{1F44B} ]{0,12}"
}

fn message() -> impl Strategy<Value = Value> {
    let call = (word(), word(), word()).prop_map(|(id, name, arguments)| {
        json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
    });
    let content = prop_oneof![Just(Value::Null), word().prop_map(Value::from)];
    (content, prop::collection::vec(call, 0..4), any::<bool>()).prop_map(
        |(content, calls, more)| {
            let mut message = json!({"role": "assistant", "content": content});
            if !calls.is_empty() {
                message["tool_calls"] = json!(calls);
            }
            if more {
                message["refusal"] = Value::Null;
                message["annotations"] = json!([{"type": "url", "n": 1.5}, "x"]);
                message["audio"] = json!({"id": "a", "expires_at": 5, "list": [[1], {"b": null}]});
            }
            message
        },
    )
}

fn answers() -> impl Strategy<Value = Value> {
    let finish = prop::sample::select(vec!["stop", "length", "tool_calls"]);
    let logprobs = prop_oneof![
        Just(None),
        Just(Some(Value::Null)),
        prop::collection::vec(-9_i32..0, 0..4)
            .prop_map(|list| Some(json!({"content": list, "refusal": null}))),
    ];
    let choice = (message(), finish, logprobs);
    (prop::collection::vec(choice, 1..4), any::<u32>(), any::<bool>()).prop_map(
        |(choices, tokens, with_usage)| {
            let choices: Vec<Value> = choices
                .into_iter()
                .enumerate()
                .map(|(index, (message, finish, logprobs))| {
                    let mut choice =
                        json!({"index": index, "message": message, "finish_reason": finish});
                    if let Some(logprobs) = logprobs {
                        choice["logprobs"] = logprobs;
                    }
                    choice
                })
                .collect();
            let mut answer = json!({
                "id": "c", "object": "chat.completion", "created": 7, "model": "m",
                "choices": choices, "service_tier": null, "extra": {"a": [1, 2]},
            });
            if with_usage {
                answer["usage"] = json!({"prompt_tokens": tokens, "total_tokens": tokens});
            }
            answer
        },
    )
}

proptest! {
    /// Covers D2.
    #[test]
    fn there_and_back_is_the_same_answer(answer in answers(), pretty in any::<bool>()) {
        let text = if pretty {
            serde_json::to_string_pretty(&answer).unwrap()
        } else {
            answer.to_string()
        };
        let streamed = to_stream(Shape::Chat, text.as_bytes(), true).unwrap();
        let back = whole(Shape::Chat, &streamed);
        prop_assert_eq!(&back, &answer);
        // And once more: what was a stream can be a stream again.
        let again = to_stream(Shape::Chat, back.to_string().as_bytes(), true).unwrap();
        prop_assert_eq!(whole(Shape::Chat, &again), answer);
    }

    #[test]
    fn no_bytes_make_it_fail(bytes in prop::collection::vec(
        prop::sample::select(b"{}[]\",:\\n 1data\n".to_vec()), 0..60)) {
        let _stream = to_stream(Shape::Chat, &bytes, true);
        let _whole = to_whole(Shape::Chat, &Bytes::from([b"data: ".as_slice(), &bytes].concat()));
    }
}
