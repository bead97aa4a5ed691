//! What the callers bear adds up to what the provider charges.

use serde_json::Value;
use tollgate::base::money::Money;

use super::usage;
use crate::harness::provider::Provider;

/// What the provider charges for a call with this usage, at $0.15, $0.075 and $0.60 per
/// million.
pub(super) fn charge(usage: &Value) -> Money {
    let figure = |pointer: &str| usage.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
    let cached = figure("/prompt_tokens_details/cached_tokens");
    let price = |dollars: &str| dollars.parse::<Money>().unwrap().picos() / 1_000_000;
    let picos = [
        (figure("/prompt_tokens") - cached, "0.15"),
        (cached, "0.075"),
        (figure("/completion_tokens"), "0.60"),
    ];
    let picos = picos.iter().map(|(tokens, dollars)| i128::from(*tokens) * price(dollars)).sum();
    Money::from_picos(picos)
}

pub(super) fn costs(records: &[Value]) -> Money {
    records.iter().map(|record| record["cost"].as_str().unwrap().parse::<Money>().unwrap()).sum()
}

/// That the costs of `records` are what the provider charges for all its calls, each of
/// which it has answered.
#[track_caller]
pub(super) fn add_up(provider: &Provider, records: &[Value]) {
    let charged: Money = provider.calls().iter().map(|call| charge(&usage(&call.json()))).sum();
    assert_eq!(costs(records), charged, "{records:#?}");
}
