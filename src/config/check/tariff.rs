//! The prices of a class: by request, by tokens, by volume, and through time.

use std::sync::Arc;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::common::{Named, entries, required};
use super::models::token_prices;
use crate::base::clock::Timestamp;
use crate::base::factor::Factor;
use crate::base::money::Money;
use crate::config::field::Field;
use crate::config::raw::{Price, RawClass, RawCost, RawPrices, RawTokensPrice, RawVolumeTier};
use crate::config::report::Report;
use crate::config::tree::Mark;
use crate::config::types::{
    Basis, Model, PriceTable, Pricing, Rates, Tariff, TokenTariff, VolumeTier,
};

/// What prices are checked against.
pub(super) struct Surroundings<'a> {
    /// The models of the configuration.
    pub(super) models: &'a Named<Model>,
    /// What other models cost.
    pub(super) table: &'a PriceTable,
    /// Where dates are.
    pub(super) zone: &'a TimeZone,
}

/// The keys that a class and an entry of its `prices` share.
#[derive(Clone, Copy)]
struct Keys<'a> {
    price: &'a Field<Price>,
    cached: &'a Field<Price>,
    tokens: &'a Field<RawTokensPrice>,
    tiers: &'a Field<Vec<Field<RawVolumeTier>>>,
}

/// The tariff of the class called `name`.
pub(super) fn check(
    name: &str,
    class: &RawClass,
    around: &Surroundings<'_>,
    report: &mut Report,
) -> Tariff {
    let keys = Keys {
        price: &class.price,
        cached: &class.price_cached,
        tokens: &class.tokens_price,
        tiers: &class.tiers,
    };
    let first = pricing(name, keys, around, report);
    if first.is_none() && class.prices.value().is_none() {
        report.warn(format!("Class {name} has no price: its requests are free."));
    }
    let free = Pricing { basis: Basis::Request(Money::ZERO), cached: None };
    Tariff::new(first.unwrap_or(free), changes(name, &class.prices, around, report))
}

/// The entries of `prices`, with their moments.
fn changes(
    name: &str,
    list: &Field<Vec<Field<RawPrices>>>,
    around: &Surroundings<'_>,
    report: &mut Report,
) -> Vec<(Timestamp, Pricing)> {
    let mut changes: Vec<(Timestamp, Pricing)> = Vec::new();
    let (entries, _) = entries(list, "prices from a moment on", report);
    for (mark, entry) in entries {
        let keys = Keys {
            price: &entry.price,
            cached: &entry.price_cached,
            tokens: &entry.tokens_price,
            tiers: &entry.tiers,
        };
        let pricing = pricing(name, keys, around, report);
        if pricing.is_none() {
            report.error(mark, "one of `price`, `tokens_price` and `tiers` is missing here");
        }
        let Some((at, text)) = required(&entry.from, mark, "from", report) else { continue };
        let Some(from) = moment(text, around.zone) else {
            let expected = "expected a date such as 2026-12-01, or 2026-12-01T08:00";
            report.error(at, expected);
            continue;
        };
        if changes.iter().any(|(known, _)| *known == from) {
            report.error(at, "there are prices from this moment on already");
            continue;
        }
        changes.extend(pricing.map(|pricing| (from, pricing)));
    }
    changes
}

/// A date, or a date and time, in `zone`. A time that a clock change leaves out
/// is the moment of the change.
fn moment(text: &str, zone: &TimeZone) -> Option<Timestamp> {
    let local: DateTime = text.parse().ok()?;
    let moment = zone.to_timestamp(local).ok()?;
    u64::try_from(moment.as_microsecond()).ok().map(Timestamp)
}

/// What `keys` say; `None` where they give no price at all.
fn pricing(
    name: &str,
    keys: Keys<'_>,
    around: &Surroundings<'_>,
    report: &mut Report,
) -> Option<Pricing> {
    let tokens =
        keys.tokens.placed().and_then(|(mark, raw)| tokens(name, mark, raw, around, report));
    let tiers = tiers(keys.tiers, report);
    if let (Some(_), Some(mark)) = (keys.tokens.value(), keys.tiers.mark()) {
        report.error(mark, "`tiers` and `tokens_price` exclude each other");
    }
    let instead = if tokens.is_some() { "tokens_price" } else { "tiers" };
    if keys.price.value().is_some() && (tokens.is_some() || tiers.is_some()) {
        report.warn(format!("Class {name} has {instead}: its `price` beside it is not used."));
    }
    let by_request = || keys.price.value().map(|price| Basis::Request(price.0));
    let basis = tokens.map(Basis::Tokens).or(tiers.map(Basis::Tiers)).or_else(by_request)?;
    Some(Pricing { basis, cached: keys.cached.value().map(|price| price.0) })
}

/// Volume tiers: the first from 0, each later than the one before.
fn tiers(
    list: &Field<Vec<Field<RawVolumeTier>>>,
    report: &mut Report,
) -> Option<Arc<[VolumeTier]>> {
    let mark = list.mark().filter(|_| list.value().is_some())?;
    let (entries, complete) = entries(list, "a tier", report);
    let mut tiers: Vec<VolumeTier> = Vec::with_capacity(entries.len());
    for (mark, entry) in &entries {
        let from = required(&entry.from, *mark, "from", report);
        let price = required(&entry.price, *mark, "price", report);
        let (Some((at, from)), Some((_, price))) = (from, price) else { continue };
        match tiers.last() {
            None if from.0 != 0 => report.error(at, "the first tier begins at 0"),
            Some(last) if from.0 <= last.from => {
                report.error(at, "a tier begins after the one before it");
            }
            _ => {}
        }
        tiers.push(VolumeTier { from: from.0, price: price.0 });
    }
    if entries.is_empty() && complete {
        report.error(mark, "there is no tier here");
    }
    (!tiers.is_empty()).then(|| tiers.into())
}

/// A price by tokens: a markup or prices of its own, not both.
fn tokens(
    name: &str,
    mark: Mark,
    raw: &RawTokensPrice,
    around: &Surroundings<'_>,
    report: &mut Report,
) -> Option<TokenTariff> {
    let minimum = raw.minimum.value().map_or(Money::ZERO, |price| price.0);
    let own = [&raw.input, &raw.cached_input, &raw.cache_write, &raw.output]
        .into_iter()
        .find_map(Field::mark);
    let rates = match (raw.markup.placed(), own) {
        (Some(_), Some(own)) => {
            report.error(own, "a `markup` and prices of its own exclude each other");
            return None;
        }
        (Some((mark, factor)), None) => {
            exact(name, (mark, factor.0), around, report);
            Rates::Markup(factor.0)
        }
        (None, Some(_)) => {
            let RawTokensPrice { input, cached_input, cache_write, output, .. } = *raw;
            let cost = RawCost { input, cached_input, cache_write, output };
            Rates::Own(token_prices(mark, &cost, report)?)
        }
        (None, None) if raw.markup.is_bad() => return None,
        (None, None) => {
            report.error(mark, "expected a `markup`, or `input` and `output` prices");
            return None;
        }
    };
    Some(TokenTariff { rates, minimum })
}

/// Whether a markup gives whole pico-dollars for every model. One of the file
/// that it does not is an error; one of the price file cannot be used in the
/// class.
fn exact(
    name: &str,
    (mark, factor): (Mark, Factor),
    around: &Surroundings<'_>,
    report: &mut Report,
) {
    let rates = Rates::Markup(factor);
    for model in around.models.values() {
        if model.cost.is_some_and(|cost| rates.of(Some(&cost)).is_none()) {
            let model = &model.name;
            report.error(
                mark,
                format!("with this markup a token of the model {model} has a price finer than a pico-dollar"),
            );
        }
    }
    let finer = around.table.iter().filter(|(_, cost)| rates.of(Some(cost)).is_none()).count();
    if finer > 0 {
        report.warn(format!(
            "Class {name} has no price for {finer} models of the price file: with its markup a \
             token would cost a part of a pico-dollar."
        ));
    }
}
