//! Who is next in the queue: priorities, waiting, turns of accounts. Covers A2, F3.

use std::time::Duration;

use serde_json::json;

use crate::harness::client::{Connection, Request};
use crate::harness::gate::Gate;
use crate::harness::gateway::Gateway;
use crate::harness::plan::Plan;
use crate::harness::provider::{Call, Provider};
use crate::harness::reply::Reply;
use crate::harness::setup::{Setup, Tollgate};

const DEPTH: &str = "tollgate_queue_depth";
const CALLS: &str = "tollgate_inflight{scope=\"provider\"}";
const REQUESTS: &str = "tollgate_inflight{scope=\"requests\"}";
const CONNECTIONS: &str = "tollgate_connections";
const DISPLACED: &str = "tollgate_refused_total{layer=\"global\",window=\"queue_displaced\"}";

/// The longest wait in the queue, beyond what any of this takes.
const LONGEST: Duration = Duration::from_secs(600);

fn with(feature: &'static str) -> impl Fn(Plan) -> Plan {
    move |plan| plan.set("features", json!(["basic_suggestions", feature]))
}

/// A gateway to `provider` with so many slots and places, and an account of each
/// priority: `low`, `high` and `top`.
fn slots(provider: &Provider, concurrent: u32, queue: u32) -> Setup {
    Tollgate::before(provider)
        .set("limits.global.concurrent", concurrent)
        .set("limits.global.queue", queue)
        .set("limits.global.queue_timeout", "10m")
        .set("routing.timeout", "10m")
        .plan("low", |plan| plan)
        .plan("high", with("priority_support"))
        .plan("top", with("dedicated_instances"))
}

/// Every answer waits at this gate before its head.
fn hold(provider: &Provider) -> Gate {
    let held = Gate::closed();
    let gate = held.clone();
    provider.answer(move |_| Reply::json(200, &json!({"choices": []})).after(&gate));
    held
}

/// A request of `plan`, whose prompt says whose it is.
async fn ask(gate: &Gateway, plan: &str) -> Connection {
    let body = json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": plan}]});
    let request = Request::post("/v1/chat/completions", &body).bearer(&gate.key(plan));
    gate.open(&request).await
}

/// The same, in the queue when this returns, where `depth` then wait.
async fn queue(gate: &Gateway, plan: &str, depth: u64) -> Connection {
    let client = ask(gate, plan).await;
    gate.wait_for_metric(DEPTH, depth).await;
    client
}

fn whose(call: &Call) -> String {
    let content =
        call.json().pointer("/messages/0/content").and_then(|it| Some(it.as_str()?.into()));
    content.unwrap_or_default()
}

/// Whose calls the provider has seen, after the first `skip`.
fn order(provider: &Provider, skip: usize) -> Vec<String> {
    provider.calls().iter().skip(skip).map(whose).collect()
}

/// Lets all through and reads every answer; then nothing is left.
async fn finish(gate: &Gateway, held: &Gate, clients: Vec<Connection>) {
    held.open();
    for mut client in clients {
        client.answer().await.ok();
    }
    nothing_is_left(gate).await;
}

async fn nothing_is_left(gate: &Gateway) {
    for series in [DEPTH, CALLS, REQUESTS, CONNECTIONS] {
        gate.wait_for_metric(series, 0).await;
    }
}

/// Nine hundred requests of one account wait; everybody else has a turn.
#[tokio::test]
async fn a_flood_delays_nobody_else() {
    const SINGLES: usize = 30;
    let provider = Provider::start().await;
    let held = hold(&provider);
    let singles: Vec<String> = (0..SINGLES).map(|number| format!("single-{number}")).collect();
    let setup = slots(&provider, 2, 1_000).plan("flood", |plan| plan);
    let setup = singles.iter().fold(setup, |setup, name| setup.plan(name, |plan| plan));
    let gate = setup.start().await;
    let mut clients = Vec::new();
    for _ in 0..902 {
        clients.push(ask(&gate, "flood").await);
    }
    held.reached_by(2).await;
    gate.wait_for_metric(DEPTH, 900).await;
    for (number, single) in (1..).zip(&singles) {
        clients.push(queue(&gate, single, 900 + number).await);
    }
    clients.push(queue(&gate, "high", 931).await);
    clients.push(queue(&gate, "top", 932).await);
    // So many grants as there are accounts, and each has had its turn.
    for number in 0..SINGLES + 3 {
        held.release();
        held.reached_by(number + 3).await;
    }
    let mut expected = vec!["top".to_owned(), "high".to_owned(), "flood".to_owned()];
    expected.extend(singles);
    assert_eq!(order(&provider, 2), expected);
    // Where they stood when they came: nobody, one of the flood and each single
    // before them, at most; all of its own for the flood.
    let position = |edge: &str, priority: &str| {
        format!("tollgate_queue_position_bucket{{priority=\"{priority}\",le=\"{edge}\"}}")
    };
    assert_eq!(gate.metric(&position("0", "dedicated")).await, 1);
    assert_eq!(gate.metric(&position("0", "preferred")).await, 1);
    let standard = gate.metric(&position("50", "standard")).await;
    assert_eq!(standard, 51 + SINGLES as u64, "the first 51 of the flood, and the singles");
    finish(&gate, &held, clients).await;
    assert_eq!(provider.calls().len(), 902 + SINGLES + 2);
}

#[tokio::test]
async fn who_has_waited_half_of_the_longest_wait_is_not_passed() {
    let provider = Provider::start().await;
    let held = hold(&provider);
    let gate = slots(&provider, 1, 10).start().await;
    let mut clients = vec![ask(&gate, "low").await];
    held.reached_by(1).await;
    clients.push(queue(&gate, "low", 1).await);
    clients.push(queue(&gate, "low", 2).await);
    // Both are old now.
    gate.clock().advance(LONGEST / 2);
    clients.push(queue(&gate, "high", 3).await);
    clients.push(queue(&gate, "top", 4).await);
    clients.push(queue(&gate, "top", 5).await);
    for number in 0..5 {
        held.release();
        held.reached_by(number + 2).await;
    }
    assert_eq!(order(&provider, 1), ["low", "top", "low", "top", "high"], "in turn, then the rest");
    finish(&gate, &held, clients).await;
}

#[tokio::test]
async fn a_full_queue_is_shared_too() {
    let provider = Provider::start().await;
    let held = hold(&provider);
    let gate = slots(&provider, 1, 3).plan("flood", |plan| plan).start().await;
    let mut running = ask(&gate, "flood").await;
    held.reached_by(1).await;
    let mut first = queue(&gate, "flood", 1).await;
    let mut second = queue(&gate, "flood", 2).await;
    let mut third = queue(&gate, "flood", 3).await;
    gate.send(&gate.chat_as("flood")).await.refused(503, "overloaded");
    // Another account's comes in, in the place of the flood's newest.
    let mut low = ask(&gate, "low").await;
    let displaced = third.answer().await;
    displaced.refused(503, "overloaded");
    assert!(displaced.number("retry-after") >= 1);
    gate.wait_for_metric(DISPLACED, 1).await;
    // It is not entitled to a second, but whoever is ahead of it is to one.
    let mut high = ask(&gate, "high").await;
    second.answer().await.refused(503, "overloaded");
    gate.wait_for_metric(DISPLACED, 2).await;
    gate.send(&gate.chat_as("low")).await.refused(503, "overloaded");
    gate.wait_for_metric(DEPTH, 3).await;
    held.open();
    for client in [&mut running, &mut first, &mut low, &mut high] {
        client.answer().await.ok();
    }
    assert_eq!(order(&provider, 1), ["high", "flood", "low"]);
    let records = gate.records().await;
    assert_eq!(records.len(), 4, "who is displaced consumes nothing");
    drop((running, first, second, third, low, high));
    nothing_is_left(&gate).await;
}

/// A waiting request of each priority leaves, by FIN and by RST.
#[tokio::test]
async fn who_leaves_is_not_in_the_way() {
    let provider = Provider::start().await;
    let held = hold(&provider);
    let gate = slots(&provider, 1, 100).start().await;
    let mut clients = vec![ask(&gate, "low").await];
    held.reached_by(1).await;
    let mut leaving = Vec::new();
    for number in 0..10 {
        for plan in ["low", "high", "top"] {
            let depth = (clients.len() + leaving.len()) as u64;
            let client = queue(&gate, plan, depth).await;
            if number == 5 { clients.push(client) } else { leaving.push(client) }
        }
        gate.clock().advance(LONGEST / 10);
    }
    for (nth, client) in leaving.into_iter().enumerate() {
        if nth % 2 == 0 { client.reset() } else { drop(client) }
    }
    gate.wait_for_metric(DEPTH, 3).await;
    finish(&gate, &held, clients).await;
    assert_eq!(provider.calls().len(), 4);
    let mut rest = order(&provider, 1);
    rest.sort();
    assert_eq!(rest, ["high", "low", "top"]);
}

/// Covers F3: what `retry-after` says is how long calls have taken, for so many as
/// are ahead.
#[tokio::test]
async fn retry_after_is_what_calls_have_taken() {
    let provider = Provider::start().await;
    let gate = slots(&provider, 1, 1).start().await;
    let held = hold(&provider);
    let mut first = ask(&gate, "low").await;
    held.reached_by(1).await;
    gate.clock().advance(Duration::from_secs(8));
    held.release();
    first.answer().await.ok();
    gate.wait_for_metric(CALLS, 0).await;
    let mut second = ask(&gate, "low").await;
    held.reached_by(2).await;
    let third = queue(&gate, "low", 1).await;
    let refused = gate.send(&gate.chat_as("low")).await;
    refused.refused(503, "overloaded");
    assert_eq!(refused.number("retry-after"), 16, "one is ahead, of 8 s each");
    // Nothing has moved for long: the past is no guide any more.
    gate.clock().advance(Duration::from_secs(40));
    assert_eq!(gate.send(&gate.chat_as("low")).await.number("retry-after"), 40);
    gate.clock().advance(Duration::from_secs(400));
    assert_eq!(gate.send(&gate.chat_as("low")).await.number("retry-after"), 60);
    held.open();
    second.answer().await.ok();
    drop((first, second, third));
    nothing_is_left(&gate).await;
}

/// The same where all requests are counted, and those of one account.
#[tokio::test]
async fn retry_after_of_requests_at_once_is_what_requests_have_taken() {
    let provider = Provider::start().await;
    let gate = slots(&provider, 9, 1)
        .set("limits.global.requests", 2)
        .plan("one", |plan| plan.concurrent(1))
        .start()
        .await;
    let held = hold(&provider);
    let mut first = ask(&gate, "one").await;
    held.reached_by(1).await;
    gate.clock().advance(Duration::from_secs(12));
    held.release();
    first.answer().await.ok();
    gate.wait_for_metric(REQUESTS, 0).await;
    let mut running = vec![ask(&gate, "one").await];
    held.reached_by(2).await;
    let refused = gate.send(&gate.chat_as("one")).await;
    refused.refused(429, "concurrency_limit_exceeded");
    assert_eq!(refused.number("retry-after"), 12, "12 s, of one");
    running.push(ask(&gate, "low").await);
    held.reached_by(3).await;
    let refused = gate.send(&gate.chat_as("low")).await;
    refused.refused(503, "overloaded");
    assert_eq!(refused.number("retry-after"), 6, "12 s, of two");
    drop(first);
    finish(&gate, &held, running).await;
}
