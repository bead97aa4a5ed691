//! Refusals on Anthropic's paths have Anthropic's shape, elsewhere OpenAI's.

use serde_json::{Value, json};

use super::{before, body, post, post_text};
use crate::harness::anthropic;
use crate::harness::client::{Answer, Request};
use crate::harness::provider::Provider;
use crate::harness::reply::Reply;
use crate::harness::setup::{DEFAULT_PLAN, key_of};

const PATHS: [&str; 2] = ["/v1/messages", "/v1/messages/count_tokens"];

/// That `answer` refuses as Anthropic does; gives the error object.
#[track_caller]
fn refused(answer: &Answer, status: u16, kind: &str, code: &str) -> Value {
    let text = answer.text();
    assert_eq!(answer.status(), status, "{text}");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let body = answer.json();
    assert_eq!(body["type"], "error", "{text}");
    assert_eq!(body["error"]["type"], kind, "{text}");
    assert_eq!(body["error"]["code"], code, "{text}");
    assert!(body["error"]["message"].as_str().is_some_and(|said| !said.is_empty()), "{text}");
    for name in ["request-id", "x-request-id"] {
        assert_eq!(body["request_id"].as_str(), answer.header(name), "{text}");
    }
    body["error"].clone()
}

#[tokio::test]
async fn each_refusal_has_anthropics_shape_and_type() {
    let provider = Provider::start().await;
    let setup = before(&provider).set("listen.body_limit", "1KB");
    let gate = setup.class("gated", "0", &json!({"feature": "context_awareness"})).start().await;
    for path in PATHS {
        let nobody = Request::post(path, &body()).header("x-api-key", "tg_live_nobody");
        refused(&gate.send(&nobody).await, 401, "authentication_error", "invalid_api_key");
        let broken = gate.send(&post_text(path, "{\"model\":")).await;
        refused(&broken, 400, "invalid_request_error", "invalid_json");
        let nameless = gate.send(&post(path, &json!({"messages": []}))).await;
        let error = refused(&nameless, 400, "invalid_request_error", "invalid_value");
        assert_eq!(error["param"], "model");
        let unknown = gate.send(&post(path, &json!({"model": "nope", "messages": []}))).await;
        refused(&unknown, 404, "not_found_error", "model_not_found");
        let long = gate.send(&post_text(path, &" ".repeat(2_000))).await;
        refused(&long, 413, "request_too_large", "request_too_large");
        let get = Request::get(path).bearer(&key_of(DEFAULT_PLAN));
        let answer = gate.send(&get).await;
        refused(&answer, 405, "invalid_request_error", "method_not_allowed");
        let gated = gate.send(&post(&format!("/gated{path}"), &body())).await;
        refused(&gated, 403, "permission_error", "feature_not_in_plan");
        let twice = post(path, &body()).header("content-type", "application/json");
        let error =
            refused(&gate.send(&twice).await, 400, "invalid_request_error", "invalid_value");
        assert_eq!(error["param"], "content-type");
    }
    assert!(provider.calls().is_empty());
    assert!(gate.records().await.is_empty());
}

#[tokio::test]
async fn a_full_window_is_a_rate_limit_error_that_says_when() {
    let provider = Provider::start().await;
    let setup = before(&provider);
    let gate = setup.plan(DEFAULT_PLAN, |plan| plan.per_minute(1)).start().await;
    gate.send(&post("/v1/messages", &body())).await.ok();
    let answer = gate.send(&post("/v1/messages", &body())).await;
    refused(&answer, 429, "rate_limit_error", "rate_limit_exceeded");
    assert!(answer.number("retry-after") > 0);
}

#[tokio::test]
async fn elsewhere_refusals_keep_openais_shape() {
    let provider = Provider::start().await;
    let gate = before(&provider).start().await;
    for (path, status, code) in [
        ("/v1/messages/batches", 404, "endpoint_not_enabled"),
        ("/v1/messages/", 404, "endpoint_not_enabled"),
        ("/v2/messages", 404, "not_found"),
    ] {
        gate.send(&post(path, &body())).await.refused(status, code);
    }
}

#[tokio::test]
async fn the_providers_refusals_pass_and_its_troubles_do_not() {
    let provider = Provider::start().await;
    let gate = before(&provider).start().await;
    for (status, kind) in [(400, "invalid_request_error"), (429, "rate_limit_error")] {
        provider.next(anthropic::error(status, kind).header("retry-after", "7"));
        let answer = gate.send(&post("/v1/messages", &body())).await;
        assert_eq!(answer.status(), status);
        assert_eq!(answer.json()["error"]["message"], format!("the provider says {kind}"));
        assert_eq!(answer.header("retry-after"), Some("7"));
    }
    provider.next(anthropic::error(401, "authentication_error"));
    let answer = gate.send(&post("/v1/messages", &body())).await;
    refused(&answer, 502, "api_error", "upstream_error");
    provider.next(anthropic::error(529, "overloaded_error"));
    let answer = gate.send(&post("/v1/messages", &body())).await;
    refused(&answer, 529, "overloaded_error", "upstream_error");
    provider.next(Reply::json_text(200, "{\"type\":\"mess").claiming(99).cut_after(13));
    let answer = gate.send(&post("/v1/messages", &body())).await;
    refused(&answer, 502, "api_error", "upstream_error");
    let charged: Vec<Value> =
        gate.records().await.iter().map(|record| record["quantity"].clone()).collect();
    assert_eq!(charged, vec![json!(0); 5]);
}
