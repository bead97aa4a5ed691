//! Sections and keys that are checked and not in force yet.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::common::{Named, number, time, whole};
use crate::config::field::Field;
use crate::config::raw::{RawAutoscale, RawConfig, RawThresholds};
use crate::config::report::Report;
use crate::config::tree::Mark;
use crate::config::types::Model;

/// Longest duration of anything: 100 years.
pub(super) const LONGEST: Duration = Duration::from_secs(36_500 * 86_400);
/// What a lifetime may be.
pub(super) const AT_LEAST_A_SECOND: RangeInclusive<Duration> = Duration::from_secs(1)..=LONGEST;
/// What a share may be.
pub(super) const A_SHARE: RangeInclusive<f64> = 0.0..=1.0;
/// What a percentage may be.
const PERCENT: RangeInclusive<f64> = 0.0..=100.0;

/// Checks them all.
pub(super) fn check(raw: &RawConfig, models: &Named<Model>, report: &mut Report) {
    auto_route(raw, models, report);
    stores(raw, report);
    if let Some(scale) = raw.autoscale.value() {
        autoscale(scale, report);
    }
    if let Some(privacy) = raw.privacy.value() {
        time(&privacy.retention, AT_LEAST_A_SECOND, report);
    }
    if let Some(slo) = raw.slo.value() {
        for share in [&slo.availability, &slo.error_rate, &slo.cache_hit_rate] {
            number(share, A_SHARE, report);
        }
        time(&slo.latency_avg, Duration::from_micros(1)..=LONGEST, report);
    }
    if let Some(page) = raw.page.value() {
        time(&page.interval, Duration::from_millis(100)..=Duration::from_secs(3600), report);
    }
}

/// The models of `routing.auto`. A default that is not in the list is off.
fn auto_route(raw: &RawConfig, models: &Named<Model>, report: &mut Report) {
    let Some(auto) = raw.routing.value().and_then(|routing| routing.auto.value()) else { return };
    let mut off = Vec::new();
    for (tier, field) in
        [("simple", &auto.simple), ("complex", &auto.complex), ("expert", &auto.expert)]
    {
        let Some((mark, model)) = field.placed() else { continue };
        if !mark.is_default() {
            if models.get("*").is_none() {
                models.refer("model", (mark, model), report);
            }
        } else if models.get(model).is_none() && models.is_complete() {
            off.push(tier);
        }
    }
    if !off.is_empty() {
        let off = off.join(", ");
        report.warn(format!(
            "`model: auto` has no tier {off}: the default of routing.auto is not among the models."
        ));
    }
}

fn stores(raw: &RawConfig, report: &mut Report) {
    let Some(store) = raw.store.value() else { return };
    let redis = |url: &str| url.starts_with("redis://") || url.starts_with("rediss://");
    text(&store.redis, redis, "expected a URL such as redis://127.0.0.1:6379/0", report);
    let postgres = |url: &str| url.starts_with("postgres://") || url.starts_with("postgresql://");
    text(&store.postgres, postgres, "expected a URL such as postgres://127.0.0.1/tollgate", report);
}

fn autoscale(scale: &RawAutoscale, report: &mut Report) {
    let min = whole(&scale.min, 1..=10_000, report);
    let max = whole(&scale.max, 1..=10_000, report);
    if min > max {
        report.error(placed(&scale.min, &scale.max), "autoscale.min is more than autoscale.max");
    }
    time(&scale.cooldown, Duration::ZERO..=LONGEST, report);
    let (Some(up), Some(down)) = (scale.up.value(), scale.down.value()) else { return };
    type Pick = fn(&RawThresholds) -> &Field<crate::config::raw::Number>;
    let percents: [(&str, Pick); 2] = [("cpu", |step| &step.cpu), ("memory", |step| &step.memory)];
    for (key, pick) in percents {
        let high = number(pick(up), PERCENT, report);
        let low = number(pick(down), PERCENT, report);
        if high.zip(low).is_some_and(|(high, low)| low >= high) {
            let message = format!("autoscale.down.{key} is not below autoscale.up.{key}");
            report.error(placed(pick(down), pick(up)), message);
        }
    }
    let high = whole(&up.queue, 1..=u32::MAX, report);
    let low = whole(&down.queue, 0..=u32::MAX, report);
    if low >= high {
        let message = "autoscale.down.queue is not below autoscale.up.queue";
        report.error(placed(&down.queue, &up.queue), message);
    }
}

/// Where an error about two keys stands: at the first that the file gives.
fn placed<T>(first: &Field<T>, second: &Field<T>) -> Mark {
    [first.mark(), second.mark()]
        .into_iter()
        .flatten()
        .find(|mark| !mark.is_default())
        .unwrap_or_default()
}

/// A text that must have a form; the error does not show it.
fn text(field: &Field<String>, form: impl Fn(&str) -> bool, expected: &str, report: &mut Report) {
    if let Some((mark, text)) = field.placed()
        && !form(text)
    {
        report.error(mark, expected);
    }
}
