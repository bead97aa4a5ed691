use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

fn parse(text: &str) -> Request {
    Request::parse(&Bytes::copy_from_slice(text.as_bytes())).unwrap()
}

fn refusal(text: &[u8]) -> Refusal {
    Request::parse(&Bytes::copy_from_slice(text)).unwrap_err()
}

fn joined(outgoing: &Outgoing) -> String {
    String::from_utf8(outgoing.pieces.concat()).unwrap()
}

#[test]
fn fields_are_read_wherever_they_stand() {
    let request = parse(
        r#" {"x":1e400,"metadata":{"class":"documentation","a":"1"},"n":2, "stream" : true,"max_tokens":7,"model":"gpt\u002d4o"} "#,
    );
    assert_eq!(request.model.as_deref(), Some("gpt-4o"));
    assert!(request.stream);
    let chat = Endpoint::ChatCompletions;
    assert_eq!((request.answers(chat), request.output_limit(chat)), (2, Some(7)));
    assert_eq!(request.class.as_deref(), Some("documentation"));
    assert_eq!(request.metadata_text(), Some(r#"{"class":"documentation","a":"1"}"#));
}

#[test]
fn what_needs_no_change_is_the_same_bytes() {
    let text = r#"{ "b":1.0000000000000000000001,"model":"m",  "a":[1,2 ] }"#;
    let request = parse(text);
    assert_eq!(joined(&request.outgoing(None, true)), text);
    assert_eq!(joined(&request.outgoing(Some("m"), true)), text);
    assert_eq!(request.outgoing(None, false).pieces.len(), 1);
}

#[test]
fn the_model_is_renamed_in_place() {
    let request = parse(r#"{ "a":1, "model" :  "m" ,"b":2}"#);
    assert_eq!(
        joined(&request.outgoing(Some("x\"y"), false)),
        r#"{ "a":1, "model" :  "x\"y" ,"b":2}"#
    );
}

#[test]
fn usage_is_asked_for_in_every_form_of_stream_options() {
    for (options, asks) in [
        (r#""#, false),
        (r#","stream_options":null"#, false),
        (r#","stream_options":{}"#, false),
        (r#","stream_options": { } "#, false),
        (r#","stream_options":{"include_usage":false}"#, false),
        (r#","stream_options":{"other":[1]}"#, false),
        (r#","stream_options":{"include_usage":true}"#, true),
    ] {
        let text = format!(r#"{{"model":"m","stream":true{options}}}"#);
        let request = parse(&text);
        assert_eq!(request.asks_usage(), asks, "{text}");
        let sent: Value = serde_json::from_str(&joined(&request.outgoing(None, true))).unwrap();
        assert_eq!(sent["stream_options"]["include_usage"], json!(true), "{text}");
        if asks {
            assert_eq!(joined(&request.outgoing(None, true)), text);
        }
    }
}

#[test]
fn malformed_bodies_are_refused_with_their_offset() {
    for (text, offset) in [
        (&b""[..], 0),
        (b"{", 1),
        (b"[1]", 0),
        (b"nope", 1),
        (b"{\"model\":\"a\",}", 13),
        (b"{\"a\":1} x", 8),
        (b"{\"a\":\n  tru }", 8),
        (b"{\"a\":\"\xff\"}", 6),
        (b"{\"a\":1,\"\\ud800\":2}", 7),
        (b"{\"model\":\"a\",\"model\":\"b\"}", 20),
        (b"{\"model\":\"a\",\"mod\\u0065l\":\"b\"}", 25),
    ] {
        let refusal = refusal(text);
        assert_eq!(refusal.code, Code::InvalidJson, "{}", text.escape_ascii());
        let said = refusal.message.split("offset ").nth(1).unwrap().trim_end_matches(").");
        let said: usize = said.parse().unwrap();
        assert!(said.abs_diff(offset) <= 1, "{}: {said}, not {offset}", text.escape_ascii());
    }
    let deep = format!(r#"{{"model":"a","x":{}{}}}"#, "[".repeat(200), "]".repeat(200));
    assert_eq!(refusal(deep.as_bytes()).code, Code::InvalidJson);
}

#[test]
fn wrong_types_name_the_field() {
    for (text, param) in [
        (r#"{"model":1}"#, "model"),
        (r#"{"model":null}"#, "model"),
        (r#"{"model":"a","stream":"yes"}"#, "stream"),
        (r#"{"model":"a","n":-1}"#, "n"),
        (r#"{"model":"a","n":1.5}"#, "n"),
        (r#"{"model":"a","max_tokens":"9"}"#, "max_tokens"),
        (r#"{"model":"a","stream_options":[]}"#, "stream_options"),
        (r#"{"model":"a","stream_options":{"include_usage":1}}"#, "stream_options.include_usage"),
    ] {
        let refusal = refusal(text.as_bytes());
        assert_eq!(
            (refusal.code, refusal.param.as_deref()),
            (Code::InvalidValue, Some(param)),
            "{text}"
        );
    }
}

proptest! {
    #[test]
    fn edits_change_nothing_else(
        keys in prop::collection::vec("[a-z\"\\\\{}]{1,6}", 0..6),
        model in "[ -~]{1,12}",
        other in "[ -~]{1,12}",
        pretty in any::<bool>(),
    ) {
        let mut members = serde_json::Map::new();
        for key in keys {
            members.insert(format!("x_{key}"), json!({ "model": [key, 1.5, null, { "stream": true }] }));
        }
        members.insert("model".into(), json!(model));
        members.insert("stream".into(), json!(true));
        let value = Value::Object(members);
        let text = if pretty { serde_json::to_string_pretty(&value).unwrap() } else { value.to_string() };
        let mut wanted = value;
        wanted["model"] = json!(other);
        wanted["stream_options"] = json!({ "include_usage": true });
        let sent: Value = serde_json::from_str(&joined(&parse(&text).outgoing(Some(&other), true))).unwrap();
        prop_assert_eq!(sent, wanted);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _either = Request::parse(&Bytes::from(bytes));
    }
}
