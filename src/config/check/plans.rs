//! Plans: `extends` applied.

use std::collections::HashMap;
use std::sync::Arc;

use super::common::{Named, budget, count, entries, name, time, undefined};
use super::unused::AT_LEAST_A_SECOND;
use crate::base::money::Money;
use crate::config::field::Field;
use crate::config::raw::{Count, Price, RawBilling, RawPlan};
use crate::config::report::Report;
use crate::config::types::{Billing, Class, Plan};

/// Checks the list of plans.
pub(super) fn check(raw: &Field<Vec<Field<RawPlan>>>, report: &mut Report) -> Named<Plan> {
    let (entries, mut complete) = entries(raw, "a plan", report);
    let mut by_name: HashMap<&str, &RawPlan> = HashMap::new();
    let mut ordered = Vec::new();
    for (mark, entry) in entries {
        figures(entry, report);
        match name(&entry.name, mark, "name", report) {
            Some(name) => {
                by_name.entry(name.1).or_insert(entry);
                ordered.push((name, entry));
            }
            None => complete = false,
        }
    }
    let mut plans = Named::new(complete);
    for (name, entry) in ordered {
        let line = lineage((name.1, entry), &by_name, complete, report);
        plans.add("a plan", name, plan(name.1, &line, report), report);
    }
    plans
}

/// Checks the classes that plans name.
pub(super) fn check_classes(
    raw: &Field<Vec<Field<RawPlan>>>,
    classes: &Named<Class>,
    report: &mut Report,
) {
    for (_, plan) in raw.value().into_iter().flatten().filter_map(Field::placed) {
        for (mark, class) in plan.classes.value().into_iter().flatten().filter_map(Field::placed) {
            if !mark.is_default() {
                classes.refer("class", (mark, class), report);
            }
        }
    }
}

/// What is checked of each plan by itself.
fn figures(plan: &RawPlan, report: &mut Report) {
    for field in [
        &plan.requests_per_minute,
        &plan.requests_per_hour,
        &plan.requests_per_day,
        &plan.tokens_per_minute,
        &plan.concurrent,
    ] {
        count(field, 1, report);
    }
    if let Some((mark, Count(Some(0)))) = plan.requests_per_month.placed() {
        report.error(mark, "must be 1 or more, or `unlimited`");
    }
    budget(&plan.budget, report);
    if plan.retention.value().is_some() {
        time(&plan.retention, AT_LEAST_A_SECOND, report);
    }
    for (mark, feature) in plan.features.value().into_iter().flatten().filter_map(Field::placed) {
        name(&Field::Set(mark, feature.clone()), mark, "feature", report);
    }
}

/// The plan and those that it extends, itself first. A name that nothing
/// defines and a circle are errors, and end the line.
fn lineage<'a>(
    (own, plan): (&'a str, &'a RawPlan),
    by_name: &HashMap<&'a str, &'a RawPlan>,
    complete: bool,
    report: &mut Report,
) -> Vec<&'a RawPlan> {
    let mut line = vec![plan];
    let mut names = vec![own];
    let mut last = plan;
    while let Some((mark, parent)) = last.extends.placed() {
        let parent = parent.as_str();
        if names.contains(&parent) {
            // Plans that only lead into a circle leave the error to those in it.
            if parent == own {
                names.push(parent);
                let mark = plan.extends.mark().unwrap_or(mark);
                report.error(mark, format!("a plan extends itself: {}", names.join(" → ")));
            }
            break;
        }
        let Some(next) = by_name.get(parent) else {
            if line.len() == 1 && complete {
                let mut known: Vec<_> = by_name.keys().copied().collect();
                known.sort_unstable();
                report.error(mark, undefined("plan", (mark, parent), known.into_iter()));
            }
            break;
        };
        line.push(next);
        names.push(parent);
        last = next;
    }
    line
}

/// Single values from the nearest of the line that gives one, lists from all,
/// the eldest first.
fn plan(own: &str, line: &[&RawPlan], report: &mut Report) -> Plan {
    let window = |pick: fn(&RawPlan) -> &Field<Count>| {
        // Ranges were checked where the figure stands.
        let count = nearest(line, pick)?;
        Some(count.0.map_or(u32::MAX, |count| u32::try_from(count).unwrap_or(u32::MAX)))
    };
    // A line that says nothing of features is not gated by them.
    let mut features: Option<Vec<Arc<str>>> = None;
    for list in line.iter().rev().filter_map(|entry| entry.features.value()) {
        let features = features.get_or_insert_default();
        for feature in list.iter().filter_map(Field::value) {
            if !features.iter().any(|known| **known == **feature) {
                features.push(feature.as_str().into());
            }
        }
    }
    let mut classes: Option<Vec<Arc<str>>> = None;
    for list in line.iter().rev().filter_map(|entry| entry.classes.value()) {
        let classes = classes.get_or_insert_default();
        for class in list.iter().filter_map(Field::value) {
            if !classes.iter().any(|known| **known == **class) {
                classes.push(class.as_str().into());
            }
        }
    }
    let billing = match nearest(line, |plan| &plan.billing) {
        Some(RawBilling::Included) => Billing::Included,
        Some(RawBilling::Metered) | None => Billing::Metered,
    };
    let requests_per_month = nearest(line, |plan| &plan.requests_per_month);
    if billing == Billing::Included && requests_per_month.is_none_or(|count| count.0.is_none()) {
        report.warn(format!("Plan {own} is billed as included without a quota: all is free."));
    }
    let overage = dollars(line, |plan| &plan.overage);
    let has_own = line.first().is_some_and(|plan| plan.overage.value().is_some());
    if has_own && requests_per_month.is_none_or(|count| count.0.is_none()) {
        report.warn(format!("The overage of plan {own} is of no effect: it has no quota."));
    }
    Plan {
        name: own.into(),
        billing,
        monthly_price: nearest(line, |plan| &plan.monthly_price).map_or(Money::ZERO, |fee| fee.0),
        requests_per_month: requests_per_month.and_then(|count| count.0),
        budget: dollars(line, |plan| &plan.budget),
        overage,
        prepaid: nearest(line, |plan| &plan.prepaid).unwrap_or(false),
        requests_per_minute: window(|plan| &plan.requests_per_minute),
        requests_per_hour: window(|plan| &plan.requests_per_hour),
        requests_per_day: window(|plan| &plan.requests_per_day),
        tokens_per_minute: window(|plan| &plan.tokens_per_minute).filter(|limit| *limit < u32::MAX),
        concurrent: window(|plan| &plan.concurrent),
        features,
        classes,
    }
}

fn nearest<T: Copy>(line: &[&RawPlan], pick: impl Fn(&RawPlan) -> &Field<T>) -> Option<T> {
    line.iter().find_map(|plan| pick(plan).value().copied())
}

/// An amount from the nearest of the line that says something of it; `null` is
/// none.
fn dollars(line: &[&RawPlan], pick: fn(&RawPlan) -> &Field<Price>) -> Option<Money> {
    let said = line.iter().map(|plan| pick(plan)).find(|field| !matches!(field, Field::Absent));
    said.and_then(Field::value).map(|price| price.0)
}
