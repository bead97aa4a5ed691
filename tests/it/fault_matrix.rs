//! Every fault of a provider, with and without streaming, with one to three targets:
//! what the client gets, how often providers are called, what it costs, and whether
//! the answer is kept. Covers E5.
//!
//! The first targets have the fault, the last of several is well. `cargo nextest run
//! --no-capture fault_matrix` prints the table.

use std::collections::HashMap;

use futures_util::StreamExt;
use serde_json::{Value, json};

use crate::failover::state;
use crate::harness::client::{Connection, Request};
use crate::harness::eventually::eventually;
use crate::harness::gate::Gate;
use crate::harness::gateway::Gateway;
use crate::harness::openai;
use crate::harness::provider::{Call, Provider, nowhere};
use crate::harness::reply::{Reply, Step};
use crate::harness::setup::{DEFAULT_PLAN, Tollgate, key_of};
use crate::harness::wire::Head;

/// Cases at once.
const AT_ONCE: usize = 8;
/// What an answer of the mock provider costs at the prices of this test.
const PAID: &str = "0.0000057";

/// What a target does.
const FAULTS: [&str; 12] = [
    "refused",
    "reset_before_header",
    "reset_after_header",
    "429",
    "500",
    "503",
    "hang_before_header",
    "hang_in_body",
    "garbage",
    "wrong_type",
    "cut_json",
    "slow_drip",
];

/// What a request comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Outcome {
    status: u16,
    /// Whether the answer has its proper end.
    whole: bool,
    attempts: u64,
    outcome: String,
    /// `paid`, `estimated` or `none`.
    cost: &'static str,
    /// Whether the same request is answered from the cache then.
    kept: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Case {
    fault: &'static str,
    stream: bool,
    targets: usize,
}

impl Case {
    fn all() -> impl Iterator<Item = Self> {
        FAULTS.into_iter().flat_map(|fault| {
            [false, true]
                .into_iter()
                .flat_map(move |stream| (1..=3).map(move |targets| Self { fault, stream, targets }))
        })
    }

    fn name(self) -> String {
        let form = if self.stream { "stream" } else { "whole" };
        format!("{}-{form}-{}", self.fault, self.targets)
    }

    /// The targets that have the fault.
    fn faulty(self) -> usize {
        (self.targets - 1).max(1)
    }

    /// What is right. A table with a line for each kind of fault.
    fn expected(self) -> Outcome {
        let outcome = |status, whole, attempts, outcome: &str, cost, kept| Outcome {
            status,
            whole,
            attempts,
            outcome: outcome.to_owned(),
            cost,
            kept,
        };
        let over = self.targets > 1;
        let faulty = self.faulty() as u64;
        match self.fault {
            // A call that finds no connection was not seen by the provider.
            "refused" if over => outcome(200, true, 1, "ok", "paid", false),
            "refused" => outcome(502, true, 0, "provider_error", "none", false),
            // Before the first byte the next target is asked, or the same again.
            "429" | "500" | "503" | "reset_before_header" | "garbage" | "hang_before_header"
                if over =>
            {
                outcome(200, true, faulty + 1, "ok", "paid", false)
            }
            "reset_before_header" | "garbage" => {
                outcome(502, true, 3, "provider_error", "none", false)
            }
            "hang_before_header" => outcome(504, true, 3, "provider_error", "none", false),
            "500" => outcome(500, true, 3, "provider_error", "none", false),
            "503" => outcome(503, true, 3, "provider_error", "none", false),
            // Never tried again at the target that said it.
            "429" => outcome(429, true, 1, "provider_error", "none", false),
            // After the first byte nobody else is asked: the provider has worked.
            "reset_after_header" | "cut_json" if !self.stream => {
                outcome(502, true, 1, "cut", "estimated", false)
            }
            "hang_in_body" if !self.stream => outcome(504, true, 1, "cut", "estimated", false),
            "reset_after_header" | "cut_json" | "hang_in_body" => {
                outcome(200, false, 1, "cut", "estimated", false)
            }
            // A complete answer passes as it is; what is no JSON is not kept.
            "wrong_type" => outcome(200, true, 1, "ok", "estimated", false),
            "slow_drip" => outcome(200, true, 1, "ok", "paid", true),
            other => panic!("{other}"),
        }
    }
}

/// The answer of a target with the fault that its model is named after; a connection
/// is reset once `read` lets it.
fn faulty(call: &Call, read: &HashMap<String, Gate>) -> Reply {
    let body = call.json();
    let model = body["model"].as_str().unwrap_or_default().to_owned();
    let stream = body["stream"] == true;
    let events = openai::chat_events(&model, openai::wants_usage(&body));
    let text = openai::chat(&body).to_string();
    // Connections are not kept, so that no case meets what another left behind.
    let closing = |reply: Reply| reply.header("connection", "close").then(Step::Close);
    let begun = if stream {
        Reply::events(&events).header("connection", "close")
    } else {
        Reply::json_text(200, text.clone()).header("connection", "close")
    };
    match model.split('-').next().unwrap_or_default() {
        "reset_before_header" => Reply::reset(),
        // A header that was not read yet could be lost with the reset.
        "reset_after_header" => match stream {
            true => Reply::stream()
                .chunk("data: {")
                .wait(&read[&model])
                .chunk("never whole")
                .reset_after(9),
            false => Reply::json_text(200, "{").claiming(9).wait(&read[&model]).then(Step::Reset),
        },
        "429" => closing(Reply::error(429, "slow_down").header("retry-after", "60")),
        "500" => closing(Reply::error(500, "theirs")),
        "503" => closing(Reply::error(503, "theirs")),
        "hang_before_header" => Reply::hang(),
        "hang_in_body" => begun.hang_after(40),
        "garbage" => Reply::raw("nonsense that is no HTTP\r\n\r\n").then(Step::Close),
        "wrong_type" => {
            closing(Reply::bytes(200, "<html>hello</html>").header("content-type", "text/html"))
        }
        "cut_json" => begun.cut_after(40),
        "slow_drip" if stream => {
            let whole: String = events.iter().map(|data| format!("data: {data}\n\n")).collect();
            let drip = |reply: Reply, byte| reply.chunk(vec![byte]);
            closing(whole.bytes().fold(Reply::stream(), drip))
        }
        "slow_drip" => {
            let empty = Reply::json_text(200, "").chunked();
            closing(text.bytes().fold(empty, |reply, byte| reply.chunk(vec![byte])))
        }
        other => panic!("no such fault: {other}"),
    }
}

/// A gateway where each of `cases` has a model, and each of its targets a provider, of
/// its own: so no case feels what another does to a breaker. What is slow is waited for,
/// unless it `hangs`.
async fn gateway(bad: &Provider, good: &Provider, cases: &[Case], hangs: bool) -> Gateway {
    let nowhere = nowhere().await;
    let mut models = Vec::new();
    let mut setup = Tollgate::before(good).set("routing.retries", 2);
    if hangs {
        setup = setup.set("routing.first_byte_timeout", "2s").set("routing.chunk_timeout", "3s");
    }
    for case in cases {
        let name = case.name();
        let mut targets = Vec::new();
        for place in 0..case.targets {
            let provider = format!("{name}-{place}");
            let well = place >= case.faulty();
            let url = match case.fault {
                _ if well => good.url(),
                "refused" => nowhere.clone(),
                _ => bad.url(),
            };
            setup = setup.another_provider(json!({
                "name": provider, "dialect": "openai", "base_url": url, "api_key": "sk-of-a-case",
            }));
            targets.push(json!({"provider": provider, "model": name}));
        }
        let cost = json!({"input": "0.15", "cached_input": "0.075", "output": "0.60"});
        models.push(json!({"name": name, "tier": "simple", "targets": targets, "cost": cost}));
    }
    setup.models(&json!(models)).start().await
}

fn request(case: Case, id: &str) -> Request {
    let body = json!({
        "model": case.name(), "stream": case.stream,
        "messages": [{"role": "user", "content": "Say hello."}],
    });
    Request::post("/v1/chat/completions", &body)
        .bearer(&key_of(DEFAULT_PLAN))
        .header("x-tollgate-cache-ttl", "1h")
        .header("x-request-id", id)
}

/// Reads an answer to its end: whether it has a proper one.
async fn drain(connection: &mut Connection) -> bool {
    loop {
        match connection.data().await {
            Ok(Some(_)) => {}
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}

/// Sends the request and reads its answer: its head, and whether it is whole.
async fn send(gate: &Gateway, request: &Request) -> (Head, bool) {
    let mut connection = gate.open(request).await;
    let head = connection.head().await;
    let whole = drain(&mut connection).await;
    (head, whole)
}

/// Lets the connection of request number `round`, from 1, be reset once the header of
/// its answer was read: that is an outcome for the breaker, and so is the reset.
async fn reset_after(gate: &Gateway, case: Case, read: &HashMap<String, Gate>, round: u64) {
    let Some(read) = read.get(&case.name()) else { return };
    read.reached_by(usize::try_from(round).unwrap()).await;
    let calls = round * 2 - 1;
    let first = format!("{}-0", case.name());
    eventually("the header to be read", async || {
        let known = state(gate, &first).await["health"]["calls"].as_u64();
        (known >= Some(calls)).then_some(())
    })
    .await;
    read.release();
}

/// Status, whether the answer is whole, and whether the same comes from the cache.
async fn ask(gate: &Gateway, case: Case, read: &HashMap<String, Gate>) -> (u16, bool, bool) {
    let asked = request(case, &case.name());
    let ((head, whole), ()) = tokio::join!(send(gate, &asked), reset_after(gate, case, read, 1));
    let again = request(case, &format!("{}-again", case.name()));
    let ((answer, _), ()) = tokio::join!(send(gate, &again), reset_after(gate, case, read, 2));
    (head.status(), whole, answer.header("x-tollgate-cache") == Some("hit"))
}

fn outcome(record: &Value, (status, whole, kept): (u16, bool, bool)) -> Outcome {
    assert_eq!(record["status"], status, "{record}");
    let cost = match record["cost"].as_str() {
        Some("0") => "none",
        Some(PAID) if record["estimated"] == false => "paid",
        Some(_) if record["estimated"] == true => "estimated",
        other => panic!("{other:?} in {record}"),
    };
    Outcome {
        status,
        whole,
        attempts: record["attempts"].as_u64().unwrap(),
        outcome: record["outcome"].as_str().unwrap().to_owned(),
        cost,
        kept,
    }
}

#[tokio::test]
async fn every_fault_ends_as_it_should() {
    let (bad, good) = (Provider::start().await, Provider::start().await);
    let resets = Case::all().filter(|case| case.fault == "reset_after_header");
    let read: HashMap<_, _> = resets.map(|case| (case.name(), Gate::closed())).collect();
    let gates = read.clone();
    bad.answer(move |call| faulty(call, &gates));
    let (mut asked, mut records) = (HashMap::new(), Vec::new());
    for hangs in [false, true] {
        let cases = Case::all().filter(|case| case.fault.starts_with("hang") == hangs);
        let cases: Vec<Case> = cases.collect();
        let gate = gateway(&bad, &good, &cases, hangs).await;
        let answers = futures_util::stream::iter(cases)
            .map(async |case| (case, ask(&gate, case, &read).await))
            .buffer_unordered(AT_ONCE)
            .collect::<Vec<_>>()
            .await;
        records.extend(gate.wait_for_records(answers.len() * 2).await);
        asked.extend(answers);
    }
    let record = |id: &str| records.iter().find(|record| record["request_id"] == id);
    let mut wrong = Vec::new();
    println!("| fault | form | targets | status | whole | attempts | outcome | cost | kept |");
    println!("|---|---|---|---|---|---|---|---|---|");
    for case in Case::all() {
        let record = record(&case.name()).unwrap_or_else(|| panic!("no record of {case:?}"));
        let got = outcome(record, asked[&case]);
        let Outcome { status, whole, attempts, outcome, cost, kept } = &got;
        let form = if case.stream { "stream" } else { "whole" };
        println!(
            "| {} | {form} | {} | {status} | {whole} | {attempts} | {outcome} | {cost} | {kept} |",
            case.fault, case.targets
        );
        if got != case.expected() {
            wrong.push(format!("{case:?}\n  is     {got:?}\n  should {:?}", case.expected()));
        }
        assert_eq!(record["quantity"], u64::from(outcome == "ok"), "{record}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
