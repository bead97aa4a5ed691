//! What plans with `dedicated_instances` have for themselves: slots, and
//! providers. Covers A2.

use serde_json::{Value, json};

use crate::harness::client::Request;
use crate::harness::gate::Gate;
use crate::harness::gateway::Gateway;
use crate::harness::provider::Provider;
use crate::harness::reply::Reply;
use crate::harness::setup::{Setup, Tollgate};

const DEPTH: &str = "tollgate_queue_depth";
const CALLS: &str = "tollgate_inflight{scope=\"provider\"}";

/// Accounts `small`, `open` (which no feature gates) and `corp`, the dedicated one.
fn plans(setup: Setup) -> Setup {
    let features = json!(["basic_suggestions", "advanced_suggestions", "dedicated_instances"]);
    setup
        .plan("small", |plan| plan)
        .plan("open", |plan| plan.set("features", Value::Null))
        .plan("corp", |plan| plan.set("features", features))
}

#[tokio::test]
async fn reserved_slots_are_free_for_who_has_them() {
    let provider = Provider::start().await;
    let held = Gate::closed();
    let gate = held.clone();
    provider.answer(move |_| Reply::json(200, &json!({"choices": []})).after(&gate));
    let gate = plans(Tollgate::before(&provider))
        .set("limits.global.concurrent", 5)
        .set("limits.global.reserved", 2)
        .set("limits.global.queue", 10)
        .start()
        .await;
    let mut clients = Vec::new();
    for (number, plan) in ["small", "open", "small"].into_iter().enumerate() {
        clients.push(gate.open(&gate.chat_as(plan)).await);
        held.reached_by(number + 1).await;
    }
    // Two slots are free, and neither for these.
    for (depth, plan) in (1..).zip(["small", "open"]) {
        clients.push(gate.open(&gate.chat_as(plan)).await);
        gate.wait_for_metric(DEPTH, depth).await;
    }
    assert_eq!(gate.metric(CALLS).await, 3);
    for number in 0..2 {
        clients.push(gate.open(&gate.chat_as("corp")).await);
        held.reached_by(number + 4).await;
    }
    assert_eq!(gate.metric(DEPTH).await, 2);
    // One call of a small plan ends: its slot is a small plan's again.
    held.release();
    held.reached_by(6).await;
    gate.wait_for_metric(DEPTH, 1).await;
    held.open();
    for client in &mut clients {
        client.answer().await.ok();
    }
    gate.wait_for_metric(CALLS, 0).await;
}

#[tokio::test]
async fn nothing_is_reserved_while_nobody_has_a_key_to_it() {
    let provider = Provider::start().await;
    let held = Gate::closed();
    let gate = held.clone();
    provider.answer(move |_| Reply::json(200, &json!({"choices": []})).after(&gate));
    let gate = plans(Tollgate::before(&provider))
        .set("limits.global.concurrent", 2)
        .set("limits.global.reserved", 1)
        .start()
        .await;
    let mut first = gate.open(&gate.chat_as("small")).await;
    held.reached_by(1).await;
    let mut second = gate.open(&gate.chat_as("small")).await;
    gate.wait_for_metric(DEPTH, 1).await;
    // The only such account is suspended: the waiter has the slot at once.
    gate.change("/admin/accounts/corp", &json!({"status": "suspended"})).await.ok();
    held.reached_by(2).await;
    assert_eq!(gate.metric(DEPTH).await, 0);
    held.release();
    held.release();
    first.answer().await.ok();
    second.answer().await.ok();
    gate.wait_for_metric(CALLS, 0).await;
    // It is back, and so is its slot.
    gate.change("/admin/accounts/corp", &json!({"status": "active"})).await.ok();
    let mut third = gate.open(&gate.chat_as("small")).await;
    held.reached_by(3).await;
    let mut fourth = gate.open(&gate.chat_as("small")).await;
    gate.wait_for_metric(DEPTH, 1).await;
    let mut corp = gate.open(&gate.chat_as("corp")).await;
    held.reached_by(4).await;
    assert_eq!(gate.metric(DEPTH).await, 1);
    held.open();
    for client in [&mut third, &mut fourth, &mut corp] {
        client.answer().await.ok();
    }
    gate.wait_for_metric(CALLS, 0).await;
}

/// Two providers: `mock` for all, `own` for dedicated plans.
async fn two_pools(shared: &Provider, own: &Provider) -> Gateway {
    let pool = json!({
        "name": "own", "dialect": "openai", "base_url": own.url(), "api_key": "sk-own-provider",
        "pool": "dedicated",
    });
    let both = json!([{"provider": "mock"}, {"provider": "own", "model": "their-mini"}]);
    plans(Tollgate::before(shared))
        .another_provider(pool)
        .models(&json!([
            {"name": "gpt-4o-mini", "tier": "simple", "targets": both},
            {"name": "corp-only", "tier": "simple", "targets": [{"provider": "own"}]},
            {"name": "*", "targets": [{"provider": "mock"}]},
        ]))
        .set("routing.retries", 1)
        .start()
        .await
}

fn chat(gate: &Gateway, plan: &str, model: &str) -> Request {
    let body = json!({"model": model, "messages": [{"role": "user", "content": "Say hello."}]});
    Request::post("/v1/chat/completions", &body).bearer(&gate.key(plan))
}

async fn listed(gate: &Gateway, plan: &str) -> Vec<String> {
    let list = gate.send(&Request::get("/v1/models").bearer(&gate.key(plan))).await.ok().json();
    let name = |model: &Value| model["id"].as_str().unwrap_or_default().to_owned();
    list["data"].as_array().into_iter().flatten().map(name).collect()
}

#[tokio::test]
async fn the_dedicated_pool_is_first_for_its_plans_and_closed_to_others() {
    let (shared, own) = (Provider::start().await, Provider::start().await);
    let gate = two_pools(&shared, &own).await;
    for plan in ["small", "open"] {
        let answer = gate.send(&chat(&gate, plan, "gpt-4o-mini")).await.ok();
        assert_eq!(answer.header("x-tollgate-route"), Some("simple;gpt-4o-mini;mock;exact"));
        let refused = gate.send(&chat(&gate, plan, "corp-only")).await;
        refused.refused(404, "model_not_found");
        assert_eq!(listed(&gate, plan).await, ["gpt-4o-mini"]);
        let one = Request::get("/v1/models/corp-only").bearer(&gate.key(plan));
        gate.send(&one).await.refused(404, "model_not_found");
    }
    assert!(own.calls().is_empty(), "nobody else reaches it");
    // A failure of the shared one is not mended there either.
    shared.next(Reply::error(503, "theirs"));
    shared.next(Reply::error(503, "theirs"));
    assert_eq!(gate.send(&chat(&gate, "small", "gpt-4o-mini")).await.status(), 503);
    assert!(own.calls().is_empty());

    let before = shared.calls().len();
    let answer = gate.send(&chat(&gate, "corp", "gpt-4o-mini")).await.ok();
    assert_eq!(answer.header("x-tollgate-route"), Some("simple;gpt-4o-mini;own;exact"));
    assert_eq!(own.only_call().json()["model"], "their-mini");
    gate.send(&chat(&gate, "corp", "corp-only")).await.ok();
    assert_eq!(listed(&gate, "corp").await, ["gpt-4o-mini", "corp-only"]);
    let one = Request::get("/v1/models/corp-only").bearer(&gate.key("corp"));
    assert_eq!(gate.send(&one).await.ok().json()["id"], "corp-only");
    assert_eq!(shared.calls().len(), before);
    // The shared one is what they fall back to.
    own.next(Reply::error(503, "theirs"));
    let answer = gate.send(&chat(&gate, "corp", "gpt-4o-mini")).await.ok();
    let way = answer.header("x-tollgate-route");
    assert_eq!(way, Some("simple;gpt-4o-mini;mock;exact+failover"));
    assert_eq!(shared.calls().len(), before + 1);
    let config = gate.admin("/admin/config").await.ok().json();
    assert_eq!(
        (&config["providers"][0]["pool"], &config["providers"][1]["pool"]),
        (&json!("shared"), &json!("dedicated"))
    );
    assert_eq!(config["limits"]["global"]["reserved"], 50);
}
