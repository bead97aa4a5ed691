//! How the addresses stand, for operators.

use std::sync::Arc;

use serde::Serialize;

use super::{Endpoint, Webhooks};

/// How one address stands.
#[derive(Clone, Debug, Serialize)]
pub struct Standing {
    /// The address, without user, password and query.
    pub url: Arc<str>,
    /// The events that it is told of; `None` is all.
    pub events: Option<Vec<&'static str>>,
    /// Events that it has not taken yet.
    pub pending: usize,
    /// Deliveries that found it away, since it last answered.
    pub failures: u32,
    /// What came of the last delivery since the start.
    pub last: Option<Last>,
}

/// What came of a delivery.
#[derive(Clone, Debug, Serialize)]
pub struct Last {
    /// When it ended.
    pub time: String,
    /// The event's id.
    pub event: String,
    /// `ok` or `failed`.
    pub result: &'static str,
    /// The answer's status, if there was one.
    pub status: Option<u16>,
    /// Why it failed.
    pub error: Option<&'static str>,
}

impl Webhooks {
    /// How every address stands, in the order of the configuration.
    pub fn standing(&self) -> Vec<Standing> {
        self.state.lock().endpoints.iter().map(standing).collect()
    }
}

fn standing(endpoint: &Endpoint) -> Standing {
    Standing {
        url: endpoint.webhook.shown.clone(),
        events: endpoint.webhook.events.clone(),
        pending: endpoint.lane.len(),
        failures: endpoint.lane.failures(),
        last: endpoint.last.clone(),
    }
}
