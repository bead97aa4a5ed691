//! A changed file comes into force while requests run; a bad one changes
//! nothing. Covers J3.

use serde_json::{Value, json};

use crate::harness::binary::Process;
use crate::harness::client::{Answer, Request};
use crate::harness::door::chat_body;
use crate::harness::eventually::eventually;
use crate::harness::gate::Gate;
use crate::harness::openai;
use crate::harness::provider::Provider;
use crate::harness::reply::Reply;
use crate::harness::setup::{DEFAULT_PLAN, Tollgate};

/// Changes the file of `gate`.
pub(crate) fn rewrite(gate: &Process, change: impl FnOnce(&mut Value)) {
    let text = std::fs::read(gate.file()).unwrap();
    let mut config: Value = serde_json::from_slice(&text).unwrap();
    change(&mut config);
    std::fs::write(gate.file(), serde_json::to_string_pretty(&config).unwrap()).unwrap();
}

fn allow_one(config: &mut Value) {
    let plans = config["plans"].as_array_mut().unwrap();
    let plan = plans.iter_mut().find(|plan| plan["name"] == DEFAULT_PLAN).unwrap();
    plan["requests_per_minute"] = json!(1);
}

pub(crate) async fn reload(gate: &Process) -> Answer {
    gate.tell("POST", "/admin/config/reload", &Value::Null).await
}

#[tokio::test]
async fn a_reload_is_in_force_at_once_and_spares_what_runs() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).spawn().await;
    let held = Gate::closed();
    let events = openai::chat_events("gpt-4o-mini", true);
    provider.next(Reply::stream().event(&events[0]).wait(&held).event(events.last().unwrap()));
    let mut open = gate.open(&gate.stream()).await;
    assert_eq!(open.head().await.status(), 200);
    held.reached_by(1).await;

    rewrite(&gate, allow_one);
    reload(&gate).await.ok();
    // The stream that runs has taken the one request of this minute.
    gate.send(&gate.chat()).await.refused(429, "rate_limit_exceeded");
    held.open();
    let body = open.body().await;
    let body = String::from_utf8_lossy(&body).into_owned();
    assert!(body.contains("[DONE]"), "the stream that ran ends whole");
}

#[tokio::test]
async fn a_bad_file_is_answered_with_its_errors_and_changes_nothing() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).spawn().await;
    rewrite(&gate, |config| {
        allow_one(config);
        config["routing"]["retries"] = json!("many");
        config["limts"] = json!({});
    });
    let refused = reload(&gate).await;
    assert_eq!(refused.status(), 422, "{}", refused.text());
    let errors = refused.json()["errors"].as_array().unwrap().clone();
    assert_eq!(errors.len(), 2, "{errors:?}");
    for error in &errors {
        assert_eq!(error["file"], gate.file().display().to_string());
        assert!(error["line"].as_u64().unwrap() > 1 && error["column"].as_u64().unwrap() > 1);
    }
    let said = refused.text();
    assert!(said.contains("limts") && said.contains("limits"), "{said}");
    for _ in 0..3 {
        gate.send(&gate.chat()).await.ok();
    }
}

#[tokio::test]
async fn sighup_reloads() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).spawn().await;
    gate.send(&gate.chat()).await.ok();
    rewrite(&gate, allow_one);
    gate.signal("HUP").await;
    eventually("the reload", async || {
        let answer = gate.send(&gate.chat()).await;
        (answer.header("x-ratelimit-limit-requests") == Some("1")).then_some(())
    })
    .await;
    gate.send(&gate.chat()).await.refused(429, "rate_limit_exceeded");
}

#[tokio::test]
async fn a_reload_keeps_each_of_an_accounts_made_keys() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider)
        .plan(DEFAULT_PLAN, |plan| plan)
        .plan("spare", |plan| plan)
        .set("keys.0.key", "")
        .set("keys.1", json!({"account": DEFAULT_PLAN, "plan": DEFAULT_PLAN, "key": ""}))
        .spawn()
        .await;
    let shown = gate.banner().lines().filter_map(|line| line.trim().strip_prefix(DEFAULT_PLAN));
    let keys: Vec<&str> = shown.map(str::trim).collect();
    assert_eq!(keys.len(), 2, "{}", gate.banner());
    for _ in 0..2 {
        for key in &keys {
            let request = Request::post("/v1/chat/completions", &chat_body()).bearer(key);
            gate.send(&request).await.ok();
        }
        reload(&gate).await.ok();
    }
}
