//! The metrics of requests with an `idempotency-key`.

use prometheus::{IntCounterVec, IntGauge};

use super::register::Register;

/// What a request with a key was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Repeat {
    /// The key's first.
    First,
    /// It joined the first.
    Joined,
    /// It got the answer that is kept.
    Stored,
    /// It was another request under the same key.
    Conflict,
}

/// What became of the answer of a first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeptAnswer {
    /// It is kept; so many others, not yet expired, made room.
    Kept {
        /// How many made room.
        made_room: usize,
    },
    /// It is too large to be kept.
    TooLarge,
    /// It could not be sealed or written.
    Failed,
}

/// The families of idempotency.
pub struct IdempotencyFamilies {
    /// Requests with a key: `first`, `joined`, `stored`, `conflict`.
    requests: IntCounterVec,
    /// Answers that cannot be given again: `room`, `too_large`, `failed`.
    lost: IntCounterVec,
    /// Keys whose answer is kept, as the last sweep found them.
    keys: IntGauge,
}

impl IdempotencyFamilies {
    pub(super) fn register(register: &Register<'_>) -> Result<Self, prometheus::Error> {
        let requests = register.counters(
            "idempotency_requests_total",
            "Requests with an idempotency-key by what they were.",
            &["result"],
        )?;
        for result in <Repeat as strum::VariantArray>::VARIANTS {
            requests.with_label_values(&[<&'static str>::from(result)]).inc_by(0);
        }
        let lost = register.counters(
            "idempotency_lost_total",
            "Answers under an idempotency-key that cannot be given again, by the reason.",
            &["reason"],
        )?;
        for reason in ["room", "too_large", "failed"] {
            lost.with_label_values(&[reason]).inc_by(0);
        }
        let keys = register
            .gauge("idempotency_keys", "Keys whose answer is kept, looked at once a minute.")?;
        Ok(Self { requests, lost, keys })
    }

    /// Counts a request with a key.
    pub fn came(&self, result: Repeat) {
        self.requests.with_label_values(&[<&'static str>::from(result)]).inc();
    }

    /// Counts what became of an answer.
    pub fn kept(&self, what: KeptAnswer) {
        let (reason, count) = match what {
            KeptAnswer::Kept { made_room } => ("room", made_room as u64),
            KeptAnswer::TooLarge => ("too_large", 1),
            KeptAnswer::Failed => ("failed", 1),
        };
        self.lost.with_label_values(&[reason]).inc_by(count);
    }

    /// Shows how many keys have an answer that is kept.
    pub fn keys(&self, count: usize) {
        self.keys.set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}
