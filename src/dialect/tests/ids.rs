//! Ids where a provider gives none.

use std::collections::BTreeSet;

use super::streams::chunks;
use super::*;
use Dialect::{Chat, Completions, Gemini, Messages, Responses};

/// A translation of its own, as each request has.
fn fresh(from: Dialect, to: Dialect) -> Translation {
    try_translate(from, to, &question(from), OnUnsupported::Refuse).unwrap().answers.at(NOW)
}

/// Azure's first chunk is about the prompt, and has an empty id.
#[test]
fn an_empty_first_chunk_is_passed_over() {
    let first = json!({"id": "", "object": "", "created": 0, "model": "", "choices": [],
        "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": {}}]});
    let events = format!("data: {first}\n\n{}", chunks(&[json!({"content": "x"})], "stop"));
    let message = add_up_message(&stream(&answers(Messages, Chat), &events, 9).unwrap());
    assert_eq!(message["id"], "msg_9", "the id comes with the second chunk");
    assert_eq!(message["content"], json!([{"type": "text", "text": "x"}]));
}

#[test]
fn an_answer_without_an_id_gets_one_of_its_own() {
    for id in [json!(""), Value::Null] {
        let events =
            chunks(&[json!({"content": "x"})], "stop").replace("\"chatcmpl-9\"", &id.to_string());
        let mut seen = BTreeSet::new();
        for (client, at, prefix) in [
            (Messages, "/message/id", "msg_"),
            (Responses, "/response/id", "resp_"),
            (Completions, "/id", "cmpl-"),
            (Messages, "/message/id", "msg_"),
        ] {
            let out = stream(&fresh(client, Chat), &events, 50).unwrap();
            let payload = payloads(&out).remove(0);
            let id = payload.pointer(at).and_then(Value::as_str).unwrap().to_owned();
            let bare = id.strip_prefix(prefix).unwrap().to_owned();
            assert!(bare.len() >= 32, "{id}");
            assert!(seen.insert(bare), "{id} came twice");
        }
    }
}

/// Covers that a conversation never has two calls of one id.
#[test]
fn calls_without_ids_get_such_as_no_other_answer_has() {
    let gemini = json!({"candidates": [{"content": {"parts": [
        {"functionCall": {"name": "f", "args": {}}}, {"functionCall": {"name": "f", "args": {}}}]},
        "finishReason": "STOP"}]});
    let function = json!({"name": "f", "arguments": "{}"});
    let chat = json!({"choices": [{"message": {"content": null, "tool_calls": [
        {"type": "function", "function": function},
        {"id": "", "type": "function", "function": function}]}, "finish_reason": "tool_calls"}]});
    for (provider, answer) in [(Gemini, gemini), (Chat, chat)] {
        let mut seen = BTreeSet::new();
        for _turn in 0..3 {
            let message = whole(&fresh(Messages, provider), &answer);
            for call in message["content"].as_array().unwrap() {
                let id = call["id"].as_str().unwrap().to_owned();
                assert!(id.starts_with("call_"), "{id}");
                assert!(seen.insert(id), "{message}");
            }
        }
        assert_eq!(seen.len(), 6);
    }
}

#[test]
fn geminis_own_ids_are_kept() {
    let part = json!({"functionCall": {"id": "fc-7", "name": "f", "args": {}}, "thoughtSignature": "AB=="});
    let answer = json!({"candidates": [{"content": {"parts": [part]}, "finishReason": "STOP"}]});
    let message = whole(&fresh(Messages, Gemini), &answer);
    assert_eq!(message["content"][0]["id"], "fc-7__thought__AB");
}
