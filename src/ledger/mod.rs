//! The ledger: what every request was, what it cost and what it earned.

mod codec;
pub mod record;
