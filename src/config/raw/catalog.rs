//! The lists: providers, models, classes, plans, keys.

use schemars::JsonSchema;
use serde::Deserialize;

use super::leaf::{Count, Decimal, Number, Price, Size, Time, Whole};
use super::rewrite::{RawHeaders, RawRewrite, RawTemplate};
use super::routing::{RawPrefer, RawProbe};
use super::tariff::{RawLossGuard, RawPrices, RawTokensPrice, RawVolumeTier};
use super::wording::{RawThinking, RawThinkingField, RawTokenLimit};
use crate::config::field::Field;

/// One provider.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Provider", extend("required" = ["name"]))]
pub(crate) struct RawProvider {
    /// Its name in targets, metrics and records.
    pub(crate) name: Field<String>,
    /// The protocol that it speaks. Left out: `openai`.
    pub(crate) dialect: Field<RawDialect>,
    /// Its base, such as `https://api.openai.com/v1`. Left out: the public
    /// service of its dialect.
    pub(crate) base_url: Field<String>,
    /// The seller's key. Empty: the provider is off. Left out, beside a
    /// `base_url`: the server needs none.
    pub(crate) api_key: Field<String>,
    /// Most samples that one call may ask for (`n`); with 1, requests that want
    /// samples of their own do not wait for each other. Left out: 1.
    pub(crate) n_max: Field<Whole>,
    /// Whether it takes `stream_options.include_usage`. Left out: true.
    pub(crate) stream_usage: Field<bool>,
    /// Further keys of the seller's, beside `api_key` or in its place. Keys are
    /// used in turn; one that was refused or limited rests. What a provider keeps,
    /// such as files and responses, is made and read with the first.
    pub(crate) api_keys: Field<Vec<Field<String>>>,
    /// Calls of Tollgate's own that show whether it is alive: how often, or a
    /// mapping. Left out: none.
    pub(crate) probe: Field<RawProbe>,
    /// How long a sandbox waits before the first byte of its answer. Left out:
    /// `0s`. For the sandbox alone.
    pub(crate) latency: Field<Time>,
    /// Whose requests it serves as a target: those of every plan, or those of
    /// plans with the feature `dedicated_instances` alone, for which it comes
    /// before shared ones. Left out: `shared`.
    pub(crate) pool: Field<RawPool>,
    /// The header that `api_key` stands in. Left out: `bearer`, for anthropic
    /// `x-api-key`, for gemini `x-goog-api-key`. Azure takes `api-key`.
    pub(crate) auth: Field<RawAuth>,
    /// What stands in every query string, such as `api-version=2024-10-21`. Left
    /// out: nothing.
    pub(crate) query: Field<String>,
    /// The path between `base_url` and that of an endpoint that runs a model, with
    /// `{model}` for the provider's name of it, such as `/deployments/{model}`.
    /// Left out: none. For the dialect openai alone; `/responses` has none.
    pub(crate) model_path: Field<String>,
    /// Whether it has `/responses`; where it has not, such requests become chat
    /// completions. Left out: true. For the dialect openai alone.
    pub(crate) responses: Field<bool>,
    /// How its models are told to think, where requests are translated: `none`, they
    /// do not; `effort`, for the dialect openai; `budget`, for anthropic and gemini;
    /// `adaptive`, for anthropic; `level`, for gemini. Left out: by the model's name.
    pub(crate) thinking: Field<RawThinking>,
    /// The field that limits the answer of a chat; requests that use the other name
    /// are changed. Left out: `max_completion_tokens` for OpenAI's models that think,
    /// and `max_tokens`, in translated requests alone. For the dialect openai alone.
    pub(crate) token_limit: Field<RawTokenLimit>,
    /// Whether it knows the role `developer`; if not, that becomes `system`. Left
    /// out: OpenAI's models do, others do not, in translated requests alone. For the
    /// dialect openai alone.
    pub(crate) developer_role: Field<bool>,
    /// The field of a message that thinking goes back in, in translated requests.
    /// Left out: `reasoning_content`. For the dialect openai alone.
    pub(crate) thinking_field: Field<RawThinkingField>,
    /// Largest image that it takes, in translated requests. Left out: 10 MB for
    /// anthropic, else as large as a request may be.
    pub(crate) image_limit: Field<Size>,
}

/// How a provider's key is shown to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "Auth")]
pub(crate) enum RawAuth {
    /// `authorization: Bearer KEY`.
    Bearer,
    /// `api-key: KEY`.
    ApiKey,
    /// `x-api-key: KEY`.
    XApiKey,
    /// `x-goog-api-key: KEY`.
    XGoogApiKey,
}

/// Whose requests a provider serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Pool")]
pub(crate) enum RawPool {
    /// Those of every plan.
    Shared,
    /// Those of plans with `dedicated_instances`.
    Dedicated,
}

/// A provider's protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Dialect")]
pub(crate) enum RawDialect {
    /// OpenAI's, or any server compatible with it.
    Openai,
    /// Anthropic's Messages.
    Anthropic,
    /// Google's Gemini.
    Gemini,
    /// The built-in provider. It answers any model by itself, only while no
    /// other provider is on.
    Sandbox,
}

/// One public model name.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Model", extend("required" = ["name", "targets"]))]
pub(crate) struct RawModel {
    /// The name that customers use; `*` is every name that no other entry has.
    pub(crate) name: Field<String>,
    /// How demanding it is. Left out: `expert`.
    pub(crate) tier: Field<RawTier>,
    /// Where it may run, by preference; neighbours that have a `weight` are
    /// preferred alike.
    pub(crate) targets: Field<Vec<Field<RawTarget>>>,
    /// What its provider charges. Left out: unpriced.
    pub(crate) cost: Field<RawCost>,
    /// How a request's target is chosen. Left out: as in `routing`.
    pub(crate) prefer: Field<RawPrefer>,
}

/// How demanding a model is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Tier")]
pub(crate) enum RawTier {
    /// Small and cheap.
    Simple,
    /// Large.
    Complex,
    /// The best there is.
    Expert,
}

/// One place where a model may run.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Target", extend("required" = ["provider"]))]
pub(crate) struct RawTarget {
    /// The name of a provider.
    pub(crate) provider: Field<String>,
    /// The provider's own name of the model. Left out: the name that was asked
    /// for.
    pub(crate) model: Field<String>,
    /// Share of requests among equal targets, at least 1. Left out: the target
    /// has no equal, or, where `prefer` makes all equal, 1.
    pub(crate) weight: Field<Whole>,
    /// How the model is told to think (see `thinking` of a provider). Left out: as
    /// its provider says.
    pub(crate) thinking: Field<RawThinking>,
}

/// Prices in dollars per million tokens, with at most six decimals.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Cost", extend("required" = ["input"]))]
pub(crate) struct RawCost {
    /// Prompt tokens.
    pub(crate) input: Field<Price>,
    /// Prompt tokens that the provider had cached. Left out: as `input`.
    pub(crate) cached_input: Field<Price>,
    /// Prompt tokens that the provider puts into its cache. Left out: as `input`.
    pub(crate) cache_write: Field<Price>,
    /// Answer tokens, reasoning included. Left out: 0, as for embeddings.
    pub(crate) output: Field<Price>,
}

/// One request class.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Class", extend("required" = ["name"]))]
pub(crate) struct RawClass {
    /// Its name, in records the `endpoint`.
    pub(crate) name: Field<String>,
    /// The path before `/v1` that chooses it, such as `/documentation`. Left
    /// out: the header `x-tollgate-class` or `metadata.class` chooses it.
    pub(crate) prefix: Field<String>,
    /// What one request costs the customer, in dollars. Left out: 0.
    pub(crate) price: Field<Price>,
    /// The feature that the plan must have. Left out: none.
    pub(crate) feature: Field<String>,
    /// Whether equal requests may share one sample. Left out: `shared`.
    pub(crate) samples: Field<RawSamples>,
    /// Whether equal requests that run at once become one. Left out: true.
    pub(crate) coalesce: Field<bool>,
    /// How answers are cached. Left out: not at all.
    pub(crate) cache: Field<RawCache>,
    /// The models that it may use. Left out: all.
    pub(crate) models: Field<Vec<Field<String>>>,
    /// Most prompt tokens, as Tollgate counts them; more is refused. Left out:
    /// no limit.
    pub(crate) max_input_tokens: Field<Whole>,
    /// Most answer tokens of a request, all its answers together; a request
    /// that asks for more, or sets no limit, gets this one. Left out: no limit.
    pub(crate) max_output_tokens: Field<Whole>,
    /// A system text of the seller's for every prompt: a text, which is put before
    /// the client's own, or `system` with its `position`. Left out: none.
    pub(crate) template: Field<RawTemplate>,
    /// Changes to the fields of a request's body: `remove`, then `default`, `set`
    /// and `cap`. A field within another is named with dots. Left out: none.
    pub(crate) rewrite: Field<RawRewrite>,
    /// Changes to the headers of requests to providers and of answers. Left out:
    /// none.
    pub(crate) headers: Field<RawHeaders>,
    /// Price of a request answered from the cache. Left out: `price`.
    pub(crate) price_cached: Field<Price>,
    /// Prices by tokens instead of by request; `price` is then not used.
    pub(crate) tokens_price: Field<RawTokensPrice>,
    /// Prices by how many requests of the class the account was charged for in
    /// the month: the first requests at the first price, those from the next
    /// `from` on at the next; `price` is then not used.
    pub(crate) tiers: Field<Vec<Field<RawVolumeTier>>>,
    /// Changes of the prices to come, and those of the past.
    pub(crate) prices: Field<Vec<Field<RawPrices>>>,
    /// What happens to a request that is expected to cost more than it earns.
    /// Left out: `warn`.
    pub(crate) loss_guard: Field<RawLossGuard>,
    /// The share of its price that a request is to earn, 0 to 1: the loss guard
    /// acts below it. Left out: 0.
    pub(crate) margin_floor: Field<Decimal>,
}

/// Whether a caller accepts another's sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Samples")]
pub(crate) enum RawSamples {
    /// One sample may answer several.
    Shared,
    /// Every caller gets a sample of its own.
    Distinct,
}

/// How a class is cached.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Cache")]
pub(crate) struct RawCache {
    /// How long an answer is fresh. Left out: `1h`.
    pub(crate) ttl: Field<Time>,
    /// The share of requests that the cache should answer, 0 to 1.
    pub(crate) hit_rate_target: Field<Number>,
    /// Who may get an answer: the account that made it, or all. Left out:
    /// `account`.
    pub(crate) scope: Field<RawScope>,
    /// Which answers are kept. Left out: `always`.
    pub(crate) when: Field<RawWhen>,
    /// How long after its time an answer may stand in for a failing provider.
    /// Left out: `0s`.
    pub(crate) stale_if_error: Field<Time>,
    /// How long after its time an answer may be given while a new one is made.
    /// Left out: `0s`.
    pub(crate) stale_while_revalidate: Field<Time>,
    /// Whether a call runs to its end when its last caller has left. Left out:
    /// false.
    pub(crate) finish: Field<bool>,
}

/// Who may get a cached answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Scope")]
pub(crate) enum RawScope {
    /// The account whose request made it.
    Account,
    /// Every account.
    Shared,
}

/// Which answers are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "When")]
pub(crate) enum RawWhen {
    /// All of them.
    Always,
    /// Those to requests whose sampling is off, and embeddings.
    Deterministic,
}

/// One plan.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Plan", extend("required" = ["name"]))]
pub(crate) struct RawPlan {
    /// Its name.
    pub(crate) name: Field<String>,
    /// The plan that it extends: its lists are added to, its single values are
    /// replaced by those given here.
    pub(crate) extends: Field<String>,
    /// How it is billed. Left out: `metered`.
    pub(crate) billing: Field<RawBilling>,
    /// Fee per month in dollars. Left out: 0.
    pub(crate) monthly_price: Field<Price>,
    /// Requests per month. Left out: `unlimited`.
    pub(crate) requests_per_month: Field<Count>,
    /// Requests in any 60 s. Left out: as in `limits.user`.
    pub(crate) requests_per_minute: Field<Count>,
    /// Requests in any 3,600 s. Left out: as in `limits.user`.
    pub(crate) requests_per_hour: Field<Count>,
    /// Requests in any 86,400 s. Left out: as in `limits.user`.
    pub(crate) requests_per_day: Field<Count>,
    /// Tokens in any 60 s. Left out: `unlimited`.
    pub(crate) tokens_per_minute: Field<Count>,
    /// Requests at once. Left out: as in `limits.user`.
    pub(crate) concurrent: Field<Count>,
    /// What the plan may do.
    pub(crate) features: Field<Vec<Field<String>>>,
    /// The classes that it may use. Left out: all.
    pub(crate) classes: Field<Vec<Field<String>>>,
    /// Most that an account may spend on requests in a month, in dollars, the plan's
    /// fee not counted. Left out or null: no limit.
    pub(crate) budget: Field<Price>,
    /// Price of a request beyond `requests_per_month`, in dollars, whatever its
    /// class. Left out or null: such requests are refused.
    pub(crate) overage: Field<Price>,
    /// Whether requests are paid from a balance that the account has paid in before,
    /// and refused without. Left out: no.
    pub(crate) prepaid: Field<bool>,
    /// How long personal data is kept. Left out: as in `privacy`.
    pub(crate) retention: Field<Time>,
}

/// How a plan is billed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Billing")]
pub(crate) enum RawBilling {
    /// The fee plus the price of every request.
    Metered,
    /// No price within the quota.
    Included,
}

/// An account and its key.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Key", extend("required" = ["account", "plan"]))]
pub(crate) struct RawAccountKey {
    /// The account's id.
    pub(crate) account: Field<String>,
    /// The account's plan.
    pub(crate) plan: Field<String>,
    /// The key, 8 to 256 visible ASCII characters. Empty or left out: a new one
    /// at each start, printed once.
    pub(crate) key: Field<String>,
    /// Most that requests with this key may cost in a month, in dollars. Left out
    /// or null: no limit of its own.
    pub(crate) budget: Field<Price>,
}
