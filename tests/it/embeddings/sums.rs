//! What the callers bear adds up to what the provider charges.

use serde_json::{Value, json};
use tollgate::base::money::Money;

use super::{HELD, PRICE, Scene, ask_as, body, inputs, said, tokens};
use crate::harness::gate::Gate;
use crate::harness::provider::Provider;
use crate::harness::reply::Reply;
use crate::harness::setup::DEFAULT_PLAN;

fn cost(record: &Value) -> Money {
    record["cost"].as_str().unwrap().parse().unwrap()
}

/// That the costs of `records` are what the provider charges for its calls. It
/// charges nothing where an input is `guilty`.
#[track_caller]
pub(super) fn add_up(provider: &Provider, records: &[Value]) {
    let charged = |body: &Value| {
        let all = inputs(body);
        let refused = all.iter().any(|input| input == "guilty");
        if refused { 0 } else { all.iter().map(tokens).sum() }
    };
    let used: u64 = provider.calls().iter().map(|call| charged(&call.json())).sum();
    let price: Money = PRICE.parse().unwrap();
    let charge = Money::from_picos(price.picos() / 1_000_000 * i128::from(used));
    let borne: Money = records.iter().map(cost).sum();
    assert_eq!(borne, charge, "{used} tokens, {} records", records.len());
}

/// Numbers without a pattern, the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    /// Shorter than `most`.
    fn word(&mut self, most: u64) -> String {
        "x".repeat(usize::try_from(self.roll(most)).unwrap())
    }
}

/// Covers B3 and invariant 2.
#[tokio::test]
async fn two_hundred_mixes_add_up() {
    let mut scene = Scene::begin(|setup| setup).await;
    scene.end().await;
    scene.provider.answer(|call| {
        let body = call.json();
        let all = inputs(&body);
        // Of every sixth call the last vector is missing.
        let used: u64 = all.iter().map(tokens).sum();
        let most = if used.is_multiple_of(6) && all.len() > 1 { all.len() - 1 } else { all.len() };
        match all.iter().any(|input| input == "guilty") {
            true => Reply::error(400, "invalid_input"),
            false => said(&body, most),
        }
    });
    let mut dice = Dice(42);
    let mut sent = 1;
    for mix in 0..200_u64 {
        scene.waiting.clear();
        let class = if dice.roll(3) == 0 { "" } else { "/docs" };
        let ask = |input: Value| ask_as(DEFAULT_PLAN, class, &body(&input));
        let held = Gate::closed();
        let first = json!(format!("first {mix}"));
        scene.provider.next(said(&body(&first), 1).after(&held));
        let calls = scene.provider.calls().len();
        scene.come(&ask(first)).await;
        scene.provider.wait_for_calls(calls + 1).await;
        let callers = 1 + dice.roll(5);
        for caller in 0..callers {
            // One is new, so that it is asked for; others may be known.
            let mut input = vec![json!(format!("{mix} {caller} {}", dice.word(40)))];
            for _ in 0..dice.roll(4) {
                input.push(json!(format!("known {}", dice.word(30))));
            }
            if dice.roll(12) == 0 {
                input.push(json!("guilty"));
            }
            scene.hold(&ask(json!(input)), caller + 1).await;
        }
        sent += 1 + callers;
        if dice.roll(4) == 0 {
            drop(scene.waiting.pop());
            scene.gate.wait_for_metric(HELD, callers - 1).await;
        }
        held.open();
        for connection in &mut scene.waiting {
            let answer = connection.answer().await;
            assert!(matches!(answer.status(), 200 | 400 | 502), "{}", answer.text());
        }
    }
    let records = scene.gate.wait_for_records(usize::try_from(sent).unwrap()).await;
    assert_eq!(records.len() as u64, sent);
    add_up(&scene.provider, &records);
    for (outcome, least) in [("ok", 400), ("provider_error", 10), ("client_gone_early", 10)] {
        let count = records.iter().filter(|record| record["outcome"] == outcome).count();
        assert!(count >= least, "{count} {outcome}");
    }
    let batched = records.iter().filter(|record| record["cache"] == "batched").count();
    assert!(batched > 200, "{batched}");
}
