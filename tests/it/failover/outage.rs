//! Ten minutes of failures, on the test's clock: what providers are sent is bounded,
//! and the end of it is noticed at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;

use super::{in_order, state, two, way};
use crate::harness::client::Answer;
use crate::harness::gateway::Gateway;
use crate::harness::openai;
use crate::harness::provider::Provider;
use crate::harness::reply::Reply;
use crate::harness::setup::Tollgate;

/// Seconds that it lasts.
const SECONDS: usize = 600;
/// Requests in each of them.
const RATE: usize = 6;
/// What is offered meanwhile.
const OFFERED: usize = SECONDS * RATE;

/// Sends what is offered in one second, and lets the second pass.
async fn second(gate: &Gateway) -> Vec<Answer> {
    let answers = join_all((0..RATE).map(async |_| gate.send(&gate.chat()).await)).await;
    gate.clock().advance(Duration::from_secs(1));
    answers
}

#[tokio::test]
async fn an_outage_of_the_only_provider_is_not_made_worse() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).start().await;
    for _ in 0..10 {
        second(&gate).await;
    }
    let before = provider.calls().len();
    provider.answer(|_| Reply::error(503, "theirs"));
    for _ in 0..SECONDS {
        assert!(second(&gate).await.iter().all(|answer| answer.status() == 503));
    }
    let calls = provider.calls().len() - before;
    println!("outage of the only provider: {calls} calls for {OFFERED} requests");
    assert!((OFFERED..=OFFERED * 12 / 10).contains(&calls), "{calls}");
    provider.answer(openai::answer);
    gate.clock().advance(Duration::from_secs(15));
    gate.send(&gate.chat()).await.ok();
    assert_eq!(state(&gate, "mock").await["health"]["breaker"], "closed", "after one call");
}

#[tokio::test]
async fn an_outage_of_the_first_provider_is_felt_by_nobody() {
    let (first, second_one) = (Provider::start().await, Provider::start().await);
    let gate = two(&first, &second_one, &in_order()).start().await;
    for _ in 0..10 {
        second(&gate).await;
    }
    let before = first.calls().len();
    first.answer(|_| Reply::reset());
    for _ in 0..SECONDS {
        for answer in second(&gate).await {
            answer.ok();
        }
    }
    let at_first = first.calls().len() - before;
    let calls = at_first + second_one.calls().len();
    println!("outage of the first of two: {calls} calls for {OFFERED} requests, {at_first} at it");
    assert!(calls <= OFFERED * 12 / 10, "{calls}");
    // Those that opened the breaker, what ran then, and a trial each 15 s.
    assert!(at_first <= 10 + RATE + SECONDS / 15 + 1, "{at_first}");
    first.answer(openai::answer);
    gate.clock().advance(Duration::from_secs(15));
    assert_eq!(way(&gate.send(&gate.chat()).await.ok()), "mock;exact", "the trial");
    for answer in second(&gate).await {
        assert_eq!(way(&answer.ok()), "mock;exact");
    }
}

/// Two calls of five fail: too few to open the breaker, so that the budget alone
/// bounds what is tried again.
#[tokio::test]
async fn retries_stay_within_their_budget() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).set("routing.retries", 5).start().await;
    let (failing, number) = (Arc::new(AtomicBool::new(true)), AtomicUsize::new(0));
    let fails = failing.clone();
    provider.answer(move |call| {
        let failed = number.fetch_add(1, Ordering::SeqCst) % 5 < 2;
        match failed && fails.load(Ordering::SeqCst) {
            true => Reply::error(500, "theirs"),
            false => openai::answer(call),
        }
    });
    let mut failed = 0;
    for _ in 0..SECONDS {
        failed += second(&gate).await.iter().filter(|answer| answer.status() == 500).count();
    }
    assert_eq!(state(&gate, "mock").await["health"]["breaker"], "closed");
    let calls = provider.calls().len();
    println!("two of five fail: {calls} calls for {OFFERED} requests, {failed} fail in the end");
    assert!((OFFERED * 115 / 100..=OFFERED * 12 / 10).contains(&calls), "{calls}");
    assert_eq!(gate.metric("tollgate_retries_total").await, (calls - OFFERED) as u64);
    assert!(gate.metric("tollgate_retries_withheld_total").await > 0);
    // Afterwards there is a budget again.
    failing.store(false, Ordering::SeqCst);
    second(&gate).await;
    gate.clock().advance(Duration::from_secs(10));
    provider.next(Reply::error(500, "theirs"));
    gate.send(&gate.chat()).await.ok();
}
