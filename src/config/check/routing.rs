//! How requests are routed, and when providers are looked at.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::common::{time, whole};
use super::sections::TIMEOUT;
use crate::base::factor::Factor;
use crate::config::field::Field;
use crate::config::raw::{
    Decimal, RawBreaker, RawPrefer, RawProbe, RawProbeSettings, RawRouting, RawUnsupported,
};
use crate::config::report::Report;
use crate::config::types::{BreakerRule, Prefer, Probe, Routing};

/// Most retries.
const MOST_RETRIES: u32 = 10;
/// Most calls that a breaker remembers.
const MOST_CALLS: u32 = 60;
/// How often a provider may be looked at.
const INTERVAL: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(86_400);
/// How long a probe may take where the file does not say.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// What a probe fetches where the file does not say.
const PROBE_PATH: &str = "/models";

/// Checks `routing`, but for `auto`.
pub(super) fn check(raw: &Field<RawRouting>, report: &mut Report) -> Routing {
    let none = RawRouting::default();
    let raw = raw.value().unwrap_or(&none);
    Routing {
        prefer: prefer(&raw.prefer).unwrap_or(Prefer::Order),
        retries: whole(&raw.retries, 0..=MOST_RETRIES, report),
        retry_budget: share(&raw.retry_budget, report).unwrap_or(Factor::ZERO),
        breaker: breaker(&raw.breaker, report),
        connect_timeout: time(&raw.connect_timeout, TIMEOUT, report),
        timeout: time(&raw.timeout, TIMEOUT, report),
        first_byte_timeout: time(&raw.first_byte_timeout, TIMEOUT, report),
        chunk_timeout: time(&raw.chunk_timeout, TIMEOUT, report),
        public_model_name: raw.public_model_name.or(true),
        drop_unsupported: raw.on_unsupported.or(RawUnsupported::Refuse) == RawUnsupported::Drop,
    }
}

/// How a target is chosen, where it is said.
pub(super) fn prefer(field: &Field<RawPrefer>) -> Option<Prefer> {
    Some(match field.value()? {
        RawPrefer::Order => Prefer::Order,
        RawPrefer::Weight => Prefer::Weight,
        RawPrefer::Latency => Prefer::Latency,
        RawPrefer::Cost => Prefer::Cost,
    })
}

fn breaker(raw: &Field<RawBreaker>, report: &mut Report) -> BreakerRule {
    let none = RawBreaker::default();
    let raw = raw.value().unwrap_or(&none);
    let calls = whole(&raw.calls, 1..=MOST_CALLS, report);
    let minimum = whole(&raw.minimum, 1..=MOST_CALLS, report);
    let given = [&raw.calls, &raw.minimum].map(|field| field.value().map(|count| count.0));
    let in_range =
        |count: &Option<u64>| count.is_some_and(|it| (1..=u64::from(MOST_CALLS)).contains(&it));
    let mark = raw.minimum.mark().filter(|mark| !mark.is_default()).or(raw.calls.mark());
    if minimum > calls
        && given.iter().all(in_range)
        && let Some(mark) = mark
    {
        report.error(mark, "routing.breaker.minimum is more than routing.breaker.calls");
    }
    let failures = share(&raw.failures, report).unwrap_or(Factor::ONE);
    if failures == Factor::ZERO
        && let Some(mark) = raw.failures.mark()
    {
        report.error(mark, "must be above 0: no call would ever be made");
    }
    BreakerRule {
        calls,
        minimum: minimum.min(calls),
        failures,
        open: time(&raw.open, TIMEOUT, report),
        forget: time(&raw.forget, TIMEOUT, report),
    }
}

/// A share; `None` where there is no good value.
fn share(field: &Field<Decimal>, report: &mut Report) -> Option<Factor> {
    let (mark, share) = field.placed()?;
    if share.0 > Factor::ONE {
        report.error(mark, "must be from 0 to 1");
        return None;
    }
    Some(share.0)
}

/// Checks `providers[].probe`.
pub(super) fn probe(field: &Field<RawProbe>, report: &mut Report) -> Option<Probe> {
    let (mark, raw) = field.placed()?;
    let settings = match raw {
        RawProbe::Every(every) => {
            &RawProbeSettings { interval: Field::Set(mark, *every), ..RawProbeSettings::default() }
        }
        RawProbe::Settings(settings) => settings,
    };
    if let Field::Absent | Field::Null(_) = settings.interval {
        report.error(settings.interval.mark().unwrap_or(mark), "`interval` is missing here");
    }
    let path = settings.path.placed().map(|(mark, path)| (mark, path.as_str()));
    if let Some((mark, path)) = path
        && !(path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic()))
    {
        report.error(mark, "a path begins with / and has visible ASCII characters alone");
    }
    Some(Probe {
        interval: time(&settings.interval, INTERVAL, report),
        path: path.map_or(PROBE_PATH, |(_, path)| path).into(),
        timeout: match settings.timeout.mark() {
            Some(_) => time(&settings.timeout, TIMEOUT, report),
            None => PROBE_TIMEOUT,
        },
    })
}
