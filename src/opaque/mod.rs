//! The opaque lane: endpoints that are passed on without being understood.
//!
//! It is not a hole between tenants. Invariants, while `opaque.ownership` is
//! `enforce`: what a provider made for one account is found by no other account,
//! by path, by query or by body, and is in none of its lists; and a body that
//! could name such a thing is read before it is passed on: forms ([`vet`]) and the
//! messages of WebSockets ([`said`]) as they pass, but never to an end that is
//! not sound.

pub mod form;
pub mod frames;
pub mod list;
pub mod made;
pub mod mention;
pub mod ownership;
pub mod roots;
pub mod said;
pub mod skim;
pub mod vet;

pub use ownership::Tenant;
pub use roots::Place;

/// Largest JSON that is read to learn, check and filter identifiers, in bytes.
pub const LARGEST_JSON: usize = 1024 * 1024;
