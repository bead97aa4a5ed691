//! Streamed answers.

use super::*;
use Dialect::{Chat, Messages};

/// A stream of a Chat provider whose choice 0 goes on by `deltas`.
pub(super) fn chunks(deltas: &[Value], finish: &str) -> String {
    let chunk = |choices: Value| {
        json!({"id": "chatcmpl-9", "object": "chat.completion.chunk", "created": 1, "model": "secret-model",
            "choices": choices, "usage": null})
    };
    let mut payloads = vec![chunk(
        json!([{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": null}]),
    )];
    for delta in deltas {
        payloads.push(chunk(json!([{"index": 0, "delta": delta, "finish_reason": null}])));
    }
    payloads.push(chunk(json!([{"index": 0, "delta": {}, "finish_reason": finish}])));
    let mut usage = chunk(json!([]));
    usage["usage"] = json!({"prompt_tokens": 30, "completion_tokens": 7, "total_tokens": 37,
        "prompt_tokens_details": {"cached_tokens": 20}});
    payloads.push(usage);
    plain_events(&payloads)
}

/// A stream of a Messages provider with `events` between its beginning and end.
pub(super) fn blocks(events: &[Value], stop: &str) -> String {
    let mut payloads = vec![
        json!({"type": "message_start", "message": {"id": "msg_9", "type": "message", "role": "assistant",
            "model": "secret-model", "content": [], "stop_reason": null, "stop_sequence": null,
            "usage": {"input_tokens": 4, "cache_creation_input_tokens": 6, "cache_read_input_tokens": 20, "output_tokens": 1}}}),
        json!({"type": "ping"}),
    ];
    payloads.extend_from_slice(events);
    payloads.push(json!({"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": null}, "usage": {"output_tokens": 7}}));
    payloads.push(json!({"type": "message_stop"}));
    named_events(&payloads)
}

pub(super) fn start(index: u64, block: &Value) -> Value {
    json!({"type": "content_block_start", "index": index, "content_block": block})
}

pub(super) fn delta(index: u64, delta: &Value) -> Value {
    json!({"type": "content_block_delta", "index": index, "delta": delta})
}

pub(super) fn stop(index: u64) -> Value {
    json!({"type": "content_block_stop", "index": index})
}

#[test]
fn a_message_as_chunks() {
    let events = blocks(
        &[
            start(0, &json!({"type": "thinking", "thinking": "", "signature": ""})),
            delta(0, &json!({"type": "thinking_delta", "thinking": "h"})),
            delta(0, &json!({"type": "thinking_delta", "thinking": "m"})),
            delta(0, &json!({"type": "signature_delta", "signature": "sig"})),
            stop(0),
            start(1, &json!({"type": "redacted_thinking", "data": "zz"})),
            stop(1),
            start(2, &json!({"type": "text", "text": ""})),
            delta(2, &json!({"type": "text_delta", "text": "Hello"})),
            delta(2, &json!({"type": "citations_delta", "citation": {}})),
            stop(2),
            start(3, &json!({"type": "server_tool_use", "id": "s", "name": "w", "input": {}})),
            delta(3, &json!({"type": "input_json_delta", "partial_json": "{}"})),
            stop(3),
            start(4, &json!({"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}})),
            delta(4, &json!({"type": "input_json_delta", "partial_json": ""})),
            delta(4, &json!({"type": "input_json_delta", "partial_json": "{\"a\""})),
            delta(4, &json!({"type": "input_json_delta", "partial_json": ":1}"})),
            stop(4),
            start(5, &json!({"type": "tool_use", "id": "toolu_2", "name": "g", "input": {}})),
            stop(5),
        ],
        "tool_use",
    );
    let out = stream(&answers(Chat, Messages), &events, 7).unwrap();
    assert_eq!(
        add_up_chat(&out),
        json!({"finish_reason": "tool_calls",
            "message": {"content": "Hello", "reasoning_content": "hm",
                "thinking_blocks": [{"type": "thinking", "thinking": "hm", "signature": "sig"},
                    {"type": "redacted_thinking", "data": "zz"}],
                "tool_calls": [
                    {"id": "toolu_1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}},
                    {"id": "toolu_2", "type": "function", "function": {"name": "g", "arguments": "{}"}}]},
            "usage": {"prompt_tokens": 30, "completion_tokens": 7, "total_tokens": 37,
                "prompt_tokens_details": {"cached_tokens": 20, "cache_write_tokens": 6},
                "completion_tokens_details": {"reasoning_tokens": 0}}})
    );
    let first = &payloads(&out)[0];
    assert_eq!(
        *first,
        json!({"id": "chatcmpl-9", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "target-model",
            "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": null, "finish_reason": null}]})
    );
}

#[test]
fn chunks_as_a_message() {
    let call = |call: Value| json!({"tool_calls": [call]});
    let events = chunks(
        &[
            json!({"reasoning_content": "h"}),
            json!({"reasoning_content": "m", "content": null}),
            json!({"content": "Hel"}),
            json!({"content": "lo"}),
            call(
                json!({"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": ""}}),
            ),
            call(json!({"index": 0, "function": {"arguments": "{\"a\""}})),
            call(json!({"index": 0, "function": {"arguments": ":1}"}})),
            call(
                json!({"index": 1, "id": "call_2", "type": "function", "function": {"name": "g", "arguments": "{}"}}),
            ),
        ],
        "tool_calls",
    );
    let message = add_up_message(&stream(&answers(Messages, Chat), &events, 5).unwrap());
    assert_eq!(
        message,
        json!({"id": "msg_9", "type": "message", "role": "assistant", "model": "target-model",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": ""},
                {"type": "text", "text": "Hello"},
                {"type": "tool_use", "id": "call_1", "name": "f", "input": {"a": 1}},
                {"type": "tool_use", "id": "call_2", "name": "g", "input": {}}],
            "stop_reason": "tool_use", "stop_sequence": null,
            "usage": {"input_tokens": 10, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 20, "output_tokens": 7}})
    );
}

#[test]
fn calls_that_are_numbered_alike_or_not_at_all() {
    let call = |id: &str| json!({"tool_calls": [{"index": 0, "id": id, "function": {"name": "f", "arguments": "{}"}}]});
    let events = chunks(&[call("a"), call("b")], "stop");
    let message = add_up_message(&stream(&answers(Messages, Chat), &events, 99).unwrap());
    assert_eq!(message["content"].as_array().unwrap().len(), 2);
    assert_eq!(message["stop_reason"], "tool_use");
    let bare = json!({"tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]});
    let message = stream(&answers(Messages, Chat), &chunks(&[bare], "stop"), 99).unwrap();
    assert_eq!(add_up_message(&message)["content"][0]["input"], json!({"a": 1}));
}

#[test]
fn the_answer_tool_is_text_again() {
    let body = with(question(Chat), &json!({"response_format": {"type": "json_object"}}));
    let to = try_translate(Chat, Messages, &body, OnUnsupported::Refuse).unwrap().answers;
    let events = blocks(
        &[
            start(0, &json!({"type": "tool_use", "id": "t", "name": "json_answer", "input": {}})),
            delta(0, &json!({"type": "input_json_delta", "partial_json": "{\"a\":"})),
            delta(0, &json!({"type": "input_json_delta", "partial_json": "1}"})),
            stop(0),
        ],
        "tool_use",
    );
    let answer = add_up_chat(&stream(&to, &events, 50).unwrap());
    assert_eq!(answer["message"], json!({"content": "{\"a\":1}", "tool_calls": []}));
    assert_eq!(answer["finish_reason"], "stop");
}

#[test]
fn an_error_within_a_stream_ends_it() {
    let text = [
        start(0, &json!({"type": "text", "text": ""})),
        delta(0, &json!({"type": "text_delta", "text": "x"})),
    ];
    let whole = blocks(&text, "end_turn");
    let cut = whole.split("event: message_delta").next().unwrap();
    let error = json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded at https://x.test"}});
    let events = format!("{cut}event: error\ndata: {error}\n\nnot even an event");
    let out = stream(&answers(Chat, Messages), &events, 11).unwrap();
    assert_eq!(
        payloads(&out).last().unwrap()["error"],
        json!({"message": "Overloaded at [address]", "type": "server_error", "param": null, "code": null})
    );
    let whole = chunks(&[json!({"content": "x"})], "stop");
    let cut = whole.split_inclusive("\n\n").next().unwrap();
    let events =
        format!("{cut}data: {{\"error\":{{\"message\":\"m\",\"type\":\"rate_limit_error\"}}}}\n\n");
    let out = stream(&answers(Messages, Chat), &events, 11).unwrap();
    assert!(out.ends_with(
        "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"rate_limit_error\",\"message\":\"m\"}}\n\n"
    ));
}

#[test]
fn a_cut_stream_has_no_end() {
    let text = [start(0, &json!({"type": "text", "text": "x"})), stop(0)];
    for (to, events) in [
        (answers(Chat, Messages), blocks(&text, "end_turn")),
        (answers(Messages, Chat), chunks(&[json!({"content": "x"})], "stop")),
    ] {
        let ends: Vec<usize> = events.match_indices("\n\n").map(|(at, _)| at + 2).collect();
        for end in &ends[..ends.len() - 1] {
            assert!(stream(&to, events.get(..*end).unwrap(), 1000).is_err());
            assert!(stream(&to, events.get(..*end - 3).unwrap(), 1000).is_err());
        }
        let out = stream(&to, &events, 1000).unwrap();
        assert_eq!(stream(&to, &format!("\u{feff}{events}: bye\n\n"), 1).unwrap(), out);
        assert_eq!(stream(&to, &events.replace('\n', "\r\n"), 3).unwrap(), out);
    }
}

#[test]
fn what_breaks_the_protocol_is_garbled() {
    let text = || start(0, &json!({"type": "text", "text": ""}));
    let arguments = json!({"type": "input_json_delta", "partial_json": "{}"});
    for events in [
        named_events(&[json!({"type": "message_stop"})]),
        blocks(&[delta(0, &json!({"type": "text_delta", "text": "x"}))], "end_turn"),
        blocks(&[text(), delta(1, &json!({"type": "text_delta", "text": "x"}))], "end_turn"),
        blocks(&[text(), delta(0, &arguments)], "end_turn"),
        blocks(&[start(0, &json!({"type": "tool_use", "name": "f"}))], "end_turn"),
        "data: {\n\n".to_owned(),
        "data: <html>\n\n".to_owned(),
    ] {
        assert!(stream(&answers(Chat, Messages), &events, 1000).is_err(), "{events}");
    }
    let call = |index: u64, name: &str| json!({"tool_calls": [{"index": index, "id": format!("c{index}"), "function": {"name": name, "arguments": ""}}]});
    let more = json!({"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]});
    for deltas in
        [vec![call(0, "f"), call(1, "g"), more.clone()], vec![more], vec![json!({"content": 7})]]
    {
        let events = chunks(&deltas, "tool_calls");
        assert!(stream(&answers(Messages, Chat), &events, 1000).is_err(), "{events}");
    }
}

/// What a client is told where a provider breaks its own protocol: `Err`, the stream is
/// cut and what came before was passed; else the sum of what came, if anything can be made
/// of it.
#[test]
fn providers_that_break_their_own_protocol() {
    let text = || start(0, &json!({"type": "text", "text": ""}));
    let x = || delta(0, &json!({"type": "text_delta", "text": "x"}));
    let call = || start(0, &json!({"type": "tool_use", "id": "t", "name": "f", "input": {}}));
    let begin = || json!({"type": "message_start", "message": {"id": "msg_1", "content": [], "usage": {"input_tokens": 1, "output_tokens": 1}}});
    let named = |events: &[Value]| blocks(events, "end_turn");
    let without = |events: &str, name: &str| {
        let kept = events
            .split_inclusive("\n\n")
            .filter(|event| !event.starts_with(&format!("event: {name}\n")));
        kept.collect::<String>()
    };
    let whole = named(&[text(), x(), stop(0)]);
    for (what, events, expected) in [
        (
            "an unknown event",
            named(&[text(), json!({"type": "news"}), x(), stop(0)]),
            Some(json!("x")),
        ),
        (
            "an unknown delta",
            named(&[text(), delta(0, &json!({"type": "news_delta"})), x(), stop(0)]),
            Some(json!("x")),
        ),
        ("no end of a block", without(&whole, "content_block_stop"), Some(json!("x"))),
        ("no reason to stop", without(&whole, "message_delta"), Some(json!("x"))),
        ("a second end", format!("{whole}{whole}"), Some(json!("x"))),
        ("no beginning", without(&whole, "message_start"), None),
        ("no end", without(&whole, "message_stop"), None),
        ("two beginnings", named(&[begin(), text(), x(), stop(0)]), None),
        ("a delta before its block", named(&[x(), stop(0)]), None),
        ("a delta after its block", named(&[text(), stop(0), x()]), None),
        (
            "a delta of another block",
            named(&[text(), delta(1, &json!({"type": "text_delta", "text": "x"}))]),
            None,
        ),
        (
            "arguments for a text",
            named(&[text(), delta(0, &json!({"type": "input_json_delta", "partial_json": "{}"}))]),
            None,
        ),
        ("a text for a call", named(&[call(), x()]), None),
        (
            "a block without a number",
            named(&[json!({"type": "content_block_start", "content_block": {"type": "text"}})]),
            None,
        ),
        (
            "an event without a type",
            format!("{}data: {{}}\n\n", without(&whole, "message_stop")),
            None,
        ),
        (
            "no JSON",
            format!("{}data: <html>10.0.0.7</html>\n\n", without(&whole, "message_stop")),
            None,
        ),
    ] {
        let out = stream(&answers(Chat, Messages), &events, 1000);
        match (out, expected) {
            (Ok(out), Some(text)) => {
                let sum = add_up_chat(&out);
                assert_eq!(
                    (&sum["message"]["content"], &sum["finish_reason"]),
                    (&text, &json!("stop")),
                    "{what}"
                );
            }
            (Err(garbled), None) => assert!(!garbled.to_string().contains("10.0.0.7"), "{garbled}"),
            (out, _) => panic!("{what}: {out:?}"),
        }
    }
    // A call whose block is never closed still has arguments.
    let open = without(&named(&[call()]), "content_block_stop");
    let sum = add_up_chat(&stream(&answers(Chat, Messages), &open, 1000).unwrap());
    assert_eq!(sum["message"]["tool_calls"][0]["function"]["arguments"], "{}");
}

/// The same of servers of OpenAI's family.
#[test]
fn compatible_servers_that_break_their_own_protocol() {
    let say = |delta: Value| chunks(&[delta], "stop");
    let said = say(json!({"content": "x"}));
    let unfinished = said.replace("\"finish_reason\":\"stop\"", "\"finish_reason\":null");
    for (what, events, expected) in [
        ("no reason to stop", unfinished, Some("x")),
        ("fields that nobody knows", said.replace("\"created\":1", "\"news\":[{}]"), Some("x")),
        ("no end", said.replace("data: [DONE]\n\n", ""), None),
        ("an end at once", "data: [DONE]\n\n".to_owned(), Some("")),
        (
            "a call without a name",
            say(json!({"tool_calls": [{"index": 0, "id": "c", "function": {"arguments": "{}"}}]})),
            None,
        ),
        ("a text that is none", say(json!({"content": {"a": 1}})), None),
        ("a choice that is none", said.replace("\"choices\":[{", "\"choices\":[7,{"), None),
        ("choices that are none", said.replace("\"choices\":[]", "\"choices\":{}"), None),
        ("a number of a choice that is none", said.replace("\"index\":0", "\"index\":-1"), None),
        ("no JSON", "data: <html>10.0.0.7</html>\n\n".to_owned(), None),
    ] {
        let out = stream(&answers(Messages, Chat), &events, 1000);
        match (out, expected) {
            (Ok(out), Some(text)) => {
                let message = add_up_message(&out);
                assert_eq!(message["stop_reason"], "end_turn", "{what}");
                assert_eq!(
                    message["content"][0]["text"].as_str().unwrap_or_default(),
                    text,
                    "{what}"
                );
            }
            (Err(garbled), None) => assert!(!garbled.to_string().contains("10.0.0.7"), "{garbled}"),
            (out, _) => panic!("{what}: {out:?}"),
        }
    }
}
