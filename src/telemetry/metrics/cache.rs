//! The metrics of the cache.

use std::sync::Arc;

use prometheus::{Counter, Gauge, GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::labels::Store;
use super::register::Register;
use crate::base::money::Money;
use crate::ledger::record::Savings;
use crate::telemetry::copy_on_write::CopyOnWrite;

/// The families of the cache.
pub(super) struct CacheFamilies {
    /// Look-ups by class and result (`hit`, `stale`, `miss`). A request that must not be
    /// answered from the cache is none.
    lookups: IntCounterVec,
    /// The share of look-ups since the start that were hits, by class.
    ratio: GaugeVec,
    /// The share that the configuration wants, by class.
    target: GaugeVec,
    /// Bytes that cached answers take, by tier.
    bytes: IntGaugeVec,
    /// What calls to providers would have cost that the cache made unnecessary.
    saved_by_cache: Counter,
    saved_by_coalescing: Counter,
    saved_by_batching: Counter,
    disk: DiskTier,
    classes: CopyOnWrite<Arc<str>, CacheSeries>,
}

/// What a look-up gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// A fresh answer.
    Hit,
    /// One past its time.
    Stale,
    /// None. One that stands in later for a failing provider's is none here.
    Miss,
}

/// The series of one class.
pub struct CacheSeries {
    hits: IntCounter,
    stale: IntCounter,
    misses: IntCounter,
    ratio: Gauge,
}

impl CacheSeries {
    /// Counts one look-up.
    pub fn looked_up(&self, result: Lookup) {
        match result {
            Lookup::Hit => self.hits.inc(),
            Lookup::Stale => self.stale.inc(),
            Lookup::Miss => self.misses.inc(),
        }
        let (hits, others) = (self.hits.get(), self.stale.get() + self.misses.get());
        self.ratio.set(share(hits, hits + others));
    }
}

#[expect(clippy::float_arithmetic, reason = "a metric's ratio is a float by its format")]
#[expect(clippy::cast_precision_loss, reason = "a ratio needs no more than a float's 53 bits")]
fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

impl CacheFamilies {
    pub(super) fn register(
        register: &Register<'_>,
        store_up: &IntGaugeVec,
    ) -> Result<Self, prometheus::Error> {
        let bytes = register.gauges("cache_bytes", "Bytes that cached answers take.", &["tier"])?;
        let saved = register.amounts(
            "saved_dollars_total",
            "What calls to providers would have cost that were not made, in dollars.",
            &["by"],
        )?;
        Ok(Self {
            lookups: register.counters(
                "cache_lookups_total",
                "Look-ups in the cache by result.",
                &["class", "result"],
            )?,
            ratio: register.shares(
                "cache_hit_ratio",
                "The share of look-ups since the start that were hits.",
                &["class"],
            )?,
            target: register.shares(
                "cache_hit_ratio_target",
                "The share of look-ups that are to be hits, as configured.",
                &["class"],
            )?,
            disk: DiskTier::register(register, &bytes, store_up)?,
            bytes,
            saved_by_cache: saved.with_label_values(&["cache"]),
            saved_by_coalescing: saved.with_label_values(&["coalesce"]),
            saved_by_batching: saved.with_label_values(&["batch"]),
            classes: CopyOnWrite::new(),
        })
    }

    /// See [`super::Metrics::cache`].
    pub(super) fn class(&self, class: &str) -> Arc<CacheSeries> {
        self.classes.get_or_insert_with(class, || {
            let series = CacheSeries {
                hits: self.lookups.with_label_values(&[class, "hit"]),
                stale: self.lookups.with_label_values(&[class, "stale"]),
                misses: self.lookups.with_label_values(&[class, "miss"]),
                ratio: self.ratio.with_label_values(&[class]),
            };
            (Arc::from(class), series)
        })
    }

    /// See [`super::Metrics::cache_target`].
    pub(super) fn set_target(&self, class: &str, target: Option<f64>) {
        match target {
            Some(target) => self.target.with_label_values(&[class]).set(target),
            // A class that had a target before a reload has none any more.
            None => drop(self.target.remove_label_values(&[class])),
        }
    }

    /// See [`super::Metrics::cache_level`].
    pub(super) fn level(&self, tier: &str) -> Level {
        Level(self.bytes.with_label_values(&[tier]))
    }

    /// See [`super::Metrics::cache_disk`].
    pub(super) fn disk(&self) -> DiskTier {
        self.disk.clone()
    }

    /// See [`super::Metrics::saved`].
    pub(super) fn save(&self, saved: &Savings) {
        for (counter, amount) in [
            (&self.saved_by_cache, saved.cache),
            (&self.saved_by_coalescing, saved.coalesce),
            (&self.saved_by_batching, saved.batch),
        ] {
            if amount > Money::ZERO {
                counter.inc_by(amount.as_f64());
            }
        }
    }
}

/// Why an answer was not written to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Unwritten {
    /// More answers, or larger ones, came than can be written.
    QueueFull,
    /// It is too large to be kept there.
    TooLarge,
    /// There was a purge before it was written.
    Purged,
    /// It could not be sealed or written.
    Failed,
}

/// The metrics of the disk tier; clones are the same.
#[derive(Clone)]
pub struct DiskTier {
    /// Bytes that its answers take.
    bytes: IntGauge,
    /// Answers that were found there and not in memory.
    reads: IntCounter,
    /// Answers there that could not be opened: damaged, or their key is destroyed.
    unreadable: IntCounter,
    /// Answers that are in memory alone: `queue_full`, `too_large`, `purged`,
    /// `failed`.
    unwritten: IntCounterVec,
    /// Whether the disk could be read and written when that was last tried.
    store_up: IntGaugeVec,
}

impl DiskTier {
    fn register(
        register: &Register<'_>,
        bytes: &IntGaugeVec,
        store_up: &IntGaugeVec,
    ) -> Result<Self, prometheus::Error> {
        let unwritten = register.counters(
            "cache_unwritten_total",
            "Answers that are kept in memory and not on the disk, by the reason.",
            &["reason"],
        )?;
        for reason in <Unwritten as strum::VariantArray>::VARIANTS {
            unwritten.with_label_values(&[<&'static str>::from(reason)]).inc_by(0);
        }
        Ok(Self {
            bytes: bytes.with_label_values(&["disk"]),
            reads: register.counter(
                "cache_disk_reads_total",
                "Answers that were found on the disk and not in memory.",
            )?,
            unreadable: register.counter(
                "cache_unreadable_total",
                "Answers on the disk that could not be opened: damaged, or their key is destroyed.",
            )?,
            unwritten,
            store_up: store_up.clone(),
        })
    }

    /// Shows the bytes that its answers take.
    pub fn bytes(&self, bytes: u64) {
        self.bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Counts an answer that was found there.
    pub fn read(&self) {
        self.reads.inc();
    }

    /// Counts an answer that could not be opened.
    pub fn unreadable(&self) {
        self.unreadable.inc();
    }

    /// Counts an answer that was not written.
    pub fn unwritten(&self, reason: Unwritten) {
        self.unwritten.with_label_values(&[<&'static str>::from(reason)]).inc();
    }

    /// Shows whether it can be read and written.
    pub fn is_up(&self, up: bool) {
        let store = <&'static str>::from(Store::Cache);
        self.store_up.with_label_values(&[store]).set(i64::from(up));
    }
}

/// How many bytes something takes; clones show the same.
#[derive(Clone, Debug)]
pub struct Level(IntGauge);

impl Level {
    /// More by `bytes`.
    pub fn add(&self, bytes: u32) {
        self.0.add(i64::from(bytes));
    }

    /// Less by `bytes`.
    pub fn sub(&self, bytes: u32) {
        self.0.sub(i64::from(bytes));
    }

    /// Bytes now.
    pub fn get(&self) -> u64 {
        u64::try_from(self.0.get()).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Lookup, Metrics};
    use crate::base::money::Money;
    use crate::ledger::record::Savings;

    #[test]
    fn look_ups_their_ratio_and_what_they_saved_are_shown() {
        let metrics = Metrics::new(&[]).unwrap();
        metrics.cache_target("docs", Some(0.6));
        metrics.cache_target("gone", Some(0.6));
        metrics.cache_target("gone", None);
        let series = metrics.cache("docs");
        for result in [Lookup::Hit, Lookup::Miss, Lookup::Stale, Lookup::Hit] {
            series.looked_up(result);
        }
        let amount = |text: &str| text.parse::<Money>().unwrap();
        metrics.saved(&Savings { cache: amount("0.25"), ..Savings::default() });
        let (coalesce, batch) = (amount("0.5"), amount("0.125"));
        metrics.saved(&Savings { cache: Money::ZERO, coalesce, batch });
        let level = metrics.cache_level("memory");
        level.add(700);
        level.clone().sub(200);
        assert_eq!(level.get(), 500);
        let text = metrics.render().unwrap();
        for line in [
            "tollgate_cache_lookups_total{class=\"docs\",result=\"hit\"} 2",
            "tollgate_cache_lookups_total{class=\"docs\",result=\"stale\"} 1",
            "tollgate_cache_lookups_total{class=\"docs\",result=\"miss\"} 1",
            "tollgate_cache_hit_ratio{class=\"docs\"} 0.5",
            "tollgate_cache_hit_ratio_target{class=\"docs\"} 0.6",
            "tollgate_cache_bytes{tier=\"memory\"} 500",
            "tollgate_saved_dollars_total{by=\"cache\"} 0.25",
            "tollgate_saved_dollars_total{by=\"coalesce\"} 0.5",
            "tollgate_saved_dollars_total{by=\"batch\"} 0.125",
        ] {
            assert!(text.lines().any(|shown| shown == line), "no {line} in {text}");
        }
        assert!(!text.contains("gone"));
    }
}
