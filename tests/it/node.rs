//! The official SDK for Node.js against the gateway. Covers J1, J2.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::harness::binary::{finish, text};
use crate::harness::door::Door;
use crate::harness::openai;
use crate::harness::provider::Provider;
use crate::harness::reply::Reply;
use crate::harness::setup::{DEFAULT_PLAN, Tollgate, key_of};
use crate::samples;

const MOCK: (&str, &str) = ("TEXT", openai::TEXT);

/// Runs `tests/sdk/<script>` as a client of `door`. A script prints nothing and
/// exits 0 if all is well; `environment` is passed on.
pub(crate) async fn run(script: &str, door: &Door, environment: &[(&str, &str)]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdk");
    let installed =
        ["openai", "@anthropic-ai/sdk"].map(|name| folder.join("node_modules").join(name).exists());
    assert!(installed == [true; 2], "the SDK tests need tests/sdk/node_modules: run `make setup`");
    let mut command = Command::new("node");
    command
        .arg(folder.join(script))
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("OPENAI_BASE_URL", door.url())
        .env("OPENAI_API_KEY", key_of(DEFAULT_PLAN))
        .env("ANTHROPIC_BASE_URL", format!("http://{}", door.proxy))
        .env("ANTHROPIC_API_KEY", key_of(DEFAULT_PLAN))
        .envs(environment.iter().copied());
    let output = finish(command).await;
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{script}: {}\n{said}", output.status);
}

#[tokio::test]
async fn every_call_works_before_a_provider() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).start().await;
    for script in ["chat.mjs", "stream.mjs", "tools.mjs", "embeddings.mjs"] {
        run(script, &gate, &[MOCK]).await;
    }
}

/// Covers E2: answers that are put together are like those of a provider.
#[tokio::test]
async fn embeddings_are_put_together_of_what_is_kept_and_what_is_new() {
    let provider = Provider::start().await;
    let class = json!({"cache": {"ttl": "1h"}});
    let gate = Tollgate::before(&provider).class("docs", "0", &class).start().await;
    let url = format!("http://{}/docs/v1", gate.proxy);
    run("embeddings.mjs", &gate, &[MOCK, ("OPENAI_BASE_URL", &url)]).await;
    let last = provider.calls().pop().unwrap();
    assert_eq!(last.json()["input"], json!(["another", "a third"]));
}

/// Covers E2: what is dealt out is like what a provider says to one.
#[tokio::test]
async fn samples_of_one_call_are_dealt_out() {
    let provider = Provider::start().await;
    provider.answer(samples::honest);
    let gate = Tollgate::before(&provider).provider("n_max", 2).start().await;
    run("samples.mjs", &gate, &[]).await;
    assert_eq!(provider.calls().len(), 3);
}

#[tokio::test]
async fn every_call_works_with_the_built_in_provider() {
    let gate = Tollgate::sandbox().start().await;
    for script in ["chat.mjs", "stream.mjs", "embeddings.mjs"] {
        run(script, &gate, &[]).await;
    }
}

#[tokio::test]
async fn models_are_listed_and_looked_up() {
    let provider = Provider::start().await;
    let models = json!([{"name": "gpt-4o-mini", "targets": [{"provider": "mock"}]}]);
    let gate = Tollgate::before(&provider).models(&models).start().await;
    run("models.mjs", &gate, &[]).await;
    assert_eq!(provider.calls().len(), 0, "the catalogue answers by itself");
}

#[tokio::test]
async fn refusals_arrive_as_the_errors_that_applications_catch() {
    let provider = Provider::start().await;
    let models = json!([{"name": "gpt-4o-mini", "targets": [{"provider": "mock"}]}]);
    let gate = Tollgate::before(&provider).models(&models).start().await;
    run("errors.mjs", &gate, &[("MODE", "refusals")]).await;
    assert_eq!(provider.calls().len(), 0);

    let without = |plan: crate::harness::plan::Plan| plan.set("features", json!([]));
    let gate = Tollgate::before(&provider).plan(DEFAULT_PLAN, without).start().await;
    run("errors.mjs", &gate, &[("MODE", "feature")]).await;

    let gate =
        Tollgate::before(&provider).plan(DEFAULT_PLAN, |plan| plan.per_minute(1)).start().await;
    run("errors.mjs", &gate, &[("MODE", "limited")]).await;
}

#[tokio::test]
async fn the_providers_own_errors_keep_their_class() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).set("routing.retries", 0).start().await;
    provider.next(Reply::error(400, "the_providers_own"));
    // Twice, because a pooled connection that turns out dead is replaced once.
    provider.next(Reply::close());
    provider.next(Reply::close());
    run("errors.mjs", &gate, &[("MODE", "provider")]).await;
}

#[tokio::test]
async fn a_refused_request_is_retried_when_the_answer_says_so() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).set("routing.retries", 0).start().await;
    let refusal = Reply::error(429, "rate_limit_exceeded");
    provider.next(refusal.header("retry-after-ms", "1500").header("retry-after", "2"));
    run("errors.mjs", &gate, &[("MODE", "retry")]).await;
    assert_eq!(provider.calls().len(), 2);
}
