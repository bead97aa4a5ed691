//! What goes wrong in a call for several, and who feels it.

use serde_json::{Value, json};

use super::{Scene, WAITING, ask, count, holds, honest, said, streams, sums, text, usage};
use crate::harness::door::{chat_body, stream_body};
use crate::harness::gate::Gate;
use crate::harness::provider::Provider;
use crate::harness::reply::Reply;

const REQUESTS: &str = "tollgate_inflight{scope=\"requests\"}";

fn outcomes(records: &[Value]) -> Vec<&str> {
    let mut outcomes: Vec<_> =
        records.iter().filter_map(|record| record["outcome"].as_str()).collect();
    outcomes.sort_unstable();
    outcomes
}

/// The body of a call for so many.
fn joint(samples: u64) -> Value {
    let mut body = chat_body();
    body["n"] = json!(samples);
    body
}

/// A scene with three requests that wait for each other.
async fn three() -> Scene {
    let mut scene = Scene::begin(|setup| setup).await;
    scene.gather(&ask(&chat_body()), 3).await;
    scene
}

#[tokio::test]
async fn only_the_short_changed_ask_again() {
    let mut scene = three().await;
    scene.provider.next(Reply::json(200, &said(&joint(3), |number| number == 1)));
    scene.close();
    let answers = scene.answers().await;
    holds(&answers[0], 0, "bypass");
    holds(&answers[1], 1, "batched");
    holds(&answers[2], 0, "bypass");
    assert_eq!(scene.counts(), [3, 1, 1]);
    let records = scene.gate.records().await;
    assert_eq!(outcomes(&records), ["ok"; 3]);
    sums::add_up(&scene.provider, &records);
}

#[tokio::test]
async fn who_is_short_changed_twice_fails_alone() {
    let mut scene = three().await;
    scene.provider.next(Reply::json(200, &said(&joint(3), |number| number != 2)));
    scene.provider.next(Reply::error(500, "theirs"));
    scene.close();
    let answers = scene.answers().await;
    holds(&answers[0], 0, "batched");
    holds(&answers[1], 1, "batched");
    assert_eq!(answers[2].status(), 500);
    assert_eq!(scene.counts(), [3, 1]);
    let records = scene.gate.records().await;
    assert_eq!(outcomes(&records), ["ok", "ok", "provider_error"]);
    // What it got nothing for, it bears all the same: the prompt's third.
    let failed = records.iter().find(|record| record["outcome"] == "provider_error").unwrap();
    assert_eq!((&failed["quantity"], &failed["cost"]), (&json!(0), &json!("0.000000425")));
}

/// An answer that is none at all.
#[tokio::test]
async fn what_is_no_list_of_choices_is_nobodys() {
    let mut scene = three().await;
    scene.provider.next(Reply::json(200, &json!({"odd": true})));
    scene.close();
    for answer in scene.answers().await {
        holds(&answer, 0, "bypass");
    }
    assert_eq!(scene.counts(), [3, 1, 1, 1]);
}

#[tokio::test]
async fn a_refusal_that_may_be_of_there_being_several_is_nobodys() {
    for status in [400, 422] {
        let mut scene = three().await;
        scene.provider.answer(move |call| match count(&call.json()) {
            1 => honest(call),
            _ => Reply::error(status, "n_is_not_supported"),
        });
        scene.close();
        for answer in scene.answers().await {
            holds(&answer, 0, "bypass");
        }
        assert_eq!(scene.counts(), [3, 1, 1, 1]);
        // Those that ask once more are refused for what they are.
        scene.provider.answer(move |_| Reply::error(status, "bad_prompt"));
        scene.gather(&ask(&chat_body()), 2).await;
        scene.close();
        for answer in scene.answers().await {
            assert_eq!(answer.status(), status);
            assert_eq!(answer.json()["error"]["code"], "bad_prompt");
        }
    }
}

#[tokio::test]
async fn a_provider_that_fails_fails_all() {
    for (reply, status) in [
        (Reply::error(429, "rate_limit_exceeded").header("retry-after", "7"), 429),
        (Reply::error(500, "theirs"), 500),
        (Reply::error(401, "theirs"), 502),
    ] {
        let mut scene = three().await;
        scene.provider.next(reply);
        scene.close();
        for answer in scene.answers().await {
            assert_eq!(answer.status(), status, "{}", answer.text());
            assert_eq!(answer.header("retry-after").is_some(), status == 429);
        }
        assert_eq!(scene.counts(), [3]);
        let records = scene.gate.records().await;
        assert_eq!(outcomes(&records), ["provider_error"; 3]);
        assert!(records.iter().all(|record| record["cost"] == "0" && record["quantity"] == 0));
    }
}

/// A second provider, which makes so many samples in a call.
async fn with_second(n_max: u32) -> (Scene, Provider) {
    let second = Provider::start().await;
    second.answer(honest);
    let scene = Scene::begin(|setup| {
        let other = json!({
            "name": "second", "dialect": "openai", "base_url": second.url(), "api_key": "k",
            "n_max": n_max,
        });
        let cost = json!({"input": "0.15", "cached_input": "0.075", "output": "0.60"});
        let targets = json!([{"provider": "mock"}, {"provider": "second"}]);
        let models = json!([{"name": "gpt-4o-mini", "targets": targets, "cost": cost}]);
        setup.another_provider(other).models(&models).set("routing.retries", 1)
    })
    .await;
    (scene, second)
}

#[tokio::test]
async fn another_target_answers_for_all() {
    let (mut scene, second) = with_second(3).await;
    scene.gather(&ask(&chat_body()), 3).await;
    scene.provider.next(Reply::error(503, "theirs"));
    scene.close();
    for (answer, number) in scene.answers().await.iter().zip(0..) {
        holds(answer, number, "batched");
    }
    assert_eq!((scene.counts(), count(&second.only_call().json())), (vec![3], 3));
    sums::add_up(&second, &scene.gate.records().await);
}

#[tokio::test]
async fn where_no_other_target_makes_so_many_each_goes_on_alone() {
    for reply in [Reply::error(503, "theirs"), Reply::error(429, "theirs"), Reply::close()] {
        let (mut scene, second) = with_second(2).await;
        scene.gather(&ask(&chat_body()), 3).await;
        scene.provider.next(reply);
        scene.close();
        for answer in scene.answers().await {
            holds(&answer, 0, "bypass");
        }
        // Not at the first once more.
        assert_eq!(scene.counts(), [3]);
        assert_eq!(second.calls().len(), 3);
        sums::add_up(&second, &scene.gate.records().await);
    }
}

/// Not together at a key that was limited, while another target is well.
#[tokio::test]
async fn while_the_one_that_makes_so_many_rests_each_goes_to_the_other() {
    let (mut scene, second) = with_second(1).await;
    let mut single = chat_body();
    single["n"] = json!(1);
    scene.provider.next(Reply::error(429, "theirs"));
    scene.come(&ask(&single)).await;
    holds(&scene.answers().await[0], 0, "bypass");
    scene.gather(&ask(&chat_body()), 3).await;
    scene.close();
    for answer in scene.answers().await {
        holds(&answer, 0, "bypass");
    }
    assert_eq!((scene.provider.calls().len(), second.calls().len()), (1, 4));
    sums::add_up(&second, &scene.gate.records().await);
}

#[tokio::test]
async fn who_leaves_while_the_window_is_open_is_not_asked_for() {
    let mut scene = three().await;
    // The one that would have made the call.
    drop(scene.coming.remove(0));
    scene.gate.wait_for_metric(WAITING, 2).await;
    scene.close();
    for (answer, number) in scene.answers().await.iter().zip(0..) {
        holds(answer, number, "batched");
    }
    assert_eq!(scene.counts(), [2]);
    let records = scene.gate.wait_for_records(3).await;
    let gone = records.iter().find(|record| record["outcome"] == "client_gone_early").unwrap();
    assert_eq!(
        (&gone["cost"], &gone["attempts"], &gone["price"]),
        (&json!("0"), &json!(0), &json!("0"))
    );
    sums::add_up(&scene.provider, &records);
}

#[tokio::test]
async fn when_all_leave_an_open_window_nothing_is_called() {
    let mut scene = three().await;
    scene.coming.clear();
    scene.gate.wait_for_metric(WAITING, 0).await;
    scene.close();
    let records = scene.gate.wait_for_records(3).await;
    assert_eq!(outcomes(&records), ["client_gone_early"; 3]);
    assert!(scene.provider.calls().is_empty());
}

#[tokio::test]
async fn who_leaves_a_call_bears_its_share_and_others_get_theirs() {
    for leaver in 0..3 {
        let mut scene = three().await;
        let held = Gate::closed();
        scene.provider.next(Reply::json(200, &said(&joint(3), |_| true)).after(&held));
        scene.close();
        scene.provider.wait_for_calls(1).await;
        drop(scene.coming.remove(leaver));
        scene.gate.wait_for_metric("tollgate_inflight{scope=\"aboard\"}", 2).await;
        held.open();
        let answers = scene.answers().await;
        let stayed = (0..3_usize).filter(|number| *number != leaver);
        for (answer, number) in answers.iter().zip(stayed) {
            holds(answer, number as u64, "batched");
        }
        let records = scene.gate.wait_for_records(3).await;
        sums::add_up(&scene.provider, &records);
        assert_eq!(outcomes(&records), ["client_gone_early", "ok", "ok"]);
        assert!(scene.provider.disconnects().is_empty());
    }
}

/// What it had by then is charged, the whole of its choice is its cost.
#[tokio::test]
async fn who_leaves_a_stream_pays_for_what_was_there() {
    let mut scene = Scene::begin(|setup| setup).await;
    scene.gather(&ask(&stream_body()), 3).await;
    let held = Gate::closed();
    let body = streams::joint(3);
    let mut reply = Reply::stream();
    for (place, event) in streams::events(&body, |_| true).iter().enumerate() {
        reply = if place == 3 { reply.wait(&held).event(event) } else { reply.event(event) };
    }
    scene.provider.next(reply);
    scene.close();
    for connection in &mut scene.coming {
        connection.head().await;
        connection.event_data().await;
    }
    held.reached_by(1).await;
    scene.coming.remove(0).reset();
    scene.gate.wait_for_metric("tollgate_inflight{scope=\"aboard\"}", 2).await;
    held.open();
    for (connection, number) in scene.coming.iter_mut().zip(1..) {
        streams::holds(connection, number, String::new(), false).await;
    }
    let records = scene.gate.wait_for_records(3).await;
    assert_eq!(outcomes(&records), ["client_gone_late", "ok", "ok"]);
    sums::add_up(&scene.provider, &records);
    let gone = records.iter().find(|record| record["outcome"] == "client_gone_late").unwrap();
    assert_eq!((&gone["quantity"], &gone["price"]), (&json!(1), &json!("0.01")));
    assert_eq!(gone["tokens"]["output"], 0, "nothing but its opening was there");
    assert_eq!(gone["cache"], "batched");
}

#[tokio::test]
async fn a_call_that_all_have_left_is_given_up() {
    for stream in [false, true] {
        let mut scene = Scene::begin(|setup| setup).await;
        let body = if stream { stream_body() } else { chat_body() };
        scene.gather(&ask(&body), 3).await;
        let held = Gate::closed();
        let events = streams::events(&streams::joint(3), |_| true);
        scene.provider.next(match stream {
            true => Reply::stream().event(&events[0]).wait(&held),
            false => Reply::hang(),
        });
        scene.close();
        scene.provider.wait_for_calls(1).await;
        if stream {
            scene.coming[0].head().await;
            scene.coming[0].event_data().await;
        }
        scene.coming.clear();
        assert_eq!(scene.provider.wait_for_disconnect().await, 0);
        let records = scene.gate.wait_for_records(3).await;
        let first = if stream { "client_gone_late" } else { "client_gone_early" };
        let mut expected = ["client_gone_early", "client_gone_early", first];
        expected.sort_unstable();
        assert_eq!(outcomes(&records), expected);
        // The prompt, counted once, is divided among them.
        assert!(sums::costs(&records) > tollgate::base::money::Money::ZERO);
        let costs: Vec<_> = records.iter().map(|record| &record["cost"]).collect();
        assert!(stream || costs[0] == costs[2], "{costs:?}");
        scene.gate.wait_for_metric(REQUESTS, 0).await;
    }
}

/// Of a stream that breaks off, those who had nothing of it ask once more.
#[tokio::test]
async fn a_cut_stream_is_cut_for_those_who_had_a_part_of_it() {
    let mut scene = Scene::begin(|setup| setup).await;
    scene.gather(&ask(&stream_body()), 3).await;
    let events = streams::events(&streams::joint(3), |number| number != 1);
    let three: usize = events[..3].iter().map(|event| event.len() + 8).sum();
    scene.provider.next(Reply::events(&events).cut_after(three));
    scene.close();
    let [first, second, third] = scene.coming.as_mut_slice() else { panic!("three have come") };
    for cut in [first, third] {
        assert_eq!(cut.head().await.header("x-tollgate-cache"), Some("batched"));
        let mut seen = Vec::new();
        while let Ok(Some(data)) = cut.event().await {
            seen.extend_from_slice(&data);
        }
        let seen = String::from_utf8(seen).unwrap();
        assert!(seen.contains("assistant") && !seen.contains("[DONE]"), "{seen}");
    }
    assert_eq!(second.head().await.header("x-tollgate-cache"), Some("bypass"));
    streams::holds(second, 0, String::new(), false).await;
    assert_eq!(scene.counts(), [3, 1]);
    let records = scene.gate.wait_for_records(3).await;
    assert_eq!(outcomes(&records), ["cut", "cut", "ok"]);
}

#[tokio::test]
async fn a_stream_without_a_choice_has_its_caller_ask_again() {
    let mut scene = Scene::begin(|setup| setup).await;
    scene.gather(&ask(&stream_body()), 3).await;
    let body = streams::joint(3);
    scene.provider.next(Reply::events(streams::events(&body, |number| number != 1)));
    scene.close();
    for (connection, number) in scene.coming.iter_mut().zip([0, 0, 2]) {
        connection.head().await;
        streams::holds(connection, number, String::new(), false).await;
    }
    assert_eq!(scene.counts(), [3, 1]);
    sums::add_up(&scene.provider, &scene.gate.records().await);
}

/// Providers that do not stream answer whole; the callers get that, as one alone would.
#[tokio::test]
async fn an_answer_of_the_other_form_is_dealt_out_too() {
    let mut scene = Scene::begin(|setup| setup).await;
    scene.gather(&ask(&stream_body()), 2).await;
    scene.provider.next(Reply::json(200, &said(&joint(2), |_| true)));
    scene.close();
    for (answer, number) in scene.answers().await.iter().zip(0..) {
        holds(answer, number, "batched");
    }
    scene.gather(&ask(&chat_body()), 2).await;
    scene.provider.next(Reply::events(streams::events(&streams::joint(2), |_| true)));
    scene.close();
    for (connection, number) in scene.coming.iter_mut().zip(0..) {
        connection.head().await;
        streams::holds(connection, number, String::new(), false).await;
    }
    assert_eq!(usage(&joint(2))["completion_tokens"], 12);
    assert_eq!(text(0), "Sample 0");
}

/// A queue without room refuses all of them, and nothing is consumed.
#[tokio::test]
async fn where_there_is_no_slot_all_are_refused() {
    let mut scene = Scene::begin(|setup| {
        setup.set("limits.global.concurrent", 1).set("limits.global.queue", 0)
    })
    .await;
    let held = Gate::closed();
    scene.provider.next(Reply::json(200, &said(&chat_body(), |_| true)).after(&held));
    let shared = ask(&chat_body()).header("x-tollgate-samples", "shared");
    let mut running = scene.gate.open(&shared).await;
    scene.provider.wait_for_calls(1).await;
    scene.gather(&ask(&chat_body()), 3).await;
    scene.close();
    for answer in scene.answers().await {
        answer.refused(503, "overloaded");
    }
    held.open();
    running.answer().await.ok();
    assert_eq!((scene.gate.records().await.len(), scene.counts().len()), (1, 1));
}
