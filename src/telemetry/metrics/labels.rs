//! Label values that are not names of the configuration.

/// What `inflight` counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Scope {
    /// Admitted requests.
    Requests,
    /// Calls to providers.
    Provider,
    /// Requests that read the answer of a call, their own or another's.
    Aboard,
    /// Requests for embeddings that wait behind a running call of their kind.
    Held,
}

/// What `store_up` and other store metrics speak of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Store {
    /// The ledger's journal in the data directory.
    Journal,
    /// The cache's disk tier.
    Cache,
}

/// What the loss guard did with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum GuardAction {
    /// It runs as it was asked for.
    Warn,
    /// It runs on a model of a lower tier.
    RouteDown,
    /// It was refused.
    Refuse,
    /// The model has no price: nothing is known.
    Unpriced,
}

/// Why a provider's key rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum RestReason {
    /// It has been used too much.
    Limited,
    /// The provider does not take it.
    Refused,
}

/// What came of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum ProbeResult {
    /// The provider is alive.
    Ok,
    /// It failed, or said nothing.
    Failed,
}

/// The pairs of `layer` and `window` that are shown from the start, so that the
/// first refusal of a kind is an increase and not a new series.
pub(super) const REFUSALS: [[&str; 2]; 21] = [
    ["user", "minute"],
    ["user", "hour"],
    ["user", "day"],
    ["user", "tokens"],
    ["user", "concurrent"],
    ["ip", "minute"],
    ["ip", "hour"],
    ["ip", "concurrent"],
    ["ip", "connections"],
    ["ip", "failed_keys"],
    ["global", "connections"],
    ["global", "requests"],
    ["global", "queue"],
    ["global", "queue_timeout"],
    ["global", "queue_displaced"],
    ["quota", "month"],
    ["quota", "budget"],
    ["quota", "balance"],
    ["feature", ""],
    ["auth", ""],
    ["body", ""],
];

/// What came of a call to a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProviderCode {
    /// An answer with this status code.
    Status(u16),
    /// No connection could be made.
    Unreachable,
    /// Nothing came in time.
    Timeout,
    /// The answer broke off.
    Cut,
    /// Nobody wanted the answer any more.
    Cancelled,
}

impl ProviderCode {
    /// The label `code`.
    pub fn label(self) -> String {
        match self {
            Self::Status(code) => status(code),
            Self::Unreachable => "unreachable".to_owned(),
            Self::Timeout => "timeout".to_owned(),
            Self::Cut => "cut".to_owned(),
            Self::Cancelled => "cancelled".to_owned(),
        }
    }
}

/// A status code as a label; what is no status code is `invalid`, so that a
/// provider cannot make more than 500 values.
pub(super) fn status(code: u16) -> String {
    if (100..=599).contains(&code) { code.to_string() } else { "invalid".to_owned() }
}
