//! Texts that every record repeats, allocated once.

use std::sync::Arc;

use crate::config::Tier;
use crate::exchange::CacheResult;
use crate::intake::endpoint::Endpoint;
use crate::route::catalog::Route;

/// The texts.
#[derive(Debug)]
pub struct Names {
    /// `ai_api`.
    pub service: Arc<str>,
    caches: [Arc<str>; CacheResult::ALL.len()],
    paths: [Arc<str>; Endpoint::ALL.len()],
    tiers: [Arc<str>; 3],
}

impl Default for Names {
    fn default() -> Self {
        Self {
            service: Arc::from("ai_api"),
            caches: CacheResult::ALL.map(|result| Arc::from(result.as_str())),
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

    /// The name of a result of the cache.
    pub fn cache(&self, result: CacheResult) -> Arc<str> {
        self.caches.get(result as usize).cloned().unwrap_or_default()
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
