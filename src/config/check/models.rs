//! Models: public names, targets, prices of a token.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::common::{Named, entries, name, required, whole};
use super::manner;
use super::routing::prefer;
use crate::base::money::Money;
use crate::config::field::Field;
use crate::config::raw::{Price, RawCost, RawModel, RawTarget, RawTier};
use crate::config::report::Report;
use crate::config::tree::Mark;
use crate::config::types::{Model, Provider, Target, Tier, TokenPrices};

/// Checks the list of models.
pub(super) fn check(
    raw: &Field<Vec<Field<RawModel>>>,
    providers: &Named<Provider>,
    report: &mut Report,
) -> Named<Model> {
    let (entries, complete) = entries(raw, "a model", report);
    let mut models = Named::new(complete);
    let mut gone = BTreeSet::new();
    for (mark, entry) in entries {
        let targets = targets(entry, mark, providers, &mut gone, report);
        let cost = entry.cost.placed().and_then(|(mark, cost)| token_prices(mark, cost, report));
        let Some(name) = name(&entry.name, mark, "name", report) else {
            models.skip();
            continue;
        };
        let tier = match entry.tier.or(RawTier::Expert) {
            RawTier::Simple => Tier::Simple,
            RawTier::Complex => Tier::Complex,
            RawTier::Expert => Tier::Expert,
        };
        let prefer = prefer(&entry.prefer);
        let model = Model { name: name.1.into(), tier, targets, cost, prefer };
        models.add("a model", name, model, report);
    }
    if !gone.is_empty() {
        let off: Vec<_> = models
            .values()
            .filter(|model| model.targets.is_empty())
            .map(|model| model.name.to_string())
            .collect();
        let gone: Vec<_> = gone.into_iter().collect();
        report.warn(format!(
            "Of the default models {} are off: they name {}, which is not among the providers.",
            off.join(", "),
            gone.join(" and ")
        ));
    }
    models
}

/// The targets of one model. A default that names a provider which is `gone`
/// is left out.
fn targets<'a>(
    entry: &'a RawModel,
    mark: Mark,
    providers: &Named<Provider>,
    gone: &mut BTreeSet<&'a str>,
    report: &mut Report,
) -> Vec<Target> {
    if let Some((mark, [])) = required(&entry.targets, mark, "targets", report)
        .map(|(mark, targets)| (mark, targets.as_slice()))
    {
        report.error(mark, "a model needs at least one target");
    }
    let (entries, _) = entries(&entry.targets, "a target", report);
    let mut targets = Vec::with_capacity(entries.len());
    for (mark, RawTarget { provider, model, weight, thinking }) in entries {
        let given = !matches!(weight, Field::Absent | Field::Null(_));
        let weight = given.then(|| whole(weight, 1..=u32::MAX, report));
        let model = model.value().map(|model| Arc::from(model.as_str()));
        let Some(named) = name(provider, mark, "provider", report) else { continue };
        let provider = if mark.is_default() {
            let found = providers.get(named.1);
            if found.is_none() {
                gone.insert(named.1);
            }
            found
        } else {
            providers.refer("provider", named, report)
        };
        if let Some(provider) = provider {
            let thinking = manner::thinking(thinking, provider.dialect, report);
            targets.push(Target { provider: Arc::clone(provider), model, weight, thinking });
        }
    }
    targets
}

/// Prices of a token from prices of a million.
pub(super) fn token_prices(mark: Mark, cost: &RawCost, report: &mut Report) -> Option<TokenPrices> {
    let input = required(&cost.input, mark, "input", report).map(|(mark, price)| (mark, *price));
    let input = input.and_then(|price| per_token(price, report));
    let cached_input = cost.cached_input.placed().map(|(mark, price)| (mark, *price));
    let cached_input = cached_input.and_then(|price| per_token(price, report)).or(input);
    let cache_write = cost.cache_write.placed().map(|(mark, price)| (mark, *price));
    let cache_write = cache_write.and_then(|price| per_token(price, report)).or(input);
    let output = cost.output.placed().map(|(mark, price)| (mark, *price));
    let output = output.and_then(|price| per_token(price, report)).unwrap_or(Money::ZERO);
    let (cached_input, cache_write) = (cached_input?, cache_write?);
    Some(TokenPrices { input: input?, cached_input, cache_write, output })
}

fn per_token((mark, price): (Mark, Price), report: &mut Report) -> Option<Money> {
    let picos = price.0.picos();
    if picos % 1_000_000 != 0 {
        report.error(mark, "a price of a million tokens has at most six decimals");
        return None;
    }
    Some(Money::from_picos(picos / 1_000_000))
}
