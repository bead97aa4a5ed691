use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;

fn text(value: &Value) -> Bytes {
    Bytes::from(value.to_string())
}

fn cap(most: i64) -> Cap {
    Cap { most: most as f64, text: Bytes::from(most.to_string()) }
}

fn rules(fields: Vec<(&str, FieldChange)>) -> Rewrite {
    Rewrite { fields: fields.into_iter().map(|(name, it)| (Arc::from(name), it)).collect() }
}

fn apply(rules: &Rewrite, body: &str) -> Result<String, Refusal> {
    let body = Bytes::copy_from_slice(body.as_bytes());
    let new = rewritten(rules, &body)?.unwrap_or(body);
    Ok(String::from_utf8(new.to_vec()).unwrap())
}

fn set(value: Value) -> FieldChange {
    FieldChange::Set(text(&value))
}

fn default(value: Value) -> FieldChange {
    FieldChange::Default { value: text(&value), cap: None }
}

/// Covers J5.
#[test]
fn each_kind_of_rule_changes_its_field_and_no_other_byte() {
    let rules = rules(vec![
        ("logit_bias", FieldChange::Remove),
        ("seed", default(json!(7))),
        ("temperature", set(json!(0))),
        ("top_k", FieldChange::Cap(cap(50))),
        ("reasoning", FieldChange::Within(rules(vec![("effort", set(json!("low")))]))),
    ]);
    for (body, expected) in [
        (
            r#"{ "a" : 1.0, "temperature": 1, "logit_bias":{"x":[1]} , "top_k":99,"seed":3 , "reasoning":{"effort" : "high","b":2}}"#,
            r#"{ "a" : 1.0, "temperature": 0 , "top_k":50,"seed":3 , "reasoning":{"effort" : "low","b":2}}"#,
        ),
        (r#"{"a":1}"#, r#"{"seed":7,"temperature":0,"reasoning":{"effort":"low"},"a":1}"#),
        ("{}", r#"{"seed":7,"temperature":0,"reasoning":{"effort":"low"}}"#),
        (
            r#"{"logit_bias":1 ,"seed":null,"temper\u0061ture":2,"reasoning":null}"#,
            r#"{"seed":7,"temper\u0061ture":0,"reasoning":{"effort":"low"}}"#,
        ),
        (
            r#" { "logit_bias" : 1 } "#,
            r#" {"seed":7,"temperature":0,"reasoning":{"effort":"low"}  } "#,
        ),
        (
            r#"{"seed":1,"temperature":0,"top_k":1e400,"reasoning":{}}"#,
            r#"{"seed":1,"temperature":0,"top_k":50,"reasoning":{"effort":"low"}}"#,
        ),
    ] {
        assert_eq!(apply(&rules, body).unwrap(), expected);
    }
}

#[test]
fn several_members_go_with_their_commas() {
    let rules = rules(["a", "b", "c"].map(|name| (name, FieldChange::Remove)).into());
    for (body, expected) in [
        (r#"{"a":1,"b":2,"x":3,"c":4}"#, r#"{"x":3}"#),
        (r#"{"x":3,"a":1,"b":2}"#, r#"{"x":3}"#),
        (r#"{"a":1,"b":2,"c":3}"#, r#"{}"#),
        (r#"{"a":1, "x":{"a":1}, "b":2}"#, r#"{"x":{"a":1}}"#),
    ] {
        assert_eq!(apply(&rules, body).unwrap(), expected);
    }
}

#[test]
fn what_a_rule_cannot_be_kept_with_is_refused() {
    let rules = rules(vec![
        ("top_k", FieldChange::Cap(cap(50))),
        ("reasoning", FieldChange::Within(rules(vec![("effort", default(json!("low")))]))),
        ("x", FieldChange::Within(rules(vec![("y", FieldChange::Remove)]))),
    ]);
    let refused = |body| apply(&rules, body).unwrap_err();
    let text = refused(r#"{"top_k":"99"}"#);
    assert_eq!((text.code, text.param.as_deref()), (Code::InvalidValue, Some("top_k")));
    assert_eq!(refused(r#"{"reasoning":"high"}"#).param.as_deref(), Some("reasoning"));
    assert_eq!(refused(r#"{"top_k":1,"top\u005fk":2}"#).code, Code::InvalidJson);
    assert_eq!(refused(r#"{"x":{"y":1,"y":2}}"#).code, Code::InvalidJson);
    assert_eq!(apply(&rules, r#"{"x":[1]}"#).unwrap(), r#"{"reasoning":{"effort":"low"},"x":[1]}"#);
}

/// What a rule means, said with a tree.
fn naive(rules: &Rewrite, object: &mut Map<String, Value>) {
    let read = |text: &Bytes| serde_json::from_slice::<Value>(text).unwrap();
    for (name, change) in &rules.fields {
        let held = object.get(&**name).filter(|value| !value.is_null()).cloned();
        let lowered = |value: Value, cap: &Cap| match value.as_f64() {
            Some(number) if number > cap.most => read(&cap.text),
            _ => value,
        };
        let new = match (change, held) {
            (FieldChange::Remove, _) => {
                object.remove(&**name);
                None
            }
            (FieldChange::Set(new), _) => Some(read(new)),
            (FieldChange::Default { value, .. }, None) => Some(read(value)),
            (FieldChange::Default { cap: Some(cap), .. } | FieldChange::Cap(cap), Some(held)) => {
                Some(lowered(held, cap))
            }
            (FieldChange::Within(inner), held) => {
                let was = held.is_some();
                let mut below = held.and_then(|it| it.as_object().cloned()).unwrap_or_default();
                naive(inner, &mut below);
                (was || !below.is_empty()).then_some(Value::Object(below))
            }
            (FieldChange::Default { .. } | FieldChange::Cap(_), _) => None,
        };
        if let Some(new) = new {
            object.insert(name.to_string(), new);
        }
    }
}

fn change() -> impl Strategy<Value = FieldChange> {
    prop_oneof![
        Just(FieldChange::Remove),
        leaf().prop_map(|value| FieldChange::Set(text(&value))),
        (0..100_i64).prop_map(|most| FieldChange::Cap(cap(most))),
        (0..9_i64, 9..100_i64).prop_map(|(value, most)| FieldChange::Default {
            value: Bytes::from(value.to_string()),
            cap: Some(cap(most)),
        }),
        leaf()
            .prop_filter("a default is something", |value| !value.is_null())
            .prop_map(|value| FieldChange::Default { value: text(&value), cap: None }),
    ]
}

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<i16>().prop_map(Value::from),
        prop::sample::select(vec!["", "a,b", "\"}", "\\", "é"]).prop_map(Value::from),
        prop::collection::vec(any::<u8>(), 0..3).prop_map(|bytes| json!({ "in": bytes })),
    ]
}

fn rule_set() -> impl Strategy<Value = Rewrite> {
    let flat = || prop::collection::btree_map("[abc]", change(), 0..4);
    (flat(), prop::option::of(flat())).prop_map(|(mut top, inner)| {
        let own = |(name, change): (String, FieldChange)| (Arc::from(&*name), change);
        if let Some(inner) = inner.filter(|inner| !inner.is_empty()) {
            let fields = inner.into_iter().map(own).collect();
            top.insert("o".to_owned(), FieldChange::Within(Rewrite { fields }));
        }
        Rewrite { fields: top.into_iter().map(own).collect() }
    })
}

/// Values that rules with caps can be kept with.
fn body() -> impl Strategy<Value = Map<String, Value>> {
    let number = || prop_oneof![Just(Value::Null), any::<i16>().prop_map(Value::from)];
    let flat = move || prop::collection::btree_map("[abc]", number(), 0..4);
    let others = prop::collection::btree_map("[x-z\"\\\\]{1,2}", leaf(), 0..3);
    (flat(), others, prop::option::of(flat())).prop_map(|(flat, others, inner)| {
        let mut all: Map<String, Value> = flat.into_iter().chain(others).collect();
        if let Some(inner) = inner {
            all.insert("o".to_owned(), Value::Object(inner.into_iter().collect()));
        }
        all
    })
}

proptest! {
    #[test]
    fn it_means_what_a_tree_would_and_the_rest_stays(
        rules in rule_set(), body in body(), pretty in any::<bool>()
    ) {
        let spelt = if pretty {
            serde_json::to_string_pretty(&body).unwrap()
        } else {
            serde_json::to_string(&body).unwrap()
        };
        let sent = apply(&rules, &spelt).unwrap();
        let mut expected = body.clone();
        naive(&rules, &mut expected);
        prop_assert_eq!(serde_json::from_str::<Value>(&sent).unwrap(), Value::Object(expected));
        for (name, value) in body {
            if rules.fields.iter().all(|(field, _)| **field != *name) && !pretty {
                let member = format!("{}:{value}", json!(name));
                prop_assert!(sent.contains(&member), "{} lacks {}", sent, member);
            }
        }
        // Once more changes nothing more.
        prop_assert_eq!(apply(&rules, &sent).unwrap(), sent);
    }
}
