//! What requests are sold at: the price keys of a class, and the price file.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::catalog::RawCost;
use super::leaf::{Decimal, Price, Whole};
use crate::config::field::Field;

/// Prices of a class from a moment on.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Prices", extend("required" = ["from"]))]
pub(crate) struct RawPrices {
    /// When they begin: a date such as `2026-12-01`, or a date and time such as
    /// `2026-12-01T08:00`, in `billing.timezone`.
    pub(crate) from: Field<String>,
    /// What one request costs the customer, in dollars.
    pub(crate) price: Field<Price>,
    /// Price of a request answered from the cache. Left out: as any other.
    pub(crate) price_cached: Field<Price>,
    /// Prices by tokens instead of by request.
    pub(crate) tokens_price: Field<RawTokensPrice>,
    /// Prices by how many requests of the class were charged in the month.
    pub(crate) tiers: Field<Vec<Field<RawVolumeTier>>>,
}

/// Prices by tokens: a markup on the provider's, or prices of their own.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "TokensPrice")]
pub(crate) struct RawTokensPrice {
    /// The provider's charge is multiplied by this.
    pub(crate) markup: Field<Decimal>,
    /// Prompt tokens, in dollars per million.
    pub(crate) input: Field<Price>,
    /// Prompt tokens that the provider had cached. Left out: as `input`.
    pub(crate) cached_input: Field<Price>,
    /// Prompt tokens that the provider puts into its cache. Left out: as `input`.
    pub(crate) cache_write: Field<Price>,
    /// Answer tokens, reasoning included. Left out: 0.
    pub(crate) output: Field<Price>,
    /// The least that a request costs, in dollars. Left out: 0.
    pub(crate) minimum: Field<Price>,
}

/// A price that begins at a number of requests.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "VolumeTier", extend("required" = ["from", "price"]))]
pub(crate) struct RawVolumeTier {
    /// Charged requests of the month before the first one at this price; the
    /// first tier begins at 0.
    pub(crate) from: Field<Whole>,
    /// What one request costs the customer, in dollars.
    pub(crate) price: Field<Price>,
}

/// What happens to a request that is expected to cost more than it earns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "LossGuard")]
pub(crate) enum RawLossGuard {
    /// It runs, and is counted.
    Warn,
    /// It runs on a model of a lower tier that pays, where there is one.
    RouteDown,
    /// It is refused.
    Refuse,
}

/// A price file: what providers charge, by their own names of their models.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawPriceFile {
    /// Models by the provider's own name, or by `provider/name`.
    pub(crate) models: BTreeMap<String, Field<RawCost>>,
}
