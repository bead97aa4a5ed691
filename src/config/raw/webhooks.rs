//! Who is told of events.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::field::Field;

/// An address that is told of events, by a signed POST.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Webhook", extend("required" = ["url", "secret"]))]
pub(crate) struct RawWebhook {
    /// The address, `https://` or `http://`.
    pub(crate) url: Field<String>,
    /// What signs the events, as in the Standard Webhooks specification: at least
    /// 16 characters. `whsec_` and base64 are the bytes of a key; anything else
    /// is the key itself.
    pub(crate) secret: Field<String>,
    /// The names of the events that it is told of. Left out: all.
    pub(crate) events: Field<Vec<Field<String>>>,
}
