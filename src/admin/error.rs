//! The admin API's errors, and the edge where they become HTTP.

use std::borrow::Cow;

use axum::Json;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::accounts::Refused;
use crate::billing;

/// Why a request to the admin API is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ApiError {
    /// No token, or another one.
    #[error(
        "the admin token is missing or wrong: send `Authorization: Bearer TOKEN`; the token is \
         admin.token of the configuration, or else in the file admin.token of the data directory"
    )]
    Unauthorized,
    /// No such path.
    #[error("there is no such path on the admin listener")]
    NotFound,
    /// The path exists, the method does not.
    #[error("the path does not take this method")]
    MethodNotAllowed,
    /// A parameter of the query is wrong.
    #[error("{param}: {message}")]
    BadParameter {
        /// Its name.
        param: Cow<'static, str>,
        /// What it should be.
        message: &'static str,
    },
    /// The body is not JSON.
    #[error("the body is not a JSON object: {0}")]
    BadJson(String),
    /// The body is too large.
    #[error("the body is larger than 64 KB")]
    TooLarge,
    /// A change of accounts or keys is refused.
    #[error("{error}")]
    Refused {
        /// Why.
        error: Refused,
        /// The parameter at fault.
        param: Option<Cow<'static, str>>,
    },
    /// There is nobody to tell.
    #[error("no webhook is configured: billing.webhooks is empty")]
    NoWebhook,
    /// Something about invoices is refused.
    #[error(transparent)]
    Billing(#[from] billing::Refused),
    /// The data directory cannot be read or written.
    #[error("the data directory cannot be read or written at the moment")]
    Storage,
    /// A fault of Tollgate's own.
    #[error("internal error")]
    Internal,
}

impl ApiError {
    /// A wrong parameter.
    pub(super) const fn bad(param: &'static str, message: &'static str) -> Self {
        Self::BadParameter { param: Cow::Borrowed(param), message }
    }

    const fn status(&self) -> StatusCode {
        match self {
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::BadParameter { .. } | Self::BadJson(_) => StatusCode::BAD_REQUEST,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Refused { error, .. } => match error {
                Refused::NoAccount
                | Refused::NoKey
                | Refused::NoOwnProvider
                | Refused::NoOwnModel => StatusCode::NOT_FOUND,
                Refused::NoPlan(_)
                | Refused::NoClass(_)
                | Refused::NoSuchProvider
                | Refused::NoSuchModel
                | Refused::BadAddress(_)
                | Refused::PrivateAddress => StatusCode::BAD_REQUEST,
                Refused::NoFeature(_) => StatusCode::FORBIDDEN,
                Refused::Taken
                | Refused::ConfiguredAccount
                | Refused::ConfiguredKey
                | Refused::KeyEnded
                | Refused::ProviderInUse
                | Refused::TooMany(_) => StatusCode::CONFLICT,
                Refused::Store(_) | Refused::Vault(_) | Refused::Sealing(_) => {
                    StatusCode::SERVICE_UNAVAILABLE
                }
            },
            Self::NoWebhook => StatusCode::CONFLICT,
            Self::Billing(error) => billed(error).0,
            Self::Storage => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    pub(super) const fn kind_and_code(&self) -> (&'static str, &'static str) {
        match self {
            Self::Unauthorized => ("authentication_error", "invalid_api_key"),
            Self::NotFound => ("invalid_request_error", "not_found"),
            Self::MethodNotAllowed => ("invalid_request_error", "method_not_allowed"),
            Self::BadParameter { .. } => ("invalid_request_error", "invalid_value"),
            Self::BadJson(_) => ("invalid_request_error", "invalid_json"),
            Self::TooLarge => ("invalid_request_error", "request_too_large"),
            Self::Refused { error, .. } => match error {
                Refused::NoAccount
                | Refused::NoKey
                | Refused::NoOwnProvider
                | Refused::NoOwnModel => ("invalid_request_error", "not_found"),
                Refused::NoPlan(_)
                | Refused::NoClass(_)
                | Refused::NoSuchProvider
                | Refused::NoSuchModel
                | Refused::BadAddress(_)
                | Refused::PrivateAddress => ("invalid_request_error", "invalid_value"),
                Refused::NoFeature(_) => ("permission_error", "feature_not_in_plan"),
                Refused::Taken => ("invalid_request_error", "already_exists"),
                Refused::ConfiguredAccount
                | Refused::ConfiguredKey
                | Refused::KeyEnded
                | Refused::ProviderInUse
                | Refused::TooMany(_) => ("invalid_request_error", "conflict"),
                Refused::Store(_) | Refused::Vault(_) | Refused::Sealing(_) => {
                    ("server_error", "storage_unavailable")
                }
            },
            Self::NoWebhook => ("invalid_request_error", "conflict"),
            Self::Billing(error) => (billed(error).1, billed(error).2),
            Self::Storage => ("server_error", "storage_unavailable"),
            Self::Internal => ("server_error", "internal_error"),
        }
    }
}

/// The status, type and code of what is refused about invoices.
const fn billed(error: &billing::Refused) -> (StatusCode, &'static str, &'static str) {
    use billing::Refused as R;
    match error {
        R::NoInvoice | R::NoAccount => {
            (StatusCode::NOT_FOUND, "invalid_request_error", "not_found")
        }
        R::FutureMonth | R::NothingThen | R::TooFine(..) | R::TooMuch(_) => {
            (StatusCode::BAD_REQUEST, "invalid_request_error", "invalid_value")
        }
        R::AlreadyFinal(_)
        | R::Status { .. }
        | R::OutOfDate
        | R::BelowZero(_)
        | R::MoreThanLeft(_)
        | R::MoreThanInvoiced(_)
        | R::HasCreditNotes
        | R::NotAsSeen
        | R::LedgerDamaged(_)
        | R::UsageGone(_)
        | R::TooLarge
        | R::NoStripe => (StatusCode::CONFLICT, "invalid_request_error", "conflict"),
        R::Damaged(_) => (StatusCode::INTERNAL_SERVER_ERROR, "server_error", "internal_error"),
        R::Ledger | R::Store(_) => {
            (StatusCode::SERVICE_UNAVAILABLE, "server_error", "storage_unavailable")
        }
    }
}

impl From<Refused> for ApiError {
    fn from(error: Refused) -> Self {
        let param = match &error {
            Refused::NoPlan(_) => Some(Cow::Borrowed("plan")),
            Refused::NoClass(class) => Some(format!("overrides.prices.{class}").into()),
            Refused::Taken => Some(Cow::Borrowed("id")),
            Refused::NoSuchProvider => Some(Cow::Borrowed("provider")),
            Refused::NoSuchModel => Some(Cow::Borrowed("model")),
            Refused::BadAddress(_) | Refused::PrivateAddress => Some(Cow::Borrowed("base_url")),
            _ => None,
        };
        if let Refused::Store(_) | Refused::Vault(_) | Refused::Sealing(_) = &error {
            tracing::error!(%error, "accounts and keys cannot be read or changed");
        }
        Self::Refused { error, param }
    }
}

impl IntoResponse for ApiError {
    /// The status with the error attached; [`finish`] writes the body, because
    /// it alone knows the request's id.
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The outermost layer: gives every answer its `x-request-id` (the client's own
/// where that is 1 to 128 visible ASCII characters) and errors their body.
pub(super) async fn finish(request: Request, next: Next) -> Response {
    let id = request_id(&request);
    let mut response = next.run(request).await;
    if let Some(error) = response.extensions_mut().remove::<ApiError>() {
        let body = body(&error, &id);
        // A 405 keeps the `allow` header that the router has set.
        let allow = response.headers_mut().remove(header::ALLOW);
        response = (error.status(), Json(body)).into_response();
        if let Some(allow) = allow {
            response.headers_mut().insert(header::ALLOW, allow);
        }
        if error == ApiError::Unauthorized {
            let scheme = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        }
    }
    // What the admin API says is true now and about customers: nothing on the
    // way may keep it.
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

fn request_id(request: &Request) -> String {
    let given = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok());
    match given {
        Some(id) if (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic()) => {
            id.to_owned()
        }
        _ => uuid::Uuid::now_v7().to_string(),
    }
}

fn body(error: &ApiError, request_id: &str) -> serde_json::Value {
    let (kind, code) = error.kind_and_code();
    if let ApiError::Billing(
        refused @ (billing::Refused::Damaged(_) | billing::Refused::Store(_)),
    ) = error
    {
        tracing::error!(error = %refused, "invoices cannot be read or changed");
    }
    let param = match error {
        ApiError::Billing(billing::Refused::FutureMonth | billing::Refused::NothingThen) => {
            Some("month")
        }
        ApiError::Billing(billing::Refused::TooFine(..) | billing::Refused::TooMuch(_)) => {
            Some("amount")
        }
        ApiError::BadParameter { param, .. } => Some(&**param),
        ApiError::Refused { param, .. } => param.as_deref(),
        _ => None,
    };
    json!({ "error": {
        "message": error.to_string(),
        "type": kind,
        "param": param,
        "code": code,
        "request_id": request_id,
    } })
}
