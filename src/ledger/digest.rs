//! The part of a record that sums, windows and quotas need, read without a copy.

use std::ops::Range;

use crate::base::clock::Timestamp;
use crate::base::id::RecordId;
use crate::base::money::Money;
use crate::ledger::codec::timestamp;
use crate::ledger::record::{Outcome, Tokens, UsageRecord};
use crate::ledger::savings::{CacheSum, Savings};

/// What most readers want of a [`UsageRecord`]; fields as there.
#[derive(Clone, Copy, Debug, PartialEq, minicbor::Decode)]
#[cbor(map)]
pub struct Digest<'b> {
    /// See [`UsageRecord::id`].
    #[n(0)]
    pub id: RecordId,
    /// See [`UsageRecord::time`].
    #[n(1)]
    #[cbor(decode_with = "timestamp::decode")]
    pub time: Timestamp,
    /// See [`UsageRecord::request_id`].
    #[b(2)]
    pub request_id: &'b str,
    /// See [`UsageRecord::account`].
    #[b(3)]
    pub account: &'b str,
    /// See [`UsageRecord::key_id`].
    #[b(4)]
    pub key_id: &'b str,
    /// See [`UsageRecord::plan`].
    #[b(5)]
    pub plan: &'b str,
    /// See [`UsageRecord::endpoint`].
    #[b(7)]
    pub endpoint: &'b str,
    /// See [`UsageRecord::model_used`].
    #[b(10)]
    pub model_used: &'b str,
    /// See [`UsageRecord::outcome`].
    #[n(14)]
    pub outcome: Outcome,
    /// See [`UsageRecord::cache`].
    #[b(15)]
    pub cache: &'b str,
    /// See [`UsageRecord::quantity`].
    #[n(19)]
    pub quantity: u32,
    /// See [`UsageRecord::price`].
    #[n(22)]
    pub price: Money,
    /// See [`UsageRecord::cost`].
    #[n(23)]
    pub cost: Money,
    /// See [`UsageRecord::tokens`].
    #[n(25)]
    pub tokens: Tokens,
    /// See [`UsageRecord::duration_ms`].
    #[n(29)]
    pub duration_ms: u64,
    /// See [`UsageRecord::first_byte_ms`].
    #[n(30)]
    pub first_byte_ms: Option<u64>,
    /// See [`UsageRecord::prepaid`].
    #[n(41)]
    #[cbor(default)]
    pub prepaid: bool,
    /// See [`UsageRecord::cache_key`].
    #[b(32)]
    pub cache_key: Option<&'b str>,
    /// See [`UsageRecord::saved`].
    #[n(45)]
    pub saved: Option<Savings>,
    /// See [`UsageRecord::session`].
    #[n(60)]
    pub session: Option<RecordId>,
}

impl<'b> Digest<'b> {
    /// The record in `payload`; none if it holds something else.
    pub(super) fn read(payload: &'b [u8]) -> Option<Self> {
        minicbor::decode(payload).ok()
    }

    pub(super) fn of(record: &'b UsageRecord) -> Self {
        Self {
            id: record.id,
            time: record.time,
            request_id: &record.request_id,
            account: &record.account,
            key_id: &record.key_id,
            plan: &record.plan,
            endpoint: &record.endpoint,
            model_used: &record.model_used,
            outcome: record.outcome,
            cache: &record.cache,
            quantity: record.quantity,
            price: record.price,
            cost: record.cost,
            tokens: record.tokens,
            duration_ms: record.duration_ms,
            first_byte_ms: record.first_byte_ms,
            prepaid: record.prepaid,
            cache_key: record.cache_key.as_deref(),
            saved: record.saved,
            session: record.session,
        }
    }

    /// Whether the record goes on with a session, so that it is no request.
    pub fn goes_on(&self) -> bool {
        self.session.is_some_and(|first| first != self.id)
    }

    /// The sum of this record alone.
    pub(super) fn sum(&self) -> Sum<'b> {
        Sum {
            account: self.account,
            key_id: self.key_id,
            endpoint: self.endpoint,
            model_used: self.model_used,
            requests: u64::from(!self.goes_on()),
            quantity: self.quantity as u64,
            tokens: self.tokens,
            price: self.price,
            cost: self.cost,
            cache: CacheSum::of(self),
        }
    }

    /// What was paid from the account's balance, if anything was.
    pub(super) fn paid(&self) -> Option<Money> {
        Some(self.price).filter(|price| self.prepaid && !price.is_zero())
    }

    /// The record of an answer that was written down but not made durable, so
    /// that it was not given out: nothing is charged.
    pub(super) const fn voided(self) -> Self {
        Self {
            outcome: Outcome::InternalError,
            quantity: 0,
            price: Money::ZERO,
            saved: None,
            ..self
        }
    }
}

/// What some records of one account, key, class and model come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sum<'s> {
    /// See [`UsageRecord::account`].
    pub account: &'s str,
    /// See [`UsageRecord::key_id`].
    pub key_id: &'s str,
    /// See [`UsageRecord::endpoint`].
    pub endpoint: &'s str,
    /// See [`UsageRecord::model_used`].
    pub model_used: &'s str,
    /// How many requests, charged or not.
    pub requests: u64,
    /// How many of them are charged.
    pub quantity: u64,
    /// Their tokens.
    pub tokens: Tokens,
    /// What the account owes for them.
    pub price: Money,
    /// What providers charge for them.
    pub cost: Money,
    /// What the cache had to do with them.
    pub cache: CacheSum,
}

/// Takes sums.
type EachSum<'r> = &'r mut dyn FnMut(&Sum<'_>);
/// Takes what an account paid from its balance.
type EachPaid<'r> = &'r mut dyn FnMut(&str, Money);
/// Takes single records.
type EachRecord<'r> = &'r mut dyn FnMut(&Digest<'_>);

/// What the opening of a ledger gives out, so that counters can be rebuilt.
///
/// Sums come from the index and cost no reading of single records; every record
/// whose time lies in their period is in exactly one of them. So do payments
/// from balances, which are given of all time. Single records
/// are read from the journal: ask for no more of the past than a window holds.
#[must_use]
pub struct Replay<'r> {
    pub(super) sums: Option<(Range<Timestamp>, EachSum<'r>)>,
    pub(super) paid: Option<EachPaid<'r>>,
    pub(super) records: Option<(Timestamp, EachRecord<'r>)>,
}

impl<'r> Replay<'r> {
    /// Gives out nothing.
    pub const fn none() -> Self {
        Self { sums: None, paid: None, records: None }
    }

    /// Gives `each` the sums over the records of `period`, its end excluded:
    /// several for one account, in no particular order.
    pub fn sums(self, period: Range<Timestamp>, each: EachSum<'r>) -> Self {
        Self { sums: Some((period, each)), ..self }
    }

    /// Gives `each` what accounts ever paid from their prepaid balances: several
    /// amounts for one account, in no particular order.
    pub fn paid(self, each: EachPaid<'r>) -> Self {
        Self { paid: Some(each), ..self }
    }

    /// Gives `each` every record of the time `from` or later once, in the order
    /// of settlement; those closed as `lost` at this opening come last.
    pub fn records(self, from: Timestamp, each: EachRecord<'r>) -> Self {
        Self { records: Some((from, each)), ..self }
    }

    /// Gives out a record that was made just now.
    pub(super) fn add(&mut self, record: &UsageRecord) {
        let digest = Digest::of(record);
        if let Some((period, each)) = &mut self.sums
            && period.contains(&record.time)
        {
            each(&digest.sum());
        }
        if let (Some(each), Some(paid)) = (&mut self.paid, digest.paid()) {
            each(digest.account, paid);
        }
        if let Some((from, each)) = &mut self.records
            && record.time >= *from
        {
            each(&digest);
        }
    }
}

impl std::fmt::Debug for Replay<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sums = self.sums.as_ref().map(|(period, _)| period);
        let records = self.records.as_ref().map(|(from, _)| from);
        f.debug_struct("Replay").field("sums", &sums).field("records", &records).finish()
    }
}
