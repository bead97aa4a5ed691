//! Clients of Responses.

use super::answers::{completion, message};
use super::streams::{blocks, chunks, delta, start, stop};
use super::*;
use Dialect::{Chat, Messages, Responses};

fn hi(more: &Value) -> Value {
    with(question(Responses), more)
}

/// An agent's second turn.
fn turn() -> Value {
    json!({
        "model": "public", "instructions": "Be brief.", "max_output_tokens": 900, "stream": true,
        "store": false, "include": ["reasoning.encrypted_content"], "parallel_tool_calls": true,
        "reasoning": {"effort": "low", "summary": "auto"}, "prompt_cache_key": "k", "truncation": "disabled",
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "Look."},
                {"type": "input_image", "detail": "auto", "image_url": "data:image/png;base64,AAAA"}]},
            {"type": "reasoning", "id": "rs_9_0", "encrypted_content": "signature.sig",
                "summary": [{"type": "summary_text", "text": "hm"}]},
            {"type": "message", "id": "msg_9_1", "status": "completed", "role": "assistant",
                "content": [{"type": "output_text", "text": "I look.", "annotations": [], "logprobs": []}]},
            {"type": "function_call", "id": "fc_9_2", "call_id": "c1", "name": "f", "arguments": "{\"a\": 1}", "status": "completed"},
            {"type": "function_call", "id": "fc_9_3", "call_id": "c2", "name": "g", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "one"},
            {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "two"}]}],
        "tools": [{"type": "function", "name": "f", "description": "d", "strict": true, "parameters": {"type": "object"}},
            {"type": "function", "name": "g"}],
        "tool_choice": "auto"})
}

#[test]
fn an_agents_turn_for_messages() {
    assert_eq!(
        translate(Responses, Messages, &turn()),
        json!({
            "model": "target-model", "max_tokens": 900, "system": "Be brief.", "stream": true,
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "Look."},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}]},
                {"role": "assistant", "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "sig"},
                    {"type": "text", "text": "I look."},
                    {"type": "tool_use", "id": "c1", "name": "f", "input": {"a": 1}},
                    {"type": "tool_use", "id": "c2", "name": "g", "input": {}}]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "c1", "content": "one"},
                    {"type": "tool_result", "tool_use_id": "c2", "content": "two"}]}],
            "tools": [{"name": "f", "description": "d", "input_schema": {"type": "object"}},
                {"name": "g", "input_schema": {"type": "object", "properties": {}}}],
            "tool_choice": {"type": "auto"}})
    );
    let roomy = with(turn(), &json!({"max_output_tokens": null}));
    assert_eq!(
        translate(Responses, Messages, &roomy)["thinking"],
        json!({"type": "enabled", "budget_tokens": 4096})
    );
}

#[test]
fn an_agents_turn_for_chat() {
    let body = translate(Responses, Chat, &turn());
    assert_eq!(
        body["messages"],
        json!([
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Look."},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "auto"}}]},
            {"role": "assistant", "content": "I look.", "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"a\": 1}"}},
                {"id": "c2", "type": "function", "function": {"name": "g", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "c1", "content": "one"},
            {"role": "tool", "tool_call_id": "c2", "content": "two"}])
    );
    assert_eq!(body["reasoning_effort"], "low");
    assert_eq!(body["tools"][0]["function"]["strict"], true);
    let schema = json!({"type": "object"});
    let text = json!({"text": {"verbosity": "low", "format": {"type": "json_schema", "name": "n", "schema": schema, "strict": true}}});
    let body = translate(Responses, Chat, &hi(&text));
    assert_eq!(
        body["response_format"],
        json!({"type": "json_schema", "json_schema": {"name": "n", "strict": true, "schema": schema}})
    );
    assert_eq!(body["verbosity"], "low");
}

#[test]
fn what_says_nothing_without_tools_is_left_out() {
    let usual = hi(
        &json!({"parallel_tool_calls": true, "tool_choice": "auto", "tools": [], "user": "u".repeat(65)}),
    );
    let chat = translate(Responses, Chat, &usual);
    for name in ["parallel_tool_calls", "tool_choice", "tools", "user"] {
        assert_eq!(chat.get(name), None, "{name}");
    }
    assert_eq!(translate(Responses, Messages, &usual).get("tool_choice"), None);
    let required = hi(&json!({"tool_choice": "required"}));
    assert_eq!(translate(Responses, Chat, &required)["tool_choice"], "required");
}

#[test]
fn what_needs_state_or_has_no_equal_is_named() {
    let user = json!({"role": "user", "content": "x"});
    let item = |item: Value| json!({"model": "m", "input": [item, user]});
    for (body, param) in [
        (hi(&json!({"previous_response_id": "resp_1"})), "previous_response_id"),
        (hi(&json!({"conversation": "c"})), "conversation"),
        (hi(&json!({"store": true})), "store"),
        (hi(&json!({"background": true})), "background"),
        (hi(&json!({"truncation": "auto"})), "truncation"),
        (hi(&json!({"top_logprobs": 2})), "top_logprobs"),
        (hi(&json!({"include": ["file_search_call.results"]})), "include[0]"),
        (hi(&json!({"tools": [{"type": "web_search"}]})), "tools[0].web_search"),
        (hi(&json!({"tool_choice": {"type": "file_search"}})), "tool_choice"),
        (item(json!({"type": "item_reference", "id": "x"})), "input[0].item_reference"),
        (
            item(json!({"role": "user", "content": [{"type": "input_image", "file_id": "f"}]})),
            "input[0].content[0].file_id",
        ),
    ] {
        assert_eq!(unsupported(Responses, Messages, &body), param);
        let dropped = try_translate(Responses, Messages, &body, OnUnsupported::Drop).unwrap();
        assert_eq!(dropped.dropped, [param]);
    }
    for (body, param) in [
        (json!({"model": "m"}), "input"),
        (json!({"model": "m", "input": []}), "input"),
        (item(json!({"role": "robot", "content": "x"})), "input[0].role"),
        (item(json!({"role": "user"})), "input[0].content"),
        (
            item(json!({"type": "function_call_output", "call_id": "c", "output": "x"})),
            "input[0].call_id",
        ),
        (
            item(json!({"type": "function_call", "call_id": "c", "name": "f", "arguments": "x"})),
            "input[0].arguments",
        ),
    ] {
        assert_eq!(invalid(Responses, Messages, &body), param);
    }
}

#[test]
fn a_message_as_a_response() {
    let to = try_translate(Responses, Messages, &turn(), OnUnsupported::Refuse).unwrap();
    let answer = message(
        &json!([
            {"type": "thinking", "thinking": "hm", "signature": "sig"},
            {"type": "redacted_thinking", "data": "zz"},
            {"type": "text", "text": "One"},
            {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}}]),
        "tool_use",
    );
    let response = whole(&to.answers.at(NOW), &answer);
    assert_eq!(
        response["output"],
        json!([
            {"type": "reasoning", "id": "rs_9_0", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "signature.sig"},
            {"type": "reasoning", "id": "rs_9_1", "summary": [], "encrypted_content": "redacted.zz"},
            {"type": "message", "id": "msg_9_2", "status": "completed", "role": "assistant",
                "content": [{"type": "output_text", "annotations": [], "logprobs": [], "text": "One"}]},
            {"type": "function_call", "id": "fc_9_3", "status": "completed", "call_id": "toolu_1", "name": "f", "arguments": "{\"a\":1}"}])
    );
    for (name, value) in [
        ("id", json!("resp_9")),
        ("object", json!("response")),
        ("created_at", json!(1_700_000_000)),
        ("status", json!("completed")),
        ("model", json!("target-model")),
        ("instructions", json!("Be brief.")),
        ("max_output_tokens", json!(900)),
        ("tools", turn()["tools"].clone()),
        ("error", Value::Null),
        ("incomplete_details", Value::Null),
        ("text", json!({"format": {"type": "text"}})),
        (
            "usage",
            json!({"input_tokens": 30, "input_tokens_details": {"cached_tokens": 20, "cache_write_tokens": 6},
                "output_tokens": 7, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 37}),
        ),
    ] {
        assert_eq!(response[name], value, "{name}");
    }
    let cut = whole(&answers(Responses, Chat), &completion(&json!({"content": "x"}), "length"));
    assert_eq!(cut["status"], "incomplete");
    assert_eq!(cut["incomplete_details"], json!({"reason": "max_output_tokens"}));
    assert_eq!(cut["output"][0]["status"], "incomplete");
}

#[test]
fn the_events_of_a_response() {
    let events = blocks(
        &[
            start(0, &json!({"type": "thinking", "thinking": "", "signature": ""})),
            delta(0, &json!({"type": "thinking_delta", "thinking": "hm"})),
            delta(0, &json!({"type": "signature_delta", "signature": "sig"})),
            stop(0),
            start(1, &json!({"type": "text", "text": ""})),
            delta(1, &json!({"type": "text_delta", "text": "One"})),
            stop(1),
            start(2, &json!({"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}})),
            delta(2, &json!({"type": "input_json_delta", "partial_json": "{\"a\":1}"})),
            stop(2),
        ],
        "tool_use",
    );
    let out = stream(&answers(Responses, Messages), &events, 13).unwrap();
    let payloads = payloads(&out);
    let kinds: Vec<&str> = payloads.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(
        kinds,
        [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.reasoning_summary_part.added",
            "response.reasoning_summary_text.delta",
            "response.reasoning_summary_text.done",
            "response.reasoning_summary_part.done",
            "response.output_item.done",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.output_item.added",
            "response.function_call_arguments.delta",
            "response.function_call_arguments.done",
            "response.output_item.done",
            "response.completed",
        ]
    );
    assert_eq!(payloads[0]["response"]["output"], json!([]));
    assert_eq!(payloads[0]["response"]["usage"], Value::Null);
    assert_eq!(
        payloads[9],
        json!({"type": "response.content_part.added", "sequence_number": 9, "item_id": "msg_9_1", "output_index": 1,
            "content_index": 0, "part": {"type": "output_text", "annotations": [], "logprobs": [], "text": ""}})
    );
    assert_eq!(
        payloads[14]["item"],
        json!({"type": "function_call", "id": "fc_9_2", "status": "in_progress", "call_id": "toolu_1", "name": "f", "arguments": ""})
    );
}

#[test]
fn a_refusal_and_a_failure() {
    let to = answers(Responses, Chat);
    let out = stream(&to, &chunks(&[json!({"refusal": "No."})], "stop"), 13).unwrap();
    let ended = payloads(&out).pop().unwrap();
    assert_eq!(ended["type"], "response.completed");
    assert_eq!(
        ended["response"]["output"][0]["content"],
        json!([{"type": "refusal", "refusal": "No."}])
    );
    let events =
        "data: {\"error\":{\"message\":\"m at http://x.test\",\"type\":\"rate_limit_error\"}}\n\n";
    let failed = payloads(&stream(&to, events, 13).unwrap()).pop().unwrap();
    assert_eq!(failed["type"], "response.failed");
    assert_eq!(
        failed["response"]["error"],
        json!({"code": "rate_limit_exceeded", "message": "m at [address]"})
    );
}
