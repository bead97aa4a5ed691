//! What the sandbox refuses.

use super::*;

const EMBEDDINGS: &str = "/v1/embeddings";

/// Asks for `body` and gives the error's `param` and `code`.
fn refused(path: &str, body: &Value) -> (String, String) {
    let reply = ask(path, body);
    assert_eq!((reply.status, reply.content_type), (400, "application/json"), "{body}");
    let ReplyBody::Whole(text) = reply.body else { panic!("a stream") };
    let answer: Value = serde_json::from_slice(&text).unwrap();
    let error = &answer["error"];
    assert_eq!(keys(error), set(["message", "type", "param", "code"]));
    assert_eq!(error["type"], "invalid_request_error");
    let text = |value: &Value| value.as_str().unwrap_or("null").to_owned();
    (text(&error["param"]), text(&error["code"]))
}

fn check(path: &str, rows: Vec<(Value, &str, &str)>) {
    for (body, param, code) in rows {
        assert_eq!(refused(path, &body), (param.to_owned(), code.to_owned()), "{body}");
    }
}

#[test]
fn what_is_no_request_is_refused() {
    check(
        CHAT,
        vec![
            (json!([]), "null", "null"),
            (json!({ "messages": [] }), "null", "null"),
            (json!({ "model": 1, "messages": [] }), "model", "invalid_type"),
        ],
    );
    assert_eq!(respond(CHAT, b"{\"model\":", NOW).status, 400);
    assert_eq!(respond(CHAT, b"\xFF", NOW).status, 400);
}

#[test]
fn messages_are_checked() {
    let messages = |messages: Value| chat(json!({ "messages": messages }));
    check(
        CHAT,
        vec![
            (json!({ "model": "m" }), "messages", "missing_required_parameter"),
            (messages(json!(null)), "messages", "missing_required_parameter"),
            (messages(json!([])), "messages", "empty_array"),
            (messages(json!("x")), "messages", "invalid_type"),
            (messages(json!([1])), "messages[0]", "invalid_type"),
            (messages(json!([{}])), "messages[0].role", "missing_required_parameter"),
            (messages(json!([{ "role": 1 }])), "messages[0].role", "invalid_type"),
            (messages(json!([{ "role": "king" }])), "messages[0].role", "invalid_value"),
            (
                messages(json!([{ "role": "user", "content": null }])),
                "messages[0].content",
                "invalid_type",
            ),
            (
                messages(json!([{ "role": "user", "content": "x" }, { "role": "user" }])),
                "messages[1].content",
                "missing_required_parameter",
            ),
        ],
    );
}

#[test]
fn parameters_are_checked() {
    check(
        CHAT,
        vec![
            (chat(json!({ "stream": "yes" })), "stream", "invalid_type"),
            (chat(json!({ "temperature": 3 })), "temperature", "invalid_value"),
            (chat(json!({ "top_p": "x" })), "top_p", "invalid_type"),
            (chat(json!({ "n": 0 })), "n", "invalid_value"),
            (chat(json!({ "max_tokens": -1 })), "max_tokens", "invalid_value"),
            (chat(json!({ "max_tokens": 1.5 })), "max_tokens", "invalid_type"),
            (chat(json!({ "stop": [1] })), "stop", "invalid_type"),
            (chat(json!({ "stop": ["a", "b", "c", "d", "e"] })), "stop", "invalid_value"),
            (chat(json!({ "logprobs": true })), "logprobs", "unsupported_parameter"),
            (chat(json!({ "stream_options": {} })), "stream_options", "invalid_value"),
            (chat(json!({ "response_format": "x" })), "response_format", "invalid_type"),
            (
                chat(json!({ "response_format": { "type": "xml" } })),
                "response_format.type",
                "invalid_value",
            ),
            (
                chat(json!({ "response_format": { "type": "json_schema" } })),
                "response_format.schema",
                "missing_required_parameter",
            ),
        ],
    );
}

#[test]
fn tools_are_checked() {
    let tools =
        |tools: Value, choice: Value| chat(json!({ "tools": tools, "tool_choice": choice }));
    let other = json!({ "type": "function", "function": { "name": "other" } });
    check(
        CHAT,
        vec![
            (tools(json!({}), json!("auto")), "tools", "invalid_type"),
            (tools(json!([]), json!("required")), "tool_choice", "invalid_value"),
            (tools(json!([weather()]), json!("maybe")), "tool_choice", "invalid_value"),
            (tools(json!([weather()]), other), "tool_choice", "invalid_value"),
            (
                tools(json!([{ "type": "function" }]), json!("auto")),
                "tools[0].function.name",
                "missing_required_parameter",
            ),
        ],
    );
}

#[test]
fn inputs_are_checked() {
    let input = |input: Value| json!({ "model": "m", "input": input });
    check(
        EMBEDDINGS,
        vec![
            (input(json!("")), "input", "invalid_value"),
            (input(json!([])), "input", "empty_array"),
            (input(json!([1, "a"])), "input", "invalid_type"),
            (input(json!(vec!["a"; 2_049])), "input", "invalid_value"),
            (
                with(input(json!("a")), json!({ "dimensions": 9_999 })),
                "dimensions",
                "invalid_value",
            ),
            (
                with(input(json!("a")), json!({ "encoding_format": "hex" })),
                "encoding_format",
                "invalid_value",
            ),
        ],
    );
    check(
        RESPONSES,
        vec![
            (json!({ "model": "m" }), "input", "missing_required_parameter"),
            (input(json!([])), "input", "empty_array"),
            (
                with(input(json!("x")), json!({ "previous_response_id": "resp_1" })),
                "previous_response_id",
                "previous_response_not_found",
            ),
        ],
    );
    check(
        "/v1/completions",
        vec![(json!({ "model": "m", "prompt": [true] }), "prompt", "invalid_type")],
    );
}

/// Covers invariant 6: nothing of the prompt comes back.
#[test]
fn the_prompt_is_not_quoted() {
    let secret = "zanzibar-4711";
    for body in [
        chat(json!({ "messages": [{ "role": "user", "content": secret }] })),
        chat(json!({ "messages": [{ "role": secret, "content": secret }] })),
        chat(json!({ "messages": secret })),
    ] {
        let text = format!("{:?}", ask(CHAT, &body));
        assert!(!text.contains(secret), "{text}");
    }
}
