//! The quota of a month: exact, and there again after any end of the process.
//! Covers A1, A4 and A6.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use crate::harness::client::{Answer, Request};
use crate::harness::door::{Door, chat_body};
use crate::harness::eventually::eventually;
use crate::harness::gate::Gate;
use crate::harness::gateway::Gateway;
use crate::harness::openai;
use crate::harness::provider::Provider;
use crate::harness::reply::Reply;
use crate::harness::setup::{Setup, Tollgate, key_of};

const LEFT: &str = "x-tollgate-quota-remaining";
const DAY: Duration = Duration::from_secs(86_400);

fn limited(provider: &Provider, per_month: u64) -> Setup {
    Tollgate::before(provider)
        .plan("free", |plan| plan.set("requests_per_month", per_month))
        .plan("large", |plan| plan.set("requests_per_month", 10))
        .plan("endless", |plan| plan)
        .set("routing.retries", 0)
}

async fn chat(gate: &Door) -> Answer {
    gate.send(&gate.chat_as("free")).await
}

fn refused(answer: &Answer) {
    answer.refused(429, "insufficient_quota");
    assert_eq!(answer.header("x-should-retry"), Some("false"));
    assert_eq!(answer.header("retry-after"), None);
    assert_eq!(answer.number(LEFT), 0);
}

#[tokio::test]
async fn of_100_at_once_against_7_a_month_exactly_7_pass() {
    let provider = Provider::start().await;
    let gate = limited(&provider, 7).start().await;
    let answers = join_all((0..100).map(|_| chat(&gate))).await;
    let passed = answers.iter().filter(|answer| answer.status() == 200).count();
    assert_eq!((passed, provider.calls().len()), (7, 7));
    answers.iter().filter(|answer| answer.status() != 200).for_each(refused);
    let metrics = gate.admin("/metrics").await.ok().text();
    let line = "tollgate_refused_total{layer=\"quota\",window=\"month\"} 93";
    assert!(metrics.lines().any(|it| it == line), "{metrics}");
}

#[tokio::test]
async fn every_answer_says_what_is_left_and_a_get_takes_nothing() {
    let provider = Provider::start().await;
    let gate = limited(&provider, 3).start().await;
    let models = Request::get("/v1/models").bearer(&key_of("free"));
    assert_eq!(gate.send(&models).await.ok().number(LEFT), 3);
    let nowhere = Request::get("/v1/models/a//b").bearer(&key_of("free"));
    let unknown = gate.send(&nowhere).await;
    unknown.refused(404, "model_not_found");
    assert_eq!(unknown.number(LEFT), 3, "what took nothing gives nothing back");
    assert_eq!(chat(&gate).await.ok().number(LEFT), 2);
    assert_eq!(gate.send(&models).await.ok().number(LEFT), 2);
    let mut body = chat_body();
    body["stream"] = true.into();
    let stream = Request::post("/v1/chat/completions", &body).bearer(&key_of("free"));
    assert_eq!(gate.send(&stream).await.ok().number(LEFT), 1);
    let bad = Request::post_text("/v1/chat/completions", "{").bearer(&key_of("free"));
    let answer = gate.send(&bad).await;
    answer.refused(400, "invalid_json");
    assert_eq!(answer.number(LEFT), 1);
    assert_eq!(chat(&gate).await.ok().number(LEFT), 0);
    refused(&chat(&gate).await);
    assert_eq!(gate.send(&models).await.ok().number(LEFT), 0);
    assert_eq!(gate.send(&gate.chat_as("endless")).await.ok().header(LEFT), None);
}

#[tokio::test]
async fn what_is_not_charged_gives_its_place_back() {
    let provider = Provider::start().await;
    let gate = limited(&provider, 2).start().await;
    for reply in [500, 503, 400].map(|status| Reply::error(status, "theirs")) {
        provider.next(reply);
        let answer = chat(&gate).await;
        assert_ne!(answer.status(), 200);
        assert_eq!(answer.number(LEFT), 2, "{}", answer.status());
    }
    // A client that leaves before it has anything.
    let held = Gate::closed();
    provider.next(Reply::json(200, &json!({"choices": []})).after(&held));
    let leaving = gate.open(&gate.chat_as("free")).await;
    held.reached_by(1).await;
    let reserved = gate.send(&Request::get("/v1/models").bearer(&key_of("free"))).await;
    assert_eq!(reserved.ok().number(LEFT), 1);
    drop(leaving);
    eventually("the place of the one that left", async || {
        let answer = gate.send(&Request::get("/v1/models").bearer(&key_of("free"))).await;
        (answer.number(LEFT) == 2).then_some(())
    })
    .await;
    // A stream that the provider cuts.
    provider.next(Reply::events(openai::chat_events("gpt-4o-mini", true)).cut_after(300));
    let mut body = chat_body();
    body["stream"] = true.into();
    let stream = Request::post("/v1/chat/completions", &body).bearer(&key_of("free"));
    let mut connection = gate.open(&stream).await;
    connection.head().await;
    connection.closed().await;
    gate.wait_for_records(5).await;
    assert_eq!(chat(&gate).await.ok().number(LEFT), 1);
    assert_eq!(chat(&gate).await.ok().number(LEFT), 0);
    refused(&chat(&gate).await);
}

#[tokio::test]
async fn a_month_begins_anew_at_its_edge() {
    let provider = Provider::start().await;
    let gate = limited(&provider, 1).start().await;
    chat(&gate).await.ok();
    // The clock stands at noon on 15 June.
    gate.clock().advance(DAY * 15 + DAY / 2 - Duration::from_millis(1));
    let last = chat(&gate).await;
    refused(&last);
    let message = last.json()["error"]["message"].as_str().unwrap_or_default().to_owned();
    assert!(message.contains("2026-07-01T00:00:00"), "{message}");
    gate.clock().advance(Duration::from_millis(1));
    assert_eq!(chat(&gate).await.ok().number(LEFT), 0);
    refused(&chat(&gate).await);
}

/// The zone's midnight, not UTC's.
#[tokio::test]
async fn the_edge_is_that_of_the_time_zone() {
    let provider = Provider::start().await;
    let gate = limited(&provider, 1).set("billing.timezone", "America/New_York").start().await;
    chat(&gate).await.ok();
    gate.clock().advance(DAY * 15 + DAY / 2);
    refused(&chat(&gate).await);
    gate.clock().advance(Duration::from_secs(4 * 3_600));
    chat(&gate).await.ok();
}

#[tokio::test]
async fn a_restart_and_a_new_plan_keep_the_count() {
    let provider = Provider::start().await;
    let gate = limited(&provider, 3).start().await;
    provider.next(Reply::error(500, "theirs"));
    assert_eq!(chat(&gate).await.status(), 500);
    chat(&gate).await.ok();
    chat(&gate).await.ok();
    let gate: Gateway = gate.restart().await;
    assert_eq!(chat(&gate).await.ok().number(LEFT), 0);
    refused(&chat(&gate).await);
    // Up: 10 a month, of which 3 are used. And down again.
    gate.change("/admin/accounts/free", &json!({"plan": "large"})).await.ok();
    assert_eq!(chat(&gate).await.ok().number(LEFT), 6);
    gate.change("/admin/accounts/free", &json!({"plan": "free"})).await.ok();
    refused(&chat(&gate).await);
    // An account's own figure replaces the plan's.
    let own = |limit| json!({"overrides": {"requests_per_month": limit}});
    gate.change("/admin/accounts/free", &own(json!(5))).await.ok();
    assert_eq!(chat(&gate).await.ok().number(LEFT), 0);
    refused(&chat(&gate).await);
    gate.change("/admin/accounts/free", &own(json!("unlimited"))).await.ok();
    assert_eq!(chat(&gate).await.ok().header(LEFT), None);
}

#[tokio::test]
async fn a_kill_keeps_the_count() {
    let provider = Provider::start().await;
    let mut gate = limited(&provider, 4).spawn().await;
    for round in 0..3_u64 {
        assert_eq!(chat(&gate).await.ok().number(LEFT), 3 - round);
        // One more is in flight when it dies, and is not charged.
        let held = Gate::closed();
        provider.next(Reply::json(200, &json!({"choices": []})).after(&held));
        let flying = gate.open(&gate.chat_as("free")).await;
        held.reached_by(1).await;
        gate = gate.kill_and_restart().await;
        drop(flying);
    }
    assert_eq!(chat(&gate).await.ok().number(LEFT), 0);
    refused(&chat(&gate).await);
}

/// The first charged requests of the month are within the quota, as many as it
/// has; each of the others costs the overage.
#[tokio::test]
async fn overage_begins_exactly_at_the_quota() {
    for (billing, within) in [("metered", "0.02"), ("included", "0")] {
        let provider = Provider::start().await;
        let gate = Tollgate::before(&provider)
            .plan("free", |plan| {
                plan.set("billing", billing).set("requests_per_month", 7).set("overage", "0.05")
            })
            .set("routing.retries", 0)
            .spawn()
            .await;
        provider.next(Reply::error(500, "theirs"));
        assert_eq!(chat(&gate).await.status(), 500);
        let answers = join_all((0..40).map(|_| chat(&gate))).await;
        let prices = |price: &str| {
            let said = |answer: &&Answer| answer.header("x-tollgate-price-usd") == Some(price);
            answers.iter().filter(said).count()
        };
        assert_eq!((prices(within), prices("0.05")), (7, 33), "{billing}");
        let gate = gate.kill_and_restart().await;
        let mut body = chat_body();
        body["stream"] = true.into();
        let stream = Request::post("/v1/chat/completions", &body).bearer(&key_of("free"));
        let streamed = gate.send(&stream).await.ok();
        assert_eq!(streamed.number(LEFT), 0);
        // Which price it has is not known before it ends.
        assert_eq!(streamed.header("x-tollgate-price-usd"), None);
        let answer = chat(&gate).await.ok();
        assert_eq!(answer.number(LEFT), 0);
        assert_eq!(answer.header("x-tollgate-price-usd"), Some("0.05"));
        let bad = Request::post_text("/v1/chat/completions", "{").bearer(&key_of("free"));
        assert_eq!(gate.send(&bad).await.number(LEFT), 0, "there is no place to give back");
        let records = gate.records().await;
        let priced = |price: &str| {
            let same = |record: &&serde_json::Value| {
                record["quantity"] == 1 && record["price"] == price && record["unit_price"] == price
            };
            records.iter().filter(same).count()
        };
        assert_eq!((priced(within), priced("0.05")), (7, 35), "{billing}");
        assert!(records.iter().all(|record| record["list_price"] == "0.02"));
    }
}

/// A budget holds for what overage costs too: what is reserved is the dearer price.
#[tokio::test]
async fn overage_is_within_the_budget() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider)
        .plan("free", |plan| {
            plan.included()
                .set("requests_per_month", 2)
                .set("overage", "0.05")
                .set("budget", "0.17")
        })
        .start()
        .await;
    let answers = join_all((0..30).map(|_| chat(&gate))).await;
    let passed = answers.iter().filter(|answer| answer.status() == 200).count();
    // Three at once may each come to lie beyond the quota; those within cost nothing.
    assert!((3..=5).contains(&passed), "{passed}");
    for _ in passed..5 {
        chat(&gate).await.ok();
    }
    refused_by_budget(&chat(&gate).await);
    let cost: Vec<_> = gate.records().await.iter().map(|it| it["price"].to_string()).collect();
    assert_eq!(cost.iter().filter(|price| *price == "\"0.05\"").count(), 3);
}

fn refused_by_budget(answer: &Answer) {
    let message = answer.refused(429, "insufficient_quota")["message"].to_string();
    assert!(message.contains("budget of $0.17"), "{message}");
}
