//! What may be written: one struct a section, one field a key of the contract.
//!
//! Every key may be left out. The doc comments are the descriptions in the JSON
//! Schema; defaults stand in `defaults.yaml`, except those of list entries,
//! which their descriptions name.

mod cache;
mod catalog;
mod custom;
mod leaf;
mod operations;
mod rewrite;
mod routing;
mod sections;
mod tariff;
mod webhooks;
mod wording;

use schemars::JsonSchema;
use serde::Deserialize;

use super::field::Field;

pub(super) use cache::RawCache;
pub(super) use catalog::{
    RawAccountKey, RawAuth, RawBilling, RawClass, RawCost, RawDialect, RawModel, RawPlan, RawPool,
    RawProvider, RawSamples, RawScope, RawTarget, RawTier, RawWhen,
};
pub(super) use custom::RawCustomModels;
pub(super) use leaf::{Count, Decimal, Network, Number, Price, Size, Time, Whole};
pub(super) use operations::{
    RawAutoscale, RawLog, RawLogFormat, RawPage, RawShutdown, RawSlo, RawThresholds,
};
pub(super) use rewrite::{
    JSON, Json, RawHeaderChanges, RawHeaders, RawPosition, RawRewrite, RawTemplate,
};
pub(super) use routing::{RawBreaker, RawPrefer, RawProbe, RawProbeSettings};
pub(super) use sections::{
    RawAdmin, RawBatching, RawDurability, RawEconomics, RawGlobalLimits, RawInvoices, RawIpLimits,
    RawLimits, RawListen, RawOpaque, RawOwnership, RawPrivacy, RawRouting, RawSeller, RawStore,
    RawTax, RawTls, RawUnknown, RawUnsupported, RawUserLimits,
};
pub(super) use tariff::{RawLossGuard, RawPriceFile, RawPrices, RawTokensPrice, RawVolumeTier};
pub(super) use webhooks::RawWebhook;
pub(super) use wording::{RawThinking, RawThinkingField, RawTokenLimit};

/// Tollgate's configuration.
///
/// Every key has a default and may be left out; a list replaces the default
/// list whole. `${VAR}`, `${VAR:-default}`, `file:PATH` and `credential:NAME` in
/// values are filled in after parsing; `$$` is a dollar sign.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Tollgate")]
pub(super) struct RawConfig {
    /// Where the process listens, and how it reads.
    pub(super) listen: Field<RawListen>,
    /// The operators' side.
    pub(super) admin: Field<RawAdmin>,
    /// Where records are kept.
    pub(super) store: Field<RawStore>,
    /// Where requests are answered.
    pub(super) providers: Field<Vec<Field<RawProvider>>>,
    /// The public model names.
    pub(super) models: Field<Vec<Field<RawModel>>>,
    /// A file of what models cost whose entry does not say, relative to this
    /// one. Left out: `prices.yaml` beside this one, where that is there.
    pub(super) price_file: Field<String>,
    /// The request classes. A class `default` is added where none is given.
    pub(super) classes: Field<Vec<Field<RawClass>>>,
    /// The plans that are sold.
    pub(super) plans: Field<Vec<Field<RawPlan>>>,
    /// Limits that hold whatever the plan.
    pub(super) limits: Field<RawLimits>,
    /// Answers that are given again.
    pub(super) cache: Field<RawCache>,
    /// Sharing provider calls.
    pub(super) batching: Field<RawBatching>,
    /// The lane for endpoints that Tollgate does not understand.
    pub(super) opaque: Field<RawOpaque>,
    /// How requests find their provider.
    pub(super) routing: Field<RawRouting>,
    /// Models and providers of accounts' own, where a plan has the feature
    /// `custom_models`.
    pub(super) custom_models: Field<RawCustomModels>,
    /// Accounts and keys given here.
    pub(super) keys: Field<Vec<Field<RawAccountKey>>>,
    /// Costs beside the providers', for the reports.
    pub(super) economics: Field<RawEconomics>,
    /// Invoices.
    pub(super) billing: Field<RawInvoices>,
    /// What is kept about people, and how long.
    pub(super) privacy: Field<RawPrivacy>,
    /// How many instances run.
    pub(super) autoscale: Field<RawAutoscale>,
    /// Service objectives.
    pub(super) slo: Field<RawSlo>,
    /// The live page.
    pub(super) page: Field<RawPage>,
    /// The end of the process.
    pub(super) shutdown: Field<RawShutdown>,
    /// Log lines.
    pub(super) log: Field<RawLog>,
}
