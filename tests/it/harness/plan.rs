//! A plan and a class of the configuration, as a test says them.

use serde_json::{Map, Value, json};

/// One plan; what a test leaves out does not limit.
#[derive(Clone, Debug)]
pub(crate) struct Plan(Map<String, Value>);

impl Plan {
    pub(crate) fn named(name: &str) -> Self {
        let plan = json!({
            "name": name, "billing": "metered", "monthly_price": 0,
            "requests_per_month": "unlimited",
            "features": ["basic_suggestions", "confidence_analysis", "advanced_suggestions"],
        });
        Self(plan.as_object().cloned().unwrap_or_default())
    }

    /// Sets any key of the configuration.
    pub(crate) fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.0.insert(key.to_owned(), value.into());
        self
    }

    /// Requests in any 60 s.
    pub(crate) fn per_minute(self, limit: u32) -> Self {
        self.set("requests_per_minute", limit)
    }

    /// Requests in any 3,600 s.
    pub(crate) fn per_hour(self, limit: u32) -> Self {
        self.set("requests_per_hour", limit)
    }

    /// Requests at once.
    pub(crate) fn concurrent(self, limit: u32) -> Self {
        self.set("concurrent", limit)
    }

    /// Billed as `included`: no price within the quota.
    pub(crate) fn included(self) -> Self {
        self.set("billing", "included")
    }

    pub(crate) fn into_value(self) -> Value {
        Value::Object(self.0)
    }
}
