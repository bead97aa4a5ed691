//! What a class changes: the fields and the prompt of requests, and headers.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::Value;

use super::leaf::Number;
use crate::config::field::Field;

/// The name by which the reader recognises a [`Json`].
pub(crate) const JSON: &str = "tollgate::Json";

/// Any value, as JSON.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Json(pub(crate) Value);

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct JsonVisitor;

        impl Visitor<'_> for JsonVisitor {
            type Value = Json;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Json, E> {
                serde_json::from_str(text).map(Json).map_err(E::custom)
            }
        }

        deserializer.deserialize_newtype_struct(JSON, JsonVisitor)
    }
}

impl JsonSchema for Json {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Json".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({})
    }
}

/// Changes to the fields of a request's body.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Rewrite")]
pub(crate) struct RawRewrite {
    /// Fields that are set whatever the client sends.
    pub(crate) set: Field<BTreeMap<String, Field<Json>>>,
    /// Fields that are set where the client sends none, or null.
    pub(crate) default: Field<BTreeMap<String, Field<Json>>>,
    /// Numbers that are lowered to this. A field that is not there stays so.
    pub(crate) cap: Field<BTreeMap<String, Field<Number>>>,
    /// Fields that are taken out.
    pub(crate) remove: Field<Vec<Field<String>>>,
}

/// A system text of the seller's.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "TemplateParts", extend("required" = ["system"]))]
pub(crate) struct RawTemplateParts {
    /// The text.
    pub(crate) system: Field<String>,
    /// Where it stands. Left out: `before`.
    pub(crate) position: Field<RawPosition>,
}

/// Where a system text of the seller's stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Position")]
pub(crate) enum RawPosition {
    /// Before the client's own.
    Before,
    /// In the place of the client's own.
    Replace,
}

/// A system text, alone or with its position.
#[derive(Debug)]
pub(crate) enum RawTemplate {
    /// The text alone.
    Text(String),
    /// The text and more.
    Parts(RawTemplateParts),
}

impl<'de> Deserialize<'de> for RawTemplate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TemplateVisitor;

        impl<'de> Visitor<'de> for TemplateVisitor {
            type Value = RawTemplate;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, or a mapping with `system` and `position`")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<RawTemplate, E> {
                Ok(RawTemplate::Text(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawTemplate, A::Error> {
                let parts = RawTemplateParts::deserialize(MapAccessDeserializer::new(map))?;
                Ok(RawTemplate::Parts(parts))
            }
        }

        deserializer.deserialize_any(TemplateVisitor)
    }
}

impl JsonSchema for RawTemplate {
    fn schema_name() -> Cow<'static, str> {
        "Template".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let parts = generator.subschema_for::<RawTemplateParts>();
        json_schema!({ "anyOf": [{ "type": "string" }, parts] })
    }
}

/// Changes to headers, both ways.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Headers")]
pub(crate) struct RawHeaders {
    /// Those of requests to providers.
    pub(crate) request: Field<RawHeaderChanges>,
    /// Those of answers.
    pub(crate) response: Field<RawHeaderChanges>,
}

/// Changes to headers.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "HeaderChanges")]
pub(crate) struct RawHeaderChanges {
    /// Headers that are set; others of the name go.
    pub(crate) set: Field<BTreeMap<String, Field<String>>>,
    /// Headers that are taken out.
    pub(crate) remove: Field<Vec<Field<String>>>,
}
