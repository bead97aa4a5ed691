//! Requests that are sold by the token and paid from a balance: reserved at the
//! most that they can come to, settled at what they came to.

use futures_util::future::join_all;
use serde_json::{Value, json};
use tollgate::base::money::Money;

use super::{balance, deposit, passed, prepaid, refused, standing};
use crate::harness::client::Request;
use crate::harness::door::{Door, chat_body, stream_body};
use crate::harness::gateway::Gateway;
use crate::harness::openai;
use crate::harness::provider::Provider;
use crate::harness::reply::Reply;
use crate::harness::setup::key_of;

/// A dollar for a million tokens of a prompt, four for those of an answer: an
/// answer of the mock provider costs $0.000038.
const RATES: [(&str, &str); 3] = [("input", "1"), ("cached_input", "0.5"), ("output", "4")];
const EACH: &str = "0.000038";

async fn sold_by_the_token(provider: &Provider) -> Gateway {
    let rates: Value = RATES.into_iter().collect();
    prepaid(provider)
        .class("docs", "0", &json!({"tokens_price": rates}))
        .set("opaque.ownership", "off")
        .start()
        .await
}

fn docs(body: &Value) -> Request {
    Request::post("/docs/v1/chat/completions", body).bearer(&key_of("shop"))
}

fn with(mut body: Value, key: &str, value: Value) -> Value {
    body[key] = value;
    body
}

fn money(value: &Value) -> Money {
    value.as_str().unwrap().parse().unwrap()
}

async fn prices(gate: &Door) -> Money {
    gate.records().await.iter().map(|record| money(&record["price"])).sum()
}

#[tokio::test]
async fn streams_settle_at_their_real_price_and_never_below_nothing() {
    let provider = Provider::start().await;
    let gate = sold_by_the_token(&provider).await;
    // Enough for two that have no limit of their own at once, and for many after.
    deposit(&gate, "0.04").await;
    let ask = docs(&stream_body());
    let at_once = join_all((0..40).map(|_| gate.send(&ask))).await;
    let first = passed(&at_once);
    assert!(first >= 2, "{first}");
    // An answer without a limit is given one, as its price is reserved.
    assert_eq!(provider.calls()[0].json()["max_completion_tokens"], 4_096);
    let charged = EACH.parse::<Money>().unwrap().times(first as u64);
    assert_eq!(prices(&gate).await, charged);
    let left = "0.04".parse::<Money>().unwrap() - charged;
    let now = standing("0.04", &charged.to_string(), "0", &left.to_string());
    assert_eq!(balance(&gate).await, now);
    // To the last that fits: what is left in the end is less than one may cost.
    let short = docs(&with(stream_body(), "max_tokens", json!(10)));
    let most = u64::try_from(short.body().len()).unwrap() + 40;
    let most = "0.000001".parse::<Money>().unwrap().times(most);
    let mut served = 0;
    loop {
        let wave = join_all((0..50).map(|_| gate.send(&short))).await;
        served += passed(&wave);
        let now = balance(&gate).await;
        assert!(money(&now["remaining"]) >= Money::ZERO, "{now}");
        if passed(&wave) == 0 {
            assert!(money(&now["remaining"]) < most, "{now}, {most}");
            refused(&wave[0], now["remaining"].as_str().unwrap());
            break;
        }
    }
    assert!(served > 900, "{served}");
    let now = balance(&gate).await;
    assert_eq!((money(&now["charged"]), &now["reserved"]), (prices(&gate).await, &json!("0")));
}

/// A provider that counts more tokens than were asked for is paid by the seller.
#[tokio::test]
async fn an_answer_beyond_its_limit_costs_what_was_reserved() {
    let provider = Provider::start().await;
    let gate = sold_by_the_token(&provider).await;
    let mut usage = openai::usage();
    usage["completion_tokens"] = json!(1_000_000);
    let limited = |body: Value| docs(&with(body, "max_tokens", json!(10)));
    let (whole, stream) = (limited(chat_body()), limited(stream_body()));
    let most = |request: &Request| {
        let tokens = u64::try_from(request.body().len()).unwrap() + 40;
        "0.000001".parse::<Money>().unwrap().times(tokens)
    };
    deposit(&gate, "1").await;
    let answer = with(openai::chat(&chat_body()), "usage", usage.clone());
    provider.next(Reply::json(200, &answer));
    let whole_price = most(&whole).to_string();
    let served = gate.send(&whole.clone().header("x-request-id", "whole")).await.ok();
    assert_eq!(served.header("x-tollgate-price-usd"), Some(&*whole_price));
    let mut events = openai::chat_events("gpt-4o-mini", true);
    let last = events.len() - 2;
    let event: Value = serde_json::from_str(&events[last]).unwrap();
    events[last] = with(event, "usage", usage).to_string();
    provider.next(Reply::events(events));
    gate.send(&stream.clone().header("x-request-id", "stream")).await.ok();
    for (id, price) in [("whole", whole_price), ("stream", most(&stream).to_string())] {
        let record = gate.record_of(id).await;
        assert_eq!((&record["price"], &record["unit_price"]), (&json!(price), &json!(price)));
        assert_eq!(record["tokens"]["output"], 1_000_000);
        assert_eq!((&record["list_price"], &record["rates"]), (&json!("4.00001"), &Value::Null));
    }
    let charged = most(&whole) + most(&stream);
    assert_eq!(money(&balance(&gate).await["charged"]), charged);
}

/// What nobody can know the price of is not sold out of a balance.
#[tokio::test]
async fn a_response_that_goes_on_with_another_is_refused() {
    let provider = Provider::start().await;
    let gate = sold_by_the_token(&provider).await;
    deposit(&gate, "1").await;
    let body = json!({"model": "gpt-4o-mini", "input": "x", "conversation": "conv_1"});
    let asked = Request::post("/docs/v1/responses", &body).bearer(&key_of("shop"));
    let refusal = gate.send(&asked).await;
    assert_eq!(refusal.refused(400, "invalid_value")["param"], "previous_response_id");
    assert_eq!(balance(&gate).await, standing("1", "0", "0", "1"));
    assert_eq!(provider.calls().len(), 0);
}
