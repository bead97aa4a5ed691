//! Accounts and their API keys.
//!
//! Two small traits; [`Directory`] is both on the embedded store. Records are
//! CBOR maps with numbered keys: a number is never used again for something
//! else, and a field that is added later is optional, so that a newer version
//! reads what an older one wrote. A key's text is never kept, only its hash.

mod embedded;

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};

use super::StoreError;
use crate::base::clock::Timestamp;
use crate::base::money::Money;
use crate::config::LossGuard;

pub use embedded::Directory;

/// Whether an account may send requests.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Encode,
    Decode,
    strum::IntoStaticStr,
    strum::EnumString,
)]
#[strum(serialize_all = "snake_case")]
#[cbor(index_only)]
pub enum Status {
    /// It may.
    #[default]
    #[n(0)]
    Active,
    /// It may not, until it is made active again.
    #[n(1)]
    Suspended,
}

/// Figures that hold for one account instead of its plan's; `None` is the
/// plan's. The largest number of a type is unlimited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Overrides {
    /// Requests in any 60 s.
    #[n(0)]
    pub requests_per_minute: Option<u32>,
    /// Requests in any 3,600 s.
    #[n(1)]
    pub requests_per_hour: Option<u32>,
    /// Requests in any 86,400 s.
    #[n(2)]
    pub requests_per_day: Option<u32>,
    /// Requests at once.
    #[n(3)]
    pub concurrent: Option<u32>,
    /// Requests in a calendar month.
    #[n(4)]
    pub requests_per_month: Option<u64>,
    /// Price of a request in dollars, by class.
    #[n(5)]
    #[cbor(default)]
    pub prices: BTreeMap<String, Money>,
    /// Tokens in any 60 s.
    #[n(6)]
    pub tokens_per_minute: Option<u32>,
    /// Dollars for requests in a calendar month; [`Money::MAX`] is unlimited.
    #[n(7)]
    pub budget: Option<Money>,
    /// What happens to its requests that are expected to cost more than they
    /// earn.
    #[n(12)]
    pub loss_guard: Option<LossGuard>,
    /// Whether its requests are paid from a balance.
    #[n(13)]
    pub prepaid: Option<bool>,
}

/// One account.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Account {
    /// Its id, which never changes.
    #[n(0)]
    pub id: String,
    /// Its name, for people.
    #[n(1)]
    pub name: String,
    /// The name of its plan.
    #[n(2)]
    pub plan: String,
    /// Whether it may send requests.
    #[n(3)]
    pub status: Status,
    /// What the seller's own application calls it.
    #[n(4)]
    pub external_id: Option<String>,
    /// Its own figures.
    #[n(5)]
    pub overrides: Overrides,
    /// When it was made.
    #[n(6)]
    #[cbor(with = "moment")]
    pub created_at: Timestamp,
}

impl Account {
    /// What its things at providers are kept under. An account that is made later
    /// under its id has another name.
    pub fn owner_name(&self) -> String {
        format!("{}@{}", self.id, self.created_at.0)
    }
}

/// One API key, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ApiKey {
    /// Its public name.
    #[n(0)]
    pub id: String,
    /// The account that it stands for.
    #[n(1)]
    pub account: String,
    /// Its name, for people.
    #[n(2)]
    pub name: Option<String>,
    /// The beginning of its text, to recognise it by.
    #[n(3)]
    pub prefix: String,
    /// The keyed hash of its text.
    #[n(4)]
    #[cbor(with = "minicbor::bytes")]
    pub hash: [u8; 32],
    /// When it was made.
    #[n(5)]
    #[cbor(with = "moment")]
    pub created_at: Timestamp,
    /// When it was revoked; it has stopped then.
    #[n(6)]
    #[cbor(with = "optional_moment", has_nil)]
    pub revoked_at: Option<Timestamp>,
    /// From when on it is not in force any more.
    #[n(7)]
    #[cbor(with = "optional_moment", has_nil)]
    pub expires_at: Option<Timestamp>,
    /// Dollars that requests with it may cost in a calendar month; `None` is
    /// unlimited.
    #[n(8)]
    pub budget: Option<Money>,
}

impl ApiKey {
    /// Whether the key is in force at `now`.
    pub fn in_force(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }
}

/// Accounts by id. Everything blocks, and nothing outlives a crash before
/// [`Accounts::flush`] has returned.
pub trait Accounts: Send + Sync {
    /// Adds `account`; false, and nothing is changed, if its id is taken.
    ///
    /// # Errors
    /// [`StoreError`].
    fn add(&self, account: &Account) -> Result<bool, StoreError>;

    /// The account with this id.
    ///
    /// # Errors
    /// [`StoreError`].
    fn account(&self, id: &str) -> Result<Option<Account>, StoreError>;

    /// Writes `account` in the place of the one with its id.
    ///
    /// # Errors
    /// [`StoreError`].
    fn replace(&self, account: &Account) -> Result<(), StoreError>;

    /// Removes the account with this id and all its keys; false if there is
    /// none.
    ///
    /// # Errors
    /// [`StoreError`].
    fn remove(&self, id: &str) -> Result<bool, StoreError>;

    /// At most `limit` accounts in the order of their ids, those after the id
    /// `after`.
    ///
    /// # Errors
    /// [`StoreError`].
    fn accounts(&self, after: Option<&str>, limit: usize) -> Result<Vec<Account>, StoreError>;

    /// Makes everything written so far survive the end of the process.
    ///
    /// # Errors
    /// [`StoreError`].
    fn flush(&self) -> Result<(), StoreError>;
}

/// Keys by id. Everything blocks; see [`Accounts`].
pub trait Keys: Send + Sync {
    /// Adds `key`; false, and nothing is changed, if its id is taken.
    ///
    /// # Errors
    /// [`StoreError`].
    fn add_key(&self, key: &ApiKey) -> Result<bool, StoreError>;

    /// The key with this id.
    ///
    /// # Errors
    /// [`StoreError`].
    fn key(&self, id: &str) -> Result<Option<ApiKey>, StoreError>;

    /// Writes `key`, whose account never changes, in the place of the one with
    /// its id.
    ///
    /// # Errors
    /// [`StoreError`].
    fn replace_key(&self, key: &ApiKey) -> Result<(), StoreError>;

    /// At most `limit` keys in the order of their ids, those after the id
    /// `after`; of one account, if it is given.
    ///
    /// # Errors
    /// [`StoreError`].
    fn keys(
        &self,
        account: Option<&str>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ApiKey>, StoreError>;
}

/// CBOR of a [`Timestamp`]: microseconds since the epoch.
pub(in crate::store) mod moment {
    use crate::base::clock::Timestamp;
    use minicbor::decode::Error as DecodeError;
    use minicbor::encode::{Error as EncodeError, Write};
    use minicbor::{Decoder, Encoder};

    pub(in crate::store) fn encode<C, W: Write>(
        at: &Timestamp,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        e.u64(at.0)?.ok()
    }

    pub(in crate::store) fn decode<C>(
        d: &mut Decoder<'_>,
        _: &mut C,
    ) -> Result<Timestamp, DecodeError> {
        d.u64().map(Timestamp)
    }
}

/// CBOR of a [`Timestamp`] that may be absent; absence takes no bytes.
mod optional_moment {
    use super::Timestamp;
    use minicbor::decode::Error as DecodeError;
    use minicbor::encode::{Error as EncodeError, Write};
    use minicbor::{Decoder, Encoder};

    pub(super) fn encode<C, W: Write>(
        at: &Option<Timestamp>,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        match at {
            Some(at) => e.u64(at.0)?.ok(),
            None => e.null()?.ok(),
        }
    }

    pub(super) fn decode<C>(
        d: &mut Decoder<'_>,
        _: &mut C,
    ) -> Result<Option<Timestamp>, DecodeError> {
        if d.datatype()? == minicbor::data::Type::Null {
            return d.null().map(|()| None);
        }
        d.u64().map(|at| Some(Timestamp(at)))
    }

    pub(super) fn nil<T>() -> Option<Option<T>> {
        Some(None)
    }

    pub(super) fn is_nil<T>(at: &Option<T>) -> bool {
        at.is_none()
    }
}

#[cfg(test)]
mod tests;
