//! What one client address may do. Covers F2 and F4.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tokio::net::TcpSocket;

use crate::harness::client::{Answer, Connection, Request};
use crate::harness::door::{Door, chat_body};
use crate::harness::eventually::eventually;
use crate::harness::gate::Gate;
use crate::harness::gateway::Gateway;
use crate::harness::h2_client::H2Client;
use crate::harness::provider::Provider;
use crate::harness::reply::Reply;
use crate::harness::setup::Tollgate;

/// A connection from this address of the loopback network.
async fn connect_from(gate: &Door, address: &str) -> Connection {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{address}:0").parse().unwrap()).unwrap();
    Connection::over(socket.connect(gate.proxy).await.unwrap())
}

async fn send_from(gate: &Door, address: &str, request: &Request) -> Answer {
    let mut connection = connect_from(gate, address).await;
    connection.send(&request.bytes()).await;
    connection.answer().await
}

/// How many of `count` chat requests from `address` pass; the others must be
/// refused for their rate.
async fn passed(gate: &Gateway, address: &str, count: usize) -> usize {
    let mut passed = 0;
    for _ in 0..count {
        let answer = send_from(gate, address, &gate.chat()).await;
        match answer.status() {
            200 => passed += 1,
            _ => drop(answer.refused(429, "rate_limit_exceeded")),
        }
    }
    passed
}

#[tokio::test]
async fn an_address_has_a_limit_a_minute_and_others_have_theirs() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).set("limits.ip.per_minute", 10).start().await;
    let took = passed(&gate, "127.0.0.1", 40).await;
    assert!((10..=15).contains(&took), "{took}");
    assert_eq!(passed(&gate, "127.0.0.2", 10).await, 10);
    let refused = send_from(&gate, "127.0.0.1", &gate.chat()).await;
    refused.refused(429, "rate_limit_exceeded");
    assert_eq!(refused.number("x-ratelimit-limit-requests"), 10);
    assert_eq!(refused.number("x-ratelimit-remaining-requests"), 0);
    let counted = gate.metric("tollgate_refused_total{layer=\"ip\",window=\"minute\"}").await;
    assert_eq!(counted, 41 - took as u64);
    // And it is true when it says when to come again.
    gate.clock().advance(Duration::from_millis(refused.number("retry-after-ms")));
    send_from(&gate, "127.0.0.1", &gate.chat()).await.ok();
    assert_eq!(gate.records().await.len(), took + 11);
}

#[tokio::test]
async fn an_address_has_a_limit_an_hour() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).set("limits.ip.per_hour", 10).start().await;
    let mut took = 0;
    for _ in 0..6 {
        took += passed(&gate, "127.0.0.1", 4).await;
        gate.clock().advance(Duration::from_secs(60));
    }
    assert!((10..=15).contains(&took), "{took}");
    let counted = gate.metric("tollgate_refused_total{layer=\"ip\",window=\"hour\"}").await;
    assert_eq!(counted, 24 - took as u64);
}

#[tokio::test]
async fn what_is_refused_elsewhere_consumes_nothing_of_the_address() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider)
        .set("limits.ip.per_minute", 10)
        .plan("tester", |plan| plan)
        .plan("tight", |plan| plan.per_minute(1))
        .start()
        .await;
    gate.send(&gate.chat_as("tight")).await.ok();
    for _ in 0..30 {
        gate.send(&gate.chat_as("tight")).await.refused(429, "rate_limit_exceeded");
        gate.send(&gate.chat_text("{")).await.refused(400, "invalid_json");
    }
    // And the other way round: what the address may not is not the account's.
    assert!(passed(&gate, "127.0.0.1", 30).await >= 9);
    let answer = gate.send(&gate.chat_as("tight")).await;
    answer.refused(429, "rate_limit_exceeded");
    assert_eq!(answer.number("x-ratelimit-limit-requests"), 10, "the address comes first");
    gate.clock().advance(Duration::from_millis(60_001));
    gate.send(&gate.chat_as("tight")).await.ok();
}

#[tokio::test]
async fn an_address_has_a_limit_of_requests_at_once() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).set("limits.ip.concurrent", 2).start().await;
    let held = Gate::closed();
    for _ in 0..2 {
        provider.next(Reply::json(200, &json!({"choices": []})).after(&held));
    }
    let mut first = gate.open(&gate.chat()).await;
    let second = gate.open(&gate.chat()).await;
    held.reached_by(2).await;
    // Refused from the header alone: the body never comes.
    let mut bodiless = gate.connect().await;
    bodiless.send(gate.chat().head().as_bytes()).await;
    let refused = bodiless.answer().await;
    refused.refused(429, "concurrency_limit_exceeded");
    assert!(refused.number("retry-after") >= 1);
    let counted = gate.metric("tollgate_refused_total{layer=\"ip\",window=\"concurrent\"}").await;
    assert_eq!(counted, 1);
    send_from(&gate, "127.0.0.2", &gate.chat()).await.ok();
    drop(second);
    provider.wait_for_disconnect().await;
    eventually("the place of the one that left", async || {
        (gate.send(&gate.chat()).await.status() == 200).then_some(())
    })
    .await;
    held.open();
    first.answer().await.ok();
    let both = join_all([gate.send(&gate.chat()), gate.send(&gate.chat())]).await;
    assert!(both.iter().all(|answer| answer.status() == 200));
}

#[tokio::test]
async fn the_streams_of_one_connection_are_one_address() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).set("limits.ip.per_minute", 10).start().await;
    let mut client = H2Client::open(gate.proxy).await;
    let mut took = 0;
    for _ in 0..30 {
        took += u32::from(client.send(&gate.chat()).await.status == 200);
    }
    assert!((10..=15).contains(&took), "{took}");
}

#[tokio::test]
async fn exempt_addresses_have_no_limits() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider)
        .set("limits.ip.per_minute", 2)
        .set("limits.ip.failed_keys_per_minute", 1)
        .set("limits.ip.connections", 1)
        .set("limits.ip.exempt", json!(["127.0.0.8/29"]))
        .start()
        .await;
    assert_eq!(passed(&gate, "127.0.0.9", 20).await, 20);
    let _held = join_all((0..5).map(|_| connect_from(&gate, "127.0.0.9"))).await;
    for _ in 0..5 {
        let unknown = Request::post("/v1/chat/completions", &chat_body()).bearer("nobody-has-this");
        send_from(&gate, "127.0.0.9", &unknown).await.refused(401, "invalid_api_key");
    }
    // Its neighbour outside of the network has them.
    let mut other = connect_from(&gate, "127.0.0.7").await;
    let mut refused = 0;
    for _ in 0..10 {
        other.send(&gate.chat().bytes()).await;
        refused += u32::from(other.answer().await.status() == 429);
    }
    assert!((7..=8).contains(&refused), "{refused}");
    assert!(connect_from(&gate, "127.0.0.7").await.closed().await.is_empty());
}

#[tokio::test]
async fn unknown_keys_are_limited_and_known_ones_are_not_concerned() {
    let provider = Provider::start().await;
    let gate =
        Tollgate::before(&provider).set("limits.ip.failed_keys_per_minute", 10).start().await;
    let unknown = |number: usize| {
        let key = format!("guess-number-{number}");
        Request::post("/v1/chat/completions", &chat_body()).bearer(&key)
    };
    let mut answered = 0_u64;
    for number in 0..40 {
        let answer = gate.send(&unknown(number)).await;
        match answer.status() {
            401 => answered += 1,
            _ => drop(answer.refused(429, "rate_limit_exceeded")),
        }
    }
    assert!((10..=15).contains(&answered), "{answered}");
    let last = gate.send(&unknown(41)).await;
    last.refused(429, "rate_limit_exceeded");
    assert!(last.number("retry-after") >= 1);
    let counted = gate.metric("tollgate_refused_total{layer=\"ip\",window=\"failed_keys\"}").await;
    assert_eq!(counted, 41 - answered);
    gate.send(&gate.chat()).await.ok();
    // A request without a key is no guess.
    let none = Request::post("/v1/chat/completions", &chat_body());
    gate.send(&none).await.refused(401, "invalid_api_key");
    send_from(&gate, "127.0.0.2", &unknown(42)).await.refused(401, "invalid_api_key");
    gate.clock().advance(Duration::from_millis(last.number("retry-after-ms")));
    gate.send(&unknown(43)).await.refused(401, "invalid_api_key");
}

#[tokio::test]
async fn connections_over_the_cap_are_closed_unread() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).set("limits.ip.connections", 3).start().await;
    let mut open = Vec::new();
    for _ in 0..3 {
        let mut connection = connect_from(&gate, "127.0.0.3").await;
        connection.send(&gate.chat().bytes()).await;
        connection.answer().await.ok();
        open.push(connection);
    }
    let mut over = connect_from(&gate, "127.0.0.3").await;
    assert!(over.closed().await.is_empty());
    gate.wait_for_metric("tollgate_refused_total{layer=\"ip\",window=\"connections\"}", 1).await;
    send_from(&gate, "127.0.0.4", &gate.chat()).await.ok();
    open.pop();
    eventually("the place of the one that left", async || {
        let mut again = connect_from(&gate, "127.0.0.3").await;
        again.try_send(&gate.chat().bytes()).await.ok()?;
        again.try_answer().await.ok().filter(|answer| answer.status() == 200)
    })
    .await;
}

#[tokio::test]
async fn behind_a_trusted_proxy_its_word_counts() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider)
        .set("listen.trusted_proxies", json!(["127.0.0.5"]))
        .set("limits.ip.per_minute", 4)
        // Above what lingers of the requests below, one after the other.
        .set("limits.ip.connections", 20)
        .start()
        .await;
    let ask = async |from: &str, forwarded: &str| {
        let request = gate.chat().header("x-forwarded-for", forwarded);
        send_from(&gate, from, &request).await.status()
    };
    for client in ["203.0.113.1", "203.0.113.2", "6.6.6.6, 2001:db8::1", "::ffff:203.0.113.3"] {
        for _ in 0..4 {
            assert_eq!(ask("127.0.0.5", client).await, 200, "{client}");
        }
    }
    // Two are half a limit; what a client wrote before the proxy does not count.
    for forged in 0..4 {
        ask("127.0.0.5", &format!("10.0.0.{forged}, 203.0.113.1")).await;
    }
    assert_eq!(ask("127.0.0.5", "1.1.1.1, 203.0.113.1").await, 429);
    assert_eq!(ask("127.0.0.5", "2001:db8::ffff").await, 200, "two more in the same /64");
    assert_eq!(ask("127.0.0.5", "2001:db8::fffe").await, 200);
    assert_eq!(ask("127.0.0.5", "2001:db8::fffd").await, 429);
    // Nobody else's word counts.
    for forged in 0..8 {
        ask("127.0.0.6", &format!("198.51.100.{forged}")).await;
    }
    assert_eq!(ask("127.0.0.6", "198.51.100.99").await, 429);
    // A proxy's connections are many clients'.
    let _held = join_all((0..25).map(|_| connect_from(&gate, "127.0.0.5"))).await;
    assert_eq!(ask("127.0.0.5", "198.51.100.1").await, 200);
}
