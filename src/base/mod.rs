//! Leaf types that import nothing of Tollgate's.

pub mod clock;
pub mod csv;
pub mod currency;
pub mod factor;
pub mod framing;
pub mod headers;
pub mod id;
pub mod json;
pub mod keyfile;
pub mod money;
pub mod network;
pub mod pace;
pub mod patience;
pub mod percent;
pub mod pseudonym;
pub mod secret;
pub mod slots;
pub mod sse;
pub mod tally;
