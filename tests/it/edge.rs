//! The edge of the gateway: what is decided on a connection before a request
//! means anything. Covers F2, F4.

mod caps;
mod pipelining;
mod police;
mod raw;
mod slow;
