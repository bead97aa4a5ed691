//! What the cache and sharing spared: calls to providers that were not made.

use std::ops::AddAssign;

use crate::base::money::Money;
use crate::ledger::digest::Digest;

/// What calls would have cost that were not made, in dollars, by what spared them.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, minicbor::Encode, minicbor::Decode, serde::Serialize,
)]
#[cbor(map)]
pub struct Savings {
    /// An answer was given again.
    #[n(0)]
    pub cache: Money,
    /// An equal request's call was shared.
    #[n(1)]
    pub coalesce: Money,
    /// Several requests were one call.
    #[n(2)]
    pub batch: Money,
}

/// What the cache had to do with some records.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, minicbor::Encode, minicbor::Decode, serde::Serialize,
)]
#[cbor(array)]
pub struct CacheSum {
    /// Requests whose answers were looked up.
    #[n(0)]
    pub lookups: u64,
    /// Of those, requests that had a fresh answer.
    #[n(1)]
    pub hits: u64,
    /// Of those, requests that had one past its time.
    #[n(2)]
    pub stale: u64,
    /// Requests that joined a running call.
    #[n(3)]
    pub coalesced: u64,
    /// Requests that were one call with others.
    #[n(4)]
    pub batched: u64,
    /// What that spared.
    #[n(5)]
    pub saved: Savings,
}

impl CacheSum {
    /// The sum of one record.
    pub(super) fn of(record: &Digest<'_>) -> Self {
        let is = |result: &str| u64::from(record.cache == result);
        let (hits, stale) = (is("hit"), is("stale"));
        let (coalesced, batched) = (is("coalesced"), is("batched"));
        // Who shares a call has looked the answer up where it may be kept.
        let kept = u64::from(record.cache_key.is_some());
        Self {
            lookups: hits + stale + is("miss") + kept * (coalesced + batched),
            hits,
            stale,
            coalesced,
            batched,
            saved: record.saved.unwrap_or_default(),
        }
    }
}

impl AddAssign for Savings {
    fn add_assign(&mut self, more: Self) {
        self.cache += more.cache;
        self.coalesce += more.coalesce;
        self.batch += more.batch;
    }
}

impl AddAssign for CacheSum {
    fn add_assign(&mut self, more: Self) {
        self.lookups += more.lookups;
        self.hits += more.hits;
        self.stale += more.stale;
        self.coalesced += more.coalesced;
        self.batched += more.batched;
        self.saved += more.saved;
    }
}
