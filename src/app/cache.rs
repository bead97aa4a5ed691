//! The making of the response cache.

use std::io;
use std::sync::Arc;

use crate::app::derive_cache_key;
use crate::base::clock::Clock;
use crate::cache::{Cache, disk};
use crate::config::Config;
use crate::store::blobs::FileBlobs;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::metrics::labels::Store;
use crate::vault::Vault;

/// The cache that `config` makes room for; `secret` is that of the data directory.
/// A disk tier that cannot be had is left out: answers are then kept in memory
/// alone.
///
/// # Errors
/// Those of making a thread.
pub(super) fn open(
    config: &Config,
    secret: &str,
    vault: &Arc<Vault>,
    clock: &Arc<dyn Clock>,
    metrics: &Arc<Metrics>,
) -> io::Result<Arc<Cache>> {
    let level = metrics.cache_level("memory");
    let cache = Cache::new(derive_cache_key(secret), config.cache.memory, level);
    let directory = &config.store.path;
    if config.cache.disk == 0 {
        if let Err(error) = FileBlobs::discard(directory) {
            tracing::warn!(%error, "the former cache on the disk cannot be removed");
        }
        return Ok(Arc::new(cache));
    }
    let blobs = match FileBlobs::open(directory, config.cache.disk) {
        Ok(blobs) => Arc::new(blobs),
        Err(error) => {
            tracing::error!(%error, "the cache has no room on the disk");
            metrics.store_up(Store::Cache, false);
            return Ok(Arc::new(cache));
        }
    };
    let (vault, clock) = (vault.clone(), clock.clone());
    let parts = disk::Parts { blobs, vault, clock, metrics: metrics.cache_disk() };
    Ok(Arc::new(cache.over(parts)?))
}
