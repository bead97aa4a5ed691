//! Models and providers of accounts' own. Covers A2 (`custom_models`), I2, I4 and
//! invariant 4.

mod commands;
mod dialects;
mod named;

use std::path::Path;

use serde_json::{Value, json};

use crate::harness::client::Request;
use crate::harness::door::{Door, chat_body};
use crate::harness::openai;
use crate::harness::provider::Provider;
use crate::harness::setup::{Setup, Tollgate, key_of};

const KEY_A: &str = "sk-own-key-of-account-a-0123456789";
const KEY_B: &str = "sk-own-key-of-account-b-0123456789";

/// Accounts `a` and `b` with the feature, `none` without; a class `docs` whose
/// answers all share. Both may name the server of `own`.
fn setup(seller: &Provider, own: &Provider) -> Setup {
    let features = json!(["basic_suggestions", "advanced_suggestions", "custom_models"]);
    Tollgate::before(seller)
        .plan("a", |plan| plan.set("features", features.clone()))
        .plan("b", |plan| plan.set("features", features.clone()))
        .plan("none", |plan| plan)
        .class("docs", "0.05", &json!({"cache": {"ttl": "1h", "scope": "shared"}}))
        .set("custom_models.allow", json!([own.url()]))
        .set("batching.coalesce", true)
}

async fn give(gate: &Door, account: &str, what: &str, body: &Value) -> Value {
    let path = format!("/admin/accounts/{account}/{what}");
    let answer = gate.tell("POST", &path, body).await;
    assert_eq!(answer.status(), 201, "{}", answer.text());
    answer.json()
}

/// Gives `account` the model `mine`, which is `gpt-x` at `own`, called with `key`.
async fn equip(gate: &Door, account: &str, own: &Provider, key: &str) {
    equip_with(gate, account, own, key, Value::Null).await;
}

/// The same at a provider of `dialect`.
async fn equip_with(gate: &Door, account: &str, own: &Provider, key: &str, dialect: Value) {
    let provider = json!({"name": "p", "base_url": own.url(), "api_key": key, "dialect": dialect});
    give(gate, account, "providers", &provider).await;
    let model = json!({"name": "mine", "provider": "p", "model": "gpt-x"});
    give(gate, account, "models", &model).await;
}

fn ask(account: &str, model: &str) -> Request {
    let mut body = chat_body();
    body["model"] = json!(model);
    Request::post("/docs/v1/chat/completions", &body).bearer(&key_of(account))
}

fn models_of(answer: &Value) -> Vec<&str> {
    answer["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_model_of_ones_own_runs_on_ones_own_provider() {
    let (seller, own) = (Provider::start().await, Provider::start().await);
    let gate = setup(&seller, &own).start().await;
    equip(&gate, "a", &own, KEY_A).await;
    let answer = gate.send(&ask("a", "mine")).await.ok();
    assert_eq!(answer.header("x-tollgate-route"), Some("expert;mine;customer;own"));
    assert_eq!(answer.header("x-tollgate-price-usd"), Some("0.05"));
    let call = own.only_call();
    assert_eq!(call.header("authorization"), Some(&*format!("Bearer {KEY_A}")));
    assert_eq!(call.json()["model"], "gpt-x");
    assert_eq!(answer.json()["model"], "mine");
    assert!(seller.calls().is_empty());
    let record = gate.only_record().await;
    assert_eq!((&record["cost"], &record["unpriced"]), (&json!("0"), &json!(false)));
    assert_eq!((&record["model_used"], &record["provider"]), (&json!("mine"), &json!("customer")));
    assert_eq!(record["price"], "0.05");
    let listed = gate.send(&Request::get("/v1/models").bearer(&key_of("a"))).await.ok().json();
    assert_eq!(models_of(&listed), ["mine", "gpt-4o-mini"]);
    let one = Request::get("/v1/models/mine").bearer(&key_of("a"));
    assert_eq!(gate.send(&one).await.ok().json()["id"], "mine");
    // Others have no such model of their own: theirs is the seller's, by `*`.
    let listed = gate.send(&Request::get("/v1/models").bearer(&key_of("b"))).await.ok().json();
    assert_eq!(models_of(&listed), ["gpt-4o-mini"]);
    gate.send(&ask("b", "mine")).await.ok();
    assert_eq!(seller.only_call().json()["model"], "mine");
}

#[tokio::test]
async fn an_alias_is_another_name_of_a_public_model() {
    let (seller, own) = (Provider::start().await, Provider::start().await);
    let gate = setup(&seller, &own).start().await;
    give(&gate, "a", "models", &json!({"name": "house", "model": "gpt-4o-mini"})).await;
    let answer = gate.send(&ask("a", "house")).await.ok();
    assert_eq!(answer.header("x-tollgate-route"), Some("simple;gpt-4o-mini;mock;alias"));
    assert_eq!(seller.only_call().json()["model"], "gpt-4o-mini");
    assert_ne!(gate.only_record().await["cost"], "0");
}

/// Covers invariant 4: not even a class whose answers all share shares these.
#[tokio::test]
async fn nothing_of_ones_own_reaches_another_account() {
    let (seller, own) = (Provider::start().await, Provider::start().await);
    let gate = setup(&seller, &own).start().await;
    equip(&gate, "a", &own, KEY_A).await;
    equip(&gate, "b", &own, KEY_B).await;
    for (account, result) in [("a", "miss"), ("a", "hit"), ("b", "miss")] {
        let answer = gate.send(&ask(account, "mine")).await.ok();
        assert_eq!(answer.header("x-tollgate-cache"), Some(result), "{account}");
    }
    let calls = own.calls();
    let keys: Vec<_> = calls.iter().map(|call| call.header("authorization")).collect();
    let bearer = |key| format!("Bearer {key}");
    assert_eq!(keys, [Some(&*bearer(KEY_A)), Some(&*bearer(KEY_B))]);
    // One server, one address: a connection is one credential's all the same.
    assert_ne!(calls[0].connection, calls[1].connection);
    // Another provider in the place of the first answers anew.
    equip(&gate, "a", &own, KEY_B).await;
    let answer = gate.send(&ask("a", "mine")).await.ok();
    assert_eq!(answer.header("x-tollgate-cache"), Some("miss"));
    assert_eq!(own.calls()[2].header("authorization"), Some(&*bearer(KEY_B)));
}

#[tokio::test]
async fn a_plan_without_the_feature_has_none_of_it() {
    let (seller, own) = (Provider::start().await, Provider::start().await);
    let gate = setup(&seller, &own).start().await;
    let provider = json!({"name": "p", "base_url": own.url()});
    let refused = gate.tell("POST", "/admin/accounts/none/providers", &provider).await;
    refused.refused(403, "feature_not_in_plan");
    // What an account had before its plan changed is kept, and not served.
    let account = json!({"id": "c", "name": "c", "plan": "a"});
    gate.tell("POST", "/admin/accounts", &account).await;
    let key = gate.tell("POST", "/admin/keys", &json!({"account": "c"})).await.json();
    equip(&gate, "c", &own, KEY_A).await;
    let mut body = chat_body();
    body["model"] = json!("mine");
    let request = Request::post("/v1/chat/completions", &body).bearer(key["key"].as_str().unwrap());
    gate.send(&request).await.ok();
    gate.change("/admin/accounts/c", &json!({"plan": "none"})).await;
    let refused = gate.send(&request).await.refused(403, "feature_not_in_plan");
    assert_eq!(refused["param"], "model");
    gate.change("/admin/accounts/c", &json!({"plan": "b"})).await;
    gate.send(&request).await.ok();
}

#[tokio::test]
async fn a_key_is_sealed_shown_to_nobody_and_goes_with_the_account() {
    let (seller, own) = (Provider::start().await, Provider::start().await);
    let gate = setup(&seller, &own).start().await;
    gate.tell("POST", "/admin/accounts", &json!({"id": "c", "name": "c", "plan": "a"})).await;
    let key = gate.tell("POST", "/admin/keys", &json!({"account": "c"})).await.json();
    equip(&gate, "c", &own, KEY_A).await;
    let shown = gate.admin("/admin/accounts/c/providers").await.ok();
    assert_eq!(shown.json()["data"][0]["api_key"], "***");
    assert!(!shown.text().contains(KEY_A));
    let gate = gate.restart().await;
    let mut body = chat_body();
    body["model"] = json!("mine");
    let request = Request::post("/v1/chat/completions", &body).bearer(key["key"].as_str().unwrap());
    gate.send(&request).await.ok();
    assert_eq!(own.only_call().header("authorization"), Some(&*format!("Bearer {KEY_A}")));
    assert!(!holds(&gate.data(), KEY_A.as_bytes()), "the key lies in the data directory");
    assert_eq!(gate.tell("DELETE", "/admin/accounts/c", &Value::Null).await.status(), 200);
    gate.admin("/admin/accounts/c/providers").await.refused(404, "not_found");
    // An account of the same id is another one.
    gate.tell("POST", "/admin/accounts", &json!({"id": "c", "name": "c", "plan": "a"})).await;
    let left = gate.admin("/admin/accounts/c/models").await.ok().json();
    assert_eq!(left["data"], json!([]));
}

fn holds(directory: &Path, secret: &[u8]) -> bool {
    std::fs::read_dir(directory).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return holds(&path, secret);
        }
        let bytes = std::fs::read(&path).unwrap_or_default();
        bytes.windows(secret.len()).any(|part| part == secret)
    })
}

#[tokio::test]
async fn what_accounts_may_not_name_is_refused() {
    let (seller, own) = (Provider::start().await, Provider::start().await);
    let gate = setup(&seller, &own).start().await;
    for url in [
        "http://api.example.com/v1",
        "https://127.0.0.1/v1",
        "https://localhost/v1",
        "https://10.1.2.3",
        "https://[::1]/v1",
        "https://a:b@example.com",
        "nonsense",
        &seller.url(),
    ] {
        let body = json!({"name": "p", "base_url": url});
        let refused = gate.tell("POST", "/admin/accounts/a/providers", &body).await;
        let error = refused.refused(400, "invalid_value");
        assert_eq!(error["param"], "base_url", "{url}");
    }
    let path = "/admin/accounts/a/models";
    let unknown = json!({"name": "m", "provider": "nobody"});
    assert_eq!(
        gate.tell("POST", path, &unknown).await.refused(400, "invalid_value")["param"],
        "provider"
    );
    let itself = json!({"name": "m", "model": "m"});
    assert_eq!(
        gate.tell("POST", path, &itself).await.refused(400, "invalid_value")["param"],
        "model"
    );
    equip(&gate, "a", &own, KEY_A).await;
    let used = gate.tell("DELETE", "/admin/accounts/a/providers/p", &Value::Null).await;
    used.refused(409, "conflict");
    for gone in ["models/mine", "providers/p"] {
        let path = format!("/admin/accounts/a/{gone}");
        assert_eq!(gate.tell("DELETE", &path, &Value::Null).await.status(), 200);
        gate.tell("DELETE", &path, &Value::Null).await.refused(404, "not_found");
    }
    // The name is the seller's again.
    gate.send(&ask("a", "mine")).await.ok();
    assert_eq!(seller.only_call().json()["model"], "mine");
}

#[tokio::test]
async fn a_stream_from_ones_own_provider_says_ones_own_name() {
    let (seller, own) = (Provider::start().await, Provider::start().await);
    let gate = setup(&seller, &own).start().await;
    equip(&gate, "a", &own, KEY_A).await;
    let mut body = chat_body();
    body["model"] = json!("mine");
    body["stream"] = json!(true);
    let request = Request::post("/v1/chat/completions", &body).bearer(&key_of("a"));
    let events = gate.send(&request).await.ok().events();
    assert_eq!(events, openai::chat_events("mine", false));
    // A provider of one's own that is away is no reason to use the seller's.
    let nowhere = crate::harness::provider::nowhere().await;
    let away = setup(&seller, &own).set("custom_models.allow", json!([nowhere]));
    let gate = away.set("routing.retries", 0).start().await;
    give(&gate, "a", "providers", &json!({"name": "p", "base_url": nowhere})).await;
    give(&gate, "a", "models", &json!({"name": "mine", "provider": "p"})).await;
    gate.send(&ask("a", "mine")).await.refused(502, "upstream_error");
    assert!(seller.calls().is_empty());
}
