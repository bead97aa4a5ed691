//! Requests of Messages to a provider that speaks Chat Completions.

use super::*;
use Dialect::{Chat, Messages};

fn translated(body: &Value) -> Value {
    translate(Messages, Chat, body)
}

fn hi(more: &Value) -> Value {
    with(question(Messages), more)
}

#[test]
fn a_coding_agents_turn() {
    let ephemeral = json!({"type": "ephemeral"});
    let body = json!({
        "model": "public", "max_tokens": 32000, "stream": true, "temperature": 1,
        "metadata": {"user_id": "user_1"}, "service_tier": "auto",
        "stop_sequences": ["</x>"],
        "system": [{"type": "text", "text": "You code."}, {"type": "text", "text": "Well.", "cache_control": ephemeral}],
        "tools": [{"name": "Read", "description": "Reads.", "cache_control": ephemeral,
            "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}}],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": true},
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Look."}, {"type": "text", "text": "Now.", "cache_control": ephemeral}]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": "sig"},
                {"type": "text", "text": "I read."},
                {"type": "tool_use", "id": "toolu_1", "name": "Read", "input": {"path": "a"}},
                {"type": "tool_use", "id": "toolu_2", "name": "Read", "input": {}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": "text of a"},
                {"type": "tool_result", "tool_use_id": "toolu_2", "is_error": true, "content": [
                    {"type": "text", "text": "no path"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}]},
                {"type": "text", "text": "Go on."}]}]});
    assert_eq!(
        translated(&body),
        json!({
            "model": "target-model", "max_tokens": 32000, "stream": true, "temperature": 1,
            "stream_options": {"include_usage": true}, "user": "user_1", "stop": ["</x>"],
            "messages": [
                {"role": "system", "content": [{"type": "text", "text": "You code."}, {"type": "text", "text": "Well."}]},
                {"role": "user", "content": [{"type": "text", "text": "Look."}, {"type": "text", "text": "Now."}]},
                {"role": "assistant", "content": "I read.", "tool_calls": [
                    {"id": "toolu_1", "type": "function", "function": {"name": "Read", "arguments": "{\"path\":\"a\"}"}},
                    {"id": "toolu_2", "type": "function", "function": {"name": "Read", "arguments": "{}"}}]},
                {"role": "tool", "tool_call_id": "toolu_1", "content": "text of a"},
                {"role": "tool", "tool_call_id": "toolu_2", "content": "no path"},
                {"role": "user", "content": [
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                    {"type": "text", "text": "Go on."}]}],
            "tools": [{"type": "function", "function": {"name": "Read", "description": "Reads.",
                "parameters": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}}}],
            "tool_choice": "auto", "parallel_tool_calls": false})
    );
}

#[test]
fn thinking_is_an_effort() {
    for (thinking, effort) in [
        (json!({"thinking": {"type": "enabled", "budget_tokens": 1024}}), json!("low")),
        (json!({"thinking": {"type": "enabled", "budget_tokens": 10000}}), json!("medium")),
        (json!({"thinking": {"type": "enabled", "budget_tokens": 31999}}), json!("high")),
        (json!({"thinking": {"type": "disabled"}}), Value::Null),
        (json!({"thinking": {"type": "adaptive"}}), Value::Null),
        (
            json!({"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}),
            json!("low"),
        ),
        (json!({"output_config": {"effort": "max"}}), json!("xhigh")),
    ] {
        assert_eq!(translated(&hi(&thinking))["reasoning_effort"], effort, "{thinking}");
    }
    // Thinking that a provider of this dialect made goes back to one.
    let body = json!({"max_tokens": 9, "messages": [{"role": "user", "content": "x"},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": ""},
            {"type": "text", "text": "y"}]}]});
    assert_eq!(translated(&body)["messages"][1]["reasoning_content"], "hm");
}

#[test]
fn models_that_think_have_another_name_for_the_limit() {
    for (model, name) in [
        ("gpt-4o-mini", "max_tokens"),
        ("mistral-large", "max_tokens"),
        ("openai/gpt-5.1", "max_completion_tokens"),
        ("o3-mini", "max_completion_tokens"),
    ] {
        let body = question(Messages).to_string();
        let to = ask(Messages, Chat, body.as_bytes(), model, OnUnsupported::Refuse).unwrap();
        let body: Value = serde_json::from_slice(&to.body).unwrap();
        assert_eq!(body[name], 9, "{model}");
        assert_eq!(to.path, "/chat/completions");
    }
}

#[test]
fn formats_and_documents() {
    let schema = json!({"type": "object"});
    let format = json!({"output_config": {"format": {"type": "json_schema", "schema": schema}}});
    assert_eq!(
        translated(&hi(&format))["response_format"],
        json!({"type": "json_schema", "json_schema": {"name": "answer", "strict": true, "schema": schema}})
    );
    let body = json!({"max_tokens": 9, "messages": [{"role": "user", "content": [
        {"type": "document", "title": "t.pdf", "source": {"type": "base64", "media_type": "application/pdf", "data": "BBBB"}},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "words"}}]}]});
    assert_eq!(
        translated(&body)["messages"][0]["content"],
        json!([
            {"type": "file", "file": {"filename": "t.pdf", "file_data": "data:application/pdf;base64,BBBB"}},
            {"type": "file", "file": {"filename": "document.txt", "file_data": "data:text/plain;base64,d29yZHM="}}])
    );
}

#[test]
fn what_chat_cannot_express_is_named() {
    let user = |part: Value| json!({"max_tokens": 9, "messages": [{"role": "user", "content": [part, {"type": "text", "text": "x"}]}]});
    for (body, param) in [
        (hi(&json!({"top_k": 5})), "top_k"),
        (hi(&json!({"container": "c"})), "container"),
        (hi(&json!({"mcp_servers": [{}]})), "mcp_servers"),
        (
            hi(&json!({"tools": [{"type": "web_search_20250305", "name": "web_search"}]})),
            "tools[0].web_search_20250305",
        ),
        (
            user(json!({"type": "image", "source": {"type": "file", "file_id": "f"}})),
            "messages[0].content[0].source",
        ),
        (
            user(
                json!({"type": "document", "source": {"type": "url", "url": "https://x.test/a.pdf"}}),
            ),
            "messages[0].content[0].source",
        ),
        (
            user(json!({"type": "search_result", "content": []})),
            "messages[0].content[0].search_result",
        ),
    ] {
        assert_eq!(unsupported(Messages, Chat, &body), param);
        let dropped = try_translate(Messages, Chat, &body, OnUnsupported::Drop).unwrap().dropped;
        assert_eq!(dropped, [param]);
    }
}

#[test]
fn a_system_message_may_stand_between_the_others() {
    let body = json!({"max_tokens": 9, "messages": [{"role": "user", "content": "x"},
        {"role": "system", "content": "Be brief."}]});
    assert_eq!(
        translate(Messages, Chat, &body)["messages"],
        json!([{"role": "user", "content": "x"}, {"role": "system", "content": "Be brief."}])
    );
}

#[test]
fn what_is_wrong_is_named() {
    let turns = |messages: Value| json!({ "max_tokens": 9, "messages": messages });
    for (body, param) in [
        (json!({"messages": [{"role": "user", "content": "x"}]}), "max_tokens"),
        (turns(json!([{"role": "tool", "content": "x"}])), "messages[0].role"),
        (
            turns(json!([{"role": "system", "content":
                [{"type": "image", "source": {"type": "url", "url": "https://x.test/a"}}]}])),
            "messages[0].content[0]",
        ),
        (turns(json!([{"role": "user"}])), "messages[0].content"),
        (
            turns(
                json!([{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t"}]}]),
            ),
            "messages[0].content[0].tool_use_id",
        ),
        (
            turns(
                json!([{"role": "user", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}]}]),
            ),
            "messages[0].content[0]",
        ),
        (
            turns(
                json!([{"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": 1}]}]),
            ),
            "messages[0].content[0].input",
        ),
        (hi(&json!({"tool_choice": {"type": "all"}})), "tool_choice.type"),
        (hi(&json!({"thinking": {"type": "enabled"}})), "thinking.budget_tokens"),
        (hi(&json!({"thinking": {"type": "deep"}})), "thinking.type"),
        (
            hi(
                &json!({"system": [{"type": "image", "source": {"type": "url", "url": "https://x.test/a"}}]}),
            ),
            "system",
        ),
    ] {
        assert_eq!(invalid(Messages, Chat, &body), param);
    }
}
