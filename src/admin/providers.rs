//! `GET /admin/providers`: who may answer, and why some may not.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::{AdminState, List};
use crate::config::{Config, Dialect, Provider, Target};

/// One provider.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct ProviderView {
    name: Arc<str>,
    dialect: &'static str,
    base_url: Option<String>,
    usable: bool,
    /// Why it is not usable.
    reason: Option<String>,
    /// The public names of the models that may run there.
    models: Vec<Arc<str>>,
}

pub(super) async fn list(State(state): State<AdminState>) -> Json<List<ProviderView>> {
    let config = state.control.config();
    Json(List::whole(config.providers.iter().map(|provider| view(provider, &config)).collect()))
}

fn view(provider: &Provider, config: &Config) -> ProviderView {
    let runs_here = |target: &Target| target.provider.name == provider.name;
    let models = if provider.dialect == Dialect::Sandbox && provider.off.is_none() {
        // It answers any model while it is on, without being a target.
        vec![Arc::from("*")]
    } else {
        let models = config.models.iter().filter(|model| model.targets.iter().any(runs_here));
        models.map(|model| Arc::clone(&model.name)).collect()
    };
    ProviderView {
        name: Arc::clone(&provider.name),
        dialect: super::config::dialect(provider.dialect),
        base_url: provider.base_url.as_ref().map(super::config::base_url),
        usable: provider.off.is_none(),
        reason: provider.off.clone(),
        models,
    }
}
