//! A call that a provider may have seen, as the journal has it before it is made.

use std::sync::Arc;

use crate::base::clock::Timestamp;
use crate::base::id::RecordId;
use crate::base::money::Money;
use crate::ledger::codec::{text, timestamp};
#[cfg(doc)]
use crate::ledger::record::UsageRecord;
use crate::ledger::record::shorten;

/// Written before each provider attempt; what recovery needs to close it as
/// `lost` if the process ends before the settlement.
#[derive(Clone, Debug, PartialEq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct Attempt {
    /// The record that will settle this attempt.
    #[n(0)]
    pub record: RecordId,
    /// 1 for the first attempt of a request.
    #[n(1)]
    pub number: u32,
    /// When it began.
    #[n(2)]
    #[cbor(with = "timestamp")]
    pub time: Timestamp,
    /// See [`UsageRecord::request_id`].
    #[n(3)]
    #[cbor(with = "text")]
    pub request_id: Arc<str>,
    /// See [`UsageRecord::account`].
    #[n(4)]
    #[cbor(with = "text")]
    pub account: Arc<str>,
    /// See [`UsageRecord::key_id`].
    #[n(5)]
    #[cbor(with = "text")]
    pub key_id: Arc<str>,
    /// See [`UsageRecord::plan`].
    #[n(6)]
    #[cbor(with = "text")]
    pub plan: Arc<str>,
    /// See [`UsageRecord::endpoint`].
    #[n(7)]
    #[cbor(with = "text")]
    pub endpoint: Arc<str>,
    /// See [`UsageRecord::path`].
    #[n(8)]
    #[cbor(with = "text")]
    pub path: Arc<str>,
    /// See [`UsageRecord::model_asked`].
    #[n(9)]
    #[cbor(with = "text")]
    pub model_asked: Arc<str>,
    /// See [`UsageRecord::model_used`].
    #[n(10)]
    #[cbor(with = "text")]
    pub model_used: Arc<str>,
    /// See [`UsageRecord::provider`].
    #[n(11)]
    #[cbor(with = "text")]
    pub provider: Arc<str>,
    /// See [`UsageRecord::tier`].
    #[n(12)]
    #[cbor(with = "text")]
    pub tier: Arc<str>,
    /// See [`UsageRecord::stream`].
    #[n(13)]
    pub stream: bool,
    /// See [`UsageRecord::list_price`].
    #[n(14)]
    pub list_price: Money,
    /// Prompt tokens, estimated.
    #[n(15)]
    pub estimated_input: u64,
    /// What the call will cost if it runs to its end, estimated.
    #[n(16)]
    pub estimated_cost: Money,
    /// See [`UsageRecord::unpriced`].
    #[n(17)]
    pub unpriced: bool,
    /// See [`UsageRecord::bytes_in`].
    #[n(18)]
    pub bytes_in: u64,
    /// See [`UsageRecord::session`].
    #[n(60)]
    pub session: Option<RecordId>,
}

impl Attempt {
    /// The attempt with every text cut to 1 KiB: for the rare one that fits no
    /// frame.
    #[must_use]
    pub fn shortened(&self) -> Self {
        let mut attempt = self.clone();
        let Self {
            request_id,
            account,
            key_id,
            plan,
            endpoint,
            path,
            model_asked,
            model_used,
            provider,
            tier,
            ..
        } = &mut attempt;
        [
            request_id,
            account,
            key_id,
            plan,
            endpoint,
            path,
            model_asked,
            model_used,
            provider,
            tier,
        ]
        .into_iter()
        .for_each(shorten);
        attempt
    }
}
