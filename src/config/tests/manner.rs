//! How a provider's server differs from others of its dialect. Covers E4.

use super::{config, one_error};
use crate::config::{Auth, Manner};

fn manner(keys: &str) -> Manner {
    let text = format!("providers: [{{ name: p, base_url: http://127.0.0.1:1/v1, {keys} }}]");
    config(&text).providers[0].manner.clone()
}

#[test]
fn each_dialect_has_its_usual_header_for_the_key() {
    for (keys, auth) in [
        ("dialect: openai", Auth::Bearer),
        ("dialect: anthropic", Auth::XApiKey),
        ("dialect: gemini", Auth::XGoogApiKey),
        ("dialect: openai, auth: api-key", Auth::ApiKey),
        ("dialect: anthropic, auth: bearer", Auth::Bearer),
        ("dialect: gemini, auth: x-goog-api-key", Auth::XGoogApiKey),
    ] {
        let manner = manner(keys);
        assert_eq!(manner.auth, auth, "{keys}");
        let version = keys.contains("anthropic").then_some(("anthropic-version", "2023-06-01"));
        assert_eq!(manner.default_header, version, "{keys}");
        assert!(!manner.lacks_responses, "{keys}");
    }
}

#[test]
fn azure_is_an_openai_with_a_path_a_query_and_a_header_of_its_own() {
    let azure =
        manner("auth: api-key, query: api-version=2024-10-21, model_path: '/deployments/{model}/'");
    let expected = Manner {
        auth: Auth::ApiKey,
        query: Some("api-version=2024-10-21".into()),
        model_path: Some("/deployments/{model}".into()),
        ..Manner::default()
    };
    assert_eq!(azure, expected);
    assert!(manner("responses: false").lacks_responses);
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    let wrong = |keys: &str, words: &str| {
        one_error(&format!("providers:\n  - name: p\n    {keys}\n"), "3:12", words);
    };
    wrong("query: \"\"", "expected a query string");
    wrong("query: ?a=b", "expected a query string");
    wrong("query: a b", "expected a query string");
    let path = |value: &str| {
        let text = format!("providers:\n  - name: p\n    model_path: \"{value}\"\n");
        one_error(&text, "3:17", "expected a path with {model} once");
    };
    for value in ["", "/x", "{model}", "/{model}/{model}", "/{model}?a", "/ {model}"] {
        path(value);
    }
    let other = |dialect: &str, key: &str, words: &str| {
        let value = "/x/{model}";
        let text = format!("providers:\n  - name: p\n    dialect: {dialect}\n    {key}: {value}\n");
        let place = format!("4:{}", key.len() + 7);
        one_error(&text, &place, words);
    };
    other("anthropic", "model_path", "only a provider of the dialect openai");
    other("sandbox", "query", "a sandbox has no `query`");
}
