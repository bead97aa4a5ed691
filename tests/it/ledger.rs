//! One usage record per admitted request, there before the client has the last
//! byte, exact to the last unit. Covers B1, B2, H1 and invariant 1.

use futures_util::future::join_all;
use serde_json::{Value, json};
use tollgate::base::money::Money;

use crate::harness::client::Request;
use crate::harness::door::chat_body;
use crate::harness::openai;
use crate::harness::provider::Provider;
use crate::harness::reply::Reply;
use crate::harness::setup::{DEFAULT_PLAN, Tollgate, key_of};

fn money(amount: &Value) -> Money {
    amount.as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{amount}"))
}

#[tokio::test]
async fn a_record_says_everything() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).start().await;
    let mut body = chat_body();
    body["metadata"] = json!({"team": "blue", "n": 7});
    let request = Request::post("/v1/chat/completions", &body)
        .bearer(&key_of(DEFAULT_PLAN))
        .header("x-request-id", "request-1");
    let answer = gate.send(&request).await.ok();
    let record = gate.only_record().await;
    // 12 prompt tokens, of which 4 were cached, and 7 answer tokens:
    // 8 × $0.15 + 4 × $0.075 + 7 × $0.60 per million.
    let expected = json!({
        "request_id": "request-1", "account": DEFAULT_PLAN, "plan": DEFAULT_PLAN,
        "service": "ai_api", "endpoint": "default", "path": "/v1/chat/completions",
        "model_asked": "gpt-4o-mini", "model_used": "gpt-4o-mini", "provider": "mock",
        "tier": "simple", "status": 200, "outcome": "ok", "cache": "bypass",
        "similarity": null, "stream": false, "attempts": 1, "quantity": 1,
        "unit_price": "0.02", "list_price": "0.02", "price": "0.02", "cost": "0.0000057",
        "unpriced": false, "estimated": false,
        "tokens": {"input": 12, "cached_input": 4, "output": 7, "reasoning": 2},
        "bytes_in": body.to_string().len(), "bytes_out": answer.body.len(),
        "cache_key": null, "complexity": null, "metadata": {"team": "blue", "n": 7},
    });
    for (field, value) in expected.as_object().into_iter().flatten() {
        assert_eq!(record.get(field), Some(value), "{field}");
    }
    let text = record.to_string();
    assert!(!text.contains(&key_of(DEFAULT_PLAN)), "the key is in the record");
    assert!(!text.contains("Say hello"), "the prompt is in the record");
    assert!(!text.contains(openai::TEXT), "the answer is in the record");
    assert!(record["key_id"].as_str().is_some_and(|id| !id.is_empty()));
    assert!(record["time"].as_str().is_some_and(|time| time.starts_with("2026-06-15T12:00:00")));
    assert!(record["id"].as_str().is_some_and(|id| id.len() == 36), "{record}");
    assert!(record["duration_ms"].is_u64() && record["first_byte_ms"].is_u64(), "{record}");
}

#[tokio::test]
async fn the_class_sets_the_price_and_the_plan_who_pays_it() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider)
        .plan("metered", |plan| plan)
        .plan("included", |plan| plan.included())
        .class("docs", "0.0125", &json!({"feature": "basic_suggestions"}))
        .start()
        .await;
    let request = Request::post("/docs/v1/chat/completions", &chat_body());
    gate.send(&request.clone().bearer(&key_of("metered"))).await.ok();
    gate.send(&request.bearer(&key_of("included"))).await.ok();
    let records = gate.records().await;
    let of = |plan: &str| records.iter().find(|record| record["plan"] == plan).unwrap();
    let figures = |record: &Value| {
        ["list_price", "unit_price", "price", "cost"].map(|field| money(&record[field]).to_string())
    };
    assert_eq!(figures(of("metered")), ["0.0125", "0.0125", "0.0125", "0.0000057"]);
    assert_eq!(figures(of("included")), ["0.0125", "0", "0", "0.0000057"]);
    for record in &records {
        assert_eq!((&record["endpoint"], &record["quantity"]), (&json!("docs"), &json!(1)));
    }
}

#[tokio::test]
async fn a_model_without_a_price_is_flagged() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).start().await;
    gate.send(&gate.chat_text(r#"{"model":"new-model","messages":[]}"#)).await.ok();
    let record = gate.only_record().await;
    assert_eq!((&record["unpriced"], &record["cost"]), (&json!(true), &json!("0")));
    assert_eq!((&record["model_asked"], &record["tier"]), (&json!("new-model"), &json!("expert")));
    assert_eq!(record["price"], "0.02");
}

#[tokio::test]
async fn usage_that_is_not_reported_is_counted_and_flagged() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).start().await;
    let mut answer = openai::chat(&chat_body());
    if let Some(answer) = answer.as_object_mut() {
        answer.remove("usage");
    }
    provider.next(Reply::json(200, &answer));
    gate.send(&gate.chat()).await.ok();
    let record = gate.only_record().await;
    assert_eq!(record["estimated"], true);
    let tokens = |kind: &str| record["tokens"][kind].as_u64().unwrap_or_default();
    assert!((3..30).contains(&tokens("input")), "{record}");
    assert!((5..20).contains(&tokens("output")), "{record}");
    assert!(money(&record["cost"]) > Money::ZERO);
}

#[tokio::test]
async fn embeddings_and_completions_are_recorded_under_their_paths() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).start().await;
    let key = key_of(DEFAULT_PLAN);
    let embed = json!({"model": "gpt-4o-mini", "input": ["a", "b"]});
    gate.send(&Request::post("/v1/embeddings", &embed).bearer(&key)).await.ok();
    let complete = json!({"model": "gpt-4o-mini", "prompt": "Once"});
    gate.send(&Request::post("/v1/completions", &complete).bearer(&key)).await.ok();
    let records = gate.records().await;
    let of = |path: &str| records.iter().find(|record| record["path"] == path).unwrap().clone();
    let embedded = of("/v1/embeddings");
    assert_eq!(embedded["tokens"]["input"], openai::INPUT);
    assert_eq!(embedded["tokens"]["output"], 0);
    assert_eq!(embedded["cost"], "0.0000018");
    assert_eq!(of("/v1/completions")["tokens"]["output"], openai::OUTPUT);
}

#[tokio::test]
async fn concurrent_requests_have_a_record_each_and_sums_agree() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).start().await;
    let requests = (0..60).map(|number| {
        let request = if number % 2 == 0 { gate.chat() } else { gate.stream() };
        request.header("x-request-id", &format!("number-{number}"))
    });
    let requests: Vec<Request> = requests.collect();
    for answer in join_all(requests.iter().map(|request| gate.send(request))).await {
        answer.ok();
    }
    let records = gate.records().await;
    let mut ids: Vec<_> = records.iter().map(|record| record["request_id"].as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((records.len(), ids.len()), (60, 60));
    let cost: Money = records.iter().map(|record| money(&record["cost"])).sum();
    assert_eq!(cost.to_string(), "0.000342");
    let sums = gate.admin("/admin/usage?by=account").await.ok().json();
    let row = &sums["data"][0];
    assert_eq!((&row["by"], &row["requests"]), (&json!(DEFAULT_PLAN), &json!(60)));
    assert_eq!((&row["revenue"], &row["cost"]), (&json!("1.2"), &json!("0.000342")));
    assert_eq!(row["margin"], "1.199658");
}

#[tokio::test]
async fn records_outlive_the_process() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).start().await;
    for _ in 0..3 {
        gate.send(&gate.chat()).await.ok();
    }
    let before = gate.records().await;
    let gate = gate.restart().await;
    assert_eq!(gate.records().await, before);
    gate.send(&gate.stream()).await.ok();
    assert_eq!(gate.records().await.len(), 4);
}

#[tokio::test]
async fn the_lists_end_is_reached_page_by_page() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).start().await;
    for _ in 0..7 {
        gate.send(&gate.chat()).await.ok();
    }
    let mut seen = Vec::new();
    let mut after = String::new();
    loop {
        let page = gate.admin(&format!("/admin/usage?by=request&limit=3{after}")).await.ok().json();
        let records = page["data"].as_array().unwrap();
        assert!(records.len() <= 3);
        seen.extend(records.iter().map(|record| record["id"].to_string()));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    let count = seen.len();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!((count, seen.len()), (7, 7));
}
