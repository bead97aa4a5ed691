//! Leaf types that import nothing of Tollgate's.

pub mod clock;
pub mod id;
pub mod money;
pub mod secret;
pub mod sse;
