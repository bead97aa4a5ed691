//! How requests are routed.

use std::time::Duration;

use crate::base::factor::Factor;

/// Routing and provider time-outs.
#[derive(Clone, Debug)]
pub struct Routing {
    /// How a request's target is chosen, where its model does not say.
    pub prefer: Prefer,
    /// Retries after the first attempt.
    pub retries: u32,
    /// Most retries after failures of a provider, as a share of the requests
    /// that it was given lately.
    pub retry_budget: Factor,
    /// When a provider that fails is left alone.
    pub breaker: BreakerRule,
    /// Time-out of connecting, TLS included.
    pub connect_timeout: Duration,
    /// Time-out of a whole request that is not streamed.
    pub timeout: Duration,
    /// Time-out from the request sent to the first byte of the answer.
    pub first_byte_timeout: Duration,
    /// Time-out between two reads of a streamed answer.
    pub chunk_timeout: Duration,
    /// Whether answers say the model's public name where the provider has another.
    pub public_model_name: bool,
    /// Whether a field that no target's dialect can say is left out; otherwise
    /// the request is refused.
    pub drop_unsupported: bool,
}

/// How a request's target is chosen among those of its model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Prefer {
    /// As listed; neighbours that have a weight share requests by it.
    Order,
    /// All share requests by their weight.
    Weight,
    /// The less loaded of two.
    Latency,
    /// The cheapest.
    Cost,
}

/// When a breaker opens, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerRule {
    /// How many of the latest calls count, from 1 to 60.
    pub calls: u32,
    /// The fewest calls that are judged, from 1 to `calls`.
    pub minimum: u32,
    /// The share of them that must fail to open it, from above 0 to 1.
    pub failures: Factor,
    /// How long it stays open.
    pub open: Duration,
    /// After so long without a call, those before are forgotten.
    pub forget: Duration,
}
