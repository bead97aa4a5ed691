//! `/healthz` and `/readyz`.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::error::ApiError;
use super::{AdminState, blocking};
use crate::config::Config;

/// The process is alive.
pub(super) async fn alive() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// Whether requests can be served and recorded: 200 or 503, with the reason of
/// each check.
pub(super) async fn ready(State(state): State<AdminState>) -> Result<Response, ApiError> {
    let config = state.control.config();
    let providers = any_provider(&state, &config);
    let ledger = blocking(move || takes_writes(&config.store.path)).await?;
    let ready = ledger.is_ok() && providers.is_ok();
    let reason = |check: Result<(), String>| check.err().unwrap_or_else(|| "ok".to_owned());
    let body = json!({
        "status": if ready { "ready" } else { "not_ready" },
        "checks": { "ledger": reason(ledger), "providers": reason(providers) },
    });
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok((status, Json(body)).into_response())
}

/// Whether the data directory takes a file with something in it: it exists, is
/// writable, and the disk is not full.
fn takes_writes(dir: &Path) -> Result<(), String> {
    let probe = dir.join("ready.probe");
    let outcome = fs::File::create(&probe).and_then(|mut file| file.write_all(&[0; 4096]));
    let removed = match fs::remove_file(&probe) {
        // Another probe of the same moment was faster.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    };
    outcome.and(removed).map_err(|error| format!("the data directory cannot be written: {error}"))
}

/// Whether at least one provider is usable.
fn any_provider(state: &AdminState, config: &Config) -> Result<(), String> {
    if config.providers.iter().any(|provider| super::providers::reason(state, provider).is_none()) {
        return Ok(());
    }
    let on = config.providers.iter().any(|provider| provider.off.is_none());
    Err(if on { "the breakers of all providers are open" } else { "no provider is on" }.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_takes_no_file_is_not_ready() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(takes_writes(dir.path()), Ok(()));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(takes_writes(&dir.path().join("gone")).is_err());
    }
}
