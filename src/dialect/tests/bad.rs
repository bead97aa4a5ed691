//! Requests that are wrong, or that a target does not take, from each dialect of
//! clients to each of providers. Covers E4.

use super::*;
use Dialect::{Chat, Completions, Gemini, Messages, Responses};

/// Where the providers of the three dialects find fault; `None` where one takes it.
struct Row {
    what: &'static str,
    from: Dialect,
    body: Value,
    chat: Option<&'static str>,
    messages: Option<&'static str>,
    gemini: Option<&'static str>,
}

/// What every provider would refuse.
fn wrong(what: &'static str, from: Dialect, body: Value, at: &'static str) -> Row {
    Row { what, from, body, chat: Some(at), messages: Some(at), gemini: Some(at) }
}

/// What is for the target to say.
fn odd(what: &'static str, from: Dialect, body: Value, at: [Option<&'static str>; 3]) -> Row {
    let [chat, messages, gemini] = at;
    Row { what, from, body, chat, messages, gemini }
}

fn chat(messages: Value) -> Value {
    json!({"model": "public", "messages": messages})
}

fn message(messages: Value) -> Value {
    json!({"model": "public", "max_tokens": 9, "messages": messages})
}

fn response(input: Value) -> Value {
    json!({"model": "public", "input": input})
}

fn of_chat() -> Vec<Row> {
    let user = |content: Value| json!({"role": "user", "content": content});
    let image =
        |url: &str| chat(json!([user(json!([{"type": "image_url", "image_url": {"url": url}}]))]));
    let call = |id: &str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let calls = |calls: Value| json!({"role": "assistant", "content": null, "tool_calls": calls});
    let result = |id: &str| json!({"role": "tool", "tool_call_id": id, "content": "x"});
    let url = "messages[0].content[0].image_url.url";
    vec![
        wrong("no messages", Chat, chat(json!([])), "messages"),
        wrong("messages are no list", Chat, chat(json!("x")), "messages"),
        wrong(
            "an unknown role",
            Chat,
            chat(json!([{"role": "robot", "content": "x"}])),
            "messages[0].role",
        ),
        wrong("no content", Chat, chat(json!([{"role": "user"}])), "messages[0].content"),
        wrong("empty content", Chat, chat(json!([user(json!([]))])), "messages[0].content"),
        wrong(
            "a result without a call",
            Chat,
            chat(json!([user(json!("x")), result("c")])),
            "messages[1].tool_call_id",
        ),
        wrong(
            "two results of a call",
            Chat,
            chat(json!([user(json!("x")), calls(json!([call("c")])), result("c"), result("c")])),
            "messages[3].tool_call_id",
        ),
        wrong(
            "two calls of one id",
            Chat,
            chat(json!([user(json!("x")), calls(json!([call("c"), call("c")]))])),
            "messages[1].tool_calls[1].id",
        ),
        wrong("base64 that is none", Chat, image("data:image/png;base64,@@@@"), url),
        wrong("base64 of a wrong length", Chat, image("data:image/png;base64,AAAAA"), url),
        wrong("base64 with too much padding", Chat, image("data:image/png;base64,A==="), url),
        wrong("an image of no bytes", Chat, image("data:image/png;base64,"), url),
        wrong("a data URL without base64", Chat, image("data:image/svg+xml,<svg/>"), url),
        wrong("an image of a file", Chat, image("file:///etc/passwd"), url),
    ]
}

/// What a chat may say, and not every target takes.
fn of_chat_for_some() -> Vec<Row> {
    let user = |content: Value| json!({"role": "user", "content": content});
    let image =
        |url: &str| chat(json!([user(json!([{"type": "image_url", "image_url": {"url": url}}]))]));
    let named = |name: &str| {
        let tools = json!([{"type": "function", "function": {"name": name}}]);
        with(question(Chat), &json!({"tools": tools}))
    };
    let name = Some("tools[0].function.name");
    vec![
        odd(
            "an image at an address",
            Chat,
            image("https://x.test/a.png"),
            [None, None, Some("messages[0].content[0].image_url")],
        ),
        odd(
            "an assistant who begins",
            Chat,
            chat(json!([{"role": "assistant", "content": "Hi"}, user(json!("x"))])),
            [None, Some("messages[0].role"), Some("messages[0].role")],
        ),
        odd(
            "two system messages",
            Chat,
            chat(
                json!([{"role": "system", "content": "a"}, {"role": "system", "content": "b"}, user(json!("x"))]),
            ),
            [None, None, None],
        ),
        odd(
            "more answers than one",
            Chat,
            with(question(Chat), &json!({"n": 2})),
            [None, Some("n"), None],
        ),
        odd(
            "many stop sequences",
            Chat,
            with(question(Chat), &json!({"stop": ["a", "b", "c", "d", "e", "f"]})),
            [Some("stop"), None, Some("stop")],
        ),
        odd("a tool's name with a space", Chat, named("a b"), [name, name, name]),
        odd("a tool's name with a digit first", Chat, named("1a"), [None, None, name]),
        odd("a long name of a tool", Chat, named(&"a".repeat(100)), [name, None, None]),
        odd("an empty name of a tool", Chat, named(""), [name, name, name]),
    ]
}

fn of_messages() -> Vec<Row> {
    let user = |content: Value| json!({"role": "user", "content": content});
    let source =
        |source: Value| message(json!([user(json!([{"type": "image", "source": source}]))]));
    let call = json!({"type": "tool_use", "id": "t", "name": "f", "input": {}});
    let calls = |calls: Value| json!({"role": "assistant", "content": calls});
    let result = json!({"type": "tool_result", "tool_use_id": "t", "content": "x"});
    let named = |name: &str| {
        with(
            question(Messages),
            &json!({"tools": [{"name": name, "input_schema": {"type": "object"}}]}),
        )
    };
    vec![
        wrong("no messages", Messages, message(json!([])), "messages"),
        wrong("empty content", Messages, message(json!([user(json!([]))])), "messages[0].content"),
        wrong(
            "nothing but an empty turn",
            Messages,
            message(json!([calls(json!([]))])),
            "messages",
        ),
        wrong("no limit", Messages, json!({"messages": [user(json!("x"))]}), "max_tokens"),
        wrong(
            "an unknown role",
            Messages,
            message(json!([{"role": "tool", "content": "x"}])),
            "messages[0].role",
        ),
        wrong(
            "a result without a call",
            Messages,
            message(json!([user(json!([result]))])),
            "messages[0].content[0].tool_use_id",
        ),
        wrong(
            "two results of a call",
            Messages,
            message(json!([user(json!("x")), calls(json!([call])), user(json!([result, result]))])),
            "messages[2].content[1].tool_use_id",
        ),
        wrong(
            "two calls of one id",
            Messages,
            message(json!([user(json!("x")), calls(json!([call, call]))])),
            "messages[1].content[1].id",
        ),
        wrong(
            "base64 that is none",
            Messages,
            source(json!({"type": "base64", "media_type": "image/png", "data": "???"})),
            "messages[0].content[0].source.data",
        ),
        wrong(
            "an image of a file",
            Messages,
            source(json!({"type": "url", "url": "file:///etc/passwd"})),
            "messages[0].content[0].source.url",
        ),
        odd(
            "an assistant who begins",
            Messages,
            message(json!([calls(json!("Hi")), user(json!("x"))])),
            [None, None, Some("messages[0].role")],
        ),
        odd(
            "many stop sequences",
            Messages,
            with(question(Messages), &json!({"stop_sequences": ["a", "b", "c", "d", "e", "f"]})),
            [Some("stop_sequences"), None, Some("stop_sequences")],
        ),
        odd(
            "a tool's name with a space",
            Messages,
            named("a b"),
            [Some("tools[0].name"), None, Some("tools[0].name")],
        ),
    ]
}

fn of_responses() -> Vec<Row> {
    let result = json!({"type": "function_call_output", "call_id": "c", "output": "x"});
    let call = json!({"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"});
    let image = |url: &str| {
        response(json!([{"role": "user", "content": [{"type": "input_image", "image_url": url}]}]))
    };
    vec![
        wrong("no input", Responses, response(json!([])), "input"),
        wrong(
            "an unknown role",
            Responses,
            response(json!([{"role": "robot", "content": "x"}])),
            "input[0].role",
        ),
        wrong(
            "empty content",
            Responses,
            response(json!([{"role": "user", "content": []}])),
            "input[0].content",
        ),
        wrong("a result without a call", Responses, response(json!([result])), "input[0].call_id"),
        wrong(
            "two results of a call",
            Responses,
            response(json!([{"role": "user", "content": "x"}, call, result, result])),
            "input[3].call_id",
        ),
        wrong(
            "two calls of one id",
            Responses,
            response(json!([{"role": "user", "content": "x"}, call, call])),
            "input[2].call_id",
        ),
        wrong(
            "base64 that is none",
            Responses,
            image("data:image/png;base64,@@"),
            "input[0].content[0].image_url",
        ),
        wrong("an image of a file", Responses, image("file:///x"), "input[0].content[0].image_url"),
        odd(
            "an assistant who begins",
            Responses,
            response(
                json!([{"role": "assistant", "content": "Hi"}, {"role": "user", "content": "x"}]),
            ),
            [None, Some("input[0].role"), Some("input[0].role")],
        ),
    ]
}

fn of_completions() -> Vec<Row> {
    vec![
        wrong("no prompt", Completions, json!({"model": "m"}), "prompt"),
        wrong("a prompt in tokens", Completions, json!({"model": "m", "prompt": [1, 2]}), "prompt"),
        wrong("two prompts", Completions, json!({"model": "m", "prompt": ["a", "b"]}), "prompt"),
    ]
}

#[test]
fn each_fault_is_named_as_the_client_knows_it() {
    let rows = of_chat()
        .into_iter()
        .chain(of_chat_for_some())
        .chain(of_messages())
        .chain(of_responses())
        .chain(of_completions());
    for Row { what, from, body, chat, messages, gemini } in rows {
        for (to, model, expected) in [
            (Chat, "gpt-4o", chat),
            (Messages, "claude-sonnet-4-5", messages),
            (Gemini, "gemini-2.5-flash", gemini),
        ] {
            if from == to {
                continue;
            }
            let found = ask(from, to, body.to_string().as_bytes(), model, OnUnsupported::Refuse);
            let param = found.as_ref().err().map(Bad::param);
            assert_eq!(param, expected, "{what}, from {from:?} to {to:?}: {found:?}");
        }
    }
}

/// The bound is declared; the bytes are not decoded to know how many they are.
#[test]
fn a_large_image_is_too_large_for_some() {
    let of = |bytes: usize| {
        let data =
            base64::Engine::encode(&base64::engine::general_purpose::STANDARD, vec![7; bytes]);
        let url = format!("data:image/png;base64,{data}");
        chat(
            json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]),
        )
    };
    for (to, model) in [(Messages, "claude-sonnet-4-5"), (Gemini, "gemini-2.5-flash")] {
        let wording = Wording { image_limit: Some(3000), ..Wording::default() };
        let to = To { dialect: to, model, wording: &wording };
        let sent = |bytes: usize, on| request(Chat, &to, of(bytes).to_string().as_bytes(), on);
        sent(3000, OnUnsupported::Refuse).unwrap();
        let refused = sent(3003, OnUnsupported::Refuse).unwrap_err();
        assert_eq!(refused.param(), "messages[0].content[0].image_url");
        assert!(matches!(&refused, Bad::Unsupported(_)), "another target may take it: {refused}");
        assert!(refused.message().contains("3003"), "{refused}");
        let dropped = sent(3003, OnUnsupported::Drop).unwrap();
        assert_eq!(dropped.dropped, ["messages[0].content[0].image_url"]);
    }
    let large = of(10 * 1024 * 1024 + 3);
    assert_eq!(unsupported(Chat, Messages, &large), "messages[0].content[0].image_url");
}

/// What a provider does not take of its own accord is left out where that may be.
#[test]
fn what_may_be_dropped_is() {
    let stops = with(question(Chat), &json!({"stop": ["a", "b", "c", "d", "e", "f"]}));
    let dropped = try_translate(Chat, Gemini, &stops, OnUnsupported::Drop).unwrap();
    let body: Value = serde_json::from_slice(&dropped.body).unwrap();
    assert_eq!(body["generationConfig"]["stopSequences"], json!(["a", "b", "c", "d", "e"]));
    assert_eq!(dropped.dropped, ["stop"]);
    let first =
        chat(json!([{"role": "assistant", "content": "Hi"}, {"role": "user", "content": "x"}]));
    let dropped = try_translate(Chat, Messages, &first, OnUnsupported::Drop).unwrap();
    let body: Value = serde_json::from_slice(&dropped.body).unwrap();
    assert_eq!(body["messages"], json!([{"role": "user", "content": "x"}]));
    assert_eq!(dropped.dropped, ["messages[0].role"]);
}
