//! How the mock provider answers as Gemini does. Source: Google AI, "Gemini API
//! reference: Generating content".

use serde_json::{Value, json};

use super::provider::Call;
use super::reply::Reply;

/// Prompt tokens that every answer reports.
pub(crate) const INPUT: u64 = 12;
/// Of these, the ones that the provider had cached.
pub(crate) const CACHED: u64 = 4;
/// Answer tokens that every answer reports, those of thoughts apart.
pub(crate) const OUTPUT: u64 = 7;
/// Tokens of thoughts that every answer reports.
pub(crate) const THOUGHTS: u64 = 3;
/// The text of every answer.
pub(crate) const TEXT: &str = "Hello from the provider, dear caller.";

/// The answer to `call`.
pub(crate) fn answer(call: &Call) -> Reply {
    let (path, query) = call.path().split_once('?').unwrap_or((call.path(), ""));
    match (call.method(), path, query) {
        ("POST", "/v1/models/gemini-pro:generateContent", "") => {
            Reply::json(200, &generated(TEXT, true))
        }
        ("POST", "/v1/models/gemini-pro:streamGenerateContent", "alt=sse") => {
            let words: Vec<&str> = TEXT.split_inclusive(' ').collect();
            let last = words.len() - 1;
            let events = words.iter().enumerate();
            Reply::events(events.map(|(at, word)| generated(word, at == last).to_string()))
        }
        _ => {
            let message = "no such model at https://internal.example.com";
            let error = json!({"code": 404, "message": message, "status": "NOT_FOUND"});
            Reply::json(404, &json!({ "error": error }))
        }
    }
}

/// An answer, or a piece of one.
fn generated(text: &str, is_last: bool) -> Value {
    let mut candidate = json!({
        "index": 0, "content": {"role": "model", "parts": [{"text": text}]},
    });
    if is_last {
        candidate["finishReason"] = json!("STOP");
    }
    json!({
        "candidates": [candidate], "modelVersion": "gemini-pro-001", "responseId": "r1",
        "usageMetadata": {
            "promptTokenCount": INPUT, "cachedContentTokenCount": CACHED,
            "candidatesTokenCount": OUTPUT, "thoughtsTokenCount": THOUGHTS,
            "totalTokenCount": INPUT + OUTPUT + THOUGHTS,
        },
    })
}
