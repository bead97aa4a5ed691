//! Who asks: the API key of a request, and the account and plan behind it.
//!
//! Invariant: a key's text is never kept; what is kept is its keyed hash.

pub mod key;
pub mod keyring;
pub mod plan;
