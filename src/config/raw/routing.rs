//! How targets are chosen, and when a provider is left alone or looked at.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{Deserializer, MapAccess, Visitor};

use super::leaf::{Decimal, Time, Whole};
use crate::config::field::Field;

/// How a request's target is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Prefer")]
pub(crate) enum RawPrefer {
    /// As listed; neighbours that have a `weight` share requests by it.
    Order,
    /// All share requests by their `weight`.
    Weight,
    /// The less loaded of two, by how long it took to answer lately.
    Latency,
    /// The cheapest for what the request is expected to use.
    Cost,
}

/// When a provider that fails is left alone: its circuit breaker.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Breaker")]
pub(crate) struct RawBreaker {
    /// How many of the latest calls count, at most 60.
    pub(crate) calls: Field<Whole>,
    /// The fewest calls that are judged.
    pub(crate) minimum: Field<Whole>,
    /// The share of them that must fail to open the breaker, above 0, at most 1.
    pub(crate) failures: Field<Decimal>,
    /// How long it stays open before one call tries again.
    pub(crate) open: Field<Time>,
    /// After so long without a call, those before are forgotten.
    pub(crate) forget: Field<Time>,
}

/// `30s`, or a mapping.
#[derive(Debug)]
pub(crate) enum RawProbe {
    /// How often.
    Every(Time),
    /// All of it.
    Settings(RawProbeSettings),
}

/// Calls of Tollgate's own to a provider.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Probe", extend("required" = ["interval"]))]
pub(crate) struct RawProbeSettings {
    /// How often. A provider that fails is looked at as often.
    pub(crate) interval: Field<Time>,
    /// What is fetched, under the provider's base. Left out: `/models`.
    pub(crate) path: Field<String>,
    /// How long it may take. Left out: `5s`.
    pub(crate) timeout: Field<Time>,
}

impl<'de> Deserialize<'de> for RawProbe {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ProbeVisitor)
    }
}

struct ProbeVisitor;

impl<'de> Visitor<'de> for ProbeVisitor {
    type Value = RawProbe;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration such as 30s, or a mapping")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<RawProbe, E> {
        Time::deserialize(StrDeserializer::new(text)).map(RawProbe::Every)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawProbe, A::Error> {
        RawProbeSettings::deserialize(MapAccessDeserializer::new(map)).map(RawProbe::Settings)
    }
}

impl JsonSchema for RawProbe {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "ProbeOrInterval".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (every, settings) =
            (generator.subschema_for::<Time>(), generator.subschema_for::<RawProbeSettings>());
        json_schema!({ "anyOf": [every, settings] })
    }
}
