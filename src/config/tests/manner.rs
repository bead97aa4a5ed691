//! How a provider's server differs from others of its dialect. Covers E4.

use super::{config, one_error};
use crate::config::{Auth, Manner, Thinking, ThinkingField, TokenLimit, Wording};

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

#[test]
fn a_server_says_how_requests_are_to_be_worded() {
    assert_eq!(manner("dialect: openai").wording, Wording::default());
    let declared = manner(
        "thinking: none, token_limit: max_completion_tokens, developer_role: true, \
         thinking_field: reasoning, image_limit: 5MB",
    );
    let expected = Wording {
        thinking: Some(Thinking::None),
        token_limit: Some(TokenLimit::MaxCompletionTokens),
        developer_role: Some(true),
        thinking_field: ThinkingField::Reasoning,
        image_limit: Some(5 * 1024 * 1024),
    };
    assert_eq!(declared.wording, expected);
    for (keys, thinking) in [
        ("thinking: effort", Thinking::Effort),
        ("dialect: anthropic, thinking: budget", Thinking::Budget),
        ("dialect: anthropic, thinking: adaptive", Thinking::Adaptive),
        ("dialect: gemini, thinking: level", Thinking::Level),
    ] {
        assert_eq!(manner(keys).wording.thinking, Some(thinking), "{keys}");
    }
}

#[test]
fn a_target_may_think_otherwise_than_its_provider() {
    let text = "providers: [{ name: p, dialect: anthropic, base_url: http://127.0.0.1:1/v1, thinking: budget }]
models:
  - { name: a, targets: [{ provider: p }] }
  - { name: b, targets: [{ provider: p, thinking: adaptive }] }
";
    let config = config(text);
    let thinking = |place: usize| config.models[place].targets[0].wording().thinking;
    assert_eq!((thinking(0), thinking(1)), (Some(Thinking::Budget), Some(Thinking::Adaptive)));
}

#[test]
fn a_way_of_thinking_is_one_that_the_dialect_has() {
    for (dialect, thinking, words) in [
        ("openai", "budget", "none, effort"),
        ("anthropic", "effort", "none, budget or adaptive"),
        ("gemini", "adaptive", "none, budget or level"),
        ("sandbox", "none", "a sandbox has no `thinking`"),
    ] {
        let text =
            format!("providers:\n  - name: p\n    dialect: {dialect}\n    thinking: {thinking}\n");
        one_error(&text, "4:15", words);
    }
    let target = "providers: [{ name: p, dialect: anthropic }]\nmodels:\n  - name: a\n    targets:\n      - provider: p\n        thinking: level\n";
    one_error(target, "6:19", "none, budget or adaptive");
    let text = "providers:\n  - name: p\n    dialect: anthropic\n    developer_role: true\n";
    one_error(text, "4:21", "only a provider of the dialect openai has `developer_role`");
}

/// The sample of `docs/DIALECTS.md` is a configuration, and shows each server.
#[test]
fn the_documented_servers_can_be_declared() {
    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/DIALECTS.md");
    let docs = std::fs::read_to_string(docs).unwrap();
    let sample = docs.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
    let config = config(sample);
    let names: Vec<&str> = config.providers.iter().map(|provider| &*provider.name).collect();
    for name in [
        "azure",
        "mistral",
        "groq",
        "deepseek",
        "together",
        "openrouter",
        "vllm",
        "ollama",
        "llamacpp",
    ] {
        assert!(names.contains(&name), "{name}");
    }
    let azure = &config.providers[0].manner;
    assert_eq!(azure.model_path.as_deref(), Some("/deployments/{model}"));
    assert!(azure.lacks_responses, "its path names the deployment, which Responses do not");
    let thinking: Vec<_> =
        config.models[0].targets.iter().map(|target| target.wording().thinking).collect();
    assert_eq!(thinking, [Some(Thinking::Adaptive), Some(Thinking::None)]);
}
