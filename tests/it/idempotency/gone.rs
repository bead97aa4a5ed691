//! Clients that leave while the first of their key cannot be joined.

use serde_json::json;

use super::{REQUESTS, is_recorded, keyed};
use crate::harness::client::Request;
use crate::harness::door::stream_body;
use crate::harness::eventually::eventually;
use crate::harness::gate::Gate;
use crate::harness::plan::Plan;
use crate::harness::provider::Provider;
use crate::harness::reply::Reply;
use crate::harness::setup::{DEFAULT_PLAN, Tollgate, key_of};

/// Pieces of an answer of which more is under way than is held for who comes late.
const PIECES: usize = 10;

#[tokio::test]
async fn who_leaves_before_the_first_has_ended_is_gone_and_not_refused() {
    let provider = Provider::start().await;
    let two_at_once = |plan: Plan| plan.concurrent(2);
    let gate = Tollgate::before(&provider).plan(DEFAULT_PLAN, two_at_once).start().await;
    let held = Gate::closed();
    let piece = json!({"choices": [], "pad": "x".repeat(512 * 1024)}).to_string();
    let long = (0..PIECES).fold(Reply::stream(), |reply, _| reply.event(&piece));
    provider.next(long.wait(&held).event("[DONE]"));
    let mut first = gate.open(&keyed("k", "a", &stream_body())).await;
    first.head().await;
    for _ in 0..PIECES {
        assert_eq!(first.event_data().await, piece);
    }
    // It cannot be joined any more, so this one waits for its end.
    let second = gate.open(&keyed("k", "b", &stream_body())).await;
    let models = Request::get("/v1/models").bearer(&key_of(DEFAULT_PLAN));
    eventually("the second to be admitted", async || {
        (gate.send(&models).await.status() == 429).then_some(())
    })
    .await;
    drop(second);
    let gone = is_recorded(&gate, "b", "client_gone_early", 0, "bypass").await;
    let figures = (&gone["attempts"], &gone["cost"], &gone["status"]);
    assert_eq!(figures, (&json!(0), &json!("0"), &json!(499)), "{gone}");
    gate.wait_for_metric(REQUESTS, 1).await;
    // Nothing was answered to nobody.
    let bad = "tollgate_requests_total{class=\"default\",model=\"gpt-4o-mini\",provider=\"mock\",\
               plan=\"tester\",code=\"400\",cache=\"bypass\"}";
    assert_eq!(gate.metric(bad).await, 0);
    held.open();
    assert_eq!(first.event_data().await, "[DONE]");
    provider.only_call();
}
