//! An account's limits are exact whatever is tried, on real sockets: many at
//! once, the edge of a window, coming back too early. Covers F1, F5 and
//! invariant 3.

use std::time::Duration;

use futures_util::future::join_all;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::harness::client::{Answer, Connection, Request};
use crate::harness::door::chat_body;
use crate::harness::gateway::Gateway;
use crate::harness::plan::Plan;
use crate::harness::provider::Provider;
use crate::harness::setup::{Tollgate, key_of};

const MINUTE: Duration = Duration::from_secs(60);

async fn limited(provider: &Provider, change: impl FnOnce(Plan) -> Plan) -> Gateway {
    // A thousand heads wait for their last bytes for as long as that takes.
    let setup = Tollgate::before(provider).set("listen.header_timeout", "300s");
    setup.plan("free", change).start().await
}

/// Covers F5: of 1,000 simultaneous requests against a limit of 5 exactly 5
/// pass, 50 times over. Every head stands in the server without its last byte
/// before the first of them is let go.
#[tokio::test]
async fn of_1000_at_once_against_5_a_minute_exactly_5_pass_50_times() {
    const AT_ONCE: usize = 1_000;
    let provider = Provider::start().await;
    let gate = limited(&provider, |plan| plan.per_minute(5)).await;
    let mut connections = Vec::with_capacity(AT_ONCE);
    for _ in 0..AT_ONCE {
        connections.push(gate.connect().await);
    }
    let request = gate.chat_as("free").bytes();
    let head = request.len() - gate.chat_as("free").body().len() - 1;
    let (most, last) = request.split_at(head);
    for round in 0..50 {
        join_all(connections.iter_mut().map(|connection| connection.send(most))).await;
        join_all(connections.iter_mut().map(|connection| connection.send(last))).await;
        let answers = join_all(connections.iter_mut().map(Connection::answer)).await;
        let passed = answers.iter().filter(|answer| answer.status() == 200).count();
        assert_eq!(passed, 5, "round {round}");
        let mut refused = answers.iter().filter(|answer| answer.status() == 429);
        let first = refused.next().expect("a refusal");
        first.refused(429, "rate_limit_exceeded");
        assert_eq!(first.number("retry-after-ms"), 60_000, "round {round}");
        assert_eq!(refused.count(), AT_ONCE - 5 - 1, "round {round}");
        assert_eq!(provider.calls().len(), 5 * (round + 1), "round {round}");
        gate.clock().advance(MINUTE);
    }
    assert_eq!(gate.records().await.len(), 250);
}

/// Whether each of `count` requests on one connection was admitted.
async fn burst(connection: &mut Connection, request: &Request, count: usize) -> Vec<bool> {
    let mut admitted = Vec::with_capacity(count);
    for _ in 0..count {
        connection.send(&request.bytes()).await;
        let answer = connection.answer().await;
        if answer.status() != 200 {
            answer.refused(429, "rate_limit_exceeded");
        }
        admitted.push(answer.status() == 200);
    }
    admitted
}

/// The attack that a fixed window answers with nearly twice the limit: a burst
/// just before its edge and one just after. Wherever the edge would be, any 60 s
/// hold the limit at most, and the attacker gets all of it.
#[tokio::test]
async fn bursts_about_an_edge_get_the_limit_once() {
    const LIMIT: usize = 20;
    let provider = Provider::start().await;
    let gate = limited(&provider, |plan| plan.per_minute(20)).await;
    let request = gate.chat_as("free");
    let mut connection = gate.connect().await;
    // Milliseconds at which requests were admitted. The clock stands at noon, so
    // minutes have their edges at multiples of 60,000.
    let mut admitted: Vec<u64> = Vec::new();
    let mut now = 0_u64;
    for at in [59_900, 60_100, 119_890, 119_950, 120_050, 150_000, 179_999, 180_000, 240_100] {
        gate.clock().advance(Duration::from_millis(at - now));
        now = at;
        let passed = burst(&mut connection, &request, 2 * LIMIT).await;
        admitted.extend(passed.into_iter().filter(|passed| *passed).map(|_| at));
    }
    for (first, start) in admitted.iter().enumerate() {
        let inside = admitted.iter().skip(first).take_while(|at| **at < start + 60_000).count();
        assert!(inside <= LIMIT, "{inside} from {start} ms on");
    }
    let about_the_edge = admitted.iter().filter(|at| (59_900..=60_100).contains(*at)).count();
    assert_eq!(about_the_edge, LIMIT, "1.0 times the limit about the edge");
    // What is refused is only what would be too many.
    let whole = [59_900; LIMIT].into_iter().chain([119_950; LIMIT]).chain([179_999; LIMIT]);
    assert_eq!(admitted, whole.chain([240_100; LIMIT]).collect::<Vec<_>>());
}

/// The limits of a plan, each small enough to be met.
fn plans() -> impl Strategy<Value = (u32, u32, u32, u32)> {
    (2_u32..6, 5_u32..10, 8_u32..16, 120_u32..160)
}

/// What happens: so many milliseconds pass, then so many requests come whose
/// answers may take so many tokens.
fn visits() -> impl Strategy<Value = Vec<(u64, usize, u64)>> {
    let pause = prop_oneof![4 => 0_u64..30_000, 1 => 60_000_u64..2_000_000, 1 => Just(0)];
    prop::collection::vec((pause, 1_usize..5, 1_u64..90), 1..12)
}

fn of_at_most(most: u64) -> Request {
    let mut body = chat_body();
    body["max_tokens"] = most.into();
    Request::post("/v1/chat/completions", &body).bearer(&key_of("free"))
}

async fn ask(connection: &mut Connection, request: &Request) -> Answer {
    connection.send(&request.bytes()).await;
    connection.answer().await
}

/// `retry-after` is true in every window: a millisecond earlier the request is
/// refused still, at that moment it is admitted.
#[test]
fn a_request_that_comes_when_it_was_told_is_admitted_and_no_earlier() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut runner =
        TestRunner::new(Config { cases: 12, failure_persistence: None, ..Config::default() });
    let seen = std::cell::RefCell::new(std::collections::BTreeSet::new());
    let run = runner.run(&(plans(), visits()), |((minute, hour, day, tokens), visits)| {
        let plan = |plan: Plan| {
            plan.per_minute(minute)
                .per_hour(hour)
                .set("requests_per_day", day)
                .set("tokens_per_minute", tokens)
        };
        let refusals = runtime.block_on(comes_back(plan, &visits));
        seen.borrow_mut().extend(refusals);
        Ok(())
    });
    run.unwrap();
    let seen = seen.into_inner();
    for window in ["requests per minute", "requests per hour", "requests per day", "tokens"] {
        assert!(seen.contains(window), "no refusal by {window}, only by {seen:?}");
    }
}

/// Plays `visits` and follows each refusal's `retry-after`; gives what refused.
async fn comes_back(
    plan: impl FnOnce(Plan) -> Plan,
    visits: &[(u64, usize, u64)],
) -> Vec<&'static str> {
    let provider = Provider::start().await;
    let gate = limited(&provider, plan).await;
    let mut connection = gate.connect().await;
    let mut by = Vec::new();
    for (pause, count, tokens) in visits {
        gate.clock().advance(Duration::from_millis(*pause));
        let request = of_at_most(*tokens);
        for _ in 0..*count {
            let mut answer = ask(&mut connection, &request).await;
            // A full window of requests may hide one of tokens, never more.
            let mut turns = 0;
            while answer.status() != 200 {
                turns += 1;
                assert!(turns <= 2, "told to come again, and again");
                answer.refused(429, "rate_limit_exceeded");
                by.push(window(&answer));
                let wait = answer.number("retry-after-ms");
                gate.clock().advance(Duration::from_millis(wait - 1));
                let early = ask(&mut connection, &request).await;
                early.refused(429, "rate_limit_exceeded");
                assert_eq!(early.number("retry-after-ms"), 1, "of {wait} ms");
                gate.clock().advance(Duration::from_millis(1));
                let told_by = window(&answer);
                answer = ask(&mut connection, &request).await;
                let same = answer.status() != 200 && window(&answer) == told_by;
                assert!(!same, "{told_by} refuses at the moment that it named");
            }
        }
    }
    by
}

fn window(answer: &Answer) -> &'static str {
    let message = answer.json()["error"]["message"].as_str().unwrap_or_default().to_owned();
    let names = ["requests per minute", "requests per hour", "requests per day", "tokens"];
    names.into_iter().find(|name| message.contains(name)).expect("a window's name")
}
