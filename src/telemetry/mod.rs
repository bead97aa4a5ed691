//! What the process says about itself: metrics and logs.

mod copy_on_write;
pub mod log;
pub mod metrics;
mod process;
pub mod seldom;
