//! What the cache and sharing spare, as the ledger has it. Covers B3 and D5.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::client::Request;
use crate::harness::door::{Door, chat_body};
use crate::harness::gate::Gate;
use crate::harness::openai;
use crate::harness::provider::Provider;
use crate::harness::reply::Reply;
use crate::harness::setup::{DEFAULT_PLAN, Setup, Tollgate, key_of};

/// 8 × $0.15 + 4 × $0.075 + 7 × $0.60 per million, and its multiples.
const ONE: &str = "0.0000057";
const THREE: &str = "0.0000171";

fn setup(provider: &Provider) -> Setup {
    let docs = json!({"cache": {"ttl": "1m", "hit_rate_target": 0.6, "stale_if_error": "1m"}});
    Tollgate::before(provider)
        .set("batching.coalesce", true)
        .set("routing.retries", 0)
        .class("docs", "0.01", &docs)
        .class("plain", "0.01", &json!({}))
}

fn ask(class: &str) -> Request {
    Request::post(&format!("/{class}/v1/chat/completions"), &chat_body())
        .bearer(&key_of(DEFAULT_PLAN))
}

async fn rows(gate: &Door, query: &str) -> Vec<Value> {
    let list = gate.admin(&format!("/admin/reports/cache{query}")).await.ok().json();
    assert_eq!(list["next"], Value::Null);
    list["data"].as_array().unwrap().clone()
}

/// The row without its bytes.
fn row(rows: &[Value], class: &Value) -> Value {
    let mut row = rows.iter().find(|row| row["class"] == *class).unwrap().clone();
    row.as_object_mut().unwrap().remove("bytes");
    row
}

/// One call whose answer two of `class` share, both aboard before it comes.
async fn shared(provider: &Provider, gate: &Door, class: &str) {
    let held = Gate::closed();
    provider.next(Reply::json(200, &openai::chat(&chat_body())).after(&held));
    let mut one = gate.open(&ask(class)).await;
    let mut other = gate.open(&ask(class)).await;
    gate.wait_for_metric("tollgate_inflight{scope=\"aboard\"}", 2).await;
    held.open();
    one.answer().await.ok();
    other.answer().await.ok();
}

#[tokio::test]
async fn the_report_adds_up_what_was_spared_and_survives_a_restart() {
    let provider = Provider::start().await;
    let gate = setup(&provider).start().await;
    // A miss and one that joins it, two hits, one that stands in, one not looked up.
    shared(&provider, &gate, "docs").await;
    gate.send(&ask("docs")).await.ok();
    gate.send(&ask("docs")).await.ok();
    gate.clock().advance(Duration::from_secs(61));
    provider.next(Reply::error(503, "away"));
    gate.send(&ask("docs")).await.ok();
    gate.send(&ask("docs").header("cache-control", "no-store")).await.ok();
    // What is never kept is shared, and not looked up.
    shared(&provider, &gate, "plain").await;

    let two = "0.0000114";
    let docs = json!({
        "class": "docs", "lookups": 5, "hits": 2, "stale": 1, "coalesced": 1, "batched": 0,
        "hit_ratio": 0.4, "hit_ratio_target": 0.6,
        "saved": {"cache": two, "coalesce": ONE, "batch": "0"},
    });
    let plain = json!({
        "class": "plain", "lookups": 0, "hits": 0, "stale": 0, "coalesced": 1, "batched": 0,
        "hit_ratio": null, "hit_ratio_target": null,
        "saved": {"cache": "0", "coalesce": ONE, "batch": "0"},
    });
    let total = json!({
        "class": null, "lookups": 5, "hits": 2, "stale": 1, "coalesced": 2, "batched": 0,
        "hit_ratio": 0.4, "hit_ratio_target": null,
        "saved": {"cache": two, "coalesce": two, "batch": "0"},
    });
    let found = rows(&gate, "").await;
    assert_eq!(row(&found, &json!("docs")), docs);
    assert_eq!(row(&found, &json!("plain")), plain);
    assert_eq!(row(&found, &Value::Null), total);
    let bytes = |class: Value| {
        let row = found.iter().find(|row| row["class"] == class).unwrap();
        row["bytes"]["memory"].as_u64()
    };
    assert!(bytes(json!("docs")) > Some(0));
    assert_eq!((bytes(json!("plain")), bytes(Value::Null)), (None, bytes(json!("docs"))));
    assert_eq!(
        bytes(Value::Null),
        Some(gate.metric("tollgate_cache_bytes{tier=\"memory\"}").await)
    );

    // The metrics say the same.
    let metrics = gate.admin("/metrics").await.ok().text();
    for line in [
        "tollgate_cache_hit_ratio{class=\"docs\"} 0.4",
        "tollgate_cache_hit_ratio_target{class=\"docs\"} 0.6",
        "tollgate_cache_lookups_total{class=\"docs\",result=\"hit\"} 2",
        "tollgate_cache_lookups_total{class=\"docs\",result=\"miss\"} 3",
        "tollgate_saved_dollars_total{by=\"cache\"} 0.0000114",
        "tollgate_saved_dollars_total{by=\"batch\"} 0",
    ] {
        assert!(metrics.lines().any(|shown| shown == line), "no {line} in {metrics}");
    }
    let by_coalescing = "tollgate_saved_dollars_total{by=\"coalesce\"} ";
    let saved = metrics.lines().find_map(|line| line.strip_prefix(by_coalescing)).unwrap();
    assert!((saved.parse::<f64>().unwrap() - 0.000_011_4).abs() < 1e-12, "{saved}");
    assert!(!metrics.contains("tollgate_cache_hit_ratio{class=\"plain\"}"));

    // Once more from the index of a segment that is sealed.
    let gate = gate.restart_after(Duration::ZERO).await;
    let found = rows(&gate, "?from=2026-06-01&to=2026-07-01").await;
    assert_eq!(row(&found, &json!("docs")), docs);
    assert_eq!(row(&found, &Value::Null), total);
    gate.send(&ask("docs")).await.ok();
    gate.send(&ask("docs")).await.ok();
    let found = rows(&gate, "").await;
    assert_eq!(row(&found, &json!("docs"))["saved"]["cache"], THREE);
    assert_eq!(row(&found, &json!("docs"))["lookups"], 7);
    // Another period has nothing.
    let found = rows(&gate, "?to=2026-06-01").await;
    assert_eq!(row(&found, &Value::Null)["lookups"], 0);
    assert_eq!(gate.admin("/admin/reports/cache?form=2026-06-01").await.status(), 400);
    assert_eq!(gate.admin("/admin/reports/cache?from=x").await.status(), 400);
    let nobody = Request::get("/admin/reports/cache").send(gate.admin).await;
    assert_eq!(nobody.status(), 401);
}

#[tokio::test]
async fn the_command_prints_it() {
    let provider = Provider::start().await;
    let gate = setup(&provider).spawn().await;
    gate.send(&ask("docs")).await.ok();
    gate.send(&ask("docs")).await.ok();
    let printed = async |format: &str| {
        let output = gate.command(&["report", "cache", "--format", format]).await;
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let csv = printed("csv").await;
    let docs = csv.lines().find(|line| line.starts_with("docs,")).unwrap();
    assert!(docs.starts_with(&format!("docs,2,1,0,0,0,0.5,0.6,{ONE},0,0,")), "{docs}");
    assert!(csv.lines().last().unwrap().starts_with("total,2,1,"), "{csv}");
    let rows: Vec<Value> = serde_json::from_str(&printed("json").await).unwrap();
    assert_eq!(row(&rows, &json!("docs"))["saved"]["cache"], ONE);
    assert!(printed("table").await.lines().any(|line| line.starts_with("total")));
}
