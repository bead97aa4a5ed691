//! A provider that keeps what it makes: files, batches, responses; one for all
//! accounts, as a provider is.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::shop;
use crate::harness::openai;
use crate::harness::provider::{Call, Provider};
use crate::harness::reply::Reply;

/// What the provider keeps.
#[derive(Default)]
struct Kept {
    made: usize,
    files: Vec<(String, Bytes)>,
    batches: Vec<Value>,
    responses: Vec<Value>,
    others: shop::Kept,
}

impl Kept {
    fn id(&mut self, prefix: &str) -> String {
        self.made += 1;
        format!("{prefix}{:04}", self.made)
    }

    fn add_file(&mut self, content: Bytes) -> String {
        let id = self.id("file-");
        self.files.push((id.clone(), content));
        id
    }
}

/// A provider that keeps what it makes.
pub(super) async fn provider() -> Provider {
    let provider = Provider::start().await;
    let kept = Arc::new(Mutex::new(Kept::default()));
    provider.answer(move |call| answer(&mut kept.lock(), call));
    provider
}

fn answer(kept: &mut Kept, call: &Call) -> Reply {
    let (path, query) = call.path().split_once('?').unwrap_or((call.path(), ""));
    let segments: Vec<&str> = path.trim_start_matches("/v1/").split('/').collect();
    match (call.method(), segments.as_slice()) {
        ("POST", ["files"]) => {
            let id = kept.add_file(part(&call.body, "file"));
            Reply::json(200, &file(&id))
        }
        ("GET", ["files"]) => {
            page(&kept.files.iter().map(|(id, _)| file(id)).collect::<Vec<_>>(), query)
        }
        (method, ["files", id, rest @ ..]) => {
            let Some(at) = kept.files.iter().position(|(known, _)| known == id) else {
                return Reply::error(404, "no_such_file");
            };
            match (method, rest) {
                ("GET", []) => Reply::json(200, &file(id)),
                ("GET", ["content"]) => Reply::bytes(200, kept.files[at].1.clone())
                    .header("content-type", "application/octet-stream"),
                ("DELETE", []) => {
                    kept.files.remove(at);
                    Reply::json(200, &json!({"id": id, "object": "file", "deleted": true}))
                }
                _ => Reply::error(404, "unknown_url"),
            }
        }
        ("POST", ["batches"]) => {
            let input = call.json()["input_file_id"].clone();
            let output = kept.add_file(Bytes::from_static(b"{\"custom_id\":\"1\"}\n"));
            let batch = json!({
                "id": kept.id("batch_"), "object": "batch", "endpoint": "/v1/chat/completions",
                "input_file_id": input, "output_file_id": output, "error_file_id": null,
                "status": "completed", "completion_window": "24h", "created_at": 1_700_000_000,
            });
            kept.batches.push(batch.clone());
            // The output appears only once the batch is looked at again.
            Reply::json(200, &{
                let mut begun = batch;
                begun["output_file_id"] = Value::Null;
                begun["status"] = "validating".into();
                begun
            })
        }
        ("GET", ["batches"]) => page(&kept.batches, query),
        ("GET", ["batches", id]) | ("POST", ["batches", id, "cancel"]) => {
            found(kept.batches.iter().find(|batch| batch["id"] == *id))
        }
        ("POST", ["responses"]) => {
            let response = json!({
                "id": kept.id("resp_"), "object": "response", "created_at": 1_700_000_000,
                "model": call.json()["model"], "status": "completed", "output": [],
                "usage": {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5},
            });
            kept.responses.push(response.clone());
            if call.json()["stream"] == true {
                let event = |kind: &str| json!({"type": kind, "response": response}).to_string();
                return Reply::events([event("response.created"), event("response.completed")]);
            }
            Reply::json(200, &response)
        }
        ("GET", ["responses", id]) => {
            found(kept.responses.iter().find(|response| response["id"] == *id))
        }
        ("DELETE", ["responses", id]) => {
            kept.responses.retain(|response| response["id"] != *id);
            Reply::json(200, &json!({"id": id, "object": "response", "deleted": true}))
        }
        _ if shop::keeps(&segments.join("/")) => shop::answer(&mut kept.others, call),
        _ => without_memory(call, &segments),
    }
}

/// Endpoints that keep nothing.
fn without_memory(call: &Call, segments: &[&str]) -> Reply {
    match (call.method(), segments) {
        ("POST", ["audio", "speech"]) => {
            Reply::bytes(200, speech()).chunked().header("content-type", "audio/mpeg")
        }
        ("POST", ["audio", "transcriptions"]) => {
            let heard = part(&call.body, "file").len();
            Reply::json(200, &json!({"text": format!("{heard} bytes of sound")}))
        }
        ("POST", ["images", "generations"]) => Reply::json(
            200,
            &json!({"created": 1_700_000_000, "data": [{"b64_json": "iVBORw0KGgo="}]}),
        ),
        ("POST", ["moderations"]) => Reply::json(
            200,
            &json!({"id": "modr-1", "model": "omni-moderation-latest", "results": [{
                "flagged": false, "categories": {}, "category_scores": {},
                "category_applied_input_types": {},
            }]}),
        ),
        _ => openai::answer(call),
    }
}

/// What every speech sounds like: every byte there is, many times.
pub(super) fn speech() -> Bytes {
    (0..100_000_u32).map(|number| u8::try_from(number * 7 % 256).unwrap()).collect()
}

fn file(id: &str) -> Value {
    json!({
        "id": id, "object": "file", "bytes": 1, "created_at": 1_700_000_000,
        "filename": "a.jsonl", "purpose": "batch", "status": "processed",
    })
}

fn found(thing: Option<&Value>) -> Reply {
    thing.map_or_else(|| Reply::error(404, "not_found"), |thing| Reply::json(200, thing))
}

/// A page of a list, by `limit` and `after`.
pub(super) fn page(all: &[Value], query: &str) -> Reply {
    let value = |name: &str| {
        query.split('&').filter_map(|pair| pair.split_once('=')).find(|it| it.0 == name)
    };
    let limit = value("limit").map_or(20, |it| it.1.parse().unwrap());
    let from = value("after").map_or(0, |(_, id)| {
        all.iter().position(|thing| thing["id"] == id).map_or(all.len(), |at| at + 1)
    });
    let data: Vec<&Value> = all[from..].iter().take(limit).collect();
    let end = |thing: Option<&&Value>| thing.map_or(Value::Null, |thing| thing["id"].clone());
    Reply::json(
        200,
        &json!({
            "object": "list", "first_id": end(data.first()), "last_id": end(data.last()),
            "has_more": from + data.len() < all.len(), "data": data,
        }),
    )
}

/// The content of the part `name` of a form.
fn part(form: &Bytes, name: &str) -> Bytes {
    let mark = format!("name=\"{name}\"");
    let at = memchr::memmem::find(form, mark.as_bytes()).expect("a part of that name");
    let from = at + memchr::memmem::find(&form[at..], b"\r\n\r\n").unwrap() + 4;
    let boundary = &form[..memchr::memmem::find(form, b"\r\n").unwrap()];
    let end = memchr::memmem::find(&form[from..], boundary).unwrap() - 2;
    form.slice(from..from + end)
}
