//! Bytes, headers, records and ends. Covers J1, J2.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;

use super::{FORM, before, form, get, things, upload};
use crate::harness::client::{Connection, Request};
use crate::harness::gate::Gate;
use crate::harness::provider::Provider;
use crate::harness::reply::{Reply, Step};
use crate::harness::setup::{PROVIDER_KEY, key_of};

/// Bytes of every value, as compressed sound has them.
fn noise(length: usize) -> Bytes {
    let mut state = 1_u32;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..length).map(next).collect()
}

#[tokio::test]
async fn an_upload_passes_byte_by_byte() {
    let provider = things::provider().await;
    let gate = before(&provider).start().await;
    let body = form(&noise(300_000));
    let sent = Request::with_body("POST", "/v1/files?x=%41", FORM, body.clone())
        .header("openai-organization", "org-1")
        .header("cookie", "c=1")
        .bearer(&gate.key("tester"));
    let answer = gate.send(&sent).await.ok();
    assert_eq!(answer.header("x-tollgate-route"), Some(";;mock;opaque"));
    assert_eq!(answer.header("x-tollgate-class"), Some("default"));
    let call = provider.only_call();
    assert_eq!((call.method(), call.path()), ("POST", "/v1/files?x=%41"));
    assert_eq!(call.body, body);
    assert_eq!(call.header("content-type"), Some(FORM));
    assert_eq!(call.header("content-length"), Some(&*body.len().to_string()));
    assert_eq!(call.header("authorization"), Some(&*format!("Bearer {PROVIDER_KEY}")));
    for absent in ["transfer-encoding", "cookie", "openai-organization", "x-api-key"] {
        assert_eq!(call.header(absent), None, "{absent}");
    }
    let wire = String::from_utf8_lossy(&call.wire).into_owned();
    assert!(!wire.contains(&gate.key("tester")));
}

#[tokio::test]
async fn a_body_of_unknown_length_passes_in_chunks() {
    let provider = things::provider().await;
    let gate = before(&provider).start().await;
    let mut client = gate.connect().await;
    let head = format!(
        "POST /v1/files HTTP/1.1\r\nhost: t\r\nauthorization: Bearer {}\r\ncontent-type: {FORM}\r\n\
         transfer-encoding: chunked\r\nexpect: 100-continue\r\n\r\n",
        gate.key("tester")
    );
    client.send(head.as_bytes()).await;
    assert_eq!(client.any_head().await.status(), 100);
    let body = form(b"one two three");
    for piece in body.chunks(50) {
        client.send(format!("{:x}\r\n", piece.len()).as_bytes()).await;
        client.send(piece).await;
        client.send(b"\r\n").await;
    }
    client.send(b"0\r\n\r\n").await;
    client.answer().await.ok();
    // The connection serves the next request.
    client.send(&Request::get("/v1/files").bearer(&gate.key("tester")).bytes()).await;
    client.answer().await.ok();
    let call = provider.calls().remove(0);
    assert_eq!(call.body, body);
    assert_eq!(call.header("transfer-encoding"), Some("chunked"));
    assert_eq!(call.header("content-length"), None);
}

#[tokio::test]
async fn a_download_passes_byte_by_byte_with_its_length() {
    let provider = Provider::start().await;
    let gate = before(&provider).start().await;
    let sound = noise(700_000);
    let reply = Reply::bytes(200, sound.clone())
        .header("content-type", "audio/mpeg")
        .header("content-disposition", "attachment; filename=\"a.mp3\"")
        .header("x-request-id", "theirs")
        .header("x-ratelimit-limit-requests", "7");
    provider.next(reply.clone());
    provider.next(reply.chunked());
    let body = json!({"model": "tts-1", "input": "hi", "voice": "alloy"});
    let speak = Request::post("/v1/audio/speech", &body)
        .header("x-request-id", "mine")
        .header("range", "bytes=0-")
        .bearer(&gate.key("tester"));
    let known = gate.send(&speak).await.ok();
    let unknown = gate.send(&speak).await.ok();
    assert_eq!(known.header("content-length"), Some("700000"));
    assert_eq!(unknown.header("content-length"), None);
    for answer in [known, unknown] {
        assert_eq!(answer.body, sound);
        assert_eq!(answer.header("content-type"), Some("audio/mpeg"));
        assert_eq!(answer.header("content-disposition"), Some("attachment; filename=\"a.mp3\""));
        assert_eq!(answer.header("x-request-id"), Some("mine"));
        assert_ne!(answer.header("x-ratelimit-limit-requests"), Some("7"));
    }
    let call = provider.calls().remove(0);
    assert_eq!(call.json(), body);
    assert_eq!(call.header("range"), Some("bytes=0-"));
}

/// Covers A2, A5.
#[tokio::test]
async fn a_request_is_recorded_and_a_read_is_not() {
    let provider = things::provider().await;
    let gate = before(&provider)
        .set("opaque.price", "0.005")
        .class("drafts", "0.5", &json!({"feature": "basic_suggestions"}))
        .start()
        .await;
    let body = form(b"123");
    let upload = Request::with_body("POST", "/drafts/v1/files", FORM, body.clone());
    let answer = gate.send(&upload.bearer(&gate.key("tester"))).await.ok();
    assert_eq!(answer.header("x-tollgate-price-usd"), Some("0.005"));
    assert_eq!(provider.only_call().path(), "/v1/files");
    for path in ["/v1/files", "/v1/batches?limit=3"] {
        let read = get(&gate, "tester", path).await.ok();
        assert_eq!(read.header("x-tollgate-price-usd"), None);
    }
    let record = gate.only_record().await;
    for (field, value) in [
        ("endpoint", json!("drafts")),
        ("path", json!("/v1/files")),
        ("model_asked", json!("")),
        ("model_used", json!("")),
        ("provider", json!("mock")),
        ("status", json!(200)),
        ("outcome", json!("ok")),
        ("quantity", json!(1)),
        ("price", json!("0.005")),
        ("list_price", json!("0.005")),
        ("cost", json!("0")),
        ("attempts", json!(1)),
        ("bytes_in", json!(body.len())),
        ("bytes_out", json!(answer.body.len())),
        ("tokens", json!({"input": 0, "cached_input": 0, "output": 0, "reasoning": 0})),
    ] {
        assert_eq!(record[field], value, "{field}: {record}");
    }
}

#[tokio::test]
async fn an_error_passes_and_is_not_charged() {
    let provider = Provider::start().await;
    let gate = before(&provider).start().await;
    let post = || upload(b"1").bearer(&key_of("tester"));
    provider.next(Reply::error(400, "bad_purpose").header("retry-after", "3"));
    let refused = gate.send(&post()).await;
    assert_eq!((refused.status(), refused.header("retry-after")), (400, Some("3")));
    assert_eq!(refused.json()["error"]["code"], "bad_purpose");
    for (theirs, ours) in [(401, 502), (403, 502), (302, 502), (500, 500), (503, 503)] {
        provider.next(Reply::error(theirs, "x"));
        gate.send(&post()).await.refused(ours, "upstream_error");
    }
    provider.next(Reply::close());
    gate.send(&post()).await.refused(502, "upstream_error");
    let records = gate.records().await;
    assert_eq!(records.len(), 7);
    for record in records {
        assert_eq!(
            (&record["outcome"], &record["quantity"]),
            (&json!("provider_error"), &json!(0))
        );
    }
    provider.next(Reply::error(404, "none"));
    assert_eq!(get(&gate, "tester", "/v1/files").await.json()["error"]["code"], "none");
    provider.next(Reply::error(500, "none"));
    get(&gate, "tester", "/v1/files").await.refused(500, "upstream_error");
}

/// Covers F5.
#[tokio::test]
async fn a_read_counts_in_windows_and_a_refusal_does_not() {
    let provider = things::provider().await;
    let gate = before(&provider).plan("tester", |plan| plan.per_minute(3)).start().await;
    for _ in 0..5 {
        get(&gate, "tester", "/v1/files/file-none").await.refused(404, "not_found");
    }
    let first = get(&gate, "tester", "/v1/files").await.ok();
    assert_eq!(first.number("x-ratelimit-remaining-requests"), 2);
    gate.send(&upload(b"1").bearer(&key_of("tester"))).await.ok();
    get(&gate, "tester", "/v1/files").await.ok();
    get(&gate, "tester", "/v1/files").await.refused(429, "rate_limit_exceeded");
}

#[tokio::test]
async fn events_pass_one_by_one() {
    let provider = Provider::start().await;
    let gate = before(&provider).start().await;
    let held = Gate::closed();
    let events = ["{\"id\":\"thread_1\"}", "2", "[DONE]"];
    provider.next(Reply::gated_events(&held, events));
    let body = json!({"stream": true});
    let request = Request::post("/v1/threads/runs", &body).bearer(&gate.key("tester"));
    let mut client = gate.open(&request).await;
    client.head().await;
    for event in events {
        held.release();
        assert_eq!(client.event_data().await, event);
        if event == "[DONE]" {
            // Recorded before it left.
            assert_eq!(gate.only_record().await["stream"], true);
        }
    }
    assert!(client.event().await.unwrap().is_none());
    // What the events named is the account's.
    get(&gate, "tester", "/v1/threads/thread_1").await;
    assert_eq!(provider.calls().len(), 2);
}

#[tokio::test]
async fn a_provider_that_answers_early_is_heard() {
    let provider = Provider::start().await;
    let gate = before(&provider).start().await;
    provider.next(Reply::error(413, "too_large").early());
    let mut client = gate.connect().await;
    let mut head = upload(b"").bearer(&gate.key("tester")).head();
    let (from, to) = ("content-length: ", "content-length: 9");
    head = head.replacen(from, to, 1);
    client.send(head.as_bytes()).await;
    client.send(&form(b"")[..40]).await;
    let answer = client.answer().await;
    assert_eq!(answer.json()["error"]["code"], "too_large");
    let record = gate.only_record().await;
    assert_eq!((&record["status"], &record["outcome"]), (&json!(413), &json!("provider_error")));
}

#[tokio::test]
async fn a_client_that_leaves_its_upload_frees_the_provider() {
    let provider = Provider::start().await;
    let gate = before(&provider).start().await;
    let mut client = gate.connect().await;
    let mut head = upload(b"").bearer(&gate.key("tester")).head();
    head = head.replacen("content-length: ", "content-length: 9", 1);
    client.send(head.as_bytes()).await;
    client.send(b"--XX\r\n").await;
    drop(client);
    // The provider sees a body that is not whole.
    provider.wait_for_calls(1).await;
    let record = gate.wait_for_records(1).await.remove(0);
    assert_eq!((&record["outcome"], &record["quantity"]), (&json!("client_gone_early"), &json!(0)));
    assert_eq!(record["bytes_in"], 6);
}

#[tokio::test]
async fn a_client_that_leaves_its_download_frees_the_provider() {
    let provider = Provider::start().await;
    let gate = before(&provider).start().await;
    let held = Gate::closed();
    let sound = Reply::bytes(200, "").header("content-type", "audio/mpeg").chunked();
    provider.next(sound.chunk("1234").wait(&held).chunk("5"));
    let speak = Request::post("/v1/audio/speech", &json!({})).bearer(&gate.key("tester"));
    let mut client = gate.open(&speak).await;
    client.head().await;
    assert_eq!(client.data().await.unwrap().unwrap(), "1234");
    client.reset();
    assert_eq!(provider.wait_for_disconnect().await, 0);
    let record = gate.wait_for_records(1).await.remove(0);
    assert_eq!((&record["outcome"], &record["bytes_out"]), (&json!("client_gone_late"), &json!(4)));

    provider.next(Reply::hang());
    let waiting = gate.open(&speak).await;
    provider.wait_for_calls(2).await;
    drop(waiting);
    let record = gate.wait_for_records(2).await.remove(1);
    assert_eq!(record["outcome"], "client_gone_early");
}

#[tokio::test]
async fn a_cut_download_is_cut_for_the_client() {
    let provider = Provider::start().await;
    let gate = before(&provider).start().await;
    let speak = Request::post("/v1/audio/speech", &json!({})).bearer(&gate.key("tester"));
    let sound = || Reply::bytes(200, "0123456789").header("content-type", "audio/mpeg");
    for reply in [sound().cut_after(4), sound().chunked().reset_after(4)] {
        provider.next(reply);
        let answer = gate.open(&speak).await.try_answer().await;
        assert!(answer.is_err(), "{answer:?}");
    }
    // What there was of it is not kept back.
    provider.next(sound().cut_after(4));
    let mut client = gate.open(&speak).await;
    assert!(client.head().await.start.starts_with("HTTP/1.1 200 "));
    assert_eq!(client.data().await.unwrap().as_deref(), Some(&b"0123"[..]));
    client.data().await.unwrap_err();
    for record in gate.wait_for_records(3).await {
        assert_eq!((&record["outcome"], &record["quantity"]), (&json!("cut"), &json!(0)));
    }
}

#[tokio::test]
async fn a_connection_is_kept_and_a_stale_one_replaced() {
    let provider = things::provider().await;
    let gate = before(&provider).start().await;
    let mut client: Connection = gate.connect().await;
    let key = gate.key("tester");
    for request in [upload(b"1"), Request::get("/v1/files"), upload(b"2")] {
        client.send(&request.bearer(&key).bytes()).await;
        client.answer().await.ok();
    }
    // A body that cannot be sent twice takes a fresh connection, and leaves it
    // to those that can.
    assert_eq!(provider.connections(), 2);
    provider.close_idle().await;
    client.send(&Request::get("/v1/files").bearer(&key).bytes()).await;
    client.answer().await.ok();
}

#[tokio::test]
async fn answers_without_a_body_end_with_their_head() {
    let provider = Provider::start().await;
    let gate = before(&provider).start().await;
    let key = gate.key("tester");
    let mut client = gate.connect().await;
    provider.next(Reply::bytes(200, "").claiming(77).header("content-type", "audio/mpeg"));
    client.send(&Request::new("HEAD", "/v1/audio/speech").bearer(&key).bytes()).await;
    let head = client.any_head().await;
    assert_eq!((head.status(), head.header("content-length")), (200, Some("77")));
    drop(client);
    let mut client = gate.connect().await;
    provider.next(Reply::raw("HTTP/1.1 204 No Content\r\n\r\n"));
    client.send(&Request::new("DELETE", "/v1/audio/speech").bearer(&key).bytes()).await;
    let head = client.any_head().await;
    assert_eq!((head.status(), head.header("transfer-encoding")), (204, None));
    provider.next(Reply::bytes(200, "x").header("content-type", "audio/mpeg"));
    client.send(&Request::get("/v1/audio/speech").bearer(&key).bytes()).await;
    assert_eq!(client.answer().await.ok().text(), "x");
}

/// Covers F8.
#[tokio::test]
async fn what_a_request_occupies_is_held_to_its_end() {
    let provider = Provider::start().await;
    let gate = before(&provider).plan("tester", |plan| plan.concurrent(1)).start().await;
    let held = Arc::new(Gate::closed());
    let sound = Reply::bytes(200, "").header("content-type", "audio/mpeg").chunked();
    provider.next(sound.chunk("1").wait(&held).chunk("2"));
    let speak = Request::post("/v1/audio/speech", &json!({})).bearer(&gate.key("tester"));
    let mut client = gate.open(&speak).await;
    client.head().await;
    client.data().await.unwrap();
    get(&gate, "tester", "/v1/files").await.refused(429, "concurrency_limit_exceeded");
    held.release();
    client.body().await;
    provider.next(Reply::json_text(200, "{\"data\":[]}").then(Step::Close));
    get(&gate, "tester", "/v1/files").await.ok();
}

/// Covers F8.
#[tokio::test]
async fn a_call_takes_a_slot_and_what_finds_none_consumes_nothing() {
    let provider = Provider::start().await;
    let gate = before(&provider)
        .plan("tester", |plan| plan.per_minute(2))
        .set("limits.global.concurrent", 1)
        .set("limits.global.queue", 0)
        .start()
        .await;
    let held = Gate::closed();
    let sound = Reply::bytes(200, "").header("content-type", "audio/mpeg").chunked();
    provider.next(sound.chunk("1").wait(&held).chunk("2"));
    let speak = Request::post("/v1/audio/speech", &json!({})).bearer(&gate.key("tester"));
    let mut client = gate.open(&speak).await;
    client.head().await;
    client.data().await.unwrap();
    for request in [Request::get("/v1/files"), upload(b"1")] {
        gate.send(&request.bearer(&key_of("tester"))).await.refused(503, "overloaded");
    }
    held.release();
    client.body().await;
    provider.next(Reply::json_text(200, "{\"data\":[]}"));
    get(&gate, "tester", "/v1/files").await.ok();
    assert_eq!(gate.records().await.len(), 1);
}
