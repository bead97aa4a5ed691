//! What follows from the name of a target's model, and what is declared of it.

use super::*;
use crate::config::{Thinking, ThinkingField, TokenLimit};
use Dialect::{Chat, Gemini, Messages, Responses};

/// The provider's body for `body` at `model`.
fn at(from: Dialect, to: Dialect, model: &str, wording: &Wording, body: &Value) -> Value {
    let to = To { dialect: to, model, wording };
    let body = body.to_string();
    let translated = request(from, &to, body.as_bytes(), OnUnsupported::Refuse).unwrap();
    serde_json::from_slice(&translated.body).unwrap()
}

fn named(from: Dialect, to: Dialect, model: &str, more: &Value) -> Value {
    at(from, to, model, &Wording::default(), &with(question(from), more))
}

/// `body`, of a client of Messages, for the chat model `model`.
fn try_ask(body: &Value, model: &str) -> Result<Translated, Bad> {
    ask(Messages, Chat, body.to_string().as_bytes(), model, OnUnsupported::Refuse)
}

/// What keeps `more` from being said to `model`; with `drop` what was left out.
fn lost(from: Dialect, to: Dialect, model: &str, more: &Value) -> (String, Vec<String>) {
    let body = with(question(from), more).to_string();
    let refused = ask(from, to, body.as_bytes(), model, OnUnsupported::Refuse).unwrap_err();
    let dropped = ask(from, to, body.as_bytes(), model, OnUnsupported::Drop).unwrap();
    (refused.param().to_owned(), dropped.dropped)
}

#[test]
fn newer_models_of_anthropics_think_by_effort() {
    let adaptive = json!({"type": "adaptive", "display": "summarized"});
    for (effort, written) in
        [("minimal", "low"), ("low", "low"), ("high", "high"), ("xhigh", "xhigh")]
    {
        let body = named(Chat, Messages, "claude-opus-4-7", &json!({"reasoning_effort": effort}));
        assert_eq!(body["thinking"], adaptive, "{effort}");
        assert_eq!(body["output_config"], json!({"effort": written}), "{effort}");
    }
    let body = named(Chat, Messages, "claude-opus-4-6", &json!({"reasoning_effort": "low"}));
    assert_eq!(body["thinking"], json!({"type": "enabled", "budget_tokens": 4096}));
    assert_eq!(body.get("output_config"), None);
    let forced = json!({"reasoning_effort": "low", "tool_choice": "required",
        "tools": [{"type": "function", "function": {"name": "f"}}]});
    let body = named(Chat, Messages, "claude-opus-4-7", &forced);
    assert_eq!((body.get("thinking"), body.get("output_config")), (None, None));
}

#[test]
fn thinking_is_off_as_far_as_a_model_can() {
    let off = json!({"reasoning_effort": "none"});
    for (model, thinking, effort) in [
        ("claude-sonnet-4-5", None, None),
        ("claude-opus-4-8", None, None),
        ("claude-sonnet-5", Some(json!({"type": "disabled"})), None),
        ("claude-opus-5-5", None, Some(json!({"effort": "low"}))),
        ("claude-fable-5", None, Some(json!({"effort": "low"}))),
    ] {
        let body = named(Chat, Messages, model, &off);
        assert_eq!(body.get("thinking").cloned(), thinking, "{model}");
        assert_eq!(body.get("output_config").cloned(), effort, "{model}");
    }
}

#[test]
fn newer_models_of_anthropics_take_no_sampling() {
    for (name, value) in [("temperature", json!(0.5)), ("top_p", json!(0.9))] {
        let more = json!({ name: value });
        assert_eq!(
            lost(Chat, Messages, "claude-opus-4-7", &more),
            (name.to_owned(), vec![name.to_owned()])
        );
        assert_eq!(named(Chat, Messages, "claude-opus-4-6", &more)[name], value);
    }
    let body = named(Chat, Messages, "claude-opus-4-7", &json!({"temperature": 1, "top_p": 1.0}));
    assert_eq!((body.get("temperature"), body.get("top_p")), (None, None));
}

#[test]
fn newer_models_of_anthropics_keep_to_a_schema_by_themselves() {
    let schema = json!({"type": "object", "additionalProperties": false});
    let format = |strict: bool| {
        json!({"response_format": {"type": "json_schema",
            "json_schema": {"name": "n", "strict": strict, "schema": schema}}})
    };
    let body = named(Chat, Messages, "claude-opus-4-7", &format(true));
    let native = json!({"format": {"type": "json_schema", "schema": schema}});
    assert_eq!((&body["output_config"], body.get("tools")), (&native, None));
    let body = named(Chat, Messages, "claude-opus-4-7", &format(false));
    assert_eq!(body["tools"][0]["name"], "json_answer");
}

#[test]
fn models_that_do_not_think_are_not_told_to() {
    let effort = json!({"reasoning_effort": "low"});
    for (from, to, model, more, param) in [
        (Responses, Chat, "gpt-4o", &json!({"reasoning": {"effort": "low"}}), "reasoning.effort"),
        (Chat, Messages, "claude-3-5-haiku-20241022", &effort, "reasoning_effort"),
        (Chat, Gemini, "gemini-2.0-flash", &effort, "reasoning_effort"),
    ] {
        assert_eq!(
            lost(from, to, model, more),
            (param.to_owned(), vec![param.to_owned()]),
            "{model}"
        );
    }
    // Anthropic's clients ask as a matter of course.
    let budget = json!({"thinking": {"type": "enabled", "budget_tokens": 2000}});
    let body = with(question(Messages), &budget);
    let asked = try_ask(&body, "gpt-4o").unwrap();
    assert_eq!(asked.dropped, ["thinking"]);
    assert_eq!(try_ask(&body, "o3").unwrap().dropped, [""; 0]);
    let off = json!({"thinking": {"type": "disabled"}});
    assert_eq!(named(Messages, Chat, "gpt-4o", &off).get("reasoning_effort"), None);
    assert_eq!(named(Messages, Chat, "gpt-5.1", &off)["reasoning_effort"], "none");
    assert_eq!(named(Messages, Chat, "o3", &off)["reasoning_effort"], "low");
}

#[test]
fn what_is_declared_stands_above_the_name() {
    let body = with(question(Chat), &json!({"reasoning_effort": "low", "temperature": 1}));
    let think = |thinking| Wording { thinking: Some(thinking), ..Wording::default() };
    let adaptive = at(Chat, Messages, "alias", &think(Thinking::Adaptive), &body);
    assert_eq!(adaptive["output_config"]["effort"], "low");
    let budget = at(Chat, Messages, "claude-opus-4-7", &think(Thinking::Budget), &body);
    assert_eq!(budget["thinking"]["budget_tokens"], 4096);
    let level = at(Chat, Gemini, "tuned", &think(Thinking::Level), &body);
    assert_eq!(level["generationConfig"]["thinkingConfig"]["thinkingLevel"], "low");
}

#[test]
fn a_chat_is_worded_as_its_server_wants_it() {
    let body = json!({"model": "public", "max_output_tokens": 9, "input": [
        {"role": "developer", "content": "Be brief."}, {"role": "user", "content": "x"},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
        {"role": "assistant", "content": "y"}, {"role": "user", "content": "z"}]});
    let worded = |model: &str, wording: &Wording| at(Responses, Chat, model, wording, &body);
    let usual = worded("mistral-large", &Wording::default());
    assert_eq!(usual["messages"][0]["role"], "system");
    assert_eq!(usual["messages"][2]["reasoning_content"], "hm");
    assert_eq!((&usual["max_tokens"], usual.get("max_completion_tokens")), (&json!(9), None));
    assert_eq!(worded("gpt-5.1", &Wording::default())["messages"][0]["role"], "developer");
    let declared = Wording {
        token_limit: Some(TokenLimit::MaxCompletionTokens),
        developer_role: Some(true),
        thinking_field: ThinkingField::Reasoning,
        ..Wording::default()
    };
    let declared = worded("mistral-large", &declared);
    assert_eq!(declared["messages"][0]["role"], "developer");
    assert_eq!(declared["messages"][2]["reasoning"], "hm");
    assert_eq!(declared["messages"][2].get("reasoning_content"), None);
    assert_eq!(declared["max_completion_tokens"], 9);
}

/// As Mistral's Magistral streams.
#[test]
fn content_may_come_in_parts() {
    let deltas = [
        json!({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "h"}]}]}),
        json!({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "m"}], "closed": true}]}),
        json!({"content": [{"type": "text", "text": "One "}]}),
        json!({"content": "two"}),
    ];
    let events = super::streams::chunks(&deltas, "stop");
    let content = json!([{"type": "thinking", "thinking": "hm", "signature": ""}, {"type": "text", "text": "One two"}]);
    let to = answers(Messages, Chat);
    assert_eq!(add_up_message(&stream(&to, &events, 7).unwrap())["content"], content);
    let parts = json!([{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "One two"}]);
    let answer =
        super::answers::completion(&json!({"role": "assistant", "content": parts}), "stop");
    assert_eq!(whole(&to, &answer)["content"], content);
    // A client may give it back as it got it.
    let chat = json!({"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": parts},
        {"role": "user", "content": "y"}]});
    let content = &translate(Chat, Messages, &chat)["messages"][1]["content"];
    assert_eq!(
        *content,
        json!([{"type": "text", "text": "One two"}]),
        "nobody signed the thinking"
    );
}
