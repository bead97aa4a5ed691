//! The official SDK against the gateway. Covers J1, J2.

use serde_json::json;

use crate::harness::gate::Gate;
use crate::harness::openai;
use crate::harness::provider::Provider;
use crate::harness::reply::Reply;
use crate::harness::sdk;
use crate::harness::setup::Tollgate;
use crate::samples;

const GATEWAY: (&str, &str) = ("GATEWAY", "1");
const MOCK: (&str, &str) = ("TEXT", openai::TEXT);

#[tokio::test]
async fn every_call_works_before_a_provider() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).start().await;
    for script in ["chat.py", "stream.py", "tools.py", "embeddings.py"] {
        sdk::run(script, &gate, &[GATEWAY, MOCK]).await;
    }
}

/// Covers D2: one entry serves every form that an application may ask for.
#[tokio::test]
async fn answers_from_the_cache_are_like_those_of_a_provider() {
    let provider = Provider::start().await;
    let cache = json!({"cache": {"ttl": "1h"}});
    let setup = Tollgate::before(&provider).class("first", "0", &cache).class("then", "0", &cache);
    let gate = setup.start().await;
    let url = |class: &str| format!("http://{}/{class}/v1", gate.proxy);
    for order in ["whole first", "stream first"] {
        let class = if order == "whole first" { "first" } else { "then" };
        let url = url(class);
        sdk::run("cached.py", &gate, &[("OPENAI_BASE_URL", url.as_str()), ("ORDER", order)]).await;
    }
}

/// Covers E2: answers that are put together are like those of a provider.
#[tokio::test]
async fn embeddings_are_put_together_of_what_is_kept_and_what_is_new() {
    let provider = Provider::start().await;
    let class = json!({"cache": {"ttl": "1h"}});
    let gate = Tollgate::before(&provider).class("docs", "0", &class).start().await;
    let url = format!("http://{}/docs/v1", gate.proxy);
    sdk::run("embeddings.py", &gate, &[GATEWAY, MOCK, ("OPENAI_BASE_URL", &url)]).await;
    let last = provider.calls().pop().unwrap();
    assert_eq!(last.json()["input"], json!(["another", "a third"]));
}

/// Covers E2: what is dealt out is like what a provider says to one.
#[tokio::test]
async fn samples_of_one_call_are_dealt_out() {
    let provider = Provider::start().await;
    provider.answer(samples::honest);
    let gate = Tollgate::before(&provider).provider("n_max", 2).start().await;
    sdk::run("samples.py", &gate, &[]).await;
    assert_eq!(provider.calls().len(), 3);
}

#[tokio::test]
async fn every_call_works_with_the_built_in_provider() {
    let gate = Tollgate::sandbox().start().await;
    for script in ["chat.py", "stream.py", "embeddings.py"] {
        sdk::run(script, &gate, &[GATEWAY]).await;
    }
}

#[tokio::test]
async fn models_are_listed_and_looked_up() {
    let provider = Provider::start().await;
    let models = json!([{"name": "gpt-4o-mini", "targets": [{"provider": "mock"}]}]);
    let gate = Tollgate::before(&provider).models(&models).start().await;
    sdk::run("models.py", &gate, &[]).await;
    assert_eq!(provider.calls().len(), 0, "the catalogue answers by itself");
}

#[tokio::test]
async fn fifty_requests_at_once_are_all_answered_and_recorded() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).start().await;
    sdk::run("many_at_once.py", &gate, &[]).await;
    assert_eq!(provider.calls().len(), 50);
    assert_eq!(gate.records().await.len(), 50);
}

#[tokio::test]
async fn refusals_arrive_as_the_exceptions_that_applications_catch() {
    let provider = Provider::start().await;
    let models = json!([{"name": "gpt-4o-mini", "targets": [{"provider": "mock"}]}]);
    let gate = Tollgate::before(&provider).models(&models).start().await;
    sdk::run("errors.py", &gate, &[("MODE", "refusals")]).await;
    assert_eq!(provider.calls().len(), 0);
}

#[tokio::test]
async fn a_feature_that_the_plan_lacks_is_a_permission_error() {
    let provider = Provider::start().await;
    let gate =
        Tollgate::before(&provider).plan("tester", |p| p.set("features", json!([]))).start().await;
    sdk::run("errors.py", &gate, &[("MODE", "feature")]).await;
}

#[tokio::test]
async fn a_used_up_minute_is_a_rate_limit_error() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).plan("tester", |p| p.per_minute(1)).start().await;
    sdk::run("errors.py", &gate, &[("MODE", "limited")]).await;
}

#[tokio::test]
async fn the_providers_own_errors_keep_their_class() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).set("routing.retries", 0).start().await;
    provider.next(Reply::error(400, "the_providers_own").header("x-request-id", "provider-1"));
    // Twice, because a pooled connection that turns out dead is replaced once.
    provider.next(Reply::close());
    provider.next(Reply::close());
    sdk::run("errors.py", &gate, &[("MODE", "provider")]).await;
}

#[tokio::test]
async fn a_refused_request_is_retried_when_the_answer_says_so() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).set("routing.retries", 0).start().await;
    provider.next(
        Reply::error(429, "rate_limit_exceeded")
            .header("retry-after-ms", "1500")
            .header("retry-after", "2"),
    );
    sdk::run("retry.py", &gate, &[]).await;
    assert_eq!(provider.calls().len(), 2);
}

#[tokio::test]
async fn the_applications_own_time_out_frees_the_provider() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).start().await;
    provider.next(Reply::hang());
    sdk::run("timeout.py", &gate, &[]).await;
    provider.wait_for_disconnect().await;
    let record = gate.wait_for_records(1).await.remove(0);
    assert_eq!(record["outcome"], "client_gone_early");
}

#[tokio::test]
async fn a_cancelled_stream_is_cancelled_at_the_provider() {
    let provider = Provider::start().await;
    let gate = Tollgate::before(&provider).start().await;
    let held = Gate::closed();
    let events = openai::chat_events("gpt-4o-mini", true);
    provider.next(Reply::stream().event(&events[0]).wait(&held).event(&events[1]));
    sdk::run("cancel.py", &gate, &[]).await;
    assert_eq!(provider.wait_for_disconnect().await, 0);
    let record = gate.wait_for_records(1).await.remove(0);
    assert_eq!(record["outcome"], "client_gone_late");
}
