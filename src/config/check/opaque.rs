//! The lane of endpoints that Tollgate does not understand.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use ahash::AHashMap;

use super::common::{Named, size, time};
use crate::base::money::Money;
use crate::config::field::Field;
use crate::config::raw::{Price, RawOpaque, RawOwnership, RawUnknown};
use crate::config::report::Report;
use crate::config::types::{Opaque, Ownership, Provider};

/// How long a WebSocket may be silent.
const IDLE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(86_400);
/// Largest message of a WebSocket, in bytes: there are events of a megabyte.
const MESSAGE: RangeInclusive<u64> = 1024..=1024 * 1024 * 1024;

/// Checks `opaque`. A default provider that is not there turns the lane off.
pub(super) fn check(
    raw: &Field<RawOpaque>,
    providers: &Named<Provider>,
    report: &mut Report,
) -> Opaque {
    let none = RawOpaque::default();
    let raw = raw.value().unwrap_or(&none);
    Opaque {
        provider: provider(&raw.provider, providers, report),
        ownership: match raw.ownership.or(RawOwnership::Enforce) {
            RawOwnership::Enforce => Ownership::Enforce,
            RawOwnership::Off => Ownership::Off,
        },
        allow_unknown: raw.unknown.or(RawUnknown::Deny) == RawUnknown::Allow,
        price: raw.price.value().map_or(Money::ZERO, |price| price.0),
        prices: raw.prices.value().map(prices).unwrap_or_default(),
        socket_idle: time(&raw.socket_idle, IDLE, report),
        socket_message_limit: size(&raw.socket_message_limit, MESSAGE, report),
    }
}

fn prices(raw: &BTreeMap<String, Field<Price>>) -> AHashMap<String, Money> {
    let price = |price: &Field<Price>| price.value().map_or(Money::ZERO, |price| price.0);
    raw.iter().map(|(root, field)| (root.clone(), price(field))).collect()
}

fn provider(
    field: &Field<String>,
    providers: &Named<Provider>,
    report: &mut Report,
) -> Option<Arc<Provider>> {
    let (mark, name) = field.placed()?;
    if !mark.is_default() {
        providers.refer("provider", (mark, name), report);
    } else if providers.get(name).is_none() && providers.is_complete() {
        report.warn(format!(
            "The opaque lane is off: its default provider {name} is not among the providers."
        ));
    }
    providers.get(name).cloned()
}
