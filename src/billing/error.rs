//! Why something about invoices is refused.

use crate::base::money::Money;
use crate::ledger::StorageError;
use crate::store::StoreError;
use crate::store::billing::Status;

/// Why something about invoices is refused. Nothing has been changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The invoice does not exist.
    #[error("there is no invoice with this id")]
    NoInvoice,
    /// The account does not exist and never did.
    #[error("there is no account with this id")]
    NoAccount,
    /// The month has not begun.
    #[error("the month has not begun")]
    FutureMonth,
    /// No calendar reaches the month, or the account is younger.
    #[error("the account had no plan and no usage in this month")]
    NothingThen,
    /// The month's invoice is final.
    #[error(
        "the invoice {0} of this month is final and does not change any more: correct it by a \
         credit note, or void it and make another"
    )]
    AlreadyFinal(String),
    /// The invoice's status does not allow it.
    #[error("the invoice is {is}, but must be {must} for this")]
    Status {
        /// Its status.
        is: Status,
        /// What it must be.
        must: &'static str,
    },
    /// A draft that was made from what is not true any more.
    #[error("other invoices of the account have changed since this draft was made: make it again")]
    OutOfDate,
    /// The draft is not the one that was seen.
    #[error("the draft is not the one with this hash any more: look at it again")]
    NotAsSeen,
    /// Credits exceed what is owed.
    #[error("the credits are more than is owed: the invoice's total would be {0}")]
    BelowZero(Money),
    /// More is to be paid back than the balance has.
    #[error("only {0} of the account's balance is neither charged nor reserved")]
    MoreThanLeft(Money),
    /// A credit note for more than was invoiced.
    #[error("a credit note is for at most what is left of the invoice: {0}")]
    MoreThanInvoiced(Money),
    /// A void for an invoice that has credit notes.
    #[error("the invoice has credit notes: void them first")]
    HasCreditNotes,
    /// An amount with more decimals than the currency has.
    #[error("an amount in {0} has at most {1} decimals")]
    TooFine(&'static str, u32),
    /// An adjustment so large that a sum of such would be beyond all amounts.
    #[error("an adjustment is of at most {0}")]
    TooMuch(Money),
    /// Amounts that no invoice can hold.
    #[error("the amounts are too large for an invoice")]
    TooLarge,
    /// There is no Stripe account to push to.
    #[error("billing.stripe is not configured")]
    NoStripe,
    /// What is kept is not what was written.
    #[error("the invoice {0} is damaged: its content does not match its hash")]
    Damaged(String),
    /// Damage of the ledger where an invoice is to be made from it.
    #[error(
        "the ledger is damaged where this invoice is made from it, {0}, so what was used then is \
         not known: see `tollgate ledger verify`, and bring back what is lost; or say \
         `despite_damage`, and what is left is billed"
    )]
    LedgerDamaged(String),
    /// Usage that an invoice has billed and the ledger has no more.
    #[error(
        "invoices have billed usage of {0} that the ledger does not have any more: see `tollgate \
         ledger verify`, and bring back what is lost; or say `despite_damage`, and what is left is \
         billed, and nothing given back"
    )]
    UsageGone(String),
    /// The ledger fails.
    #[error("the ledger cannot be read at the moment")]
    Ledger,
    /// The store fails.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<StorageError> for Refused {
    fn from(error: StorageError) -> Self {
        tracing::error!(%error, "the ledger could not be read");
        Self::Ledger
    }
}
