//! The sections about requests, and what follows from them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::RawWebhook;
use super::leaf::{Address, Anything, Count, Decimal, Network, Percent, Price, Size, Time, Whole};
use super::routing::{RawBreaker, RawPrefer};
use crate::config::field::Field;

/// Addresses, and the limits of reading.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Listen")]
pub(crate) struct RawListen {
    /// Clients' address.
    pub(crate) proxy: Field<Address>,
    /// Operators' address.
    pub(crate) admin: Field<Address>,
    /// An address of its own for `/metrics`.
    pub(crate) metrics: Field<Address>,
    /// Proxies whose word about the client's address is taken.
    pub(crate) trusted_proxies: Field<Vec<Field<Network>>>,
    /// Certificate and key for HTTPS.
    pub(crate) tls: Field<RawTls>,
    /// Largest body of an understood request. 1 MB is 1,024 × 1,024 bytes.
    pub(crate) body_limit: Field<Size>,
    /// Longest time from the first byte of a header to its end.
    pub(crate) header_timeout: Field<Time>,
    /// Slowest body, per second, enforced after `body_grace`.
    pub(crate) min_body_rate: Field<Size>,
    /// How long a body may take before its rate is looked at.
    pub(crate) body_grace: Field<Time>,
    /// Longest wait for the next piece of a body, and for a client that reads
    /// nothing of its answer.
    pub(crate) stall_timeout: Field<Time>,
}

/// A certificate and its key.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Tls", extend("required" = ["cert", "key"]))]
pub(crate) struct RawTls {
    /// Path of the certificate chain, PEM.
    pub(crate) cert: Field<String>,
    /// Path of the key, PEM.
    pub(crate) key: Field<String>,
}

/// The operators' side.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Admin")]
pub(crate) struct RawAdmin {
    /// The admin token, 8 to 256 visible ASCII characters. Empty: made at the
    /// first start and kept in the data directory.
    pub(crate) token: Field<String>,
}

/// Where records are kept.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Store")]
pub(crate) struct RawStore {
    /// The data directory.
    pub(crate) path: Field<String>,
    /// When an answer may leave: once its record survives the end of the
    /// process, or a power loss.
    pub(crate) durability: Field<RawDurability>,
    /// URL of a Redis for shared limits and cache.
    pub(crate) redis: Field<String>,
    /// URL of a PostgreSQL for accounts, usage and invoices.
    pub(crate) postgres: Field<String>,
    /// What holds while a shared store is away: local limits, or refusals.
    pub(crate) on_store_loss: Field<RawStoreLoss>,
}

/// When a record counts as kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Durability")]
pub(crate) enum RawDurability {
    /// Once the kernel has it.
    Process,
    /// Once the disk has it.
    Power,
}

/// What holds while a shared store is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "StoreLoss")]
pub(crate) enum RawStoreLoss {
    /// Limits of this instance alone.
    Local,
    /// No request is admitted.
    Refuse,
}

/// Limits that hold whatever the plan.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Limits")]
pub(crate) struct RawLimits {
    /// For an account; a plan's own figure replaces these.
    pub(crate) user: Field<RawUserLimits>,
    /// For a client address.
    pub(crate) ip: Field<RawIpLimits>,
    /// For the process.
    pub(crate) global: Field<RawGlobalLimits>,
}

/// Limits of an account.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "UserLimits")]
pub(crate) struct RawUserLimits {
    /// Requests in any 60 s.
    pub(crate) per_minute: Field<Count>,
    /// Requests in any 3,600 s.
    pub(crate) per_hour: Field<Count>,
    /// Requests in any 86,400 s.
    pub(crate) per_day: Field<Count>,
    /// Requests at once.
    pub(crate) concurrent: Field<Count>,
}

/// Limits of a client address.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "IpLimits")]
pub(crate) struct RawIpLimits {
    /// Requests in any 60 s.
    pub(crate) per_minute: Field<Count>,
    /// Requests in any 3,600 s.
    pub(crate) per_hour: Field<Count>,
    /// Requests at once.
    pub(crate) concurrent: Field<Count>,
    /// Open connections.
    pub(crate) connections: Field<Count>,
    /// Unknown keys in any 60 s; beyond that only unknown keys are refused.
    pub(crate) failed_keys_per_minute: Field<Count>,
    /// Addresses and networks to which none of this applies.
    pub(crate) exempt: Field<Vec<Field<Network>>>,
}

/// Limits of the process.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "GlobalLimits")]
pub(crate) struct RawGlobalLimits {
    /// Open client connections.
    pub(crate) connections: Field<Count>,
    /// Requests at once.
    pub(crate) requests: Field<Count>,
    /// Provider requests at once.
    pub(crate) concurrent: Field<Count>,
    /// Those of them that only plans with the feature `dedicated_instances` may
    /// take, while an account with such a plan has a key; below `concurrent`.
    /// Left out: a tenth of `concurrent`, rounded down; none if it is `unlimited`.
    pub(crate) reserved: Field<Count>,
    /// Requests that may wait for a provider slot; 0 is none.
    pub(crate) queue: Field<Count>,
    /// Longest wait for a provider slot.
    pub(crate) queue_timeout: Field<Time>,
}

/// Sharing provider calls.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Batching")]
pub(crate) struct RawBatching {
    /// How long requests that want samples of their own wait for others of the same
    /// prompt. `0s`: not at all.
    pub(crate) window: Field<Time>,
    /// Whether equal requests that run at once become one call.
    pub(crate) coalesce: Field<bool>,
    /// Whether requests for samples of one prompt become one call.
    pub(crate) samples: Field<bool>,
    /// Whether embeddings that come while a call of their kind runs become one call
    /// behind it, and are cached by the input.
    pub(crate) embeddings: Field<bool>,
}

/// Endpoints that Tollgate does not understand.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Opaque")]
pub(crate) struct RawOpaque {
    /// The provider that answers them.
    pub(crate) provider: Field<String>,
    /// Whether what an account made is kept from others; `off` is for a single
    /// tenant.
    pub(crate) ownership: Field<RawOwnership>,
    /// What happens to paths that are not known at all.
    pub(crate) unknown: Field<RawUnknown>,
    /// Price of a request in dollars.
    pub(crate) price: Field<Price>,
    /// Prices of a request of its own, by the root of its path: `images`.
    pub(crate) prices: Field<BTreeMap<String, Field<Price>>>,
    /// How long both sides of a WebSocket may be silent.
    pub(crate) socket_idle: Field<Time>,
    /// Largest message of a WebSocket.
    pub(crate) socket_message_limit: Field<Size>,
}

/// Whether what an account made is kept from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Ownership")]
pub(crate) enum RawOwnership {
    /// Others get a 404.
    Enforce,
    /// Nothing is checked.
    Off,
}

/// What happens to unknown paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Unknown")]
pub(crate) enum RawUnknown {
    /// They are refused.
    Deny,
    /// They are passed on.
    Allow,
}

/// How requests find their provider, and how long it may take.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Routing")]
pub(crate) struct RawRouting {
    /// The models behind `model: auto`.
    pub(crate) auto: Field<RawAutoRoute>,
    /// How a request's target is chosen among those of its model.
    pub(crate) prefer: Field<RawPrefer>,
    /// Retries after the first attempt, at most 10.
    pub(crate) retries: Field<Whole>,
    /// Most retries after failures of a provider, as a share of the requests
    /// that it was given in the last 10 s, 0 to 1; a few are always allowed.
    pub(crate) retry_budget: Field<Decimal>,
    /// When a provider that fails is left alone.
    pub(crate) breaker: Field<RawBreaker>,
    /// Time-out of connecting, TLS included.
    pub(crate) connect_timeout: Field<Time>,
    /// Time-out of a whole request that is not streamed.
    pub(crate) timeout: Field<Time>,
    /// Time-out from the request sent to the first byte of the answer.
    pub(crate) first_byte_timeout: Field<Time>,
    /// Time-out between two reads of a streamed answer.
    pub(crate) chunk_timeout: Field<Time>,
    /// Whether answers say the model's public name where the provider has another.
    pub(crate) public_model_name: Field<bool>,
    /// What happens to a field that a target's dialect cannot say. Refused, the
    /// request goes to a target whose dialect can, if the model has one.
    pub(crate) on_unsupported: Field<RawUnsupported>,
}

/// The models behind `model: auto`, by tier.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "AutoRoute")]
pub(crate) struct RawAutoRoute {
    /// For simple prompts.
    pub(crate) simple: Field<String>,
    /// For complex prompts.
    pub(crate) complex: Field<String>,
    /// For the hardest prompts.
    pub(crate) expert: Field<String>,
}

/// What happens to a field that cannot be translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Unsupported")]
pub(crate) enum RawUnsupported {
    /// The request is refused.
    Refuse,
    /// The field is left out.
    Drop,
}

/// Costs beside the providers', for the reports.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Economics")]
pub(crate) struct RawEconomics {
    /// Infrastructure, dollars a month.
    pub(crate) infrastructure_monthly: Field<Price>,
    /// Winning customers, dollars a month.
    pub(crate) acquisition_monthly: Field<Price>,
    /// Figures that the reports show beside the actual ones.
    pub(crate) targets: Field<BTreeMap<String, Anything>>,
}

/// Invoices.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Invoices")]
pub(crate) struct RawInvoices {
    /// The time zone in which months begin, by its IANA name.
    pub(crate) timezone: Field<String>,
    /// The currency of every amount in this file, by its ISO 4217 code; invoices
    /// are rounded to its own decimals.
    pub(crate) currency: Field<String>,
    /// Tax on invoices.
    pub(crate) tax: Field<RawTax>,
    /// Who sells, as invoices show it.
    pub(crate) seller: Field<RawSeller>,
    /// A Stripe account to push to.
    pub(crate) stripe: Field<BTreeMap<String, Anything>>,
    /// Addresses that are told of events.
    pub(crate) webhooks: Field<Vec<Field<RawWebhook>>>,
}

/// Tax on invoices.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Tax", extend("required" = ["rate"]))]
pub(crate) struct RawTax {
    /// Percent of the amount before tax, such as 19 or 8.875.
    pub(crate) rate: Field<Percent>,
    /// Its name, such as VAT. Left out: Tax.
    pub(crate) name: Field<String>,
    /// Whether prices and fees contain the tax already. Left out: false.
    pub(crate) inclusive: Field<bool>,
}

/// Who sells, as invoices show it.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Seller", extend("required" = ["name"]))]
pub(crate) struct RawSeller {
    /// Its name.
    pub(crate) name: Field<String>,
    /// Its address, line by line, with whatever the law wants: a tax number, a
    /// register.
    pub(crate) address: Field<Vec<Field<String>>>,
    /// What stands at the end of every invoice, line by line: terms, a bank
    /// account.
    pub(crate) footer: Field<Vec<Field<String>>>,
}

/// What is kept about people, and how long.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Privacy")]
pub(crate) struct RawPrivacy {
    /// How long personal data is kept.
    pub(crate) retention: Field<Time>,
    /// The key that wraps the accounts' keys: 32 bytes in hexadecimal or base64, or
    /// any other 8 to 256 visible ASCII characters, which it is then derived from.
    /// Left out or empty: made at the first start in the data directory.
    pub(crate) master_key: Field<String>,
    /// Earlier master keys. What was written under them is written anew under the
    /// one in force at the next start; then they can be left out.
    pub(crate) retired_keys: Field<Vec<Field<String>>>,
    /// Whether providers see the end users' ids (`user`, `safety_identifier`,
    /// `metadata.user_id` of Messages) and `prompt_cache_key` as hashes alone, keyed
    /// by account.
    pub(crate) hash_end_users: Field<bool>,
    /// Whether logs may hold texts as a keyed hash.
    pub(crate) log_text_hash: Field<bool>,
}
