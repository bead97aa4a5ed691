//! A workload as customers make it: few prompts often, many seldom. Covers B2, D1.

#![expect(clippy::float_arithmetic, reason = "probabilities are fractions")]

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::harness::client::{Connection, Request};
use crate::harness::gateway::Gateway;
use crate::harness::provider::Provider;
use crate::harness::setup::{DEFAULT_PLAN, Tollgate, key_of};

const PROMPTS: usize = 1_000;
/// Requests of each of two classes.
const REQUESTS: usize = 10_000;
/// Connections of a class; equal prompts come on one of them, so that none joins another.
const CONNECTIONS: usize = 4;

/// How probable each prompt is: by Zipf's law with the exponent 1.
fn probabilities() -> Vec<f64> {
    let weights: Vec<f64> = (1..=PROMPTS).map(|rank| 1.0 / rank as f64).collect();
    let sum: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / sum).collect()
}

/// How many of the requests are expected to repeat an earlier one: a prompt misses once
/// if it comes at all.
fn expected_hits(probabilities: &[f64]) -> f64 {
    let comes = |p: &f64| 1.0 - (1.0 - p).powi(i32::try_from(REQUESTS).unwrap());
    REQUESTS as f64 - probabilities.iter().map(comes).sum::<f64>()
}

/// Prompts drawn by their probability, the same in every run.
fn drawn(probabilities: &[f64], mut state: u64) -> Vec<usize> {
    let mut sum = 0.0;
    let bounds: Vec<f64> = probabilities
        .iter()
        .map(|p| {
            sum += p;
            sum
        })
        .collect();
    let draw = |_| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let point = (state >> 11) as f64 / (1_u64 << 53) as f64;
        bounds.partition_point(|bound| *bound < point).min(PROMPTS - 1)
    };
    (0..REQUESTS).map(draw).collect()
}

/// Sends these prompts one after the other; gives how many were answered from the cache.
async fn send(gate: &Gateway, class: &str, prompts: Vec<usize>) -> usize {
    let mut connection = Connection::open(gate.proxy).await;
    let mut hits = 0;
    for prompt in prompts {
        let message = json!({"role": "user", "content": format!("prompt {prompt}")});
        let body: Value = json!({"model": "gpt-4o-mini", "messages": [message]});
        let request = Request::post(&format!("/{class}/v1/chat/completions"), &body);
        connection.send(&request.bearer(&key_of(DEFAULT_PLAN)).bytes()).await;
        let answer = connection.answer().await.ok();
        hits += usize::from(answer.header("x-tollgate-cache") == Some("hit"));
    }
    hits
}

#[tokio::test]
async fn of_zipfs_workload_as_much_hits_as_can() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider)
        .class("docs", "0.01", &json!({"cache": {"ttl": "3d"}}))
        .class("code", "0.02", &json!({"cache": {"ttl": "1h"}}))
        .start()
        .await;
    let probabilities = probabilities();
    let expected = expected_hits(&probabilities);
    // Two draws that are no poorer in repeats than is to be expected.
    for (class, seed) in [("docs", 3), ("code", 10)] {
        let drawn = drawn(&probabilities, seed);
        let mut distinct = drawn.clone();
        distinct.sort_unstable();
        distinct.dedup();
        let parts = (0..CONNECTIONS).map(|part| {
            drawn.iter().copied().filter(|prompt| prompt % CONNECTIONS == part).collect()
        });
        let hits: usize = join_all(parts.map(|part| send(&gate, class, part))).await.iter().sum();
        // Whatever came before is there.
        assert_eq!(hits, REQUESTS - distinct.len());
        assert!(hits as f64 >= expected, "{class}: {hits} of {expected} expected");
        let ratio = gate.admin("/metrics").await.ok().text();
        let series = format!("tollgate_cache_hit_ratio{{class=\"{class}\"}} ");
        let ratio = ratio.lines().find_map(|line| line.strip_prefix(series.as_str())).unwrap();
        let ratio: f64 = ratio.parse().unwrap();
        assert!((ratio - hits as f64 / REQUESTS as f64).abs() < 1e-9, "{ratio}");
    }
    assert!(expected / REQUESTS as f64 > 0.9, "the workload is worth a cache: {expected}");
}
