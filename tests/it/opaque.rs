//! The lane of endpoints that are passed on without being understood.

mod answers;
mod bulk;
mod forms;
mod gone;
mod isolation;
mod realtime;
mod said;
mod shop;
mod socket;
mod tenants;
mod things;

use serde_json::Value;

use crate::harness::client::{Answer, Request};
use crate::harness::gateway::Gateway;
use crate::harness::provider::Provider;
use crate::harness::sdk;
use crate::harness::setup::{Setup, Tollgate, key_of};

/// A gateway whose opaque lane goes to `provider`.
fn before(provider: &Provider) -> Setup {
    Tollgate::before(provider).set("opaque.provider", "mock")
}

/// The same with two accounts, `a` and `b`.
async fn two_tenants(provider: &Provider) -> Gateway {
    before(provider).plan("a", |plan| plan).plan("b", |plan| plan).start().await
}

/// A form with the given parts: what follows `form-data; ` in the head of each, and
/// its content.
fn form_of(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut form = Vec::new();
    for (head, content) in parts {
        let head = format!("--XX\r\ncontent-disposition: form-data; {head}\r\n\r\n");
        form.extend_from_slice(&[head.as_bytes(), content, b"\r\n"].concat());
    }
    form.extend_from_slice(b"--XX--\r\n");
    form
}

const PURPOSE: &str = "name=\"purpose\"";
const FILE: &str = "name=\"file\"; filename=\"a.jsonl\"";

/// A form with one file, which no provider runs.
fn form(content: &[u8]) -> Vec<u8> {
    form_of(&[(PURPOSE, b"user_data"), (FILE, content)])
}

/// A form with the file of a batch.
fn batch(content: &[u8]) -> Vec<u8> {
    form_of(&[(PURPOSE, b"batch"), (FILE, content)])
}

const FORM: &str = "multipart/form-data; boundary=XX";

/// Uploads a file.
fn upload(content: &[u8]) -> Request {
    Request::with_body("POST", "/v1/files", FORM, form(content))
}

/// Uploads a file for the account `tenant` and gives its identifier.
async fn file_of(gate: &Gateway, tenant: &str, content: &[u8]) -> String {
    let made = gate.send(&upload(content).bearer(&key_of(tenant))).await.ok();
    made.json()["id"].as_str().unwrap().to_owned()
}

async fn get(gate: &Gateway, tenant: &str, path: &str) -> Answer {
    gate.send(&Request::get(path).bearer(&key_of(tenant))).await
}

fn ids(list: &Value) -> Vec<&str> {
    list["data"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap()).collect()
}

/// Covers J1.
#[tokio::test]
async fn the_official_sdk_works_beyond_chat() {
    let provider = things::provider().await;
    let gate = before(&provider).start().await;
    let speech = things::speech().len().to_string();
    sdk::run("opaque.py", &gate, &[("SPEECH", &speech)]).await;
}

/// Covers J1.
#[tokio::test]
async fn the_official_sdk_for_node_works_beyond_chat() {
    let provider = things::provider().await;
    let gate = before(&provider).start().await;
    let speech = things::speech().len().to_string();
    crate::node::run("opaque.mjs", &gate, &[("SPEECH", &speech)]).await;
}
