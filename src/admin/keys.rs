//! `/admin/keys`: the API keys of accounts. A key's text is in the answer that
//! makes it and nowhere else.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};

use super::accounts::moment;
use super::body::Members;
use super::error::ApiError;
use super::query::Id;
use super::{AdminState, List, blocking, query};
use crate::accounts::{LONGEST_GRACE, Refused};
use crate::base::money::Money;
use crate::base::secret::Secret;
use crate::store::accounts::ApiKey;

/// A key as it is shown in lists.
#[derive(Serialize)]
pub(super) struct View {
    id: String,
    account: String,
    name: Option<String>,
    prefix: String,
    created_at: String,
    revoked_at: Option<String>,
    expires_at: Option<String>,
    budget: Option<Money>,
}

impl From<ApiKey> for View {
    fn from(key: ApiKey) -> Self {
        Self {
            id: key.id,
            account: key.account,
            name: key.name,
            prefix: key.prefix,
            created_at: moment(key.created_at),
            revoked_at: key.revoked_at.map(moment),
            expires_at: key.expires_at.map(moment),
            budget: key.budget,
        }
    }
}

/// `POST /admin/keys {account, name?, budget?}`: 201 with the key.
pub(super) async fn create(
    State(state): State<AdminState>,
    mut body: Members,
) -> Result<Response, ApiError> {
    let account =
        body.id("account")?.value().ok_or_else(|| body.bad("account", "it is missing"))?;
    let name = body.text("name")?.value();
    let budget = body.budget("budget")?.value().filter(|budget| *budget < Money::MAX);
    body.end()?;
    let made = blocking(move || state.registry.create_key(&account, name, budget)).await?;
    Ok(shown_once(made.map_err(of_account)?))
}

/// `GET /admin/keys?account&limit&after`.
pub(super) async fn list(
    State(state): State<AdminState>,
    uri: Uri,
) -> Result<Json<List<View>>, ApiError> {
    let [account, limit, after] = query::read(&uri, ["account", "limit", "after"])?;
    let limit = query::limit(limit.as_deref())?;
    let found = blocking(move || {
        state.registry.keys(account.as_deref(), after.as_deref(), limit.saturating_add(1))
    });
    let found = found.await?.map_err(of_account)?;
    Ok(Json(List::page(found.into_iter().map(View::from).collect(), limit, |view| &view.id)))
}

/// `POST /admin/keys/{id}/rotate {grace?}`: 201 with the new key; the old one
/// stays in force until the grace is over, by default not at all.
pub(super) async fn rotate(
    State(state): State<AdminState>,
    Id(id): Id,
    mut body: Members,
) -> Result<Response, ApiError> {
    let grace = body.duration("grace")?.value().unwrap_or(Duration::ZERO);
    if grace > LONGEST_GRACE {
        return Err(body.bad("grace", "at most 90 days"));
    }
    body.end()?;
    Ok(shown_once(blocking(move || state.registry.rotate(&id, grace)).await??))
}

/// `DELETE /admin/keys/{id}`: the key has stopped when this is answered.
pub(super) async fn revoke(
    State(state): State<AdminState>,
    Id(id): Id,
) -> Result<Json<View>, ApiError> {
    let key = blocking(move || state.registry.revoke(&id)).await??;
    Ok(Json(key.into()))
}

fn shown_once((key, text): (ApiKey, Secret)) -> Response {
    let mut body: Value = json!({
        "id": key.id,
        "account": key.account,
        "name": key.name,
        "prefix": key.prefix,
        "key": text.expose(),
        "created_at": moment(key.created_at),
    });
    if let (Some(budget), Some(members)) = (key.budget, body.as_object_mut()) {
        members.insert("budget".to_owned(), json!(budget));
    }
    (StatusCode::CREATED, Json(body)).into_response()
}

/// An account that is not there is the parameter's fault.
fn of_account(error: Refused) -> ApiError {
    match error {
        Refused::NoAccount => ApiError::Refused { error, param: Some("account".into()) },
        error => error.into(),
    }
}
