//! Who comes before whom.

use crate::config::Plan;

/// The priority that a plan gives its calls, the first first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// The plan names `dedicated_instances`; reserved slots are for these.
    Dedicated,
    /// The plan names `priority_support`.
    Preferred,
    /// Any other plan, one that is not gated by features at all included.
    Standard,
}

impl Priority {
    /// Every priority, the first first.
    pub const ALL: [Self; 3] = [Self::Dedicated, Self::Preferred, Self::Standard];

    /// The priority of calls under `plan`.
    pub fn of(plan: &Plan) -> Self {
        if plan.is_dedicated() {
            Self::Dedicated
        } else if plan.has_priority() {
            Self::Preferred
        } else {
            Self::Standard
        }
    }

    /// The value of the label `priority`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dedicated => "dedicated",
            Self::Preferred => "preferred",
            Self::Standard => "standard",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn plan(features: Option<&[&str]>) -> Plan {
        let features = features.map(|names| names.iter().map(|name| Arc::from(*name)).collect());
        Plan { features, ..Plan::nothing("any") }
    }

    #[test]
    fn a_priority_is_named_and_never_comes_of_saying_nothing() {
        for (features, priority) in [
            (None, Priority::Standard),
            (Some(&[][..]), Priority::Standard),
            (Some(&["basic_suggestions"][..]), Priority::Standard),
            (Some(&["priority_support"][..]), Priority::Preferred),
            (Some(&["priority_support", "dedicated_instances"][..]), Priority::Dedicated),
            (Some(&["dedicated_instances"][..]), Priority::Dedicated),
        ] {
            assert_eq!(Priority::of(&plan(features)), priority, "{features:?}");
        }
        assert!(Priority::ALL.is_sorted());
    }
}
