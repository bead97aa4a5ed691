//! Plan fees: a month's fee by how long which plan was in force.
//!
//! The fee of a month is Σ interval ÷ month × monthly price over the intervals in
//! which an assignment was in force, all in exact microseconds of the month in
//! the billing time zone. A suspended account keeps its plan and owes the fee; a
//! deleted one owes nothing from its end on.

use std::collections::BTreeMap;

use super::calendar::Span;
use crate::base::money::Money;
use crate::store::billing::{Assignment, Standing};

/// A plan at a fee.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PlanFee {
    /// The plan.
    pub(super) plan: String,
    /// Its fee for a whole month.
    pub(super) monthly_price: Money,
}

/// How long a plan was in force within a month.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Time {
    /// Microseconds; below zero where more was billed than held.
    pub(super) micros: i64,
    /// When, in order; adjoining stretches are one.
    pub(super) spans: Vec<Span>,
}

/// The plans of one account in one month that have a fee.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Fees(BTreeMap<PlanFee, Time>);

impl Fees {
    /// The fees in `month` by the account's `history`, the oldest first. The last
    /// assignment is taken to hold to the end of the month.
    pub(super) fn of(history: &[Assignment], month: Span) -> Self {
        let mut fees = Self::default();
        let ends = history.iter().skip(1).map(|next| next.at).chain([month.to]);
        for (assignment, end) in history.iter().zip(ends) {
            let span = Span { from: assignment.at.max(month.from), to: end.min(month.to) };
            if assignment.standing == Standing::Deleted || span.from >= span.to {
                continue;
            }
            let plan = assignment.plan.clone();
            let fee = PlanFee { plan, monthly_price: assignment.monthly_price };
            fees.put(fee, i64::try_from(span.micros()).unwrap_or(i64::MAX), Some(span));
        }
        fees
    }

    /// Adds microseconds at a fee. A plan without a fee is left out.
    pub(super) fn put(&mut self, fee: PlanFee, micros: i64, span: Option<Span>) {
        if fee.monthly_price.is_zero() {
            return;
        }
        let time = self.0.entry(fee).or_default();
        time.micros = time.micros.saturating_add(micros);
        match (time.spans.last_mut(), span) {
            (Some(last), Some(span)) if last.to == span.from => last.to = span.to,
            (_, Some(span)) => time.spans.push(span),
            (_, None) => {}
        }
    }

    /// What is owed still where `billed` was billed.
    #[must_use]
    pub(super) fn less(&self, billed: &Self) -> Self {
        let mut owed = self.0.clone();
        for (fee, time) in &billed.0 {
            let left = owed.entry(fee.clone()).or_default();
            left.micros = left.micros.saturating_sub(time.micros);
            // When is not known of a part.
            left.spans.clear();
        }
        owed.retain(|_, time| time.micros != 0);
        Self(owed)
    }

    /// The plans and how long each was in force.
    pub(super) fn plans(&self) -> impl Iterator<Item = (&PlanFee, &Time)> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Timestamp;

    const MONTH: Span = Span { from: Timestamp(1_000), to: Timestamp(2_000) };

    fn at(sequence: u64, at: u64, plan: &str, standing: Standing) -> Assignment {
        Assignment {
            sequence,
            at: Timestamp(at),
            plan: plan.to_owned(),
            monthly_price: if plan == "free" { Money::ZERO } else { "29".parse().unwrap() },
            included: plan == "free",
            standing,
        }
    }

    fn times(history: &[Assignment]) -> Vec<(String, i64, usize)> {
        let fees = Fees::of(history, MONTH);
        fees.plans().map(|(fee, time)| (fee.plan.clone(), time.micros, time.spans.len())).collect()
    }

    /// Covers A4 (proration).
    #[test]
    fn a_fee_is_owed_for_as_long_as_the_plan_holds() {
        use Standing::{Active, Deleted, Suspended};
        let all = |plan: &str| vec![(plan.to_owned(), 1_000, 1)];
        assert_eq!(times(&[at(1, 0, "pro", Active)]), all("pro"));
        assert_eq!(times(&[at(1, 2_000, "pro", Active)]), []);
        assert_eq!(times(&[at(1, 0, "free", Active)]), []);
        // A suspension changes nothing, and is no second interval.
        assert_eq!(times(&[at(1, 0, "pro", Active), at(2, 1_500, "pro", Suspended)]), all("pro"));
        assert_eq!(
            times(&[at(1, 1_200, "pro", Active), at(2, 1_500, "pro", Deleted)]),
            [("pro".to_owned(), 300, 1)]
        );
        // There and back; and a change that holds for no time at all.
        let history = [
            at(1, 0, "pro", Active),
            at(2, 1_100, "big", Active),
            at(3, 1_300, "free", Active),
            at(4, 1_300, "pro", Active),
        ];
        assert_eq!(times(&history), [("big".to_owned(), 200, 1), ("pro".to_owned(), 800, 2)]);
    }

    #[test]
    fn what_was_billed_too_much_is_owed_back() {
        let pro = Fees::of(&[at(1, 0, "pro", Standing::Active)], MONTH);
        let history = [at(1, 0, "pro", Standing::Active), at(2, 1_600, "big", Standing::Active)];
        let owed = Fees::of(&history, MONTH).less(&pro);
        let owed: Vec<_> = owed.plans().map(|(fee, time)| (&*fee.plan, time.micros)).collect();
        assert_eq!(owed, [("big", 400), ("pro", -400)]);
    }
}
