//! The names of headers that are Tollgate's own, or that HTTP's library does not
//! know. A name that is parsed at every look-up costs several times the look-up.

use bytes::{BufMut, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};

/// Room for the headers of a usual answer, in bytes.
const USUAL: usize = 640;

/// Headers as HTTP/1 writes them, a line each. They are only ever written down and
/// sent: as entries of a map they would cost several times as much.
#[derive(Debug, Default)]
pub struct Fields(BytesMut);

impl Fields {
    /// None, with room for those of a usual answer.
    pub fn new() -> Self {
        Self(BytesMut::with_capacity(USUAL))
    }

    /// Adds one that is not there yet; a value that HTTP cannot carry is left out.
    pub fn text(&mut self, name: &HeaderName, value: &str) {
        self.with(name, |out| out.put_slice(value.as_bytes()));
    }

    /// The same, a number.
    pub fn number(&mut self, name: &HeaderName, value: impl itoa::Integer) {
        self.text(name, itoa::Buffer::new().format(value));
    }

    /// The same, the value being what `write` puts.
    pub fn with(&mut self, name: &HeaderName, write: impl FnOnce(&mut BytesMut)) {
        let out = &mut self.0;
        let line = out.len();
        out.put_slice(name.as_str().as_bytes());
        out.put_slice(b": ");
        let value = out.len();
        write(out);
        let carried = |byte: &u8| matches!(byte, b'\t' | b' '..=b'~' | 0x80..);
        match out.get(value..).is_some_and(|value| value.iter().all(carried)) {
            true => out.put_slice(b"\r\n"),
            false => out.truncate(line),
        }
    }

    /// All of them, each line with its end.
    pub fn as_lines(&self) -> &[u8] {
        &self.0
    }

    /// Puts them into `headers`.
    pub fn put_into(&self, headers: &mut HeaderMap) {
        for line in self.as_lines().split(|byte| *byte == b'\n') {
            let Some(colon) = memchr::memchr(b':', line) else { continue };
            let (name, value) = line.split_at_checked(colon).unwrap_or_default();
            let value = value.strip_prefix(b": ").unwrap_or(value).trim_ascii_end();
            if let (Ok(name), Ok(value)) = (name.try_into(), HeaderValue::from_bytes(value)) {
                headers.insert::<HeaderName>(name, value);
            }
        }
    }
}

/// Who asks, where it is not in `authorization`.
pub const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// Where a request came from, as proxies tell.
pub const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// What a request is called, by its client or by us.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The same, as Anthropic calls it.
pub const ANTHROPIC_REQUEST_ID: HeaderName = HeaderName::from_static("request-id");

/// What makes a request that is sent again the same one.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The class: asked for, and given.
pub const CLASS: HeaderName = HeaderName::from_static("x-tollgate-class");
/// How long an answer may be kept.
pub const CACHE_TTL: HeaderName = HeaderName::from_static("x-tollgate-cache-ttl");
/// Whether a request wants a sample of its own.
pub const SAMPLES: HeaderName = HeaderName::from_static("x-tollgate-samples");

/// What the cache had to do with an answer.
pub const CACHE: HeaderName = HeaderName::from_static("x-tollgate-cache");
/// Where a request ran, and why there.
pub const ROUTE: HeaderName = HeaderName::from_static("x-tollgate-route");
/// What it costs the customer.
pub const PRICE: HeaderName = HeaderName::from_static("x-tollgate-price-usd");
/// Of which monthly limits a threshold was reached.
pub const WARNING: HeaderName = HeaderName::from_static("x-tollgate-warning");
/// What is left of the month.
pub const QUOTA_REMAINING: HeaderName = HeaderName::from_static("x-tollgate-quota-remaining");
/// Tollgate's own part of the time.
pub const OVERHEAD: HeaderName = HeaderName::from_static("x-tollgate-overhead-ms");

/// Limit, remaining and reset of the window of requests that is nearest to its end.
pub const REQUESTS: [HeaderName; 3] = [
    HeaderName::from_static("x-ratelimit-limit-requests"),
    HeaderName::from_static("x-ratelimit-remaining-requests"),
    HeaderName::from_static("x-ratelimit-reset-requests"),
];
/// The same of tokens.
pub const TOKENS: [HeaderName; 3] = [
    HeaderName::from_static("x-ratelimit-limit-tokens"),
    HeaderName::from_static("x-ratelimit-remaining-tokens"),
    HeaderName::from_static("x-ratelimit-reset-tokens"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_a_map_would_hold() {
        let mut fields = Fields::new();
        fields.text(&CLASS, "caf\u{e9}: x");
        fields.text(&ROUTE, "a\r\nevil: 1");
        fields.number(&QUOTA_REMAINING, 17_u64);
        fields.text(&PRICE, "");
        let text = "x-tollgate-class: caf\u{e9}: x\r\nx-tollgate-quota-remaining: 17\r\n\
                    x-tollgate-price-usd: \r\n";
        assert_eq!(fields.as_lines(), text.as_bytes());
        let mut headers = HeaderMap::new();
        fields.put_into(&mut headers);
        assert_eq!(headers.len(), 3);
        assert_eq!(headers[CLASS].as_bytes(), "caf\u{e9}: x".as_bytes());
        assert_eq!(
            (&headers[QUOTA_REMAINING], &headers[PRICE]),
            (&"17".parse().unwrap(), &HeaderValue::from_static(""))
        );
    }
}
