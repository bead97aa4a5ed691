//! After a `kill -9` at a random instant the product's counts are the journal's:
//! minute, hour, day, month and tokens. Covers A4, F1 and invariant 3.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tollgate::base::clock::{Clock, SystemClock};

use crate::harness::binary::Process;
use crate::harness::client::{Answer, Connection, Request};
use crate::harness::door::Door;
use crate::harness::eventually::within;
use crate::harness::openai;
use crate::harness::provider::{Call, Provider};
use crate::harness::reply::Reply;
use crate::harness::setup::{Setup, Tollgate, key_of};

const ROUNDS: usize = 6;
/// More than all rounds ask together, so that nothing is refused but on purpose.
const LIMIT: u64 = 100_000;
const TOKENS: u64 = 50_000_000;
/// An account for each window, so that each is the one that answers tell of, and
/// where it is told.
const ACCOUNTS: [(&str, &str, &str); 5] = [
    ("minute", "requests_per_minute", "x-ratelimit-remaining-requests"),
    ("hour", "requests_per_hour", "x-ratelimit-remaining-requests"),
    ("day", "requests_per_day", "x-ratelimit-remaining-requests"),
    ("month", "requests_per_month", "x-tollgate-quota-remaining"),
    ("tokens", "tokens_per_minute", "x-ratelimit-remaining-tokens"),
];

fn gateway(provider: &Provider) -> Setup {
    let mut setup = Tollgate::before(provider).set("routing.retries", 1);
    for window in ["per_minute", "per_hour", "per_day"] {
        setup = setup.set(&format!("limits.user.{window}"), LIMIT * 10);
    }
    for (name, key, _) in ACCOUNTS {
        let limit = if name == "tokens" { TOKENS } else { LIMIT };
        setup = setup.plan(name, |plan| plan.set(key, limit));
    }
    setup.class("docs", "0.01", &json!({"cache": {"ttl": "1h"}}))
}

#[tokio::test]
async fn what_is_left_after_a_kill_is_what_the_journal_says() {
    let seed: u64 = rand::random();
    println!("the seed is {seed}");
    let mut random = rand::rngs::StdRng::seed_from_u64(seed);
    let provider = Provider::start().await;
    provider.answer(answer);
    let mut gate = gateway(&provider).spawn().await;
    let asked = Arc::new(AtomicUsize::new(0));
    for round in 0..ROUNDS {
        let mut clients = Vec::new();
        for (account, ..) in ACCOUNTS.into_iter().chain(ACCOUNTS) {
            let turn = random.random_range(0..1_000);
            clients.push(tokio::spawn(client((*gate).clone(), account, turn, asked.clone())));
        }
        let until = provider.calls().len() + random.random_range(1..150);
        provider.wait_for_calls(until).await;
        gate.kill();
        for client in clients {
            within("a client to notice", client).await.unwrap();
        }
        gate = gate.kill_and_restart().await;
        check(&gate, round).await;
    }
    let records = gate.records().await;
    let of = |outcome: &str| records.iter().filter(|it| it["outcome"] == outcome).count();
    assert!(of("ok") > ROUNDS && of("provider_error") > 0 && of("lost") > 0, "no mixed load");
    assert!(records.iter().any(|record| record["cache"] == "hit"), "nothing from the cache");
}

/// As the request itself wants it.
fn answer(call: &Call) -> Reply {
    match call.json()["metadata"]["want"].as_str() {
        Some("refuse") => Reply::error(400, "theirs"),
        Some("break") => Reply::close(),
        Some("cut") => Reply::events(openai::chat_events("gpt-4o-mini", true)).cut_after(300),
        _ => openai::answer(call),
    }
}

/// Sends one request after the other until the gateway is gone.
async fn client(door: Door, account: &str, turn: usize, asked: Arc<AtomicUsize>) {
    let wants = ["plain", "stream", "cached", "refuse", "cut", "break", "plain", "cached"];
    for want in wants.iter().cycle().skip(turn % wants.len()) {
        let number = asked.fetch_add(1, Ordering::Relaxed);
        let Ok(stream) = tokio::net::TcpStream::connect(door.proxy).await else { return };
        let mut connection = Connection::over(stream);
        if connection.try_send(&request(account, want, number).bytes()).await.is_err()
            || connection.try_answer().await.is_err() && !matches!(*want, "cut")
        {
            return;
        }
    }
}

fn request(account: &str, want: &str, number: usize) -> Request {
    let mut body = json!({
        "model": "gpt-4o-mini", "stream": matches!(want, "stream" | "cut"),
        "max_tokens": 1_000, "metadata": {"want": want},
        "messages": [{"role": "user", "content": format!("Say {number}.")}],
    });
    let mut path = "/v1/chat/completions";
    if want == "cached" {
        path = "/docs/v1/chat/completions";
        body["messages"] = json!([{"role": "user", "content": "Say hello."}]);
    }
    Request::post(path, &body).bearer(&key_of(account))
}

/// Holds what each account has left against its records.
async fn check(gate: &Process, round: usize) {
    let records = gate.records().await;
    for (account, _, header) in ACCOUNTS {
        let before = SystemClock::new().wall();
        let look = Request::get("/v1/models").bearer(&key_of(account));
        let answer: Answer = gate.send(&look).await.ok();
        let after = SystemClock::new().wall();
        // The look makes no record, and counts itself in windows of requests.
        let (limit, itself, length) = match account {
            "minute" => (LIMIT, 1, 60),
            "hour" => (LIMIT, 1, 3_600),
            "day" => (LIMIT, 1, 86_400),
            "month" => (LIMIT, 0, 31 * 86_400),
            _ => (TOKENS, 0, 60),
        };
        let counted = limit - itself - answer.number(header);
        let since = |moment: u64| -> u64 {
            let own = records.iter().filter(|record| record["account"] == account);
            own.filter(|record| micros(record) > moment).map(|it| weight(account, it)).sum()
        };
        // Those that leave the window about now may be counted or not; so may,
        // for a sixtieth, those that share a bucket with a later one. Tokens
        // count from the first byte on, a second later at the most.
        let least = since(after.0 - length * 1_000_000);
        let most = since(before.0 - length * 1_000_000 * 61 / 60 - 1_000_000);
        assert!(
            (least..=most).contains(&counted),
            "round {round}: {account} counts {counted}, the journal {least} to {most}"
        );
    }
}

/// What a record counts in the window of its account.
fn weight(account: &str, record: &Value) -> u64 {
    match account {
        "month" => record["quantity"].as_u64().unwrap(),
        "tokens" => {
            let tokens = &record["tokens"];
            tokens["input"].as_u64().unwrap() + tokens["output"].as_u64().unwrap()
        }
        _ => 1,
    }
}

/// When the record's request came, in microseconds since 1970.
fn micros(record: &Value) -> u64 {
    let time: jiff::Timestamp = record["time"].as_str().unwrap().parse().unwrap();
    u64::try_from(time.as_microsecond()).unwrap()
}
