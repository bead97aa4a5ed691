//! `GET /v1/models` and `GET /v1/models/{id}`. The sandbox answers for any
//! model, so every id exists; the list names a few.

use serde_json::{Value, json};

use crate::sandbox::Reply;

const LISTED: [&str; 4] = ["sandbox", "gpt-4o", "gpt-4o-mini", "text-embedding-3-small"];

/// The list.
pub(super) fn list() -> Reply {
    Reply::json(&json!({ "object": "list", "data": LISTED.map(model) }))
}

/// One model.
pub(super) fn one(id: &str) -> Reply {
    Reply::json(&model(id))
}

fn model(id: &str) -> Value {
    json!({ "id": id, "object": "model", "created": 1_735_689_600, "owned_by": "tollgate" })
}
