//! What is made final is what was seen, and a damaged ledger is no reason to
//! bill less or to give anything back.

use std::path::Path;

use serde_json::{Value, json};

use super::{ask, draft, finalize, lines, made, month_of, post, row, run, sold};
use crate::harness::binary::text;
use crate::harness::provider::Provider;

/// Damages what the ledger in `data` has of the last request of the class `cheap`.
fn damage(data: &Path) {
    const FIND: &[u8] = b"cheap";
    let mut harmed = false;
    for file in std::fs::read_dir(data.join("journal")).unwrap() {
        let path = file.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        // The last is the settlement; a call before it may be in another file.
        if let Some(at) = bytes.windows(FIND.len()).rposition(|found| found == FIND) {
            bytes[at] ^= 1;
            std::fs::write(&path, bytes).unwrap();
            harmed = true;
        }
    }
    assert!(harmed, "no request is in the ledger");
}

/// Covers invariants 1 and 2: usage that is gone is named, not left out in silence,
/// and is no credit either.
#[tokio::test]
async fn a_draft_over_a_damaged_ledger_is_refused_until_that_is_said() {
    let provider = Provider::start().await;
    let gate = sold(&provider).spawn().await;
    let account = gate.admin("/admin/accounts/pro").await.ok().json();
    let month = &*month_of(&account);
    ask(&gate, "pro", "/v1/chat/completions").await;
    ask(&gate, "pro", "/cheap/v1/chat/completions").await;
    let before = draft(&gate, "pro", month).await;
    damage(&gate.file().with_file_name("data"));
    let wanted = json!({"month": month, "account": "pro"});
    let error = post(&gate, "/admin/invoices", &wanted).await.refused(409, "conflict");
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains(".journal at byte ") && message.contains("despite_damage"),
        "{message}"
    );
    post(&gate, "/admin/invoices", &json!({"month": month})).await.refused(409, "conflict");
    let path = format!("/admin/invoices/{}", before["id"].as_str().unwrap());
    assert_eq!(gate.admin(&path).await.ok().json(), before, "nothing is changed");

    let nonsense = json!({"month": month, "despite_damage": 1});
    post(&gate, "/admin/invoices", &nonsense).await.refused(400, "invalid_value");
    let output = gate.command(&["invoices", "generate", "--month", month]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains(".journal at byte "), "{}", text(&output.stderr));
    run(&gate, &["generate", "--month", month, "--despite-damage"]).await;
    let left = gate.admin(&path).await.ok().json();
    assert_eq!(lines(&left)[1..], [row("ai_api", "default", 1, "0.02", "0.02")], "{left}");
    let said = json!({"month": month, "account": "pro", "despite_damage": true});
    assert_eq!(made(&post(&gate, "/admin/invoices", &said).await), left);
}

#[tokio::test]
async fn only_the_draft_that_was_seen_becomes_final() {
    let provider = Provider::start().await;
    let gate = sold(&provider).spawn().await;
    let account = gate.admin("/admin/accounts/pro").await.ok().json();
    let month = &*month_of(&account);
    ask(&gate, "pro", "/v1/chat/completions").await;
    let shown = draft(&gate, "pro", month).await;
    let id = shown["id"].as_str().unwrap();
    let path = format!("/admin/invoices/{id}");
    let tag = |answer: &crate::harness::client::Answer| {
        answer.header("etag").unwrap().trim_matches('"').to_owned()
    };
    let seen = tag(&gate.admin(&path).await);
    let export = gate.admin(&format!("{path}/export")).await.ok().json();
    assert_eq!(export["hash"], seen, "the export says it too");
    ask(&gate, "pro", "/v1/chat/completions").await;
    draft(&gate, "pro", month).await;
    let finalize_seen =
        async |hash: &str| post(&gate, &format!("{path}/finalize"), &json!({"hash": hash})).await;
    finalize_seen(&seen).await.refused(409, "conflict");
    finalize_seen("abc").await.refused(400, "invalid_value");
    let output = gate.command(&["invoices", "finalize", id, "--hash", &seen]).await;
    assert_eq!(output.status.code(), Some(1));
    let now = run(&gate, &["show", id]).await;
    let now = now.lines().find_map(|line| line.strip_prefix("hash")).unwrap().trim().to_owned();
    assert_eq!(now, tag(&gate.admin(&path).await));
    let last = run(&gate, &["finalize", id, "--hash", &now, "--format", "json"]).await;
    let last: Value = serde_json::from_str(&last).unwrap();
    assert_eq!(last["status"], "final");
    assert_eq!(finalize_seen(&now).await.ok().json(), last, "once more is no error");
    assert_eq!(finalize(&gate, &last).await, last);
}
