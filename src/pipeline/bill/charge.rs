//! What a request is charged: reserved before it runs, decided when it settles.

use std::sync::Arc;

use crate::base::money::Money;
use crate::ledger::record::Outcome;
use crate::meter::price::{self, Charge};
use crate::notice::{Kind, Notice};
use crate::pipeline::bill::Bill;

impl Bill<'_> {
    /// The most that the request may cost the customer.
    pub(in crate::pipeline) fn most(&self) -> Money {
        if self.is_repeat() {
            return Money::ZERO;
        }
        price::most(self.unit_price, self.billing, self.overage)
    }

    /// What the request costs the customer if it is charged; `None` where that is
    /// not known yet, as it may lie within the quota or beyond.
    pub(in crate::pipeline) fn price(&self) -> Option<Money> {
        if self.settled {
            return Some(self.record.price);
        }
        if self.is_repeat() {
            return Some(Money::ZERO);
        }
        let within = price::most(self.unit_price, self.billing, None);
        self.overage.is_none_or(|overage| overage == within).then_some(within)
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

    /// The charge for what ended with `outcome`. What is charged takes its place
    /// in the month, which decides whether it lies beyond the quota.
    pub(super) fn decide(&mut self, outcome: Outcome) -> Charge {
        let charge = price::charge(self.unit_price, self.billing, outcome);
        if charge.quantity == 0 {
            return charge;
        }
        if self.is_repeat() {
            return charge.waived();
        }
        let beyond = self.occupied.as_mut().is_some_and(|(permit, _)| permit.take_place());
        match self.overage.filter(|_| beyond) {
            Some(overage) => charge.beyond_quota(overage),
            None => charge,
        }
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
