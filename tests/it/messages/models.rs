//! The list of models in the shape of who asks. Covers E4, J1.

use serde_json::json;

use super::{MODEL, before};
use crate::harness::client::Request;
use crate::harness::provider::Provider;
use crate::harness::reply::Reply;
use crate::harness::sdk;
use crate::harness::setup::{DEFAULT_PLAN, Setup, Tollgate, key_of};
use crate::node;

/// A gateway with three models at a provider that speaks as OpenAI does.
fn before_three(provider: &Provider) -> Setup {
    let model = |name: &str| json!({"name": name, "targets": [{"provider": "mock"}]});
    Tollgate::before(provider).models(&json!([model(MODEL), model("b"), model("c")]))
}

fn get(path: &str) -> Request {
    Request::get(path)
        .header("x-api-key", &key_of(DEFAULT_PLAN))
        .header("anthropic-version", "2023-06-01")
}

#[tokio::test]
async fn anthropics_clients_list_the_models() {
    let provider = Provider::start().await;
    let gate = before_three(&provider).start().await;
    let expected = ("MODELS", "claude-sonnet,b,c");
    sdk::run("models_anthropic.py", &gate, &[expected]).await;
    node::run("models_anthropic.mjs", &gate, &[expected]).await;
    assert!(provider.calls().is_empty(), "the catalogue answers by itself");
}

#[tokio::test]
async fn each_client_gets_its_own_shape() {
    let provider = Provider::start().await;
    let gate = before_three(&provider).start().await;
    let list = gate.send(&get("/v1/models")).await.ok().json();
    let model = |name: &str| json!({"type": "model", "id": name, "display_name": name, "created_at": "1970-01-01T00:00:00Z"});
    let all = json!({"data": [model(MODEL), model("b"), model("c")], "has_more": false, "first_id": MODEL, "last_id": "c"});
    assert_eq!(list, all);
    let openai =
        gate.send(&Request::get("/v1/models").bearer(&key_of(DEFAULT_PLAN))).await.ok().json();
    assert_eq!(
        (&openai["object"], &openai["data"][1]["object"]),
        (&json!("list"), &json!("model"))
    );
    assert_eq!(gate.send(&get("/v1/models/b")).await.ok().json(), model("b"));
}

#[tokio::test]
async fn a_page_begins_and_ends_where_it_is_asked_to() {
    let provider = Provider::start().await;
    let gate = before_three(&provider).start().await;
    for (query, ids, more) in [
        ("limit=2", vec![MODEL, "b"], true),
        ("after_id=b", vec!["c"], false),
        ("limit=1&after_id=claude-sonnet", vec!["b"], true),
        ("before_id=c&limit=1", vec!["b"], true),
        ("before_id=b", vec![MODEL], false),
        ("after_id=c", vec![], false),
    ] {
        let page = gate.send(&get(&format!("/v1/models?{query}"))).await.ok().json();
        let shown: Vec<&str> =
            page["data"].as_array().unwrap().iter().filter_map(|it| it["id"].as_str()).collect();
        assert_eq!(shown, ids, "{query}");
        assert_eq!(page["has_more"], more, "{query}");
        assert_eq!(page["first_id"], json!(ids.first()), "{query}");
        assert_eq!(page["last_id"], json!(ids.last()), "{query}");
    }
    for (query, param) in
        [("limit=0", "limit"), ("limit=x", "limit"), ("after_id=nope", "after_id")]
    {
        let answer = gate.send(&get(&format!("/v1/models?{query}"))).await;
        assert_eq!(answer.status(), 400, "{query}");
        let error = answer.json();
        assert_eq!((&error["type"], &error["error"]["param"]), (&json!("error"), &json!(param)));
    }
}

#[tokio::test]
async fn refusals_have_the_clients_shape_here_too() {
    let provider = Provider::start().await;
    let gate = before_three(&provider).start().await;
    let nobody = Request::get("/v1/models")
        .header("x-api-key", "tg_live_no")
        .header("anthropic-version", "1");
    for (request, status, kind) in
        [(get("/v1/models/nope"), 404, "not_found_error"), (nobody, 401, "authentication_error")]
    {
        let answer = gate.send(&request).await;
        assert_eq!(answer.status(), status);
        assert_eq!(answer.json()["error"]["type"], kind, "{}", answer.text());
        assert_eq!(answer.json()["type"], "error");
    }
}

/// With `*` a provider shows a model that the catalogue does not: in its own shape to who
/// speaks as it does.
#[tokio::test]
async fn a_model_of_the_providers_own_has_the_clients_shape() {
    let provider = Provider::start().await;
    let own = json!({"type": "model", "id": "claude-x", "display_name": "Claude X", "created_at": "2026-01-01T00:00:00Z"});
    let answer = own.clone();
    let any = json!([{"name": "*", "targets": [{"provider": "mock"}]}]);
    let gate = before(&provider).models(&any).set("opaque.ownership", "off").start().await;
    provider.answer(move |_| Reply::json(200, &answer));
    assert_eq!(gate.send(&get("/v1/models/claude-x")).await.ok().json(), own);
    let openai = Request::get("/v1/models/claude-x").bearer(&key_of(DEFAULT_PLAN));
    let shown = gate.send(&openai).await.ok().json();
    assert_eq!((&shown["object"], &shown["id"]), (&json!("model"), &json!("claude-x")));
    assert_eq!(shown.get("display_name"), None);
}
