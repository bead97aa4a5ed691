//! `kill -9` at any instant loses no record. Covers A4, H1 and invariant 1.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::binary::{Process, run, text};
use crate::harness::client::{Connection, Request};
use crate::harness::door::Door;
use crate::harness::eventually::within;
use crate::harness::openai;
use crate::harness::provider::{Call, Provider};
use crate::harness::reply::Reply;
use crate::harness::setup::{DEFAULT_PLAN, Tollgate, key_of};

/// Kills, unless `TOLLGATE_CRASH_ROUNDS` says how many.
const ROUNDS: usize = 40;
const CLIENTS: usize = 14;
/// Requests that are the same and are sent at the same moment.
const TOGETHER: usize = 3;
/// Every so many rounds the ledger is held against what is known; what is wrong
/// with it once stays wrong.
const CHECK: usize = 10;

/// What the clients know, over all rounds.
#[derive(Default)]
struct Seen {
    next: AtomicUsize,
    /// Requests whose whole answer a client has.
    answered: Mutex<HashMap<String, String>>,
    /// Requests whose client left at once.
    left: Mutex<HashSet<String>>,
}

fn rounds() -> usize {
    let given = std::env::var_os("TOLLGATE_CRASH_ROUNDS");
    given.and_then(|text| text.to_str()?.parse().ok()).unwrap_or(ROUNDS)
}

#[tokio::test]
async fn no_record_is_lost_by_a_kill_at_any_instant_under_load() {
    let provider = Provider::start().await;
    provider.answer(answer);
    let seen = Arc::new(Seen::default());
    let mut gate = Tollgate::before(&provider)
        .set("routing.retries", 1)
        .set("batching.coalesce", true)
        .set("opaque.provider", "mock")
        .spawn()
        .await;
    let rounds = rounds();
    let mut lost = 0;
    for round in 1..=rounds {
        let clients: Vec<_> =
            (0..CLIENTS).map(|n| tokio::spawn(client((*gate).clone(), n, seen.clone()))).collect();
        // Each round is killed after another number of calls, so that all the
        // states between a call's begin and its record's end are met.
        provider.wait_for_calls(provider.calls().len() + 9 + round * 7 % 60).await;
        gate.kill();
        for client in clients {
            within("a client to notice", client).await.unwrap();
        }
        gate = gate.kill_and_restart().await;
        if round % CHECK == 0 || round == rounds {
            lost = check(&gate, &provider, &seen, round).await;
        }
    }
    mixed(&gate.records().await, rounds);
    assert!(lost > rounds / 2, "only {lost} calls were in flight at a kill");
    let answered = seen.answered.lock().len();
    assert!(answered > rounds, "only {answered} requests were answered: no load");
    gate.kill();
    let file = gate.file().display().to_string();
    let verified = run(&["ledger", "verify", "-c", &file, "--format", "json"]).await;
    assert!(verified.status.success(), "{}", text(&verified.stdout));
    let found: Value = serde_json::from_slice(&verified.stdout).unwrap();
    assert_eq!(found["repeated"], 0, "{found}");
    assert!(found["records"].as_u64().is_some_and(|records| records >= answered as u64));
}

/// Checks that there was something of everything.
fn mixed(records: &[Value], rounds: usize) {
    let count = |name: &str, value: &str| records.iter().filter(|it| it[name] == value).count();
    for (name, value, least) in [
        ("cache", "hit", rounds),
        ("cache", "coalesced", 1),
        ("path", "/v1/moderations", rounds / 4),
        ("outcome", "provider_error", 1),
        ("outcome", "client_gone_late", 1),
        ("outcome", "lost", rounds / 2),
    ] {
        let found = count(name, value);
        println!("{found} records with {name}: {value}");
        assert!(found >= least, "only {found} records with {name}: {value}");
    }
    println!("{} records", records.len());
}

/// Plain, streamed, refused, broken and never answered calls, as the request
/// itself wants it.
fn answer(call: &Call) -> Reply {
    let body = call.json();
    match body["metadata"]["want"].as_str() {
        Some("hang") => Reply::hang(),
        Some("opaque") => Reply::json(200, &json!({"id": "modr-1", "results": []})),
        Some("walk") => Reply::events(openai::chat_events("gpt-4o-mini", true)).hang_after(600),
        Some("stall") => Reply::events(openai::chat_events("gpt-4o-mini", true)).hang_after(300),
        Some("refuse") => Reply::error(400, "theirs"),
        Some("break") => Reply::close(),
        _ => openai::answer(call),
    }
}

/// Sends one request after the other until the gateway is gone.
async fn client(door: Door, number: usize, seen: Arc<Seen>) {
    let wants = match number {
        0 => ["hang"; 6],
        1 => ["stall"; 6],
        2 | 3 => ["hit", "hit", "leave", "hit", "hit", "plain"],
        4 | 5 => ["join"; 6],
        6 => ["opaque", "walk", "opaque", "plain", "walk", "opaque"],
        _ => ["plain", "stream", "plain", "refuse", "stream", "break"],
    };
    for want in wants.iter().cycle() {
        let id = format!("r{}", seen.next.fetch_add(1, Ordering::Relaxed));
        if *want == "join" {
            let one = |n| ask(door.clone(), format!("{id}-{n}"), "join", seen.clone());
            let all: Vec<_> = (0..TOGETHER).map(|n| tokio::spawn(one(n))).collect();
            let mut gone = false;
            for one in all {
                gone |= one.await.unwrap().is_err();
            }
            if gone {
                return;
            }
        } else if ask(door.clone(), id, want, seen.clone()).await.is_err() {
            return;
        }
    }
}

/// Sends one request; an error if the gateway is gone.
async fn ask(door: Door, id: String, want: &'static str, seen: Arc<Seen>) -> std::io::Result<()> {
    let mut stream = tokio::net::TcpStream::connect(door.proxy).await?;
    let request = request(&id, want).bytes();
    if matches!(want, "leave" | "walk") {
        stream.write_all(&request).await?;
        seen.left.lock().insert(id);
        // After the answer has begun, or before.
        let mut read = Vec::new();
        while want == "walk" && memchr::memmem::find(&read, b"data: ").is_none() {
            if within("an event", stream.read_buf(&mut read)).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
        return Ok(());
    }
    let mut connection = Connection::over(stream);
    connection.try_send(&request).await?;
    let answer = connection.try_answer().await?;
    let what = format!("{want}: {} {}", answer.status(), answer.text());
    seen.answered.lock().insert(id, what);
    Ok(())
}

fn request(id: &str, want: &str) -> Request {
    // Metadata is no part of a cache key or of what makes requests the same.
    let said = if matches!(want, "hit" | "join" | "stall") { want } else { id };
    let body = json!({
        "model": "gpt-4o-mini", "stream": matches!(want, "stream" | "stall" | "join" | "walk"),
        "metadata": {"id": id, "want": want}, "input": said,
        "messages": [{"role": "user", "content": format!("Say {said}.")}],
    });
    let path = if want == "opaque" { "/v1/moderations" } else { "/v1/chat/completions" };
    let request =
        Request::post(path, &body).bearer(&key_of(DEFAULT_PLAN)).header("x-request-id", id);
    if want == "hit" { request.header("x-tollgate-cache-ttl", "60") } else { request }
}

/// Holds the ledger against what clients and the provider know; gives the number
/// of records that were closed as `lost`.
async fn check(gate: &Process, provider: &Provider, seen: &Seen, round: usize) -> usize {
    let mut records: HashMap<String, Value> = HashMap::new();
    for record in gate.records().await {
        let id = record["request_id"].as_str().unwrap_or_default().to_owned();
        if let Some(other) = records.insert(id, record.clone()) {
            panic!("round {round}: two records of one request: {other} and {record}");
        }
    }
    let answered = seen.answered.lock().clone();
    for (id, what) in &answered {
        let record = records.get(id);
        let record = record.unwrap_or_else(|| panic!("round {round}: {id} ({what}) has no record"));
        assert_ne!(record["outcome"], "lost", "round {round}: {id} was answered whole");
    }
    let called: HashSet<String> = provider
        .calls()
        .iter()
        .filter_map(|call| call.json()["metadata"]["id"].as_str().map(str::to_owned))
        .collect();
    for id in &called {
        assert!(records.contains_key(id), "round {round}: the call of {id} is not in the ledger");
    }
    for (id, record) in &records {
        if record["outcome"] == "lost" {
            assert_eq!(record["price"], "0", "round {round}: {record}");
        } else {
            // Of a hit and of who joined the provider knows nothing, and of one that
            // was cut off in the middle of its answer nobody does.
            let known = called.contains(id)
                || answered.contains_key(id)
                || seen.left.lock().contains(id)
                || matches!(record["cache"].as_str(), Some("hit" | "coalesced"));
            assert!(known, "round {round}: a record that nobody knows of: {record}");
        }
    }
    let usage = Request::get("/v1/usage").bearer(&key_of(DEFAULT_PLAN));
    let usage = gate.send(&usage).await.ok().json();
    let charged = records.values().filter(|record| record["quantity"] == 1).count();
    assert_eq!(usage["quota"]["used"], charged, "round {round}: the count is not the journal's");
    records.values().filter(|record| record["outcome"] == "lost").count()
}
