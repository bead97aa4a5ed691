//! `/admin/accounts/{id}/providers` and `/models`: what accounts have of their own.
//! A provider's key is shown to nobody.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};

use super::accounts::moment;
use super::body::Members;
use super::error::ApiError;
use super::query::Id;
use super::{AdminState, List, blocking};
use crate::accounts::{NewModel, NewProvider};
use crate::base::secret::Secret;
use crate::store::custom::{OwnModel, OwnProvider, Spoken};

/// A provider as it is shown.
#[derive(Serialize)]
pub(super) struct ProviderView {
    name: String,
    dialect: &'static str,
    base_url: String,
    /// `***` where there is one.
    api_key: Option<Secret>,
    created_at: String,
}

impl From<OwnProvider> for ProviderView {
    fn from(provider: OwnProvider) -> Self {
        Self {
            name: provider.name,
            dialect: provider.spoken.dialect().as_str(),
            base_url: provider.base_url,
            api_key: (!provider.sealed.is_empty()).then(Secret::default),
            created_at: moment(provider.created_at),
        }
    }
}

/// A model as it is shown.
#[derive(Serialize)]
pub(super) struct ModelView {
    name: String,
    provider: Option<String>,
    model: String,
    created_at: String,
}

impl From<OwnModel> for ModelView {
    fn from(model: OwnModel) -> Self {
        Self {
            name: model.name,
            provider: model.provider,
            model: model.model,
            created_at: moment(model.created_at),
        }
    }
}

/// `POST /admin/accounts/{id}/providers {name, base_url, api_key?, dialect?}`: 201.
/// One of this name is replaced.
pub(super) async fn put_provider(
    State(state): State<AdminState>,
    Id(id): Id,
    mut body: Members,
) -> Result<Response, ApiError> {
    let missing = "it is missing";
    let name = body.id("name")?.value().ok_or_else(|| body.bad("name", missing))?;
    let base_url = body.text("base_url")?.value().ok_or_else(|| body.bad("base_url", missing))?;
    let api_key = body.read("api_key", "8 to 256 visible ASCII characters", |value| {
        let text = value.as_str()?;
        let fits = (8..=256).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        fits.then(|| Secret::new(text))
    })?;
    let spoken = body
        .read("dialect", "openai, anthropic or gemini", |value| Spoken::named(value.as_str()?))?;
    body.end()?;
    let api_key = api_key.value().unwrap_or_default();
    let spoken = spoken.value().unwrap_or_default();
    let new = NewProvider { name, spoken, base_url, api_key };
    let kept = blocking(move || state.registry.put_provider(&id, new)).await??;
    Ok((StatusCode::CREATED, Json(ProviderView::from(kept))).into_response())
}

/// `GET /admin/accounts/{id}/providers`.
pub(super) async fn providers(
    State(state): State<AdminState>,
    Id(id): Id,
) -> Result<Json<List<ProviderView>>, ApiError> {
    let own = blocking(move || state.registry.own(&id)).await??;
    Ok(Json(List::whole(own.providers.into_iter().map(Into::into).collect())))
}

/// `DELETE /admin/accounts/{id}/providers/{name}`.
pub(super) async fn remove_provider(
    State(state): State<AdminState>,
    path: Option<Path<(String, String)>>,
) -> Result<Json<Value>, ApiError> {
    let Path((id, name)) = path.ok_or(ApiError::NotFound)?;
    let gone = name.clone();
    blocking(move || state.registry.remove_provider(&id, &name)).await??;
    Ok(Json(json!({ "name": gone, "deleted": true })))
}

/// `POST /admin/accounts/{id}/models {name, provider?, model?}`: 201. One of this
/// name is replaced. Without a provider it is another name of the seller's `model`.
pub(super) async fn put_model(
    State(state): State<AdminState>,
    Id(id): Id,
    mut body: Members,
) -> Result<Response, ApiError> {
    let missing = "it is missing";
    let name = body.id("name")?.value().ok_or_else(|| body.bad("name", missing))?;
    let provider = body.id("provider")?.value();
    let model = match (body.text("model")?.value(), &provider) {
        (Some(model), _) => model,
        (None, Some(_)) => name.clone(),
        (None, None) => return Err(body.bad("model", "it is missing, as there is no provider")),
    };
    body.end()?;
    let new = NewModel { name, provider, model };
    let kept = blocking(move || state.registry.put_model(&id, new)).await??;
    Ok((StatusCode::CREATED, Json(ModelView::from(kept))).into_response())
}

/// `GET /admin/accounts/{id}/models`.
pub(super) async fn models(
    State(state): State<AdminState>,
    Id(id): Id,
) -> Result<Json<List<ModelView>>, ApiError> {
    let own = blocking(move || state.registry.own(&id)).await??;
    Ok(Json(List::whole(own.models.into_iter().map(Into::into).collect())))
}

/// `DELETE /admin/accounts/{id}/models/{name}`.
pub(super) async fn remove_model(
    State(state): State<AdminState>,
    path: Option<Path<(String, String)>>,
) -> Result<Json<Value>, ApiError> {
    let Path((id, name)) = path.ok_or(ApiError::NotFound)?;
    let gone = name.clone();
    blocking(move || state.registry.remove_model(&id, &name)).await??;
    Ok(Json(json!({ "name": gone, "deleted": true })))
}
