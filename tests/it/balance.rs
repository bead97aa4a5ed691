//! Requests that are paid from what was paid in before: hard, exact, and there
//! again after any end of the process. Covers A6.

mod kill;
mod tokens;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::harness::client::{Answer, Request};
use crate::harness::door::{Door, chat_body, stream_body};
use crate::harness::eventually::eventually;
use crate::harness::gate::Gate;
use crate::harness::openai;
use crate::harness::plan::Plan;
use crate::harness::provider::Provider;
use crate::harness::reply::Reply;
use crate::harness::setup::{Setup, Tollgate, key_of};

/// A request of the class `default` costs $0.02. The account `shop` is prepaid,
/// `other` is not.
fn prepaid(provider: &Provider) -> Setup {
    Tollgate::before(provider)
        .plan("shop", |plan| plan.set("prepaid", true))
        .plan("other", |plan| plan)
        .set("routing.retries", 0)
}

async fn adjust(gate: &Door, kind: &str, amount: &str) -> Answer {
    let body = json!({"account": "shop", "kind": kind, "amount": amount, "description": "a wire"});
    gate.tell("POST", "/admin/adjustments", &body).await
}

async fn deposit(gate: &Door, amount: &str) {
    let made = adjust(gate, "deposit", amount).await;
    assert_eq!(made.status(), 201, "{}", made.text());
}

async fn chat(gate: &Door) -> Answer {
    gate.send(&gate.chat_as("shop")).await
}

/// The balance as its customer sees it.
async fn seen(gate: &Door) -> Value {
    let request = Request::get("/v1/usage").bearer(&key_of("shop"));
    gate.send(&request).await.ok().json()["balance"].clone()
}

/// The same while nothing changes, as its seller sees it too.
async fn balance(gate: &Door) -> Value {
    let shown = seen(gate).await;
    let account = gate.admin("/admin/accounts/shop").await.ok().json();
    assert_eq!(account["balance"], shown);
    shown
}

fn standing(deposited: &str, charged: &str, reserved: &str, remaining: &str) -> Value {
    json!({
        "deposited": deposited, "charged": charged, "reserved": reserved, "remaining": remaining,
    })
}

#[track_caller]
fn refused(answer: &Answer, left: &str) {
    let error = answer.refused(429, "insufficient_quota");
    assert_eq!(answer.header("x-should-retry"), Some("false"));
    assert_eq!(answer.header("retry-after"), None);
    let message = error["message"].as_str().unwrap_or_default();
    let used_up = format!("balance is used up: ${left} is left");
    assert!(message.contains(&used_up), "{message}");
}

fn passed(answers: &[Answer]) -> usize {
    answers.iter().filter(|answer| answer.status() == 200).count()
}

#[tokio::test]
async fn of_200_at_once_exactly_as_many_pass_as_the_balance_pays() {
    let provider = Provider::start().await;
    let gate = prepaid(&provider)
        .plan("free", |plan| plan.included().set("prepaid", true))
        .set("plans.0.requests_per_minute", 1_000)
        .start()
        .await;
    let series = "tollgate_refused_total{layer=\"quota\",window=\"balance\"}";
    let metrics = gate.admin("/metrics").await.ok().text();
    assert!(metrics.contains(&format!("{series} 0\n")), "not there from the start");
    assert_eq!(balance(&gate).await, standing("0", "0", "0", "0"));
    refused(&chat(&gate).await, "0");
    deposit(&gate, "1.51").await;
    let answers = join_all((0..200).map(|_| chat(&gate))).await;
    assert_eq!((passed(&answers), provider.calls().len()), (75, 75));
    answers.iter().filter(|it| it.status() != 200).for_each(|it| refused(it, "0.01"));
    assert_eq!(gate.metric(series).await, 126);
    assert_eq!(balance(&gate).await, standing("1.51", "1.5", "0", "0.01"));
    // A refusal takes nothing of the windows either.
    assert_eq!(chat(&gate).await.number("x-ratelimit-remaining-requests"), 925);
    // What costs nothing is not refused.
    gate.send(&gate.chat_as("free")).await.ok();
    let records = gate.records().await;
    let paid = |record: &&Value| record["prepaid"] == true && record["price"] == "0.02";
    assert_eq!((records.len(), records.iter().filter(paid).count()), (76, 75));
}

/// A deposit is in force for the request that follows its answer, whatever runs.
#[tokio::test]
async fn a_deposit_counts_from_its_answer_on() {
    let provider = Provider::start().await;
    let gate = prepaid(&provider).start().await;
    for _ in 0..5 {
        deposit(&gate, "0.02").await;
        chat(&gate).await.ok();
        refused(&chat(&gate).await, "0");
    }
    // A stream holds what it costs from its order to its end.
    deposit(&gate, "0.03").await;
    let held = Gate::closed();
    provider.next(Reply::gated_events(&held, openai::chat_events("gpt-4o-mini", true)));
    let stream = Request::post("/v1/chat/completions", &stream_body()).bearer(&key_of("shop"));
    let mut running = gate.open(&stream).await;
    running.head().await;
    assert_eq!(balance(&gate).await, standing("0.13", "0.1", "0.02", "0.01"));
    refused(&chat(&gate).await, "0.01");
    assert_eq!(
        adjust(&gate, "withdrawal", "0.02").await.refused(409, "conflict")["param"],
        Value::Null
    );
    deposit(&gate, "0.01").await;
    chat(&gate).await.ok();
    refused(&chat(&gate).await, "0");
    held.open();
    running.body().await;
    assert_eq!(balance(&gate).await, standing("0.14", "0.14", "0", "0"));
    // Deposits amid a crowd: in the end all of it is used, and nothing more.
    let crowd = async || passed(&join_all((0..60).map(|_| chat(&gate))).await);
    let paying = async || {
        for _ in 0..20 {
            deposit(&gate, "0.05").await;
        }
    };
    let (mut served, ()) = tokio::join!(crowd(), paying());
    while chat(&gate).await.status() == 200 {
        served += 1;
    }
    assert_eq!(served, 50);
    assert_eq!(balance(&gate).await, standing("1.14", "1.14", "0", "0"));
}

#[tokio::test]
async fn what_is_not_charged_gives_its_reservation_back() {
    let provider = Provider::start().await;
    let gate = prepaid(&provider).start().await;
    deposit(&gate, "0.02").await;
    for status in [500, 503, 400] {
        provider.next(Reply::error(status, "theirs"));
        assert_eq!(chat(&gate).await.status(), status);
    }
    let bad = Request::post_text("/v1/chat/completions", "{").bearer(&key_of("shop"));
    gate.send(&bad).await.refused(400, "invalid_json");
    let stream = Request::post("/v1/chat/completions", &stream_body()).bearer(&key_of("shop"));
    provider.next(Reply::events(openai::chat_events("gpt-4o-mini", true)).cut_after(300));
    let mut cut = gate.open(&stream).await;
    cut.head().await;
    cut.closed().await;
    gate.wait_for_records(4).await;
    let silent = Gate::closed();
    provider.next(Reply::json(200, &json!({"choices": []})).after(&silent));
    let leaving = gate.open(&gate.chat_as("shop")).await;
    silent.reached_by(1).await;
    assert_eq!(balance(&gate).await, standing("0.02", "0", "0.02", "0"));
    drop(leaving);
    eventually("the reservation of the one that left", async || {
        (seen(&gate).await == standing("0.02", "0", "0", "0.02")).then_some(())
    })
    .await;
    let records = gate.records().await;
    assert!(records.iter().all(|record| record["prepaid"] == Value::Null), "{records:#?}");
    chat(&gate).await.ok();
    refused(&chat(&gate).await, "0");
}

/// A budget and a balance hold beside each other, and neither takes of the other
/// what it refuses.
#[tokio::test]
async fn budgets_cached_and_opaque_requests_are_as_ever() {
    let provider = Provider::start().await;
    let gate = prepaid(&provider)
        .class("docs", "0.02", &json!({"cache": {"ttl": "1h"}}))
        .set("opaque.provider", "mock")
        .set("opaque.price", "0.03")
        .start()
        .await;
    deposit(&gate, "1").await;
    let docs = Request::post("/docs/v1/chat/completions", &chat_body()).bearer(&key_of("shop"));
    gate.send(&docs).await.ok();
    assert_eq!(gate.send(&docs).await.ok().header("x-tollgate-cache"), Some("hit"));
    let body = json!({"input": "x", "model": "omni-moderation-latest"});
    let opaque = Request::post("/v1/moderations", &body).bearer(&key_of("shop"));
    provider.next(Reply::json(200, &json!({"results": []})));
    gate.send(&opaque).await.ok();
    assert_eq!(balance(&gate).await, standing("1", "0.07", "0", "0.93"));
    let limited = json!({"overrides": {"budget": "0.08"}});
    gate.change("/admin/accounts/shop", &limited).await.ok();
    let message = chat(&gate).await.refused(429, "insufficient_quota")["message"].to_string();
    assert!(message.contains("budget of $0.08"), "{message}");
    assert_eq!(balance(&gate).await, standing("1", "0.07", "0", "0.93"));
    gate.change("/admin/accounts/shop", &json!({"overrides": null})).await.ok();
    assert_eq!(adjust(&gate, "withdrawal", "0.91").await.status(), 201);
    let refusals = [gate.send(&opaque).await, {
        chat(&gate).await.ok();
        gate.send(&docs).await
    }];
    refused(&refusals[0], "0.02");
    refused(&refusals[1], "0");
    assert_eq!(provider.calls().len(), 3);
}

/// Who becomes prepaid pays from the balance from the next request on, and what
/// was used before is on the invoice.
#[tokio::test]
async fn prepaid_is_switched_at_once_and_invoices_ask_for_the_rest() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider)
        .plan("shop", |plan| plan.set("monthly_price", 30))
        .plan("other", |plan| plan)
        .start()
        .await;
    let switch = async |prepaid: Value| {
        let change = json!({"overrides": {"prepaid": prepaid}});
        let account = gate.change("/admin/accounts/shop", &change).await.ok().json();
        assert_eq!(account["overrides"].get("prepaid").unwrap_or(&Value::Null), &prepaid);
    };
    assert_eq!(balance(&gate).await, Value::Null);
    for _ in 0..3 {
        chat(&gate).await.ok();
    }
    switch(json!(true)).await;
    assert_eq!(balance(&gate).await, standing("0", "0", "0", "0"));
    refused(&chat(&gate).await, "0");
    deposit(&gate, "0.1").await;
    for _ in 0..2 {
        chat(&gate).await.ok();
    }
    switch(json!(false)).await;
    chat(&gate).await.ok();
    switch(json!(true)).await;
    chat(&gate).await.ok();
    switch(Value::Null).await;
    chat(&gate).await.ok();
    assert_eq!(balance(&gate).await, standing("0.1", "0.06", "0", "0.04"));
    let gate = gate.restart().await;
    assert_eq!(balance(&gate).await, standing("0.1", "0.06", "0", "0.04"));

    // 5 of 8 requests, and the fee; nothing of deposits.
    let wanted = json!({"month": "2026-06", "account": "shop"});
    let draft = gate.tell("POST", "/admin/invoices", &wanted).await.json();
    let lines: Vec<_> = draft["lines"].as_array().unwrap().iter().collect();
    let total =
        |line: &Value| (line["service"].clone(), line["quantity"].clone(), line["total"].clone());
    assert_eq!(
        lines.iter().map(|line| total(line)).collect::<Vec<_>>(),
        [(json!("plan"), json!(1), json!("15.5")), (json!("ai_api"), json!(5), json!("0.1")),]
    );
    let sums = gate.admin("/admin/usage?by=account&account=shop").await.ok().json();
    assert_eq!(sums["data"][0]["revenue"], "0.16", "what was earned, however it was paid");
}

/// Who uses nothing but the balance owes nothing.
#[tokio::test]
async fn an_account_that_has_paid_everything_gets_no_invoice() {
    let provider = Provider::start().await;
    let gate = prepaid(&provider).start().await;
    deposit(&gate, "5").await;
    chat(&gate).await.ok();
    gate.send(&gate.chat_as("other")).await.ok();
    let all = gate.tell("POST", "/admin/invoices", &json!({"month": "2026-06"})).await.json();
    let accounts: Vec<_> =
        all["data"].as_array().unwrap().iter().map(|it| &it["account"]).collect();
    assert_eq!(accounts, ["other"]);
}

#[tokio::test]
async fn deposits_and_withdrawals_are_adjustments_that_say_so() {
    let provider = Provider::start().await;
    let gate = prepaid(&provider).plan("unused", Plan::included).start().await;
    let made = adjust(&gate, "deposit", "12.5").await;
    assert_eq!(made.status(), 201);
    let made = made.json();
    assert_eq!((&made["kind"], &made["amount"]), (&json!("deposit"), &json!("12.5")));
    assert_eq!(adjust(&gate, "withdrawal", "2.5").await.status(), 201);
    let debit = json!({"account": "shop", "amount": "3", "description": "setup"});
    let debit = gate.tell("POST", "/admin/adjustments", &debit).await.json();
    assert_eq!(debit["kind"], "invoice");
    assert_eq!(balance(&gate).await, standing("10", "0", "0", "10"));
    let state = async || (gate.admin("/admin/adjustments").await.ok().json(), balance(&gate).await);
    let before = state().await;
    let kinds: Vec<_> =
        before.0["data"].as_array().unwrap().iter().map(|one| one["kind"].clone()).collect();
    assert_eq!(kinds, ["deposit", "withdrawal", "invoice"]);
    let asked = |kind: &str, amount: &str, more: Value| {
        let mut body =
            json!({"account": "shop", "description": "x", "kind": kind, "amount": amount});
        more.as_object().into_iter().flatten().for_each(|(key, it)| body[key] = it.clone());
        body
    };
    for (body, status, code, param) in [
        (asked("deposit", "0", json!({})), 400, "invalid_value", "amount"),
        (asked("deposit", "-1", json!({})), 400, "invalid_value", "amount"),
        (asked("deposit", "0.001", json!({})), 400, "invalid_value", "amount"),
        (asked("withdrawal", "-1", json!({})), 400, "invalid_value", "amount"),
        (asked("withdrawal", "10.01", json!({})), 409, "conflict", ""),
        (asked("gift", "1", json!({})), 400, "invalid_value", "kind"),
        (asked("deposit", "1", json!({"month": "2026-06"})), 400, "invalid_value", "month"),
        (asked("deposit", "1", json!({"account": "nobody"})), 404, "not_found", ""),
        (asked("withdrawal", "1", json!({"account": "other"})), 409, "conflict", ""),
        (asked("withdrawal", "1", json!({"account": "nobody"})), 404, "not_found", ""),
    ] {
        let answer = gate.tell("POST", "/admin/adjustments", &body).await;
        let error = answer.refused(status, code);
        assert_eq!(error["param"].as_str().unwrap_or_default(), param, "{body}: {error}");
    }
    assert_eq!(state().await, before);
    for bad in [json!(1), json!("yes")] {
        let change = json!({"overrides": {"prepaid": bad}});
        let error =
            gate.change("/admin/accounts/shop", &change).await.refused(400, "invalid_value");
        assert_eq!(error["param"], "overrides.prepaid");
    }
}

#[tokio::test]
async fn the_command_makes_a_prepaid_account() {
    let provider = Provider::start().await;
    let gate = prepaid(&provider).spawn().await;
    let create = ["accounts", "create", "--id", "wallet", "--name", "Wallet", "--plan", "other"];
    let made = gate.command(&[&create[..], &["--override", "prepaid=true"]].concat()).await;
    assert!(made.status.success(), "{made:?}");
    let account = gate.admin("/admin/accounts/wallet").await.ok().json();
    assert_eq!(account["overrides"], json!({"prepaid": true}));
    assert_eq!(account["balance"], standing("0", "0", "0", "0"));
}

#[tokio::test]
async fn accounts_without_a_balance_are_as_they_were() {
    let provider = Provider::start().await;
    let gate = prepaid(&provider).start().await;
    gate.send(&gate.chat_as("other")).await.ok();
    let usage = Request::get("/v1/usage").bearer(&key_of("other"));
    assert_eq!(gate.send(&usage).await.ok().json()["balance"], Value::Null);
    let account = gate.admin("/admin/accounts/other").await.ok().json();
    assert_eq!(account.get("balance"), None);
    assert_eq!(gate.only_record().await.get("prepaid"), None);
    // A deposit for later is no reason to refuse anything, and is not used.
    let body = json!({"account": "other", "kind": "deposit", "amount": "1", "description": "x"});
    assert_eq!(gate.tell("POST", "/admin/adjustments", &body).await.status(), 201);
    for _ in 0..60 {
        gate.send(&gate.chat_as("other")).await.ok();
    }
    let account = gate.admin("/admin/accounts/other").await.ok().json();
    assert_eq!(account["balance"], standing("1", "0", "0", "1"));
}
