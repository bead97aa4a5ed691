//! What answers call a model under an account's own name for it, and what a reload
//! changes of an account's own provider.

use serde_json::{Value, json};

use super::{KEY_A, ask, equip, give, setup};
use crate::harness::anthropic;
use crate::harness::client::Request;
use crate::harness::door::chat_body;
use crate::harness::provider::Provider;
use crate::harness::reply::Reply;
use crate::harness::setup::key_of;
use crate::reload::{reload, rewrite};

/// The names of the model in a chat's answer, whole or streamed.
fn names(text: &str) -> Vec<String> {
    let data = text.lines().map(|line| line.strip_prefix("data: ").unwrap_or(line));
    let objects = data.filter_map(|data| serde_json::from_str::<Value>(data).ok());
    objects.filter_map(|object| object["model"].as_str().map(str::to_owned)).collect()
}

/// Covers J5: one rule, whether or not the target has another name for the model or
/// speaks another dialect.
#[tokio::test]
async fn an_aliass_answers_say_the_public_name() {
    for (dialect, public) in
        [("openai", true), ("openai", false), ("anthropic", true), ("anthropic", false)]
    {
        let (seller, own) = (Provider::start().await, Provider::start().await);
        if dialect == "anthropic" {
            seller.answer(anthropic::answer);
        }
        let gate = setup(&seller, &own)
            .provider("dialect", dialect)
            .models(&json!([
                {"name": "plain", "tier": "simple", "targets": [{"provider": "mock"}]},
                {"name": "fast", "tier": "simple",
                    "targets": [{"provider": "mock", "model": "claude-x"}]},
            ]))
            .set("routing.public_model_name", public)
            .start()
            .await;
        for (alias, model, theirs) in [("house", "plain", "plain"), ("den", "fast", "claude-x")] {
            give(&gate, "a", "models", &json!({"name": alias, "model": model})).await;
            let wanted = if public { model } else { theirs };
            for (asked, streamed) in [(alias, false), (alias, true), (model, false), (model, true)]
            {
                let mut body = chat_body();
                (body["model"], body["stream"]) = (json!(asked), json!(streamed));
                let request = Request::post("/v1/chat/completions", &body).bearer(&key_of("a"));
                let said = names(&gate.send(&request).await.ok().text());
                assert!(!said.is_empty());
                assert!(said.iter().all(|name| name == wanted), "{dialect} {asked} {said:?}");
            }
        }
    }
}

/// The public name of a model that no target of its own renames is the provider's
/// too: what it makes of it, a dated name say, passes.
#[tokio::test]
async fn an_aliass_answers_pass_a_dated_name() {
    let (seller, own) = (Provider::start().await, Provider::start().await);
    let gate = setup(&seller, &own).start().await;
    give(&gate, "a", "models", &json!({"name": "house", "model": "gpt-4o-mini"})).await;
    seller.next(Reply::json(200, &json!({"model": "gpt-4o-mini-2024-07-18", "choices": []})));
    let answer = gate.send(&ask("a", "house")).await.ok();
    assert_eq!(answer.json()["model"], "gpt-4o-mini-2024-07-18");
}

#[tokio::test]
async fn a_reload_changes_the_timeouts_of_ones_own_provider() {
    let (seller, own) = (Provider::start().await, Provider::start().await);
    let gate = setup(&seller, &own).spawn().await;
    equip(&gate, "a", &own, KEY_A).await;
    gate.send(&ask("a", "mine")).await.ok();
    rewrite(&gate, |config| config["routing"]["first_byte_timeout"] = json!("200ms"));
    reload(&gate).await.ok();
    own.answer(|_| Reply::hang());
    let mut body = chat_body();
    (body["model"], body["seed"]) = (json!("mine"), json!(1));
    let request = Request::post("/v1/chat/completions", &body).bearer(&key_of("a"));
    gate.send(&request).await.refused(504, "upstream_timeout");
}
