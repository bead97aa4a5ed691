//! Every integration test, one module per capability, in one binary.

#[cfg(test)]
mod harness;

#[cfg(test)]
mod accounts;
#[cfg(test)]
mod address;
#[cfg(test)]
mod admin;
#[cfg(test)]
mod agents;
#[cfg(test)]
mod architecture;
#[cfg(test)]
mod balance;
#[cfg(test)]
mod budget;
#[cfg(test)]
mod cache;
#[cfg(test)]
mod cache_report;
#[cfg(test)]
mod charging;
#[cfg(test)]
mod cli;
#[cfg(test)]
mod config;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod custom_models;
#[cfg(test)]
mod dashboards;
#[cfg(test)]
mod dedicated;
#[cfg(test)]
mod disk;
#[cfg(test)]
mod drop_in;
#[cfg(test)]
mod edge;
#[cfg(test)]
mod embeddings;
#[cfg(test)]
mod exactness;
#[cfg(test)]
mod failover;
#[cfg(test)]
mod failures;
#[cfg(test)]
mod fault_matrix;
#[cfg(test)]
mod flights;
#[cfg(test)]
mod http2;
#[cfg(test)]
mod idempotency;
#[cfg(test)]
mod invoices;
#[cfg(test)]
mod ledger;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod loss_guard;
#[cfg(test)]
mod messages;
#[cfg(test)]
mod node;
#[cfg(test)]
mod opaque;
#[cfg(test)]
mod panics;
#[cfg(test)]
mod pricing;
mod priority;
#[cfg(test)]
mod queue;
#[cfg(test)]
mod quota;
#[cfg(test)]
mod readme;
#[cfg(test)]
mod recount;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod reload;
#[cfg(test)]
mod retries;
#[cfg(test)]
mod rewrite;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod sdk;
#[cfg(test)]
mod stale;
#[cfg(test)]
mod streaming;
#[cfg(test)]
mod systemd;
#[cfg(test)]
mod tiers;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod tokens;
#[cfg(test)]
mod usage;
#[cfg(test)]
mod vault;
#[cfg(test)]
mod warnings;
#[cfg(test)]
mod webhooks;
#[cfg(test)]
mod zipf;
