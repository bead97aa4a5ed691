//! `GET /admin/webhooks`: who is told of events, and how that goes;
//! `POST /admin/webhooks/test`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::body::Members;
use super::error::ApiError;
use super::{AdminState, List};
use crate::webhooks::Standing;

pub(super) async fn list(State(state): State<AdminState>) -> Json<List<Standing>> {
    Json(List::whole(state.webhooks.standing()))
}

/// Tells every address of a test: 202, because what comes of it is seen in the
/// list.
pub(super) async fn test(
    State(state): State<AdminState>,
    body: Members,
) -> Result<Response, ApiError> {
    body.end()?;
    let sent = super::blocking(move || state.webhooks.test()).await?;
    let (id, told) = sent.map_err(|error| {
        tracing::error!(%error, "an event cannot be kept");
        ApiError::Storage
    })?;
    if told == 0 {
        return Err(ApiError::NoWebhook);
    }
    Ok((StatusCode::ACCEPTED, Json(json!({ "id": id, "webhooks": told }))).into_response())
}
