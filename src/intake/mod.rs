//! Taking a request in: which endpoint it is for, its body, and what its body
//! says.

pub mod body;
pub mod endpoint;
mod fields;
mod output;
pub mod personal;
pub mod request;
pub mod sampling;
mod stream_options;
