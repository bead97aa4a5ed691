//! Requests of Chat Completions to a provider that speaks Messages.

use super::*;
use Dialect::{Chat, Messages};

fn translated(body: &Value) -> Value {
    translate(Chat, Messages, body)
}

fn hi(more: &Value) -> Value {
    with(question(Chat), more)
}

#[test]
fn a_conversation_with_tools() {
    let body = json!({
        "model": "public", "temperature": 0.2, "top_p": 0.9, "stream": true, "user": "u-1",
        "stream_options": {"include_usage": true}, "max_completion_tokens": 500, "stop": ["END"],
        "frequency_penalty": 0, "n": 1, "store": false, "service_tier": "auto",
        "metadata": {"class": "x"}, "parallel_tool_calls": false, "tool_choice": "required",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Weather in Paris and Rome?", "name": "ann"},
            {"role": "assistant", "content": "Let me see.", "refusal": null, "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{\"city\": \"Paris\"}"}},
                {"id": "functions.weather:1", "type": "function", "function": {"name": "weather", "arguments": "{\"city\":\"Rome\"}"}},
                {"id": "call_3", "type": "function", "function": {"name": "now", "arguments": ""}}]},
            {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
            {"role": "tool", "tool_call_id": "functions.weather:1", "content": [{"type": "text", "text": "rain"}]},
            {"role": "tool", "tool_call_id": "call_3", "content": ""},
            {"role": "developer", "content": [{"type": "text", "text": "Use metric."}]},
            {"role": "user", "content": "And?"}],
        "tools": [{"type": "function", "function": {"name": "weather", "description": "d", "strict": true,
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}},
            {"type": "function", "function": {"name": "now"}}]});
    assert_eq!(
        translated(&body),
        json!({
            "model": "target-model", "max_tokens": 500, "temperature": 0.2, "top_p": 0.9, "stream": true,
            "stop_sequences": ["END"], "metadata": {"user_id": "u-1"},
            "system": [{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Use metric."}],
            "messages": [
                {"role": "user", "content": "Weather in Paris and Rome?"},
                {"role": "assistant", "content": [
                    {"type": "text", "text": "Let me see."},
                    {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Paris"}},
                    {"type": "tool_use", "id": "functions_weather_1", "name": "weather", "input": {"city": "Rome"}},
                    {"type": "tool_use", "id": "call_3", "name": "now", "input": {}}]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "call_1", "content": "sunny"},
                    {"type": "tool_result", "tool_use_id": "functions_weather_1", "content": "rain"},
                    {"type": "tool_result", "tool_use_id": "call_3", "content": ""},
                    {"type": "text", "text": "And?"}]}],
            "tools": [
                {"name": "weather", "description": "d", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}},
                {"name": "now", "input_schema": {"type": "object", "properties": {}}}],
            "tool_choice": {"type": "any", "disable_parallel_tool_use": true}})
    );
    let to = try_translate(Chat, Messages, &body, OnUnsupported::Refuse).unwrap();
    assert_eq!((to.path.as_str(), to.query), ("/messages", None));
}

#[test]
fn schemas_keep_their_order() {
    let body = r#"{"messages":[{"role":"user","content":"x"}],"tools":[{"type":"function","function":
        {"name":"f","parameters":{"z":1e2,"a":{"y":1.0,"b":2}}}}]}"#;
    let body = ask(Chat, Messages, body.as_bytes(), "m", OnUnsupported::Refuse).unwrap().body;
    let body = String::from_utf8(body.to_vec()).unwrap();
    assert!(body.contains(r#""input_schema":{"z":1e2,"a":{"y":1.0,"b":2}}"#), "{body}");
}

#[test]
fn images_and_documents() {
    let body = json!({"messages": [{"role": "user", "content": [
        {"type": "text", "text": "What?", "cache_control": {"type": "ephemeral"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.jpg"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,BBBB"}}]}]});
    assert_eq!(
        translated(&body)["messages"][0]["content"],
        json!([
            {"type": "text", "text": "What?", "cache_control": {"type": "ephemeral"}},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
            {"type": "image", "source": {"type": "url", "url": "https://example.com/a.jpg"}},
            {"type": "document", "title": "a.pdf", "source": {"type": "base64", "media_type": "application/pdf", "data": "BBBB"}}])
    );
}

#[test]
fn tool_choices() {
    let tools = json!([{"type": "function", "function": {"name": "f"}}]);
    for (choice, expected) in [
        (json!("auto"), json!({"type": "auto"})),
        (json!("none"), json!({"type": "none"})),
        (json!("required"), json!({"type": "any"})),
        (
            json!({"type": "function", "function": {"name": "f"}}),
            json!({"type": "tool", "name": "f"}),
        ),
    ] {
        let body = translated(&hi(&json!({"tools": tools, "tool_choice": choice})));
        assert_eq!(body["tool_choice"], expected);
    }
    let body = translated(&hi(&json!({"tools": tools, "parallel_tool_calls": false})));
    assert_eq!(body["tool_choice"], json!({"type": "auto", "disable_parallel_tool_use": true}));
    assert_eq!(translated(&hi(&json!({"parallel_tool_calls": false}))).get("tool_choice"), None);
}

#[test]
fn json_comes_as_the_call_of_a_tool() {
    let schema = json!({"type": "object", "properties": {"a": {"type": "integer"}}});
    let format = json!({"response_format": {"type": "json_schema", "json_schema":
        {"name": "n", "strict": true, "schema": schema}}});
    let body = translated(&hi(&format));
    assert_eq!(
        body["tools"],
        json!([{"name": "json_answer", "description": "Gives the answer.", "input_schema": schema}])
    );
    assert_eq!(body["tool_choice"], json!({"type": "tool", "name": "json_answer"}));
    let tools = json!([{"type": "function", "function": {"name": "f"}}]);
    let body = translated(&with(hi(&format), &json!({"tools": tools})));
    assert_eq!(body["tools"].as_array().unwrap().len(), 2);
    assert_eq!(body["tool_choice"], json!({"type": "any"}));
    let body = translated(&hi(&json!({"response_format": {"type": "json_object"}})));
    assert_eq!(body["tools"][0]["input_schema"], json!({"type": "object"}));
    assert_eq!(translated(&hi(&json!({"response_format": {"type": "text"}}))).get("tools"), None);
}

#[test]
fn thinking_is_a_budget_within_the_limit() {
    let thinking = |more: &Value| translated(&hi(more));
    let body = thinking(&json!({"reasoning_effort": "medium"}));
    assert_eq!(body["thinking"], json!({"type": "enabled", "budget_tokens": 8192}));
    assert_eq!(body["max_tokens"], 16384);
    let body = thinking(&json!({"reasoning_effort": "high", "max_completion_tokens": 4000}));
    assert_eq!(body["thinking"]["budget_tokens"], 2000);
    for more in [
        json!({"reasoning_effort": "none"}),
        json!({"reasoning_effort": "high", "max_tokens": 2000}),
        json!({"reasoning_effort": "high", "tool_choice": "required"}),
        json!({"reasoning_effort": "high", "temperature": 0.2}),
        json!({"reasoning_effort": "high", "top_p": 0.5}),
    ] {
        assert_eq!(thinking(&more).get("thinking"), None, "{more}");
    }
    assert_eq!(thinking(&json!({}))["max_tokens"], 8192);
}

#[test]
fn thinking_comes_back_as_it_was_signed() {
    let block = json!({"type": "thinking", "thinking": "hm", "signature": "sig"});
    let turns = |assistant: Value| {
        json!({"reasoning_effort": "low", "messages": [
            {"role": "user", "content": "x"}, assistant,
            {"role": "tool", "tool_call_id": "c", "content": "r"}]})
    };
    let calls =
        json!([{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]);
    let signed = json!({"role": "assistant", "content": null, "reasoning_content": "hm",
        "thinking_blocks": [block, {"type": "redacted_thinking", "data": "zz"}], "tool_calls": calls});
    let body = translated(&turns(signed));
    assert_eq!(
        body["messages"][1]["content"],
        json!([block, {"type": "redacted_thinking", "data": "zz"},
            {"type": "tool_use", "id": "c", "name": "f", "input": {}}])
    );
    assert!(body.get("thinking").is_some());
    // Without what was signed the provider refuses to go on thinking.
    let unsigned = json!({"role": "assistant", "reasoning_content": "hm", "tool_calls": calls});
    let body = translated(&turns(unsigned));
    assert_eq!(body["messages"][1]["content"].as_array().unwrap().len(), 1);
    assert_eq!(body.get("thinking"), None);
}

#[test]
fn a_system_message_alone_is_a_turn() {
    let body = translated(&json!({"messages": [{"role": "system", "content": "Do it."}]}));
    assert_eq!(body["messages"], json!([{"role": "user", "content": "Do it."}]));
    assert_eq!(body.get("system"), None);
}

#[test]
fn what_messages_cannot_express_is_named() {
    let text = json!({"type": "text", "text": "x"});
    let part = |part: Value| json!({"messages": [{"role": "user", "content": [part, text]}]});
    for (body, param) in [
        (hi(&json!({"logit_bias": {"50256": -100}})), "logit_bias"),
        (hi(&json!({"n": 2})), "n"),
        (hi(&json!({"logprobs": true})), "logprobs"),
        (hi(&json!({"seed": 7})), "seed"),
        (hi(&json!({"presence_penalty": 0.5})), "presence_penalty"),
        (hi(&json!({"temperature": 1.5})), "temperature"),
        (hi(&json!({"stop": ["\n"]})), "stop"),
        (hi(&json!({"modalities": ["text", "audio"]})), "modalities"),
        (hi(&json!({"web_search_options": {}})), "web_search_options"),
        (hi(&json!({"tools": [{"type": "custom", "custom": {"name": "x"}}]})), "tools[0].custom"),
        (hi(&json!({"anything_new": 1})), "anything_new"),
        (
            part(json!({"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}})),
            "messages[0].content[0].input_audio",
        ),
        (
            part(json!({"type": "file", "file": {"file_id": "file-1"}})),
            "messages[0].content[0].file.file_id",
        ),
        (part(json!({"type": "hologram"})), "messages[0].content[0].hologram"),
        (
            json!({"messages": [{"role": "user", "content": "x", "weight": 1}]}),
            "messages[0].weight",
        ),
    ] {
        assert_eq!(unsupported(Chat, Messages, &body), param);
        let dropped = try_translate(Chat, Messages, &body, OnUnsupported::Drop).unwrap().dropped;
        assert_eq!(dropped, [param]);
    }
    let hot = hi(&json!({"temperature": 1.5}));
    let hot = try_translate(Chat, Messages, &hot, OnUnsupported::Drop).unwrap();
    assert!(std::str::from_utf8(&hot.body).unwrap().contains(r#""temperature":1"#));
}

#[test]
fn what_is_wrong_is_named() {
    let turns = |messages: Value| json!({ "messages": messages });
    for (body, param) in [
        (turns(json!([{"role": "robot", "content": "x"}])), "messages[0].role"),
        (turns(json!([{"content": "x"}])), "messages[0].role"),
        (turns(json!([{"role": "user"}])), "messages[0].content"),
        (turns(json!([{"role": "user", "content": 7}])), "messages[0].content"),
        (turns(json!([7])), "messages[0]"),
        (turns(json!([])), "messages"),
        (json!({}), "messages"),
        (json!([]), ""),
        (
            turns(json!([{"role": "tool", "tool_call_id": "c", "content": "x"}])),
            "messages[0].tool_call_id",
        ),
        (
            turns(json!([{"role": "assistant", "tool_calls": [
                {"id": "c", "function": {"name": "f", "arguments": "[1]"}}]}])),
            "messages[0].tool_calls[0].function.arguments",
        ),
        (hi(&json!({"max_tokens": "9"})), "max_tokens"),
        (hi(&json!({"stop": 9})), "stop"),
        (hi(&json!({"tool_choice": "perhaps"})), "tool_choice"),
        (hi(&json!({"response_format": {"type": "xml"}})), "response_format.type"),
    ] {
        assert_eq!(invalid(Chat, Messages, &body), param);
    }
}
