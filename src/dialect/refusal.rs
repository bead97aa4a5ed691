//! A provider's errors in the client's shape.
//!
//! Sources: OpenAI API reference, "Error codes"; Anthropic API reference,
//! "Errors"; Google AI, "Gemini API: troubleshooting". The shapes are read alike
//! whoever sends them, as compatible servers mix them.

use std::net::{IpAddr, SocketAddr};

use bytes::{Bytes, BytesMut};

use crate::dialect::Dialect;
use crate::dialect::json::{self, Fields, Node, Object};

/// The longest message that is passed, in bytes.
const LONGEST_MESSAGE: usize = 2000;
/// The longest run of letters and digits that cannot be a key.
const LONGEST_WORD: usize = 20;
/// How keys begin.
const KEYS: [&str; 8] = ["sk-", "sk_", "pk-", "AIza", "gsk_", "xai-", "r8_", "hf_"];
/// How names of hosts end that are written without a scheme or port.
const DOMAINS: [&str; 12] = [
    ".com",
    ".net",
    ".org",
    ".io",
    ".ai",
    ".dev",
    ".cloud",
    ".internal",
    ".local",
    ".lan",
    ".azure",
    ".cluster",
];

/// What an error says.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) kind: Option<String>,
    pub(super) message: Option<String>,
    pub(super) code: Option<String>,
}

impl Said {
    /// What the error object, or the body that has one, says.
    pub(super) fn read(text: &str) -> Self {
        // One API wraps its errors in an array when it streams.
        let text = text.trim();
        let text = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        let Ok(mut body) = Fields::parse(text, "") else { return Self::default() };
        match body.take("error") {
            Some(error) if json::is_text(error) => {
                Self { message: json::as_text(error), ..Self::default() }
            }
            Some(error) => Fields::parse(error.get(), "").map(Self::of).unwrap_or_default(),
            None => Self::of(body),
        }
    }

    fn of(mut error: Fields<'_>) -> Self {
        let mut text = |names: [&str; 2]| {
            names.iter().find_map(|name| error.take(name).and_then(json::as_text))
        };
        Self {
            message: text(["message", "detail"]),
            kind: text(["type", "status"]),
            code: text(["code", "code"]),
        }
    }
}

/// The error `body` of status `status` for a client that speaks `client`.
pub(super) fn translate(client: Dialect, status: u16, body: &[u8]) -> Bytes {
    let said = std::str::from_utf8(body).map(Said::read).unwrap_or_default();
    let message = match &said.message {
        Some(message) => clean(message),
        None => format!("The provider refused the request with status {status}."),
    };
    if client == Dialect::Messages {
        return messages(messages_kind(status), &message).to_bytes();
    }
    let code = said.code.as_deref().map(clean);
    Object::new().with("error", openai(openai_kind(status), &message, code)).to_bytes()
}

/// An error within a stream, for a client that speaks `client`.
pub(super) fn write_event(client: Dialect, kind: &str, message: &str, out: &mut BytesMut) {
    let message = clean(message);
    // The words of the two families for the two errors that are worth telling
    // apart: too many calls, and too much work.
    let busy = kind.contains("overloaded") || kind == "UNAVAILABLE";
    let limited = is_limit(kind);
    match client {
        Dialect::Messages => {
            let status = if limited {
                429
            } else if busy {
                529
            } else {
                500
            };
            messages(messages_kind(status), &message).write_event(Some("error"), out);
        }
        _ => {
            let kind = openai_kind(if limited { 429 } else { 500 });
            let error = openai(kind, &message, None);
            Object::new().with("error", error).write_event(None, out);
        }
    }
}

/// Whether an error of `kind` says that there were too many calls.
pub(super) fn is_limit(kind: &str) -> bool {
    kind.contains("rate_limit") || kind == "RESOURCE_EXHAUSTED"
}

fn messages<'a>(kind: &'a str, message: &'a str) -> Object<'a> {
    Object::of("error").with("error", Object::of(kind).with("message", message))
}

fn openai<'a>(kind: &'a str, message: &'a str, code: Option<String>) -> Object<'a> {
    Object::new()
        .with("message", message)
        .with("type", kind)
        .with("param", Node::Null)
        .with("code", code)
}

const fn messages_kind(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        529 => "overloaded_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    }
}

const fn openai_kind(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        403 => "permission_error",
        429 => "rate_limit_error",
        500.. => "server_error",
        _ => "invalid_request_error",
    }
}

/// `message` without addresses and what looks like a key, and not too long.
pub(super) fn clean(message: &str) -> String {
    let message = message.get(..message.floor_char_boundary(LONGEST_MESSAGE)).unwrap_or_default();
    let mut clean = String::with_capacity(message.len());
    for piece in message.split_inclusive([' ', '\n', '\t', '"', '\'', '`', '(', ')', ',', '=']) {
        let inner = piece.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        if inner.is_empty() {
            clean.push_str(piece);
            continue;
        }
        let removed = if is_address(piece, inner) {
            "[address]"
        } else if is_key(inner) {
            "[removed]"
        } else {
            clean.push_str(piece);
            continue;
        };
        clean.push_str(&piece.replace(inner, removed));
    }
    clean
}

fn is_address(piece: &str, word: &str) -> bool {
    let host = |host: &str| {
        let named = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
        host.bytes().all(named)
            && (host == "localhost" || DOMAINS.iter().any(|end| host.ends_with(end)))
    };
    let with_port = |word: &str| {
        word.rsplit_once(':').is_some_and(|(name, port)| {
            port.parse::<u16>().is_ok() && name.bytes().all(|byte| byte != b':')
        })
    };
    let first = word.split('/').next().unwrap_or(word);
    word.contains("://")
        || host(first)
        || with_port(first) && first.contains(|c: char| c.is_ascii_alphabetic())
        || first.parse::<IpAddr>().is_ok()
        || first.parse::<SocketAddr>().is_ok()
        || piece.trim().parse::<SocketAddr>().is_ok()
}

fn is_key(word: &str) -> bool {
    let run = |run: &str| {
        run.len() >= LONGEST_WORD
            && run.bytes().any(|byte| byte.is_ascii_digit())
            && run.bytes().any(|byte| byte.is_ascii_alphabetic())
    };
    let known = |start: &&str| word.starts_with(*start) && word.len() > start.len() + 4;
    KEYS.iter().any(known) || word.split(|c: char| !c.is_ascii_alphanumeric()).any(run)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_addresses_leave_a_message() {
        for (message, rest) in [
            (
                "Incorrect API key provided: sk-proj-abc***xyz.",
                "Incorrect API key provided: [removed].",
            ),
            ("key=AIzaSyD-abcdef12345 is bad", "key=[removed] is bad"),
            ("see https://10.0.0.7:8443/v1/x, or not", "see [address], or not"),
            ("cannot reach gpu-7.internal:8000", "cannot reach [address]"),
            ("dial 192.168.1.9:443: refused", "dial [address]: refused"),
            ("host vllm:8000 is down", "host [address] is down"),
            ("ask api.example.com/v1", "ask [address]"),
            ("token 0123456789abcdef0123456789abcdef", "token [removed]"),
        ] {
            assert_eq!(clean(message), rest);
        }
    }

    #[test]
    fn what_helps_a_client_stays() {
        for message in [
            "messages.0.content.1.text: Field required",
            "max_tokens: 99999 > 8192, which is the maximum for claude-sonnet-4-5-20250929",
            "This model's maximum context length is 8192 tokens (9000 in messages).",
            "Invalid value: 'x'. Supported: 'a' at 12:30 e.g. now",
        ] {
            assert_eq!(clean(message), message);
        }
    }

    #[test]
    fn every_shape_has_its_message_read() {
        for body in [
            r#"{"error":{"message":"no","type":"t","param":null,"code":null}}"#,
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"no"}}"#,
            r#"[{"error":{"code":400,"message":"no","status":"INVALID_ARGUMENT"}}]"#,
            r#"{"error":"no"}"#,
            r#"{"object":"error","message":"no","type":"BadRequestError","code":400}"#,
            r#"{"detail":"no"}"#,
        ] {
            let openai = translate(Dialect::Chat, 400, body.as_bytes());
            assert_eq!(
                openai,
                r#"{"error":{"message":"no","type":"invalid_request_error","param":null,"code":null}}"#
            );
            let anthropic = translate(Dialect::Messages, 429, body.as_bytes());
            assert_eq!(
                anthropic,
                r#"{"type":"error","error":{"type":"rate_limit_error","message":"no"}}"#
            );
        }
        let nothing = translate(Dialect::Chat, 404, b"<html>10.0.0.1</html>");
        assert!(nothing.starts_with(br#"{"error":{"message":"The provider refused"#));
    }
}
