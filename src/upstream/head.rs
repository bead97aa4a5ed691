//! The head of a request to a provider: what of the client's goes along.

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{ACCEPT, CONTENT_TYPE, RANGE, USER_AGENT};
use http::{HeaderMap, HeaderName, Method};

use crate::base::secret::Secret;
use crate::config::BaseUrl;
use crate::upstream::{Call, Origin};

/// Headers of the client that go to a provider, besides `x-stainless-*`.
/// Credentials, cookies and `accept-encoding` are not among them: answers must
/// come as plain bytes.
const PASSED: [HeaderName; 8] = [
    CONTENT_TYPE,
    ACCEPT,
    RANGE,
    USER_AGENT,
    HeaderName::from_static("openai-beta"),
    HeaderName::from_static("anthropic-beta"),
    HeaderName::from_static("anthropic-version"),
    HeaderName::from_static("traceparent"),
];

/// What every request to one provider begins with.
#[derive(Clone, Debug)]
pub(super) struct Credentials {
    /// `host` and `authorization` lines; holds the provider's key.
    pub(super) lines: Secret,
}

impl Credentials {
    /// The lines for a provider at `base` with `key`, which may be empty.
    pub(super) fn bearer(base: &BaseUrl, key: &Secret) -> Self {
        let default_port = if base.tls { 443 } else { 80 };
        let mut lines = String::from("host: ");
        if base.host.contains(':') {
            lines.extend(["[", &base.host, "]"]);
        } else {
            lines.push_str(&base.host);
        }
        if base.port != default_port {
            lines.push_str(&format!(":{}", base.port));
        }
        lines.push_str("\r\n");
        if !key.is_empty() {
            lines.extend(["authorization: Bearer ", key.expose(), "\r\n"]);
        }
        Self { lines: Secret::new(lines) }
    }
}

/// A request to a provider as it goes over the wire. Making it borrows the
/// client's head; sending it does not.
#[derive(Debug)]
pub struct Prepared {
    /// What is written first: the head, and a small body behind it.
    pub(super) first: Bytes,
    /// A body that is too large to be copied.
    pub(super) rest: Vec<Bytes>,
}

/// A body up to this size, in bytes, is copied behind its head, so that both
/// leave in one write.
const ONE_WRITE: usize = 16 * 1024;

impl Prepared {
    /// `call` for `origin`, with the origin's credentials.
    pub fn new(origin: &Origin, call: Call<'_>) -> Self {
        let length: usize = call.body.iter().map(Bytes::len).sum();
        let together = length <= ONE_WRITE;
        let spare = if together { length } else { 0 };
        let mut first = head(&call, length, origin.base(), origin.credentials(), spare);
        if together {
            for piece in &call.body {
                first.put_slice(piece);
            }
            return Self { first: first.freeze(), rest: Vec::new() };
        }
        Self { first: first.freeze(), rest: call.body }
    }
}

/// The head of `call` in HTTP/1.1 form, with room for `spare` bytes of body.
fn head(
    call: &Call<'_>,
    length: usize,
    base: &BaseUrl,
    credentials: &Credentials,
    spare: usize,
) -> BytesMut {
    let mut out = BytesMut::with_capacity(1_024 + spare);
    out.put_slice(call.method.as_str().as_bytes());
    out.put_u8(b' ');
    out.put_slice(base.path.as_bytes());
    out.put_slice(call.path.as_bytes());
    if let Some(query) = call.query {
        out.put_u8(b'?');
        out.put_slice(query.as_bytes());
    }
    out.put_slice(b" HTTP/1.1\r\n");
    out.put_slice(credentials.lines.expose().as_bytes());
    for (name, value) in passed(call.headers) {
        out.put_slice(name.as_str().as_bytes());
        out.put_slice(b": ");
        out.put_slice(value);
        out.put_slice(b"\r\n");
    }
    // A method that takes a body says so where there is none (RFC 9110 §8.6).
    let takes = matches!(call.method, Method::POST | Method::PUT | Method::PATCH);
    if length > 0 || takes {
        out.put_slice(b"content-length: ");
        out.put_slice(itoa::Buffer::new().format(length).as_bytes());
        out.put_slice(b"\r\n");
    }
    out.put_slice(b"\r\n");
    out
}

/// The client's headers that go along.
pub(super) fn passed(headers: &HeaderMap) -> impl Iterator<Item = (&HeaderName, &[u8])> {
    headers
        .iter()
        .filter(|(name, _)| PASSED.contains(name) || name.as_str().starts_with("x-stainless-"))
        .map(|(name, value)| (name, value.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(host: &str, port: u16, tls: bool) -> BaseUrl {
        BaseUrl { tls, host: host.into(), port, path: "/v1".into() }
    }

    #[test]
    fn only_the_allowed_headers_go_along() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("content-type", "application/json"),
            ("authorization", "Bearer tg_live_client"),
            ("x-api-key", "tg_live_client"),
            ("accept-encoding", "gzip"),
            ("cookie", "a=b"),
            ("x-stainless-lang", "python"),
            ("idempotency-key", "k"),
            ("connection", "x-evil"),
            ("openai-organization", "org"),
        ] {
            headers.insert(HeaderName::from_static(name), value.parse().unwrap());
        }
        let base = base("api.example.com", 443, true);
        let credentials = Credentials::bearer(&base, &Secret::new("sk-provider"));
        let call = Call {
            method: Method::POST,
            path: "/chat/completions",
            query: Some("a=1"),
            headers: &headers,
            body: vec![Bytes::from_static(b"{}")],
        };
        let head = head(&call, 2, &base, &credentials, 0);
        assert_eq!(
            std::str::from_utf8(&head).unwrap(),
            "POST /v1/chat/completions?a=1 HTTP/1.1\r\nhost: api.example.com\r\n\
             authorization: Bearer sk-provider\r\ncontent-type: application/json\r\n\
             x-stainless-lang: python\r\ncontent-length: 2\r\n\r\n"
        );
        assert!(!format!("{credentials:?}").contains("sk-provider"));
    }

    #[test]
    fn the_host_line_names_other_ports_and_brackets_addresses() {
        let lines =
            |host, port, tls| Credentials::bearer(&base(host, port, tls), &Secret::default()).lines;
        assert_eq!(lines("a", 80, false).expose(), "host: a\r\n");
        assert_eq!(lines("a", 443, false).expose(), "host: a:443\r\n");
        assert_eq!(lines("::1", 8000, false).expose(), "host: [::1]:8000\r\n");
    }
}
