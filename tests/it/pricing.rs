//! What requests are sold at: by tokens, by volume, through time, within limits.
//! Covers A5, A6, B1, B3.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tollgate::base::money::Money;

use crate::harness::binary::{run, text};
use crate::harness::client::Request;
use crate::harness::door::{Door, chat_body, stream_body};
use crate::harness::gate::Gate;
use crate::harness::openai;
use crate::harness::provider::Provider;
use crate::harness::reply::Reply;
use crate::harness::setup::{DEFAULT_PLAN, Setup, Tollgate, key_of};
use crate::reload::{reload, rewrite};

const PRICE: &str = "x-tollgate-price-usd";
const DAY: Duration = Duration::from_secs(86_400);

fn docs_as(plan: &str, body: &Value) -> Request {
    Request::post("/docs/v1/chat/completions", body).bearer(&key_of(plan))
}

fn docs(body: &Value) -> Request {
    docs_as(DEFAULT_PLAN, body)
}

/// A gateway with a class `docs` of these keys.
fn sold(provider: &Provider, keys: Value) -> Setup {
    Tollgate::before(provider).class("docs", "0.02", &keys)
}

async fn prices(gate: &Door) -> Vec<String> {
    let price = |record: &Value| record["price"].as_str().unwrap_or_default().to_owned();
    gate.records().await.iter().map(price).collect()
}

fn sum(prices: &[String]) -> String {
    prices.iter().map(|price| price.parse::<Money>().unwrap()).sum::<Money>().to_string()
}

#[tokio::test]
async fn a_markup_sells_tokens_at_a_multiple_of_their_cost() {
    let provider = Provider::start().await;
    let keys = json!({"tokens_price": {"markup": "8.0"}});
    let gate = sold(&provider, keys)
        .plan("metered", |plan| plan)
        .plan("included", |plan| plan.included())
        .start()
        .await;
    let answer = gate.send(&docs_as("metered", &chat_body())).await.ok();
    // 8 × (8 × $0.15 + 4 × $0.075 + 7 × $0.60 per million).
    assert_eq!(answer.header(PRICE), Some("0.0000456"));
    let record = gate.only_record().await;
    let expected = json!({
        "quantity": 1, "price": "0.0000456", "unit_price": "0.0000456", "list_price": "0.0000456",
        "cost": "0.0000057",
        "rates": {"input": "0.0000012", "cached_input": "0.0000006", "output": "0.0000048"},
    });
    for (field, value) in expected.as_object().into_iter().flatten() {
        assert_eq!(&record[field], value, "{field}: {record}");
    }
    // A stream's price is not known when its head leaves.
    let stream = gate.send(&docs_as("metered", &stream_body())).await.ok();
    assert_eq!(stream.header(PRICE), None);
    assert_eq!(prices(&gate).await, ["0.0000456", "0.0000456"]);
    let included = docs_as("included", &chat_body()).header("x-request-id", "included");
    assert_eq!(gate.send(&included).await.ok().header(PRICE), Some("0"));
    let record = gate.record_of("included").await;
    assert_eq!((&record["price"], &record["list_price"]), (&json!("0"), &json!("0.0000456")));
    assert_eq!(record["rates"], Value::Null);
}

#[tokio::test]
async fn tokens_may_have_prices_of_their_own_and_a_minimum() {
    let provider = Provider::start().await;
    let own = json!({"input": "1.00", "cached_input": "0.5", "output": "4.00"});
    let gate = sold(&provider, json!({"tokens_price": own}))
        .class("least", "0", &json!({"tokens_price": {"markup": 2, "minimum": "0.001"}}))
        .start()
        .await;
    // 8 × $1 + 4 × $0.5 + 7 × $4 per million.
    assert_eq!(gate.send(&docs(&chat_body())).await.ok().header(PRICE), Some("0.000038"));
    let least = Request::post("/least/v1/chat/completions", &chat_body())
        .bearer(&key_of(DEFAULT_PLAN))
        .header("x-request-id", "least");
    assert_eq!(gate.send(&least).await.ok().header(PRICE), Some("0.001"));
    assert_eq!(gate.record_of("least").await["rates"], Value::Null);
}

#[tokio::test]
async fn a_markup_on_an_unknown_cost_is_refused() {
    let provider = Provider::start().await;
    let gate = sold(&provider, json!({"tokens_price": {"markup": 2}})).start().await;
    let body = json!({"model": "new-model", "messages": []});
    let refused = gate.send(&docs(&body)).await;
    assert_eq!(refused.refused(403, "model_not_in_plan")["param"], "model");
    assert_eq!((gate.records().await.len(), provider.calls().len()), (0, 0));
}

/// Covers F5 as far as prices go: of requests at once exactly the right ones are
/// cheaper, also after a restart, and a month begins anew.
#[tokio::test]
async fn volume_tiers_are_exact_at_their_edges() {
    let provider = Provider::start().await;
    let tiers = json!([
        {"from": 0, "price": "0.02"}, {"from": 10, "price": "0.01"}, {"from": 25, "price": "0.001"},
    ]);
    let gate = sold(&provider, json!({"tiers": tiers})).start().await;
    // What is not charged takes no number.
    provider.next(Reply::error(400, "theirs"));
    assert_eq!(gate.send(&docs(&chat_body())).await.status(), 400);
    let request = docs(&chat_body());
    for answer in join_all((0..20).map(|_| gate.send(&request))).await {
        answer.ok();
    }
    assert_eq!(sum(&prices(&gate).await), "0.3", "10 × 0.02 + 10 × 0.01");
    let gate = gate.restart().await;
    for _ in 0..6 {
        gate.send(&docs(&chat_body())).await.ok();
    }
    assert_eq!(sum(&prices(&gate).await), "0.351", "5 × 0.01 + 1 × 0.001 more");
    gate.clock().advance(DAY * 20);
    assert_eq!(gate.send(&docs(&chat_body())).await.ok().header(PRICE), Some("0.02"));
}

#[tokio::test]
async fn prices_change_at_their_moment_in_the_time_zone() {
    let provider = Provider::start().await;
    // The clock stands at noon UTC, which is 14:00 in Berlin.
    let changes = json!([{"from": "2026-06-15T14:01", "price": "0.03"}]);
    let gate = sold(&provider, json!({"prices": changes}))
        .set("billing.timezone", "Europe/Berlin")
        .start()
        .await;
    gate.clock().advance(Duration::from_millis(59_999));
    assert_eq!(gate.send(&docs(&chat_body())).await.ok().header(PRICE), Some("0.02"));
    // A request has the prices of its admission, whatever happens meanwhile.
    let held = Gate::closed();
    provider.next(Reply::json(200, &openai::chat(&chat_body())).after(&held));
    let mut running = gate.open(&docs(&chat_body())).await;
    held.reached_by(1).await;
    gate.clock().advance(Duration::from_millis(1));
    assert_eq!(gate.send(&docs(&chat_body())).await.ok().header(PRICE), Some("0.03"));
    held.open();
    assert_eq!(running.answer().await.ok().header(PRICE), Some("0.02"));
    assert_eq!(sum(&prices(&gate).await), "0.07");
}

#[tokio::test]
async fn a_reload_changes_prices_for_what_is_admitted_after_it() {
    let provider = Provider::start().await;
    let gate = sold(&provider, json!({})).spawn().await;
    let held = Gate::closed();
    provider.next(Reply::json(200, &openai::chat(&chat_body())).after(&held));
    let mut running = gate.open(&docs(&chat_body())).await;
    held.reached_by(1).await;
    rewrite(&gate, |config| config["classes"][0]["price"] = json!("0.05"));
    reload(&gate).await.ok();
    assert_eq!(gate.send(&docs(&chat_body())).await.ok().header(PRICE), Some("0.05"));
    held.open();
    assert_eq!(running.answer().await.ok().header(PRICE), Some("0.02"));
}

#[tokio::test]
async fn an_accounts_own_price_replaces_any_other() {
    let provider = Provider::start().await;
    let gate = sold(&provider, json!({"tokens_price": {"markup": 8}})).start().await;
    let own = json!({"overrides": {"prices": {"docs": "0.004"}}});
    gate.change(&format!("/admin/accounts/{DEFAULT_PLAN}"), &own).await.ok();
    assert_eq!(gate.send(&docs(&chat_body())).await.ok().header(PRICE), Some("0.004"));
    let record = gate.only_record().await;
    assert_eq!(
        (&record["unit_price"], &record["list_price"]),
        (&json!("0.004"), &json!("0.0000456"))
    );
}

#[tokio::test]
async fn the_price_file_gives_the_cost_of_what_has_none() {
    let provider = Provider::start().await;
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("own.yaml");
    let listed = "models:\n  m: { input: 1, output: 1 }\n  mock/m: { input: 2, output: 2 }\n  \
                  gpt-4o-mini: { input: 9, output: 9 }\n";
    std::fs::write(&file, listed).unwrap();
    let gate =
        Tollgate::before(&provider).set("price_file", file.display().to_string()).start().await;
    for (model, cost, unpriced) in [
        // The provider's own entry before that of the name alone.
        ("m", "0.000038", false),
        // The model's own cost before the file's.
        ("gpt-4o-mini", "0.0000057", false),
        ("unknown", "0", true),
    ] {
        let body = json!({"model": model, "messages": [{"role": "user", "content": "Hi"}]});
        let request = gate.chat_text(&body.to_string()).header("x-request-id", model);
        gate.send(&request).await.ok();
        let record = gate.record_of(model).await;
        assert_eq!(
            (&record["cost"], &record["unpriced"]),
            (&json!(cost), &json!(unpriced)),
            "{model}"
        );
    }
    assert_eq!(gate.metric("tollgate_unpriced_total{model=\"other\"}").await, 1);
}

/// Covers B1: what nobody has a price for is said to be so on every lane, in the
/// record and in the metric, and never taken for free.
#[tokio::test]
async fn what_has_no_price_is_unpriced_on_every_lane() {
    let provider = Provider::start().await;
    let usage = json!({"input_tokens": 12, "output_tokens": 7, "total_tokens": 19});
    let response = json!({"id": "resp_1", "object": "response", "status": "completed",
        "output": [], "usage": usage});
    provider.answer(move |call| match call.path() {
        "/v1/responses" => Reply::json(200, &response),
        "/v1/images/generations" => Reply::json(200, &json!({"data": [{"url": "x"}]})),
        _ => openai::answer(call),
    });
    let gate = Tollgate::before(&provider).set("opaque.provider", "mock").start().await;
    let (chat, text) = (json!([{"role": "user", "content": "Hi"}]), "Say hello.");
    let lanes = [
        ("/v1/chat/completions", json!({"messages": chat})),
        ("/v1/chat/completions", json!({"messages": chat, "stream": true})),
        ("/v1/messages", json!({"messages": chat, "max_tokens": 9})),
        ("/v1/completions", json!({"prompt": text})),
        ("/v1/responses", json!({"input": text})),
        ("/v1/embeddings", json!({"input": text})),
    ];
    for (path, mut body) in lanes.clone() {
        body["model"] = "nobodys".into();
        let request = Request::post(path, &body).bearer(&gate.key("tester"));
        gate.send(&request).await.ok();
    }
    let image = json!({"model": "nobodys", "prompt": text});
    let opaque = Request::post("/v1/images/generations", &image).bearer(&gate.key("tester"));
    gate.send(&opaque).await.ok();
    let records = gate.wait_for_records(lanes.len() + 1).await;
    for record in &records {
        let said = (&record["outcome"], &record["unpriced"], &record["cost"]);
        assert_eq!(said, (&json!("ok"), &json!(true), &json!("0")), "{record}");
    }
    let unpriced = "tollgate_unpriced_total{model=";
    let understood = u64::try_from(lanes.len()).unwrap();
    assert_eq!(gate.metric(&format!("{unpriced}\"other\"}}")).await, understood);
    assert_eq!(gate.metric(&format!("{unpriced}\"none\"}}")).await, 1);
}

/// Covers A5: a dear answer cannot be bought in a cheap class.
#[tokio::test]
async fn a_class_limits_the_tokens_of_an_answer() {
    let provider = Provider::start().await;
    let gate = sold(&provider, json!({"max_output_tokens": 100})).start().await;
    let mut body = chat_body();
    for (given, sent) in [
        (json!({}), json!({"max_completion_tokens": 100})),
        (json!({"max_tokens": 5000}), json!({"max_tokens": 100})),
        (json!({"max_completion_tokens": 50}), json!({"max_completion_tokens": 50})),
        (json!({"n": 4}), json!({"n": 4, "max_completion_tokens": 25})),
    ] {
        let mut expected = chat_body();
        for (key, value) in given.as_object().into_iter().flatten() {
            body[key] = value.clone();
        }
        for (key, value) in sent.as_object().into_iter().flatten() {
            expected[key] = value.clone();
        }
        gate.send(&docs(&body)).await.ok();
        assert_eq!(provider.calls().last().unwrap().json(), expected);
        body = chat_body();
    }
    body["n"] = json!(101);
    assert_eq!(gate.send(&docs(&body)).await.refused(400, "invalid_value")["param"], "n");
    assert_eq!(provider.calls().len(), 4);
}

#[tokio::test]
async fn a_class_limits_the_tokens_of_a_prompt() {
    let provider = Provider::start().await;
    let gate = sold(&provider, json!({"max_input_tokens": 50}))
        .plan("free", |plan| plan.set("requests_per_month", 2))
        .start()
        .await;
    let long = json!({"model": "gpt-4o-mini", "messages": [
        {"role": "user", "content": "word ".repeat(60)},
    ]});
    let image = json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": "x"}},
    ]}]});
    for body in [&long, &image] {
        let refused = gate.send(&docs_as("free", body)).await;
        assert_eq!(refused.refused(400, "invalid_value")["param"], "messages");
    }
    let texts = json!({"model": "gpt-4o-mini", "input": "word ".repeat(60)});
    let embed = Request::post("/docs/v1/embeddings", &texts).bearer(&key_of("free"));
    assert_eq!(gate.send(&embed).await.refused(400, "invalid_value")["param"], "input");
    gate.send(&docs_as("free", &chat_body())).await.ok();
    let left = gate.send(&docs_as("free", &chat_body())).await.ok();
    assert_eq!(left.number("x-tollgate-quota-remaining"), 0, "a refusal takes no place");
    assert_eq!(gate.records().await.len(), 2);
}

#[tokio::test]
async fn a_price_file_is_imported_from_litellms() {
    let home = tempfile::tempdir().unwrap();
    let path = |name: &str| home.path().join(name).display().to_string();
    let listed = json!({
        "gpt-x": {"mode": "chat", "input_cost_per_token": 1.5e-7, "output_cost_per_token": 6e-7},
        "image-x": {"mode": "image_generation", "input_cost_per_token": 1e-6},
    });
    std::fs::write(path("litellm.json"), listed.to_string()).unwrap();
    let arguments = ["prices", "import", &path("litellm.json"), "--output", &path("prices.yaml")];
    let imported = run(&arguments).await;
    assert!(imported.status.success(), "{}", text(&imported.stderr));
    assert!(text(&imported.stdout).contains("1 models"), "{}", text(&imported.stdout));
    let written = std::fs::read_to_string(path("prices.yaml")).unwrap();
    assert!(written.contains("  \"gpt-x\": { input: 0.15, output: 0.6 }\n"), "{written}");
    // The configuration beside it takes it.
    std::fs::write(path("tollgate.yaml"), "").unwrap();
    let config = tollgate::config::load(&home.path().join("tollgate.yaml")).unwrap();
    let cost = config.prices.find("openai", "gpt-x").unwrap();
    assert_eq!(cost.output.to_string(), "0.0000006");
    std::fs::write(path("litellm.json"), "[]").unwrap();
    assert_eq!(run(&arguments).await.status.code(), Some(1));
}
