//! A disk that is full, and a ledger that is damaged, as an operator meets them.
//! Covers H1 and invariant 7.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::binary::{Process, run, text};
use crate::harness::client::Request;
use crate::harness::eventually::eventually;
use crate::harness::provider::Provider;
use crate::harness::setup::Tollgate;

/// A small file system of its own; unmounted when dropped.
struct SmallDisk {
    at: tempfile::TempDir,
}

impl SmallDisk {
    /// None where this user may not mount.
    fn mount(size: &str) -> Option<Self> {
        let at = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "none"])
            .arg(at.path())
            .output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Self { at })
    }

    fn path(&self) -> &Path {
        self.at.path()
    }

    /// Takes all the room that is left, to the last page.
    fn fill(&self) -> PathBuf {
        let path = self.path().join("filler");
        let mut filler = File::create(&path).unwrap();
        while filler.write_all(&[7; 4096]).is_ok() {}
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // What holds it may be ending just now.
        drop(Command::new("umount").arg("-l").arg(self.path()).status());
    }
}

#[tokio::test]
async fn a_full_disk_refuses_loses_nothing_and_recovers_by_itself() {
    let Some(disk) = SmallDisk::mount("24m") else {
        println!("skipped: this user may not mount a file system");
        return;
    };
    let provider = Provider::start().await;
    let data = disk.path().join("data").display().to_string();
    let gate = Tollgate::before(&provider).set("store.path", data).spawn().await;
    let up = "tollgate_store_up{store=\"journal\"}";
    let mut answered = Vec::new();
    answered.push(id_of(&gate.send(&gate.chat()).await.ok()));
    assert_eq!(gate.metric(up).await, 1);

    let filler = disk.fill();
    // Each file of the journal has begun a page, which still takes some frames.
    let mut refused = 0;
    while refused < 40 {
        let answer = gate.send(&gate.chat()).await;
        if answer.status() == 503 {
            answer.refused(503, "storage_unavailable");
            refused += 1;
        } else {
            answered.push(id_of(&answer.ok()));
            refused = 0;
        }
        assert!(answered.len() < 10_000, "the disk is never full");
    }
    let calls = provider.calls().len();
    for _ in 0..5 {
        gate.send(&gate.chat()).await.refused(503, "storage_unavailable");
        gate.send(&gate.stream()).await.refused(503, "storage_unavailable");
    }
    assert_eq!(provider.calls().len(), calls, "what cannot be recorded is not asked for");
    assert_eq!(gate.metric(up).await, 0);
    assert_eq!(gate.admin("/readyz").await.status(), 503);
    assert!(known(&gate, &answered).await, "what was answered is there");

    fs::remove_file(filler).unwrap();
    for _ in 0..5 {
        answered.push(id_of(&gate.send(&gate.chat()).await.ok()));
    }
    gate.wait_for_metric(up, 1).await;
    assert!(known(&gate, &answered).await);

    let mut gate = gate.kill_and_restart().await;
    assert!(known(&gate, &answered).await);
    gate.kill();
    let found = verify(&gate).await;
    assert_eq!((&found.1["whole"], found.0), (&Value::Bool(true), Some(0)), "{}", found.1);
}

/// Files that nobody may change, root included, as those of a disk that turned
/// read-only; they may again once this is dropped. A mount cannot be made read-only
/// while files on it are open for writing.
struct Frozen<'a> {
    at: &'a Path,
}

impl<'a> Frozen<'a> {
    /// None where this user or file system may not.
    fn all_in(at: &'a Path) -> Option<Self> {
        let frozen = Self { at };
        frozen.set("+i").then_some(frozen)
    }

    fn set(&self, how: &str) -> bool {
        let output = Command::new("chattr").args(["-R", how]).arg(self.at).output();
        output.is_ok_and(|output| output.status.success())
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        self.set("-i");
    }
}

/// Answers with the status `code` that were counted.
async fn counted(gate: &Process, code: &str) -> u64 {
    let metrics = gate.admin("/metrics").await.ok().text();
    let label = format!("code=\"{code}\"");
    let counts = metrics
        .lines()
        .filter(|line| line.starts_with("tollgate_requests_total{") && line.contains(&label))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
    counts.sum()
}

#[tokio::test]
async fn a_read_only_disk_refuses_loses_nothing_and_recovers_without_a_request() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).set("opaque.provider", "mock").spawn().await;
    let data = gate.file().with_file_name("data");
    let up = "tollgate_store_up{store=\"journal\"}";
    let mut refused = 0;
    let mut answered = vec![id_of(&gate.send(&gate.chat()).await.ok())];
    for _ in 0..2 {
        let Some(frozen) = Frozen::all_in(&data) else {
            println!("skipped: this user may not make files immutable here");
            return;
        };
        let calls = provider.calls().len();
        for _ in 0..5 {
            gate.send(&gate.chat()).await.refused(503, "storage_unavailable");
            gate.send(&gate.stream()).await.refused(503, "storage_unavailable");
            let other = Request::post("/v1/moderations", &json!({})).bearer(&gate.key("tester"));
            gate.send(&other).await.refused(503, "storage_unavailable");
            refused += 3;
        }
        assert_eq!(counted(&gate, "503").await, refused, "each refusal is counted");
        assert_eq!(provider.calls().len(), calls, "what cannot be recorded is not asked for");
        assert_eq!(gate.metric(up).await, 0);
        assert_eq!(gate.admin("/readyz").await.status(), 503);
        assert!(known(&gate, &answered).await, "what was answered is there");
        drop(frozen);
        gate.wait_for_metric(up, 1).await;
        assert!(known(&gate, &answered).await, "a probe is no record");
        for _ in 0..5 {
            answered.push(id_of(&gate.send(&gate.chat()).await.ok()));
        }
    }
    let mut gate = gate.kill_and_restart().await;
    assert!(known(&gate, &answered).await);
    gate.kill();
    let found = verify(&gate).await;
    assert_eq!((&found.1["whole"], found.0), (&Value::Bool(true), Some(0)), "{}", found.1);
}

/// The id of an answered request.
fn id_of(answer: &crate::harness::client::Answer) -> String {
    answer.header("x-request-id").unwrap().to_owned()
}

/// Whether each of these requests has one record, charged, and no other has.
async fn known(gate: &Process, answered: &[String]) -> bool {
    let records = gate.records().await;
    let charged = records.iter().filter(|record| record["outcome"] == "ok");
    let mut charged: Vec<&str> =
        charged.filter_map(|record| record["request_id"].as_str()).collect();
    let mut answered: Vec<&str> = answered.iter().map(String::as_str).collect();
    charged.sort_unstable();
    answered.sort_unstable();
    charged == answered
}

/// Runs `tollgate ledger verify`: its exit code and its findings.
async fn verify(gate: &Process) -> (Option<i32>, Value) {
    let file = gate.file().display().to_string();
    let output = run(&["ledger", "verify", "-c", &file, "--format", "json"]).await;
    let found = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", text(&output.stderr)));
    (output.status.code(), found)
}

#[tokio::test]
async fn the_ledger_is_verified_and_rebuilt_offline() {
    let provider = Provider::start().await;
    let mut gate = Tollgate::before(&provider).spawn().await;
    for _ in 0..4 {
        gate.send(&gate.chat()).await.ok();
    }
    let file = gate.file().display().to_string();
    for command in ["verify", "rebuild"] {
        let output = run(&["ledger", command, "-c", &file]).await;
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains("in use by a running instance"));
    }
    assert_eq!(gate.terminate().await, Some(0));
    let (code, found) = verify(&gate).await;
    assert_eq!((code, &found["records"]), (Some(0), &Value::from(4)), "{found}");

    // Damage in the middle of the first segment.
    let journal = gate.file().with_file_name("data").join("journal");
    let mut segments: Vec<_> =
        fs::read_dir(&journal).unwrap().map(|entry| entry.unwrap().path()).collect();
    segments.sort();
    let mut bytes = fs::read(&segments[0]).unwrap();
    bytes[300] ^= 1;
    fs::write(&segments[0], &bytes).unwrap();
    let (code, found) = verify(&gate).await;
    assert_eq!((code, &found["whole"]), (Some(1), &Value::Bool(false)));
    let place = &found["damages"][0];
    assert_eq!(place["segment"], segments[0].display().to_string(), "{found}");
    assert!(place["offset"].as_u64().is_some_and(|offset| offset <= 300), "{found}");
    let output = run(&["ledger", "verify", "-c", &file]).await;
    let table = text(&output.stdout);
    assert!(table.contains("damaged") && table.contains(".journal"), "{table}");
    bytes[300] ^= 1;
    fs::write(&segments[0], &bytes).unwrap();

    // An index that says something else is found and made anew.
    let index = gate.file().with_file_name("data").join("index");
    let sidecar = fs::read_dir(&index)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|extension| extension == "index"))
        .unwrap();
    fs::write(&sidecar, "not an index").unwrap();
    let (code, found) = verify(&gate).await;
    assert_eq!((code, &found["index"][0]["flaw"]), (Some(1), &Value::from("damaged")), "{found}");
    let output = run(&["ledger", "rebuild", "-c", &file]).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(verify(&gate).await.0, Some(0));
    let gate = gate.kill_and_restart().await;
    let records = eventually("the records", async || Some(gate.records().await)).await;
    assert_eq!(records.len(), 4);
}
