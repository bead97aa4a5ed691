//! Every "no": its status, its code, and the words that a client reads.
//!
//! Stages return a [`Refusal`]; HTTP is made of it in `respond` only. The
//! codes and types are the contract's. A refusal never carries a secret, a
//! prompt or a provider's address.

use std::borrow::Cow;
use std::time::Duration;

use http::StatusCode;

/// Why a request is refused. The variants are the contract's `code`s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// The body is not JSON, or not whole.
    InvalidJson,
    /// What Tollgate reads of a request, a field or a part of its head, has a wrong
    /// type, value or form.
    InvalidValue,
    /// A field that the model's provider has no way to express.
    UnsupportedField,
    /// The key is missing, malformed or unknown.
    InvalidApiKey,
    /// The plan lacks the class's feature.
    FeatureNotInPlan,
    /// The plan may not use the model, or the class does not run on it.
    ModelNotInPlan,
    /// The account is suspended, or its plan is not there any more.
    AccountSuspended,
    /// No model of that name for this account, or all its targets are off.
    ModelNotFound,
    /// The endpoint exists in the API but is not served here.
    EndpointNotEnabled,
    /// No such path.
    NotFound,
    /// The path exists, the method does not.
    MethodNotAllowed,
    /// The client was too slow.
    RequestTimeout,
    /// The `idempotency-key` came with another request before.
    IdempotencyConflict,
    /// The body is over `listen.body_limit`.
    RequestTooLarge,
    /// The body is not JSON by its own header, or encoded.
    UnsupportedMediaType,
    /// The header block is over 32 KB.
    HeadersTooLarge,
    /// A window is full.
    RateLimitExceeded,
    /// Too many requests at once.
    ConcurrencyLimitExceeded,
    /// The month's quota is used up.
    InsufficientQuota,
    /// A fault of Tollgate's own.
    InternalError,
    /// The provider could not be reached, answered wrongly, or with a 5xx.
    UpstreamError,
    /// The process is at `limits.global.requests`, or there is no slot for a
    /// call to a provider.
    Overloaded,
    /// The ledger cannot be written.
    StorageUnavailable,
    /// The provider took too long.
    UpstreamTimeout,
    /// The answer is not in the cache, and the request wants no other.
    NotInCache,
}

impl Code {
    /// The `code` of the error object.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidJson => "invalid_json",
            Self::InvalidValue => "invalid_value",
            Self::UnsupportedField => "unsupported_field",
            Self::InvalidApiKey => "invalid_api_key",
            Self::FeatureNotInPlan => "feature_not_in_plan",
            Self::ModelNotInPlan => "model_not_in_plan",
            Self::AccountSuspended => "account_suspended",
            Self::ModelNotFound => "model_not_found",
            Self::EndpointNotEnabled => "endpoint_not_enabled",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::RequestTimeout => "request_timeout",
            Self::IdempotencyConflict => "idempotency_conflict",
            Self::RequestTooLarge => "request_too_large",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::HeadersTooLarge => "headers_too_large",
            Self::RateLimitExceeded => "rate_limit_exceeded",
            Self::ConcurrencyLimitExceeded => "concurrency_limit_exceeded",
            Self::InsufficientQuota => "insufficient_quota",
            Self::InternalError => "internal_error",
            Self::UpstreamError => "upstream_error",
            Self::Overloaded => "overloaded",
            Self::StorageUnavailable => "storage_unavailable",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::NotInCache => "not_in_cache",
        }
    }

    /// The status that goes with the code.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::InvalidJson | Self::InvalidValue | Self::UnsupportedField => {
                StatusCode::BAD_REQUEST
            }
            Self::InvalidApiKey => StatusCode::UNAUTHORIZED,
            Self::FeatureNotInPlan | Self::ModelNotInPlan | Self::AccountSuspended => {
                StatusCode::FORBIDDEN
            }
            Self::ModelNotFound | Self::EndpointNotEnabled | Self::NotFound => {
                StatusCode::NOT_FOUND
            }
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::IdempotencyConflict => StatusCode::CONFLICT,
            Self::RequestTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::HeadersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::RateLimitExceeded | Self::ConcurrencyLimitExceeded | Self::InsufficientQuota => {
                StatusCode::TOO_MANY_REQUESTS
            }
            Self::InternalError => StatusCode::INTERNAL_SERVER_ERROR,
            Self::UpstreamError => StatusCode::BAD_GATEWAY,
            Self::Overloaded | Self::StorageUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::UpstreamTimeout | Self::NotInCache => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// The `type` of the error object.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::InvalidApiKey => "authentication_error",
            Self::FeatureNotInPlan | Self::ModelNotInPlan | Self::AccountSuspended => {
                "permission_error"
            }
            Self::RateLimitExceeded | Self::ConcurrencyLimitExceeded | Self::InsufficientQuota => {
                "rate_limit_error"
            }
            Self::InternalError
            | Self::UpstreamError
            | Self::Overloaded
            | Self::StorageUnavailable
            | Self::UpstreamTimeout
            | Self::NotInCache => "server_error",
            _ => "invalid_request_error",
        }
    }

    /// The `layer` label of `tollgate_refused_total`, where the refusal is one
    /// of policy; faults of providers and of Tollgate have none.
    pub const fn layer(self) -> Option<&'static str> {
        match self {
            Self::InvalidApiKey | Self::AccountSuspended => Some("auth"),
            Self::FeatureNotInPlan | Self::ModelNotInPlan => Some("feature"),
            Self::InsufficientQuota => Some("quota"),
            Self::RateLimitExceeded | Self::ConcurrencyLimitExceeded => Some("user"),
            Self::Overloaded => Some("global"),
            Self::InternalError
            | Self::UpstreamError
            | Self::StorageUnavailable
            | Self::UpstreamTimeout
            | Self::NotInCache => None,
            _ => Some("body"),
        }
    }
}

/// One refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What it is.
    pub code: Code,
    /// The status, the code's own unless a provider's is kept.
    pub status: StatusCode,
    /// A sentence or two for a developer: what is wrong, and what to do.
    pub message: Cow<'static, str>,
    /// The field at fault.
    pub param: Option<Cow<'static, str>>,
    /// When the request may succeed.
    pub retry_after: Option<Duration>,
    /// Whether another try is in vain.
    pub in_vain: bool,
    /// The `layer` label of `tollgate_refused_total`; the code's own unless the
    /// limit is not the account's.
    pub layer: Option<&'static str>,
    /// The window at fault, the `window` label of `tollgate_refused_total`.
    pub window: &'static str,
    /// The methods that the path has, for 405.
    pub allow: Option<&'static str>,
}

impl Refusal {
    /// A refusal with the code's own status.
    #[cold]
    #[inline(never)]
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            status: code.status(),
            message: message.into(),
            param: None,
            retry_after: None,
            in_vain: code == Code::InsufficientQuota,
            layer: code.layer(),
            window: "",
            allow: None,
        }
    }

    /// Names the field at fault.
    #[must_use]
    pub fn param(mut self, param: impl Into<Cow<'static, str>>) -> Self {
        self.param = Some(param.into());
        self
    }

    /// Says when to come again.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// Says that another try is in vain.
    #[must_use]
    pub fn in_vain(mut self) -> Self {
        self.in_vain = true;
        self
    }

    /// Names the window at fault.
    #[must_use]
    pub fn window(mut self, window: &'static str) -> Self {
        self.window = window;
        self
    }

    /// Counts it under another layer than its code's.
    #[must_use]
    pub fn layer(mut self, layer: &'static str) -> Self {
        self.layer = Some(layer);
        self
    }

    /// Keeps a provider's own status.
    #[must_use]
    pub fn status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// 405 for a path that has only `methods`.
    pub fn method_not_allowed(methods: &'static str) -> Self {
        let mut refusal =
            Self::new(Code::MethodNotAllowed, format!("This path takes {methods} only."));
        refusal.allow = Some(methods);
        refusal
    }

    /// 404 for a path that is not part of the API.
    pub fn not_found() -> Self {
        Self::new(
            Code::NotFound,
            "There is no such path here. The API is served under /v1 and /<class prefix>/v1.",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every code, with the status and `type` that the contract gives it.
    const ALL: [(Code, u16, &str, &str); 25] = [
        (Code::InvalidJson, 400, "invalid_request_error", "invalid_json"),
        (Code::InvalidValue, 400, "invalid_request_error", "invalid_value"),
        (Code::UnsupportedField, 400, "invalid_request_error", "unsupported_field"),
        (Code::InvalidApiKey, 401, "authentication_error", "invalid_api_key"),
        (Code::FeatureNotInPlan, 403, "permission_error", "feature_not_in_plan"),
        (Code::ModelNotInPlan, 403, "permission_error", "model_not_in_plan"),
        (Code::AccountSuspended, 403, "permission_error", "account_suspended"),
        (Code::ModelNotFound, 404, "invalid_request_error", "model_not_found"),
        (Code::EndpointNotEnabled, 404, "invalid_request_error", "endpoint_not_enabled"),
        (Code::NotFound, 404, "invalid_request_error", "not_found"),
        (Code::MethodNotAllowed, 405, "invalid_request_error", "method_not_allowed"),
        (Code::RequestTimeout, 408, "invalid_request_error", "request_timeout"),
        (Code::IdempotencyConflict, 409, "invalid_request_error", "idempotency_conflict"),
        (Code::RequestTooLarge, 413, "invalid_request_error", "request_too_large"),
        (Code::UnsupportedMediaType, 415, "invalid_request_error", "unsupported_media_type"),
        (Code::HeadersTooLarge, 431, "invalid_request_error", "headers_too_large"),
        (Code::RateLimitExceeded, 429, "rate_limit_error", "rate_limit_exceeded"),
        (Code::ConcurrencyLimitExceeded, 429, "rate_limit_error", "concurrency_limit_exceeded"),
        (Code::InsufficientQuota, 429, "rate_limit_error", "insufficient_quota"),
        (Code::InternalError, 500, "server_error", "internal_error"),
        (Code::UpstreamError, 502, "server_error", "upstream_error"),
        (Code::Overloaded, 503, "server_error", "overloaded"),
        (Code::StorageUnavailable, 503, "server_error", "storage_unavailable"),
        (Code::UpstreamTimeout, 504, "server_error", "upstream_timeout"),
        (Code::NotInCache, 504, "server_error", "not_in_cache"),
    ];

    #[test]
    fn each_code_is_one_of_the_contracts() {
        for (code, status, kind, name) in ALL {
            assert_eq!((code.status().as_u16(), code.kind(), code.as_str()), (status, kind, name));
        }
    }
}
