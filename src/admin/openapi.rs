//! `GET /admin/openapi.json`: this API, described.

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};

/// The document; a test holds it against the routes.
pub(super) const DOCUMENT: &str = include_str!("openapi.json");

pub(super) async fn show() -> Response {
    let json = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, json)], DOCUMENT).into_response()
}
