//! What forms name: their fields, and the lines of a batch's file. Covers J1.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{FILE, FORM, PURPOSE, batch, file_of, form, form_of, get, things, two_tenants};
use crate::harness::client::{Answer, Request};
use crate::harness::gateway::Gateway;
use crate::harness::provider::Provider;
use crate::harness::setup::key_of;

/// Two accounts, and the file and the response that are `a`'s.
struct World {
    provider: Provider,
    gate: Gateway,
    file: String,
    response: String,
}

impl World {
    async fn new() -> Self {
        let provider = things::provider().await;
        let gate = two_tenants(&provider).await;
        let file = file_of(&gate, "a", b"secret of a").await;
        let ask = json!({"model": "gpt-4o-mini", "input": "hi"});
        let ask = Request::post("/v1/responses", &ask).bearer(&key_of("a"));
        let response = gate.send(&ask).await.ok().json()["id"].as_str().unwrap().to_owned();
        Self { provider, gate, file, response }
    }

    /// The line of a batch whose request has `body`.
    fn line(body: &Value) -> String {
        json!({"custom_id": "1", "method": "POST", "url": "/v1/responses", "body": body})
            .to_string()
    }

    async fn send(&self, tenant: &str, path: &str, form: impl Into<Bytes>) -> Answer {
        let request = Request::with_body("POST", path, FORM, form);
        self.gate.send(&request.bearer(&key_of(tenant))).await
    }

    /// Sends a form that is refused, and of which the provider has no whole.
    async fn refused(&self, tenant: &str, path: &str, form: Vec<u8>, why: (u16, &str)) -> Value {
        let calls = self.provider.calls().len();
        let refused = self.send(tenant, path, form).await.refused(why.0, why.1);
        // What was cut has no body here.
        assert!(self.provider.calls()[calls..].iter().all(|call| call.body.is_empty()));
        refused
    }
}

const NOT_FOUND: (u16, &str) = (404, "not_found");

#[tokio::test]
async fn a_line_of_a_batch_names_its_accounts_things_alone() {
    let world = World::new().await;
    let World { file, response, .. } = &world;
    let sound = World::line(&json!({"input": "hi", "metadata": {"n": "file-of-nobody"}}));
    for named in [
        World::line(&json!({"previous_response_id": response})),
        World::line(&json!({"input": [{"type": "input_file", "file_id": file}]})),
        World::line(&json!({"anything": [file]})),
        World::line(&json!({"anything": [file]})).replace("file-", "\\u0066ile-"),
        format!("{{\"picture\":\"{}\",\"x\":\"{file}\"}}", "A".repeat(3 << 20)),
    ] {
        for lines in [
            named.clone(),
            format!("{sound}\n{named}"),
            format!("{sound}\r\n\r\n{named}\r\n"),
            format!("\u{feff}{named}\n{sound}\n"),
        ] {
            let told = world.refused("b", "/v1/files", batch(lines.as_bytes()), NOT_FOUND).await;
            let line =
                if lines.starts_with(&named) || lines.starts_with('\u{feff}') { 1 } else { 2 };
            let line = if lines.contains("\r\n\r\n") { 3 } else { line };
            let wanted = format!("Line {line} of the file names something that does not exist.");
            assert_eq!((&told["message"], &told["param"]), (&json!(wanted), &json!("file")));
            world.send("a", "/v1/files", batch(lines.as_bytes())).await.ok();
        }
    }
    // What is nobody's is not the account's either.
    let nobodys = World::line(&json!({"previous_response_id": "resp_of_nobody"}));
    world.refused("a", "/v1/files", batch(nobodys.as_bytes()), NOT_FOUND).await;
    assert_eq!(get(&world.gate, "b", "/v1/files").await.json()["data"], json!([]));
}

#[tokio::test]
async fn what_a_file_is_for_may_be_said_behind_it_or_not_at_all() {
    let world = World::new().await;
    let line = World::line(&json!({"previous_response_id": world.response}));
    let file = (FILE, line.as_bytes());
    for purpose in [&b"batch"[..], b"BATCH", b"batch-api", b""] {
        for parts in [[(PURPOSE, purpose), file], [file, (PURPOSE, purpose)]] {
            world.refused("b", "/v1/files", form_of(&parts), NOT_FOUND).await;
        }
    }
    world.refused("b", "/v1/files", form_of(&[file]), NOT_FOUND).await;
    let (read, run) = ((PURPOSE, &b"user_data"[..]), (PURPOSE, &b"batch"[..]));
    let twice = (400, "invalid_value");
    for parts in [[read, file, run], [file, read, run], [run, file, read]] {
        let why = if parts[0] == run { NOT_FOUND } else { twice };
        world.refused("b", "/v1/files", form_of(&parts), why).await;
    }
    // Some servers ignore case, spell lists with brackets, or look into the query.
    for head in ["name=\"Purpose\"", "name=\"purpose[]\"", "name=\"purpose\"; filename=\"a\""] {
        let parts = [(head, &b"batch"[..]), read, file];
        world.refused("b", "/v1/files", form_of(&parts), (400, "invalid_value")).await;
    }
    let odd = form_of(&[(PURPOSE, b"b\xffatch"), file]);
    world.refused("b", "/v1/files", odd, (400, "invalid_value")).await;
    for query in ["purpose=batch", "x=1&Purp%6Fse=batch", "purpose[]=batch"] {
        let path = format!("/v1/files?{query}");
        world.refused("b", &path, form_of(&[read, file]), (400, "invalid_value")).await;
    }
    // A document may say what it likes.
    for parts in [[read, file], [file, read]] {
        world.send("b", "/v1/files", form_of(&parts)).await.ok();
    }
}

#[tokio::test]
async fn a_batchs_file_is_lines_of_json() {
    let world = World::new().await;
    let wide: Vec<u8> = "{\"x\":1}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for odd in
        [&b"x"[..], b"{}\n{", b"{\"x\":\n1}", b"{\"a\":\"\n\",\"x\":1}", b"\x1f\x8b\x08\x00", &wide]
    {
        let told = world.refused("a", "/v1/files", batch(odd), (400, "invalid_json")).await;
        assert_eq!(told["param"], "file");
    }
    let numbers = format!("[{}1]", "1,".repeat(1 << 20));
    world.refused("a", "/v1/files", batch(numbers.as_bytes()), (400, "invalid_value")).await;
    world.send("a", "/v1/files", form(numbers.as_bytes())).await.ok();
    world.send("a", "/v1/files", batch(b"\n{}\r\n\n[1]\n")).await.ok();
}

#[tokio::test]
async fn a_line_is_read_across_the_edges_of_what_comes() {
    let world = World::new().await;
    let line = World::line(&json!({"previous_response_id": world.response}));
    let form = batch(line.as_bytes());
    for piece in [1, 2, 7, 64] {
        let request = Request::with_body("POST", "/v1/files", FORM, "").bearer(&key_of("b"));
        let head = request.head().replace("content-length: 0", "transfer-encoding: chunked");
        let mut client = world.gate.connect().await;
        client.send(head.as_bytes()).await;
        for piece in form.chunks(piece) {
            let chunk = [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
            // It may be refused before all of it is sent.
            if client.try_send(&chunk).await.is_err() {
                break;
            }
        }
        client.answer().await.refused(404, "not_found");
    }
    assert!(world.provider.calls().iter().all(|call| call.body != form));
}

#[tokio::test]
async fn a_field_of_a_form_names_its_accounts_things_alone() {
    let world = World::new().await;
    let made = Request::post("/v1/containers", &json!({})).bearer(&key_of("b"));
    let container = world.gate.send(&made).await.ok().json()["id"].as_str().unwrap().to_owned();
    let within = format!("/v1/containers/{container}/files");
    let own = file_of(&world.gate, "b", b"own").await;
    for (field, value) in [
        ("file_id", &world.file),
        ("anything", &world.file),
        ("file_ids[]", &format!("{own}, {}", world.file)),
        ("x[0][file_id]", &"file-of-nobody".to_owned()),
        ("session", &json!({"tools": [{"vector_store_ids": [world.file]}]}).to_string()),
    ] {
        let form = form_of(&[(&format!("name=\"{field}\""), value.as_bytes())]);
        world.refused("b", &within, form, NOT_FOUND).await;
    }
    // What is no text in UTF-8 would name something else in other letters.
    let wide: Vec<u8> = world.file.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let broken = [b"\xff,", world.file.as_bytes()].concat();
    for (head, value) in [
        ("name=\"file_ids[]\"", &broken),
        ("name=\"file_id\"", &wide),
        ("name=\"_charset_\"", &b"utf-16".to_vec()),
        ("name=\"file_id\"; filename=\"\"", &world.file.clone().into_bytes()),
    ] {
        world.refused("b", &within, form_of(&[(head, value)]), (400, "invalid_value")).await;
    }
    // Nor is what only claims to be no JSON.
    let naming = json!({"file_id": world.file}).to_string();
    let fields = json!([format!("&file_id={}&x=", world.file)]).to_string();
    for (path, kind, body) in [
        (&*within, "application/octet-stream", naming),
        ("/v1/assistants", "application/x-www-form-urlencoded", fields),
    ] {
        let request = Request::with_body("POST", path, kind, body).bearer(&key_of("b"));
        world.gate.send(&request).await.refused(415, "unsupported_media_type");
    }
    let session = json!({"x": world.file}).to_string();
    let call = form_of(&[("name=session; filename=x", session.as_bytes())]);
    world.refused("b", "/v1/realtime/calls", call, NOT_FOUND).await;
    let own = form_of(&[("name=\"file_id\"", own.as_bytes()), (FILE, world.file.as_bytes())]);
    world.send("b", &within, own).await.ok();
    let large = form_of(&[("name=\"a\"", &vec![b'x'; 2 << 20])]);
    world.refused("b", &within, large, (413, "request_too_large")).await;
}

#[tokio::test]
async fn what_is_run_is_not_uploaded_in_parts() {
    let world = World::new().await;
    let begin =
        |text: &str| Request::post_text("/v1/uploads", text.to_owned()).bearer(&key_of("a"));
    for text in [
        r#"{"purpose":"batch","filename":"a"}"#,
        r#"{"purpose":"user_data","purpose":"batch"}"#,
        r#"{"purpos\u0065":"b\u0061tch"}"#,
        r#"{"purpose":["batch"]}"#,
        r#"{"purpose":"user_data","Purpose":"batch"}"#,
    ] {
        let told = world.gate.send(&begin(text)).await.refused(400, "invalid_value");
        assert_eq!(told["param"], "purpose");
    }
    let as_form = form_of(&[(PURPOSE, b"batch")]);
    world.refused("a", "/v1/uploads", as_form, (400, "invalid_value")).await;
    let made = world.gate.send(&begin(r#"{"purpose":"user_data"}"#)).await.ok().json();
    let parts = format!("/v1/uploads/{}/parts", made["id"].as_str().unwrap());
    let part = form_of(&[("name=\"data\"; filename=\"x\"", world.file.as_bytes())]);
    world.send("a", &parts, part).await.ok();
}

#[tokio::test]
async fn what_could_be_read_differently_is_refused() {
    let world = World::new().await;
    for odd in [
        &b"--XX\r\n"[..],
        b"x",
        b"--XX\r\ncontent-disposition: form-data; name=\"file\"; filename=a\r\n\r\nx\n--XX\r\n\r\n--XX--",
    ] {
        world.refused("a", "/v1/files", odd.to_vec(), (400, "invalid_value")).await;
    }
    for (kind, why) in [
        ("multipart/form-data; boundary=XX; boundary=YY", (400, "invalid_value")),
        ("multipart/mixed; boundary=XX", (415, "unsupported_media_type")),
        ("application/octet-stream", (415, "unsupported_media_type")),
    ] {
        let request = Request::with_body("POST", "/v1/files", kind, batch(b"{}"));
        world.gate.send(&request.bearer(&key_of("a"))).await.refused(why.0, why.1);
    }
}
