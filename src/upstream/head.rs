//! The head of a request to a provider: what of the client's goes along.

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, RANGE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};
use pingora_http::RequestHeader;

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
    /// Host and port, as `:authority` has it.
    authority: String,
    /// `authorization`, marked as sensitive: it is neither shown nor kept in a
    /// table of HPACK's.
    authorization: Option<HeaderValue>,
}

impl Credentials {
    /// The lines for a provider at `base` with `key`, which may be empty.
    pub(super) fn bearer(base: &BaseUrl, key: &Secret) -> Self {
        let default_port = if base.tls { 443 } else { 80 };
        let mut authority = String::new();
        if base.host.contains(':') {
            authority.extend(["[", &base.host, "]"]);
        } else {
            authority.push_str(&base.host);
        }
        if base.port != default_port {
            authority.push_str(&format!(":{}", base.port));
        }
        let mut lines = format!("host: {authority}\r\n");
        let mut authorization = None;
        if !key.is_empty() {
            lines.extend(["authorization: Bearer ", key.expose(), "\r\n"]);
            authorization = HeaderValue::from_str(&format!("Bearer {}", key.expose())).ok();
        }
        if let Some(value) = &mut authorization {
            value.set_sensitive(true);
        }
        Self { lines: Secret::new(lines), authority, authorization }
    }
}

/// A request to a provider, ready to go over the wire. Making it borrows the
/// client's head; sending it does not.
#[derive(Debug)]
pub struct Prepared {
    form: Form,
}

/// Without TLS only HTTP/1.1 is spoken, so the bytes can be made at once; with
/// TLS the connection decides.
#[derive(Debug)]
enum Form {
    Bytes(Wire),
    Parts(Parts),
}

/// A request in HTTP/1.1 form.
#[derive(Clone, Debug)]
pub(super) struct Wire {
    /// What is written first: the head, and a small body behind it.
    pub(super) first: Bytes,
    /// A body that is too large to be copied.
    pub(super) rest: Vec<Bytes>,
}

/// A request that may go in either form.
#[derive(Debug)]
struct Parts {
    method: Method,
    /// Path and query.
    target: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Vec<Bytes>,
}

/// A body up to this size, in bytes, is copied behind its head, so that both
/// leave in one write.
const ONE_WRITE: usize = 16 * 1024;

impl Prepared {
    /// `call` for `origin`, with the origin's credentials; of its headers those go
    /// along that may.
    pub fn new(origin: &Origin, call: Call<'_>) -> Self {
        let headers = passed(call.headers);
        Self::with(origin, call, headers)
    }

    /// The same with all headers of `call`: those that [`forwarded`] gave, and what
    /// the seller sets.
    pub fn forwarded(origin: &Origin, call: Call<'_>) -> Self {
        let headers = call.headers.iter();
        Self::with(origin, call, headers)
    }

    fn with<'h>(
        origin: &Origin,
        call: Call<'h>,
        headers: impl Iterator<Item = (&'h HeaderName, &'h HeaderValue)>,
    ) -> Self {
        let base = origin.base();
        let mark = if call.query.is_some() { "?" } else { "" };
        let target = [&*base.path, call.path, mark, call.query.unwrap_or_default()];
        let form = if base.tls {
            Form::Parts(Parts {
                method: call.method,
                target: target.concat(),
                headers: headers.map(|(name, value)| (name.clone(), value.clone())).collect(),
                body: call.body,
            })
        } else {
            Form::Bytes(Wire::new(&call.method, &target, headers, call.body, origin.credentials()))
        };
        Self { form }
    }

    /// The request in HTTP/1.1 form. Cheap if the origin speaks nothing else.
    pub(super) fn wire(&self, origin: &Origin) -> Wire {
        match &self.form {
            Form::Bytes(wire) => wire.clone(),
            Form::Parts(parts) => {
                let headers = parts.headers.iter().map(|(name, value)| (name, value));
                let body = parts.body.clone();
                Wire::new(&parts.method, &[&parts.target], headers, body, origin.credentials())
            }
        }
    }

    /// The request in HTTP/2 form: its head and its body. `None` if it cannot
    /// have one.
    pub(super) fn multiplexed(&self, origin: &Origin) -> Option<(RequestHeader, &[Bytes])> {
        let Form::Parts(parts) = &self.form else { return None };
        let credentials = origin.credentials();
        let uri = Uri::builder()
            .scheme("https")
            .authority(&*credentials.authority)
            .path_and_query(&*parts.target)
            .build()
            .ok()?;
        let request = http::Request::builder().version(Version::HTTP_2);
        let request = request.method(&parts.method).uri(uri).body(()).ok()?;
        let mut head = request.into_parts().0;
        head.headers.reserve(parts.headers.len() + 2);
        if let Some(authorization) = &credentials.authorization {
            head.headers.insert(AUTHORIZATION, authorization.clone());
        }
        for (name, value) in &parts.headers {
            head.headers.append(name, value.clone());
        }
        let length = length_of(&parts.body);
        if length > 0 || takes_body(&parts.method) {
            head.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        Some((head.into(), &parts.body))
    }
}

impl Wire {
    fn new<'a>(
        method: &Method,
        target: &[&str],
        headers: impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)>,
        body: Vec<Bytes>,
        credentials: &Credentials,
    ) -> Self {
        let length = length_of(&body);
        let together = length <= ONE_WRITE;
        let spare = if together { length } else { 0 };
        let mut first = head((method, target), headers, length, credentials, spare);
        if together {
            for piece in &body {
                first.put_slice(piece);
            }
            return Self { first: first.freeze(), rest: Vec::new() };
        }
        Self { first: first.freeze(), rest: body }
    }
}

/// Whether a request with this method says that its body is empty (RFC 9110
/// §8.6).
const fn takes_body(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH)
}

fn length_of(body: &[Bytes]) -> usize {
    body.iter().map(Bytes::len).sum()
}

/// A head in HTTP/1.1 form for a body of `length`, with room for `spare` bytes.
fn head<'a>(
    (method, target): (&Method, &[&str]),
    headers: impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)>,
    length: usize,
    credentials: &Credentials,
    spare: usize,
) -> BytesMut {
    let mut out = BytesMut::with_capacity(1_024 + spare);
    out.put_slice(method.as_str().as_bytes());
    out.put_u8(b' ');
    for piece in target {
        out.put_slice(piece.as_bytes());
    }
    out.put_slice(b" HTTP/1.1\r\n");
    out.put_slice(credentials.lines.expose().as_bytes());
    for (name, value) in headers {
        out.put_slice(name.as_str().as_bytes());
        out.put_slice(b": ");
        out.put_slice(value.as_bytes());
        out.put_slice(b"\r\n");
    }
    if length > 0 || takes_body(method) {
        out.put_slice(b"content-length: ");
        out.put_slice(itoa::Buffer::new().format(length).as_bytes());
        out.put_slice(b"\r\n");
    }
    out.put_slice(b"\r\n");
    out
}

/// The client's headers that go along.
pub(super) fn passed(headers: &HeaderMap) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
    headers
        .iter()
        .filter(|(name, _)| PASSED.contains(name) || name.as_str().starts_with("x-stainless-"))
}

/// A copy of the client's headers that go along, for a call that outlives the
/// client.
pub fn forwarded(headers: &HeaderMap) -> HeaderMap {
    let mut copy = HeaderMap::with_capacity(12);
    for (name, value) in passed(headers) {
        copy.append(name.clone(), value.clone());
    }
    copy
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::base::clock::SystemClock;
    use crate::upstream::Timeouts;

    fn base(host: &str, port: u16, tls: bool) -> BaseUrl {
        BaseUrl { tls, host: host.into(), port, path: "/v1".into() }
    }

    #[test]
    fn only_the_allowed_headers_go_along_in_either_form() {
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
        let origin = |tls| {
            let timeouts = Timeouts {
                connect: Duration::ZERO,
                first_byte: Duration::ZERO,
                chunk: Duration::ZERO,
            };
            let base = base("127.0.0.1", 443, tls);
            Origin::new(base, &Secret::new("sk-provider"), timeouts, Arc::new(SystemClock::new()))
        };
        let prepared = |origin: &Origin| {
            let call = Call {
                method: Method::POST,
                path: "/chat/completions",
                query: Some("a=1"),
                headers: &headers,
                body: vec![Bytes::from_static(b"{"), Bytes::from_static(b"}")],
            };
            Prepared::new(origin, call)
        };
        for (tls, host) in [(true, "127.0.0.1"), (false, "127.0.0.1:443")] {
            let origin = origin(tls);
            let wire = prepared(&origin).wire(&origin);
            assert_eq!(
                std::str::from_utf8(&wire.first).unwrap(),
                format!(
                    "POST /v1/chat/completions?a=1 HTTP/1.1\r\nhost: {host}\r\n\
                     authorization: Bearer sk-provider\r\ncontent-type: application/json\r\n\
                     x-stainless-lang: python\r\ncontent-length: 2\r\n\r\n{{}}"
                )
            );
            assert!(wire.rest.is_empty());
            assert!(!format!("{:?}", origin.credentials()).contains("sk-provider"));
        }
        let plain = origin(false);
        assert!(prepared(&plain).multiplexed(&plain).is_none(), "HTTP/2 needs TLS");
        let secure = origin(true);
        let prepared = prepared(&secure);
        let (head, body) = prepared.multiplexed(&secure).unwrap();
        assert_eq!(head.uri, "https://127.0.0.1/v1/chat/completions?a=1");
        assert_eq!((&head.method, head.version), (&Method::POST, Version::HTTP_2));
        let mut names: Vec<_> = head.headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["authorization", "content-length", "content-type", "x-stainless-lang"]);
        assert_eq!(head.headers["content-length"], "2");
        assert_eq!(head.headers["authorization"], "Bearer sk-provider");
        assert!(head.headers["authorization"].is_sensitive());
        assert_eq!(body.concat(), b"{}");
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
