//! The limits of an account by its plan.

use crate::config::{Plan, UserLimits};
use crate::store::accounts::Overrides;

/// The figures that hold for an account of `plan`: its own where it has one,
/// else the plan's, otherwise `defaults`' figure of the same window.
pub fn effective_limits(plan: &Plan, own: &Overrides, defaults: &UserLimits) -> UserLimits {
    let pick = |own: Option<u32>, of_plan: Option<u32>, usual| own.or(of_plan).unwrap_or(usual);
    UserLimits {
        per_minute: pick(own.requests_per_minute, plan.requests_per_minute, defaults.per_minute),
        per_hour: pick(own.requests_per_hour, plan.requests_per_hour, defaults.per_hour),
        per_day: pick(own.requests_per_day, plan.requests_per_day, defaults.per_day),
        concurrent: pick(own.concurrent, plan.concurrent, defaults.concurrent),
    }
}
