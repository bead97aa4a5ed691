//! Notices to the seller: an account's quota or budget runs out.

use std::sync::Arc;

/// Takes notices and sees to their delivery.
///
/// It is called on the way of a request, so it must neither block nor fail; what
/// it cannot take it drops.
pub trait Notices: Send + Sync {
    /// Takes one notice.
    fn raise(&self, notice: Notice);
}

/// What an account, or one of its keys, has used of a month's limit has come to
/// a threshold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The account's id.
    pub account: Arc<str>,
    /// The key's id, where the limit is a key's own.
    pub key_id: Option<Arc<str>>,
    /// Which limit.
    pub kind: Kind,
    /// The share of the limit that is used, in percent: 80 or 100.
    pub threshold: u8,
    /// What is used: requests, or dollars as a decimal text.
    pub used: String,
    /// The limit, in the unit of `used`.
    pub limit: String,
    /// The calendar month of `billing.timezone`, such as `2026-11`.
    pub month: String,
}

/// A limit that a notice is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The account's requests in a month.
    Quota,
    /// The account's dollars in a month.
    Budget,
    /// A key's dollars in a month.
    KeyBudget,
}

impl Kind {
    /// The name in metrics, headers and events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Quota => "quota",
            Self::Budget => "budget",
            Self::KeyBudget => "key_budget",
        }
    }
}
