//! The sections about running: scaling, objectives, the page, the end, the log.

use schemars::JsonSchema;
use serde::Deserialize;

use super::leaf::{Number, Time, Whole};
use crate::config::field::Field;

/// How many instances run.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Autoscale")]
pub(crate) struct RawAutoscale {
    /// Fewest instances.
    pub(crate) min: Field<Whole>,
    /// Most instances.
    pub(crate) max: Field<Whole>,
    /// One more, if any of these is exceeded.
    pub(crate) up: Field<RawThresholds>,
    /// One fewer, if all are below these.
    pub(crate) down: Field<RawThresholds>,
    /// Shortest time between two steps.
    pub(crate) cooldown: Field<Time>,
    /// Who carries a step out.
    pub(crate) executor: Field<RawExecutor>,
}

/// Thresholds of one direction.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Thresholds")]
pub(crate) struct RawThresholds {
    /// Processor, percent.
    pub(crate) cpu: Field<Number>,
    /// Memory, percent.
    pub(crate) memory: Field<Number>,
    /// Requests in the queue.
    pub(crate) queue: Field<Whole>,
}

/// Who carries a scaling step out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Executor")]
pub(crate) enum RawExecutor {
    /// Nobody: the decision is shown only.
    None,
    /// systemd template units.
    Systemd,
    /// A command.
    Command,
    /// A webhook.
    Webhook,
}

/// Service objectives.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Slo")]
pub(crate) struct RawSlo {
    /// Share of time, 0 to 1.
    pub(crate) availability: Field<Number>,
    /// Share of answers, 0 to 1.
    pub(crate) error_rate: Field<Number>,
    /// Mean response time.
    pub(crate) latency_avg: Field<Time>,
    /// Share of requests, 0 to 1.
    pub(crate) cache_hit_rate: Field<Number>,
}

/// The live page.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Page")]
pub(crate) struct RawPage {
    /// Time between two updates.
    pub(crate) interval: Field<Time>,
}

/// The end of the process.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Shutdown")]
pub(crate) struct RawShutdown {
    /// How long running requests may take to end.
    pub(crate) grace: Field<Time>,
}

/// Log lines.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Log")]
pub(crate) struct RawLog {
    /// For people, or one JSON object a line.
    pub(crate) format: Field<RawLogFormat>,
    /// `error`, `warn`, `info`, `debug`, `trace`, or directives such as
    /// `info,tollgate=debug`.
    pub(crate) level: Field<String>,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "LogFormat")]
pub(crate) enum RawLogFormat {
    /// For people.
    Pretty,
    /// One JSON object a line.
    Json,
}
