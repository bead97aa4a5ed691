//! The lane of endpoints that Tollgate does not understand.

use std::sync::Arc;

use super::common::Named;
use crate::base::money::Money;
use crate::config::field::Field;
use crate::config::raw::{RawOpaque, RawOwnership, RawUnknown};
use crate::config::report::Report;
use crate::config::types::{Opaque, Ownership, Provider};

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
    }
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
