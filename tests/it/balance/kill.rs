//! After a `kill -9` at any instant a balance is what was paid in less what the
//! journal says.

use std::sync::Arc;

use parking_lot::Mutex;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tollgate::base::money::Money;

use super::{adjust, balance, prepaid};
use crate::harness::client::{Connection, Request};
use crate::harness::door::Door;
use crate::harness::eventually::within;
use crate::harness::openai;
use crate::harness::provider::{Call, Provider};
use crate::harness::reply::Reply;
use crate::harness::setup::{ADMIN_TOKEN, key_of};

const ROUNDS: usize = 6;
const CLIENTS: usize = 8;

/// What was paid in as far as clients know: for sure, and at most.
#[derive(Default)]
struct PaidIn {
    answered: Money,
    asked: Money,
}

fn money(value: &Value) -> Money {
    value.as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_balance_after_a_kill_is_deposits_less_what_the_journal_says() {
    let seed: u64 = rand::random();
    println!("the seed is {seed}");
    let mut random = rand::rngs::StdRng::seed_from_u64(seed);
    let provider = Provider::start().await;
    provider.answer(answer);
    let mut gate = prepaid(&provider).spawn().await;
    let paid_in = Arc::new(Mutex::new(PaidIn::default()));
    for round in 0..ROUNDS {
        let clients: Vec<_> =
            (0..CLIENTS).map(|number| tokio::spawn(client((*gate).clone(), number))).collect();
        let paying = tokio::spawn(pay((*gate).clone(), paid_in.clone()));
        let until = provider.calls().len() + random.random_range(10..120);
        provider.wait_for_calls(until).await;
        gate.kill();
        for client in clients {
            within("a client to notice", client).await.unwrap();
        }
        within("who pays to notice", paying).await.unwrap();
        gate = gate.kill_and_restart().await;
        check(&gate, &paid_in, round).await;
    }
    let records = gate.records().await;
    let of = |outcome: &str| records.iter().filter(|it| it["outcome"] == outcome).count();
    assert!(of("ok") > ROUNDS && of("lost") > 0, "no mixed load");
    // What is paid back to the last cent is not there any more.
    let left = money(&balance(&gate).await["remaining"]);
    let rest = Money::from_picos(left.picos() / 10_000_000_000 * 10_000_000_000);
    assert_eq!(adjust(&gate, "withdrawal", &rest.to_string()).await.status(), 201);
    let gate = gate.kill_and_restart().await;
    assert_eq!(money(&balance(&gate).await["remaining"]), left - rest);
}

/// As the request itself wants it.
fn answer(call: &Call) -> Reply {
    match call.json()["metadata"]["want"].as_str() {
        Some("hang") => Reply::hang(),
        Some("break") => Reply::close(),
        Some("cut") => Reply::events(openai::chat_events("gpt-4o-mini", true)).cut_after(300),
        _ => openai::answer(call),
    }
}

/// Sends one request after the other until the gateway is gone.
async fn client(door: Door, number: usize) {
    let wants = match number {
        0 => ["hang"; 5],
        _ => ["plain", "stream", "cut", "break", "plain"],
    };
    for want in wants.iter().cycle() {
        let body = json!({
            "model": "gpt-4o-mini", "stream": matches!(*want, "stream" | "cut"),
            "metadata": {"want": want}, "messages": [{"role": "user", "content": "Say hello."}],
        });
        let request = Request::post("/v1/chat/completions", &body).bearer(&key_of("shop"));
        let Ok(stream) = tokio::net::TcpStream::connect(door.proxy).await else { return };
        let mut connection = Connection::over(stream);
        if connection.try_send(&request.bytes()).await.is_err()
            || connection.try_answer().await.is_err() && *want != "cut"
        {
            return;
        }
    }
}

/// Pays in, a little at a time, so that requests are refused in between.
async fn pay(door: Door, paid_in: Arc<Mutex<PaidIn>>) {
    let amount = "0.05";
    let body = json!({"account": "shop", "kind": "deposit", "amount": amount, "description": "x"});
    let request = Request::post("/admin/adjustments", &body).bearer(ADMIN_TOKEN);
    loop {
        let Ok(stream) = tokio::net::TcpStream::connect(door.admin).await else { return };
        let mut connection = Connection::over(stream);
        paid_in.lock().asked += amount.parse().unwrap();
        if connection.try_send(&request.bytes()).await.is_err() {
            return;
        }
        match connection.try_answer().await {
            Ok(answer) => assert_eq!(answer.status(), 201, "{}", answer.text()),
            Err(_) => return,
        }
        paid_in.lock().answered += amount.parse().unwrap();
    }
}

async fn check(gate: &Door, paid_in: &Mutex<PaidIn>, round: usize) {
    let now = balance(gate).await;
    let prices = |records: &[Value]| -> Money {
        let paid = records.iter().filter(|record| record["prepaid"] == true);
        paid.map(|record| money(&record["price"])).sum()
    };
    let mut kept = Money::ZERO;
    let mut path = "/admin/adjustments?account=shop".to_owned();
    loop {
        let page = gate.admin(&path).await.ok().json();
        kept +=
            page["data"].as_array().unwrap().iter().map(|it| money(&it["amount"])).sum::<Money>();
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/admin/adjustments?account=shop&after={next}");
    }
    let PaidIn { answered, asked } = *paid_in.lock();
    assert!(answered <= kept && kept <= asked, "round {round}: {answered} {kept} {asked}");
    assert_eq!(money(&now["deposited"]), kept, "round {round}");
    let charged = prices(&gate.records().await);
    assert_eq!(money(&now["charged"]), charged, "round {round}");
    assert_eq!(now["reserved"], "0", "round {round}");
    assert!(charged <= kept, "round {round}: {now}");
}
