//! What a request used, what that cost and what it earns.
//!
//! [`usage`] and [`stream`] read the provider's own figures; where it gives
//! none, [`estimate`] counts. [`price`] turns tokens into money, [`quote`] says
//! what the customer pays, [`policy`] which outcomes are charged, and [`guard`]
//! whether a request pays. Nothing here changes what the client gets,
//! except that [`strip`] takes out what the client did not ask for.

pub mod estimate;
pub mod guard;
mod message;
pub mod policy;
pub mod price;
pub mod quote;
mod scan;
pub mod stream;
pub mod strip;
mod text;
pub mod usage;
