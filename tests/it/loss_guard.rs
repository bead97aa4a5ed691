//! The guard against selling at a loss. Covers B4.

use serde_json::{Value, json};

use crate::harness::client::Request;
use crate::harness::gateway::Gateway;
use crate::harness::provider::Provider;
use crate::harness::setup::{DEFAULT_PLAN, Setup, Tollgate, key_of};

/// Three models, of which an answer of 1,000 tokens costs $0.03, $0.005 and
/// $0.0004, and classes at $0.01 whose guards differ.
fn guarded(provider: &Provider) -> Setup {
    let model = |name, tier, output| {
        json!({"name": name, "tier": tier, "targets": [{"provider": "mock"}],
               "cost": {"input": "0.1", "output": output}})
    };
    let models = json!([
        model("great", "expert", "30"),
        model("middle", "complex", "5"),
        model("small", "simple", "0.4"),
        {"name": "*", "targets": [{"provider": "mock"}]},
    ]);
    Tollgate::before(provider)
        .models(&models)
        .class("warned", "0.01", &json!({}))
        .class("lowered", "0.01", &json!({"loss_guard": "route_down"}))
        .class("refused", "0.01", &json!({"loss_guard": "refuse"}))
        .class("floored", "0.01", &json!({"loss_guard": "refuse", "margin_floor": 0.6}))
}

fn ask(class: &str, model: &str, tokens: u64) -> Request {
    let body = json!({"model": model, "max_tokens": tokens,
                      "messages": [{"role": "user", "content": "Hi"}]});
    Request::post(&format!("/{class}/v1/chat/completions"), &body).bearer(&key_of(DEFAULT_PLAN))
}

async fn acted(gate: &Gateway, class: &str, action: &str) -> u64 {
    let series = format!("tollgate_loss_guard_total{{action=\"{action}\",class=\"{class}\"}}");
    gate.metric(&series).await
}

#[tokio::test]
async fn a_warning_lets_it_run_and_counts() {
    let provider = Provider::start().await;
    let gate = guarded(&provider).start().await;
    gate.send(&ask("warned", "great", 1000)).await.ok();
    gate.send(&ask("warned", "middle", 1000)).await.ok();
    assert_eq!(acted(&gate, "warned", "warn").await, 1);
    assert_eq!(provider.calls()[0].json()["model"], "great");
    // Without a price nothing is known.
    gate.send(&ask("warned", "new-model", 1000)).await.ok();
    assert_eq!(acted(&gate, "warned", "unpriced").await, 1);
    assert_eq!(acted(&gate, "warned", "warn").await, 1);
}

#[tokio::test]
async fn a_request_goes_to_the_dearest_lower_model_that_pays() {
    let provider = Provider::start().await;
    let gate = guarded(&provider).start().await;
    for (tokens, model) in [(100, "great"), (1_000, "middle"), (10_000, "small")] {
        let id = format!("of-{tokens}");
        let asked = ask("lowered", "great", tokens).header("x-request-id", &id);
        let answer = gate.send(&asked).await.ok();
        let way = answer.header("x-tollgate-route").unwrap_or_default().to_owned();
        assert!(way.contains(&format!(";{model};")), "{way}");
        assert_eq!(way.ends_with(";loss_guard"), model != "great", "{way}");
        let record = gate.record_of(&id).await;
        assert_eq!(
            (&record["model_asked"], &record["model_used"]),
            (&json!("great"), &json!(model))
        );
        assert_eq!(provider.calls().last().unwrap().json()["model"], model);
        assert_eq!(record["price"], "0.01");
    }
    assert_eq!(acted(&gate, "lowered", "route_down").await, 2);
    // Where nothing pays, it runs as it was asked for.
    gate.send(&ask("lowered", "great", 1_000_000)).await.ok();
    assert_eq!(provider.calls().last().unwrap().json()["model"], "great");
    assert_eq!(acted(&gate, "lowered", "warn").await, 1);
}

#[tokio::test]
async fn embeddings_stay_with_their_model() {
    let provider = Provider::start().await;
    let gate = guarded(&provider).class("free", "0", &json!({"loss_guard": "route_down"}));
    let gate = gate.start().await;
    let body = json!({"model": "great", "input": "Hi"});
    let embed = Request::post("/free/v1/embeddings", &body).bearer(&key_of(DEFAULT_PLAN));
    gate.send(&embed).await.ok();
    assert_eq!(provider.only_call().json()["model"], "great");
    assert_eq!(acted(&gate, "free", "warn").await, 1);
}

#[tokio::test]
async fn a_lower_model_is_one_that_the_plan_and_class_allow() {
    let provider = Provider::start().await;
    let class = json!({"loss_guard": "route_down", "models": ["great", "small"]});
    let gate = guarded(&provider).class("few", "0.01", &class).start().await;
    gate.send(&ask("few", "great", 1_000)).await.ok();
    assert_eq!(provider.only_call().json()["model"], "small");
}

#[tokio::test]
async fn a_refusal_says_what_fits_and_consumes_nothing() {
    let provider = Provider::start().await;
    let gate = guarded(&provider).start().await;
    let refused = gate.send(&ask("refused", "great", 1_000)).await;
    let error = refused.refused(400, "invalid_value");
    assert_eq!(error["param"], "max_tokens");
    let message = error["message"].as_str().unwrap_or_default().to_owned();
    let most: u64 = message
        .split("at most ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next()?.parse().ok())
        .unwrap_or_else(|| panic!("{message}"));
    assert_eq!((gate.records().await.len(), provider.calls().len()), (0, 0));
    assert_eq!(acted(&gate, "refused", "refuse").await, 1);
    // It is true to the token.
    gate.send(&ask("refused", "great", most)).await.ok();
    gate.send(&ask("refused", "great", most + 1)).await.refused(400, "invalid_value");
}

#[tokio::test]
async fn a_margin_is_kept_above_the_cost() {
    let provider = Provider::start().await;
    let gate = guarded(&provider).start().await;
    // $0.005 of $0.01 leaves half.
    gate.send(&ask("refused", "middle", 1_000)).await.ok();
    gate.send(&ask("floored", "middle", 1_000)).await.refused(400, "invalid_value");
    gate.send(&ask("floored", "middle", 700)).await.ok();
}

#[tokio::test]
async fn an_account_has_a_guard_of_its_own() {
    let provider = Provider::start().await;
    let gate = guarded(&provider).start().await;
    let path = format!("/admin/accounts/{DEFAULT_PLAN}");
    let own = |guard: Value| json!({"overrides": {"loss_guard": guard}});
    let shown = gate.change(&path, &own(json!("refuse"))).await.ok().json();
    assert_eq!(shown["overrides"]["loss_guard"], "refuse");
    gate.send(&ask("warned", "great", 1_000)).await.refused(400, "invalid_value");
    assert_eq!(gate.change(&path, &own(json!("stop"))).await.status(), 400);
    // It outlives the process, and its own price decides.
    let gate = gate.restart().await;
    gate.send(&ask("warned", "great", 1_000)).await.refused(400, "invalid_value");
    let price = json!({"overrides": {"prices": {"warned": "0.05"}}});
    gate.change(&path, &price).await.ok();
    gate.send(&ask("warned", "great", 1_000)).await.ok();
    gate.change(&path, &own(Value::Null)).await.ok();
    gate.send(&ask("warned", "great", 10_000)).await.ok();
}

/// Under `included` billing a request earns nothing: its list price is held
/// against the cost.
#[tokio::test]
async fn an_included_request_is_judged_by_its_list_price() {
    let provider = Provider::start().await;
    let gate = guarded(&provider).plan("included", |plan| plan.included()).start().await;
    let as_included = |tokens| ask_as("included", tokens);
    gate.send(&as_included(100)).await.ok();
    gate.send(&as_included(1_000)).await.refused(400, "invalid_value");
}

fn ask_as(plan: &str, tokens: u64) -> Request {
    let body = json!({"model": "great", "max_tokens": tokens,
                      "messages": [{"role": "user", "content": "Hi"}]});
    Request::post("/refused/v1/chat/completions", &body).bearer(&key_of(plan))
}
