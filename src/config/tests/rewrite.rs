//! What a class may change, and what it may not. Covers J5 and J3.

use super::{config, lines, one_error};
use crate::config::{FieldChange, Position};

fn class(more: &str) -> String {
    format!("classes:\n  - name: default\n    price: 0.01\n    {more}\n")
}

#[test]
fn rules_for_one_field_become_one() {
    let config = config(&class(
        "rewrite: { set: { temperature: 0, a.b: x, a.c: null, on: true }, default: { max_tokens: 10, seed: \"7\", gone: 1 }, cap: { max_tokens: 20, top_k: 2.5 }, remove: [gone, out] }",
    ));
    let fields = &config.classes[0].rewrite.fields;
    let shown: Vec<String> = fields.iter().map(|(name, it)| format!("{name} {it:?}")).collect();
    for (name, kind) in [
        (
            "a",
            "Within(Rewrite { fields: [(\"b\", Set(b\"\\\"x\\\"\")), (\"c\", Set(b\"null\"))] })",
        ),
        ("gone", "Set(b\"1\")"),
        ("max_tokens", "Default { value: b\"10\", cap: Some(Cap { most: 20.0, text: b\"20\" }) }"),
        ("on", "Set(b\"true\")"),
        ("out", "Remove"),
        ("seed", "Default { value: b\"\\\"7\\\"\", cap: None }"),
        ("temperature", "Set(b\"0\")"),
        ("top_k", "Cap(Cap { most: 2.5, text: b\"2.5\" })"),
    ] {
        assert!(shown.contains(&format!("{name} {kind}")), "{name} {kind}: {shown:#?}");
    }
    assert_eq!(fields.len(), 8);
    assert!(fields.iter().any(|(_, change)| matches!(change, FieldChange::Remove)));
}

#[test]
fn what_is_not_to_be_rewritten_is_refused_where_it_stands() {
    for (rules, place, words) in [
        ("rewrite: { set: { model: x } }", "4:30", "cannot be rewritten"),
        ("rewrite: { remove: [messages] }", "4:25", "cannot be rewritten"),
        ("rewrite: { default: { stream_options.include_usage: true } }", "4:57", "cannot be"),
        ("rewrite: { set: { previous_response_id: x } }", "4:45", "can only be removed"),
        ("rewrite: { set: { a..b: x } }", "4:29", "is no field"),
        ("rewrite: { set: { max_tokens: many } }", "4:35", "a whole number from 1"),
        ("rewrite: { set: { user: 7 } }", "4:29", "a text"),
        ("rewrite: { default: { x: null } }", "4:30", "a default of null"),
        ("rewrite: { set: { x: 1 }, cap: { x: 2 } }", "4:41", "needs no cap"),
        ("rewrite: { set: { x: 1 }, default: { x: 2 } }", "4:45", "needs no default"),
        ("rewrite: { remove: [x], cap: { x: 2 } }", "4:39", "needs no cap"),
        ("rewrite: { default: { x: 3 }, cap: { x: 2 } }", "4:30", "up to the cap, 2"),
        ("rewrite: { set: { x: 1, x.y: 2 } }", "4:34", "is within"),
        ("template: \" \"", "4:15", "a template is a text"),
        ("template: { position: before }", "4:15", "`system` is missing"),
        ("template: { system: x, position: behind }", "4:38", "before, replace"),
        ("headers: { request: { set: { authorization: x } } }", "4:49", "credentials"),
        ("headers: { request: { remove: [x-api-key] } }", "4:36", "credentials"),
        ("headers: { request: { set: { Connection: close } } }", "4:46", "own to set"),
        ("headers: { response: { set: { x-tollgate-cache: hit } } }", "4:53", "own to set"),
        ("headers: { response: { remove: [x-request-id] } }", "4:37", "own to set"),
        ("headers: { response: { set: { x-a: \"b\\nc\" } } }", "4:40", "visible ASCII"),
        ("headers: { response: { set: { \"x a\": b } } }", "4:42", "no name of a header"),
    ] {
        println!("{rules}: {:?}", lines(&class(rules)));
        one_error(&class(rules), place, words);
    }
}

#[test]
fn a_template_is_a_text_or_says_where_it_stands() {
    let position = |more: &str| {
        let config = config(&class(more));
        let template = config.classes[0].template.clone();
        template.map(|template| (template.system.to_string(), template.position))
    };
    assert_eq!(position("template: hi"), Some(("hi".to_owned(), Position::Before)));
    let replacing = position("template: { system: hi, position: replace }");
    assert_eq!(replacing, Some(("hi".to_owned(), Position::Replace)));
    assert_eq!(position("template: null"), None);
}

#[test]
fn header_rules_are_kept_in_lower_case() {
    let config = config(&class(
        "headers: { request: { set: { OpenAI-Organization: org-1 } }, response: { remove: [X-Odd] } }",
    ));
    let headers = &config.classes[0].headers;
    assert_eq!(headers.request.set[0].0, "openai-organization");
    assert_eq!(headers.response.remove, ["x-odd"]);
}
