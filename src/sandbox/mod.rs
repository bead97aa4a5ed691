//! The built-in provider: it needs no account and no network, and the same
//! request gets the same answer but for its time stamp.
//!
//! It speaks OpenAI's dialect as the OpenAI API reference documents it: chat
//! completions, completions, embeddings, responses and models, streamed or not,
//! with tool calls, JSON answers and usage. It keeps nothing, and never quotes
//! the request. Whoever calls it paces the events and waits the latency.

mod chat;
mod completions;
mod embeddings;
mod models;
mod request;
mod responses;
mod schema;
mod seed;
mod tools;
mod write;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::base::clock::Timestamp;
use crate::sandbox::request::Refused;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Value of `content-type`.
    pub content_type: &'static str,
    /// The body.
    pub body: ReplyBody,
}

/// The body of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplyBody {
    /// To be sent at once.
    Whole(Bytes),
    /// Complete server-sent events, to be sent one by one.
    Events(Vec<Bytes>),
}

/// Answers a request for `path`, such as `/v1/chat/completions`, at `now`.
///
/// A request that OpenAI refuses gets its 400 in OpenAI's shape; a path that
/// the sandbox does not have, 404. Models are listed whatever the body is.
pub fn respond(path: &str, body: &[u8], now: Timestamp) -> Reply {
    let reply = match path {
        "/v1/chat/completions" => chat::respond(body, now),
        "/v1/completions" => completions::respond(body, now),
        "/v1/embeddings" => embeddings::respond(body),
        "/v1/responses" => responses::respond(body, now),
        "/v1/models" => Ok(models::list()),
        _ => match path.strip_prefix("/v1/models/") {
            Some(id) if !id.is_empty() => Ok(models::one(id)),
            _ => Err(Refused::not_found("The sandbox has no such endpoint.")),
        },
    };
    reply.unwrap_or_else(|refused| {
        let error = json!({ "error": {
            "message": refused.message,
            "type": "invalid_request_error",
            "param": refused.param,
            "code": refused.code,
        }});
        Reply { status: refused.status, ..Reply::json(&error) }
    })
}

impl Reply {
    /// A whole answer.
    fn json(body: &Value) -> Self {
        Self::whole(body.to_string().into())
    }

    /// A whole answer that is JSON already.
    const fn whole(body: Bytes) -> Self {
        Self { status: 200, content_type: "application/json", body: ReplyBody::Whole(body) }
    }

    /// A stream.
    const fn events(events: Vec<Bytes>) -> Self {
        Self {
            status: 200,
            content_type: "text/event-stream; charset=utf-8",
            body: ReplyBody::Events(events),
        }
    }
}

/// The event that has `data` as its data.
fn event(data: &Value) -> Bytes {
    format!("data: {data}\n\n").into()
}

/// The event that ends a stream of chat or completions.
const DONE: Bytes = Bytes::from_static(b"data: [DONE]\n\n");

#[cfg(test)]
mod tests;
