//! What a request is charged: reserved before it runs, decided when it settles.

use std::sync::Arc;

use crate::admission::state::Taken;
use crate::base::money::Money;
use crate::config::TokenPrices;
use crate::intake::request::Request;
use crate::ledger::record::{Outcome, TokenRates, Tokens};
use crate::meter::price;
use crate::meter::quote::{Charge, Ended};
use crate::notice::{Kind, Notice};
use crate::pipeline::bill::Bill;
use crate::pipeline::bounds;

impl Bill<'_> {
    /// The most that `request` may cost the customer, however it ends; `found` are
    /// the tokens of the answer that the cache has for it.
    pub(in crate::pipeline) fn most(&self, request: &Request, found: Option<Tokens>) -> Money {
        if self.is_free() {
            return Money::ZERO;
        }
        let tokens = match found {
            Some(found) => found,
            None if self.quote.depends_on_tokens() => bounds::most(self.endpoint, request),
            None => Tokens::default(),
        };
        self.quote.most(&tokens, self.route.costs())
    }

    /// What the request costs the customer if it is charged; `None` while that is
    /// not known.
    pub(in crate::pipeline) fn price(&self) -> Option<Money> {
        if self.settled {
            return Some(self.record.price);
        }
        if self.is_free() { Some(Money::ZERO) } else { self.quote.known() }
    }

    /// What the provider charges for `tokens`; nothing where that is not known.
    pub(super) fn cost(&self, tokens: &Tokens) -> Money {
        self.prices.as_ref().map_or(Money::ZERO, |prices| price::cost(tokens, prices))
    }

    /// The key that is charged.
    pub(in crate::pipeline) fn key(&self) -> &Arc<str> {
        &self.record.key_id
    }

    /// The monthly limits of which a threshold was reached once the request was
    /// charged; `None` if it was not.
    pub(in crate::pipeline) fn warnings(&self) -> Option<&[(Kind, u8)]> {
        self.warnings.as_deref()
    }

    /// The charge for what ended with `outcome` and used the record's tokens. What
    /// is charged takes its place in the month, which decides whether it lies
    /// beyond the quota and which of its class it is. More than a budget or the
    /// balance has for it is never charged, whatever a provider counts.
    pub(super) fn decide(&mut self, outcome: Outcome) -> Charge {
        let class = &self.record.endpoint;
        let charged = self.terms(outcome).charged;
        let taken = match &mut self.occupied {
            Some((permit, _)) if charged => permit.take_place(class),
            Some((permit, _)) => Taken { beyond: false, number: permit.next_number(class) },
            None => Taken { beyond: false, number: 1 },
        };
        let charge = self.quote.charge(&Ended {
            outcome,
            recalled: self.recalled,
            tokens: &self.record.tokens,
            cost: self.prices.as_ref(),
            number: taken.number,
            beyond: taken.beyond,
        });
        if self.is_free() || self.goes_on() {
            return charge.waived();
        }
        let ceiling = self.occupied.as_ref().and_then(|(permit, _)| permit.ceiling());
        let charge = ceiling.map_or(charge, |ceiling| charge.at_most(ceiling));
        let prepaid = self.occupied.as_ref().is_some_and(|(permit, _)| permit.is_prepaid());
        self.record.prepaid = prepaid && !charge.price.is_zero();
        charge
    }

    /// Undoes [`Self::decide`]: the record could not be written.
    pub(super) fn undecide(&mut self) {
        if let Some((permit, _)) = &mut self.occupied {
            permit.return_place();
        }
    }

    /// Counts what the written record charges, and tells whom it concerns that a
    /// threshold was reached.
    pub(super) fn pay(&mut self) {
        let record = &self.record;
        let Some((permit, _)) = self.occupied.as_mut().filter(|_| record.quantity > 0) else {
            return;
        };
        let charged = permit.charge(&record.key_id, record.price);
        self.warnings = Some(charged.levels.reached().collect());
        for crossing in charged.crossings {
            self.app.metrics.quota_warned(crossing.kind, crossing.threshold);
            self.app.notices.raise(Notice {
                account: record.account.clone(),
                key_id: (crossing.kind == Kind::KeyBudget).then(|| record.key_id.clone()),
                kind: crossing.kind,
                threshold: crossing.threshold,
                used: crossing.used,
                limit: crossing.limit,
                month: permit.month().to_string(),
            });
        }
    }
}

/// The prices of a token, as a record keeps them.
pub(super) fn rates(prices: TokenPrices) -> TokenRates {
    let TokenPrices { input, cached_input, cache_write, output } = prices;
    let cache_write = Some(cache_write).filter(|price| *price != input);
    TokenRates { input, cached_input, cache_write, output }
}
