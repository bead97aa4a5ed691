//! Models and providers of accounts' own.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::field::Field;

/// Models and providers of accounts' own.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "CustomModels")]
pub(crate) struct RawCustomModels {
    /// Servers that accounts may name besides those that are public and `https`:
    /// URLs such as `http://10.0.0.7:8000`, whose path does not matter.
    pub(crate) allow: Field<Vec<Field<String>>>,
}
