//! What a request used, what that cost and what it earns.
//!
//! [`usage`] and [`stream`] read the provider's own figures; where it gives
//! none, [`estimate`] counts. [`price`] turns tokens into money, [`policy`]
//! says which outcomes are charged. Nothing here changes what the client gets,
//! except that [`strip`] takes out what the client did not ask for.

pub mod estimate;
pub mod policy;
pub mod price;
mod scan;
pub mod stream;
pub mod strip;
mod text;
pub mod usage;
