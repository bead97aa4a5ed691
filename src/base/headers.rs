//! The names of headers that are Tollgate's own, or that HTTP's library does not
//! know. A name that is parsed at every look-up costs several times the look-up.

use http::HeaderName;

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
