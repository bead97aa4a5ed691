//! A provider that keeps whatever is made, under any root, for all accounts
//! together: collections of things, which may have collections of their own.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::things::page;
use crate::harness::provider::{Call, Provider};
use crate::harness::reply::Reply;

/// Collections, and what the identifiers of their things begin with. `{}` is a
/// thing of the collection before.
pub(super) const COLLECTIONS: [(&str, &str); 17] = [
    ("files", "file-"),
    ("uploads", "upload_"),
    ("uploads/{}/parts", "part_"),
    ("batches", "batch_"),
    ("conversations", "conv_"),
    ("conversations/{}/items", "msg_"),
    ("threads", "thread_"),
    ("threads/{}/messages", "msg_"),
    ("threads/{}/runs", "run_"),
    ("assistants", "asst_"),
    ("vector_stores", "vs_"),
    ("vector_stores/{}/file_batches", "vsfb_"),
    ("fine_tuning/jobs", "ftjob-"),
    ("fine_tuning/jobs/{}/checkpoints", "ftckpt_"),
    ("containers", "cntr_"),
    ("containers/{}/files", "cfile_"),
    ("audio/voices", "voice_"),
];

/// What is kept: things by their collection's path.
#[derive(Default)]
pub(super) struct Kept {
    made: usize,
    collections: BTreeMap<String, Vec<Value>>,
}

/// A provider that keeps whatever is made.
pub(super) async fn provider() -> Provider {
    let provider = Provider::start().await;
    let kept = Arc::new(Mutex::new(Kept::default()));
    provider.answer(move |call| answer(&mut kept.lock(), call));
    provider
}

/// Whether `path` is that of a collection or of a thing in one.
pub(super) fn keeps(path: &str) -> bool {
    let collection = path.rsplit_once('/').map_or("", |(collection, _)| collection);
    COLLECTIONS.iter().any(|(pattern, _)| fits(pattern, path) || fits(pattern, collection))
}

pub(super) fn answer(kept: &mut Kept, call: &Call) -> Reply {
    let (path, query) = call.path().split_once('?').unwrap_or((call.path(), ""));
    let path = path.trim_start_matches("/v1/");
    let prefix = COLLECTIONS.iter().find(|(pattern, _)| fits(pattern, path)).map(|it| it.1);
    let none = || Reply::error(404, "no_such_thing");
    match (call.method(), prefix) {
        ("POST", Some(prefix)) => {
            kept.made += 1;
            let thing = json!({"id": format!("{prefix}{:06}", kept.made), "purpose": "batch"});
            kept.collections.entry(path.to_owned()).or_default().push(thing.clone());
            Reply::json(200, &thing)
        }
        ("GET", Some(_)) => page(kept.collections.get(path).map_or(&[], Vec::as_slice), query),
        (method, _) => {
            let Some((collection, id)) = path.rsplit_once('/') else { return none() };
            let Some(things) = kept.collections.get_mut(collection) else { return none() };
            let Some(at) = things.iter().position(|thing| thing["id"] == id) else {
                return none();
            };
            match method {
                "GET" => Reply::json(200, &things[at]),
                "DELETE" => {
                    things.remove(at);
                    kept.collections.retain(|name, _| !name.starts_with(&format!("{path}/")));
                    Reply::json(200, &json!({"id": id, "deleted": true}))
                }
                _ => none(),
            }
        }
    }
}

/// Whether `path` is that of a collection.
fn fits(pattern: &str, path: &str) -> bool {
    let (mut pattern, mut path) = (pattern.split('/'), path.split('/'));
    loop {
        match (pattern.next(), path.next()) {
            (None, None) => return true,
            (Some("{}"), Some(_)) => {}
            (Some(wanted), Some(found)) if wanted == found => {}
            _ => return false,
        }
    }
}
