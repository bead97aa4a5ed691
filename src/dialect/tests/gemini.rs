//! Providers that speak Gemini.

use super::*;
use crate::config::Thinking;
use Dialect::{Chat, Gemini, Messages, Responses};

fn chat(more: &Value) -> Value {
    translate(Chat, Gemini, &with(question(Chat), more))
}

/// An answer with `parts`.
fn generated(parts: &Value, reason: &str) -> Value {
    json!({"candidates": [{"index": 0, "finishReason": reason, "content": {"role": "model", "parts": parts}, "safetyRatings": []}],
        "usageMetadata": {"promptTokenCount": 30, "cachedContentTokenCount": 20, "candidatesTokenCount": 5,
            "thoughtsTokenCount": 2, "totalTokenCount": 37},
        "modelVersion": "secret-model", "responseId": "r9"})
}

/// A stream of `answers`.
fn events(answers: &[Value]) -> String {
    answers.iter().map(|answer| format!("data: {answer}\r\n\r\n")).collect()
}

#[test]
fn a_conversation_with_tools() {
    let body = json!({
        "model": "public", "temperature": 1.5, "top_p": 0.9, "n": 2, "seed": 7, "max_tokens": 500, "stop": "END",
        "stream": true, "user": "u", "tool_choice": {"type": "function", "function": {"name": "f"}},
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Look."},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                {"type": "input_audio", "input_audio": {"data": "BBBB", "format": "wav"}}]},
            {"role": "assistant", "content": null, "tool_calls": [
                {"id": "call_r_0__thought__AB-_C", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}},
                {"id": "call_r_1", "type": "function", "function": {"name": "g", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "call_r_0__thought__AB-_C", "content": "{\"b\":2}"},
            {"role": "tool", "tool_call_id": "call_r_1", "content": "rain"}],
        "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}},
            {"type": "function", "function": {"name": "g"}}]});
    assert_eq!(
        translate(Chat, Gemini, &body),
        json!({
            "systemInstruction": {"parts": [{"text": "Be brief."}]},
            "contents": [
                {"role": "user", "parts": [{"text": "Look."},
                    {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
                    {"inlineData": {"mimeType": "audio/wav", "data": "BBBB"}}]},
                {"role": "model", "parts": [
                    {"functionCall": {"name": "f", "args": {"a": 1}}, "thoughtSignature": "AB+/C==="},
                    {"functionCall": {"name": "g", "args": {}}}]},
                {"role": "user", "parts": [
                    {"functionResponse": {"name": "f", "response": {"b": 2}}},
                    {"functionResponse": {"name": "g", "response": {"result": "rain"}}}]}],
            "tools": [{"functionDeclarations": [
                {"name": "f", "description": "d", "parametersJsonSchema": {"type": "object"}}, {"name": "g"}]}],
            "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}},
            "generationConfig": {"maxOutputTokens": 500, "stopSequences": ["END"], "temperature": 1.5,
                "topP": 0.9, "seed": 7, "candidateCount": 2}})
    );
    // Another provider need not see what signed a call.
    let messages = translate(
        Chat,
        Messages,
        &with(
            body,
            &json!({"n": 1, "seed": null, "temperature": 1,
        "messages": [{"role": "user", "content": "x"},
            {"role": "assistant", "tool_calls": [{"id": "call_r_0__thought__AB", "function": {"name": "f"}}]},
            {"role": "tool", "tool_call_id": "call_r_0__thought__AB", "content": "y"}]}),
        ),
    );
    assert_eq!(messages["messages"][1]["content"][0]["id"], "call_r_0");
    assert_eq!(messages["messages"][2]["content"][0]["tool_use_id"], "call_r_0");
}

#[test]
fn paths() {
    for (stream, model, path, query) in [
        (false, "gemini-2.5-pro", "/models/gemini-2.5-pro:generateContent", None),
        (true, "models/x", "/models/x:streamGenerateContent", Some("alt=sse")),
        (false, "tunedModels/y", "/tunedModels/y:generateContent", None),
        (false, "../a?key=b#", "/models/..%2Fa%3Fkey%3Db%23:generateContent", None),
    ] {
        let body = with(question(Chat), &json!({"stream": stream})).to_string();
        let to = ask(Chat, Gemini, body.as_bytes(), model, OnUnsupported::Refuse).unwrap();
        assert_eq!((to.path.as_str(), to.query), (path, query));
    }
}

#[test]
fn thinking_and_formats() {
    let config = |model: &str, more: &Value| {
        let body = with(question(Chat), more).to_string();
        let to = ask(Chat, Gemini, body.as_bytes(), model, OnUnsupported::Refuse).unwrap();
        let body: Value = serde_json::from_slice(&to.body).unwrap();
        body["generationConfig"].clone()
    };
    assert_eq!(
        config("gemini-2.5-flash", &json!({"reasoning_effort": "medium"}))["thinkingConfig"],
        json!({"includeThoughts": true, "thinkingBudget": 8192})
    );
    assert_eq!(
        config("gemini-3-pro", &json!({"reasoning_effort": "low"}))["thinkingConfig"],
        json!({"includeThoughts": true, "thinkingLevel": "low"})
    );
    assert_eq!(
        config("m", &json!({"reasoning_effort": "none"}))["thinkingConfig"],
        json!({"thinkingBudget": 0})
    );
    let schema = json!({"type": "object"});
    let format = json!({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}});
    assert_eq!(
        config("m", &format),
        json!({"responseMimeType": "application/json", "responseJsonSchema": schema})
    );
    // A newer model wants a signature of the first call, whoever made it.
    let body = json!({"messages": [{"role": "user", "content": "x"},
        {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f"}}, {"id": "d", "function": {"name": "f"}}]}]});
    for thinking in [None, Some(Thinking::None), Some(Thinking::Budget)] {
        let wording = Wording { thinking, ..Wording::default() };
        let to = To { dialect: Gemini, model: "gemini-3-pro", wording: &wording };
        let to = request(Chat, &to, body.to_string().as_bytes(), OnUnsupported::Refuse).unwrap();
        let body: Value = serde_json::from_slice(&to.body).unwrap();
        let parts = &body["contents"][1]["parts"];
        assert_eq!(parts[0]["thoughtSignature"], "skip_thought_signature_validator");
        assert_eq!(parts[1].get("thoughtSignature"), None);
    }
}

#[test]
fn what_gemini_cannot_express_is_named() {
    let tools = json!([{"name": "f", "input_schema": {}}]);
    let single =
        json!({"tools": tools, "tool_choice": {"type": "auto", "disable_parallel_tool_use": true}});
    let image = json!({"messages": [{"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}]}]});
    for (from, body, param) in [
        (Chat, with(question(Chat), &json!({"logit_bias": {"1": 2}})), "logit_bias"),
        (Chat, with(question(Chat), &json!({"logprobs": true})), "logprobs"),
        (Chat, image, "messages[0].content[0].image_url"),
        (Messages, with(question(Messages), &single), "tool_choice.disable_parallel_tool_use"),
    ] {
        assert_eq!(unsupported(from, Gemini, &body), param);
    }
    assert_eq!(chat(&json!({"parallel_tool_calls": false, "logprobs": false})).get("tools"), None);
    assert_eq!(
        translate(Messages, Gemini, &question(Messages))["generationConfig"],
        json!({"maxOutputTokens": 9})
    );
}

#[test]
fn whole_answers() {
    let parts = json!([{"text": "h", "thought": true}, {"text": "m", "thought": true}, {"text": "One "}, {"text": "two"},
        {"functionCall": {"name": "f", "args": {"a": 1}}, "thoughtSignature": "AB+/C==="},
        {"functionCall": {"name": "g"}}]);
    let message = whole(&answers(Messages, Gemini), &generated(&parts, "STOP"));
    assert_eq!(
        message,
        json!({"id": "msg_r9", "type": "message", "role": "assistant", "model": "target-model",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": ""},
                {"type": "text", "text": "One two"},
                {"type": "tool_use", "id": "call_own_0__thought__AB-_C", "name": "f", "input": {"a": 1}},
                {"type": "tool_use", "id": "call_own_1", "name": "g", "input": {}}],
            "stop_reason": "tool_use", "stop_sequence": null,
            "usage": {"input_tokens": 10, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 20, "output_tokens": 7,
                "output_tokens_details": {"thinking_tokens": 2}}})
    );
    let completion = whole(&answers(Chat, Gemini), &generated(&json!([{"text": "x"}]), "STOP"));
    assert_eq!(completion["usage"]["completion_tokens_details"]["reasoning_tokens"], 2);
    assert_eq!(completion["usage"]["total_tokens"], 37);
    for (reason, finish) in
        [("MAX_TOKENS", "length"), ("SAFETY", "content_filter"), ("OTHER", "stop")]
    {
        let answer = whole(&answers(Chat, Gemini), &generated(&json!([{"text": "x"}]), reason));
        assert_eq!(answer["choices"][0]["finish_reason"], finish);
    }
    let blocked = json!({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": {"promptTokenCount": 3}});
    let answer = whole(&answers(Chat, Gemini), &blocked);
    assert_eq!(answer["choices"][0]["finish_reason"], "content_filter");
    assert_eq!(answer["choices"][0]["message"]["content"], Value::Null);
    for body in [
        "{}",
        r#"{"candidates":[]}"#,
        r#"{"candidates":[{"finishReason":"MALFORMED_FUNCTION_CALL"}]}"#,
        "[]",
    ] {
        assert!(answers(Chat, Gemini).whole(body.as_bytes()).is_err(), "{body}");
    }
}

#[test]
fn streams() {
    let mut pieces = vec![
        generated(&json!([{"text": "h", "thought": true}]), ""),
        generated(&json!([{"text": "m", "thought": true}, {"text": "One"}]), ""),
        generated(&json!([{"functionCall": {"name": "f", "args": {"a": 1}}}]), ""),
    ];
    for piece in &mut pieces {
        piece["candidates"][0].as_object_mut().unwrap().remove("finishReason");
    }
    pieces.push(generated(&json!([{"text": ""}]), "STOP"));
    let whole = generated(
        &json!([{"text": "hm", "thought": true}, {"text": "One"}, {"functionCall": {"name": "f", "args": {"a": 1}}}]),
        "STOP",
    );
    let stream_of = events(&pieces);
    for chunk in [1, 10, 10_000] {
        let to = answers(Messages, Gemini);
        let message = add_up_message(&stream(&to, &stream_of, chunk).unwrap());
        assert_eq!(message, super::whole(&to, &whole));
        let chat = add_up_chat(&stream(&answers(Chat, Gemini), &stream_of, chunk).unwrap());
        assert_eq!(chat["message"]["reasoning_content"], "hm");
        assert_eq!(chat["finish_reason"], "tool_calls");
        let to = answers(Responses, Gemini);
        let response = payloads(&stream(&to, &stream_of, chunk).unwrap()).pop().unwrap();
        assert_eq!(response["response"], super::whole(&to, &whole));
    }
    // Without its last event the stream was cut.
    assert!(stream(&answers(Chat, Gemini), &events(&pieces[..3]), 10).is_err());
    let error = json!({"error": {"code": 429, "message": "Quota", "status": "RESOURCE_EXHAUSTED"}});
    let out = stream(&answers(Messages, Gemini), &events(&[pieces[0].clone(), error]), 10).unwrap();
    assert_eq!(payloads(&out).last().unwrap()["error"]["type"], "rate_limit_error");
}

#[test]
fn a_refusal_has_the_clients_shape() {
    let body = br#"[{"error":{"code":400,"message":"API key not valid: AIzaSyA1234567","status":"INVALID_ARGUMENT"}}]"#;
    assert_eq!(
        answers(Chat, Gemini).refusal(400, body),
        r#"{"error":{"message":"API key not valid: [removed]","type":"invalid_request_error","param":null,"code":null}}"#
    );
}
