//! Sharing: requests that are the same while one of them runs become one call to
//! a provider.
//!
//! A call is a [`flight`]: one pilot makes the call and writes its answer into a
//! log, and any number of passengers read it, each at its own pace. Invariants:
//! a passenger reads the whole answer from its beginning, whenever it joined;
//! nobody's leaving and nobody's slowness is felt by another; a flight without
//! passengers is abandoned; what the call cost is divided among those aboard at
//! its end, to the last unit.

pub mod apportion;
pub mod embeddings;
pub mod flight;
pub mod flights;
mod log;
pub mod passenger;
pub mod portion;
pub mod samples;
pub mod window;

pub use flight::{End, Head, Landing, Pilot, alone};
pub use flights::{Boarding, FlightKey, Flights};
pub use passenger::{Left, Lost, Passenger, Step};
pub use window::Windows;
