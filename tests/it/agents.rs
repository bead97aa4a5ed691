//! Agents and frameworks with their own clients, at their work: each reads a file
//! and changes it with tools that the provider calls, on a provider of the client's
//! dialect and of another. Covers E4, J1.

mod script;

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::binary::{finish, text};
use crate::harness::gateway::Gateway;
use crate::harness::provider::{Provider, nowhere};
use crate::harness::sdk;
use crate::harness::setup::{DEFAULT_PLAN, Tollgate, key_of};
use crate::node;

use script::Script;

/// What the file says before.
const BEFORE: &str = "Hello, world.\n";
/// What the agent makes of it.
const AFTER: &str = "Good day, world.\n";
/// What the agent says at the end.
const DONE: &str = "The greeting is formal now.";
/// Both calls of a tool, then the last text.
const STEPS: usize = 3;

/// A gateway before a provider of `dialect`, which runs all models as its own.
async fn gateway(provider: &Provider, dialect: &str) -> Gateway {
    let runs = match dialect {
        "openai" => "gpt-4.1",
        _ => "claude-sonnet-4-5",
    };
    let model = |name: &str| {
        json!({
            "name": name, "targets": [{"provider": "mock", "model": runs}],
            "cost": {"input": "3.00", "cached_input": "0.30", "output": "15.00"},
        })
    };
    Tollgate::before(provider)
        .provider("dialect", dialect)
        .set("routing.retries", 0)
        .models(&json!(["gpt-4.1", "gpt-5.6-luna", "claude-sonnet-4-5"].map(model)))
        .start()
        .await
}

/// An agent's desk: a folder of its own with the file in it.
fn desk() -> TempDir {
    let desk = TempDir::new().unwrap();
    std::fs::write(desk.path().join("greeting.txt"), BEFORE).unwrap();
    desk
}

/// What an agent may know of its surroundings. Whatever it would like to tell or
/// ask somebody else goes to a proxy that is not there.
async fn surroundings(desk: &Path) -> Vec<(&'static str, String)> {
    let proxy = nowhere().await.trim_end_matches("/v1").to_owned();
    vec![
        ("HTTP_PROXY", proxy.clone()),
        ("HTTPS_PROXY", proxy),
        ("NO_PROXY", "127.0.0.1".to_owned()),
        ("HOME", desk.join("home").display().to_string()),
        ("DESK", desk.display().to_string()),
        ("DONE", DONE.to_owned()),
        ("OPENAI_AGENTS_DISABLE_TRACING", "1".to_owned()),
        ("LANGSMITH_TRACING", "false".to_owned()),
        ("AI_SDK_TELEMETRY_DISABLED", "1".to_owned()),
    ]
}

/// The tools of our own agents: they read and write one file.
fn own_tools() -> Script {
    Script {
        calls: vec![
            ("read_file", json!({"name": "greeting.txt"})),
            ("write_file", json!({"name": "greeting.txt", "text": AFTER})),
        ],
        last: DONE,
    }
}

/// That `runs` runs came, each of so many `steps`, each call with the results of the
/// tools before it, and that each is a record at the provider's figures.
async fn every_step_came(gate: &Gateway, provider: &Provider, runs: usize, steps: usize) {
    let calls = provider.calls();
    assert_eq!(calls.len(), runs * steps);
    for (number, call) in calls.iter().enumerate() {
        let body = String::from_utf8_lossy(&call.body);
        let has_read = body.contains("Hello, world.");
        assert_eq!(has_read, number % steps > 0, "call {number}: {body}");
    }
    for record in gate.wait_for_records(runs * steps).await {
        let figures = (&record["outcome"], &record["tokens"]["input"], &record["estimated"]);
        assert_eq!(figures, (&json!("ok"), &json!(script::INPUT), &json!(false)), "{record}");
    }
}

/// Runs a script of our own with a framework's client, which makes `runs` runs of so
/// many `steps`.
async fn run_script(script: &'static str, dialect: &str, runs: usize, steps: usize) {
    let (provider, desk) = (Provider::start().await, desk());
    let told = own_tools();
    provider.answer(move |call| told.answer(call));
    let gate = gateway(&provider, dialect).await;
    let known = surroundings(desk.path()).await;
    let mut known: Vec<(&str, &str)> =
        known.iter().map(|(name, value)| (*name, &**value)).collect();
    known.push(("KEEPS", if dialect == "openai" { "1" } else { "0" }));
    match script.ends_with(".py") {
        true => sdk::run(script, &gate, &known).await,
        false => node::run(script, &gate, &known).await,
    }
    every_step_came(&gate, &provider, runs, steps).await;
}

/// OpenAI's agents, by Responses and by Chat Completions, whole and streamed.
#[tokio::test]
async fn openais_agents_work_where_chats_are_spoken() {
    run_script("agent.py", "openai", 4, STEPS).await;
}

#[tokio::test]
async fn openais_agents_work_where_messages_are_spoken() {
    run_script("agent.py", "anthropic", 4, STEPS).await;
}

/// `LangChain`, by Chat Completions, Responses and Messages, whole and streamed.
#[tokio::test]
async fn langchain_works_where_chats_are_spoken() {
    run_script("langchain_tools.py", "openai", 6, STEPS).await;
}

#[tokio::test]
async fn langchain_works_where_messages_are_spoken() {
    run_script("langchain_tools.py", "anthropic", 6, STEPS).await;
}

/// The AI SDK, by Chat Completions, Responses and Messages, whole and streamed; each
/// conversation goes on after its task.
#[tokio::test]
async fn the_ai_sdk_works_where_chats_are_spoken() {
    run_script("ai.mjs", "openai", 6, STEPS + 1).await;
}

#[tokio::test]
async fn the_ai_sdk_works_where_messages_are_spoken() {
    run_script("ai.mjs", "anthropic", 6, STEPS + 1).await;
}

/// Claude Code at one task, with its own tools: it reads the file, then edits it.
async fn claude_code(dialect: &str) {
    let (provider, desk) = (Provider::start().await, desk());
    let file = desk.path().join("greeting.txt");
    let path = file.display().to_string();
    let told = Script {
        calls: vec![
            ("Read", json!({"file_path": path})),
            ("Edit", json!({"file_path": path, "old_string": "Hello", "new_string": "Good day"})),
        ],
        last: DONE,
    };
    provider.answer(move |call| told.answer(call));
    let gate = gateway(&provider, dialect).await;
    let modules = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdk/node_modules");
    let program = modules.join("@anthropic-ai/claude-code/cli.js");
    assert!(program.exists(), "this needs tests/sdk/node_modules: run `make setup`");
    let mut command = Command::new("node");
    command
        .arg(program)
        .args(["-p", "Make the greeting in greeting.txt formal."])
        .args(["--model", "claude-sonnet-4-5", "--output-format", "json"])
        .args(["--permission-mode", "acceptEdits", "--allowedTools", "Read,Edit"])
        .current_dir(desk.path())
        .stdin(std::process::Stdio::null())
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("ANTHROPIC_BASE_URL", format!("http://{}", gate.proxy))
        .env("ANTHROPIC_API_KEY", key_of(DEFAULT_PLAN))
        .env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1")
        .envs(surroundings(desk.path()).await);
    let output = finish(command).await;
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", text(&output.stderr));
    let result: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}"));
    assert_eq!((&result["is_error"], &result["result"]), (&json!(false), &json!(DONE)), "{said}");
    assert_eq!(result["num_turns"], STEPS, "{said}");
    assert_eq!(std::fs::read_to_string(file).unwrap(), AFTER);
    every_step_came(&gate, &provider, 1, STEPS).await;
    for call in provider.calls() {
        assert!(!String::from_utf8_lossy(&call.wire).contains(&key_of(DEFAULT_PLAN)));
    }
}

#[tokio::test]
async fn claude_code_edits_a_file_where_messages_are_spoken() {
    claude_code("anthropic").await;
}

#[tokio::test]
async fn claude_code_edits_a_file_where_chats_are_spoken() {
    claude_code("openai").await;
}
