//! Whether a request's sampling is off, so that the same request brings the same
//! answer.
//!
//! An answer is taken for deterministic where `temperature` is 0 and `top_p` is
//! absent or 1, and the provider looks nothing up or runs for it. Embeddings are
//! always. `seed` does not count: OpenAI calls it "best effort".
//! Source: OpenAI API reference, "Create chat completion" and "Create a response";
//! Anthropic API reference, "Create a Message".

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::intake::endpoint::Endpoint;

/// The fields that decide.
#[derive(Deserialize)]
struct Fields<'b> {
    #[serde(default)]
    temperature: Option<f64>,
    #[serde(default)]
    top_p: Option<f64>,
    /// Settings of a web search.
    #[serde(borrow, default)]
    web_search_options: Option<&'b RawValue>,
    #[serde(default)]
    tools: Option<Vec<Tool>>,
    /// Servers that Anthropic's API calls.
    #[serde(borrow, default)]
    mcp_servers: Option<&'b RawValue>,
}

/// Something that the model may call.
#[derive(Deserialize)]
struct Tool {
    #[serde(default)]
    r#type: Option<Kind>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    /// Called by the client, as its next request says.
    #[serde(alias = "custom")]
    Function,
    /// Run by the provider: a search, an interpreter, a remote server.
    #[serde(other)]
    Hosted,
}

/// Whether equal requests to `endpoint` with this `body` have equal answers. A body
/// whose fields are of other types does not count as one.
pub fn is_off(endpoint: Endpoint, body: &[u8]) -> bool {
    if endpoint == Endpoint::Embeddings {
        return true;
    }
    let Ok(fields) = serde_json::from_slice::<Fields<'_>>(body) else { return false };
    // Anthropic's API takes a tool of no type for one of the client's.
    let typeless = endpoint == Endpoint::Messages;
    let hosted = |tool: &Tool| match &tool.r#type {
        None => !typeless,
        Some(kind) => matches!(kind, Kind::Hosted),
    };
    fields.temperature == Some(0.0)
        && fields.top_p.is_none_or(|share| share >= 1.0)
        && fields.web_search_options.is_none()
        && fields.mcp_servers.is_none()
        && !fields.tools.is_some_and(|tools| tools.iter().any(hosted))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Covers D5.
    #[test]
    fn sampling_is_off_at_temperature_zero_and_nothing_else_is_in_the_way() {
        for (body, off) in [
            (r#"{"temperature":0}"#, true),
            (r#"{"temperature":0.0,"top_p":1}"#, true),
            (r#"{"temperature":0e3,"top_p":null,"seed":1,"n":3}"#, true),
            (r#"{"temperature":-0,"tools":[{"type":"function"},{"type":"custom","x":1}]}"#, true),
            (r#"{"temperature":0,"web_search_options":null,"tools":[]}"#, true),
            ("{}", false),
            (r#"{"temperature":null}"#, false),
            (r#"{"temperature":0.0001}"#, false),
            (r#"{"temperature":1,"seed":7}"#, false),
            (r#"{"top_p":0}"#, false),
            (r#"{"temperature":0,"top_p":0.9}"#, false),
            (r#"{"temperature":"0"}"#, false),
            (r#"{"temperature":0,"web_search_options":{}}"#, false),
            (r#"{"temperature":0,"tools":[{"type":"function"},{"type":"web_search"}]}"#, false),
            (r#"{"temperature":0,"tools":[{}]}"#, false),
            (r#"{"temperature":0,"temperature":0}"#, false),
        ] {
            for endpoint in [Endpoint::ChatCompletions, Endpoint::Completions, Endpoint::Responses]
            {
                assert_eq!(is_off(endpoint, body.as_bytes()), off, "{body}");
            }
            assert!(is_off(Endpoint::Embeddings, body.as_bytes()), "{body}");
        }
        for (body, off) in [
            (r#"{"temperature":0,"tools":[{"name":"a","input_schema":{}}]}"#, true),
            (r#"{"temperature":0,"tools":[{"type":"web_search_20250305","name":"a"}]}"#, false),
            (r#"{"temperature":0,"mcp_servers":[]}"#, false),
        ] {
            assert_eq!(is_off(Endpoint::Messages, body.as_bytes()), off, "{body}");
        }
    }
}
