//! Request classes: prefixes, prices, features.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use super::common::{Named, entries, name, number, time, undefined, whole};
use super::tariff::{self, Surroundings};
use super::unused::{A_SHARE, AT_LEAST_A_SECOND, LONGEST};
use super::{headers, rewrite};
use crate::base::factor::Factor;
use crate::config::field::Field;
use crate::config::raw::{RawClass, RawLossGuard, RawSamples, RawScope, RawWhen, Whole};
use crate::config::report::Report;
use crate::config::tree::Mark;
use crate::config::types::{
    CacheScope, CacheWhen, Class, ClassCache, LossGuard, Model, Plan, Samples, Stale,
};

/// Features that Tollgate itself enforces; others are the seller's own.
const BUILT_IN: [&str; 8] = [
    "advanced_suggestions",
    "basic_suggestions",
    "confidence_analysis",
    "context_awareness",
    "custom_models",
    "dedicated_instances",
    "priority_support",
    "sla_guarantee",
];

/// How long answers are kept where a `cache` section does not say.
const USUAL_TTL: Duration = Duration::from_secs(3_600);

/// Checks the list of classes.
pub(super) fn check(
    raw: &Field<Vec<Field<RawClass>>>,
    plans: &Named<Plan>,
    around: &Surroundings<'_>,
    report: &mut Report,
) -> Named<Class> {
    let (entries, complete) = entries(raw, "a class", report);
    let sold: BTreeSet<&str> = plans
        .values()
        .flat_map(|plan| plan.features.iter().flatten().map(|name| &**name))
        .collect();
    let mut classes = Named::new(complete);
    let mut prefixes: HashMap<&str, Mark> = HashMap::new();
    for (mark, entry) in entries {
        let class_name = name(&entry.name, mark, "name", report);
        let prefix = prefix(&entry.prefix, &mut prefixes, report);
        let shown = class_name.map_or("", |(_, name)| name);
        let feature = feature(entry, shown, &sold, plans.is_complete(), report);
        models(entry, around.models, report);
        let cache = cache(entry, report);
        let Some(name) = class_name else {
            classes.skip();
            continue;
        };
        let class = Class {
            name: name.1.into(),
            prefix: prefix.map(Into::into),
            tariff: tariff::check(name.1, entry, around, report),
            feature: feature.map(Into::into),
            samples: match entry.samples.value() {
                Some(RawSamples::Distinct) => Samples::Distinct,
                Some(RawSamples::Shared) | None => Samples::Shared,
            },
            coalesce: entry.coalesce.or(true),
            cache,
            models: entry.models.value().map(|models| {
                models.iter().filter_map(Field::value).map(|name| name.as_str().into()).collect()
            }),
            max_input_tokens: most(&entry.max_input_tokens, report),
            max_output_tokens: most(&entry.max_output_tokens, report),
            loss_guard: match entry.loss_guard.or(RawLossGuard::Warn) {
                RawLossGuard::Warn => LossGuard::Warn,
                RawLossGuard::RouteDown => LossGuard::RouteDown,
                RawLossGuard::Refuse => LossGuard::Refuse,
            },
            margin_floor: margin_floor(entry, report),
            rewrite: rewrite::fields(&entry.rewrite, report),
            template: rewrite::template(&entry.template, report),
            headers: headers::check(&entry.headers, report),
        };
        classes.add("a class", name, class, report);
    }
    classes
}

/// The prefix: one or more segments of a path, none of them `v1`, which begins
/// the provider's own path.
fn prefix<'a>(
    field: &'a Field<String>,
    taken: &mut HashMap<&'a str, Mark>,
    report: &mut Report,
) -> Option<&'a str> {
    let (mark, prefix) = field.placed()?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let segment = |part: &str| !matches!(part, "" | "." | "..") && part.bytes().all(plain);
    let path = prefix.strip_prefix('/');
    if !path.is_some_and(|path| path.len() <= 128 && path.split('/').all(segment)) {
        let message = "a prefix is a path such as /documentation: letters, digits, `-`, `.`, \
                       `_` and `~` after each `/`";
        report.error(mark, message);
        return None;
    }
    if prefix.split('/').any(|part| part == "v1") {
        report.error(mark, "a prefix does not contain /v1, which follows it");
        return None;
    }
    if let Some(first) = taken.get(prefix.as_str()) {
        report.error(mark, format!("this prefix is already taken on line {}", first.line));
        return None;
    }
    // Which of two such classes a path belongs to would depend on what follows.
    let above = |one: &str, other: &str| {
        other.strip_prefix(one).is_some_and(|below| below.starts_with('/'))
    };
    let overlapping = taken.iter().find(|(other, _)| above(other, prefix) || above(prefix, other));
    if let Some((other, first)) = overlapping {
        let other = if first.outside { "another" } else { *other };
        report.error(mark, format!("this prefix overlaps {other} on line {}", first.line));
        return None;
    }
    taken.insert(prefix, mark);
    Some(prefix)
}

/// The feature. A default that no plan sells is off.
fn feature<'a>(
    entry: &'a RawClass,
    class: &str,
    sold: &BTreeSet<&str>,
    complete: bool,
    report: &mut Report,
) -> Option<&'a str> {
    let (mark, feature) = entry.feature.placed()?;
    let feature = feature.as_str();
    if sold.contains(feature) || !complete {
        return Some(feature);
    }
    if mark.is_default() {
        report.warn(format!(
            "The default class {class} needs no feature: no plan has its feature {feature}."
        ));
        return None;
    }
    if BUILT_IN.contains(&feature) {
        report.warn(format!(
            "Class {class} can be used by nobody: no plan has the feature {feature}."
        ));
    } else {
        let known: BTreeSet<&str> = sold.iter().copied().chain(BUILT_IN).collect();
        report.error(mark, undefined("feature", (mark, feature), known.into_iter()));
    }
    Some(feature)
}

/// The models that a class names, where not every name is one.
fn models(entry: &RawClass, models: &Named<Model>, report: &mut Report) {
    if models.get("*").is_none() {
        for (mark, model) in entry.models.value().into_iter().flatten().filter_map(Field::placed) {
            models.refer("model", (mark, model), report);
        }
    }
}

/// A number of tokens, where one is given.
fn most(field: &Field<Whole>, report: &mut Report) -> Option<u64> {
    field.value().map(|_| u64::from(whole(field, 1..=u32::MAX, report)))
}

/// The margin floor: a share.
fn margin_floor(entry: &RawClass, report: &mut Report) -> Factor {
    let Some((mark, floor)) = entry.margin_floor.placed() else { return Factor::ZERO };
    if floor.0 > Factor::ONE {
        report.error(mark, "must be from 0 to 1");
    }
    floor.0
}

/// How answers are cached.
fn cache(entry: &RawClass, report: &mut Report) -> Option<ClassCache> {
    let cache = entry.cache.value()?;
    let stale = Stale {
        if_error: time(&cache.stale_if_error, Duration::ZERO..=LONGEST, report),
        while_revalidate: time(&cache.stale_while_revalidate, Duration::ZERO..=LONGEST, report),
    };
    let ttl = match cache.ttl.value() {
        Some(_) => time(&cache.ttl, AT_LEAST_A_SECOND, report),
        None => USUAL_TTL,
    };
    Some(ClassCache {
        ttl,
        hit_rate_target: number(&cache.hit_rate_target, A_SHARE, report),
        scope: match cache.scope.value() {
            Some(RawScope::Shared) => CacheScope::Shared,
            Some(RawScope::Account) | None => CacheScope::Account,
        },
        when: match cache.when.value() {
            Some(RawWhen::Deterministic) => CacheWhen::Deterministic,
            Some(RawWhen::Always) | None => CacheWhen::Always,
        },
        stale,
        finish: cache.finish.or(false),
    })
}
