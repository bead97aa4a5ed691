//! Models and providers of accounts' own.

use crate::config::types::BaseUrl;

/// The feature that a plan must have for them.
pub const CUSTOM_MODELS: &str = "custom_models";

/// Models and providers of accounts' own.
#[derive(Clone, Debug, Default)]
pub struct CustomModels {
    /// Servers that accounts may name besides those that are public and `https`.
    pub allow: Vec<BaseUrl>,
}

impl CustomModels {
    /// Whether the server of `base` is one of those.
    pub fn allows(&self, base: &BaseUrl) -> bool {
        let same = |allowed: &BaseUrl| {
            allowed.tls == base.tls
                && allowed.port == base.port
                && allowed.host.eq_ignore_ascii_case(&base.host)
        };
        self.allow.iter().any(same)
    }
}
