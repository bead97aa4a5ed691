//! The charging policy, one test a row over real sockets, and its table in the
//! manual. Covers A5, B1, B3, H1.

use serde_json::{Value, json};
use tollgate::base::money::Money;
use tollgate::meter::policy;

use crate::harness::client::Request;
use crate::harness::door::{Door, chat_body};
use crate::harness::gate::Gate;
use crate::harness::openai;
use crate::harness::provider::Provider;
use crate::harness::reply::Reply;
use crate::harness::setup::{DEFAULT_PLAN, Setup, Tollgate, key_of};

/// 8 × $0.15 + 4 × $0.075 + 7 × $0.60 per million.
const COST: &str = "0.0000057";

/// A gateway that gives up after the first attempt.
fn strict(provider: &Provider) -> Setup {
    Tollgate::before(provider).set("routing.retries", 0)
}

fn amount(record: &Value, field: &str) -> Money {
    record[field].as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{record}"))
}

/// That the record says: this outcome, charged once at this price, or not.
#[track_caller]
fn says(record: &Value, outcome: &str, price: Option<&str>) {
    assert_eq!(record["outcome"], outcome, "{record}");
    assert_eq!(record["quantity"], u64::from(price.is_some()), "{record}");
    assert_eq!(record["price"], price.unwrap_or("0"), "{record}");
}

/// The manual's table is the code's.
#[test]
fn the_manual_prints_the_policy() {
    let manual = std::fs::read_to_string("docs/BILLING.md").unwrap();
    let rows = policy::TABLE.iter().map(|row| {
        let outcome = row
            .outcome
            .map_or("–".to_owned(), |outcome| format!("`{}`", <&'static str>::from(outcome)));
        format!("| {} | {outcome} | {} | {} |\n", row.case, row.charged, row.cost)
    });
    let table = format!(
        "| what happens | outcome | charged | tokens and cost |\n|---|---|---|---|\n{}\n",
        rows.collect::<String>()
    );
    assert!(manual.contains(&table), "docs/BILLING.md does not have:\n{table}");
}

#[tokio::test]
async fn a_whole_answer_is_charged_at_the_providers_figures() {
    let provider = Provider::start().await;
    let gate = strict(&provider).start().await;
    for request in [gate.chat(), gate.stream()] {
        gate.send(&request).await.ok();
    }
    for record in gate.records().await {
        says(&record, "ok", Some("0.02"));
        assert_eq!((&record["cost"], &record["estimated"]), (&json!(COST), &json!(false)));
    }
}

#[tokio::test]
async fn a_provider_error_is_free_and_costs_nothing() {
    let provider = Provider::start().await;
    let gate = strict(&provider).start().await;
    // The first one is on a fresh connection, so it is not sent again.
    for reply in [Reply::close(), Reply::error(500, "theirs"), Reply::error(400, "theirs")] {
        provider.next(reply);
        assert!(gate.send(&gate.chat()).await.status() >= 400);
    }
    let records = gate.records().await;
    assert_eq!(records.len(), 3);
    for record in records {
        says(&record, "provider_error", None);
        assert_eq!((&record["cost"], &record["tokens"]["input"]), (&json!("0"), &json!(0)));
    }
}

#[tokio::test]
async fn a_client_gone_before_the_first_byte_is_free_and_the_prompt_costs() {
    let provider = Provider::start().await;
    let gate = strict(&provider).start().await;
    provider.next(Reply::hang());
    let connection = gate.open(&gate.chat()).await;
    provider.wait_for_calls(1).await;
    drop(connection);
    let record = gate.wait_for_records(1).await.remove(0);
    says(&record, "client_gone_early", None);
    assert!(record["tokens"]["input"].as_u64() > Some(0), "{record}");
    assert_eq!((&record["tokens"]["output"], &record["estimated"]), (&json!(0), &json!(true)));
    assert!(amount(&record, "cost") > Money::ZERO);
}

#[tokio::test]
async fn a_client_gone_after_the_first_byte_is_charged() {
    let provider = Provider::start().await;
    let gate = strict(&provider).start().await;
    let held = Gate::closed();
    let events = openai::chat_events("gpt-4o-mini", true);
    provider.next(Reply::stream().event(&events[0]).event(&events[1]).wait(&held));
    let mut connection = gate.open(&gate.stream()).await;
    connection.head().await;
    connection.event_data().await;
    connection.event_data().await;
    held.reached_by(1).await;
    connection.reset();
    let record = gate.wait_for_records(1).await.remove(0);
    says(&record, "client_gone_late", Some("0.02"));
    assert!(amount(&record, "cost") > Money::ZERO);
}

/// The record stands when the first byte leaves; what becomes of the rest
/// changes nothing.
#[tokio::test]
async fn a_client_gone_after_the_record_is_charged_for_the_whole() {
    let provider = Provider::start().await;
    let gate = strict(&provider).start().await;
    let mut answer = openai::chat(&chat_body());
    answer["padding"] = Value::from("x".repeat(16 << 20));
    provider.next(Reply::json(200, &answer));
    let mut connection = gate.open(&gate.chat()).await;
    assert_eq!(connection.head().await.status(), 200);
    says(&gate.only_record().await, "ok", Some("0.02"));
    connection.reset();
    // The next request shows that the gateway is past it.
    gate.send(&gate.chat().header("x-request-id", "next")).await.ok();
    let records = gate.records().await;
    assert_eq!(records.len(), 2);
    for record in records {
        says(&record, "ok", Some("0.02"));
        assert_eq!(record["cost"], COST);
    }
}

#[tokio::test]
async fn a_cut_answer_is_free_and_costs() {
    let provider = Provider::start().await;
    let gate = strict(&provider).start().await;
    let events = openai::chat_events("gpt-4o-mini", true);
    provider.next(Reply::events(&events).cut_after(events[0].len() + events[1].len() + 16));
    let mut connection = gate.open(&gate.stream()).await;
    connection.head().await;
    while let Ok(Some(_)) = connection.event().await {}
    let record = gate.wait_for_records(1).await.remove(0);
    says(&record, "cut", None);
    assert!(amount(&record, "cost") > Money::ZERO);
}

#[tokio::test]
async fn an_answer_without_usage_is_charged_and_its_tokens_counted() {
    let provider = Provider::start().await;
    let gate = strict(&provider).start().await;
    let mut answer = openai::chat(&chat_body());
    answer["usage"] = Value::Null;
    provider.next(Reply::json(200, &answer));
    gate.send(&gate.chat()).await.ok();
    let record = gate.only_record().await;
    says(&record, "ok", Some("0.02"));
    assert_eq!(record["estimated"], true);
    assert!(amount(&record, "cost") > Money::ZERO);
}

#[tokio::test]
async fn an_answer_from_the_cache_has_its_own_price_and_no_cost() {
    let provider = Provider::start().await;
    let cache = json!({"cache": {"ttl": "1h"}, "price_cached": "0.004"});
    let gate = strict(&provider).class("docs", "0.02", &cache).start().await;
    let request =
        Request::post("/docs/v1/chat/completions", &chat_body()).bearer(&key_of(DEFAULT_PLAN));
    let made = gate.send(&request.clone().header("x-request-id", "made")).await.ok();
    let given = gate.send(&request.header("x-request-id", "given")).await.ok();
    let price = |answer: &crate::harness::client::Answer| {
        answer.header("x-tollgate-price-usd").map(str::to_owned)
    };
    assert_eq!((price(&made).as_deref(), price(&given).as_deref()), (Some("0.02"), Some("0.004")));
    let record = gate.record_of("given").await;
    says(&record, "ok", Some("0.004"));
    assert_eq!((&record["cache"], &record["cost"]), (&json!("hit"), &json!("0")));
    assert_eq!((&record["unit_price"], &record["list_price"]), (&json!("0.004"), &json!("0.004")));
    assert_eq!(record["tokens"]["output"], openai::OUTPUT);
    says(&gate.record_of("made").await, "ok", Some("0.02"));
}

#[tokio::test]
async fn a_request_that_joins_a_call_is_charged_and_bears_a_share_of_the_cost() {
    let provider = Provider::start().await;
    let gate = strict(&provider).set("batching.coalesce", true).start().await;
    let held = Gate::closed();
    provider.next(Reply::json(200, &openai::chat(&chat_body())).after(&held));
    let mut first = gate.open(&gate.chat().header("x-request-id", "first")).await;
    provider.wait_for_calls(1).await;
    let mut second = gate.open(&gate.chat().header("x-request-id", "second")).await;
    gate.wait_for_metric("tollgate_inflight{scope=\"aboard\"}", 2).await;
    held.open();
    first.answer().await.ok();
    second.answer().await.ok();
    for (id, cache) in [("first", "bypass"), ("second", "coalesced")] {
        let record = gate.record_of(id).await;
        says(&record, "ok", Some("0.02"));
        assert_eq!((&record["cache"], &record["cost"]), (&json!(cache), &json!("0.00000285")));
        assert_eq!(record["tokens"]["output"], openai::OUTPUT);
    }
}

#[tokio::test]
async fn samples_made_in_one_call_are_charged_each_and_share_the_cost_of_the_prompt() {
    let provider = Provider::start().await;
    let gate = strict(&provider).provider("n_max", 2).start().await;
    let mut answer = openai::chat(&chat_body());
    let mut other = answer["choices"][0].clone();
    other["index"] = json!(1);
    answer["choices"].as_array_mut().unwrap().push(other);
    provider.next(Reply::json(200, &answer));
    let ask = |id| gate.chat().header("x-tollgate-samples", "distinct").header("x-request-id", id);
    let mut first = gate.open(&ask("first")).await;
    gate.wait_for_metric("tollgate_inflight{scope=\"window\"}", 1).await;
    let mut second = gate.open(&ask("second")).await;
    first.answer().await.ok();
    second.answer().await.ok();
    // Half of 8 × $0.15 + 4 × $0.075 per million, and 4 or 3 × $0.60.
    for (id, output, cost) in [("first", 4, "0.00000315"), ("second", 3, "0.00000255")] {
        let record = gate.record_of(id).await;
        says(&record, "ok", Some("0.02"));
        assert_eq!((&record["cache"], &record["cost"]), (&json!("batched"), &json!(cost)));
        let tokens = &record["tokens"];
        assert_eq!((&tokens["input"], &tokens["output"]), (&json!(12), &json!(output)));
    }
}

#[tokio::test]
async fn an_idempotent_repeat_is_free_and_the_first_bears_the_cost() {
    let provider = Provider::start().await;
    let gate = strict(&provider).start().await;
    let keyed = |id: &str| gate.chat().header("idempotency-key", "k").header("x-request-id", id);
    let held = Gate::closed();
    provider.next(Reply::json(200, &openai::chat(&chat_body())).after(&held));
    let mut first = gate.open(&keyed("first")).await;
    provider.wait_for_calls(1).await;
    let mut joined = gate.open(&keyed("joined")).await;
    gate.wait_for_metric("tollgate_inflight{scope=\"aboard\"}", 2).await;
    held.open();
    first.answer().await.ok();
    joined.answer().await.ok();
    gate.send(&keyed("stored")).await.ok();
    let paid = gate.record_of("first").await;
    says(&paid, "ok", Some("0.02"));
    assert_eq!((&paid["cost"], &paid["tokens"]["input"]), (&json!(COST), &json!(12)));
    for id in ["joined", "stored"] {
        let free = gate.record_of(id).await;
        says(&free, "ok", None);
        assert_eq!((&free["cost"], &free["tokens"]["input"]), (&json!("0"), &json!(0)));
    }
}

#[tokio::test]
async fn a_request_beyond_the_quota_is_charged_the_overage() {
    let provider = Provider::start().await;
    let own = json!({"cache": {"ttl": "1h"}, "price_cached": "0.004"});
    let gate = strict(&provider)
        .class("docs", "0.02", &own)
        .plan("small", |plan| plan.set("requests_per_month", 1).set("overage", "0.07"))
        .start()
        .await;
    let docs = Request::post("/docs/v1/chat/completions", &chat_body()).bearer(&key_of("small"));
    for id in ["within", "beyond"] {
        gate.send(&docs.clone().header("x-request-id", id)).await.ok();
    }
    says(&gate.record_of("within").await, "ok", Some("0.02"));
    let record = gate.record_of("beyond").await;
    says(&record, "ok", Some("0.07"));
    assert_eq!((&record["cache"], &record["list_price"]), (&json!("hit"), &json!("0.004")));
}

#[tokio::test]
async fn a_refused_request_has_no_record() {
    let provider = Provider::start().await;
    let gate = strict(&provider)
        .models(&json!([{"name": "gpt-4o-mini", "targets": [{"provider": "mock"}]}]))
        .plan("free", |plan| plan.set("requests_per_month", 2))
        .start()
        .await;
    let text = r#"{"model":"none","messages":[]}"#;
    let unknown = Request::post_text("/v1/chat/completions", text).bearer(&key_of("free"));
    gate.send(&unknown).await.refused(404, "model_not_found");
    gate.send(&gate.chat_as("free")).await.ok();
    let left = gate.send(&gate.chat_as("free")).await.ok();
    assert_eq!(left.number("x-tollgate-quota-remaining"), 0, "the refused one took no place");
    assert_eq!((gate.records().await.len(), provider.calls().len()), (2, 2));
}

#[tokio::test]
async fn a_retried_request_is_charged_once() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).set("routing.retries", 2).start().await;
    provider.next(Reply::error(503, "theirs"));
    gate.send(&gate.chat()).await.ok();
    let record = gate.only_record().await;
    says(&record, "ok", Some("0.02"));
    assert_eq!((&record["attempts"], &record["cost"]), (&json!(2), &json!(COST)));
}

#[tokio::test]
async fn a_request_that_fails_over_costs_what_the_other_target_charges() {
    let provider = Provider::start().await;
    let spare = Provider::start().await;
    let home = tempfile::tempdir().unwrap();
    let prices = home.path().join("prices.yaml");
    let listed = "models:\n  small: { input: 0.15, cached_input: 0.075, output: 0.60 }\n  \
                  large: { input: 1, cached_input: 1, output: 10 }\n";
    std::fs::write(&prices, listed).unwrap();
    let models = json!([{"name": "gpt-4o-mini", "targets": [
        {"provider": "mock", "model": "small"}, {"provider": "spare", "model": "large"},
    ]}]);
    let other = json!({"name": "spare", "dialect": "openai", "base_url": spare.url(),
                       "api_key": "sk-other"});
    let gate = Tollgate::before(&provider)
        .models(&models)
        .another_provider(other)
        .set("price_file", prices.display().to_string())
        .start()
        .await;
    provider.next(Reply::error(503, "theirs"));
    gate.send(&gate.chat().header("x-request-id", "over")).await.ok();
    gate.send(&gate.chat().header("x-request-id", "straight")).await.ok();
    let over = gate.record_of("over").await;
    says(&over, "ok", Some("0.02"));
    assert_eq!((&over["provider"], &over["attempts"]), (&json!("spare"), &json!(2)));
    // 12 × $1 + 7 × $10 per million.
    assert_eq!(over["cost"], "0.000082");
    assert_eq!(gate.record_of("straight").await["cost"], COST);
}

#[tokio::test]
async fn a_request_that_is_not_understood_has_a_price_of_its_own() {
    let provider = Provider::start().await;
    let gate =
        strict(&provider).set("opaque.provider", "mock").set("opaque.price", "0.001").start().await;
    provider.next(Reply::json(200, &json!({"id": "modr-1", "results": []})));
    let ask =
        Request::post("/v1/moderations", &json!({"input": "x"})).bearer(&key_of(DEFAULT_PLAN));
    gate.send(&ask).await.ok();
    let record = gate.only_record().await;
    says(&record, "ok", Some("0.001"));
    assert_eq!((&record["cost"], &record["tokens"]["input"]), (&json!("0"), &json!(0)));
}

#[tokio::test]
async fn a_call_that_a_crash_ends_is_free_and_its_cost_expected() {
    let provider = Provider::start().await;
    let gate = strict(&provider).spawn().await;
    provider.next(Reply::hang());
    let flying = gate.open(&lost_request(&gate)).await;
    provider.wait_for_calls(1).await;
    let gate = gate.kill_and_restart().await;
    drop(flying);
    let record = gate.record_of("lost").await;
    says(&record, "lost", None);
    assert_eq!((&record["status"], &record["estimated"]), (&json!(500), &json!(true)));
    assert!(amount(&record, "cost") > Money::ZERO);
}

fn lost_request(gate: &Door) -> Request {
    gate.chat().header("x-request-id", "lost")
}
