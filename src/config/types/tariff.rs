//! What requests are sold at, and what models cost where their entry does not
//! say.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::base::clock::Timestamp;
use crate::base::factor::Factor;
use crate::base::money::Money;
use crate::config::types::TokenPrices;

/// The prices of a class through time.
#[derive(Clone, Debug, PartialEq)]
pub struct Tariff {
    /// Prices with the moment from which they hold, the earliest first; the
    /// first one has always held.
    steps: Arc<[(Timestamp, Pricing)]>,
}

/// The prices of a class at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Pricing {
    /// What a request is priced by.
    pub basis: Basis,
    /// Price of a request that is answered from the cache; `None` is the same
    /// as for any other.
    pub cached: Option<Money>,
}

/// What a request is priced by.
#[derive(Clone, Debug, PartialEq)]
pub enum Basis {
    /// One price a request.
    Request(Money),
    /// One price a request, which depends on how many of the class the account
    /// was charged for in the month; the lowest `from` first, which is 0.
    Tiers(Arc<[VolumeTier]>),
    /// By its tokens.
    Tokens(TokenTariff),
}

/// One volume tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VolumeTier {
    /// Charged requests of the month before the first one of this tier.
    pub from: u64,
    /// Price of a request of this tier.
    pub price: Money,
}

/// A price by tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenTariff {
    /// Price of each token.
    pub rates: Rates,
    /// The least that a request costs.
    pub minimum: Money,
}

/// Where the price of a token comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rates {
    /// What the provider charges, times a factor.
    Markup(Factor),
    /// The seller's own price list.
    Own(TokenPrices),
}

/// What happens to a request that is expected to cost more than it earns.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    minicbor::Encode,
    minicbor::Decode,
    strum::IntoStaticStr,
    strum::EnumString,
)]
#[strum(serialize_all = "snake_case")]
#[cbor(index_only)]
pub enum LossGuard {
    /// It runs, and is counted.
    #[default]
    #[n(0)]
    Warn,
    /// It runs on a model of a lower tier that pays, where there is one.
    #[n(1)]
    RouteDown,
    /// It is refused.
    #[n(2)]
    Refuse,
}

/// What models cost where their entry in the configuration does not say: by the
/// provider's own name of the model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PriceTable {
    prices: BTreeMap<Arc<str>, TokenPrices>,
}

impl Tariff {
    /// One price a request, at any time.
    pub fn fixed(price: Money) -> Self {
        Self::new(Pricing { basis: Basis::Request(price), cached: None }, Vec::new())
    }

    /// `first`, until the earliest of `changes`.
    pub fn new(first: Pricing, mut changes: Vec<(Timestamp, Pricing)>) -> Self {
        changes.sort_by_key(|(from, _)| *from);
        let steps = std::iter::once((Timestamp(0), first)).chain(changes);
        Self { steps: steps.collect() }
    }

    /// The prices in force at `moment`.
    pub fn at(&self, moment: Timestamp) -> Option<&Pricing> {
        let after = self.steps.partition_point(|(from, _)| *from <= moment);
        self.steps.get(after.checked_sub(1)?).map(|(_, pricing)| pricing)
    }

    /// Every step with the moment from which it holds.
    pub fn steps(&self) -> &[(Timestamp, Pricing)] {
        &self.steps
    }
}

impl Rates {
    /// Prices of a token of a model whose provider charges `cost`; `None` where
    /// they follow from a cost that is not known, or are finer than a
    /// pico-dollar.
    pub fn of(&self, cost: Option<&TokenPrices>) -> Option<TokenPrices> {
        match self {
            Self::Own(prices) => Some(*prices),
            Self::Markup(factor) => {
                let cost = cost?;
                Some(TokenPrices {
                    input: factor.of(cost.input)?,
                    cached_input: factor.of(cost.cached_input)?,
                    cache_write: factor.of(cost.cache_write)?,
                    output: factor.of(cost.output)?,
                })
            }
        }
    }
}

impl PriceTable {
    /// A table of these prices.
    pub fn new(prices: impl IntoIterator<Item = (Arc<str>, TokenPrices)>) -> Self {
        Self { prices: prices.into_iter().collect() }
    }

    /// What `provider` charges for its model called `model`: the entry
    /// `provider/model`, else the entry `model`.
    pub fn find(&self, provider: &str, model: &str) -> Option<&TokenPrices> {
        if self.prices.is_empty() {
            return None;
        }
        self.prices.get(format!("{provider}/{model}").as_str()).or_else(|| self.prices.get(model))
    }

    /// Every entry, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &TokenPrices)> {
        self.prices.iter()
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.prices.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.prices.is_empty()
    }
}
