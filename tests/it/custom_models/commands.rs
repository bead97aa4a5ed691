//! `tollgate accounts providers` and `tollgate accounts models`.

use serde_json::{Value, json};

use super::{KEY_A, setup};
use crate::harness::anthropic;
use crate::harness::binary::{Process, text};
use crate::harness::client::Request;
use crate::harness::door::chat_body;
use crate::harness::provider::Provider;
use crate::harness::setup::key_of;

/// Runs `tollgate accounts …`, which must end with `code`; gives what it says.
async fn accounts(gate: &Process, arguments: &[&str], code: i32) -> String {
    let output = gate.command(&[&["accounts"], arguments].concat()).await;
    let said = text(&output.stdout) + &text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    assert!(!said.contains(KEY_A), "{arguments:?} says the key");
    said
}

async fn as_json(gate: &Process, arguments: &[&str]) -> Value {
    let said = accounts(gate, &[arguments, &["--format", "json"]].concat(), 0).await;
    serde_json::from_str(&said).unwrap_or_else(|_| panic!("{arguments:?}: {said}"))
}

#[tokio::test]
async fn providers_and_models_are_added_listed_and_removed() {
    let (seller, own) = (Provider::start().await, Provider::start().await);
    own.answer(anthropic::answer);
    let gate = setup(&seller, &own).spawn().await;
    let key = gate.file().with_file_name("key.txt");
    std::fs::write(&key, format!("{KEY_A}\n")).unwrap();
    let (url, key) = (own.url(), key.display().to_string());
    let add = ["providers", "add", "a", "p", "--base-url", &url, "--api-key-file", &key];
    let added = accounts(&gate, &add, 0).await;
    for part in ["openai", &url, "***"] {
        assert!(added.contains(part), "{added}");
    }
    // One of this name is replaced.
    let replaced = as_json(&gate, &[&add[..], &["--dialect", "anthropic"]].concat()).await;
    assert_eq!((&replaced["name"], &replaced["dialect"]), (&json!("p"), &json!("anthropic")));
    assert_eq!((&replaced["base_url"], &replaced["api_key"]), (&json!(url), &json!("***")));
    let keyless = ["providers", "add", "a", "q", "--base-url", &url];
    assert_eq!(as_json(&gate, &keyless).await["api_key"], Value::Null);
    let listed = as_json(&gate, &["providers", "list", "a"]).await;
    let both = [&replaced["name"], &json!("q")];
    let names = listed.as_array().unwrap().iter().map(|one| &one["name"]);
    assert_eq!(names.collect::<Vec<_>>(), both, "{listed}");
    let table = accounts(&gate, &["providers", "list", "a"], 0).await;
    assert!(table.contains("anthropic") && table.contains(&url), "{table}");
    let csv = accounts(&gate, &["providers", "list", "a", "--format", "csv"], 0).await;
    assert_eq!(csv.lines().next(), Some("name,dialect,base_url,api_key,created_at"), "{csv}");
    assert_eq!(csv.lines().count(), 3, "{csv}");

    let add = ["models", "add", "a", "mine", "--provider", "p", "--model", "claude-x"];
    let model = as_json(&gate, &add).await;
    assert_eq!((&model["provider"], &model["model"]), (&json!("p"), &json!("claude-x")));
    let alias = ["models", "add", "a", "house", "--model", "gpt-4o-mini"];
    assert!(accounts(&gate, &alias, 0).await.contains("gpt-4o-mini"));
    assert_eq!(as_json(&gate, &["models", "list", "a"]).await.as_array().map(Vec::len), Some(2));
    assert!(accounts(&gate, &["models", "list", "a"], 0).await.contains("claude-x"));
    assert!(accounts(&gate, &["models", "list", "b"], 0).await.contains("no models"));

    let mut body = chat_body();
    body["model"] = json!("mine");
    let request = Request::post("/v1/chat/completions", &body).bearer(&key_of("a"));
    gate.send(&request).await.ok();
    let call = own.only_call();
    assert_eq!((call.header("x-api-key"), call.path()), (Some(KEY_A), "/v1/messages"));

    let used = accounts(&gate, &["providers", "remove", "a", "p"], 1).await;
    assert!(used.contains("model"), "{used}");
    let removed = as_json(&gate, &["models", "remove", "a", "mine"]).await;
    assert_eq!(removed, json!({"name": "mine", "deleted": true}));
    assert!(accounts(&gate, &["providers", "remove", "a", "p"], 0).await.contains('p'));
    accounts(&gate, &["providers", "remove", "a", "p"], 1).await;
    accounts(&gate, &["models", "remove", "a", "mine"], 1).await;
}

#[tokio::test]
async fn what_cannot_be_added_is_said_and_tells_by_its_exit_code() {
    let (seller, own) = (Provider::start().await, Provider::start().await);
    let gate = setup(&seller, &own).spawn().await;
    let url = own.url();
    let add = |account, more: &[&'static str]| {
        let mut all = vec!["providers", "add", account, "p"];
        all.extend_from_slice(more);
        all
    };
    let public = ["--base-url", "https://api.example.com/v1"];
    // What is wrong in itself.
    accounts(&gate, &add("a", &[]), 2).await;
    let unknown = accounts(&gate, &add("a", &[&public[..], &["--dialect", "x"]].concat()), 2).await;
    assert!(unknown.contains("anthropic") && unknown.contains("gemini"), "{unknown}");
    accounts(&gate, &["providers"], 2).await;
    accounts(&gate, &["models", "add", "a"], 2).await;
    let absent = [&public[..], &["--api-key-file", "/nonexistent/key"]].concat();
    assert!(accounts(&gate, &add("a", &absent), 1).await.contains("/nonexistent/key"));
    // The standard input is empty here, which is no key.
    accounts(&gate, &add("a", &[&public[..], &["--api-key-file", "-"]].concat()), 2).await;
    let private = accounts(&gate, &add("a", &["--base-url", "https://127.0.0.1/v1"]), 2).await;
    assert!(private.contains("custom_models.allow"), "{private}");
    accounts(&gate, &["models", "add", "a", "m", "--provider", "nobody"], 2).await;
    accounts(&gate, &["models", "add", "a", "m", "--model", "m"], 2).await;
    // What may not be, or is not there.
    let plain = accounts(&gate, &["providers", "add", "none", "p", "--base-url", &url], 1).await;
    assert!(plain.contains("custom_models"), "{plain}");
    accounts(&gate, &add("nobody", &public), 1).await;
    accounts(&gate, &["models", "list", "nobody"], 1).await;
    assert!(accounts(&gate, &["providers", "list", "a"], 0).await.contains("no providers"));
}
