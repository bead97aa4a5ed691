//! Whatever mix of hits, shared calls, samples, failures and departures: what the
//! records bear is what the provider charges. Covers B3 and invariant 2.

use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tollgate::base::money::Money;

use super::{WAITING, WINDOW, count, said, sampling, streams, sums, usage};
use crate::harness::client::{Connection, Request};
use crate::harness::gate::Gate;
use crate::harness::gateway::Gateway;
use crate::harness::provider::{Call, Provider};
use crate::harness::reply::Reply;
use crate::harness::setup::key_of;

const ABOARD: &str = "tollgate_inflight{scope=\"aboard\"}";
/// Mixes that run at once, and how often.
const AT_ONCE: u64 = 20;
const ROUNDS: u64 = 50;
/// How many samples a call makes at most.
const MOST: u64 = 4;

/// Numbers without a pattern, the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// A provider that waits at a gate, fails where the prompt says so, and writes down what
/// it charges.
#[derive(Clone)]
struct Till {
    gate: Arc<Mutex<Gate>>,
    charged: Arc<Mutex<Money>>,
}

impl Till {
    fn answer(&self, call: &Call) -> Reply {
        let body = call.json();
        let prompt = body["messages"][0]["content"].as_str().unwrap();
        let reply = match prompt.split(' ').next().unwrap() {
            "refused" => Reply::error(400, "refused"),
            "away" => Reply::error(503, "away"),
            kind => {
                *self.charged.lock() += sums::charge(&usage(&body));
                let last = count(&body) - 1;
                let makes = |number: u64| kind != "short" || number == 0 || number < last;
                match body["stream"] == true {
                    true => Reply::events(streams::events(&body, makes)),
                    false => Reply::json(200, &said(&body, makes)),
                }
            }
        };
        reply.after(&self.gate.lock())
    }
}

/// Requests that are the same.
struct Mix {
    waiting: Vec<Connection>,
    /// Whether they want samples of their own.
    own: bool,
    /// Whether none of them leaves: one has, or it might be alone in its call.
    stays: bool,
}

fn request(class: &str, prompt: &str, stream: bool) -> Request {
    let message = json!({"role": "user", "content": prompt});
    let body = json!({"model": "gpt-4o-mini", "messages": [message], "stream": stream});
    Request::post(&format!("/{class}/v1/chat/completions"), &body).bearer(&key_of("shop"))
}

/// One round: its requests come, some leave, and all that stay are answered. Gives how
/// many have come.
async fn play(gate: &Gateway, till: &Till, dice: &mut Dice, round: u64) -> u64 {
    let held = Gate::closed();
    *till.gate.lock() = held.clone();
    let (mut mixes, mut sent) = (Vec::new(), 0);
    let mut waiting = 0;
    for number in 0..AT_ONCE {
        let stream = dice.roll(2) == 0;
        if round > 0 && dice.roll(4) == 0 {
            // What an earlier round has brought, in either form.
            let known = request("docs", &format!("known {}", dice.roll(round)), stream);
            assert_eq!(gate.send(&known).await.ok().header("x-tollgate-cache"), Some("hit"));
            sent += 1;
            continue;
        }
        let own = dice.roll(3) > 0;
        let kind =
            ["refused", "away", "short", "well", "well"][usize::try_from(dice.roll(5)).unwrap()];
        let prompt = format!(
            "{kind} {round} {number} {}",
            "x".repeat(usize::try_from(dice.roll(40)).unwrap())
        );
        let same = request(if own { "own" } else { "docs" }, &prompt, stream);
        let callers = 1 + dice.roll(5);
        let mut mix = Mix { waiting: Vec::new(), own, stays: own && callers > MOST };
        for _ in 0..callers {
            mix.waiting.push(gate.open(&same).await);
        }
        waiting += if own { callers % MOST } else { 0 };
        sent += callers;
        mixes.push(mix);
    }
    mixes.push(Mix {
        waiting: vec![gate.open(&request("docs", &format!("known {round}"), false)).await],
        own: false,
        stays: true,
    });
    sent += 1;
    let aboard = |mixes: &[Mix]| mixes.iter().map(|mix| mix.waiting.len() as u64).sum();
    gate.wait_for_metric(ABOARD, aboard(&mixes)).await;
    gate.wait_for_metric(WAITING, waiting).await;
    // Some leave while they wait for others, and some while a call runs; never the last.
    for calls in [false, true] {
        for mix in mixes.iter_mut().filter(|mix| !mix.stays && mix.waiting.len() > 1) {
            let waits = mix.own && (mix.waiting.len() as u64) < MOST;
            if waits != calls && dice.roll(3) == 0 {
                drop(mix.waiting.remove(0));
                mix.stays = true;
            }
        }
        gate.wait_for_metric(ABOARD, aboard(&mixes)).await;
        gate.clock().advance(WINDOW);
        gate.wait_for_metric(WAITING, 0).await;
        for mix in &mut mixes {
            mix.own = false;
        }
    }
    held.open();
    for connection in mixes.iter_mut().flat_map(|mix| &mut mix.waiting) {
        let answer = connection.answer().await;
        assert!(matches!(answer.status(), 200 | 400 | 503), "{}", answer.text());
    }
    sent
}

#[tokio::test]
async fn a_thousand_mixes_add_up() {
    let provider = Provider::start().await;
    let gate = sampling(&provider)
        .set("batching.coalesce", true)
        .class("docs", "0.01", &json!({"cache": {"ttl": "1h"}}))
        .start()
        .await;
    let till = Till { gate: Arc::new(Mutex::new(Gate::closed())), charged: Arc::default() };
    let answering = till.clone();
    provider.answer(move |call| answering.answer(call));
    let mut dice = Dice(7);
    let mut sent = 0;
    for round in 0..ROUNDS {
        sent += play(&gate, &till, &mut dice, round).await;
    }
    let records = gate.wait_for_records(usize::try_from(sent).unwrap()).await;
    assert_eq!(records.len() as u64, sent);
    assert_eq!(sums::costs(&records), *till.charged.lock());
    let count = |field: &str, value: &str| {
        records.iter().filter(|record: &&Value| record[field] == value).count()
    };
    for (field, value, least) in [
        ("cache", "hit", 100),
        ("cache", "coalesced", 100),
        ("cache", "batched", 300),
        ("cache", "bypass", 100),
        ("outcome", "provider_error", 200),
        ("outcome", "client_gone_early", 50),
    ] {
        assert!(count(field, value) >= least, "{} {value}", count(field, value));
    }
}
