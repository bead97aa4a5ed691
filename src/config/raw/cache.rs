//! The response cache's room.

use schemars::JsonSchema;
use serde::Deserialize;

use super::Size;
use crate::config::field::Field;

/// How much of answers is kept, for the classes that are cached.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Cache")]
pub(crate) struct RawCache {
    /// Answers in memory.
    pub(crate) memory: Field<Size>,
    /// Sealed answers in the data directory, which outlive the process; `0B` for
    /// none.
    pub(crate) disk: Field<Size>,
}
