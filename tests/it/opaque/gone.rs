//! What becomes of ownership when things, or their accounts, are deleted; and
//! where identifiers come from that no body names. Covers J1.

use std::time::Duration;

use serde_json::{Value, json};

use super::{FORM, before, file_of, form, get, ids, shop, things, two_tenants};
use crate::harness::client::Request;
use crate::harness::door::Door;
use crate::harness::provider::Provider;
use crate::harness::reply::Reply;
use crate::harness::setup::key_of;

/// Makes an account with a key.
async fn account(gate: &Door, id: &str) -> String {
    let wanted = json!({"id": id, "name": id, "plan": "tester"});
    assert_eq!(gate.tell("POST", "/admin/accounts", &wanted).await.status(), 201);
    let made = gate.tell("POST", "/admin/keys", &json!({"account": id})).await.json();
    made["key"].as_str().unwrap().to_owned()
}

fn delete(path: &str, key: &str) -> Request {
    Request::new("DELETE", path).bearer(key)
}

#[tokio::test]
async fn an_account_made_later_with_the_same_id_inherits_nothing() {
    let provider = shop::provider().await;
    let gate = before(&provider).start().await;
    let first = account(&gate, "shop").await;
    let upload = || Request::with_body("POST", "/v1/files", FORM, form(b"1"));
    let file = gate.send(&upload().bearer(&first)).await.ok().json()["id"].clone();
    let path = format!("/v1/files/{}", file.as_str().unwrap());
    gate.send(&Request::get(&path).bearer(&first)).await.ok();

    assert!(gate.tell("DELETE", "/admin/accounts/shop", &Value::Null).await.status() < 300);
    gate.clock().advance(Duration::from_micros(1));
    let second = account(&gate, "shop").await;
    gate.send(&Request::get(&path).bearer(&second)).await.refused(404, "not_found");
    let list = gate.send(&Request::get("/v1/files").bearer(&second)).await.ok().json();
    assert_eq!(list["data"], json!([]));
    let body = json!({"input_file_id": file});
    let batch = Request::post("/v1/batches", &body).bearer(&second);
    gate.send(&batch).await.refused(404, "not_found");
    // The name is free for what a provider may call so one day.
    provider.next(Reply::json(200, &json!({"id": file})));
    gate.send(&upload().bearer(&second)).await.ok();
    gate.send(&Request::get(&path).bearer(&second)).await.ok();
}

#[tokio::test]
async fn what_a_deleted_accounts_last_request_makes_is_nobodys() {
    let provider = shop::provider().await;
    let gate = before(&provider).start().await;
    let first = account(&gate, "shop").await;
    let held = crate::harness::gate::Gate::closed();
    provider.next(Reply::json(200, &json!({"id": "file-late"})).after(&held));
    let upload = Request::with_body("POST", "/v1/files", FORM, form(b"1"));
    let mut client = gate.open(&upload.bearer(&first)).await;
    held.reached_by(1).await;
    gate.tell("DELETE", "/admin/accounts/shop", &Value::Null).await;
    gate.clock().advance(Duration::from_micros(1));
    let second = account(&gate, "shop").await;
    held.open();
    client.answer().await.ok();
    let look = Request::get("/v1/files/file-late").bearer(&second);
    gate.send(&look).await.refused(404, "not_found");
}

#[tokio::test]
async fn what_is_detached_or_not_deleted_stays_its_owners() {
    let provider = shop::provider().await;
    let gate = two_tenants(&provider).await;
    let key = key_of("a");
    let file = file_of(&gate, "a", b"1").await;
    let store = gate.send(&Request::post("/v1/vector_stores", &json!({})).bearer(&key)).await;
    let store = store.ok().json()["id"].as_str().unwrap().to_owned();
    provider.next(Reply::json(200, &json!({"id": file, "deleted": true})));
    gate.send(&delete(&format!("/v1/vector_stores/{store}/files/{file}"), &key)).await.ok();
    get(&gate, "a", &format!("/v1/files/{file}")).await.ok();

    let path = format!("/v1/files/{file}");
    for reply in [
        Reply::json(200, &json!({"id": file, "deleted": false})),
        Reply::error(404, "not_now"),
        Reply::error(500, "broken"),
    ] {
        provider.next(reply);
        gate.send(&delete(&path, &key)).await;
        get(&gate, "a", &path).await.ok();
    }
    // A provider may say nothing at all.
    provider.next(Reply::raw("HTTP/1.1 204 No Content\r\n\r\n"));
    assert_eq!(gate.send(&delete(&path, &key)).await.status(), 204);
    get(&gate, "a", &path).await.refused(404, "not_found");
}

#[tokio::test]
async fn a_location_names_what_was_made() {
    let provider = Provider::start().await;
    let gate = two_tenants(&provider).await;
    let there = format!("{}/realtime/calls/rtc_1", provider.url());
    let answer = Reply::bytes(201, "v=0").header("content-type", "application/sdp");
    provider.next(answer.header("location", &there));
    let offer = Request::with_body("POST", "/v1/realtime/calls", "application/sdp", "v=0");
    let made = gate.send(&offer.bearer(&key_of("a"))).await;
    assert_eq!((made.status(), made.text().as_str()), (201, "v=0"));
    assert_eq!(made.header("location"), Some("/v1/realtime/calls/rtc_1"), "not the provider's");
    let path = "/v1/realtime/calls/rtc_1/hangup";
    let hangup = |tenant: &str| Request::post(path, &json!({})).bearer(&key_of(tenant));
    gate.send(&hangup("b")).await.refused(404, "not_found");
    provider.next(Reply::json(200, &json!({})));
    gate.send(&hangup("a")).await.ok();
}

#[tokio::test]
async fn what_a_code_interpreter_made_is_its_accounts() {
    let provider = shop::provider().await;
    let gate = two_tenants(&provider).await;
    let response = |number: u8| {
        let file = format!("cfile_{number}");
        json!({"id": format!("resp_{number}"), "object": "response", "output": [
            {"type": "code_interpreter_call", "container_id": "cntr_1"},
            {"type": "message", "content": [{"type": "output_text", "text": "see", "annotations": [
                {"type": "container_file_citation", "container_id": "cntr_1", "file_id": file}]}]},
        ], "usage": {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}})
    };
    let ask = |stream: bool| {
        let body = json!({"model": "gpt-4o-mini", "input": "draw", "stream": stream});
        Request::post("/v1/responses", &body).bearer(&key_of("a"))
    };
    provider.next(Reply::json(200, &response(1)));
    gate.send(&ask(false)).await.ok();
    let begun = json!({"type": "response.created", "response": {"id": "resp_2"}}).to_string();
    let done = json!({"type": "response.completed", "response": response(2)}).to_string();
    provider.next(Reply::events([begun, done]));
    gate.send(&ask(true)).await.ok();
    for number in [1, 2] {
        let path = format!("/v1/containers/cntr_1/files/cfile_{number}/content");
        get(&gate, "b", &path).await.refused(404, "not_found");
        assert_eq!(get(&gate, "a", &path).await.json()["error"]["code"], "no_such_thing");
    }
}

#[tokio::test]
async fn a_trained_model_is_its_owners() {
    let provider = shop::provider().await;
    let gate = two_tenants(&provider).await;
    let name = "ft:gpt-4o-mini:org::abc";
    let chat = |tenant: &str| {
        let body = json!({"model": name, "messages": []});
        Request::post("/v1/chat/completions", &body).bearer(&key_of(tenant))
    };
    let job = Request::post("/v1/fine_tuning/jobs", &json!({"model": "gpt-4o-mini"}));
    let job = gate.send(&job.bearer(&key_of("a"))).await.ok().json()["id"].clone();
    // Its name is in a list before anybody looks at the job itself.
    let done = json!({"id": job, "fine_tuned_model": name, "result_files": ["file-metrics"]});
    provider.next(Reply::json(200, &json!({"data": [done], "has_more": false})));
    get(&gate, "a", "/v1/fine_tuning/jobs").await.ok();
    gate.send(&chat("b")).await.refused(404, "not_found");
    get(&gate, "b", &format!("/v1/models/{name}")).await.refused(404, "model_not_found");
    let embed = Request::post("/v1/embeddings", &json!({"model": name, "input": "x"}));
    gate.send(&embed.bearer(&key_of("b"))).await.refused(404, "model_not_found");
    provider.next(crate::harness::openai::answer(&provider.calls()[0]));
    provider.next(Reply::json(200, &json!({"id": "m"})));
    assert_ne!(gate.send(&chat("a")).await.json()["error"]["code"], "model_not_found");
    get(&gate, "a", &format!("/v1/models/{name}")).await.ok();
    get(&gate, "b", "/v1/files/file-metrics").await.refused(404, "not_found");
    assert_eq!(get(&gate, "a", "/v1/files/file-metrics").await.status(), 404);
}

#[tokio::test]
async fn the_length_of_a_list_is_not_told() {
    let provider = shop::provider().await;
    let gate = two_tenants(&provider).await;
    let file = file_of(&gate, "a", b"1").await;
    let calls = provider.calls().len();
    let head = |path: &str| Request::new("HEAD", path).bearer(&key_of("b"));
    let mut client = gate.open(&head("/v1/files")).await;
    let answer = client.any_head().await;
    assert_eq!((answer.status(), answer.header("allow")), (405, Some("GET, POST")));
    assert_eq!(provider.calls().len(), calls);
    let mut client = gate.open(&head(&format!("/v1/files/{file}"))).await;
    assert_eq!(client.any_head().await.status(), 404);
}

#[tokio::test]
async fn a_list_is_found_among_ever_so_many_of_others() {
    let provider = shop::provider().await;
    let gate = two_tenants(&provider).await;
    let mut own = Vec::new();
    for _ in 0..3 {
        own.push(file_of(&gate, "a", b"1").await);
    }
    own.reverse();
    // Every page holds things of others, and there is always one more.
    let others: Vec<Value> = (0..100).map(|n| json!({"id": format!("file-x{n}")})).collect();
    let mut number = 0;
    let page = move || {
        number += 1;
        let mut data = others.clone();
        data.push(json!({"id": format!("file-y{number}")}));
        Reply::json(200, &json!({"object": "list", "data": data, "has_more": true}))
    };
    let list = async |query: &str, mut page: Box<dyn FnMut() -> Reply>| {
        (0..50).for_each(|_| provider.next(page()));
        let calls = provider.calls().len();
        let list = get(&gate, "a", &format!("/v1/files{query}")).await.ok().json();
        (list, provider.calls().len() - calls)
    };
    let (all, calls) = list("", Box::new(page.clone())).await;
    assert_eq!(
        (ids(&all), &all["has_more"], calls),
        (own.iter().map(|id| &**id).collect(), &json!(false), 53)
    );
    let (first, _) = list("?limit=2&purpose=batch", Box::new(page.clone())).await;
    assert_eq!((ids(&first), &first["has_more"]), (vec![&*own[0], &*own[1]], &json!(true)));
    let (rest, _) = list(&format!("?limit=2&after={}", own[1]), Box::new(page.clone())).await;
    assert_eq!((ids(&rest), &rest["has_more"]), (vec![&*own[2]], &json!(false)));
    let (oldest, _) = list("?limit=1&order=asc", Box::new(page.clone())).await;
    assert_eq!(ids(&oldest), [&*own[2]]);
    let (other, _) = list("?purpose=vision", Box::new(page)).await;
    assert!(ids(&other).is_empty());
}

#[tokio::test]
async fn who_owns_nothing_is_told_so_at_once() {
    let provider = things::provider().await;
    let gate = two_tenants(&provider).await;
    for _ in 0..101 {
        file_of(&gate, "a", b"1").await;
    }
    let calls = provider.calls().len();
    let list = get(&gate, "b", "/v1/files").await.ok().json();
    assert_eq!((&list["data"], &list["has_more"]), (&json!([]), &json!(false)));
    assert_eq!(provider.calls().len(), calls + 1, "one page is enough");
}

/// Covers I4.
#[tokio::test]
async fn credentials_of_the_sellers_are_not_made() {
    let provider = Provider::start().await;
    let gate = before(&provider).set("opaque.unknown", "allow").start().await;
    for path in ["client_secrets", "sessions", "transcription_sessions"] {
        let request = Request::post(&format!("/v1/realtime/{path}"), &json!({}));
        gate.send(&request.bearer(&key_of("tester"))).await.refused(404, "endpoint_not_enabled");
    }
    assert_eq!(provider.calls().len(), 0);
}

/// Covers A2.
#[tokio::test]
async fn a_root_may_have_a_price_of_its_own() {
    let provider = things::provider().await;
    let gate = before(&provider)
        .set("opaque.price", "0.001")
        .set("opaque.prices", json!({"images": "0.04", "audio": "0.006"}))
        .start()
        .await;
    for (path, price) in [
        ("/v1/images/generations", "0.04"),
        ("/v1/audio/speech", "0.006"),
        ("/v1/moderations", "0.001"),
    ] {
        let answer = gate.send(&Request::post(path, &json!({})).bearer(&key_of("tester"))).await;
        assert_eq!(answer.ok().header("x-tollgate-price-usd"), Some(price), "{path}");
    }
}
