//! What is sold, priced and billed by what the documentation says.

use std::collections::BTreeMap;

use num_rational::BigRational;

use super::super::super::invoice::{Basis, Line};
use super::super::property::{UNITS, counts, rational, rounded};
use super::{CACHED, CLASSES, COSTS, Known, MARKUP, MINIMUM, PLANS, TIERS, World, flat, listed};
use crate::config::Billing;

/// The most prices that are lines of their own.
const MOST: usize = 64;

/// Class, model and unit of a line of usage; its price, or none for a sum of many;
/// quantity, and what it comes to before it is rounded.
pub(super) type Said = ([String; 3], Option<BigRational>, i64, BigRational);

impl World {
    /// What each line of usage says: class, model and unit, its price, or none for
    /// a sum of many; then quantity and what it comes to before it is rounded.
    pub(super) fn naive(&self) -> Vec<Said> {
        let span = self.month.span(&self.zone).unwrap();
        let mut kinds: BTreeMap<[String; 3], BTreeMap<BigRational, (i64, BigRational)>> =
            BTreeMap::new();
        let mut add = |kind: [&str; 3], price: BigRational, count: i64| {
            let kind = kinds.entry(kind.map(str::to_owned)).or_default();
            let sum = kind.entry(price.clone()).or_insert((0, rational(0)));
            *sum = (sum.0 + count, &sum.1 + price * rational(count.into()));
        };
        for known in self.served().iter().filter(|known| span.holds(known.time)) {
            let (_, class, model, _, (charged, _)) = *known.asked;
            let priced = known.naive(self.own.filter(|own| own.0 == class).map(|own| own.1));
            let (price, rates) = priced;
            if !charged || (known.plan.prepaid && price != rational(0)) {
                continue;
            }
            let Some(rates) = rates else {
                add([CLASSES[class], "", "requests"], price, 1);
                continue;
            };
            for ((unit, count), rate) in UNITS.iter().zip(counts(&known.tokens())).zip(rates) {
                if count > 0 {
                    add(
                        [CLASSES[class], COSTS[model].0, unit],
                        rate,
                        i64::try_from(count).unwrap(),
                    );
                }
            }
        }
        let mut said = Vec::new();
        for (kind, prices) in kinds {
            if prices.len() <= MOST {
                let line = |(price, (count, sum))| (kind.clone(), Some(price), count, sum);
                said.extend(prices.into_iter().map(line));
                continue;
            }
            let (count, sum) = prices
                .into_values()
                .fold((0, rational(0)), |(n, sum), (count, more)| (n + count, sum + more));
            said.push((kind, None, count, sum));
        }
        said
    }

    /// The fees, each rounded: by plan, in pico-dollars.
    pub(super) fn fees(&self) -> BTreeMap<String, BigRational> {
        let span = self.month.span(&self.zone).unwrap();
        let (from, to) = (i128::from(span.from.0), i128::from(span.to.0));
        let mut held: BTreeMap<usize, i128> = BTreeMap::new();
        for (index, (at, plan)) in self.history.iter().enumerate() {
            let end = self.history.get(index + 1).map_or(to, |(at, _)| i128::from(at.0)).min(to);
            *held.entry(*plan).or_default() += (end - i128::from(at.0).max(from)).max(0);
        }
        held.retain(|plan, micros| *micros > 0 && PLANS[*plan].fee > 0);
        let fee = |(plan, micros): (usize, i128)| {
            let share = BigRational::new(micros.into(), (to - from).into());
            let fee = rounded(&(share * rational(PLANS[plan].fee)), &rational(self.unit));
            (PLANS[plan].name.to_owned(), fee)
        };
        held.into_iter().map(fee).collect()
    }
}

impl Known<'_> {
    /// Its price, and those of a token where it is their sum, as `docs/BILLING.md`
    /// says.
    fn naive(&self, own: Option<i128>) -> (BigRational, Option<[BigRational; 4]>) {
        let (_, class, model, _, (_, recalled)) = *self.asked;
        let cached = (class == 0 && recalled && self.step.is_multiple_of(2)).then_some(CACHED);
        if let Some(overage) = self.plan.overage.filter(|_| self.beyond()) {
            return (rational(overage), None);
        }
        if self.plan.billing == Billing::Included {
            return (rational(0), None);
        }
        if let Some(price) = own.map(|own| cached.map_or(own, |cached| own.min(cached))).or(cached)
        {
            return (rational(price), None);
        }
        let rates = match class {
            0 => return (rational(flat(self.step)), None),
            1 => {
                let (_, price) = TIERS.iter().rfind(|(from, _)| self.before.0 >= *from).unwrap();
                return (rational(*price), None);
            }
            2 => listed(self.step).map(rational),
            _ => COSTS[model]
                .1
                .map(|cost| rational(cost) * BigRational::new(MARKUP.1.into(), MARKUP.2.into())),
        };
        let counts = counts(&self.tokens());
        let parts = counts.iter().zip(&rates).map(|(count, rate)| rational((*count).into()) * rate);
        let sum = parts.fold(rational(0), |sum, part| sum + part);
        if class == 3 && sum < rational(MINIMUM) {
            return (rational(MINIMUM), None);
        }
        (sum, Some(rates))
    }
}

/// What a line of usage says, as [`World::naive`] has it.
pub(super) fn said(line: &Line) -> Option<Said> {
    let Basis::Usage { model, unit, sum_of, exact, .. } = &line.basis else { return None };
    let kind = [line.endpoint.clone(), model.clone().unwrap_or_default(), unit.to_string()];
    let price = sum_of.is_none().then(|| rational(line.unit_price.picos()));
    Some((kind, price, sum_of.unwrap_or(line.quantity), rational(exact.picos())))
}
