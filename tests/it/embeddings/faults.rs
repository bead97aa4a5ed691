//! What goes wrong in a call for several, and who feels it.

use serde_json::{Value, json};

use super::{HELD, Scene, ask, body, holds, honest, inputs, priced, said, sums};
use crate::harness::gate::Gate;
use crate::harness::provider::Provider;
use crate::harness::reply::Reply;

fn outcomes(records: &[Value]) -> Vec<&str> {
    let mut outcomes: Vec<_> =
        records.iter().filter_map(|record| record["outcome"].as_str()).collect();
    outcomes.sort_unstable();
    outcomes
}

/// A scene with requests for `one`, `[two, three]` and `four` behind the first.
async fn three_held() -> (Scene, Value) {
    let mut scene = Scene::begin(|setup| setup).await;
    for (input, count) in [json!("one"), json!(["two", "three"]), json!("four")].iter().zip(1..) {
        scene.hold(&ask(input), count).await;
    }
    (scene, body(&json!(["one", "two", "three", "four"])))
}

#[tokio::test]
async fn only_the_guilty_sees_its_refusal() {
    let mut scene = Scene::begin(|setup| setup).await;
    scene.provider.answer(|call| match inputs(&call.json()).contains(&json!("guilty")) {
        true => Reply::error(400, "invalid_input"),
        false => honest(call),
    });
    let asked = [json!("one"), json!(["two", "guilty"]), json!("three")];
    for (input, count) in asked.iter().zip(1..) {
        scene.hold(&ask(input), count).await;
    }
    let answers = scene.end().await;
    holds(&answers[1], &asked[0], "bypass");
    holds(&answers[3], &asked[2], "bypass");
    assert_eq!(answers[2].status(), 400);
    assert_eq!(answers[2].json()["error"]["code"], "invalid_input");
    assert_eq!(scene.calls().len(), 5);
    let records = scene.gate.records().await;
    assert_eq!(outcomes(&records), ["ok", "ok", "ok", "provider_error"]);
    sums::add_up(&scene.provider, &records);
}

#[tokio::test]
async fn only_the_short_changed_ask_again() {
    let (mut scene, joint) = three_held().await;
    scene.provider.next(said(&joint, 2));
    let answers = scene.end().await;
    for (answer, input) in
        answers[1..].iter().zip([json!("one"), json!(["two", "three"]), json!("four")])
    {
        holds(answer, &input, "batched");
    }
    let mut again = scene.calls().split_off(2);
    again.sort_by_key(ToString::to_string);
    assert_eq!(again, [json!("four"), json!(["three"])]);
    sums::add_up(&scene.provider, &scene.gate.records().await);
}

#[tokio::test]
async fn who_is_short_changed_twice_fails_alone() {
    let (mut scene, joint) = three_held().await;
    scene.provider.next(said(&joint, 3));
    scene.provider.next(said(&body(&json!("four")), 0));
    let answers = scene.end().await;
    holds(&answers[1], &json!("one"), "batched");
    holds(&answers[2], &json!(["two", "three"]), "batched");
    answers[3].refused(502, "upstream_error");
    assert_eq!(scene.calls().len(), 3);
    let records = scene.gate.records().await;
    assert_eq!(outcomes(&records), ["cut", "ok", "ok", "ok"]);
    sums::add_up(&scene.provider, &records);
    let cut = records.iter().find(|record| record["outcome"] == "cut").unwrap();
    assert_eq!((&cut["quantity"], &cut["price"]), (&json!(0), &json!("0")));
    // The least of fifteen tokens over four inputs of one each, and the four of its own call.
    assert_eq!(cut["tokens"]["input"], 3 + 4);
}

#[tokio::test]
async fn a_provider_that_fails_fails_all_of_a_group() {
    for (reply, status) in [
        (Reply::error(429, "rate_limit_exceeded").header("retry-after", "7"), 429),
        (Reply::error(500, "theirs"), 500),
        (Reply::error(401, "theirs"), 502),
    ] {
        let (mut scene, _) = three_held().await;
        scene.provider.next(reply);
        let answers = scene.end().await;
        for answer in &answers[1..] {
            assert_eq!(answer.status(), status, "{}", answer.text());
            assert_eq!(answer.header("retry-after").is_some(), status == 429);
        }
        assert_eq!(scene.calls().len(), 2);
        let records = scene.gate.records().await;
        assert_eq!(
            outcomes(&records),
            ["ok", "provider_error", "provider_error", "provider_error"]
        );
        assert!(records.iter().skip(1).all(|record| record["cache"] != "batched"));
    }
}

#[tokio::test]
async fn another_target_answers_for_all() {
    let second = Provider::start().await;
    second.answer(honest);
    let mut scene = Scene::begin(|setup| {
        let other = json!({"name": "second", "dialect": "openai", "base_url": second.url(), "api_key": "k"});
        let targets = json!([
            {"provider": "mock", "model": "embed-1"}, {"provider": "second", "model": "embed-2"},
        ]);
        let models = json!([{"name": "embed", "targets": targets, "cost": {"input": "0.02"}}]);
        setup.another_provider(other).models(&models).set("routing.retries", 1)
    })
    .await;
    scene.hold(&ask(&json!("one")), 1).await;
    scene.hold(&ask(&json!("two")), 2).await;
    scene.provider.next(Reply::error(503, "theirs"));
    let answers = scene.end().await;
    holds(&answers[1], &json!("one"), "batched");
    holds(&answers[2], &json!("two"), "batched");
    assert_eq!((scene.calls().len(), second.calls().len()), (2, 1));
    let call = second.only_call().json();
    assert_eq!((&call["model"], &call["input"]), (&json!("embed-2"), &json!(["one", "two"])));
}

#[tokio::test]
async fn who_leaves_while_held_is_not_asked_for() {
    let (mut scene, _) = three_held().await;
    // The one that would have made the call, too.
    drop(scene.waiting.remove(1));
    scene.gate.wait_for_metric(HELD, 2).await;
    let answers = scene.end().await;
    holds(&answers[1], &json!(["two", "three"]), "batched");
    assert_eq!(scene.calls()[1], json!(["two", "three", "four"]));
    let records = scene.gate.wait_for_records(4).await;
    let gone = records.iter().find(|record| record["outcome"] == "client_gone_early").unwrap();
    assert_eq!(
        (&gone["cost"], &gone["attempts"], &gone["price"]),
        (&json!("0"), &json!(0), &json!("0"))
    );
    sums::add_up(&scene.provider, &records);
}

#[tokio::test]
async fn who_leaves_a_call_bears_its_share_and_others_get_theirs() {
    for leaver in [1, 2] {
        let (mut scene, joint) = three_held().await;
        let held = Gate::closed();
        scene.provider.next(said(&joint, 4).after(&held));
        scene.running.open();
        scene.provider.wait_for_calls(2).await;
        let requests = "tollgate_inflight{scope=\"requests\"}";
        scene.gate.wait_for_metric(requests, 3).await;
        drop(scene.waiting.remove(leaver));
        held.open();
        let answers = scene.end().await;
        assert!(answers.iter().all(|answer| answer.status() == 200));
        let records = scene.gate.wait_for_records(4).await;
        sums::add_up(&scene.provider, &records);
        assert!(scene.provider.disconnects().is_empty());
    }
}

#[tokio::test]
async fn a_call_that_all_have_left_is_given_up() {
    let (mut scene, _) = three_held().await;
    scene.provider.next(Reply::hang());
    scene.running.open();
    scene.provider.wait_for_calls(2).await;
    holds(&scene.waiting[0].answer().await, &json!("first"), "bypass");
    scene.waiting.clear();
    assert_eq!(scene.provider.wait_for_disconnect().await, 1);
    let records = scene.gate.wait_for_records(4).await;
    assert_eq!(outcomes(&records)[..3], ["client_gone_early"; 3]);
    assert!(records.iter().all(|record| record["outcome"] == "ok" || record["quantity"] == 0));
    // Nobody waits behind it.
    holds(&scene.gate.send(&ask(&json!("next"))).await, &json!("next"), "bypass");
}

#[tokio::test]
async fn an_answer_that_is_no_list_is_the_askers_alone() {
    let provider = Provider::start().await;
    let gate = priced(&provider).start().await;
    provider.next(Reply::json_text(200, "{\"odd\": 1.0}"));
    let odd = gate.send(&ask(&json!("one"))).await.ok();
    assert_eq!(odd.text(), "{\"odd\": 1.0}");
    let (mut scene, _) = three_held().await;
    scene.provider.next(Reply::json_text(200, "{\"odd\": 1.0}"));
    let answers = scene.end().await;
    holds(&answers[3], &json!("four"), "batched");
    assert_eq!(scene.calls().len(), 5);
}
