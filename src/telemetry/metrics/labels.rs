//! Label values that are not names of the configuration.

/// What `inflight` counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Scope {
    /// Admitted requests.
    Requests,
    /// Calls to providers.
    Provider,
}

/// What `store_up` and other store metrics speak of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Store {
    /// The ledger's journal in the data directory.
    Journal,
}

/// Which limit or rule refused a request or a connection: one value for each
/// pair of labels that `refused_total` can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::EnumIter)]
pub enum RefusedBy {
    /// The account's requests per minute.
    UserMinute,
    /// The account's requests per hour.
    UserHour,
    /// The account's requests per day.
    UserDay,
    /// The account's requests at once.
    UserConcurrent,
    /// The address's requests per minute.
    IpMinute,
    /// The address's requests per hour.
    IpHour,
    /// The address's requests at once.
    IpConcurrent,
    /// The address's open connections.
    IpConnections,
    /// The address's unknown keys per minute.
    IpFailedKeys,
    /// The process's open connections.
    GlobalConnections,
    /// The process's requests at once.
    GlobalRequests,
    /// The queue for provider calls is full.
    GlobalQueue,
    /// The wait for a provider call took too long.
    GlobalQueueTimeout,
    /// The plan's requests per month.
    Quota,
    /// The plan lacks a feature or a model.
    Feature,
    /// No key, or an unknown one.
    Auth,
    /// The request itself: its path, method, header or body.
    Body,
}

impl RefusedBy {
    /// The labels `layer` and `window`; `window` is empty where there is none.
    pub const fn labels(self) -> [&'static str; 2] {
        match self {
            Self::UserMinute => ["user", "minute"],
            Self::UserHour => ["user", "hour"],
            Self::UserDay => ["user", "day"],
            Self::UserConcurrent => ["user", "concurrent"],
            Self::IpMinute => ["ip", "minute"],
            Self::IpHour => ["ip", "hour"],
            Self::IpConcurrent => ["ip", "concurrent"],
            Self::IpConnections => ["ip", "connections"],
            Self::IpFailedKeys => ["ip", "failed_keys"],
            Self::GlobalConnections => ["global", "connections"],
            Self::GlobalRequests => ["global", "requests"],
            Self::GlobalQueue => ["global", "queue"],
            Self::GlobalQueueTimeout => ["global", "queue_timeout"],
            Self::Quota => ["quota", "month"],
            Self::Feature => ["feature", ""],
            Self::Auth => ["auth", ""],
            Self::Body => ["body", ""],
        }
    }
}

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
