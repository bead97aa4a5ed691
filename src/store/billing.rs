//! What invoices are made of and what becomes of them: plan histories,
//! adjustments, invoices and their numbers.
//!
//! Three small traits; [`Book`] is all of them on the embedded store. Histories
//! and adjustments are only ever added to. The content of an invoice is kept as
//! the very bytes that its hash covers, and does not change once it has a number.

mod embedded;

use minicbor::{Decode, Encode};

use super::StoreError;
use super::accounts::moment;
use crate::base::clock::Timestamp;
use crate::base::id::RecordId;
use crate::base::money::Money;

pub use embedded::Book;

/// What an account is from a moment on.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, strum::IntoStaticStr, strum::EnumString,
)]
#[strum(serialize_all = "snake_case")]
#[cbor(index_only)]
pub enum Standing {
    /// In force.
    #[n(0)]
    Active,
    /// Refused, and kept.
    #[n(1)]
    Suspended,
    /// Gone.
    #[n(2)]
    Deleted,
}

/// A plan's assignment to an account: in force from its moment to the next one's.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Assignment {
    /// 1 for the account's first.
    #[n(0)]
    pub sequence: u64,
    /// From when on; never before the moment of the one before it.
    #[n(1)]
    #[cbor(with = "moment")]
    pub at: Timestamp,
    /// The plan.
    #[n(2)]
    pub plan: String,
    /// The plan's fee for a month, at that moment.
    #[n(3)]
    pub monthly_price: Money,
    /// Whether the plan's requests have no price of their own.
    #[n(4)]
    pub included: bool,
    /// What the account is.
    #[n(5)]
    pub standing: Standing,
}

/// What an adjustment changes.
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
pub enum AdjustmentKind {
    /// What its month's invoice asks for.
    #[default]
    #[n(0)]
    Invoice,
    /// The prepaid balance: it was paid in.
    #[n(1)]
    Deposit,
    /// The prepaid balance: it was paid back.
    #[n(2)]
    Withdrawal,
}

/// A credit or debit outside of usage and fees, or a payment into or out of the
/// prepaid balance. It is never changed.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Adjustment {
    /// Its id.
    #[n(0)]
    pub id: String,
    /// The account.
    #[n(1)]
    pub account: String,
    /// The month that it belongs to, as `2026-11`.
    #[n(2)]
    pub month: String,
    /// On an invoice, what the customer owes more; a credit is below zero. Of the
    /// balance, what was paid in or back; above zero.
    #[n(3)]
    pub amount: Money,
    /// What it is for.
    #[n(4)]
    pub description: String,
    /// When it was made.
    #[n(5)]
    #[cbor(with = "moment")]
    pub created_at: Timestamp,
    /// What it changes.
    #[n(6)]
    #[cbor(default)]
    pub kind: AdjustmentKind,
}

impl Adjustment {
    /// What the prepaid balance has more by it.
    pub fn paid_in(&self) -> Money {
        match self.kind {
            AdjustmentKind::Invoice => Money::ZERO,
            AdjustmentKind::Deposit => self.amount,
            AdjustmentKind::Withdrawal => -self.amount,
        }
    }
}

/// Where an invoice is in its life.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Encode,
    Decode,
    strum::Display,
    strum::IntoStaticStr,
    strum::EnumString,
)]
#[strum(serialize_all = "snake_case")]
#[cbor(index_only)]
pub enum Status {
    /// It may be made anew, and has no number.
    #[n(0)]
    Draft,
    /// It is numbered and does not change any more.
    #[n(1)]
    Final,
    /// It is paid.
    #[n(2)]
    Paid,
    /// It is not owed. A number that it has stays its own.
    #[n(3)]
    Void,
}

/// An invoice as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Document {
    /// Its id.
    #[n(0)]
    pub id: String,
    /// The account.
    #[n(1)]
    pub account: String,
    /// Its month, as `2026-11`.
    #[n(2)]
    pub period: String,
    /// Where it is in its life.
    #[n(3)]
    pub status: Status,
    /// The invoice that it corrects, if it is a credit note.
    #[n(4)]
    pub corrects: Option<String>,
    /// BLAKE3 of `content`.
    #[n(5)]
    #[cbor(with = "minicbor::bytes")]
    pub hash: [u8; 32],
    /// The invoice as JSON.
    #[n(6)]
    #[cbor(with = "minicbor::bytes")]
    pub content: Vec<u8>,
}

/// Which invoices are meant. The default is all.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// Only this account's.
    pub account: Option<String>,
    /// Only those of this month.
    pub period: Option<String>,
    /// Only those with this status.
    pub status: Option<Status>,
}

impl Choice {
    fn holds(&self, document: &Document) -> bool {
        self.account.as_ref().is_none_or(|account| *account == document.account)
            && self.period.as_ref().is_none_or(|period| *period == document.period)
            && self.status.is_none_or(|status| status == document.status)
    }
}

/// The plans of accounts over time. Everything blocks, and nothing outlives a
/// crash before the store is flushed.
pub trait History: Send + Sync {
    /// The account's last assignment.
    ///
    /// # Errors
    /// [`StoreError`].
    fn latest(&self, account: &str) -> Result<Option<Assignment>, StoreError>;

    /// Adds an assignment after the account's last.
    ///
    /// # Errors
    /// [`StoreError`].
    fn append(&self, account: &str, assignment: &Assignment) -> Result<(), StoreError>;

    /// The account's assignments, the oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    fn assignments(&self, account: &str) -> Result<Vec<Assignment>, StoreError>;

    /// Every account that ever had an assignment, in the order of their ids.
    ///
    /// # Errors
    /// [`StoreError`].
    fn assigned(&self) -> Result<Vec<String>, StoreError>;
}

/// Adjustments. Everything blocks.
pub trait Adjustments: Send + Sync {
    /// Adds an adjustment; it survives the end of the process then.
    ///
    /// # Errors
    /// [`StoreError`].
    fn add_adjustment(&self, adjustment: &Adjustment) -> Result<(), StoreError>;

    /// Gives `each` every account that ever had a deposit, with what was paid in to
    /// its balance less what was paid back.
    ///
    /// # Errors
    /// [`StoreError`].
    fn deposited(&self, each: &mut dyn FnMut(&str, Money)) -> Result<(), StoreError>;

    /// At most `limit` adjustments in the order of their ids, those after `after`;
    /// of one account, if it is given.
    ///
    /// # Errors
    /// [`StoreError`].
    fn adjustments(
        &self,
        account: Option<&str>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Adjustment>, StoreError>;
}

/// Makes an invoice of its number.
pub type OfNumber = Box<dyn Fn(&str) -> Option<Document>>;

/// What a change of an invoice may do, within one transaction.
pub enum Step {
    /// Nothing.
    Keep,
    /// Put this in its place, and keep an event of this id that tells of it.
    Put(Document, Option<RecordId>),
    /// The same, with the next number of a year: what makes it of the number. A
    /// `None` changes nothing and is an error.
    Number(i16, RecordId, OfNumber),
}

/// A change of an invoice that is to be told.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Change {
    /// The id of the event.
    #[n(0)]
    pub event: RecordId,
    /// The id of the invoice.
    #[n(1)]
    pub invoice: String,
    /// What it became.
    #[n(2)]
    pub status: Status,
}

/// Invoices and their numbers. Everything blocks, and nothing outlives a crash
/// before [`Invoices::flush`] has returned.
pub trait Invoices: Send + Sync {
    /// Changes the invoice with this id as `step` says of what is kept under it,
    /// in one transaction: a number is given out if and only if it is written.
    /// The result is what is kept then.
    ///
    /// # Errors
    /// [`StoreError`]; nothing is changed then.
    fn change(
        &self,
        id: &str,
        step: &dyn Fn(Option<Document>) -> Step,
    ) -> Result<Option<Document>, StoreError>;

    /// Waits until every change outlives the process.
    ///
    /// # Errors
    /// [`StoreError`].
    fn flush(&self) -> Result<(), StoreError>;

    /// The changes that are to be told, in the order of their events' ids. They
    /// were kept with the change, in one transaction.
    ///
    /// # Errors
    /// [`StoreError`].
    fn untold(&self) -> Result<Vec<Change>, StoreError>;

    /// Forgets a change that is told. It may come back after a crash.
    ///
    /// # Errors
    /// [`StoreError`].
    fn told(&self, event: RecordId) -> Result<(), StoreError>;

    /// The invoice with this id.
    ///
    /// # Errors
    /// [`StoreError`].
    fn invoice(&self, id: &str) -> Result<Option<Document>, StoreError>;

    /// At most `limit` invoices of a choice in the order of their ids, those after
    /// `after`.
    ///
    /// # Errors
    /// [`StoreError`].
    fn invoices(
        &self,
        choice: &Choice,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Document>, StoreError>;
}

#[cfg(test)]
mod tests;
