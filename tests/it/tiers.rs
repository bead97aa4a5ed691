//! Cached answers outlive the process, sealed. Covers D2, D4, I2 and invariant 4.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::binary::Process;
use crate::harness::client::{Answer, Request};
use crate::harness::door::{Door, chat_body, stream_body};
use crate::harness::eventually::eventually;
use crate::harness::provider::Provider;
use crate::harness::reply::Reply;
use crate::harness::setup::{ADMIN_TOKEN, DEFAULT_PLAN, Setup, Tollgate, key_of};
use crate::reload::{reload, rewrite};

fn cached(provider: &Provider) -> Setup {
    Tollgate::before(provider).class("docs", "0.01", &json!({"cache": {"ttl": "1h"}})).class(
        "common",
        "0.01",
        &json!({"cache": {"ttl": "1h", "scope": "shared"}}),
    )
}

fn ask_with(key: &str, class: &str, body: &Value) -> Request {
    Request::post(&format!("/{class}/v1/chat/completions"), body).bearer(key)
}

fn ask(plan: &str, class: &str, body: &Value) -> Request {
    ask_with(&key_of(plan), class, body)
}

async fn expect(gate: &Door, request: &Request, result: &str) -> Answer {
    let answer = gate.send(request).await.ok();
    assert_eq!(answer.header("x-tollgate-cache"), Some(result), "{:?}", answer.head);
    answer
}

/// Waits until something new is on the disk, `before` bytes being there already.
async fn on_disk(gate: &Door, before: u64) -> u64 {
    let shown = "tollgate_cache_bytes{tier=\"disk\"}";
    let more = async || Some(gate.metric(shown).await).filter(|bytes| *bytes > before);
    eventually("an entry on the disk", more).await
}

async fn purge(gate: &Door, query: &str) -> Value {
    let request = Request::new("DELETE", &format!("/admin/cache{query}")).bearer(ADMIN_TOKEN);
    request.send(gate.admin).await.ok().json()["removed"].clone()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found
}

fn copy(from: &Path, to: &Path) {
    for file in files(from) {
        let target = to.join(file.strip_prefix(from).unwrap());
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(file, target).unwrap();
    }
}

fn data(gate: &Process) -> PathBuf {
    gate.file().with_file_name("data")
}

#[tokio::test]
async fn answers_outlive_the_process_and_go_on_ageing() {
    let provider = Provider::start().await;
    let mut gate = cached(&provider).start().await;
    let whole = ask(DEFAULT_PLAN, "docs", &chat_body());
    let mut other = stream_body();
    other["seed"] = json!(7);
    let streamed = ask(DEFAULT_PLAN, "docs", &other);
    let answer = expect(&gate, &whole, "miss").await;
    let events = expect(&gate, &streamed, "miss").await;
    gate.clock().advance(Duration::from_secs(100));
    gate = gate.restart_after(Duration::from_secs(500)).await;
    let again = expect(&gate, &whole, "hit").await;
    assert_eq!((again.number("age"), &again.body), (600, &answer.body));
    assert_eq!(again.header("content-type"), answer.header("content-type"));
    assert_eq!(expect(&gate, &streamed, "hit").await.body, events.body);
    gate.clock().advance(Duration::from_secs(10));
    assert_eq!(expect(&gate, &whole, "hit").await.number("age"), 610);
    assert_eq!(gate.metric("tollgate_cache_disk_reads_total").await, 2, "it is in memory then");
    let young = whole.clone().header("cache-control", "max-age=600");
    // An answer that is too old for one caller stays for others.
    gate = gate.restart().await.restart_after(Duration::from_secs(601)).await;
    expect(&gate, &young, "miss").await;
    gate.clock().advance(Duration::from_secs(3_600));
    gate = gate.restart_after(Duration::ZERO).await;
    expect(&gate, &streamed, "miss").await;
    assert_eq!(gate.metric("tollgate_cache_unreadable_total").await, 0);
    assert_eq!(provider.calls().len(), 4);
}

#[tokio::test]
async fn answers_outlive_a_kill() {
    let provider = Provider::start().await;
    let mut gate = cached(&provider).spawn().await;
    let request = ask(DEFAULT_PLAN, "docs", &chat_body());
    let answer = expect(&gate, &request, "miss").await;
    on_disk(&gate, 0).await;
    for _ in 0..2 {
        gate = gate.kill_and_restart().await;
        let again = expect(&gate, &request, "hit").await;
        assert_eq!(again.body, answer.body);
        assert!(again.number("age") < 600);
    }
    provider.only_call();
}

#[tokio::test]
async fn nobody_finds_anything_of_anybody_elses_on_the_disk() {
    let provider = Provider::start().await;
    let setup = cached(&provider).plan("ann", |plan| plan).plan("bob", |plan| plan);
    let mut gate = setup.start().await;
    expect(&gate, &ask("ann", "docs", &chat_body()), "miss").await;
    expect(&gate, &ask("ann", "common", &chat_body()), "miss").await;
    gate = gate.restart().await;
    expect(&gate, &ask("bob", "docs", &chat_body()), "miss").await;
    expect(&gate, &ask("bob", "common", &chat_body()), "hit").await;
    expect(&gate, &ask("ann", "docs", &chat_body()), "hit").await;
    assert_eq!(provider.calls().len(), 3);
}

#[tokio::test]
async fn no_file_has_a_word_of_a_prompt_or_an_answer() {
    const PROMPT: &str = "planted-prompt-0123456789";
    const ANSWER: &str = "planted-answer-0123456789";
    const WHO: [&str; 3] = ["personal-account", "docs", "gpt-4o-mini"];
    let provider = Provider::start().await;
    provider.answer(|_| {
        let message = json!({"role": "assistant", "content": ANSWER});
        let choice = json!({"index": 0, "message": message, "finish_reason": "stop"});
        Reply::json(200, &json!({"id": ANSWER, "model": "gpt-4o-mini", "choices": [choice]}))
    });
    let mut gate = cached(&provider).plan(WHO[0], |plan| plan).start().await;
    for number in 0..20 {
        let body = json!({
            "model": "gpt-4o-mini", "seed": number,
            "messages": [{"role": "user", "content": PROMPT}],
        });
        expect(&gate, &ask(WHO[0], "docs", &body), "miss").await;
    }
    gate = gate.restart().await;
    let scanned = files(&gate.data());
    assert!(scanned.iter().any(|file| file.starts_with(gate.data().join("cache"))));
    for file in scanned {
        let bytes = std::fs::read(&file).unwrap();
        let has = |text: &str| bytes.windows(text.len()).any(|part| part == text.as_bytes());
        assert!(!has(PROMPT) && !has(ANSWER), "{}", file.display());
        let is_cache = file.starts_with(gate.data().join("cache"));
        assert!(!(is_cache && WHO.iter().any(|text| has(text))), "{}", file.display());
    }
}

#[tokio::test]
async fn a_purge_reaches_the_disk_and_nothing_but_what_it_names() {
    let provider = Provider::start().await;
    let setup = cached(&provider).plan("ann", |plan| plan).plan("bob", |plan| plan);
    let mut gate = setup.start().await;
    let all = [("ann", "docs"), ("bob", "docs"), ("ann", "common")];
    for (query, left) in [
        ("?account=ann", [false, true, false]),
        ("?class=docs", [false, false, true]),
        ("?model=gpt-4o-mini&account=bob", [true, false, true]),
        ("?model=gpt-4o", [true, true, true]),
        ("", [false, false, false]),
    ] {
        for (plan, class) in all {
            gate.send(&ask(plan, class, &chat_body())).await.ok();
        }
        // Half of them are on the disk alone when they are removed.
        gate = gate.restart().await;
        expect(&gate, &ask("ann", "docs", &chat_body()), "hit").await;
        let gone = left.iter().filter(|left| !**left).count();
        assert_eq!(purge(&gate, query).await, gone, "{query}");
        gate = gate.restart().await;
        for ((plan, class), left) in all.into_iter().zip(left) {
            let request = ask(plan, class, &chat_body()).header("cache-control", "only-if-cached");
            let status = if left { 200 } else { 504 };
            assert_eq!(gate.send(&request).await.status(), status, "{query} {plan} {class}");
        }
    }
}

#[tokio::test]
async fn a_deleted_accounts_answers_stay_unreadable_when_old_files_come_back() {
    let provider = Provider::start().await;
    let mut gate = cached(&provider).spawn().await;
    let make = async |gate: &Door| {
        let account = json!({"id": "shop", "name": "shop", "plan": DEFAULT_PLAN});
        assert_eq!(gate.tell("POST", "/admin/accounts", &account).await.status(), 201);
        let made = gate.tell("POST", "/admin/keys", &json!({"account": "shop"})).await;
        made.json()["key"].as_str().unwrap().to_owned()
    };
    let key = make(&gate).await;
    expect(&gate, &ask_with(&key, "docs", &chat_body()), "miss").await;
    let one = on_disk(&gate, 0).await;
    expect(&gate, &ask(DEFAULT_PLAN, "docs", &chat_body()), "miss").await;
    on_disk(&gate, one).await;
    gate.kill();
    let (cache, old) = (data(&gate).join("cache"), data(&gate).join("old"));
    copy(&cache, &old);
    gate = gate.kill_and_restart().await;
    expect(&gate, &ask_with(&key, "docs", &chat_body()), "hit").await;
    gate.tell("DELETE", "/admin/accounts/shop", &Value::Null).await.ok();
    let namesake = make(&gate).await;
    expect(&gate, &ask_with(&namesake, "docs", &chat_body()), "miss").await;
    gate.kill();
    std::fs::remove_dir_all(&cache).unwrap();
    copy(&old, &cache);
    gate = gate.kill_and_restart().await;
    expect(&gate, &ask_with(&namesake, "docs", &chat_body()), "miss").await;
    assert_eq!(gate.metric("tollgate_cache_unreadable_total").await, 1);
    expect(&gate, &ask(DEFAULT_PLAN, "docs", &chat_body()), "hit").await;
}

/// Covers invariant 8.
#[tokio::test]
async fn the_disk_holds_no_more_than_it_may() {
    const MEGABYTE: u64 = 1024 * 1024;
    let provider = Provider::start().await;
    provider.answer(|call| {
        // Digits of a hash: zstd makes them half as long and no less.
        let mut noise = String::new();
        let mut hash = blake3::Hasher::new();
        hash.update(&call.body);
        let mut bytes = [0; 200_000];
        hash.finalize_xof().fill(&mut bytes);
        bytes.iter().for_each(|byte| noise.push_str(&format!("{byte:02x}")));
        Reply::json(200, &json!({"id": noise}))
    });
    let mut gate = cached(&provider).set("cache.disk", "16MB").start().await;
    let request = |number: u64| {
        let mut body = chat_body();
        body["seed"] = json!(number);
        ask(DEFAULT_PLAN, "docs", &body)
    };
    for number in 0..150 {
        expect(&gate, &request(number), "miss").await;
        gate.clock().advance(Duration::from_secs(10));
    }
    gate = gate.restart().await;
    let bytes = gate.metric("tollgate_cache_bytes{tier=\"disk\"}").await;
    assert!((12 * MEGABYTE..=16 * MEGABYTE).contains(&bytes), "{bytes} bytes");
    let folder = files(&gate.data().join("cache"));
    let real: u64 = folder.iter().map(|file| std::fs::metadata(file).unwrap().len()).sum();
    assert!((bytes / 2..=bytes).contains(&real), "{real} bytes in the folder for {bytes}");
    expect(&gate, &request(0), "miss").await;
    expect(&gate, &request(149), "hit").await;
}

#[tokio::test]
async fn a_damaged_folder_is_a_cold_cache_and_no_more() {
    let provider = Provider::start().await;
    let mut gate = cached(&provider).spawn().await;
    let request = ask(DEFAULT_PLAN, "docs", &chat_body());
    expect(&gate, &request, "miss").await;
    on_disk(&gate, 0).await;
    gate.kill();
    let mut damaged = Vec::new();
    for file in files(&data(&gate).join("cache")) {
        let mut bytes = std::fs::read(&file).unwrap();
        bytes.iter_mut().step_by(97).for_each(|byte| *byte ^= 0x55);
        std::fs::write(&file, &bytes).unwrap();
        damaged.push((file, bytes));
    }
    gate = gate.kill_and_restart().await;
    expect(&gate, &request, "miss").await;
    assert_eq!(gate.metric("tollgate_cache_unreadable_total").await, 1);
    expect(&gate, &request, "hit").await;
    // The damaged bytes may be counted still: what counts is that others are there.
    let folder = data(&gate).join("cache");
    let anew = async || {
        let sound = |file: &PathBuf| {
            let known = damaged.iter().any(|(old, bytes)| {
                old == file && std::fs::read(file).is_ok_and(|now| now == *bytes)
            });
            !known && !file.ends_with("unfinished")
        };
        files(&folder).iter().any(sound).then_some(())
    };
    eventually("the entry on the disk anew", anew).await;
    gate = gate.kill_and_restart().await;
    expect(&gate, &request, "hit").await;
}

#[tokio::test]
async fn entries_outlive_a_change_of_the_master_key() {
    let provider = Provider::start().await;
    let mut gate = cached(&provider).spawn().await;
    let request = ask(DEFAULT_PLAN, "docs", &chat_body());
    expect(&gate, &request, "miss").await;
    on_disk(&gate, 0).await;
    let give = |gate: &Process, master: &str, retired: &[&str]| {
        rewrite(gate, |config| {
            config["privacy"] = json!({"master_key": master, "retired_keys": retired});
        });
    };
    let [first, second] =
        ["first", "second"].map(|name| format!("{name}-master-key-and-more-text"));
    give(&gate, &first, &[]);
    reload(&gate).await.ok();
    gate = gate.kill_and_restart().await;
    expect(&gate, &request, "hit").await;
    give(&gate, &second, &[&first]);
    gate = gate.kill_and_restart().await;
    expect(&gate, &request, "hit").await;
    provider.only_call();
}

#[tokio::test]
async fn without_room_on_the_disk_nothing_is_there() {
    let provider = Provider::start().await;
    let mut gate = cached(&provider).spawn().await;
    let request = ask(DEFAULT_PLAN, "docs", &chat_body());
    expect(&gate, &request, "miss").await;
    on_disk(&gate, 0).await;
    rewrite(&gate, |config| config["cache"] = json!({"disk": "0B"}));
    for _ in 0..2 {
        gate = gate.kill_and_restart().await;
        assert!(!data(&gate).join("cache").exists());
        expect(&gate, &request, "miss").await;
        expect(&gate, &request, "hit").await;
    }
}
