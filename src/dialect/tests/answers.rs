//! Whole answers and refusals.

use super::*;
use Dialect::{Chat, Messages};

/// The answer of a Chat provider with `message`.
pub(super) fn completion(message: &Value, finish: &str) -> Value {
    json!({"id": "chatcmpl-9", "object": "chat.completion", "created": 1, "model": "secret-model",
        "choices": [{"index": 0, "message": message, "logprobs": null, "finish_reason": finish}],
        "usage": {"prompt_tokens": 30, "completion_tokens": 7, "total_tokens": 37,
            "prompt_tokens_details": {"cached_tokens": 20}, "completion_tokens_details": {"reasoning_tokens": 3}},
        "system_fingerprint": "fp"})
}

/// The answer of a Messages provider with `content`.
pub(super) fn message(content: &Value, stop: &str) -> Value {
    json!({"id": "msg_9", "type": "message", "role": "assistant", "model": "secret-model",
        "content": content, "stop_reason": stop, "stop_sequence": null,
        "usage": {"input_tokens": 4, "cache_creation_input_tokens": 6, "cache_read_input_tokens": 20,
            "output_tokens": 7, "service_tier": "standard"}})
}

#[test]
fn a_message_as_a_completion() {
    let answer = message(
        &json!([
            {"type": "thinking", "thinking": "hm", "signature": "sig"},
            {"type": "redacted_thinking", "data": "zz"},
            {"type": "text", "text": "One ", "citations": null},
            {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
            {"type": "text", "text": "two"},
            {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": [1]}}]),
        "tool_use",
    );
    assert_eq!(
        whole(&answers(Chat, Messages), &answer),
        json!({"id": "chatcmpl-9", "object": "chat.completion", "created": 1_700_000_000, "model": "target-model",
            "choices": [{"index": 0, "logprobs": null, "finish_reason": "tool_calls", "message": {
                "role": "assistant", "content": "One two", "refusal": null, "reasoning_content": "hm",
                "thinking_blocks": [{"type": "thinking", "thinking": "hm", "signature": "sig"},
                    {"type": "redacted_thinking", "data": "zz"}],
                "tool_calls": [{"id": "toolu_1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":[1]}"}}]}}],
            "usage": {"prompt_tokens": 30, "completion_tokens": 7, "total_tokens": 37,
                "prompt_tokens_details": {"cached_tokens": 20, "cache_write_tokens": 6},
                "completion_tokens_details": {"reasoning_tokens": 0}}})
    );
}

/// What a provider signed, a client gives back as it got it, and the provider
/// gets it as it was.
#[test]
fn an_answer_comes_back_as_it_was() {
    let content = json!([
        {"type": "thinking", "thinking": "h\"m", "signature": "sig"},
        {"type": "redacted_thinking", "data": "zz"},
        {"type": "text", "text": "One"},
        {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": [1.0, null]}}]);
    let answer = message(&content, "tool_use");
    let completion = whole(&answers(Chat, Messages), &answer);
    let chat = json!({"messages": [{"role": "user", "content": "x"},
        completion["choices"][0]["message"],
        {"role": "tool", "tool_call_id": "toolu_1", "content": "y"}]});
    assert_eq!(translate(Chat, Messages, &chat)["messages"][1]["content"], content);
    let mut input = vec![json!({"role": "user", "content": "x"})];
    let response = whole(&answers(Dialect::Responses, Messages), &answer);
    input.extend(response["output"].as_array().unwrap().iter().cloned());
    input.push(json!({"type": "function_call_output", "call_id": "toolu_1", "output": "y"}));
    let body = json!({"model": "m", "input": input});
    assert_eq!(translate(Dialect::Responses, Messages, &body)["messages"][1]["content"], content);
}

#[test]
fn a_completion_as_a_message() {
    let calls = json!([
        {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{\"a\": 1}"}},
        {"id": "call_2", "type": "function", "function": {"name": "g", "arguments": ""}}]);
    let answer = json!({"role": "assistant", "content": "Well.", "refusal": null,
        "reasoning_content": "hm", "tool_calls": calls, "annotations": []});
    assert_eq!(
        whole(&answers(Messages, Chat), &completion(&answer, "tool_calls")),
        json!({"id": "msg_9", "type": "message", "role": "assistant", "model": "target-model",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": ""},
                {"type": "text", "text": "Well."},
                {"type": "tool_use", "id": "call_1", "name": "f", "input": {"a": 1}},
                {"type": "tool_use", "id": "call_2", "name": "g", "input": {}}],
            "stop_reason": "tool_use", "stop_sequence": null,
            "usage": {"input_tokens": 10, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 20, "output_tokens": 7,
                "output_tokens_details": {"thinking_tokens": 3}}})
    );
}

#[test]
fn stop_reasons() {
    let text = json!([{"type": "text", "text": "x"}]);
    for (stop, finish) in [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("pause_turn", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("refusal", "content_filter"),
    ] {
        let answer = whole(&answers(Chat, Messages), &message(&text, stop));
        assert_eq!(answer["choices"][0]["finish_reason"], finish);
    }
    for (finish, stop) in [
        ("stop", "end_turn"),
        ("length", "max_tokens"),
        ("content_filter", "refusal"),
        ("eos", "end_turn"),
    ] {
        let answer = json!({"role": "assistant", "content": "x"});
        let answer = whole(&answers(Messages, Chat), &completion(&answer, finish));
        assert_eq!(answer["stop_reason"], stop);
    }
    let refused = json!({"role": "assistant", "content": null, "refusal": "No."});
    let answer = whole(&answers(Messages, Chat), &completion(&refused, "stop"));
    assert_eq!(answer["stop_reason"], "refusal");
    assert_eq!(answer["content"], json!([{"type": "text", "text": "No."}]));
}

#[test]
fn the_answer_tool_is_text_again() {
    let body = with(question(Chat), &json!({"response_format": {"type": "json_object"}}));
    let to = try_translate(Chat, Messages, &body, OnUnsupported::Refuse).unwrap().answers;
    let call = json!({"type": "tool_use", "id": "t", "name": "json_answer", "input": {"a": 1}});
    let answer = whole(&to, &message(&json!([call]), "tool_use"));
    assert_eq!(answer["choices"][0]["message"]["content"], r#"{"a":1}"#);
    assert_eq!(answer["choices"][0]["message"].get("tool_calls"), None);
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    let other = json!({"type": "tool_use", "id": "t", "name": "f", "input": {}});
    let answer = whole(&to, &message(&json!([other]), "tool_use"));
    assert_eq!(answer["choices"][0]["finish_reason"], "tool_calls");
}

#[test]
fn arguments_may_be_broken_only_where_the_answer_was_cut() {
    let calls =
        json!([{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{\"a\""}}]);
    let answer = json!({"role": "assistant", "content": null, "tool_calls": calls});
    let to = answers(Messages, Chat);
    let cut = whole(&to, &completion(&answer, "length"));
    assert_eq!(cut["content"][0]["input"], json!({}));
    let body = completion(&answer, "tool_calls").to_string();
    assert_eq!(to.whole(body.as_bytes()), Err(Garbled("arguments".to_owned())));
}

#[test]
fn choices_come_in_their_order_and_without_calls_there_is_no_tool_stop() {
    let choice = |index: u64, text: &str| json!({"index": index, "message": {"content": text}, "finish_reason": "stop"});
    let answer = json!({"choices": [choice(1, "b"), choice(0, "a")]});
    let answer = whole(&answers(Messages, Chat), &answer);
    assert_eq!(answer["content"][0]["text"], "a");
    assert_eq!(answer["usage"]["output_tokens"], 0);
    let stop = json!({"role": "assistant", "content": null, "tool_calls": [
        {"id": "c", "function": {"name": "f", "arguments": {"a": 1}}}]});
    let answer = whole(&answers(Messages, Chat), &completion(&stop, "stop"));
    assert_eq!(answer["stop_reason"], "tool_use");
    assert_eq!(answer["content"][0]["input"], json!({"a": 1}));
}

#[test]
fn reasoning_counted_beside_the_answer_is_added_to_it() {
    let mut answer = completion(&json!({"content": "x"}), "stop");
    answer["usage"] = json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 115,
        "completion_tokens_details": {"reasoning_tokens": 100}});
    assert_eq!(whole(&answers(Messages, Chat), &answer)["usage"]["output_tokens"], 105);
    answer["usage"] = json!({"prompt_tokens": "many"});
    assert_eq!(whole(&answers(Messages, Chat), &answer)["usage"]["output_tokens"], 0);
}

#[test]
fn what_is_no_answer_is_garbled() {
    for body in [
        "",
        "null",
        "[]",
        "<html>",
        "{}",
        r#"{"choices":[]}"#,
        r#"{"choices":[{}]}"#,
        r#"{"content":1}"#,
    ] {
        assert!(answers(Messages, Chat).whole(body.as_bytes()).is_err(), "{body}");
        assert!(answers(Chat, Messages).whole(body.as_bytes()).is_err(), "{body}");
    }
}

#[test]
fn a_refusal_has_the_clients_shape() {
    let body = br#"{"type":"error","error":{"type":"invalid_request_error","message":"max_tokens: too large, see https://10.1.1.1/x"},"request_id":"req_1"}"#;
    assert_eq!(
        answers(Chat, Messages).refusal(400, body),
        r#"{"error":{"message":"max_tokens: too large, see [address]","type":"invalid_request_error","param":null,"code":null}}"#
    );
    let body = br#"{"error":{"message":"Too long","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}"#;
    assert_eq!(
        answers(Messages, Chat).refusal(400, body),
        r#"{"type":"error","error":{"type":"invalid_request_error","message":"Too long"}}"#
    );
}
