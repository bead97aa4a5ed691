//! Equal requests that run at once are one call. Covers B3, E1, invariants 2, 4
//! and 8.

use futures_util::future::join_all;
use serde_json::{Value, json};
use tollgate::base::money::Money;

use crate::harness::client::{Answer, Connection, Request};
use crate::harness::door::{Door, chat_body, stream_body};
use crate::harness::gate::Gate;
use crate::harness::openai;
use crate::harness::provider::Provider;
use crate::harness::reply::Reply;
use crate::harness::setup::{Setup, Tollgate, key_of};

const ABOARD: &str = "tollgate_inflight{scope=\"aboard\"}";
/// 8 × $0.15 + 4 × $0.075 + 7 × $0.60 per million.
const COST: &str = "0.0000057";

/// A class `docs` that is cached for an hour, and one that is not.
fn shared(provider: &Provider) -> Setup {
    Tollgate::before(provider)
        .set("batching.coalesce", true)
        .set("routing.retries", 0)
        .plan("shop", |plan| plan)
        .plan("other", |plan| plan)
        .class("docs", "0.01", &json!({"cache": {"ttl": "1h"}}))
}

fn ask(body: &Value) -> Request {
    Request::post("/docs/v1/chat/completions", body).bearer(&key_of("shop"))
}

/// Waits until `count` requests read answers.
async fn aboard(gate: &Door, count: usize) {
    gate.wait_for_metric(ABOARD, count as u64).await;
}

/// Opens `count` equal requests, all of which wait for one call.
async fn boarded(gate: &Door, request: &Request, count: usize) -> Vec<Connection> {
    let connections = join_all((0..count).map(|_| gate.open(request))).await;
    aboard(gate, count).await;
    connections
}

fn amount(record: &Value, field: &str) -> Money {
    record[field].as_str().unwrap().parse().unwrap()
}

/// That the costs of all records add up to `calls` times what a call costs.
async fn costs_of(gate: &Door, calls: u64, records: usize) -> Vec<Value> {
    let records = gate.wait_for_records(records).await;
    let cost: Money = records.iter().map(|record| amount(record, "cost")).sum();
    assert_eq!(cost, COST.parse::<Money>().unwrap().times(calls));
    records
}

fn results(answers: &[Answer]) -> (usize, usize) {
    let with = |result: &str| {
        let said = |answer: &&Answer| answer.header("x-tollgate-cache") == Some(result);
        answers.iter().filter(said).count()
    };
    (with("miss"), with("coalesced"))
}

#[tokio::test]
async fn of_500_equal_streams_one_is_a_call_and_all_have_its_bytes() {
    let provider = Provider::start().await;
    let gate = shared(&provider).start().await;
    let held = Gate::closed();
    let events = openai::chat_events("gpt-4o-mini", true);
    provider.next(Reply::events(&events).after(&held));
    let mut asking = stream_body();
    asking["stream_options"] = json!({"include_usage": true});
    let mut connections = boarded(&gate, &ask(&asking), 500).await;
    held.open();
    let answers = join_all(connections.iter_mut().map(Connection::answer)).await;
    assert_eq!(provider.calls().len(), 1);
    assert_eq!(results(&answers), (1, 499));
    let whole: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
    for answer in &answers {
        assert_eq!((answer.status(), answer.text()), (200, whole.clone()));
    }
    for record in costs_of(&gate, 1, 500).await {
        assert_eq!((&record["quantity"], &record["price"]), (&json!(1), &json!("0.01")));
        assert_eq!(record["tokens"]["output"], openai::OUTPUT);
    }
    aboard(&gate, 0).await;
    // The next one has it from the cache.
    let next = gate.send(&ask(&asking)).await.ok();
    assert_eq!((next.header("x-tollgate-cache"), next.text()), (Some("hit"), whole));
}

/// Who asks for usage and who does not, streams and whole answers.
#[tokio::test]
async fn each_has_the_form_that_it_asks_for() {
    let provider = Provider::start().await;
    let gate = shared(&provider).start().await;
    let held = Gate::closed();
    let with_usage = openai::chat_events("gpt-4o-mini", true);
    let without = openai::chat_events("gpt-4o-mini", false);
    provider.next(Reply::gated_events(&held, &with_usage));
    let mut plain = gate.open(&ask(&stream_body())).await;
    plain.head().await;
    let mut body = stream_body();
    body["stream_options"] = json!({"include_usage": true});
    let mut asked = gate.open(&ask(&body)).await;
    aboard(&gate, 2).await;
    // A whole answer is another call.
    provider.next(Reply::json(200, &openai::chat(&chat_body())).after(&held));
    let mut whole = gate.open(&ask(&chat_body())).await;
    provider.wait_for_calls(2).await;
    held.open();
    let text = |events: &[String]| -> String {
        events.iter().map(|event| format!("data: {event}\n\n")).collect()
    };
    assert_eq!(plain.body().await, text(&without));
    assert_eq!(asked.answer().await.ok().text(), text(&with_usage));
    assert_eq!(whole.answer().await.ok().json(), openai::chat(&chat_body()));
    costs_of(&gate, 2, 3).await;
}

/// The first one too, while the answer is half there.
#[tokio::test]
async fn any_may_leave_and_late_ones_have_it_from_the_beginning() {
    let provider = Provider::start().await;
    let gate = shared(&provider).start().await;
    let held = Gate::closed();
    let events = openai::chat_events("gpt-4o-mini", true);
    provider.next(Reply::gated_events(&held, &events));
    let mut first = gate.open(&ask(&stream_body())).await;
    provider.wait_for_calls(1).await;
    let request = ask(&stream_body());
    let mut connections = join_all((0..60).map(|_| gate.open(&request))).await;
    aboard(&gate, 61).await;
    held.release();
    held.release();
    first.head().await;
    first.event_data().await;
    first.event_data().await;
    for connection in &mut connections {
        connection.head().await;
        connection.event_data().await;
    }
    drop(first);
    connections.retain({
        let mut seen = 0;
        move |_| {
            seen += 1;
            seen % 2 == 0
        }
    });
    aboard(&gate, 30).await;
    let late = join_all((0..5).map(|_| gate.open(&request))).await;
    aboard(&gate, 35).await;
    held.open();
    let plain = openai::chat_events("gpt-4o-mini", false);
    let text = |from: usize| -> String {
        plain[from..].iter().map(|e| format!("data: {e}\n\n")).collect()
    };
    for mut connection in late {
        assert_eq!(connection.answer().await.ok().text(), text(0));
    }
    for mut connection in connections {
        assert_eq!(connection.body().await, text(1));
    }
    assert_eq!(provider.calls().len(), 1);
    let records = costs_of(&gate, 1, 66).await;
    let of = |outcome: &str| records.iter().filter(|record| record["outcome"] == outcome).count();
    assert_eq!((of("ok"), of("client_gone_late")), (35, 31));
    // They left what was being delivered as ordered.
    assert!(records.iter().all(|record| record["quantity"] == 1));
}

/// Also the one whose request the call is.
#[tokio::test]
async fn who_leaves_pays_for_what_was_there_by_then() {
    let provider = Provider::start().await;
    let tokens = json!({"tokens_price": {"input": 1, "cached_input": 1, "output": 100}});
    let gate = shared(&provider).class("tokens", "0", &tokens).start().await;
    let request = |id: &str| {
        Request::post("/tokens/v1/chat/completions", &stream_body())
            .bearer(&key_of("shop"))
            .header("x-request-id", id)
    };
    let held = Gate::closed();
    let mut answer = Reply::stream();
    for (place, event) in openai::chat_events("gpt-4o-mini", true).iter().enumerate() {
        answer = if place == 3 { answer.wait(&held).event(event) } else { answer.event(event) };
    }
    provider.next(answer);
    let mut first = gate.open(&request("first")).await;
    first.head().await;
    let mut second = gate.open(&request("second")).await;
    aboard(&gate, 2).await;
    for _ in 0..3 {
        first.event_data().await;
    }
    drop(first);
    aboard(&gate, 1).await;
    held.open();
    second.answer().await.ok();
    let (first, second) = (gate.record_of("first").await, gate.record_of("second").await);
    assert_eq!((&first["outcome"], &second["outcome"]), (&json!("client_gone_late"), &json!("ok")));
    let output = |record: &Value| record["tokens"]["output"].as_u64().unwrap();
    assert_eq!(output(&second), openai::OUTPUT);
    assert!((1..4).contains(&output(&first)), "{first}");
    assert!(amount(&first, "price") < amount(&second, "price"));
    let cost = amount(&first, "cost") + amount(&second, "cost");
    assert_eq!(cost, COST.parse::<Money>().unwrap());
}

#[tokio::test]
async fn when_all_have_left_the_call_ends() {
    let provider = Provider::start().await;
    let gate = shared(&provider).start().await;
    provider.next(Reply::hang());
    let connections = boarded(&gate, &ask(&stream_body()), 4).await;
    drop(connections);
    let records = gate.wait_for_records(4).await;
    assert!(records.iter().all(|record| record["outcome"] == "client_gone_early"), "{records:#?}");
    provider.wait_for_disconnect().await;
    // The next one is a call of its own.
    gate.send(&ask(&stream_body())).await.ok();
    assert_eq!(provider.calls().len(), 2);
}

#[tokio::test]
async fn a_class_can_have_it_finished_for_the_cache() {
    let provider = Provider::start().await;
    let finishing = json!({"cache": {"ttl": "1h", "finish": true}});
    let gate = shared(&provider).class("kept", "0.01", &finishing).start().await;
    let request =
        Request::post("/kept/v1/chat/completions", &stream_body()).bearer(&key_of("shop"));
    let held = Gate::closed();
    provider.next(Reply::gated_events(&held, openai::chat_events("gpt-4o-mini", true)));
    let connections = boarded(&gate, &request, 3).await;
    drop(connections);
    aboard(&gate, 0).await;
    held.open();
    // Joins the call, or has what it brought.
    gate.send(&request).await.ok();
    assert_eq!(gate.send(&request).await.ok().header("x-tollgate-cache"), Some("hit"));
    assert_eq!(provider.calls().len(), 1);
}

#[tokio::test]
async fn a_failure_before_the_first_byte_fails_over_once_for_all() {
    let provider = Provider::start().await;
    let gate = shared(&provider).set("routing.retries", 1).start().await;
    let held = Gate::closed();
    provider.next(Reply::error(503, "away").after(&held));
    let mut connections = boarded(&gate, &ask(&chat_body()), 20).await;
    held.open();
    let answers = join_all(connections.iter_mut().map(Connection::answer)).await;
    assert!(answers.iter().all(|answer| answer.status() == 200));
    assert_eq!(provider.calls().len(), 2);
    costs_of(&gate, 1, 20).await;
}

#[tokio::test]
async fn all_see_the_same_failure_and_nothing_is_kept() {
    let provider = Provider::start().await;
    let gate = shared(&provider).start().await;
    let held = Gate::closed();
    let events = openai::chat_events("gpt-4o-mini", true);
    let two = events[0].len() + events[1].len() + 16;
    provider.next(Reply::events(&events).cut_after(two).after(&held));
    let mut connections = boarded(&gate, &ask(&stream_body()), 20).await;
    held.open();
    for connection in &mut connections {
        assert_eq!(connection.head().await.status(), 200);
        let mut seen = Vec::new();
        while let Ok(Some(data)) = connection.event().await {
            seen.extend_from_slice(&data);
        }
        assert!(!String::from_utf8_lossy(&seen).contains("[DONE]"));
    }
    let records = gate.wait_for_records(20).await;
    assert!(records.iter().all(|record| record["outcome"] == "cut" && record["quantity"] == 0));
    provider.next(Reply::error(500, "theirs").after(&held));
    let again = gate.send(&ask(&stream_body())).await;
    assert_eq!((again.status(), provider.calls().len()), (500, 2));
    gate.send(&ask(&stream_body())).await.ok();
    assert_eq!(provider.calls().len(), 3);
}

#[tokio::test]
async fn nobody_joins_what_is_not_the_same() {
    let provider = Provider::start().await;
    let gate = shared(&provider)
        .class("alone", "0.01", &json!({"coalesce": false, "cache": {"ttl": "1h"}}))
        .start()
        .await;
    let held = Gate::closed();
    provider.answer({
        let held = held.clone();
        move |call| Reply::json(200, &openai::chat(&call.json())).after(&held)
    });
    let mut hotter = chat_body();
    hotter["temperature"] = json!(1.5);
    let mut invented = chat_body();
    invented["x_new"] = json!({"a": [1]});
    let as_other = |path: &str, plan: &str| Request::post(path, &chat_body()).bearer(&key_of(plan));
    let requests = [
        ask(&chat_body()),
        ask(&hotter),
        ask(&invented),
        as_other("/docs/v1/chat/completions", "other"),
        as_other("/v1/chat/completions", "shop"),
        ask(&chat_body()).header("cache-control", "no-store"),
        as_other("/alone/v1/chat/completions", "shop"),
        as_other("/alone/v1/chat/completions", "shop"),
        ask(&chat_body()).header("x-tollgate-samples", "distinct"),
    ];
    let mut connections = join_all(requests.iter().map(|request| gate.open(request))).await;
    provider.wait_for_calls(requests.len()).await;
    held.open();
    for connection in &mut connections {
        connection.answer().await.ok();
    }
    assert_eq!(provider.calls().len(), requests.len());
}

/// Passengers pay by the rules of their own: tiers, tokens, quota, overage.
#[tokio::test]
async fn each_pays_by_rule() {
    let provider = Provider::start().await;
    let tiers = json!({"tiers": [{"from": 0, "price": "0.03"}, {"from": 4, "price": "0.01"}]});
    let gate = shared(&provider)
        .class("tiers", "0", &tiers)
        .class("tokens", "0", &json!({"tokens_price": {"markup": 4}}))
        .plan("few", |plan| plan.set("requests_per_month", 6).set("overage", "0.05"))
        .start()
        .await;
    let held = Gate::closed();
    let next = || provider.next(Reply::json(200, &openai::chat(&chat_body())).after(&held));
    let priced = |records: &[Value], price: &str| {
        records.iter().filter(|record| record["price"] == price).count()
    };
    let on = |class: &str| {
        Request::post(&format!("/{class}/v1/chat/completions"), &chat_body()).bearer(&key_of("few"))
    };
    next();
    let mut riders = boarded(&gate, &on("tiers"), 9).await;
    held.release();
    join_all(riders.iter_mut().map(Connection::answer)).await;
    let records = costs_of(&gate, 1, 9).await;
    // Four at the first price, two at the second, and three beyond the quota.
    let counts = ["0.03", "0.01", "0.05"].map(|price| priced(&records, price));
    assert_eq!(counts, [4, 2, 3]);
    next();
    let on_tokens = Request::post("/tokens/v1/chat/completions", &chat_body());
    let mut riders = boarded(&gate, &on_tokens.bearer(&key_of("shop")), 5).await;
    held.release();
    let answers = join_all(riders.iter_mut().map(Connection::answer)).await;
    // Each pays for the tokens of the answer; the call is paid once.
    for answer in &answers {
        assert_eq!(answer.header("x-tollgate-price-usd"), Some("0.0000228"));
    }
    costs_of(&gate, 2, 14).await;
    let saved = gate.admin("/metrics").await.ok().text();
    let saved = saved.lines().find(|line| line.contains("by=\"coalesce\"")).unwrap();
    // 8 of 9 and 4 of 5 parts of a call.
    let dollars: f64 = saved.rsplit(' ').next().unwrap().parse().unwrap();
    assert!((dollars - 5.7e-6 * (8.0 + 4.0)).abs() < 1e-9, "{saved}");
}

/// Each reserves and pays of the budget; the refused ones are not aboard.
#[tokio::test]
async fn a_budget_holds_for_passengers() {
    let provider = Provider::start().await;
    let gate = shared(&provider).plan("poor", |plan| plan.set("budget", "0.05")).start().await;
    let held = Gate::closed();
    provider.next(Reply::json(200, &openai::chat(&chat_body())).after(&held));
    let request = Request::post("/docs/v1/chat/completions", &chat_body()).bearer(&key_of("poor"));
    let mut riders = boarded(&gate, &request, 5).await;
    gate.send(&request).await.refused(429, "insufficient_quota");
    held.open();
    for rider in &mut riders {
        rider.answer().await.ok();
    }
    gate.send(&request).await.refused(429, "insufficient_quota");
    costs_of(&gate, 1, 5).await;
}
