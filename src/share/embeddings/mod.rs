//! Embeddings: requests of a kind that come while a call of their kind runs go
//! together as one call behind it.
//!
//! Of a kind are requests of one account that are equal in all but their inputs
//! and what cannot change an answer ([`groups`]). A request is taken apart into
//! its inputs ([`split`]), an answer into its vectors ([`answer`]), and what a call
//! used and cost is dealt out among its callers ([`deal`]). Invariants: nothing
//! waits while no call of its kind runs; the shares of a call add up to what it
//! used and cost; a vector's digits are those that the provider sent.

pub mod answer;
pub mod deal;
pub mod groups;
pub mod split;

pub use answer::{Answer, Frame, Vector};
pub use deal::{Deal, Part};
pub use groups::{Fellow, Groups, Held, Place, Running, Turn};
pub use split::{Kind, Split};
