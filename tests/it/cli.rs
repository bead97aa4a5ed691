//! The command as a person uses it. Covers J2, J4.

use std::process::Stdio;

use serde_json::Value;

use crate::harness::binary::{finish, run, text, tollgate};
use crate::harness::eventually::eventually;
use crate::harness::gate::Gate;
use crate::harness::openai;
use crate::harness::provider::Provider;
use crate::harness::reply::Reply;
use crate::harness::setup::{ADMIN_TOKEN, DEFAULT_PLAN, PROVIDER_KEY, Tollgate, key_of};

#[tokio::test]
async fn the_banner_says_how_to_begin_and_keeps_the_secrets() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).set("log.level", "debug").spawn().await;
    gate.send(&gate.chat()).await.ok();
    gate.send(&gate.stream()).await.ok();
    let banner = gate.banner();
    assert!(banner.contains("curl "), "{banner}");
    assert!(banner.contains(&format!("http://{}", gate.proxy)), "{banner}");
    assert!(banner.contains("mock"), "{banner}");
    let said = banner.to_owned() + &gate.log();
    let secrets = [PROVIDER_KEY, ADMIN_TOKEN, &key_of(DEFAULT_PLAN), "Say hello", openai::TEXT];
    for secret in secrets {
        assert!(!said.contains(secret), "{secret} is in the banner or the log");
    }
}

#[tokio::test]
async fn an_empty_key_is_made_and_printed_once() {
    let yaml = "
listen: { proxy: 127.0.0.1:0, admin: 127.0.0.1:0 }
store: { path: '{data}' }
providers: [{ name: sandbox, dialect: sandbox }]
models: [{ name: '*', targets: [{ provider: sandbox }] }]
keys: [{ account: demo, plan: pro, key: '' }]
";
    let gate = Tollgate::sandbox().yaml(yaml).spawn().await;
    let banner = gate.banner().to_owned();
    let start = banner.find("tg_live_").unwrap_or_else(|| panic!("no key in {banner}"));
    let end = |c: char| !c.is_ascii_alphanumeric() && c != '_';
    let key = banner.split_at(start).1.split(end).next().unwrap_or_default();
    let body = crate::harness::door::chat_body();
    let request = crate::harness::client::Request::post("/v1/chat/completions", &body).bearer(key);
    gate.send(&request).await.ok();
    let again = gate.kill_and_restart().await;
    assert!(!again.banner().contains(key), "a new start has a new key");
    again.send(&request).await.refused(401, "invalid_api_key");
}

#[tokio::test]
async fn usage_is_printed_for_people_and_for_programs() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).spawn().await;
    for _ in 0..3 {
        gate.send(&gate.chat()).await.ok();
    }
    let account = ["usage", "--account", DEFAULT_PLAN];
    let arguments = |more: &[&'static str]| [&account[..], more].concat();

    let json = gate.command(&arguments(&["--by", "request", "--format", "json"])).await;
    assert_eq!(json.status.code(), Some(0), "{}", text(&json.stderr));
    let records: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(records, Value::Array(gate.records().await));

    let table = gate.command(&arguments(&[])).await;
    assert_eq!(table.status.code(), Some(0), "{}", text(&table.stderr));
    assert!(text(&table.stdout).contains("0.06"), "{}", text(&table.stdout));

    let csv = gate.command(&arguments(&["--by", "request", "--format", "csv"])).await;
    let csv = text(&csv.stdout);
    assert_eq!(csv.lines().count(), 4, "{csv}");
    assert!(csv.lines().next().is_some_and(|head| head.contains("request_id")), "{csv}");

    let wrong = gate.command(&["usage", "--by", "colour"]).await;
    assert_eq!(wrong.status.code(), Some(2));
}

#[tokio::test]
async fn a_command_without_an_instance_says_so() {
    let mut command = tollgate();
    let nobody = crate::harness::provider::nowhere().await;
    let nobody = nobody.trim_end_matches("/v1");
    command.args(["usage"]).env("TOLLGATE_ADMIN_URL", nobody).env("TOLLGATE_ADMIN_TOKEN", "x");
    let output = finish(command).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains(nobody), "{}", text(&output.stderr));
}

#[tokio::test]
async fn exit_codes_tell_usage_from_failure() {
    assert_eq!(run(&["--version"]).await.status.code(), Some(0));
    assert_eq!(run(&["no-such-command"]).await.status.code(), Some(2));
    assert_eq!(run(&["check", "-c", "/nonexistent/tollgate.yaml"]).await.status.code(), Some(2));
    assert_eq!(run(&["serve", "-c", "/nonexistent/tollgate.yaml"]).await.status.code(), Some(2));
    let schema = run(&["schema"]).await;
    let schema: Value = serde_json::from_slice(&schema.stdout).unwrap();
    for key in ["listen", "providers", "models", "classes", "plans", "limits", "keys"] {
        assert!(schema["properties"].get(key).is_some(), "{key}");
    }
}

#[tokio::test]
async fn a_stop_finishes_what_is_running() {
    let provider = Provider::start().await;
    let mut gate = Tollgate::before(&provider).set("shutdown.grace", "600s").spawn().await;
    let held = Gate::closed();
    let events = openai::chat_events("gpt-4o-mini", true);
    provider.next(Reply::gated_events(&held, &events));
    let mut connection = gate.open(&gate.stream()).await;
    connection.head().await;
    held.release();
    connection.event_data().await;
    let proxy = gate.proxy;
    let finish = async {
        eventually("new connections to be refused", async || {
            tokio::net::TcpStream::connect(proxy).await.is_err().then_some(())
        })
        .await;
        held.open();
        let mut last = String::new();
        while let Some(event) = connection.event().await.unwrap() {
            last = text(&event);
        }
        last
    };
    let (code, last) = tokio::join!(gate.terminate(), finish);
    assert_eq!(last, "data: [DONE]\n\n");
    assert_eq!(code, Some(0));
}

#[tokio::test]
async fn an_idle_stop_takes_no_grace() {
    let provider = Provider::start().await;
    let mut gate = Tollgate::before(&provider).set("shutdown.grace", "600s").spawn().await;
    // An idle connection holds nothing up; the deadline of the harness is far
    // below the grace.
    let mut connection = gate.open(&gate.chat()).await;
    connection.answer().await.ok();
    assert_eq!(gate.terminate().await, Some(0));
}

#[tokio::test]
async fn a_second_instance_on_the_same_address_fails_plainly() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).spawn().await;
    let home = tempfile::TempDir::new().unwrap();
    let taken = gate.proxy.to_string();
    let file = Tollgate::before(&provider).set("listen.proxy", taken.clone()).write(home.path());
    let mut command = tollgate();
    command.arg("serve").arg("-c").arg(file).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = finish(command).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains(&taken), "{}", text(&output.stderr));
}

/// Starts a configuration whose data directory is `data`, and expects it to
/// fail; gives what it says.
async fn refused_start(provider: &Provider, data: &std::path::Path) -> String {
    let home = tempfile::TempDir::new().unwrap();
    let path = data.display().to_string();
    let file = Tollgate::before(provider).set("store.path", path).write(home.path());
    let mut command = tollgate();
    command.arg("serve").arg("-c").arg(file).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = finish(command).await;
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    said
}

#[tokio::test]
async fn a_data_directory_in_use_is_a_clear_error() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).spawn().await;
    let data = gate.file().parent().unwrap().join("data");
    let said = refused_start(&provider, &data).await;
    assert!(said.contains(&data.display().to_string()) && said.contains("use"), "{said}");
    gate.send(&gate.chat()).await.ok();
}

#[tokio::test]
async fn a_data_directory_that_cannot_be_written_is_a_clear_error() {
    let provider = Provider::start().await;
    // Whatever the user: nothing can be made below a file, or in a kernel's own
    // file system.
    let home = tempfile::TempDir::new().unwrap();
    let file = home.path().join("file");
    std::fs::write(&file, "").unwrap();
    for data in [file.join("data"), "/proc/tollgate".into()] {
        let said = refused_start(&provider, &data).await;
        assert!(said.contains(&data.display().to_string()), "{said}");
    }
}

#[tokio::test]
async fn a_data_directory_of_a_newer_version_is_a_clear_error() {
    let provider = Provider::start().await;
    let home = tempfile::TempDir::new().unwrap();
    let store = sled::open(home.path().join("store")).unwrap();
    store.open_tree("about").unwrap().insert("version", &99_u32.to_be_bytes()).unwrap();
    store.flush().unwrap();
    drop(store);
    let said = refused_start(&provider, home.path()).await;
    assert!(said.contains("newer") && said.contains("99"), "{said}");
}
