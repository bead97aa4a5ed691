//! What a provider made for one account is no other's. Covers J1.

use serde_json::{Value, json};

use super::{before, file_of, get, ids, things, two_tenants};
use crate::harness::client::Request;
use crate::harness::setup::{Tollgate, key_of};

#[tokio::test]
async fn a_file_is_found_by_its_account_alone() {
    let provider = things::provider().await;
    let gate = two_tenants(&provider).await;
    let file = file_of(&gate, "a", b"secret of a").await;
    let calls = provider.calls().len();
    for (method, path) in [
        ("GET", format!("/v1/files/{file}")),
        ("GET", format!("/v1/files/{file}/content")),
        ("DELETE", format!("/v1/files/{file}")),
        ("GET", format!("/v1/files/{}", file.replacen('f', "%66", 1))),
        ("GET", format!("/v1/files?after={file}")),
        ("GET", "/v1/files/file-of-nobody".to_owned()),
    ] {
        let request = Request::new(method, &path).bearer(&key_of("b"));
        gate.send(&request).await.refused(404, "not_found");
    }
    assert_eq!(provider.calls().len(), calls, "nothing of it reaches the provider");
    get(&gate, "a", &format!("/v1/files/{file}")).await.ok();
    let content = get(&gate, "a", &format!("/v1/files/{file}/content")).await.ok();
    assert_eq!(content.text(), "secret of a");
    let delete = Request::new("DELETE", &format!("/v1/files/{file}")).bearer(&key_of("a"));
    assert_eq!(gate.send(&delete).await.ok().json()["deleted"], true);
}

#[tokio::test]
async fn a_list_holds_what_the_account_owns() {
    let provider = things::provider().await;
    let gate = two_tenants(&provider).await;
    let of_a = file_of(&gate, "a", b"1").await;
    let of_b = file_of(&gate, "b", b"2").await;
    for (tenant, own) in [("a", &of_a), ("b", &of_b)] {
        let list = get(&gate, tenant, "/v1/files?purpose=batch").await.ok().json();
        assert_eq!(ids(&list), [own]);
        assert_eq!((&list["first_id"], &list["last_id"]), (&json!(own), &json!(own)));
        assert_eq!(list["object"], "list");
    }
}

#[tokio::test]
async fn a_page_is_filled_from_the_providers_pages() {
    let provider = things::provider().await;
    let gate = two_tenants(&provider).await;
    let mut own = Vec::new();
    for number in 0..125 {
        file_of(&gate, "b", b"b").await;
        if number % 3 == 0 {
            own.push(file_of(&gate, "a", b"a").await);
        }
    }
    let all = get(&gate, "a", "/v1/files").await.ok().json();
    assert_eq!(ids(&all), own);
    assert_eq!(all["has_more"], false);

    let mut seen: Vec<String> = Vec::new();
    loop {
        let after = seen.last().map(|id| format!("&after={id}")).unwrap_or_default();
        let page = get(&gate, "a", &format!("/v1/files?limit=20{after}")).await.ok().json();
        assert!(ids(&page).len() <= 20);
        seen.extend(ids(&page).into_iter().map(str::to_owned));
        if page["has_more"] == false {
            break;
        }
    }
    assert_eq!(seen, own);
}

#[tokio::test]
async fn a_batch_may_name_its_accounts_files_alone() {
    let provider = things::provider().await;
    let gate = two_tenants(&provider).await;
    let file = file_of(&gate, "a", b"{}").await;
    let batch = |tenant: &str, text: String| gate_request("/v1/batches", tenant, text);
    let named = json!({"input_file_id": file, "endpoint": "/v1/chat/completions"}).to_string();
    let escaped = named.replace("file-", "\\u0066ile-");
    for text in [named.clone(), escaped] {
        gate.send(&batch("b", text)).await.refused(404, "not_found");
    }
    let other_type = Request::with_body("POST", "/v1/batches", "text/plain", named.clone());
    gate.send(&other_type.bearer(&key_of("b"))).await.refused(404, "not_found");
    let made = gate.send(&batch("a", named)).await.ok().json();
    let id = made["id"].as_str().unwrap();
    get(&gate, "b", &format!("/v1/batches/{id}")).await.refused(404, "not_found");

    // The provider made its output for the same account.
    let done = get(&gate, "a", &format!("/v1/batches/{id}")).await.ok().json();
    let output = done["output_file_id"].as_str().unwrap();
    get(&gate, "a", &format!("/v1/files/{output}/content")).await.ok();
    get(&gate, "b", &format!("/v1/files/{output}/content")).await.refused(404, "not_found");
    let cancel = Request::new("POST", &format!("/v1/batches/{id}/cancel")).bearer(&key_of("a"));
    gate.send(&cancel).await.ok();
    assert_eq!(provider.calls().last().unwrap().header("content-length"), Some("0"));
}

fn gate_request(path: &str, tenant: &str, text: String) -> Request {
    Request::post_text(path, text).bearer(&key_of(tenant))
}

#[tokio::test]
async fn a_response_of_the_understood_lane_is_its_accounts() {
    let provider = things::provider().await;
    let gate = two_tenants(&provider).await;
    let ask = |tenant: &str, more: Value| {
        let mut body = json!({"model": "gpt-4o-mini", "input": "hi"});
        for (key, value) in more.as_object().unwrap() {
            body[key] = value.clone();
        }
        Request::post("/v1/responses", &body).bearer(&key_of(tenant))
    };
    let whole = gate.send(&ask("a", json!({}))).await.ok().json();
    let streamed = gate.send(&ask("a", json!({"stream": true}))).await.ok().events();
    let streamed: Value = serde_json::from_str(&streamed[0]).unwrap();
    for id in [&whole["id"], &streamed["response"]["id"]] {
        let path = format!("/v1/responses/{}", id.as_str().unwrap());
        get(&gate, "a", &path).await.ok();
        get(&gate, "b", &path).await.refused(404, "not_found");
        let nobodys = gate.send(&ask("a", json!({"previous_response_id": "resp_of_nobody"}))).await;
        nobodys.refused(404, "not_found");
        let refused = gate.send(&ask("b", json!({"previous_response_id": id}))).await;
        refused.refused(404, "not_found");
        gate.send(&ask("a", json!({"previous_response_id": id}))).await.ok();
    }
    let file = file_of(&gate, "a", b"1").await;
    let message = json!({"role": "user", "content": [{"type": "file", "file": {"file_id": file}}]});
    let chat = json!({"model": "gpt-4o-mini", "messages": [message]});
    // More than are kept while a body is read.
    let many = json!({"model": "gpt-4o-mini", "file_ids": vec![""; 1_500], "messages": [message]});
    for (tenant, status) in [("a", 200), ("b", 404)] {
        for chat in [&chat, &many] {
            let request = Request::post("/v1/chat/completions", chat).bearer(&key_of(tenant));
            assert_eq!(gate.send(&request).await.status(), status);
        }
    }
}

#[tokio::test]
async fn a_stored_chat_is_its_accounts() {
    let provider = things::provider().await;
    let gate = two_tenants(&provider).await;
    let mut chat = json!({"model": "gpt-4o-mini", "messages": []});
    let post = |body: &Value| Request::post("/v1/chat/completions", body).bearer(&key_of("a"));
    let path = "/v1/chat/completions/chatcmpl-mock";
    gate.send(&post(&chat)).await.ok();
    get(&gate, "a", path).await.refused(404, "not_found");
    chat["store"] = true.into();
    gate.send(&post(&chat)).await.ok();
    get(&gate, "b", path).await.refused(404, "not_found");
    assert_eq!(get(&gate, "a", path).await.json()["error"]["code"], "unknown_url");
}

#[tokio::test]
async fn ownership_outlives_the_process() {
    let provider = things::provider().await;
    let gate = before(&provider).spawn().await;
    let key = key_of("tester");
    let made = gate.send(&super::upload(b"1").bearer(&key)).await.ok().json();
    let gate = gate.kill_and_restart().await;
    let path = format!("/v1/files/{}", made["id"].as_str().unwrap());
    gate.send(&Request::get(&path).bearer(&key)).await.ok();
}

#[tokio::test]
async fn json_that_is_too_large_to_check_is_refused() {
    let provider = things::provider().await;
    let gate = two_tenants(&provider).await;
    let text = json!({"x": "y".repeat(1024 * 1024)}).to_string();
    gate.send(&gate_request("/v1/batches", "a", text.clone()))
        .await
        .refused(413, "request_too_large");
    let garbage = gate_request("/v1/batches", "a", "{\"x\":".to_owned());
    gate.send(&garbage).await.refused(400, "invalid_json");
    let form = Request::with_body("POST", "/v1/batches", super::FORM, super::form(b"1"));
    gate.send(&form.bearer(&key_of("a"))).await.refused(415, "unsupported_media_type");
    assert_eq!(provider.calls().len(), 0);
    provider.next(crate::harness::reply::Reply::json_text(200, text));
    let file = gate_request("/v1/batches", "a", "{}".to_owned());
    gate.send(&file).await.refused(502, "upstream_error");
    // What names nothing is not read, whatever its size.
    let picture = json!({"data": [{"b64_json": "A".repeat(3 << 20)}]}).to_string();
    provider.next(crate::harness::reply::Reply::json_text(200, picture.clone()));
    let image = gate_request("/v1/images/generations", "a", "{}".to_owned());
    assert_eq!(gate.send(&image).await.ok().text(), picture);
}

#[tokio::test]
async fn a_single_tenant_may_turn_it_off() {
    let provider = things::provider().await;
    let gate = before(&provider)
        .plan("a", |plan| plan)
        .plan("b", |plan| plan)
        .set("opaque.ownership", "off")
        .start()
        .await;
    let file = file_of(&gate, "a", b"1").await;
    get(&gate, "b", &format!("/v1/files/{file}")).await.ok();
    let list = get(&gate, "b", "/v1/files?limit=7").await.ok();
    assert_eq!(ids(&list.json()), [file.as_str()]);
    assert_eq!(provider.calls().last().unwrap().path(), "/v1/files?limit=7");
    let large = json!({"x": "y".repeat(2 * 1024 * 1024)}).to_string();
    gate.send(&gate_request("/v1/batches", "b", large.clone())).await.ok();
    assert_eq!(provider.calls().last().unwrap().body, large);
    let model = Request::new("DELETE", "/v1/models/ft:gpt").bearer(&key_of("b"));
    gate.send(&model).await;
    assert_eq!(provider.calls().last().unwrap().method(), "DELETE");
}

#[tokio::test]
async fn what_is_not_known_is_denied_unless_allowed() {
    let provider = things::provider().await;
    let kept =
        ["/v1/organization/users", "/v1/%6frganization/users", "/v1/projects", "/v1/%75sage/x"];
    let denied = before(&provider).start().await;
    let send = async |gate: &crate::harness::gateway::Gateway, method: &str, path: &str| {
        gate.send(&Request::new(method, path).bearer(&key_of("tester"))).await
    };
    for path in kept.into_iter().chain(["/v1/videos", "/v1/nothing/x"]) {
        send(&denied, "GET", path).await.refused(404, "endpoint_not_enabled");
    }
    send(&denied, "DELETE", "/v1/models/m").await.refused(404, "endpoint_not_enabled");
    send(&denied, "POST", "/v1/chat/completions/").await.refused(404, "endpoint_not_enabled");
    assert_eq!(provider.calls().len(), 0);
    let allowed = before(&provider).set("opaque.unknown", "allow").start().await;
    for path in kept {
        send(&allowed, "GET", path).await.refused(404, "endpoint_not_enabled");
    }
    assert_eq!(provider.calls().len(), 0);
    provider.next(crate::harness::reply::Reply::json_text(200, "{\"id\":\"video_1\"}"));
    send(&allowed, "POST", "/v1/videos").await.ok();
    provider.next(crate::harness::reply::Reply::json_text(200, "{\"id\":\"video_1\"}"));
    send(&allowed, "GET", "/v1/videos/video_1").await.ok();
}

#[tokio::test]
async fn without_its_provider_the_lane_is_closed() {
    let provider = things::provider().await;
    let gate = Tollgate::before(&provider).start().await;
    let answer = get(&gate, "tester", "/v1/files").await;
    answer.refused(404, "endpoint_not_enabled");
    let unknown = Request::get("/v1/files").bearer("tg_live_nobodys_key_0123456789");
    gate.send(&unknown).await.refused(401, "invalid_api_key");
}
