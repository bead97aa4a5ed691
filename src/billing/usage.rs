//! Usage: the charged records of the ledger, grouped as an invoice shows them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::invoice::Unit;
use crate::base::money::Money;
use crate::ledger::record::{TokenRates, Tokens, UsageRecord};

/// The most unit prices of one kind of usage that are lines of their own. Above
/// that each request has a price of its own, and one line sums them all up.
const MOST_PRICES: usize = 64;

/// A kind of usage.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Kind {
    /// The record's service.
    pub(super) service: Arc<str>,
    /// Its class.
    pub(super) endpoint: Arc<str>,
    /// The model, where its tokens are what is counted.
    pub(super) model: Option<Arc<str>>,
    /// What is counted.
    pub(super) unit: Unit,
}

/// What was used at a price, or is owed for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Amount {
    /// Units.
    pub(super) quantity: i64,
    /// What they come to, exactly.
    pub(super) exact: Money,
}

impl Amount {
    fn add(&mut self, other: Self) {
        self.quantity = self.quantity.saturating_add(other.quantity);
        self.exact += other.exact;
    }

    fn less(self, other: Self) -> Self {
        Self {
            quantity: self.quantity.saturating_sub(other.quantity),
            exact: self.exact - other.exact,
        }
    }

    /// Whether more was billed than there is.
    fn lacks(&self) -> bool {
        self.quantity < 0 || self.exact < Money::ZERO
    }

    fn is_nothing(self) -> bool {
        self == Self::default()
    }
}

/// What was used of one kind, by unit price; or in one sum, where there are too
/// many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Prices {
    /// By unit price.
    Each(BTreeMap<Money, Amount>),
    /// In one sum.
    Sum(Amount),
}

impl Default for Prices {
    fn default() -> Self {
        Self::Each(BTreeMap::new())
    }
}

impl Prices {
    fn add(&mut self, unit_price: Option<Money>, amount: Amount) {
        match (&mut *self, unit_price) {
            (Self::Each(prices), Some(unit_price)) => {
                prices.entry(unit_price).or_default().add(amount);
                if prices.len() > MOST_PRICES {
                    *self = Self::Sum(self.sum());
                }
            }
            (Self::Each(_), None) => {
                let mut sum = self.sum();
                sum.add(amount);
                *self = Self::Sum(sum);
            }
            (Self::Sum(sum), _) => sum.add(amount),
        }
    }

    fn sum(&self) -> Amount {
        match self {
            Self::Sum(sum) => *sum,
            Self::Each(prices) => prices.values().fold(Amount::default(), |mut sum, amount| {
                sum.add(*amount);
                sum
            }),
        }
    }

    /// The positions: unit price, if it is one, and amount.
    pub(super) fn positions(&self) -> Vec<(Option<Money>, Amount)> {
        match self {
            Self::Sum(sum) => vec![(None, *sum)],
            Self::Each(prices) => prices.iter().map(|(price, it)| (Some(*price), *it)).collect(),
        }
    }

    /// Whether more is missing of what was billed than `taken_back`.
    fn lacks_more_than(&self, taken_back: Amount) -> bool {
        let lacks = |amount: &Amount| amount.lacks();
        let lack = match self {
            Self::Sum(sum) => Some(*sum).filter(lacks).unwrap_or_default(),
            Self::Each(prices) => {
                let mut lack = Amount::default();
                prices.values().filter(|amount| amount.lacks()).for_each(|it| lack.add(*it));
                lack
            }
        };
        lack.lacks() && {
            let mut left = lack;
            left.add(taken_back);
            left.lacks()
        }
    }

    /// Leaves out what is missing of what was billed; whether anything is left.
    fn forget_lack(&mut self) -> bool {
        match self {
            Self::Sum(sum) => !sum.lacks(),
            Self::Each(prices) => {
                prices.retain(|_, amount| !amount.lacks());
                !prices.is_empty()
            }
        }
    }

    fn less(&self, billed: &Self) -> Self {
        let (Self::Each(own), Self::Each(other)) = (self, billed) else {
            return Self::Sum(self.sum().less(billed.sum()));
        };
        let mut owed = own.clone();
        for (price, amount) in other {
            let left = owed.entry(*price).or_default();
            *left = left.less(*amount);
        }
        owed.retain(|_, amount| !amount.is_nothing());
        Self::Each(owed)
    }
}

/// The usage of one account in one month.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage(BTreeMap<Kind, Prices>);

impl Usage {
    /// Adds a record: what is charged of it, under its kind and unit price. What
    /// a record consists of is decided here and nowhere else: its tokens by kind
    /// at their rates, where its price is the sum of them, else one request.
    pub(super) fn add(&mut self, record: &UsageRecord) {
        // What was paid from a balance is not owed.
        if record.quantity == 0 || record.prepaid {
            return;
        }
        let kind = |model, unit| Kind {
            service: record.service.clone(),
            endpoint: record.endpoint.clone(),
            model,
            unit,
        };
        let parts = record.rates.and_then(|rates| parts(&record.tokens, &rates, record.price));
        for (unit, rate, amount) in parts.into_iter().flatten() {
            if amount.quantity > 0 {
                self.put(kind(Some(record.model_used.clone()), unit), Some(rate), amount);
            }
        }
        if parts.is_some() {
            return;
        }
        let kind = kind(None, Unit::Requests);
        let amount = Amount { quantity: i64::from(record.quantity), exact: record.price };
        self.put(kind, Some(record.unit_price), amount);
    }

    /// Adds a void record, as it was charged before.
    pub(super) fn add_void(&mut self, record: &UsageRecord) {
        self.add(&UsageRecord { quantity: 1, price: record.unit_price, ..record.clone() });
    }

    /// Adds an amount of a kind at a unit price; `None` is a sum of many.
    pub(super) fn put(&mut self, kind: Kind, unit_price: Option<Money>, amount: Amount) {
        self.0.entry(kind).or_default().add(unit_price, amount);
    }

    /// What is owed still where `billed` was billed.
    #[must_use]
    pub(super) fn less(&self, billed: &Self) -> Self {
        let mut owed = self.0.clone();
        for (kind, prices) in &billed.0 {
            let left = owed.entry(kind.clone()).or_default();
            *left = left.less(prices);
        }
        owed.retain(|_, prices| match prices {
            Prices::Each(prices) => !prices.is_empty(),
            Prices::Sum(sum) => !sum.is_nothing(),
        });
        Self(owed)
    }

    /// What is owed, less what was billed and is not in the ledger any more, though
    /// it is not `void` either; and whether there is any of that.
    #[must_use]
    pub(super) fn without_loss(mut self, void: &Self) -> (Self, bool) {
        let mut lost = false;
        self.0.retain(|kind, prices| {
            let taken_back = void.0.get(kind).map(Prices::sum).unwrap_or_default();
            if !prices.lacks_more_than(taken_back) {
                return true;
            }
            lost = true;
            prices.forget_lack()
        });
        (self, lost)
    }

    /// What was used, by kind.
    pub(super) fn kinds(&self) -> impl Iterator<Item = (&Kind, &Prices)> {
        self.0.iter()
    }
}

/// What `tokens` come to at `rates`, by what is counted and the price of one;
/// none where that is not `price`, which is what the customer owes.
fn parts(tokens: &Tokens, rates: &TokenRates, price: Money) -> Option<[(Unit, Money, Amount); 4]> {
    let [fresh, cached, written] = tokens.prompt();
    let part = |unit, count: u64, rate: Money| {
        let amount = Amount { quantity: i64::try_from(count).ok()?, exact: rate.times(count) };
        Some((unit, rate, amount))
    };
    let parts = [
        part(Unit::Input, fresh, rates.input)?,
        part(Unit::CachedInput, cached, rates.cached_input)?,
        part(Unit::CacheWrite, written, rates.cache_write.unwrap_or(rates.input))?,
        part(Unit::Output, tokens.output, rates.output)?,
    ];
    let sum: Money = parts.iter().map(|(.., amount)| amount.exact).sum();
    (sum == price).then_some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn money(picos: usize) -> Money {
        Money::from_picos(i128::try_from(picos).unwrap())
    }

    fn kind() -> Kind {
        let (service, endpoint) = ("ai_api".into(), "chat".into());
        Kind { service, endpoint, model: None, unit: Unit::Requests }
    }

    fn usage(prices: std::ops::Range<usize>) -> Usage {
        let mut usage = Usage::default();
        for price in prices {
            usage.put(kind(), Some(money(price)), Amount { quantity: 1, exact: money(price) });
        }
        usage
    }

    #[test]
    fn too_many_prices_become_one_sum_with_nothing_lost() {
        let few = usage(0..MOST_PRICES);
        assert_eq!(few.kinds().next().unwrap().1.positions().len(), MOST_PRICES);
        let many = usage(0..1_000);
        let sum = Amount { quantity: 1_000, exact: money(499_500) };
        assert_eq!(many.kinds().next().unwrap().1.positions(), [(None, sum)]);
    }

    /// A request that is all one price is not taken apart, and nothing is lost
    /// where the rates do not make up what is owed.
    #[test]
    fn tokens_are_lines_only_where_they_make_up_the_price() {
        let rate = Money::from_picos;
        let rates = TokenRates {
            input: rate(5),
            cached_input: rate(0),
            cache_write: Some(rate(7)),
            output: rate(20),
        };
        let tokens = Tokens { input: 10, cached_input: 4, output: 3, reasoning: 2, cache_write: 1 };
        let mut record =
            crate::admin::fixture::record(crate::base::clock::Timestamp(0), "a", "chat");
        (record.tokens, record.rates) = (tokens, Some(rates));
        let of = |price: i128| {
            let mut usage = Usage::default();
            usage.add(&UsageRecord {
                unit_price: rate(price),
                price: rate(price),
                ..record.clone()
            });
            let unit = |(kind, prices): (&Kind, &Prices)| {
                let [(price, amount)] = prices.positions()[..] else { panic!("one price") };
                (kind.model.clone(), kind.unit, amount.quantity, price.unwrap(), amount.exact)
            };
            usage.kinds().map(unit).collect::<Vec<_>>()
        };
        let model = || Some("m".into());
        assert_eq!(
            of(92),
            [
                (model(), Unit::Input, 5, rate(5), rate(25)),
                (model(), Unit::CachedInput, 4, rate(0), rate(0)),
                (model(), Unit::CacheWrite, 1, rate(7), rate(7)),
                (model(), Unit::Output, 3, rate(20), rate(60)),
            ]
        );
        assert_eq!(of(91), [(None, Unit::Requests, 1, rate(91), rate(91))]);
    }

    /// What is gone from the ledger is no credit; what was taken back is one.
    #[test]
    fn what_was_billed_and_is_gone_is_owed_to_nobody() {
        let owed = usage(3..6).less(&usage(0..5));
        assert_eq!(owed.clone().without_loss(&Usage::default()), (usage(5..6), true));
        assert_eq!(owed.clone().without_loss(&usage(1..3)), (usage(5..6), true), "not enough");
        assert_eq!(owed.clone().without_loss(&usage(0..3)), (owed, false));
        let sum = usage(0..900).less(&usage(0..1_000));
        assert_eq!(sum.clone().without_loss(&Usage::default()), (Usage::default(), true));
        assert_eq!(sum.clone().without_loss(&usage(900..1_000)), (sum, false));
        let more = usage(0..5).less(&usage(0..3));
        assert_eq!(more.clone().without_loss(&Usage::default()), (more, false));
    }

    #[test]
    fn what_is_owed_is_what_was_not_billed() {
        assert_eq!(usage(0..5).less(&usage(0..5)), Usage::default());
        assert_eq!(usage(0..5).less(&usage(0..3)), usage(3..5));
        // A part was billed by price before the rest made one sum of it.
        let owed = usage(0..1_000).less(&usage(0..3));
        let sum = Amount { quantity: 997, exact: money(499_497) };
        assert_eq!(owed.kinds().next().unwrap().1.positions(), [(None, sum)]);
    }
}
