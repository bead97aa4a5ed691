//! What a request costs the customer: what is known of it when it is ordered,
//! and the charge once it has ended.
//!
//! A quote holds the prices in force when the request was admitted, so a change
//! of the configuration meanwhile does not reach it.

use crate::base::clock::Timestamp;
use crate::base::money::Money;
use crate::config::{Basis, Billing, Class, Pricing, TokenPrices};
use crate::ledger::record::{Outcome, Tokens};
use crate::meter::{policy, price};

/// The prices of one request.
#[derive(Clone, Debug)]
pub struct Quote {
    pricing: Pricing,
    /// The account's own price of a request; it replaces the class's.
    own: Option<Money>,
    billing: Billing,
    /// The price of a request beyond the quota, where such a one is served; it
    /// replaces all others.
    overage: Option<Money>,
}

/// How a request ended, as far as it decides the price.
#[derive(Clone, Copy, Debug)]
pub struct Ended<'a> {
    /// The outcome.
    pub outcome: Outcome,
    /// Whether it was answered from the cache.
    pub recalled: bool,
    /// Its tokens; those that the answer was once made of if it was recalled.
    pub tokens: &'a Tokens,
    /// What the provider of its model charges; `None` is not known.
    pub cost: Option<&'a TokenPrices>,
    /// Which of the account's charged requests of the class and month it is,
    /// from 1.
    pub number: u64,
    /// Whether it lies beyond the account's quota.
    pub beyond: bool,
}

/// What a customer owes for one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charge {
    /// 1, or 0 where the policy does not charge.
    pub quantity: u32,
    /// Price of this request to this account.
    pub unit_price: Money,
    /// Price of this request by its class, whatever the plan's billing and overage
    /// and the account's own price.
    pub list_price: Money,
    /// Quantity × unit price.
    pub price: Money,
    /// The prices of a token, where the price is the sum of its tokens at these
    /// prices exactly.
    pub rates: Option<TokenPrices>,
}

impl Quote {
    /// The quote for a request of `class`, admitted at `admitted`, of an account
    /// with an `own` price of such a request, under a plan billed by `billing`.
    pub fn new(class: &Class, own: Option<Money>, billing: Billing, admitted: Timestamp) -> Self {
        let free = || Pricing { basis: Basis::Request(Money::ZERO), cached: None };
        let pricing = class.tariff.at(admitted).cloned().unwrap_or_else(free);
        Self { pricing, own, billing, overage: None }
    }

    /// The quote for a request that costs `price` whatever comes of it.
    pub const fn flat(price: Money, billing: Billing) -> Self {
        let pricing = Pricing { basis: Basis::Request(price), cached: None };
        Self { pricing, own: None, billing, overage: None }
    }

    /// The same for an account that pays `overage` for a request beyond its quota;
    /// `None` where such a request is refused or there is no quota.
    #[must_use]
    pub const fn beyond(mut self, overage: Option<Money>) -> Self {
        self.overage = overage;
        self
    }

    /// Whether there is a price for a model whose provider charges `cost`: not
    /// where the price is a markup on what nobody knows.
    pub fn is_priced(&self, cost: Option<&TokenPrices>) -> bool {
        match &self.pricing.basis {
            Basis::Tokens(tariff) => self.own.is_some() || tariff.rates.of(cost).is_some(),
            Basis::Request(_) | Basis::Tiers(_) => true,
        }
    }

    /// Whether the price depends on how many requests were charged before.
    pub const fn depends_on_volume(&self) -> bool {
        matches!(self.pricing.basis, Basis::Tiers(_))
    }

    /// Whether the price within the quota depends on the tokens that are used.
    pub const fn depends_on_tokens(&self) -> bool {
        matches!(self.billing, Billing::Metered)
            && self.own.is_none()
            && matches!(self.pricing.basis, Basis::Tokens(_))
    }

    /// What the request costs if it is charged and not answered from the cache,
    /// where that is known before it is. Whether it lies beyond the quota shows
    /// when it settles.
    pub fn known(&self) -> Option<Money> {
        self.within().filter(|within| self.overage.is_none_or(|overage| overage == *within))
    }

    /// What is known of its price if it lies within the quota.
    fn within(&self) -> Option<Money> {
        match (self.billing, self.own, &self.pricing.basis) {
            (Billing::Included, ..) => Some(Money::ZERO),
            (Billing::Metered, Some(own), _) => Some(own),
            (Billing::Metered, None, Basis::Request(price)) => Some(*price),
            (Billing::Metered, None, Basis::Tiers(_) | Basis::Tokens(_)) => None,
        }
    }

    /// The most that the request can cost, within the quota or beyond, if it uses
    /// at most `tokens` and runs where the provider charges one of `costs`.
    pub fn most(&self, tokens: &Tokens, costs: impl Iterator<Item = Option<TokenPrices>>) -> Money {
        let within = self.most_within(tokens, costs);
        self.overage.map_or(within, |overage| overage.max(within))
    }

    fn most_within(
        &self,
        tokens: &Tokens,
        costs: impl Iterator<Item = Option<TokenPrices>>,
    ) -> Money {
        if let Some(known) = self.within() {
            // A cached answer may have a price of its own.
            let cached = self.pricing.cached.filter(|_| self.billing == Billing::Metered);
            return known.max(cached.filter(|_| self.own.is_none()).unwrap_or(known));
        }
        let dearest = match &self.pricing.basis {
            Basis::Request(price) => *price,
            Basis::Tiers(tiers) => tiers.iter().map(|tier| tier.price).max().unwrap_or(Money::ZERO),
            Basis::Tokens(_) => costs
                .flat_map(|cost| {
                    // The provider may write all of the prompt to its cache.
                    let written = Tokens { cache_write: tokens.input, ..*tokens };
                    [*tokens, written].map(|tokens| self.list_price(&tokens, cost.as_ref(), 1))
                })
                .max()
                .unwrap_or(Money::ZERO),
        };
        dearest.max(self.pricing.cached.unwrap_or(Money::ZERO))
    }

    /// What the request is expected to earn: under `included` billing, which
    /// earns nothing by the request, its list price.
    pub fn expected(&self, tokens: &Tokens, cost: Option<&TokenPrices>, number: u64) -> Money {
        match (self.billing, self.own) {
            (Billing::Metered, Some(own)) => own,
            _ => self.list_price(tokens, cost, number),
        }
    }

    /// What the class charges for such a request.
    pub fn list_price(&self, tokens: &Tokens, cost: Option<&TokenPrices>, number: u64) -> Money {
        self.list(tokens, cost, number).0
    }

    /// The charge for a request that ended so (see [`policy::terms`]).
    pub fn charge(&self, ended: &Ended<'_>) -> Charge {
        let (full, rates) = self.list(ended.tokens, ended.cost, ended.number);
        let cached = self.pricing.cached.filter(|_| ended.recalled);
        let list_price = cached.unwrap_or(full);
        let overage = self.overage.filter(|_| ended.beyond);
        let by_tokens = cached.is_none() && self.own.is_none() && overage.is_none();
        let rates = rates.filter(|_| by_tokens && self.billing == Billing::Metered);
        let unit_price = match (overage, self.billing, self.own) {
            (Some(overage), ..) => overage,
            (None, Billing::Included, _) => Money::ZERO,
            // Whoever has a price of its own does not pay more for less.
            (None, Billing::Metered, Some(own)) => cached.map_or(own, |cached| own.min(cached)),
            (None, Billing::Metered, None) => list_price,
        };
        let quantity = u32::from(policy::terms(ended.outcome).charged);
        let price = unit_price.times(u64::from(quantity));
        Charge { quantity, unit_price, list_price, price, rates }
    }

    /// The class's price of a request, and the prices of a token that it is
    /// the sum of, where it is one.
    fn list(
        &self,
        tokens: &Tokens,
        cost: Option<&TokenPrices>,
        number: u64,
    ) -> (Money, Option<TokenPrices>) {
        match &self.pricing.basis {
            Basis::Request(price) => (*price, None),
            Basis::Tiers(tiers) => {
                let within = tiers.partition_point(|tier| tier.from < number);
                let tier = tiers.get(within.saturating_sub(1));
                (tier.map_or(Money::ZERO, |tier| tier.price), None)
            }
            Basis::Tokens(tariff) => {
                let rates = tariff.rates.of(cost);
                let sum = rates.map_or(Money::ZERO, |rates| price::cost(tokens, &rates));
                if sum < tariff.minimum { (tariff.minimum, None) } else { (sum, rates) }
            }
        }
    }
}

impl Charge {
    /// The charge for a repeat of what is charged already: nothing.
    #[must_use]
    pub const fn waived(self) -> Self {
        Self { quantity: 0, price: Money::ZERO, rates: None, ..self }
    }

    /// The same, but no dearer than `ceiling`, what a budget or a balance has for it.
    #[must_use]
    pub fn at_most(self, ceiling: Money) -> Self {
        if self.unit_price <= ceiling {
            return self;
        }
        let price = ceiling.times(u64::from(self.quantity));
        Self { unit_price: ceiling, price, rates: None, ..self }
    }
}

#[cfg(test)]
mod tests;
