use proptest::prelude::*;
use serde_json::{Value, json};

use crate::cache::replay::{Shape, to_stream, to_whole};
use bytes::Bytes;

fn stream(whole: &Value) -> Bytes {
    to_stream(Shape::Message, whole.to_string().as_bytes(), true).unwrap()
}

fn whole(events: &Bytes) -> Value {
    serde_json::from_slice(&to_whole(Shape::Message, events).unwrap()).unwrap()
}

fn events(of: &[Value]) -> Bytes {
    let event = |data: &Value| {
        format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap_or_default())
    };
    Bytes::from(of.iter().map(event).collect::<String>())
}

/// The stream of the API reference's "Streaming request with tool use", shortened.
#[test]
fn events_add_up_to_the_message() {
    let delta = |index: u64, delta: Value| json!({"type": "content_block_delta", "index": index, "delta": delta});
    let text = |text: &str| delta(0, json!({"type": "text_delta", "text": text}));
    let input = |json: &str| delta(1, json!({"type": "input_json_delta", "partial_json": json}));
    let events = events(&[
        json!({"type": "message_start", "message": {"id": "msg_014p7g", "type": "message",
            "role": "assistant", "model": "claude", "stop_sequence": null, "usage":
            {"input_tokens": 472, "output_tokens": 2, "cache_creation": {"ephemeral_5m": 3}},
            "content": [], "stop_reason": null}}),
        json!({"type": "content_block_start", "index": 0, "content_block":
            {"type": "text", "text": ""}}),
        json!({"type": "ping"}),
        text("Okay"),
        text(", \u{1F44B}"),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "content_block_start", "index": 1, "content_block": {"type": "tool_use",
            "id": "toolu_01T1", "name": "get_weather", "input": {}}}),
        input(""),
        input("{\"location\":"),
        input(" \"San Francisco\", \"n\": 1.50}"),
        json!({"type": "content_block_stop", "index": 1}),
        json!({"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": null},
            "usage": {"output_tokens": 89}}),
        json!({"type": "message_stop"}),
    ]);
    assert_eq!(
        whole(&events),
        json!({"id": "msg_014p7g", "type": "message", "role": "assistant", "model": "claude",
            "content": [{"type": "text", "text": "Okay, \u{1F44B}"},
                {"type": "tool_use", "id": "toolu_01T1", "name": "get_weather",
                 "input": {"location": "San Francisco", "n": 1.50}}],
            "stop_reason": "tool_use", "stop_sequence": null,
            "usage": {"input_tokens": 472, "output_tokens": 89,
                "cache_creation": {"ephemeral_5m": 3}}})
    );
    let text = String::from_utf8(to_whole(Shape::Message, &events).unwrap().to_vec()).unwrap();
    assert!(text.contains("1.50"), "numbers keep their spelling: {text}");
}

#[test]
fn thinking_citations_and_what_comes_whole_are_kept() {
    let message = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "m",
        "content": [
            {"type": "thinking", "thinking": "Let me see.", "signature": "EqQB="},
            {"type": "redacted_thinking", "data": "Eq8C"},
            {"type": "text", "text": "", "citations": [{"type": "char_location", "start_char_index": 1},
                {"type": "char_location", "start_char_index": 2}]},
            {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}},
            {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [{"url": "u"}]},
            {"type": "text", "text": "Done.", "citations": null},
        ],
        "stop_reason": "stop_sequence", "stop_sequence": "END", "unknown": {"x": [1]},
        "usage": {"input_tokens": 3, "cache_read_input_tokens": 2, "output_tokens": 9}});
    let stream = stream(&message);
    assert_eq!(whole(&stream), message);
    let text = String::from_utf8(stream.to_vec()).unwrap();
    assert!(text.starts_with("event: message_start\ndata: {\"type\":\"message_start\""), "{text}");
    assert!(text.ends_with("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"), "{text}");
    let start = text.lines().nth(1).unwrap();
    assert!(start.contains("\"stop_reason\":null") && start.contains("\"content\":[]"), "{start}");
    assert!(start.contains("\"output_tokens\":0"), "{start}");
}

#[test]
fn what_the_api_does_not_describe_has_no_other_form() {
    let start = json!({"type": "message_start", "message": {"content": [], "usage": {}}});
    for rest in [
        json!({"type": "error", "error": {"type": "overloaded_error"}}),
        json!({"type": "something_new"}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta"}}),
        json!({"type": "content_block_start", "index": 1, "content_block": {"type": "text"}}),
        json!({"no": "type"}),
    ] {
        let events = events(&[start.clone(), rest]);
        assert_eq!(to_whole(Shape::Message, &events), None, "{events:?}");
    }
    assert_eq!(to_whole(Shape::Message, &Bytes::from_static(b"data: [DONE]\n\n")), None);
    for text in [
        r#"{"type":"message","content":"text","usage":{}}"#,
        r#"{"type":"message","content":[{}],"usage":{}}"#,
        r#"{"type":"message","content":[]}"#,
        r#"{"content":[],"usage":{}}"#,
        "[]",
    ] {
        assert_eq!(to_stream(Shape::Message, text.as_bytes(), true), None, "{text}");
    }
}

fn block() -> impl Strategy<Value = Value> {
    let json = prop::collection::btree_map("[a-c\"]{1,3}", any::<i32>(), 0..4);
    prop_oneof![
        ".{0,20}".prop_map(|text| json!({"type": "text", "text": text})),
        (".{0,9}", "[a-z=]{0,9}").prop_map(
            |(text, sign)| json!({"type": "thinking", "thinking": text, "signature": sign})
        ),
        (json, ".{0,5}").prop_map(
            |(input, name)| json!({"type": "tool_use", "id": "t", "name": name, "input": input})
        ),
    ]
}

proptest! {
    /// Covers D2.
    #[test]
    fn a_message_comes_back_from_its_stream(
        content in prop::collection::vec(block(), 0..5),
        output in 0_u32..1_000,
        pretty in any::<bool>(),
    ) {
        let message = json!({"id": "msg_1", "type": "message", "content": content,
            "stop_reason": "end_turn", "stop_sequence": null,
            "usage": {"input_tokens": 5, "output_tokens": output}});
        let text = if pretty {
            serde_json::to_string_pretty(&message).unwrap()
        } else {
            message.to_string()
        };
        let streamed = to_stream(Shape::Message, text.as_bytes(), true).unwrap();
        prop_assert_eq!(whole(&streamed), message);
    }

    #[test]
    fn no_bytes_make_it_fail(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let _stream = to_stream(Shape::Message, &bytes, true);
        let _whole = to_whole(Shape::Message, &Bytes::from([b"data: ".as_slice(), &bytes].concat()));
    }
}
