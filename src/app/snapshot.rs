//! What a configuration makes: replaced whole, never changed in place.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use ahash::AHashMap;

use crate::admission::quota::Calendar;
use crate::base::clock::Clock;
use crate::config::{Config, Dialect, Provider};
use crate::route::breaker::Change;
use crate::route::catalog::Catalog;
use crate::route::health::Health;
use crate::telemetry::metrics::{Metrics, ProviderSeries};
use crate::upstream::{Origin, Timeouts};

/// Everything that follows from one configuration. A request keeps the one that
/// it began with to its end.
pub struct Snapshot {
    /// The configuration.
    pub config: Arc<Config>,
    /// The models.
    pub catalog: Catalog,
    /// Each provider that is on and has an address.
    pub providers: AHashMap<Arc<str>, Arc<Reach>>,
    /// The months that quotas count in.
    pub calendar: Calendar,
}

/// A provider that can be called.
pub struct Reach {
    /// The provider.
    pub provider: Arc<Provider>,
    /// Where it is, with its first key.
    pub origin: Arc<Origin>,
    /// The same with each further key.
    pub further: Vec<Arc<Origin>>,
    /// How it fares; outlives a reload that leaves its address and keys alone.
    pub health: Arc<Health>,
    /// Its metrics.
    pub series: Arc<ProviderSeries>,
    /// Whether it does not take `stream_options.include_usage`: as configured,
    /// or learned from a refusal.
    pub refuses_usage: AtomicBool,
}

impl Reach {
    /// Where it is, with key number `key`, from 0.
    pub fn origin_with(&self, key: usize) -> &Arc<Origin> {
        key.checked_sub(1).and_then(|key| self.further.get(key)).unwrap_or(&self.origin)
    }

    /// Shows that its breaker has changed.
    pub fn show(&self, metrics: &Metrics, change: Change) {
        let provider = &self.provider.name;
        match change {
            Change::None => return,
            Change::Opened => tracing::warn!(%provider, "calls fail: the breaker opens"),
            Change::Reopened => {
                tracing::debug!(%provider, "it fails still: the breaker stays open")
            }
            Change::Closed => tracing::info!(%provider, "the breaker closes"),
        }
        if change == Change::Opened {
            metrics.health().breaker_opened(provider);
        }
        self.series.set_up(change == Change::Closed);
    }

    /// Whether requests to `other` are the same as to this one.
    fn is_still(&self, other: &Provider) -> bool {
        let own = &self.provider;
        own.base_url == other.base_url
            && own.api_key == other.api_key
            && own.further_keys == other.further_keys
    }
}

impl Snapshot {
    /// What `config` makes; of what was known `before`, what is still true is kept.
    pub fn new(
        config: Arc<Config>,
        metrics: &Metrics,
        clock: &Arc<dyn Clock>,
        before: Option<&Self>,
    ) -> Self {
        let timeouts = Timeouts {
            connect: config.routing.connect_timeout,
            first_byte: config.routing.first_byte_timeout,
            chunk: config.routing.chunk_timeout,
        };
        let on = |provider: &&Arc<Provider>| {
            provider.off.is_none() && provider.dialect != Dialect::Sandbox
        };
        let reach = |provider: &Arc<Provider>| {
            let base = provider.base_url.clone()?;
            let origin =
                |key| Origin::new(base.clone(), key, &provider.manner, timeouts, clock.clone());
            let known = before.and_then(|before| before.providers.get(&provider.name));
            let known = known.filter(|known| known.is_still(provider));
            let keys = provider.further_keys.len() + 1;
            let reach = Reach {
                provider: provider.clone(),
                origin: origin(&provider.api_key),
                further: provider.further_keys.iter().map(origin).collect(),
                health: known.map_or_else(|| Arc::new(Health::new(keys)), |it| it.health.clone()),
                series: metrics.provider(&provider.name),
                refuses_usage: AtomicBool::new(!provider.stream_usage),
            };
            Some((provider.name.clone(), Arc::new(reach)))
        };
        for provider in &config.providers {
            metrics.provider(&provider.name).set_up(provider.off.is_none());
        }
        for class in &config.classes {
            metrics.cache_target(&class.name, class.cache.and_then(|cache| cache.hit_rate_target));
        }
        Self {
            catalog: Catalog::new(&config),
            providers: config.providers.iter().filter(on).filter_map(reach).collect(),
            calendar: Calendar::new(config.timezone.clone()),
            config,
        }
    }
}
