//! Accounts, keys and gates as customers and operators meet them. Covers A2, A3,
//! A5 and A6.

use serde_json::{Value, json};

use crate::harness::binary::{Process, text};
use crate::harness::client::{Answer, Request};
use crate::harness::door::{Door, chat_body};
use crate::harness::provider::Provider;
use crate::harness::setup::{DEFAULT_PLAN, Setup, Tollgate, key_of};

fn sold(provider: &Provider) -> Setup {
    let target = json!([{"provider": "mock"}]);
    Tollgate::before(provider)
        .models(&json!([
            {"name": "gpt-4o-mini", "tier": "simple", "targets": target},
            {"name": "gpt-4o", "tier": "complex", "targets": target},
            {"name": "untold", "targets": target},
            {"name": "*", "targets": target},
        ]))
        .class("cheap", "0.01", &json!({"models": ["gpt-4o-mini"]}))
        .plan("free", |plan| {
            plan.set("features", json!(["basic_suggestions"])).set("classes", json!(["default"]))
        })
        .plan("pro", |plan| plan)
}

async fn make(gate: &Door, id: &str, plan: &str) -> String {
    let account = json!({"id": id, "name": id, "plan": plan});
    let answer = gate.tell("POST", "/admin/accounts", &account).await;
    assert_eq!(answer.status(), 201, "{}", answer.text());
    key(gate.tell("POST", "/admin/keys", &json!({"account": id})).await)
}

#[track_caller]
fn key(answer: Answer) -> String {
    assert_eq!(answer.status(), 201, "{}", answer.text());
    answer.json()["key"].as_str().unwrap().to_owned()
}

async fn chat(gate: &Door, key: &str) -> Answer {
    gate.send(&Request::post("/v1/chat/completions", &chat_body()).bearer(key)).await
}

async fn ask(gate: &Door, plan: &str, path: &str, model: &str) -> Answer {
    let mut body = chat_body();
    body["model"] = model.into();
    gate.send(&Request::post(path, &body).bearer(&key_of(plan))).await
}

#[tokio::test]
async fn a_key_works_once_it_is_made_and_stops_once_it_is_revoked() {
    let provider = Provider::start().await;
    let gate = sold(&provider).start().await;
    let first = make(&gate, "shop", "free").await;
    chat(&gate, &first).await.ok();
    let record = gate.only_record().await;
    assert_eq!((&record["account"], &record["plan"]), (&json!("shop"), &json!("free")));

    let keys = gate.admin("/admin/keys?account=shop").await.ok().json();
    let id = keys["data"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(record["key_id"], id.as_str());
    let second = key(gate.tell("POST", &format!("/admin/keys/{id}/rotate"), &json!({})).await);
    chat(&gate, &first).await.refused(401, "invalid_api_key");
    chat(&gate, &second).await.ok();

    let keys = gate.admin("/admin/keys?account=shop").await.ok().json();
    for key in keys["data"].as_array().unwrap() {
        let path = format!("/admin/keys/{}", key["id"].as_str().unwrap());
        gate.tell("DELETE", &path, &Value::Null).await.ok();
    }
    chat(&gate, &second).await.refused(401, "invalid_api_key");
    assert_eq!(provider.calls().len(), 2);
}

#[tokio::test]
async fn a_suspended_account_is_refused_and_its_change_of_plan_is_seen_at_once() {
    let provider = Provider::start().await;
    let gate = sold(&provider).start().await;
    let key = make(&gate, "shop", "free").await;
    let path = "/admin/accounts/shop";
    gate.change(path, &json!({"status": "suspended"})).await.ok();
    let refused = chat(&gate, &key).await;
    refused.refused(403, "account_suspended");
    assert_eq!(refused.header("x-ratelimit-remaining-requests"), None);
    gate.change(path, &json!({"status": "active", "plan": "pro"})).await.ok();
    chat(&gate, &key).await.ok();
    assert_eq!(gate.only_record().await["plan"], "pro");
    let limit = json!({"overrides": {"requests_per_minute": 2, "prices": {"default": "0.005"}}});
    gate.change(path, &limit).await.ok();
    let answer = chat(&gate, &key).await.ok();
    assert_eq!(answer.number("x-ratelimit-limit-requests"), 2);
    assert_eq!(answer.header("x-tollgate-price-usd"), Some("0.005"));
    chat(&gate, &key).await.refused(429, "rate_limit_exceeded");
    let record = gate.records().await.pop().unwrap();
    let prices = ["list_price", "unit_price", "price"].map(|name| record[name].clone());
    assert_eq!(prices, [json!("0.02"), json!("0.005"), json!("0.005")]);
}

#[tokio::test]
async fn a_model_above_the_plan_is_refused_and_not_listed() {
    let provider = Provider::start().await;
    let gate = sold(&provider).start().await;
    ask(&gate, "free", "/v1/chat/completions", "gpt-4o-mini").await.ok();
    for model in ["gpt-4o", "untold", "any-other"] {
        let refused = ask(&gate, "free", "/v1/chat/completions", model).await;
        assert_eq!(refused.refused(403, "model_not_in_plan")["param"], "model");
        ask(&gate, "pro", "/v1/chat/completions", model).await.ok();
        let show = Request::get(&format!("/v1/models/{model}")).bearer(&key_of("free"));
        gate.send(&show).await.refused(403, "model_not_in_plan");
    }
    let listed = async |plan: &str| -> Vec<String> {
        let list = gate.send(&Request::get("/v1/models").bearer(&key_of(plan))).await.ok().json();
        let data = list["data"].as_array().unwrap().iter();
        data.map(|model| model["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(listed("free").await, ["gpt-4o-mini"]);
    assert_eq!(listed("pro").await, ["gpt-4o-mini", "gpt-4o", "untold"]);
    assert_eq!(gate.records().await.len(), 4, "a refusal makes no record");
    let metrics = gate.admin("/metrics").await.ok().text();
    let line = "tollgate_refused_total{layer=\"feature\",window=\"\"} 6";
    assert!(metrics.lines().any(|it| it == line), "{metrics}");
}

#[tokio::test]
async fn a_class_bounds_its_models_and_a_plan_its_classes() {
    let provider = Provider::start().await;
    let gate = sold(&provider).start().await;
    let cheap = "/cheap/v1/chat/completions";
    ask(&gate, "pro", cheap, "gpt-4o-mini").await.ok();
    ask(&gate, "pro", cheap, "gpt-4o").await.refused(403, "model_not_in_plan");
    ask(&gate, "free", cheap, "gpt-4o-mini").await.refused(403, "feature_not_in_plan");
    assert_eq!(provider.calls().len(), 1);
}

#[tokio::test]
async fn the_sandbox_keeps_to_the_same_rule() {
    let gate = Tollgate::sandbox()
        .plan("free", |plan| plan.set("features", json!(["basic_suggestions"])))
        .plan("pro", |plan| plan)
        .start()
        .await;
    ask(&gate, "free", "/v1/chat/completions", "gpt-4o-mini").await.ok();
    let refused = ask(&gate, "free", "/v1/chat/completions", "anything").await;
    refused.refused(403, "model_not_in_plan");
    ask(&gate, "pro", "/v1/chat/completions", "anything").await.ok();
}

#[tokio::test]
async fn accounts_are_counted_by_plan() {
    let provider = Provider::start().await;
    let gate = sold(&provider).start().await;
    make(&gate, "shop", "free").await;
    let count = async |plan: &str| {
        let text = gate.admin("/metrics").await.ok().text();
        let start = format!("tollgate_accounts{{plan=\"{plan}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&start)).map(str::to_owned)
    };
    assert_eq!(count("free").await.as_deref(), Some("2"));
    gate.change("/admin/accounts/shop", &json!({"plan": "pro"})).await.ok();
    assert_eq!(count("free").await.as_deref(), Some("1"));
    assert_eq!(count("pro").await.as_deref(), Some("2"));
}

/// What was answered with 201 is there after a kill; what was revoked stays so.
#[tokio::test]
async fn accounts_and_keys_survive_a_kill() {
    let provider = Provider::start().await;
    let mut gate = sold(&provider).spawn().await;
    let kept = make(&gate, "shop", "free").await;
    gate = gate.kill_and_restart().await;
    chat(&gate, &kept).await.ok();
    let keys = gate.admin("/admin/keys?account=shop").await.ok().json();
    let path = format!("/admin/keys/{}", keys["data"][0]["id"].as_str().unwrap());
    gate.tell("DELETE", &path, &Value::Null).await.ok();
    gate = gate.kill_and_restart().await;
    chat(&gate, &kept).await.refused(401, "invalid_api_key");
}

/// A reload with another plan for the file's account, with a key less, and with
/// a plan less that others have.
#[tokio::test]
async fn a_reload_changes_the_files_accounts_and_spares_the_others() {
    let provider = Provider::start().await;
    let gate = sold(&provider).spawn().await;
    let key = make(&gate, "shop", "free").await;
    let file = gate.file();
    let mut config: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let reload = async |config: &Value| {
        std::fs::write(file, config.to_string()).unwrap();
        gate.tell("POST", "/admin/config/reload", &Value::Null).await
    };
    // `free` is given `pro`; the key of `pro` is gone.
    config["keys"] = json!([{"account": "free", "plan": "pro", "key": key_of("free")}]);
    reload(&config).await.ok();
    ask(&gate, "free", "/v1/chat/completions", "gpt-4o").await.ok();
    ask(&gate, "pro", "/v1/chat/completions", "gpt-4o").await.refused(401, "invalid_api_key");
    chat(&gate, &key).await.ok();

    let mut without = config.clone();
    without["plans"].as_array_mut().unwrap().retain(|plan| plan["name"] != "free");
    let refused = reload(&without).await;
    assert_eq!(refused.status(), 422, "{}", refused.text());
    let message = refused.json()["errors"][0]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("\"free\"") && message.contains('1'), "{message}");
    chat(&gate, &key).await.ok();
}

async fn run(gate: &Process, arguments: &[&str]) -> String {
    let output = gate.command(arguments).await;
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

#[tokio::test]
async fn the_commands_do_what_the_api_does() {
    let provider = Provider::start().await;
    let gate = sold(&provider).spawn().await;
    let create = ["accounts", "create", "--name", "The shop", "--plan", "free", "--id", "shop"];
    let own = ["--override", "concurrent=3", "--override", "prices.default=0.010"];
    let shown = run(&gate, &[&create[..], &own].concat()).await;
    assert!(shown.contains("The shop") && shown.contains(r#""concurrent":3"#), "{shown}");
    let account = run(&gate, &["accounts", "show", "shop", "--format", "json"]).await;
    let account: Value = serde_json::from_str(&account).unwrap();
    assert_eq!(account, gate.admin("/admin/accounts/shop").await.ok().json());
    assert_eq!(account["overrides"], json!({"concurrent": 3, "prices": {"default": "0.01"}}));

    let made = run(&gate, &["keys", "create", "--account", "shop", "--name", "ci"]).await;
    let key = made.split_whitespace().find(|word| word.starts_with("tg_live_")).unwrap();
    chat(&gate, key).await.ok();
    run(&gate, &["accounts", "suspend", "shop"]).await;
    chat(&gate, key).await.refused(403, "account_suspended");
    run(&gate, &["accounts", "resume", "shop"]).await;
    run(&gate, &["accounts", "set-plan", "shop", "pro"]).await;
    chat(&gate, key).await.ok();

    let list = run(&gate, &["keys", "list", "--account", "shop", "--format", "json"]).await;
    let list: Value = serde_json::from_str(&list).unwrap();
    let id = list[0]["id"].as_str().unwrap();
    let new = run(&gate, &["keys", "rotate", id, "--grace", "1h", "--format", "json"]).await;
    let new: Value = serde_json::from_str(&new).unwrap();
    chat(&gate, key).await.ok();
    chat(&gate, new["key"].as_str().unwrap()).await.ok();
    run(&gate, &["keys", "revoke", id]).await;
    chat(&gate, key).await.refused(401, "invalid_api_key");

    let table = run(&gate, &["accounts", "list"]).await;
    assert!(table.lines().any(|line| line.starts_with("shop ")), "{table}");
    let csv = run(&gate, &["keys", "list", "--format", "csv"]).await;
    assert_eq!(csv.lines().count(), 3, "{csv}");
    run(&gate, &["accounts", "delete", "shop"]).await;
    for (arguments, code) in [
        (&["accounts", "show", "shop"][..], 1),
        (&["accounts", "delete", DEFAULT_PLAN], 1),
        (&["accounts", "create", "--name", "a", "--plan", "gold"], 2),
        (&["accounts", "create", "--name", "a", "--plan", "pro", "--override", "x=1"], 2),
        (&["keys", "create", "--account", "shop"], 1),
        (&["accounts", "show"], 2),
    ] {
        let output = gate.command(arguments).await;
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?} says nothing");
    }
}
