//! Raw structs → [`Config`]: names, references, ranges.
//!
//! A check that fails adds to the report and goes on with something harmless;
//! the result is thrown away if the report has an error.

mod billing;
mod cache;
mod classes;
mod common;
mod custom;
mod headers;
mod keys;
mod manner;
mod models;
mod opaque;
mod plans;
mod prices;
mod privacy;
mod providers;
mod rewrite;
mod routing;
mod sections;
mod tariff;
mod unused;
mod webhooks;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub(super) use self::providers::parse_url;

use self::common::{Named, time, visible_secret};
use super::raw::RawConfig;
use super::report::Report;
use super::substitute::Environment;
use super::types::{Config, GlobalLimits, Plan, Pool, Provider};
use crate::base::secret::Secret;

/// Longest grace of a shutdown.
const LONGEST_GRACE: Duration = Duration::from_secs(24 * 3600);

/// Checks `raw`; what is wrong or doubtful goes into `report`.
pub(super) fn check(
    raw: &RawConfig,
    source: &Path,
    environment: &dyn Environment,
    report: &mut Report,
) -> Config {
    let listen = sections::listen(&raw.listen, report);
    let providers = providers::check(&raw.providers, report);
    let models = models::check(&raw.models, &providers, report);
    let plans = plans::check(&raw.plans, report);
    let timezone = billing::timezone(&raw.billing, report);
    let prices = prices::check(&raw.price_file, source, report);
    let around = tariff::Surroundings { models: &models, table: &prices, zone: &timezone };
    let classes = classes::check(&raw.classes, &plans, &around, report);
    plans::check_classes(&raw.plans, &classes, report);
    pools(&providers, &plans, report);
    let keys = keys::check(&raw.keys, &plans, report);
    let limits = sections::limits(&raw.limits, report);
    unused::check(raw, &models, report);
    let opaque = opaque::check(&raw.opaque, &providers, report);
    descriptors(&limits.global, environment, report);
    let token = raw.admin.value().map(|admin| &admin.token);
    let grace = raw.shutdown.value().map(|shutdown| &shutdown.grace);
    Config {
        source: source.to_path_buf(),
        listen,
        admin_token: token
            .map_or_else(Secret::default, |token| visible_secret(token, "the admin token", report)),
        store: sections::store(&raw.store, report),
        providers: providers.into_values(),
        models: models.into_values(),
        prices: Arc::new(prices),
        classes: classes.into_values(),
        plans: plans.into_values(),
        limits,
        cache: cache::check(&raw.cache, report),
        opaque,
        routing: routing::check(&raw.routing, report),
        custom_models: custom::check(&raw.custom_models, report),
        keys,
        timezone,
        webhooks: webhooks::check(&raw.billing, report),
        invoicing: billing::check(&raw.billing, report),
        shutdown_grace: grace
            .map_or(Duration::ZERO, |grace| time(grace, Duration::ZERO..=LONGEST_GRACE, report)),
        log: sections::log(&raw.log, report),
        coalesce: raw.batching.value().is_none_or(|batching| batching.coalesce.or(true)),
        sample_window: sections::sample_window(&raw.batching, report),
        batch_embeddings: raw.batching.value().is_none_or(|all| all.embeddings.or(true)),
        hash_end_users: raw.privacy.value().is_none_or(|privacy| privacy.hash_end_users.or(true)),
        log_text_hash: raw.privacy.value().is_none_or(|privacy| privacy.log_text_hash.or(true)),
        master_keys: privacy::master_keys(&raw.privacy, report),
        not_in_force: Vec::new(),
        warnings: Vec::new(),
    }
}

/// Warns of providers that no plan's requests can reach by a model.
fn pools(providers: &Named<Provider>, plans: &Named<Plan>, report: &mut Report) {
    if plans.values().any(|plan| plan.is_dedicated()) {
        return;
    }
    for provider in providers.values().filter(|provider| provider.pool == Pool::Dedicated) {
        report.warn(format!(
            "No plan has the feature dedicated_instances, so no model runs at provider {}.",
            provider.name
        ));
    }
}

/// Warns of limits that the process cannot reach.
fn descriptors(limits: &GlobalLimits, environment: &dyn Environment, report: &mut Report) {
    let Some(files) = environment.open_files() else { return };
    let figures = [
        ("connections", limits.connections),
        ("requests", limits.requests),
        ("concurrent", limits.concurrent),
    ];
    let above: Vec<_> = figures
        .into_iter()
        .filter(|(_, limit)| u64::from(*limit) > files)
        .map(|(name, _)| format!("limits.global.{name}"))
        .collect();
    if !above.is_empty() {
        let above = above.join(", ");
        report.warn(format!(
            "The process may open {files} files (`ulimit -n`), which is less than {above}."
        ));
    }
}
