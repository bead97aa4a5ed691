//! What the ledger holds: one [`UsageRecord`] per admitted request, and one
//! [`Attempt`] per call that a provider may have seen.
//!
//! Both are CBOR maps with numbered keys. A number is never used again for
//! something else; a field that is added later is optional, so that old
//! segments stay readable.

use std::sync::Arc;

use crate::base::clock::Timestamp;
use crate::base::id::RecordId;
use crate::base::money::Money;
pub use crate::ledger::attempt::Attempt;
use crate::ledger::codec::{self, optional_text, text, timestamp};
pub use crate::ledger::savings::Savings;
pub use crate::ledger::tokens::{TokenRates, Tokens};

/// How an admitted request ended.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    minicbor::Encode,
    minicbor::Decode,
    serde::Serialize,
    strum::IntoStaticStr,
    strum::EnumString,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
#[cbor(index_only)]
pub enum Outcome {
    /// The whole answer was handed over.
    #[n(0)]
    Ok,
    /// The provider answered with an error, or not at all.
    #[n(1)]
    ProviderError,
    /// The client left before the first byte of the answer.
    #[n(2)]
    ClientGoneEarly,
    /// The client left after the first byte.
    #[n(3)]
    ClientGoneLate,
    /// The provider's answer broke off after its first byte.
    #[n(4)]
    Cut,
    /// The process ended while a provider call was in flight.
    #[n(5)]
    Lost,
    /// Tollgate itself failed.
    #[n(6)]
    InternalError,
    /// No request: an answer of the cache was renewed.
    #[n(7)]
    Revalidation,
}

/// One usage record. Field names are the contract's; amounts are in dollars.
#[derive(Clone, Debug, PartialEq, minicbor::Encode, minicbor::Decode, serde::Serialize)]
#[cbor(map)]
pub struct UsageRecord {
    /// Identifier, a UUIDv7.
    #[n(0)]
    pub id: RecordId,
    /// When the request's header had been read.
    #[n(1)]
    #[cbor(with = "timestamp")]
    #[serde(serialize_with = "timestamp::rfc3339")]
    pub time: Timestamp,
    /// The `x-request-id` that the answer carried.
    #[n(2)]
    #[cbor(with = "text")]
    pub request_id: Arc<str>,
    /// Who pays.
    #[n(3)]
    #[cbor(with = "text")]
    pub account: Arc<str>,
    /// The key that was shown.
    #[n(4)]
    #[cbor(with = "text")]
    pub key_id: Arc<str>,
    /// The account's plan at that time.
    #[n(5)]
    #[cbor(with = "text")]
    pub plan: Arc<str>,
    /// Always `ai_api` so far.
    #[n(6)]
    #[cbor(with = "text")]
    pub service: Arc<str>,
    /// The request class.
    #[n(7)]
    #[cbor(with = "text")]
    pub endpoint: Arc<str>,
    /// The path without the class prefix and the query.
    #[n(8)]
    #[cbor(with = "text")]
    pub path: Arc<str>,
    /// The model in the request.
    #[n(9)]
    #[cbor(with = "text")]
    pub model_asked: Arc<str>,
    /// The public name of the model that answered.
    #[n(10)]
    #[cbor(with = "text")]
    pub model_used: Arc<str>,
    /// The provider of the last attempt; empty if there was none.
    #[n(11)]
    #[cbor(with = "text")]
    pub provider: Arc<str>,
    /// The model's tier.
    #[n(12)]
    #[cbor(with = "text")]
    pub tier: Arc<str>,
    /// The HTTP status that the client got, or would have got.
    #[n(13)]
    pub status: u16,
    /// How the request ended.
    #[n(14)]
    pub outcome: Outcome,
    /// `hit`, `miss`, `bypass`, …
    #[n(15)]
    #[cbor(with = "text")]
    pub cache: Arc<str>,
    /// Score of a `similar` answer, in thousandths.
    #[n(16)]
    pub similarity: Option<u16>,
    /// Whether the client asked for a stream.
    #[n(17)]
    pub stream: bool,
    /// Calls that a provider may have seen.
    #[n(18)]
    pub attempts: u32,
    /// 1, or 0 where the policy does not charge.
    #[n(19)]
    pub quantity: u32,
    /// Price of one request to this account.
    #[n(20)]
    pub unit_price: Money,
    /// Price by the class, whatever the plan's billing.
    #[n(21)]
    pub list_price: Money,
    /// What the customer owes: quantity × unit price.
    #[n(22)]
    pub price: Money,
    /// What the provider charges.
    #[n(23)]
    pub cost: Money,
    /// Whether the model had no price, so that `cost` is not known.
    #[n(24)]
    pub unpriced: bool,
    /// Tokens.
    #[n(25)]
    pub tokens: Tokens,
    /// Whether the tokens were counted here because the provider said nothing.
    #[n(26)]
    pub estimated: bool,
    /// Body bytes from the client.
    #[n(27)]
    pub bytes_in: u64,
    /// Body bytes to the client.
    #[n(28)]
    pub bytes_out: u64,
    /// From the header read to the settlement.
    #[n(29)]
    pub duration_ms: u64,
    /// From the header read to the first body byte for the client.
    #[n(30)]
    pub first_byte_ms: Option<u64>,
    /// Keyed hash of the prompt.
    #[n(31)]
    #[cbor(with = "optional_text", has_nil)]
    pub text_hash: Option<Arc<str>>,
    /// The cache key.
    #[n(32)]
    #[cbor(with = "optional_text", has_nil)]
    pub cache_key: Option<Arc<str>>,
    /// The complexity score of `model: auto`.
    #[n(33)]
    pub complexity: Option<u32>,
    /// The request's own `metadata`, as JSON text.
    #[n(34)]
    #[cbor(with = "optional_text", has_nil)]
    #[serde(serialize_with = "codec::raw_json")]
    pub metadata: Option<Arc<str>>,
    /// The customer's prices of a token, where `unit_price` is the sum of
    /// `tokens` at these prices: (input − cached) × input + cached × cached input
    /// + output × output.
    #[n(40)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rates: Option<TokenRates>,
    /// Whether `price` was paid from the account's prepaid balance, so that no
    /// invoice asks for it. Shown only where it was.
    #[n(41)]
    #[cbor(default)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub prepaid: bool,
    /// What calls would have cost that were not made, where that is known.
    #[n(45)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub saved: Option<Savings>,
    /// The first record of the session that this one is a part of, which may be
    /// itself: a WebSocket has a record each minute, and is one request.
    #[n(60)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<RecordId>,
    /// Whether it was charged once and is taken back: a frame of its own says so,
    /// the record's does not.
    #[cbor(skip)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub void: bool,
}

/// Takes back what a record charged: it was written down, but could not be made
/// as safe as `store.durability` demands, so that its answer was not given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct Void {
    /// The record.
    #[n(0)]
    pub record: RecordId,
    /// When.
    #[n(1)]
    #[cbor(with = "timestamp")]
    pub time: Timestamp,
}

/// The status of a request whose record is void.
const VOID_STATUS: u16 = 503;

/// The longest text of a shortened record, in bytes.
const SHORT: usize = 1024;

impl UsageRecord {
    /// The record as it counts once it is void: nothing is charged, the cost
    /// stays, and the client got 503.
    #[must_use]
    pub(super) fn voided(self) -> Self {
        Self {
            status: VOID_STATUS,
            outcome: Outcome::InternalError,
            quantity: 0,
            price: Money::ZERO,
            saved: None,
            void: self.quantity > 0,
            ..self
        }
    }

    /// The record without its metadata and with every text cut to 1 KiB: for
    /// the rare one that fits no frame.
    #[must_use]
    pub fn shortened(&self) -> Self {
        let mut record = Self { metadata: None, ..self.clone() };
        let Self {
            request_id,
            account,
            key_id,
            plan,
            service,
            endpoint,
            path,
            model_asked,
            model_used,
            provider,
            tier,
            cache,
            text_hash,
            cache_key,
            ..
        } = &mut record;
        let texts = [
            request_id,
            account,
            key_id,
            plan,
            service,
            endpoint,
            path,
            model_asked,
            model_used,
            provider,
            tier,
            cache,
        ];
        texts.into_iter().chain(text_hash).chain(cache_key).for_each(shorten);
        record
    }
}

/// Cuts a text to 1 KiB.
pub(super) fn shorten(text: &mut Arc<str>) {
    let end = text.floor_char_boundary(SHORT);
    if let Some(short) = text.get(..end).filter(|_| end < text.len()) {
        *text = Arc::from(short);
    }
}
