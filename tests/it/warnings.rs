//! 80 and 100 percent of a month's limits: said in a header, counted once.
//! Covers A4.

use serde_json::json;

use crate::harness::client::{Answer, Request};
use crate::harness::door::{Door, stream_body};
use crate::harness::provider::Provider;
use crate::harness::reply::Reply;
use crate::harness::setup::{Tollgate, key_of};

const WARNING: &str = "x-tollgate-warning";

async fn chat(gate: &Door) -> Answer {
    gate.send(&gate.chat_as("shop")).await
}

async fn told(gate: &Door, kind: &str) -> [u64; 2] {
    let series = |threshold: &str| {
        format!("tollgate_quota_warnings_total{{kind=\"{kind}\",threshold=\"{threshold}\"}}")
    };
    [gate.metric(&series("80")).await, gate.metric(&series("100")).await]
}

#[tokio::test]
async fn the_header_says_which_limits_run_out_and_the_metric_counts_once() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider)
        .plan("shop", |plan| plan.set("requests_per_month", 6).set("budget", "0.10"))
        .set("keys.0.budget", "0.08")
        .set("routing.retries", 0)
        .start()
        .await;
    // Each costs $0.02. Of 6 requests 80 % is 4.8, of $0.10 and $0.08 it is 4 and
    // 3.2 requests.
    for _ in 0..3 {
        assert_eq!(chat(&gate).await.ok().header(WARNING), None);
    }
    provider.next(Reply::error(500, "theirs"));
    assert_eq!(chat(&gate).await.header(WARNING), None);
    assert_eq!(chat(&gate).await.ok().header(WARNING), Some("budget=80, key_budget=100"));
    assert_eq!([told(&gate, "budget").await, told(&gate, "key_budget").await], [[1, 0], [1, 1]]);
    // The key's budget is used up: every answer says so, whatever it is.
    let refused = chat(&gate).await;
    refused.refused(429, "insufficient_quota");
    assert_eq!(refused.header(WARNING), Some("budget=80, key_budget=100"));
    let models = Request::get("/v1/models").bearer(&key_of("shop"));
    assert_eq!(gate.send(&models).await.header(WARNING), Some("budget=80, key_budget=100"));
    let key = gate.tell("POST", "/admin/keys", &json!({"account": "shop"})).await.json();
    let stream =
        Request::post("/v1/chat/completions", &stream_body()).bearer(key["key"].as_str().unwrap());
    // A stream's head is sent before it is charged.
    assert_eq!(gate.send(&stream).await.ok().header(WARNING), Some("budget=80"));
    assert_eq!(gate.send(&stream).await.header(WARNING), Some("quota=80, budget=100"));
    assert_eq!([told(&gate, "quota").await, told(&gate, "budget").await], [[1, 0], [1, 1]]);
    // Nothing of it is told again by a restart.
    let gate = gate.restart().await;
    assert_eq!(chat(&gate).await.header(WARNING), Some("quota=80, budget=100, key_budget=100"));
    for kind in ["quota", "budget", "key_budget"] {
        assert_eq!(told(&gate, kind).await, [0, 0], "{kind}");
    }
    let more = json!({"overrides": {"budget": "1"}});
    gate.change("/admin/accounts/shop", &more).await.ok();
    assert_eq!(gate.send(&stream).await.ok().header(WARNING), Some("quota=80"));
    assert_eq!(told(&gate, "quota").await, [0, 1]);
}

#[tokio::test]
async fn an_account_without_limits_is_never_warned() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).plan("shop", |plan| plan).start().await;
    for _ in 0..3 {
        assert_eq!(chat(&gate).await.ok().header(WARNING), None);
    }
    assert_eq!(told(&gate, "quota").await, [0, 0]);
}
