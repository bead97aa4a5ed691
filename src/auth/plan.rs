//! The limits of an account by its plan.

use crate::config::{Plan, UserLimits};

/// The figures that hold for an account of `plan`: the plan's own where it has
/// one, otherwise `defaults`' figure of the same window.
pub fn effective_limits(plan: &Plan, defaults: &UserLimits) -> UserLimits {
    UserLimits {
        per_minute: plan.requests_per_minute.unwrap_or(defaults.per_minute),
        per_hour: plan.requests_per_hour.unwrap_or(defaults.per_hour),
        per_day: plan.requests_per_day.unwrap_or(defaults.per_day),
        concurrent: plan.concurrent.unwrap_or(defaults.concurrent),
    }
}
