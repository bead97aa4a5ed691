use http::HeaderValue;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::form::{LONG, PREFIX};
use super::*;

const SECRET: [u8; 32] = [7; 32];

fn context(headers: &HeaderMap) -> Context<'_> {
    Context {
        endpoint: "/v1/chat/completions",
        class: "default",
        account: Some("a"),
        model: "m",
        provider: "p",
        provider_model: None,
        max_output: None,
        headers,
        set: &[],
        query: None,
    }
}

/// A key for each `name`, for tests of what keeps entries.
pub(in crate::cache) fn named(name: &str) -> Key {
    let headers = HeaderMap::new();
    let context = Context { account: Some(name), ..context(&headers) };
    key(&SECRET, &context, &empty())
}

/// The hash of a body that says nothing.
fn empty() -> BodyHash {
    BodyHash::of(b"{}", Fields::All).unwrap()
}

fn of(body: &str, fields: Fields) -> Option<Key> {
    let hash = BodyHash::of(body.as_bytes(), fields)?;
    Some(key(&SECRET, &context(&HeaderMap::new()), &hash))
}

fn all(body: &str) -> Key {
    of(body, Fields::All).unwrap_or_else(|| panic!("no key for {body}"))
}

fn some(body: &str) -> Key {
    of(body, Fields::WithEffect).unwrap_or_else(|| panic!("no key for {body}"))
}

/// Covers D3.
#[test]
fn order_white_space_and_escapes_do_not_matter() {
    let body = r#"{"a":1,"b":{"c":[1,2],"d":"é/\n"},"e":null}"#;
    for same in [
        r#"{"b":{"d":"é/\n","c":[1,2]},"e":null,"a":1}"#,
        "\n{ \"e\" : null ,\t\"b\" :{\"c\":[ 1 , 2 ],\"d\":\"\\u00E9\\/\\u000a\"},\r\n\"a\":1 } ",
        r#"{"\u0061":1,"b":{"c":[1,2],"d":"\u00e9/\n"},"e":null}"#,
    ] {
        assert_eq!(all(same), all(body), "{same}");
    }
    assert_eq!(all(r#"{"a":"\ud83d\udc4b"}"#), all("{\"a\":\"\u{1F44B}\"}"));
}

/// Covers D3: the pairs that hashes without types, lengths or ends confuse.
#[test]
fn what_differs_has_another_key() {
    let bodies = [
        r#"{"a":"b"}"#,
        r#"{"a":["b"]}"#,
        r#"{"a":{"b":"b"}}"#,
        r#"{"a":[["b"]]}"#,
        r#"{"a":["b",[]]}"#,
        r#"{"a":["b"],"c":[]}"#,
        r#"{"a":["b","c"]}"#,
        r#"{"a":["c","b"]}"#,
        r#"{"a":["bc"]}"#,
        r#"{"a":[["b"],"c"]}"#,
        r#"{"a":[["b","c"]]}"#,
        r#"{"a":["b"],"c":"d"}"#,
        r#"{"a":"b\",\"c\":\"d"}"#,
        r#"{"ab":""}"#,
        r#"{"a":""}"#,
        r#"{"a":null}"#,
        r#"{"a":{}}"#,
        r#"{"a":[]}"#,
        r#"{"a":[null]}"#,
        r#"{"a":[{}]}"#,
        r#"{}"#,
        r#"{"a":false}"#,
        r#"{"a":true}"#,
        r#"{"a":"true"}"#,
        r#"{"a":1}"#,
        r#"{"a":1.0}"#,
        r#"{"a":1e0}"#,
        r#"{"a":10}"#,
        r#"{"a":-1}"#,
        r#"{"a":"1"}"#,
        r#"{"A":1}"#,
        r#"{"a":0.5,"user":"x"}"#,
        r#"{"a":"temperature: 0.5"}"#,
        r#"{"a":" b"}"#,
        r#"{"a":"B"}"#,
        r#"{"a":{"b":1},"c":2}"#,
        r#"{"a":{"b":1,"c":2}}"#,
        r#"{"a":"é"}"#,
        "{\"a\":\"e\u{301}\"}",
    ];
    for (index, one) in bodies.iter().enumerate() {
        for other in &bodies[index + 1..] {
            assert_ne!(all(one), all(other), "{one} and {other}");
        }
    }
}

#[test]
fn a_body_without_one_meaning_has_no_key() {
    for body in [
        r#"{"a":1,"a":1}"#,
        r#"{"a":1,"b":2,"\u0061":3}"#,
        r#"{"x":[{"z":1,"y":2,"z":1}]}"#,
        r#"{"user":"a","user":"a"}"#,
        r#"{"stream_options":null,"stream_options":{}}"#,
        r#"{"a":"\ud83d"}"#,
        r#"{"a":"\udc4b\ud83d"}"#,
        r#"{"a":"\ud83d\u0041"}"#,
        "[1]",
        "",
        "{",
        r#"{"a"}"#,
        r#"{"a":}"#,
        r#"{"a":1}x"#,
        r#"{"a":1"#,
        r#"{"a":[1}"#,
        r#"{"a":nul}"#,
        r#"{"a":"\x"}"#,
        r#"{"a":"b"#,
    ] {
        assert_eq!(of(body, Fields::WithEffect), None, "{body}");
    }
    let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    assert!(of(&nested(127), Fields::All).is_some());
    assert!(of(&nested(128), Fields::All).is_none());
}

#[test]
fn fields_without_effect_are_left_out_at_the_top_alone() {
    let plain = some(r#"{"model":"m","n":1}"#);
    for with in [
        r#""stream":true"#,
        r#""user":"u""#,
        r#""metadata":{"a":"b"}"#,
        r#""safety_identifier":"s""#,
        r#""prompt_cache_key":"k""#,
        r#""prompt_cache_retention":"24h""#,
        r#""stream_options":null"#,
        r#""stream_options":{}"#,
        r#""stream_options":{"include_usage":true}"#,
        r#""stream_options":{"include_usage":null}"#,
    ] {
        assert_eq!(some(&format!(r#"{{"model":"m",{with},"n":1}}"#)), plain, "{with}");
        assert_ne!(all(&format!(r#"{{"model":"m",{with},"n":1}}"#)), plain, "{with}");
        let deeper = format!(r#"{{"model":"m","n":1,"x":{{{with}}}}}"#);
        assert_ne!(some(&deeper), some(r#"{"model":"m","n":1,"x":{}}"#), "{with}");
    }
    for with in [
        r#""service_tier":"flex""#,
        r#""store":false"#,
        r#""seed":1"#,
        r#""stream_options":{"include_obfuscation":false}"#,
        r#""stream_options":{"include_usage":true,"include_obfuscation":false}"#,
        r#""stream_options":{"include_usage":1}"#,
        r#""stream_options":[true]"#,
        r#""Stream":true"#,
        r#""min_p":0.1"#,
    ] {
        assert_ne!(some(&format!(r#"{{"model":"m",{with},"n":1}}"#)), plain, "{with}");
    }
}

#[test]
fn everything_around_the_body_counts() {
    let mut beta = HeaderMap::new();
    beta.insert("openai-beta", HeaderValue::from_static("x"));
    let mut twice = beta.clone();
    twice.append("openai-beta", HeaderValue::from_static("x"));
    let mut other = HeaderMap::new();
    other.insert("anthropic-beta", HeaderValue::from_static("x"));
    let mut idle = HeaderMap::new();
    idle.insert("user-agent", HeaderValue::from_static("x"));
    let none = HeaderMap::new();
    let base = context(&none);
    let set = [(HeaderName::from_static("x-a"), HeaderValue::from_static("b"))];
    let contexts = [
        base,
        Context { endpoint: "/v1/completions", ..base },
        Context { class: "other", ..base },
        Context { account: Some("b"), ..base },
        Context { account: None, ..base },
        Context { account: Some(""), ..base },
        Context { model: "n", ..base },
        Context { provider: "q", ..base },
        Context { provider: "pm", model: "", ..base },
        Context { provider_model: Some("m"), ..base },
        Context { max_output: Some(1), ..base },
        Context { max_output: Some(2), ..base },
        Context { query: Some(""), ..base },
        Context { query: Some("a=1"), ..base },
        Context { headers: &beta, ..base },
        Context { headers: &twice, ..base },
        Context { headers: &other, ..base },
        Context { set: &set, ..base },
    ];
    let keys = contexts.map(|context| key(&SECRET, &context, &empty()));
    for (index, one) in keys.iter().enumerate() {
        assert!(!keys[index + 1..].contains(one), "{:?}", contexts[index]);
    }
    assert_eq!(key(&SECRET, &context(&idle), &empty()), keys[0]);
    assert_ne!(key(&[8; 32], &base, &empty()), keys[0]);
}

#[test]
fn long_values_are_told_apart() {
    let about = |length| [length - 10, length - PREFIX, length - 1, length, length + 1];
    for length in about(LONG).into_iter().chain(about(5 * LONG)).chain(about(16 * LONG)) {
        let long = |last: char| format!("{}{last}", "x".repeat(length));
        let text = |last| all(&format!(r#"{{"a":"{}"}}"#, long(last)));
        assert_ne!(text('y'), text('z'), "{length}");
        assert_eq!(text('y'), all(&format!("{{ \"\\u0061\":\"{}\\u0079\"}}", "x".repeat(length))));
        let name = |last| all(&format!(r#"{{"{}":1,"b":2}}"#, long(last)));
        assert_ne!(name('y'), name('z'), "{length}");
        let digits = |last| all(&format!(r#"{{"a":1{}{last}}}"#, "0".repeat(length)));
        assert_ne!(digits('1'), digits('2'), "{length}");
        let nested = |last| all(&format!(r#"{{"a":[{{"b":"{}","a":[]}}]}}"#, long(last)));
        assert_ne!(nested('y'), nested('z'), "{length}");
        assert_eq!(
            nested('y'),
            all(&format!(r#"{{"a":[{{"a":[],"b":"{}"}}]}}"#, long('y'))),
            "{length}"
        );
    }
}

#[test]
fn the_short_form_is_32_hexadecimal_digits() {
    let key = all("{}");
    let hex = key.to_hex();
    assert_eq!(hex.len(), 32);
    assert!(blake3::Hash::from(key.0).to_hex().starts_with(&*hex));
}

/// A JSON value whose numbers are texts that JSON allows.
fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-c\"\\\\\n\u{e9}\u{1F44B}]{0,8}".prop_map(Value::from),
        (1000..1100_usize).prop_map(|length| Value::from("x".repeat(length))),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            objects(inner),
        ]
    })
}

fn objects(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    prop::collection::btree_map("[a-d\"\u{e9}]{0,3}", value, 0..6)
        .prop_map(|members| Value::Object(members.into_iter().collect()))
}

/// `value` spelt anew: members in another order, other white space and escapes.
fn spelt(value: &Value, luck: &mut u64) -> String {
    let mut next = || {
        *luck =
            luck.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*luck >> 33) as usize
    };
    let space = [" ", "", "\n", "\t\r"][next() % 4];
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            let turn = next() % members.len().max(1);
            members.rotate_left(turn);
            if next() % 2 == 0 {
                members.reverse();
            }
            let texts: Vec<String> = members
                .into_iter()
                .map(|(name, value)| {
                    let name = spelt(&Value::from(name.as_str()), luck);
                    format!("{space}{name}{space}:{}", spelt(value, luck))
                })
                .collect();
            format!("{{{}{space}}}", texts.join(","))
        }
        Value::Array(items) => {
            let texts: Vec<String> =
                items.iter().map(|item| format!("{space}{}", spelt(item, luck))).collect();
            format!("[{}{space}]", texts.join(","))
        }
        Value::String(text) if next() % 2 == 0 => {
            let units = text.encode_utf16().map(|unit| format!("\\u{unit:04x}"));
            format!("\"{}\"", units.collect::<String>())
        }
        other => other.to_string(),
    }
}

/// Every value that differs from `value` in one place.
fn mutants(value: &Value) -> Vec<Value> {
    let mut found = match value {
        Value::Null => vec![json!(false), json!("null"), json!([]), json!({})],
        Value::Bool(on) => vec![json!(!on), json!(on.to_string())],
        Value::Number(number) => vec![json!(number.to_string()), json!([number])],
        Value::String(text) => vec![json!(format!("{text}x")), json!([text]), json!({ text: "" })],
        Value::Array(items) => {
            let mut changed = vec![json!([items])];
            for index in 0..items.len() {
                let mut fewer = items.clone();
                fewer.remove(index);
                changed.push(json!(fewer));
                for mutant in mutants(&items[index]) {
                    let mut items = items.clone();
                    items[index] = mutant;
                    changed.push(json!(items));
                }
            }
            let mut reversed = items.clone();
            reversed.reverse();
            changed.push(json!(reversed));
            changed
        }
        Value::Object(members) => {
            let mut changed = vec![json!([members])];
            for (name, inner) in members {
                let mut fewer = members.clone();
                fewer.remove(name);
                changed.push(json!(fewer));
                let mut renamed = fewer;
                renamed.insert(format!("{name}x"), inner.clone());
                changed.push(json!(renamed));
                for mutant in mutants(inner) {
                    let mut members = members.clone();
                    members[name] = mutant;
                    changed.push(json!(members));
                }
            }
            changed
        }
    };
    found.retain(|mutant| mutant != value);
    found
}

proptest! {
    /// Covers D3.
    #[test]
    fn a_spelling_does_not_change_the_key(body in objects(values()), mut luck in any::<u64>()) {
        prop_assert_eq!(all(&spelt(&body, &mut luck)), all(&body.to_string()));
    }

    /// Covers D3 and invariant 4.
    #[test]
    fn any_one_change_changes_the_key(body in objects(values())) {
        let key = all(&body.to_string());
        for mutant in mutants(&body) {
            if mutant.is_object() {
                prop_assert_ne!(all(&mutant.to_string()), key, "{} and {}", body, mutant);
            }
        }
    }

    #[test]
    fn no_bytes_make_it_fail(bytes in prop::collection::vec(
        prop::sample::select(b"{}[]\",:\\u0dx 1-en".to_vec()), 0..40)) {
        let body = [b"{\"a\":".as_slice(), &bytes].concat();
        let _either = BodyHash::of(&body, Fields::WithEffect);
    }
}
