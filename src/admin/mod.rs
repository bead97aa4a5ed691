//! The operators' API: an axum router on a listener of its own, by default on
//! loopback.
//!
//! `/healthz`, `/readyz` and `/metrics` are open to whoever reaches the
//! listener and hold nothing about customers; everything below `/admin` wants
//! the admin token. Every answer is JSON except `/metrics`, every list is
//! `{"data":[…],"next":null}`, every error the OpenAI error object, and every
//! answer has an `x-request-id`.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use serde::Serialize;

use crate::accounts::Registry;
use crate::base::clock::Clock;
use crate::base::secret::Secret;
use crate::billing::Biller;
use crate::cache::Cache;
use crate::config::{Config, Errors};
use crate::ledger::Ledger;
use crate::route::health::Health;
use crate::telemetry::metrics::Metrics;
use crate::webhooks::Webhooks;

mod accounts;
mod adjustments;
mod auth;
mod body;
mod cache;
mod config;
mod custom;
mod error;
mod health;
mod invoices;
mod keys;
mod openapi;
mod period;
mod providers;
mod query;
mod report;
mod rules;
pub mod token;
mod usage;
mod webhooks;

use error::ApiError;

/// What the admin API may do to the process that it belongs to.
pub trait Control: Send + Sync {
    /// The configuration in force.
    fn config(&self) -> Arc<Config>;

    /// How the provider called `name` fares; `None` if it is off, or the sandbox.
    fn health(&self, name: &str) -> Option<Arc<Health>>;

    /// Reads the configuration's file again and puts it in force. Blocks.
    ///
    /// # Errors
    /// Every error of the file; the old configuration then stays.
    fn reload(&self) -> Result<(), Errors>;
}

/// What the admin API reads. Cloning is a few reference counts.
#[derive(Clone)]
pub struct AdminState {
    /// The usage records.
    pub ledger: Arc<Ledger>,
    /// The response cache.
    pub cache: Arc<Cache>,
    /// What the API may do to the process.
    pub control: Arc<dyn Control>,
    /// The accounts and their keys.
    pub registry: Arc<Registry>,
    /// Who is told of events.
    pub webhooks: Arc<Webhooks>,
    /// The invoices.
    pub biller: Arc<Biller>,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The admin token. If it is empty, nobody is let in.
    pub token: Secret,
}

/// The whole admin listener.
pub fn router(state: AdminState) -> Router {
    let private = Router::new()
        .route("/usage", get(usage::list))
        .route("/providers", get(providers::list))
        .route("/cache", delete(cache::purge))
        .route("/reports/cache", get(report::cache))
        .route("/accounts", post(accounts::create).get(accounts::list))
        .route(
            "/accounts/{id}",
            get(accounts::show).patch(accounts::change).delete(accounts::delete),
        )
        .route("/accounts/{id}/providers", post(custom::put_provider).get(custom::providers))
        .route("/accounts/{id}/providers/{name}", delete(custom::remove_provider))
        .route("/accounts/{id}/models", post(custom::put_model).get(custom::models))
        .route("/accounts/{id}/models/{name}", delete(custom::remove_model))
        .route("/keys", post(keys::create).get(keys::list))
        .route("/keys/{id}", delete(keys::revoke))
        .route("/keys/{id}/rotate", post(keys::rotate))
        .route("/webhooks", get(webhooks::list))
        .route("/webhooks/test", post(webhooks::test))
        .route("/invoices", post(invoices::generate).get(invoices::list))
        .route("/invoices/{id}", get(invoices::show))
        .route("/invoices/{id}/export", get(invoices::export))
        .route("/invoices/{id}/finalize", post(invoices::finalize))
        .route("/invoices/{id}/pay", post(invoices::pay))
        .route("/invoices/{id}/void", post(invoices::void))
        .route("/invoices/{id}/push", post(invoices::push))
        .route("/invoices/{id}/credit-note", post(invoices::credit_note))
        .route("/adjustments", post(adjustments::create).get(adjustments::list))
        .route("/openapi.json", get(openapi::show))
        .route("/config", get(config::show))
        .route("/config/reload", post(config::reload))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn_with_state(state.clone(), auth::require_token));
    Router::new()
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(metrics))
        .nest("/admin", private)
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn(error::finish))
        .with_state(state)
}

/// `/metrics` alone, for an address of its own (`listen.metrics`).
pub fn metrics_router(state: AdminState) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn(error::finish))
        .with_state(state)
}

/// A page of a list.
#[derive(Serialize)]
struct List<T> {
    data: Vec<T>,
    /// The cursor of the next page; `null` at the end.
    next: Option<String>,
}

impl<T> List<T> {
    /// A list that fits on one page.
    const fn whole(data: Vec<T>) -> Self {
        Self { data, next: None }
    }

    /// A page of `limit` items, of which one more was looked for; `id` is where
    /// the next page goes on.
    fn page(mut data: Vec<T>, limit: usize, id: impl Fn(&T) -> &String) -> Self {
        let more = data.len() > limit;
        data.truncate(limit);
        let next = data.last().filter(|_| more).map(|last| id(last).clone());
        Self { data, next }
    }
}

async fn metrics(State(state): State<AdminState>) -> Result<Response, ApiError> {
    // A breaker becomes half-open by time alone, which nothing announces.
    for provider in &state.control.config().providers {
        let usable = providers::reason(&state, provider).is_none();
        state.metrics.provider(&provider.name).set_up(usable);
    }
    let text = blocking(move || state.metrics.render()).await?.map_err(|_| ApiError::Internal)?;
    let format = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    Ok(([(header::CONTENT_TYPE, format)], text).into_response())
}

async fn not_found() -> ApiError {
    ApiError::NotFound
}

async fn method_not_allowed() -> ApiError {
    ApiError::MethodNotAllowed
}

/// Runs what reads files off the asynchronous threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| ApiError::Internal)
}

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
