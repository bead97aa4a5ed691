//! Texts that every record repeats, allocated once.

use std::sync::Arc;

use crate::config::Tier;
use crate::intake::endpoint::Endpoint;
use crate::route::catalog::Route;

/// The texts.
#[derive(Debug)]
pub struct Names {
    /// `ai_api`.
    pub service: Arc<str>,
    /// `bypass`.
    pub bypass: Arc<str>,
    paths: [Arc<str>; Endpoint::ALL.len()],
    tiers: [Arc<str>; 3],
}

impl Default for Names {
    fn default() -> Self {
        Self {
            service: Arc::from("ai_api"),
            bypass: Arc::from("bypass"),
            paths: Endpoint::ALL.map(|endpoint| Arc::from(endpoint.path())),
            tiers: [Tier::Simple, Tier::Complex, Tier::Expert].map(|tier| Arc::from(tier.as_str())),
        }
    }
}

impl Names {
    /// The path of `endpoint`.
    pub fn path(&self, endpoint: Endpoint) -> Arc<str> {
        self.paths.get(endpoint.index()).cloned().unwrap_or_default()
    }

    /// The name of `tier`.
    pub fn tier(&self, tier: Tier) -> Arc<str> {
        self.tiers.get(tier as usize).cloned().unwrap_or_default()
    }

    /// The model that was asked for; shared with the route's where it is the
    /// same.
    pub fn model_asked(&self, asked: Option<&str>, route: &Route) -> Arc<str> {
        match asked {
            Some(asked) if asked == &*route.model => route.model.clone(),
            Some(asked) => Arc::from(asked),
            None => Arc::default(),
        }
    }
}
