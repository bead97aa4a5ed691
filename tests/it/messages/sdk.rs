//! The official SDKs of Anthropic and OpenAI across dialects. Covers E4, J1, J2.

use serde_json::json;

use super::{MODEL, before};
use crate::harness::anthropic;
use crate::harness::door::Door;
use crate::harness::openai;
use crate::harness::provider::Provider;
use crate::harness::sdk;
use crate::harness::setup::{Setup, Tollgate};
use crate::node;

const CLAUDE: (&str, &str) = ("MODEL", MODEL);
const MOCK: (&str, &str) = ("TEXT", anthropic::TEXT);
const TOOLS: (&str, &str) = ("TOOLS", "1");

/// A gateway that runs [`MODEL`] where it speaks as OpenAI does.
fn before_openai(provider: &Provider) -> Setup {
    let target = json!({"provider": "mock", "model": "gpt-4o-mini"});
    Tollgate::before(provider).models(&json!([{"name": MODEL, "targets": [target]}]))
}

async fn every_script(gate: &Door) {
    for script in ["messages.py", "messages_tools.py", "messages_errors.py"] {
        sdk::run(script, gate, &[CLAUDE, MOCK]).await;
    }
    node::run("messages.mjs", gate, &[CLAUDE, MOCK, TOOLS]).await;
}

#[tokio::test]
async fn anthropics_work_before_their_own_provider() {
    let provider = Provider::start().await;
    let gate = before(&provider).start().await;
    every_script(&gate).await;
}

#[tokio::test]
async fn anthropics_work_before_a_provider_that_speaks_as_openai_does() {
    assert_eq!(anthropic::TEXT, openai::TEXT, "the scripts expect the same of both");
    let provider = Provider::start().await;
    let gate = before_openai(&provider).start().await;
    every_script(&gate).await;
}

#[tokio::test]
async fn anthropics_work_with_the_built_in_provider() {
    let gate = Tollgate::sandbox().start().await;
    sdk::run("messages.py", &gate, &[CLAUDE]).await;
    node::run("messages.mjs", &gate, &[CLAUDE]).await;
}

#[tokio::test]
async fn openais_works_before_a_provider_that_speaks_as_anthropic_does() {
    let provider = Provider::start().await;
    let models = json!([
        {"name": "gpt-4o-mini", "targets": [{"provider": "mock", "model": "claude-sonnet-4-5"}]},
    ]);
    let gate = before(&provider).models(&models).start().await;
    sdk::run("across.py", &gate, &[MOCK]).await;
}
