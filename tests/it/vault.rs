//! What is kept is sealed under keys that change and can be destroyed. Covers D4,
//! I2 and I3.

use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::harness::binary::{Process, run, text};
use crate::harness::client::{Answer, Request};
use crate::harness::door::{Door, chat_body};
use crate::harness::provider::Provider;
use crate::harness::setup::{DEFAULT_PLAN, Tollgate, key_of};
use crate::reload::{reload, rewrite};

/// Sends a request that may be repeated: what is kept of it is sealed.
async fn repeat(gate: &Door, key: &str) -> Answer {
    let request = Request::post("/v1/chat/completions", &chat_body()).bearer(key);
    gate.send(&request.header("idempotency-key", "k")).await.ok()
}

#[track_caller]
fn was_kept(answer: &Answer, kept: bool) {
    assert_eq!(answer.header("x-tollgate-cache"), Some(if kept { "hit" } else { "bypass" }));
}

async fn make(gate: &Door, id: &str) -> String {
    let account = json!({"id": id, "name": id, "plan": DEFAULT_PLAN});
    assert_eq!(gate.tell("POST", "/admin/accounts", &account).await.status(), 201);
    let made = gate.tell("POST", "/admin/keys", &json!({"account": id})).await;
    made.json()["key"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn what_was_kept_of_an_account_is_gone_when_it_is_deleted() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).start().await;
    let (shop, other) = (make(&gate, "shop").await, make(&gate, "other").await);
    for key in [&shop, &other] {
        was_kept(&repeat(&gate, key).await, false);
        was_kept(&repeat(&gate, key).await, true);
    }
    gate.tell("DELETE", "/admin/accounts/shop", &Value::Null).await.ok();
    // Its namesake is somebody else, also to what is kept of requests' bodies.
    let namesake = make(&gate, "shop").await;
    let mut body = chat_body();
    body["seed"] = json!(7);
    let request = Request::post("/v1/chat/completions", &body).bearer(&namesake);
    let answer = gate.send(&request.header("idempotency-key", "k")).await.ok();
    was_kept(&answer, false);
    was_kept(&repeat(&gate, &other).await, true);
    assert_eq!(provider.calls().len(), 3);
}

fn give(gate: &Process, master: &str, retired: &[&str]) {
    rewrite(gate, |config| {
        config["privacy"] = json!({"master_key": master, "retired_keys": retired});
    });
}

#[tokio::test]
async fn master_keys_change_at_a_start_and_at_a_reload() {
    let provider = Provider::start().await;
    let mut gate = Tollgate::before(&provider).spawn().await;
    let key = key_of(DEFAULT_PLAN);
    was_kept(&repeat(&gate, &key).await, false);
    let made = gate.file().with_file_name("data").join("vault/master.key");
    assert_eq!(std::fs::metadata(&made).unwrap().permissions().mode() & 0o777, 0o600);

    let names =
        ["first", "second", "third"].map(|name| format!("{name}-master-key-of-{name}-text"));
    let [first, second, third] = &names;
    give(&gate, first, &[]);
    gate = gate.kill_and_restart().await;
    was_kept(&repeat(&gate, &key).await, true);
    // It needs the key that was made here no more.
    std::fs::remove_file(&made).unwrap();
    give(&gate, second, &[first]);
    gate = gate.kill_and_restart().await;
    was_kept(&repeat(&gate, &key).await, true);

    give(&gate, third, &[]);
    reload(&gate).await.ok();
    was_kept(&repeat(&gate, &key).await, true);
    gate = gate.kill_and_restart().await;
    was_kept(&repeat(&gate, &key).await, true);
    let shown = gate.admin("/admin/config").await.ok();
    assert_eq!(shown.json()["privacy"]["master_key"], "***");
    assert!(!made.exists(), "a key is made where none is given only");

    give(&gate, first, &[second]);
    gate.kill();
    let file = gate.file().display().to_string();
    let refused = run(&["serve", "-c", &file]).await;
    let said = text(&refused.stderr) + &text(&refused.stdout);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("privacy.retired_keys"), "{said}");
    for secret in &names {
        assert!(!(said.contains(secret) || gate.log().contains(secret)), "{said}");
    }
    provider.only_call();
}
