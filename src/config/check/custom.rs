//! The servers of accounts' own.

use super::common::named;
use super::providers::parse_url;
use crate::config::field::Field;
use crate::config::raw::RawCustomModels;
use crate::config::report::Report;
use crate::config::types::CustomModels;

/// Checks `custom_models`.
pub(super) fn check(raw: &Field<RawCustomModels>, report: &mut Report) -> CustomModels {
    let listed = raw.value().and_then(|raw| raw.allow.value());
    let mut allow = Vec::new();
    for (mark, url) in listed.into_iter().flatten().filter_map(Field::placed) {
        match parse_url(url) {
            Ok(base) => allow.push(base),
            Err(reason) => {
                let example = named(mark, url);
                report.error(mark, format!("expected a URL, not {example}: {reason}"));
            }
        }
    }
    CustomModels { allow }
}
