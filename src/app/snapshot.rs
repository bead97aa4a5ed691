//! What a configuration makes: replaced whole, never changed in place.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use ahash::AHashMap;

use crate::admission::quota::Calendar;
use crate::base::clock::Clock;
use crate::config::{Config, Dialect, Provider};
use crate::route::catalog::Catalog;
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
    /// Where it is.
    pub origin: Arc<Origin>,
    /// Its metrics.
    pub series: Arc<ProviderSeries>,
    /// Whether it does not take `stream_options.include_usage`: as configured,
    /// or learned from a refusal.
    pub refuses_usage: AtomicBool,
}

impl Snapshot {
    /// What `config` makes.
    pub fn new(config: Arc<Config>, metrics: &Metrics, clock: &Arc<dyn Clock>) -> Self {
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
            let reach = Reach {
                origin: Origin::new(
                    base,
                    &provider.api_key,
                    &provider.manner,
                    timeouts,
                    clock.clone(),
                ),
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
