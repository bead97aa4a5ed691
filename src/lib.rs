//! Tollgate: a sidecar reverse proxy for people who sell AI requests.
//!
//! The modules are declared in the order in which a request meets them; what a
//! request never meets (the control plane) comes last. `docs/ARCHITECTURE.md`
//! is the map.

// The wiring and the way of a request.
pub mod app;
pub mod gateway;
pub mod pipeline;
pub mod server;

// What every stage shares.
pub mod base;
pub mod config;
pub mod exchange;
pub mod notice;
pub mod refusal;
pub mod store;
pub mod telemetry;
pub mod vault;

// The stages, in path order.
pub mod admission;
pub mod auth;
pub mod cache;
pub mod class;
pub mod connection;
pub mod dialect;
pub mod idempotency;
pub mod intake;
pub mod ledger;
pub mod meter;
pub mod opaque;
pub mod respond;
pub mod route;
pub mod sandbox;
pub mod share;
pub mod upstream;

// The control plane.
pub mod accounts;
pub mod admin;
pub mod banner;
pub mod billing;
pub mod cli;
pub mod http_client;
pub mod webhooks;
