//! Who holds a place is decided from heads alone: a client that has sent no body
//! occupies as much as one whose answer is under way. Covers F2, F4.

use futures_util::future::join_all;

use crate::harness::client::{Connection, Request};
use crate::harness::door::chat_body;
use crate::harness::eventually::eventually;
use crate::harness::gateway::Gateway;
use crate::harness::h2_client::H2Client;
use crate::harness::provider::Provider;
use crate::harness::setup::{DEFAULT_PLAN, Tollgate};

/// Opens a connection and sends the head of a chat alone.
async fn head_alone(gate: &Gateway) -> Connection {
    let mut connection = gate.connect().await;
    let request = gate.chat().header("expect", "100-continue");
    connection.send(request.head().as_bytes()).await;
    connection
}

/// The same, admitted: it has been told to send its body.
async fn holder(gate: &Gateway) -> Connection {
    let mut connection = head_alone(gate).await;
    assert_eq!(connection.any_head().await.status(), 100);
    connection
}

#[tokio::test]
async fn a_head_without_its_body_occupies_a_place_of_each_cap() {
    let provider = Provider::start().await;
    let per_account = Tollgate::before(&provider).plan(DEFAULT_PLAN, |plan| plan.concurrent(2));
    let per_address = Tollgate::before(&provider).set("limits.ip.concurrent", 2);
    let global = Tollgate::before(&provider).set("limits.global.requests", 2);
    let limited = (429, "concurrency_limit_exceeded");
    for (setup, (status, code)) in
        [(per_account, limited), (per_address, limited), (global, (503, "overloaded"))]
    {
        let called = provider.calls().len();
        let gate = setup.start().await;
        let mut holders = [holder(&gate).await, holder(&gate).await];
        gate.send(&gate.chat()).await.refused(status, code);
        head_alone(&gate).await.answer().await.refused(status, code);
        assert_eq!(provider.calls().len(), called, "no body, no call");
        // Each of them is served once its body comes.
        for holder in &mut holders {
            holder.send(chat_body().to_string().as_bytes()).await;
            holder.answer().await.ok();
        }
        // One that leaves without having sent its body gives its place back.
        let (_kept, left) = (holder(&gate).await, holder(&gate).await);
        gate.send(&gate.chat()).await.refused(status, code);
        drop(left);
        eventually("the place of the one that left", async || {
            (gate.send(&gate.chat()).await.status() == 200).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn the_streams_of_one_connection_are_requests_at_once() {
    let provider = Provider::start().await;
    let gate =
        Tollgate::before(&provider).plan(DEFAULT_PLAN, |plan| plan.concurrent(5)).start().await;
    let mut client = H2Client::open(gate.proxy).await;
    let request = gate.chat();
    let mut streams = Vec::new();
    for _ in 0..100 {
        streams.push(client.begin(&request).await);
    }
    // 95 are refused although no body was sent; 5 wait for theirs.
    gate.wait_for_metric("tollgate_refused_total{layer=\"user\",window=\"concurrent\"}", 95).await;
    assert!(provider.calls().is_empty());
    let answers = join_all(streams.into_iter().map(async |(mut stream, mut out)| {
        // A stream that is refused has been told to stop.
        drop(out.send_data(request.body().clone(), true));
        stream.answer().await.status
    }))
    .await;
    let count = |status| answers.iter().filter(|answer| **answer == status).count();
    assert_eq!((count(200), count(429)), (5, 95), "{answers:?}");
    assert_eq!(client.send(&request).await.status, 200, "the places are free again");
}

#[tokio::test]
async fn connections_over_the_global_cap_are_closed_unread() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).set("limits.global.connections", 3).start().await;
    let mut open = Vec::new();
    for _ in 0..3 {
        let mut connection = gate.connect().await;
        connection.send(&gate.chat().bytes()).await;
        connection.answer().await.ok();
        open.push(connection);
    }
    let mut over = gate.connect().await;
    assert!(over.closed().await.is_empty());
    gate.wait_for_metric("tollgate_refused_total{layer=\"global\",window=\"connections\"}", 1)
        .await;
    open.pop();
    eventually("the place of the one that left", async || {
        let mut again = gate.connect().await;
        again.try_send(&gate.chat().bytes()).await.ok()?;
        again.try_answer().await.ok().filter(|answer| answer.status() == 200)
    })
    .await;
    // Those that are open are served.
    open[0].send(&Request::get("/v1/models").bytes()).await;
    open[0].answer().await.refused(401, "invalid_api_key");
}
