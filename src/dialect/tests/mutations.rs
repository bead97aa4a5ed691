//! Whatever is done to a valid request, it is translated to a valid one or refused by
//! the name of a field. Covers E4.

use proptest::prelude::*;

use super::*;
use Dialect::{Chat, Completions, Gemini, Messages, Responses};

/// Marks the name of a member that is to be there twice.
const TWICE: &str = "@twice:";

/// A request with most of what the dialect has.
fn full(from: Dialect) -> Value {
    match from {
        Chat => {
            json!({"model": "public", "max_tokens": 900, "temperature": 0.5, "stop": ["x"], "user": "u",
            "reasoning_effort": "low", "stream": true, "stream_options": {"include_usage": true},
            "response_format": {"type": "json_schema", "json_schema": {"name": "n", "strict": true, "schema": {"type": "object"}}},
            "messages": [{"role": "system", "content": "Be brief."},
                {"role": "user", "content": [{"type": "text", "text": "Look."},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}}]},
                {"role": "assistant", "content": "I look.", "reasoning_content": "hm", "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"a\": 1}"}}]},
                {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "one"}]},
                {"role": "user", "content": "Go on."}],
            "tools": [{"type": "function", "function": {"name": "f", "description": "d", "strict": true, "parameters": {"type": "object"}}}],
            "tool_choice": {"type": "function", "function": {"name": "f"}}, "parallel_tool_calls": false})
        }
        Messages => {
            json!({"model": "public", "max_tokens": 9000, "system": [{"type": "text", "text": "Be brief.",
                "cache_control": {"type": "ephemeral"}}], "temperature": 1, "stop_sequences": ["x"], "stream": true,
            "thinking": {"type": "enabled", "budget_tokens": 2000}, "metadata": {"user_id": "u"},
            "messages": [{"role": "user", "content": [{"type": "text", "text": "Look."},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}]},
                {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "sig"},
                    {"type": "text", "text": "I look."}, {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "is_error": true,
                    "content": [{"type": "text", "text": "one"}]}]}],
            "tools": [{"name": "f", "description": "d", "input_schema": {"type": "object"}}],
            "tool_choice": {"type": "auto", "disable_parallel_tool_use": false}})
        }
        Responses => {
            json!({"model": "public", "instructions": "Be brief.", "max_output_tokens": 900, "stream": true,
            "store": false, "include": ["reasoning.encrypted_content"], "reasoning": {"effort": "low", "summary": "auto"},
            "text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": true}},
            "input": [{"role": "user", "content": [{"type": "input_text", "text": "Look."},
                    {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}]},
                {"type": "reasoning", "encrypted_content": "signature.sig", "summary": [{"type": "summary_text", "text": "hm"}]},
                {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I look."}]},
                {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c1", "output": "one"}],
            "tools": [{"type": "function", "name": "f", "description": "d", "strict": true, "parameters": {"type": "object"}}],
            "tool_choice": {"type": "function", "name": "f"}})
        }
        _ => {
            json!({"model": "public", "prompt": "Once", "max_tokens": 9, "temperature": 0.5, "stop": ["x"],
            "user": "u", "n": 1, "echo": false, "stream": false})
        }
    }
}

/// What is done to a request.
#[derive(Clone, Debug)]
enum Change {
    Drop,
    Retype(Value),
    Repeat,
}

fn change() -> impl Strategy<Value = Change> {
    let values = vec![
        json!(null),
        json!(true),
        json!(-1),
        json!(1.5),
        json!(99_999_999_999_999_999_999_999.0),
        json!(""),
        json!("x y"),
        json!("data:image/png;base64,@"),
        json!([]),
        json!([null]),
        json!(["a", 1]),
        json!([[]]),
        json!({}),
        json!({"type": "text"}),
        json!([{"type": "text", "text": "x"}]),
        json!({"role": "assistant", "content": "x"}),
    ];
    prop_oneof![
        Just(Change::Drop),
        prop::sample::select(values).prop_map(Change::Retype),
        Just(Change::Repeat),
    ]
}

/// How many places `value` has.
fn places(value: &Value) -> usize {
    match value {
        Value::Object(members) => members.values().map(|member| 1 + places(member)).sum(),
        Value::Array(items) => items.iter().map(|item| 1 + places(item)).sum(),
        _ => 0,
    }
}

/// Changes place `at` of `value`, counted in the order of the text.
fn apply(value: &mut Value, at: &mut usize, change: &Change) -> bool {
    let hit = |at: &mut usize| {
        *at = at.wrapping_sub(1);
        *at == usize::MAX
    };
    match value {
        Value::Object(members) => {
            let names: Vec<String> = members.keys().cloned().collect();
            for name in names {
                if hit(at) {
                    match change {
                        Change::Drop => drop(members.remove(&name)),
                        Change::Retype(new) => drop(members.insert(name, new.clone())),
                        Change::Repeat => {
                            let same = members[&name].clone();
                            members.insert(format!("{TWICE}{name}"), same);
                        }
                    }
                    return true;
                }
                if apply(members.get_mut(&name).unwrap(), at, change) {
                    return true;
                }
            }
        }
        Value::Array(items) => {
            for place in 0..items.len() {
                if hit(at) {
                    match change {
                        Change::Drop => drop(items.remove(place)),
                        Change::Retype(new) => items[place] = new.clone(),
                        Change::Repeat => items.insert(place, items[place].clone()),
                    }
                    return true;
                }
                if apply(&mut items[place], at, change) {
                    return true;
                }
            }
        }
        _ => {}
    }
    false
}

/// Whether `body` is a request that a provider of dialect `to` can read.
fn check(to: Dialect, body: &[u8]) {
    let body_json: Value = serde_json::from_slice(body).unwrap();
    if to == Gemini {
        let contents = body_json["contents"].as_array().unwrap();
        assert!(!contents.is_empty(), "{body_json}");
        for turn in contents {
            assert!(matches!(turn["role"].as_str(), Some("user" | "model")), "{body_json}");
            assert!(turn["parts"].is_array(), "{body_json}");
        }
        return;
    }
    // What the same dialect's clients may send.
    let other = if to == Chat { Messages } else { Chat };
    let model = "claude-sonnet-4-5";
    if let Err(bad @ Bad::Invalid { .. }) = ask(to, other, body, model, OnUnsupported::Drop) {
        panic!("{bad}: {body_json}");
    }
    assert!(!body_json["messages"].as_array().unwrap().is_empty(), "{body_json}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]
    #[test]
    fn a_damaged_request_is_translated_or_refused_by_name(
        from in prop::sample::select(vec![Chat, Messages, Responses, Completions]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), change()), 1..4),
        on in prop::sample::select(vec![OnUnsupported::Refuse, OnUnsupported::Drop]),
    ) {
        let mut body = full(from);
        for (place, change) in &changes {
            let count = places(&body);
            if count > 0 {
                apply(&mut body, &mut place.index(count), change);
            }
        }
        let text = body.to_string().replace(TWICE, "");
        for (to, model) in [(Chat, "mistral-large"), (Chat, "gpt-4o"), (Messages, "claude-opus-4-7"),
            (Messages, "claude-sonnet-4-5"), (Gemini, "gemini-2.5-pro")] {
            if to == from {
                continue;
            }
            match ask(from, to, text.as_bytes(), model, on) {
                Ok(translated) => check(to, &translated.body),
                Err(bad) => {
                    prop_assert!(!bad.param().is_empty(), "{bad}: {text}");
                    prop_assert!(!bad.message().is_empty(), "{bad}: {text}");
                }
            }
        }
    }
}

/// Without changes all of it is taken by someone.
#[test]
fn the_whole_requests_are_valid() {
    for from in [Chat, Messages, Responses, Completions] {
        for (to, model) in
            [(Chat, "o3"), (Messages, "claude-sonnet-4-5"), (Gemini, "gemini-2.5-pro")]
        {
            if from != to {
                let mut body = full(from);
                body.as_object_mut().unwrap().remove("parallel_tool_calls");
                let body = body.to_string();
                let translated = ask(from, to, body.as_bytes(), model, OnUnsupported::Refuse);
                check(
                    to,
                    &translated.unwrap_or_else(|bad| panic!("{from:?} to {to:?}: {bad}")).body,
                );
            }
        }
    }
}
