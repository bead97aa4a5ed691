//! Tollgate: a sidecar reverse proxy for people who sell AI requests.
//!
//! The modules are declared in the order in which a request meets them; what a
//! request never meets (the control plane) comes last. `docs/ARCHITECTURE.md`
//! is the map.

// What every stage shares.
pub mod base;
pub mod config;

// The stages, in path order.
pub mod ledger;

// What every stage reports to.
pub mod telemetry;

// The control plane.
pub mod admin;
pub mod banner;
pub mod cli;
