//! The head of a request to a provider: what of the client's goes along.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, RANGE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};
use pingora_http::RequestHeader;

use crate::base::secret::Secret;
use crate::config::{BaseUrl, Manner};
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
    /// The line of `host` and that of the key; holds the provider's key.
    pub(super) lines: Secret,
    /// Host and port, as `:authority` has it.
    authority: String,
    /// The header with the key, marked as sensitive: it is neither shown nor kept
    /// in a table of HPACK's.
    key: Option<(HeaderName, HeaderValue)>,
    /// What goes along where the client has no header of that name.
    default: Option<(HeaderName, HeaderValue)>,
    /// What every query string has in it.
    query: Option<Arc<str>>,
}

impl Credentials {
    /// Those for a provider at `base` with `key`, which may be empty.
    pub(super) fn new(base: &BaseUrl, key: &Secret, manner: &Manner) -> Self {
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
        let mut shown = None;
        if !key.is_empty() {
            let (name, scheme) = (manner.auth.header(), manner.auth.scheme());
            lines.extend([name, ": ", scheme, key.expose(), "\r\n"]);
            let value = HeaderValue::from_str(&[scheme, key.expose()].concat()).ok();
            shown = value.map(|mut value| {
                value.set_sensitive(true);
                (HeaderName::from_static(name), value)
            });
        }
        let default = manner
            .default_header
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let query = manner.query.clone();
        Self { lines: Secret::new(lines), authority, key: shown, default, query }
    }

    /// The headers of a request: of the client's those that go along, and what the
    /// provider needs besides.
    pub(super) fn headers<'h>(
        &'h self,
        client: &'h HeaderMap,
    ) -> impl Iterator<Item = (&'h HeaderName, &'h HeaderValue)> {
        passed(client).chain(self.missing(client))
    }

    /// What the provider needs besides `headers`.
    fn missing<'h>(
        &'h self,
        headers: &HeaderMap,
    ) -> impl Iterator<Item = (&'h HeaderName, &'h HeaderValue)> + use<'h> {
        let missing = self.default.as_ref().filter(|(name, _)| !headers.contains_key(name));
        missing.map(|(name, value)| (name, value)).into_iter()
    }

    /// What stands behind the path of a request with the query string `own`.
    pub(super) fn query<'q>(&'q self, own: Option<&'q str>) -> [&'q str; 4] {
        match (own, self.query.as_deref()) {
            (None, None) => [""; 4],
            (Some(query), None) | (None, Some(query)) => ["?", query, "", ""],
            (Some(own), Some(always)) => ["?", own, "&", always],
        }
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
        let headers = origin.credentials().headers(call.headers);
        Self::with(origin, call, headers)
    }

    /// The same with all headers of `call`: those that [`forwarded`] gave, and what
    /// the seller sets.
    pub fn forwarded(origin: &Origin, call: Call<'_>) -> Self {
        let headers = call.headers.iter().chain(origin.credentials().missing(call.headers));
        Self::with(origin, call, headers)
    }

    fn with<'h>(
        origin: &Origin,
        call: Call<'h>,
        headers: impl Iterator<Item = (&'h HeaderName, &'h HeaderValue)>,
    ) -> Self {
        let (base, credentials) = (origin.base(), origin.credentials());
        let [mark, first, and, second] = credentials.query(call.query);
        let target = [&*base.path, call.path, mark, first, and, second];
        let form = if base.tls {
            Form::Parts(Parts {
                method: call.method,
                target: target.concat(),
                headers: headers.map(|(name, value)| (name.clone(), value.clone())).collect(),
                body: call.body,
            })
        } else {
            Form::Bytes(Wire::new(&call.method, &target, headers, call.body, credentials))
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
        if let Some((name, value)) = &credentials.key {
            head.headers.insert(name, value.clone());
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
    use std::time::Duration;

    use super::*;
    use crate::base::clock::SystemClock;
    use crate::config::Auth;
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
            let (key, clock) = (Secret::new("sk-provider"), Arc::new(SystemClock::new()));
            Origin::new(base, &key, &Manner::default(), timeouts, clock)
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
        let lines = |host, port, tls| {
            let base = base(host, port, tls);
            Credentials::new(&base, &Secret::default(), &Manner::default()).lines
        };
        assert_eq!(lines("a", 80, false).expose(), "host: a\r\n");
        assert_eq!(lines("a", 443, false).expose(), "host: a:443\r\n");
        assert_eq!(lines("::1", 8000, false).expose(), "host: [::1]:8000\r\n");
    }

    /// Covers E4 and I4.
    #[test]
    fn a_key_stands_where_the_provider_looks_for_it() {
        for (auth, line) in [
            (Auth::Bearer, "authorization: Bearer sk\r\n"),
            (Auth::ApiKey, "api-key: sk\r\n"),
            (Auth::XApiKey, "x-api-key: sk\r\n"),
            (Auth::XGoogApiKey, "x-goog-api-key: sk\r\n"),
        ] {
            let manner = Manner { auth, ..Manner::default() };
            let credentials = Credentials::new(&base("a", 80, false), &Secret::new("sk"), &manner);
            assert_eq!(credentials.lines.expose(), format!("host: a\r\n{line}"));
            let (name, value) = credentials.key.unwrap();
            assert!(value.is_sensitive());
            assert_eq!(format!("{name}: {}\r\n", value.to_str().unwrap()), line);
        }
    }

    #[test]
    fn what_a_provider_always_wants_is_added_once() {
        let manner = Manner {
            query: Some("api-version=1".into()),
            default_header: Some(("anthropic-version", "2023-06-01")),
            ..Manner::default()
        };
        let credentials = Credentials::new(&base("a", 80, false), &Secret::default(), &manner);
        assert_eq!(credentials.query(None).concat(), "?api-version=1");
        assert_eq!(credentials.query(Some("a=b")).concat(), "?a=b&api-version=1");
        let versions = |client: &HeaderMap| -> Vec<String> {
            let headers = credentials.headers(client).map(|(_, value)| value.to_str().unwrap());
            headers.map(str::to_owned).collect()
        };
        let mut client = HeaderMap::new();
        assert_eq!(versions(&client), ["2023-06-01"]);
        client.insert("anthropic-version", HeaderValue::from_static("2099-01-01"));
        assert_eq!(versions(&client), ["2099-01-01"]);
    }
}
