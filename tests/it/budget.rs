//! What an account and its keys may spend in a month: hard, exact, and there again
//! after any end of the process. Covers A4 and A6.

use std::str::FromStr;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tollgate::base::money::Money;

use crate::harness::client::{Answer, Request};
use crate::harness::door::{Door, chat_body, stream_body};
use crate::harness::eventually::eventually;
use crate::harness::gate::Gate;
use crate::harness::openai;
use crate::harness::provider::Provider;
use crate::harness::reply::Reply;
use crate::harness::setup::{Setup, Tollgate, key_of};

const DAY: Duration = Duration::from_secs(86_400);

/// A request of the class `default` costs $0.02.
fn with_budget(provider: &Provider, budget: &str) -> Setup {
    Tollgate::before(provider)
        .plan("shop", |plan| plan.set("budget", budget).per_minute(1_000))
        .plan("free", |plan| plan.included().set("budget", "0.01"))
        .set("routing.retries", 0)
}

async fn chat(gate: &Door) -> Answer {
    gate.send(&gate.chat_as("shop")).await
}

async fn chat_with(gate: &Door, key: &str) -> Answer {
    gate.send(&Request::post("/v1/chat/completions", &chat_body()).bearer(key)).await
}

fn stream() -> Request {
    Request::post("/v1/chat/completions", &stream_body()).bearer(&key_of("shop"))
}

/// What the account has spent: dollars charged and reserved.
async fn spent(gate: &Door) -> (String, String) {
    let request = Request::get("/v1/usage").bearer(&key_of("shop"));
    let usage = gate.send(&request).await.ok().json();
    let amount = |name: &str| usage["spend"]["account"][name].as_str().unwrap().to_owned();
    (amount("charged"), amount("reserved"))
}

fn dollars(charged: &str, reserved: &str) -> (String, String) {
    (charged.to_owned(), reserved.to_owned())
}

#[track_caller]
fn refused(answer: &Answer, whose: &str) -> Value {
    let error = answer.refused(429, "insufficient_quota");
    assert_eq!(answer.header("x-should-retry"), Some("false"));
    assert_eq!(answer.header("retry-after"), None);
    let message = error["message"].as_str().unwrap_or_default();
    assert!(message.contains(&format!("The {whose}'s budget of $")), "{message}");
    error
}

#[tokio::test]
async fn of_60_at_once_against_a_budget_exactly_as_many_pass_as_fit() {
    let provider = Provider::start().await;
    let gate = with_budget(&provider, "0.15").start().await;
    let answers = join_all((0..60).map(|_| chat(&gate))).await;
    let passed = answers.iter().filter(|answer| answer.status() == 200).count();
    assert_eq!((passed, provider.calls().len()), (7, 7));
    for answer in answers.iter().filter(|answer| answer.status() != 200) {
        let message = refused(answer, "account")["message"].to_string();
        assert!(message.contains("$0.15 a month"), "{message}");
        assert!(message.contains("2026-07-01T00:00:00"), "{message}");
    }
    assert_eq!(gate.metric("tollgate_refused_total{layer=\"quota\",window=\"budget\"}").await, 53);
    assert_eq!(spent(&gate).await, dollars("0.14", "0"));
    // A refusal takes nothing of the windows either.
    let left = |answer: &Answer| answer.number("x-ratelimit-remaining-requests");
    let first = chat(&gate).await;
    assert_eq!((left(&first), left(&chat(&gate).await)), (993, 993));
    // What costs nothing is not refused.
    for _ in 0..3 {
        gate.send(&gate.chat_as("free")).await.ok();
    }
}

#[tokio::test]
async fn what_is_not_charged_gives_its_reservation_back() {
    let provider = Provider::start().await;
    let gate = with_budget(&provider, "0.04").start().await;
    for status in [500, 503, 400] {
        provider.next(Reply::error(status, "theirs"));
        assert_eq!(chat(&gate).await.status(), status);
    }
    let bad = Request::post_text("/v1/chat/completions", "{").bearer(&key_of("shop"));
    gate.send(&bad).await.refused(400, "invalid_json");
    // A stream holds what it may cost, from its order to its end.
    let held = Gate::closed();
    let events = || openai::chat_events("gpt-4o-mini", true);
    provider.next(Reply::gated_events(&held, events()));
    let mut running = gate.open(&stream()).await;
    running.head().await;
    assert_eq!(spent(&gate).await, dollars("0", "0.02"));
    // A second one that is cut, and a third whose client leaves early.
    provider.next(Reply::events(events()).cut_after(300));
    let mut cut = gate.open(&stream()).await;
    cut.head().await;
    cut.closed().await;
    gate.wait_for_records(4).await;
    let silent = Gate::closed();
    provider.next(Reply::json(200, &json!({"choices": []})).after(&silent));
    let leaving = gate.open(&gate.chat_as("shop")).await;
    silent.reached_by(1).await;
    refused(&chat(&gate).await, "account");
    drop(leaving);
    eventually("the reservation of the one that left", async || {
        (spent(&gate).await == dollars("0", "0.02")).then_some(())
    })
    .await;
    held.open();
    running.body().await;
    assert_eq!(spent(&gate).await, dollars("0.02", "0"));
    chat(&gate).await.ok();
    refused(&chat(&gate).await, "account");
    assert_eq!(spent(&gate).await, dollars("0.04", "0"));
}

#[tokio::test]
async fn a_key_has_a_budget_of_its_own_beside_its_accounts() {
    let provider = Provider::start().await;
    let gate = with_budget(&provider, "0.13").set("keys.0.budget", "0.05").start().await;
    let made = gate.tell("POST", "/admin/keys", &json!({"account": "shop", "budget": 0.02})).await;
    assert_eq!(made.status(), 201, "{}", made.text());
    let made = made.json();
    let second = made["key"].as_str().unwrap();
    let third = gate.tell("POST", "/admin/keys", &json!({"account": "shop"})).await.json();
    let third = third["key"].as_str().unwrap();
    let at_once = join_all((0..20).map(|_| chat(&gate))).await;
    assert_eq!(at_once.iter().filter(|answer| answer.status() == 200).count(), 2);
    let message = refused(&chat(&gate).await, "API key")["message"].to_string();
    assert!(message.contains("$0.05 a month"), "{message}");
    chat_with(&gate, second).await.ok();
    refused(&chat_with(&gate, second).await, "API key");
    // A key that takes its place begins anew; the account's budget holds for all.
    let rotate = format!("/admin/keys/{}/rotate", made["id"].as_str().unwrap());
    let new = gate.tell("POST", &rotate, &json!({"grace": "1h"})).await.json();
    let new = new["key"].as_str().unwrap();
    chat_with(&gate, new).await.ok();
    refused(&chat_with(&gate, new).await, "API key");
    for _ in 0..2 {
        chat_with(&gate, third).await.ok();
    }
    refused(&chat_with(&gate, third).await, "account");
    let usage = gate.send(&Request::get("/v1/usage").bearer(second)).await.ok().json();
    assert_eq!(usage["spend"]["account"]["charged"], "0.12");
    assert_eq!(usage["spend"]["key"]["charged"], "0.02");
}

#[tokio::test]
async fn a_budget_that_is_set_later_knows_what_was_spent() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).plan("shop", |plan| plan).start().await;
    for _ in 0..3 {
        chat(&gate).await.ok();
    }
    let own = |budget: &str| json!({"overrides": {"budget": budget}});
    gate.change("/admin/accounts/shop", &own("0.06")).await.ok();
    refused(&chat(&gate).await, "account");
    gate.change("/admin/accounts/shop", &own("0.08")).await.ok();
    chat(&gate).await.ok();
    refused(&chat(&gate).await, "account");
    let gate = gate.restart().await;
    refused(&chat(&gate).await, "account");
    gate.change("/admin/accounts/shop", &own("unlimited")).await.ok();
    chat(&gate).await.ok();
}

/// The zone's midnight, wherever that is.
#[tokio::test]
async fn budgets_begin_anew_at_the_edge_of_the_zones_month() {
    for (zone, hours) in [("Asia/Tokyo", -9_i64), ("America/New_York", 4)] {
        let provider = Provider::start().await;
        let gate = with_budget(&provider, "0.03").set("billing.timezone", zone).start().await;
        chat(&gate).await.ok();
        // From noon of 15 June, UTC, to a millisecond before July.
        let midnight = i64::try_from((DAY * 15 + DAY / 2).as_millis()).unwrap();
        let edge = midnight + hours * 3_600_000;
        gate.clock().advance(Duration::from_millis(u64::try_from(edge - 1).unwrap()));
        refused(&chat(&gate).await, "account");
        // A request of June that ends in July is June's.
        let gate_of_june = Gate::closed();
        gate.change("/admin/accounts/shop", &json!({"overrides": {"budget": "0.05"}})).await.ok();
        provider.next(Reply::json(200, &json!({"choices": []})).after(&gate_of_june));
        let mut late = gate.open(&gate.chat_as("shop")).await;
        gate_of_june.reached_by(1).await;
        gate.clock().advance(Duration::from_millis(1));
        assert_eq!(spent(&gate).await, dollars("0", "0"), "{zone}");
        gate_of_june.open();
        late.answer().await.ok();
        assert_eq!(spent(&gate).await, dollars("0", "0"), "{zone}");
        chat(&gate).await.ok();
        assert_eq!(spent(&gate).await, dollars("0.02", "0"), "{zone}");
    }
}

#[tokio::test]
async fn a_kill_keeps_what_the_journal_says() {
    let provider = Provider::start().await;
    let mut gate = with_budget(&provider, "0.13").set("keys.0.budget", "0.11").spawn().await;
    let key = json!({"account": "shop", "budget": "0.03"});
    let other = gate.tell("POST", "/admin/keys", &key).await.json()["key"].clone();
    let other = other.as_str().unwrap();
    chat_with(&gate, other).await.ok();
    for round in 1..4_usize {
        chat(&gate).await.ok();
        let held = Gate::closed();
        provider.next(Reply::json(200, &json!({"choices": []})).after(&held));
        let flying = gate.open(&gate.chat_as("shop")).await;
        held.reached_by(1).await;
        gate = gate.kill_and_restart().await;
        drop(flying);
        let cents = 2 * (round + 1);
        assert_eq!(spent(&gate).await, dollars(&format!("0.0{cents}"), "0"));
    }
    refused(&chat_with(&gate, other).await, "API key");
    let at_once = join_all((0..10).map(|_| chat(&gate))).await;
    assert_eq!(at_once.iter().filter(|answer| answer.status() == 200).count(), 2);
    refused(&chat(&gate).await, "account");
    let charged = |record: &Value| record["quantity"].as_u64().unwrap();
    let records = gate.records().await;
    assert_eq!(records.iter().map(charged).sum::<u64>(), 6);
    assert_eq!(spent(&gate).await, dollars("0.12", "0"));
}

/// Answers from the cache are charged like any others, and so are requests that
/// are passed on without being understood.
#[tokio::test]
async fn cached_and_opaque_requests_count_too() {
    let provider = Provider::start().await;
    let gate = with_budget(&provider, "0.07")
        .class("docs", "0.02", &json!({"cache": {"ttl": "1h"}}))
        .set("opaque.provider", "mock")
        .set("opaque.price", "0.03")
        .start()
        .await;
    let docs = Request::post("/docs/v1/chat/completions", &chat_body()).bearer(&key_of("shop"));
    gate.send(&docs).await.ok();
    assert_eq!(gate.send(&docs).await.ok().header("x-tollgate-cache"), Some("hit"));
    let body = json!({"input": "x", "model": "omni-moderation-latest"});
    let opaque = Request::post("/v1/moderations", &body).bearer(&key_of("shop"));
    provider.next(Reply::json(200, &json!({"results": []})));
    gate.send(&opaque).await.ok();
    assert_eq!(spent(&gate).await, dollars("0.07", "0"));
    refused(&gate.send(&opaque).await, "account");
    let hit = gate.send(&docs).await;
    refused(&hit, "account");
    assert_eq!(provider.calls().len(), 2);
}

/// A class sold by the token: $1,000 for a million of either kind.
fn by_the_token(provider: &Provider, budget: &str, more: &[(&str, u64)]) -> Setup {
    let mut keys = json!({"tokens_price": {"input": 1000, "cached_input": 1000, "output": 1000}});
    for (key, value) in more {
        keys[*key] = json!(value);
    }
    with_budget(provider, budget).class("docs", "0", &keys)
}

fn docs(plan: &str, body: &Value) -> Request {
    Request::post("/docs/v1/chat/completions", body).bearer(&key_of(plan))
}

#[tokio::test]
async fn answers_that_nothing_limits_are_limited_where_a_budget_pays_by_the_token() {
    let provider = Provider::start().await;
    let gate = by_the_token(&provider, "100", &[])
        .plan("none", |plan| plan)
        // The conversation below is nobody's.
        .set("opaque.ownership", "off")
        .start()
        .await;
    let mut limited = chat_body();
    limited["max_completion_tokens"] = json!(4096);
    gate.send(&docs("shop", &chat_body())).await.ok();
    assert_eq!(provider.calls().last().unwrap().json(), limited);
    let mut two = chat_body();
    two["n"] = json!(2);
    gate.send(&docs("shop", &two)).await.ok();
    assert_eq!(provider.calls().last().unwrap().json()["max_completion_tokens"], 2048);
    // A limit of the client's own, a price of the account's own, no budget.
    two["max_tokens"] = json!(9000);
    for (plan, body) in [("shop", &two), ("none", &chat_body())] {
        gate.send(&docs(plan, body)).await.ok();
        assert_eq!(&provider.calls().last().unwrap().json(), body, "{plan}");
    }
    // What an earlier answer has in it is not known here.
    let body = json!({"model": "gpt-4o-mini", "input": "x", "conversation": "conv_1"});
    let request = Request::post("/docs/v1/responses", &body).bearer(&key_of("shop"));
    let error = gate.send(&request).await.refused(400, "invalid_value");
    assert_eq!(error["param"], "previous_response_id");
    let own = json!({"overrides": {"prices": {"docs": "0.01"}}});
    gate.change("/admin/accounts/shop", &own).await.ok();
    gate.send(&docs("shop", &chat_body())).await.ok();
    assert_eq!(provider.calls().last().unwrap().json(), chat_body());
}

#[tokio::test]
async fn the_limit_of_a_class_comes_before_that_of_a_budget() {
    let provider = Provider::start().await;
    let gate = by_the_token(&provider, "100", &[("max_output_tokens", 9_000)]).start().await;
    gate.send(&docs("shop", &chat_body())).await.ok();
    assert_eq!(provider.calls().last().unwrap().json()["max_completion_tokens"], 9_000);
}

/// Some providers count more than can be foretold: pictures, documents, or what
/// they think of limits.
#[tokio::test]
async fn no_provider_can_count_more_than_a_budget_has() {
    let provider = Provider::start().await;
    let gate = by_the_token(&provider, "5", &[]).start().await;
    let mut answer = openai::chat(&chat_body());
    answer["usage"] = json!({"prompt_tokens": 70_000, "completion_tokens": 9_000});
    provider.next(Reply::json(200, &answer));
    let dear = gate.send(&docs("shop", &chat_body())).await.ok();
    let record = gate.only_record().await;
    // 4,096 tokens of answer, and one of prompt for each byte of the body.
    let most = Money::from_str("0.001").unwrap().times(4096 + record["bytes_in"].as_u64().unwrap());
    let most = most.to_string();
    assert_eq!(dear.header("x-tollgate-price-usd"), Some(&*most));
    assert_eq!((&record["price"], &record["list_price"]), (&json!(most), &json!("79")));
    assert_eq!(record["rates"], Value::Null);
    assert_eq!(spent(&gate).await, dollars(&most, "0"));
    refused(&gate.send(&docs("shop", &chat_body())).await, "account");
}

/// Whatever is asked at once, and whatever the answers have in them.
#[tokio::test]
async fn a_budget_that_pays_by_the_token_is_never_exceeded() {
    let provider = Provider::start().await;
    let gate = by_the_token(&provider, "3", &[("max_output_tokens", 200)]).start().await;
    let (mut passed, mut refusals) = (0, 0);
    for round in 0..12_u64 {
        let requests = (0..5_u64).map(|number| {
            let (input, output) = (round * 7 % 40 + 1, (round * 31 + number * 53) % 400);
            let usage = json!({"prompt_tokens": input, "completion_tokens": output});
            let mut body = if number % 2 == 0 { chat_body() } else { stream_body() };
            body["user"] = json!(format!("{round}-{number}"));
            if number % 2 == 0 {
                let mut answer = openai::chat(&body);
                answer["usage"] = usage;
                provider.next(Reply::json(200, &answer));
            }
            docs("shop", &body)
        });
        let requests: Vec<Request> = requests.collect();
        let answers = join_all(requests.iter().map(|request| gate.send(request))).await;
        for answer in &answers {
            match answer.status() {
                200 => passed += 1,
                429 => refusals += 1,
                other => panic!("{other}: {}", answer.text()),
            }
        }
        let (charged, reserved) = spent(&gate).await;
        assert!(charged.parse::<Money>().unwrap() <= "3".parse().unwrap(), "{charged}");
        assert_eq!(reserved, "0");
    }
    assert!(passed > 10 && refusals > 10, "{passed} passed, {refusals} refused");
    let price = |record: &Value| record["price"].as_str().unwrap().parse::<Money>().unwrap();
    let sum: Money = gate.records().await.iter().map(price).sum();
    assert_eq!(spent(&gate).await.0, sum.to_string());
}
