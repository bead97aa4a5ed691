//! Answers given past their time, and which may be given at all. Covers D5.

use std::time::Duration;

use serde_json::{Value, json};
use tollgate::base::money::Money;

use crate::harness::client::{Answer, Request};
use crate::harness::door::{chat_body, stream_body};
use crate::harness::gate::Gate;
use crate::harness::gateway::Gateway;
use crate::harness::openai;
use crate::harness::provider::Provider;
use crate::harness::reply::Reply;
use crate::harness::setup::{DEFAULT_PLAN, Setup, Tollgate, key_of};

/// 8 × $0.15 + 4 × $0.075 + 7 × $0.60 per million.
const COST: &str = "0.0000057";

/// Classes that are fresh for a minute: `spare` stands in for ten minutes where the
/// provider fails, `soon` is renewed for ten minutes.
fn stale(provider: &Provider) -> Setup {
    let spare = json!({"price_cached": "0.004", "cache": {"ttl": "1m", "stale_if_error": "10m"}});
    let soon = json!({"cache": {"ttl": "1m", "stale_while_revalidate": "10m"}});
    Tollgate::before(provider)
        .set("batching.coalesce", true)
        .set("routing.retries", 1)
        .class("spare", "0.01", &spare)
        .class("soon", "0.01", &soon)
}

fn ask(class: &str, body: &Value) -> Request {
    Request::post(&format!("/{class}/v1/chat/completions"), body).bearer(&key_of(DEFAULT_PLAN))
}

fn steer(class: &str, directives: &str) -> Request {
    ask(class, &chat_body()).header("cache-control", directives)
}

async fn expect(gate: &Gateway, request: &Request, result: &str) -> Answer {
    let answer = gate.send(request).await.ok();
    let shown = answer.header("x-tollgate-cache");
    assert_eq!(shown, Some(result), "{:?} {}", answer.head, answer.text());
    assert_eq!(answer.header("age").is_some(), matches!(result, "hit" | "stale"));
    answer
}

fn seconds(gate: &Gateway, seconds: u64) {
    gate.clock().advance(Duration::from_secs(seconds));
}

/// The records with this `field`, each of which must say `all`.
fn those(records: &[Value], field: &str, value: &str, all: &[(&str, Value)]) -> usize {
    let those = records.iter().filter(|record| record[field] == value);
    those
        .inspect(|record| {
            for (name, said) in all {
                assert_eq!(&record[*name], said, "{name} of {record}");
            }
        })
        .count()
}

#[tokio::test]
async fn a_stale_answer_stands_in_for_a_failing_provider_in_its_time() {
    let provider = Provider::start().await;
    let gate = stale(&provider).start().await;
    let first = expect(&gate, &ask("spare", &chat_body()), "miss").await;
    seconds(&gate, 70);
    provider.answer(|_| Reply::error(503, "away"));
    for body in [chat_body(), stream_body()] {
        let calls = provider.calls().len();
        let answer = expect(&gate, &ask("spare", &body), "stale").await;
        assert_eq!(answer.number("age"), 70);
        assert_eq!(answer.header("x-tollgate-price-usd"), Some("0.004"));
        assert_eq!(provider.calls().len(), calls + 2, "all attempts come first");
    }
    let broken = Reply::json(200, &openai::chat(&chat_body())).cut_after(20);
    for reply in [Reply::close(), broken, Reply::error(401, "no")] {
        provider.answer(move |_| reply.clone());
        let answer = expect(&gate, &ask("spare", &chat_body()), "stale").await;
        assert_eq!(answer.body, first.body);
    }
    // An answer of the provider's own that is the client's fault is passed on.
    provider.answer(|_| Reply::error(400, "bad"));
    assert_eq!(gate.send(&ask("spare", &chat_body())).await.status(), 400);
    provider.answer(|_| Reply::error(500, "away"));
    for own in ["no-cache", "max-age=600", "stale-if-error=9", "no-store", "min-fresh=1"] {
        let refused = gate.send(&steer("spare", own)).await;
        assert_eq!(refused.status(), 500, "{own}");
    }
    gate.send(&steer("spare", "only-if-cached")).await.refused(504, "not_in_cache");
    // Ten minutes after its end, which lies up to a twentieth before the minute.
    seconds(&gate, 586);
    expect(&gate, &ask("spare", &chat_body()), "stale").await;
    seconds(&gate, 4);
    assert_eq!(gate.send(&ask("spare", &chat_body())).await.status(), 500);
    provider.answer(openai::answer);
    expect(&gate, &ask("spare", &chat_body()), "miss").await;
    expect(&gate, &ask("spare", &chat_body()), "hit").await;
}

#[tokio::test]
async fn what_stands_in_is_charged_as_cached_and_bears_what_the_calls_cost() {
    let provider = Provider::start().await;
    let gate = stale(&provider).start().await;
    expect(&gate, &ask("spare", &chat_body()), "miss").await;
    seconds(&gate, 60);
    provider.answer(|_| Reply::error(503, "away"));
    expect(&gate, &ask("spare", &chat_body()), "stale").await;
    let charged = [
        ("outcome", json!("ok")),
        ("status", json!(200)),
        ("quantity", json!(1)),
        ("price", json!("0.004")),
        ("provider", json!("mock")),
        ("attempts", json!(2)),
        ("cost", json!("0")),
        ("tokens", json!({"input": 12, "cached_input": 4, "output": 7, "reasoning": 2})),
    ];
    assert_eq!(those(&gate.records().await, "cache", "stale", &charged), 1);
    // A stream that has begun is cut where the provider cut it.
    let events = openai::chat_events("gpt-4o-mini", true);
    provider.next(Reply::events(&events).cut_after(300));
    let mut connection = gate.open(&ask("spare", &stream_body())).await;
    assert_eq!(connection.head().await.header("x-tollgate-cache"), Some("miss"));
    while let Ok(Some(_)) = connection.data().await {}
    // A whole answer that breaks off has cost its prompt.
    let broken = Reply::json(200, &openai::chat(&chat_body())).cut_after(20);
    provider.answer(move |_| broken.clone());
    expect(&gate, &ask("spare", &chat_body()), "stale").await;
    let records = gate.wait_for_records(4).await;
    let cost = |record: &Value| record["cost"].as_str().unwrap().parse::<Money>().unwrap();
    let dear = records.iter().filter(|it| it["cache"] == "stale" && cost(it) > Money::ZERO);
    assert_eq!(dear.count(), 1, "{records:#?}");
}

#[tokio::test]
async fn a_full_queue_gets_the_stale_answer() {
    let provider = Provider::start().await;
    let setup = stale(&provider).set("limits.global.concurrent", 1).set("limits.global.queue", 0);
    let gate = setup.start().await;
    expect(&gate, &ask("spare", &chat_body()), "miss").await;
    seconds(&gate, 61);
    provider.next(Reply::hang());
    let _running = gate.open(&gate.chat()).await;
    provider.wait_for_calls(2).await;
    expect(&gate, &ask("spare", &chat_body()), "stale").await;
    assert_eq!(provider.calls().len(), 2);
    let untried = [("attempts", json!(0)), ("cost", json!("0")), ("provider", json!(""))];
    assert_eq!(those(&gate.records().await, "cache", "stale", &untried), 1);
}

/// Those aboard too, each as it wants.
#[tokio::test]
async fn everybody_aboard_a_failing_call_gets_the_stale_answer_who_takes_it() {
    let provider = Provider::start().await;
    let gate = stale(&provider).set("routing.retries", 0).start().await;
    expect(&gate, &ask("spare", &chat_body()), "miss").await;
    seconds(&gate, 60);
    let held = Gate::closed();
    provider.next(Reply::error(503, "away").after(&held));
    let mut first = gate.open(&ask("spare", &chat_body())).await;
    let mut second = gate.open(&ask("spare", &chat_body())).await;
    let mut strict = gate.open(&steer("spare", "max-age=90")).await;
    gate.wait_for_metric("tollgate_inflight{scope=\"aboard\"}", 3).await;
    held.open();
    for connection in [&mut first, &mut second] {
        let answer = connection.answer().await.ok();
        assert_eq!(answer.header("x-tollgate-cache"), Some("stale"));
    }
    assert_eq!(strict.answer().await.status(), 503);
    assert_eq!(provider.calls().len(), 2);
}

#[tokio::test]
async fn a_stale_answer_is_given_at_once_and_renewed_once() {
    let provider = Provider::start().await;
    let gate = stale(&provider).start().await;
    let first = expect(&gate, &ask("soon", &chat_body()), "miss").await;
    seconds(&gate, 75);
    let held = Gate::closed();
    let mut new = openai::chat(&chat_body());
    new["id"] = "chatcmpl-new".into();
    provider.next(Reply::json(200, &new).after(&held));
    for _ in 0..5 {
        let answer = expect(&gate, &ask("soon", &chat_body()), "stale").await;
        assert_eq!((answer.number("age"), &answer.body), (75, &first.body));
    }
    // Another form of it is no reason for another call.
    expect(&gate, &ask("soon", &stream_body()), "stale").await;
    // Who wants it fresh waits for the call that runs.
    let mut fresh = gate.open(&steer("soon", "max-age=60")).await;
    gate.wait_for_metric("tollgate_inflight{scope=\"aboard\"}", 1).await;
    assert_eq!(provider.wait_for_calls(2).await.len(), 2);
    held.open();
    let answer = fresh.answer().await.ok();
    assert_eq!(answer.header("x-tollgate-cache"), Some("coalesced"));
    assert_eq!(answer.json(), new);
    let again = expect(&gate, &ask("soon", &chat_body()), "hit").await;
    assert_eq!((again.number("age"), again.json()), (0, new));
    assert_eq!(provider.calls().len(), 2);

    let records = gate.wait_for_records(10).await;
    let nothing = [
        ("quantity", json!(0)),
        ("price", json!("0")),
        ("list_price", json!("0")),
        ("status", json!(200)),
        ("attempts", json!(1)),
        ("cache", json!("bypass")),
        ("account", json!(DEFAULT_PLAN)),
        ("endpoint", json!("soon")),
        ("provider", json!("mock")),
    ];
    assert_eq!(those(&records, "outcome", "revalidation", &nothing), 1);
    let given = [("cost", json!("0")), ("price", json!("0.01")), ("attempts", json!(0))];
    assert_eq!(those(&records, "cache", "stale", &given), 6);
    let cost: Money =
        records.iter().map(|it| it["cost"].as_str().unwrap().parse::<Money>().unwrap()).sum();
    assert_eq!(cost, COST.parse::<Money>().unwrap().times(2));
    // A renewal is no answer to anybody.
    for (series, count) in [
        (
            "tollgate_requests_total{cache=\"bypass\",class=\"soon\",code=\"200\",model=\"gpt-4o-mini\",plan=\"tester\",provider=\"mock\"}",
            0,
        ),
        ("tollgate_cache_lookups_total{class=\"soon\",result=\"stale\"}", 6),
        ("tollgate_cache_lookups_total{class=\"soon\",result=\"miss\"}", 2),
        ("tollgate_cache_lookups_total{class=\"soon\",result=\"hit\"}", 1),
    ] {
        assert_eq!(gate.metric(series).await, count, "{series}");
    }
}

#[tokio::test]
async fn a_renewal_takes_no_place_that_somebody_could_want() {
    let provider = Provider::start().await;
    let setup = stale(&provider).set("limits.global.concurrent", 1).set("routing.retries", 3);
    let gate = setup.start().await;
    expect(&gate, &ask("soon", &chat_body()), "miss").await;
    seconds(&gate, 61);
    provider.next(Reply::hang());
    let running = gate.open(&gate.chat()).await;
    provider.wait_for_calls(2).await;
    // No slot is free.
    expect(&gate, &ask("soon", &chat_body()), "stale").await;
    drop(running);
    gate.wait_for_metric("tollgate_inflight{scope=\"provider\"}", 0).await;
    assert_eq!(provider.calls().len(), 2);
    // One that fails is not tried again, and is told to nobody.
    provider.answer(|_| Reply::error(503, "away"));
    expect(&gate, &ask("soon", &chat_body()), "stale").await;
    let records = gate.wait_for_records(5).await;
    let failed = [("status", json!(503)), ("cost", json!("0")), ("attempts", json!(1))];
    assert_eq!(those(&records, "outcome", "revalidation", &failed), 1);
    assert_eq!(provider.calls().len(), 3);
    // Who wants no call has none made.
    expect(&gate, &steer("soon", "only-if-cached"), "stale").await;
    assert_eq!(provider.calls().len(), 3);
}

#[tokio::test]
async fn a_renewal_counts_in_no_window_after_a_restart() {
    let provider = Provider::start().await;
    let setup = stale(&provider).plan("few", |plan| plan.per_minute(4));
    let gate = setup.start().await;
    let ask = Request::post("/soon/v1/chat/completions", &chat_body()).bearer(&key_of("few"));
    expect(&gate, &ask, "miss").await;
    seconds(&gate, 61);
    expect(&gate, &ask, "stale").await;
    gate.wait_for_records(3).await;
    let gate = gate.restart().await;
    let again = gate.send(&ask).await;
    assert_eq!(again.number("x-ratelimit-remaining-requests"), 1);
}

#[tokio::test]
async fn a_request_may_take_a_stale_answer_that_is_still_there() {
    let provider = Provider::start().await;
    let gate = stale(&provider).start().await;
    expect(&gate, &ask("spare", &chat_body()), "miss").await;
    seconds(&gate, 70);
    // It ended up to a twentieth before the minute.
    expect(&gate, &steer("spare", "max-stale=13"), "stale").await;
    expect(&gate, &steer("spare", "only-if-cached, max-stale"), "stale").await;
    expect(&gate, &steer("spare", "max-age=70, max-stale=13"), "stale").await;
    assert_eq!(provider.calls().len(), 1);
    // The strictest counts.
    for strict in ["max-stale=9", "max-stale, max-age=69", "max-stale, min-fresh=0"] {
        let only = format!("{strict}, only-if-cached");
        gate.send(&steer("spare", &only)).await.refused(504, "not_in_cache");
    }
    expect(&gate, &steer("spare", "max-stale=9"), "miss").await;
    seconds(&gate, 50);
    expect(&gate, &steer("spare", "min-fresh=6"), "hit").await;
    expect(&gate, &steer("spare", "min-fresh=10"), "miss").await;
}

#[tokio::test]
async fn a_deterministic_class_keeps_only_what_would_come_again() {
    let provider = Provider::start().await;
    let exact = json!({"cache": {"ttl": "1h", "when": "deterministic"}});
    let gate = stale(&provider).class("exact", "0.01", &exact).start().await;
    let asking = |field: &str, value: Value| {
        let mut body = chat_body();
        body["temperature"] = json!(0);
        body[field] = value;
        ask("exact", &body)
    };
    for (request, second) in [
        (asking("temperature", json!(0)), "hit"),
        (asking("top_p", json!(1)), "hit"),
        (asking("temperature", json!(0.2)), "bypass"),
        (asking("top_p", json!(0.5)), "bypass"),
        (ask("exact", &chat_body()), "bypass"),
        // The class's word goes before the request's.
        (ask("exact", &chat_body()).header("x-tollgate-cache-ttl", "1h"), "bypass"),
        (asking("web_search_options", json!({})), "bypass"),
    ] {
        let first = if second == "hit" { "miss" } else { "bypass" };
        expect(&gate, &request, first).await;
        expect(&gate, &request, second).await;
    }
    let body = json!({"model": "gpt-4o-mini", "input": "x"});
    let embedding = Request::post("/exact/v1/embeddings", &body).bearer(&key_of(DEFAULT_PLAN));
    expect(&gate, &embedding, "miss").await;
    expect(&gate, &embedding, "hit").await;
}

/// What two directives allow, each of them allows.
#[tokio::test]
async fn of_contradicting_directives_the_strictest_counts() {
    let provider = Provider::start().await;
    let gate = stale(&provider).start().await;
    // Answers that are there: fresh, and ten seconds past their time.
    for (aged, of_each) in [
        (
            30,
            [("no-cache", false), ("no-store", false), ("max-age=20", false), ("max-age=99", true)],
        ),
        (70, [("max-stale", true), ("max-stale=20", true), ("max-stale=2", false), ("x=1", false)]),
    ] {
        gate.send(&steer("spare", "no-cache")).await.ok();
        seconds(&gate, aged);
        let allowed = async |directives: &str| {
            let only = steer("spare", &format!("{directives}, only-if-cached"));
            gate.send(&only).await.status() == 200
        };
        for (one, alone) in of_each {
            assert_eq!(allowed(one).await, alone, "{one} at {aged} s");
            for (other, too) in of_each.iter().filter(|(it, _)| aged == 30 || *it != "x=1") {
                let both = format!("{one}, {other}");
                let expected = *too && (alone || one == "x=1");
                assert_eq!(allowed(&both).await, expected, "{both} at {aged} s");
            }
        }
    }
}

/// Covers invariant 2: what failed is paid for by the first of a key, who had the
/// answer of before, though a repeat was aboard.
#[tokio::test]
async fn the_first_of_a_key_bears_the_failed_call_that_it_is_answered_without() {
    let provider = Provider::start().await;
    let gate = stale(&provider).set("routing.retries", 0).start().await;
    expect(&gate, &ask("spare", &chat_body()), "miss").await;
    seconds(&gate, 70);
    let broken = Reply::json(200, &openai::chat(&chat_body())).cut_after(20);
    provider.next(broken.clone());
    let alone = ask("spare", &chat_body()).header("x-request-id", "alone");
    expect(&gate, &alone, "stale").await;
    let held = Gate::closed();
    provider.next(broken.after(&held));
    let keyed = |id: &str| {
        let request = ask("spare", &chat_body()).header("idempotency-key", "k");
        request.header("x-request-id", id)
    };
    let mut first = gate.open(&keyed("first")).await;
    held.reached_by(1).await;
    let mut again = gate.open(&keyed("again")).await;
    gate.wait_for_metric("tollgate_inflight{scope=\"aboard\"}", 2).await;
    held.open();
    assert_eq!(first.answer().await.ok().header("x-tollgate-cache"), Some("stale"));
    again.answer().await;
    let cost = async |id: &str| gate.record_of(id).await["cost"].as_str().unwrap().to_owned();
    let dear = cost("alone").await;
    assert_ne!(dear, "0");
    assert_eq!((cost("first").await, cost("again").await), (dear, "0".to_owned()));
}
