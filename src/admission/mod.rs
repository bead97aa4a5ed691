//! Decides whether a request of a known account may run now: its windows, its
//! concurrency, and the caps of the whole process.
//!
//! Invariant: a refused request leaves every counter as it found it, and
//! everything counted is a guard that gives back on drop.

pub mod rate;
mod sliding;
pub mod slots;
pub mod state;
pub mod windows;
