//! What holds for all requests, answers and streams.

use proptest::prelude::*;

use super::answers::{completion, message};
use super::*;
use Dialect::{Chat, Completions, Gemini, Messages, Responses};

const ALL: [Dialect; 5] = [Chat, Completions, Responses, Messages, Gemini];

fn text() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b c", "é\"\\\n", "{\"x\":1}", "data: \n\n", "𝄞"])
        .prop_map(String::from)
}

fn input() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!({})),
        (text(), any::<i32>())
            .prop_map(|(text, n)| json!({"a": text, "b": [n, null, {"c": true}]})),
    ]
}

/// A part of an answer, which every dialect can say.
#[derive(Clone, Debug)]
enum Said {
    Text(Vec<String>),
    Call(Value, usize),
}

fn said() -> impl Strategy<Value = Vec<Said>> {
    let texts = prop::collection::vec(text(), 1..4).prop_map(Said::Text);
    let calls = prop::collection::vec(
        (input(), 1_usize..9).prop_map(|(input, cut)| Said::Call(input, cut)),
        0..3,
    );
    (prop::option::of(texts), calls)
        .prop_map(|(text, calls)| text.into_iter().chain(calls).collect())
}

/// `text` in pieces of about `size` bytes.
fn pieces(text: &str, size: usize) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    chars.chunks(size).map(|piece| piece.iter().collect()).collect()
}

fn stop_of(said: &[Said], with_calls: &'static str, without: &'static str) -> &'static str {
    if said.iter().any(|said| matches!(said, Said::Call(..))) { with_calls } else { without }
}

/// A Messages provider's answer, whole and as a stream.
fn as_message(said: &[Said]) -> (Value, String) {
    let stop = stop_of(said, "tool_use", "end_turn");
    let (mut content, mut events) = (Vec::new(), Vec::new());
    for (index, said) in said.iter().enumerate() {
        let (block, begun, deltas) = match said {
            Said::Text(texts) => (
                json!({"type": "text", "text": texts.concat()}),
                json!({"type": "text", "text": ""}),
                texts
                    .iter()
                    .map(|text| json!({"type": "text_delta", "text": text}))
                    .collect::<Vec<_>>(),
            ),
            Said::Call(input, size) => {
                let block = json!({"type": "tool_use", "id": format!("t{index}"), "name": "f", "input": input});
                let deltas = pieces(&input.to_string(), *size);
                let delta =
                    |piece: &String| json!({"type": "input_json_delta", "partial_json": piece});
                (
                    block.clone(),
                    with(block, &json!({"input": {}})),
                    deltas.iter().map(delta).collect(),
                )
            }
        };
        content.push(block);
        events.push(json!({"type": "content_block_start", "index": index, "content_block": begun}));
        for delta in deltas {
            events.push(json!({"type": "content_block_delta", "index": index, "delta": delta}));
        }
        events.push(json!({"type": "content_block_stop", "index": index}));
    }
    let whole = message(&content.into(), stop);
    let mut begun = whole.clone();
    begun["content"] = json!([]);
    begun["stop_reason"] = Value::Null;
    events.insert(0, json!({"type": "message_start", "message": begun}));
    events.push(json!({"type": "message_delta", "usage": {"output_tokens": 7},
        "delta": {"stop_reason": stop, "stop_sequence": null}}));
    events.push(json!({"type": "message_stop"}));
    (whole, named_events(&events))
}

/// A Chat provider's answer, whole and as a stream.
fn as_completion(said: &[Said]) -> (Value, String) {
    let stop = stop_of(said, "tool_calls", "stop");
    let mut message = json!({"role": "assistant", "content": null});
    let mut calls = Vec::new();
    let mut deltas = vec![json!({"role": "assistant"})];
    for (id, said) in said.iter().enumerate() {
        match said {
            Said::Text(texts) => {
                message["content"] = texts.concat().into();
                deltas.extend(texts.iter().map(|text| json!({"content": text})));
            }
            Said::Call(input, size) => {
                let index = calls.len();
                let call = |arguments: &str| {
                    let function = json!({"name": "f", "arguments": arguments});
                    json!({"id": format!("t{id}"), "type": "function", "function": function})
                };
                deltas.push(json!({"tool_calls": [with(call(""), &json!({"index": index}))]}));
                for piece in pieces(&input.to_string(), *size) {
                    let piece = json!({"index": index, "function": {"arguments": piece}});
                    deltas.push(json!({"tool_calls": [piece]}));
                }
                calls.push(call(&input.to_string()));
            }
        }
    }
    if !calls.is_empty() {
        message["tool_calls"] = calls.into();
    }
    let whole = completion(&message, stop);
    let chunk = |choices: Value| json!({"id": whole["id"], "choices": choices});
    let mut events: Vec<Value> =
        deltas.iter().map(|delta| chunk(json!([{"index": 0, "delta": delta}]))).collect();
    events.push(chunk(json!([{"index": 0, "delta": {}, "finish_reason": stop}])));
    events.push(with(chunk(json!([])), &json!({"usage": whole["usage"]})));
    let events = plain_events(&events);
    (whole, events)
}

/// What the user says, the answer, and the calls of a tool with their results.
type Turn = (String, Option<String>, Vec<(Value, String)>);

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let calls = prop::collection::vec((input(), text()), 0..3);
    prop::collection::vec((text(), prop::option::of(text()), calls), 1..4)
}

/// A request that Chat and Messages can both say, in Chat.
fn chat_request() -> impl Strategy<Value = Value> {
    (turns(), prop::option::of(text()), any::<[bool; 5]>(), 0_usize..4).prop_map(
        |(turns, system, [temperature, user, stream, stop, image], choice)| {
            let mut messages: Vec<Value> =
                system.iter().map(|text| json!({"role": "system", "content": text})).collect();
            for (number, (question, answer, calls)) in turns.iter().enumerate() {
                let content = if image {
                    json!([{"type": "text", "text": question},
                        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}])
                } else {
                    json!(question)
                };
                messages.push(json!({"role": "user", "content": content}));
                if answer.is_none() && calls.is_empty() {
                    messages.push(json!({"role": "assistant", "content": "ok"}));
                    continue;
                }
                let mut turn = json!({"role": "assistant", "content": answer});
                let id = |call: usize| format!("call_{number}_{call}");
                let call = |(place, (input, _)): (usize, &(Value, String))| {
                    json!({"id": id(place), "type": "function",
                        "function": {"name": "f", "arguments": input.to_string()}})
                };
                if !calls.is_empty() {
                    turn["tool_calls"] = calls.iter().enumerate().map(call).collect();
                }
                messages.push(turn);
                for (place, (_, result)) in calls.iter().enumerate() {
                    messages.push(json!({"role": "tool", "tool_call_id": id(place), "content": result}));
                }
                if !calls.is_empty() {
                    messages.push(json!({"role": "assistant", "content": "done"}));
                }
            }
            let mut body = json!({"model": "target-model", "max_tokens": 77, "messages": messages,
                "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}]});
            body["tool_choice"] = match choice {
                0 => json!("auto"),
                1 => json!("none"),
                2 => json!("required"),
                _ => json!({"type": "function", "function": {"name": "f"}}),
            };
            for (wanted, more) in [
                (temperature, json!({"temperature": 0.5, "top_p": 0.25})),
                (user, json!({"user": "u"})),
                (stream, json!({"stream": true, "stream_options": {"include_usage": true}})),
                (stop, json!({"stop": ["x", "y"], "parallel_tool_calls": false})),
            ] {
                if wanted {
                    body = with(body, &more);
                }
            }
            body
        },
    )
}

proptest! {
    #[test]
    fn a_request_comes_back_as_it_was(mut body in chat_request()) {
        if body["tool_choice"] == "none" {
            // There is no call to be single then.
            body.as_object_mut().unwrap().remove("parallel_tool_calls");
        }
        let there = translate(Chat, Messages, &body);
        prop_assert_eq!(&translate(Messages, Chat, &there), &body);
        let back = translate(Messages, Chat, &there);
        prop_assert_eq!(translate(Chat, Messages, &back), there);
    }

    #[test]
    fn a_message_streams_as_what_it_is_whole(said in said(), chunk in 1_usize..80) {
        let to = answers(Chat, Messages);
        let (answer, events) = as_message(&said);
        let out = stream(&to, &events, chunk).unwrap();
        prop_assert_eq!(&stream(&to, &events, usize::MAX).unwrap(), &out);
        let whole = whole(&to, &answer);
        let sum = add_up_chat(&out);
        for name in ["content", "tool_calls"] {
            let message = &whole["choices"][0]["message"];
            let expected = message.get(name).cloned().unwrap_or_else(|| json!([]));
            let found = if name == "content" && expected.is_null() { Value::Null } else { sum["message"][name].clone() };
            prop_assert_eq!(found, expected);
        }
        prop_assert_eq!(&sum["finish_reason"], &whole["choices"][0]["finish_reason"]);
        prop_assert_eq!(&sum["usage"], &whole["usage"]);
    }

    #[test]
    fn a_completion_streams_as_what_it_is_whole(said in said(), chunk in 1_usize..80) {
        let to = answers(Messages, Chat);
        let (answer, events) = as_completion(&said);
        let out = stream(&to, &events, chunk).unwrap();
        prop_assert_eq!(&stream(&to, &events, usize::MAX).unwrap(), &out);
        prop_assert_eq!(add_up_message(&out), whole(&to, &answer));
    }

    #[test]
    fn a_response_ends_as_what_it_is_whole(said in said(), chunk in 1_usize..80) {
        for (provider, (answer, events)) in [(Messages, as_message(&said)), (Chat, as_completion(&said))] {
            let to = answers(Responses, provider);
            let out = stream(&to, &events, chunk).unwrap();
            prop_assert_eq!(&stream(&to, &events, usize::MAX).unwrap(), &out);
            let payloads = payloads(&out);
            for (number, payload) in payloads.iter().enumerate() {
                prop_assert_eq!(&payload["sequence_number"], &json!(number));
            }
            prop_assert_eq!(&payloads.last().unwrap()["response"], &whole(&to, &answer));
            let items: Vec<Value> = payloads.iter().filter(|event| event["type"] == "response.output_item.done")
                .map(|event| event["item"].clone()).collect();
            prop_assert_eq!(&json!(items), &payloads.last().unwrap()["response"]["output"]);
        }
    }

    #[test]
    fn a_text_streams_as_what_it_is_whole(said in said(), chunk in 1_usize..80) {
        for (provider, (answer, events)) in [(Messages, as_message(&said)), (Chat, as_completion(&said))] {
            let to = answers(Completions, provider);
            let payloads = payloads(&stream(&to, &events, chunk).unwrap());
            let text: String = payloads.iter().filter_map(|event| event["choices"][0]["text"].as_str()).collect();
            let whole = whole(&to, &answer);
            prop_assert_eq!(text, whole["choices"][0]["text"].as_str().unwrap());
            prop_assert_eq!(&payloads.last().unwrap()["usage"], &whole["usage"]);
        }
    }

    #[test]
    fn no_bytes_make_it_fail(
        bytes in prop::collection::vec(any::<u8>(), 0..60),
        words in prop::collection::vec(prop::sample::select(vec![
            "{", "}", "[", "]", ":", ",", "\"", "null", "1", "{}", "\n\n", "data: ", "event: x\n",
            "\"messages\":", "\"role\":\"user\"", "\"content\":", "\"type\":", "\"input\":", "\"prompt\":",
            "\"text\"", "\"choices\":[", "\"delta\":{", "\"tool_calls\":[", "\"index\":", "[DONE]",
            "\"message_start\"", "\"message\":{", "\"candidates\":[", "\"parts\":[", "\"max_tokens\":1,",
        ]), 0..40),
    ) {
        let words = words.concat().into_bytes();
        for from in ALL {
            for to in ALL {
                for body in [&bytes, &words] {
                    for on in [OnUnsupported::Refuse, OnUnsupported::Drop] {
                        drop(ask(from, to, body, "m", on));
                    }
                }
                let Ok(translated) = try_translate(from, to, &question(from), OnUnsupported::Refuse) else {
                    continue;
                };
                for body in [&bytes, &words] {
                    drop(translated.answers.whole(body));
                    drop(translated.answers.refusal(400, body));
                    let (mut events, mut out) = (translated.answers.events(), BytesMut::new());
                    drop(events.push(body, &mut out));
                    drop(events.end(&mut out));
                }
            }
        }
    }

    #[test]
    fn damaged_streams_never_panic(said in said(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        for (to, (_, events)) in [
            (answers(Chat, Messages), as_message(&said)),
            (answers(Messages, Chat), as_completion(&said)),
        ] {
            let mut events = events.into_bytes();
            let at = at.index(events.len());
            events[at] = byte;
            let (mut translator, mut out) = (to.events(), BytesMut::new());
            drop(translator.push(&events, &mut out));
            drop(translator.end(&mut out));
        }
    }
}
