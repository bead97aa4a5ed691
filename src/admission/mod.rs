//! Whether a request may run: the account's windows, quota and concurrency, and
//! the process's cap, taken together or not at all.

pub mod quota;
pub mod rate;
mod sliding;
pub mod state;
pub mod windows;

use std::sync::Arc;
use std::time::Duration;

use crate::base::slots::{Slot, Slots};
use crate::config::UserLimits;
use crate::exchange::RateStanding;
use crate::refusal::{Code, Refusal};
use quota::Allowance;
use state::{AccountState, Admission, Denied};
use windows::{Standing, WindowLimits};

/// An admitted request: what it occupies is free again once this is dropped.
#[derive(Debug)]
#[must_use = "dropping the permit frees what the request occupies"]
pub struct Permit {
    admission: Admission,
    _global: Slot,
}

/// Admits one request of `account`.
///
/// # Errors
/// 503 if the process is full, 429 if the account is at its concurrency, its
/// quota is used up or a window is full; nothing is then taken. The standing, where there is one,
/// is for the answer's headers.
pub fn admit(
    account: &Arc<AccountState>,
    requests: &Arc<Slots>,
    limits: &UserLimits,
    allowance: &Allowance,
    now: Duration,
) -> Result<Permit, (Refusal, Option<RateStanding>)> {
    let Some(global) = requests.try_acquire() else {
        let refusal = Refusal::new(Code::Overloaded, "Too many requests run at the moment.")
            .window("requests")
            .retry_after(Duration::from_secs(1));
        return Err((refusal, None));
    };
    match account.admit(now, &WindowLimits::from(limits), limits.concurrent, allowance) {
        Ok(admission) => Ok(Permit { admission, _global: global }),
        Err(denied) => Err((refusal(&denied), Some(standing(denied.standing())))),
    }
}

impl Permit {
    /// Where the account stands with this request taken.
    pub fn standing(&self) -> RateStanding {
        standing(self.admission.standing())
    }

    /// Requests left in the account's month with this one taken; `None` where
    /// the month has no limit.
    pub const fn quota_left(&self) -> Option<u64> {
        self.admission.quota_left()
    }

    /// Keeps the request's place in the quota: it is charged. A place that is
    /// not charged is free again once the permit is dropped.
    pub const fn charge(&mut self) {
        self.admission.charge();
    }

    /// Gives everything back: the request is refused at a later point.
    pub fn refund(self) {
        self.admission.refund();
    }
}

fn refusal(denied: &Denied) -> Refusal {
    match denied {
        Denied::Rate(full) => Refusal::new(
            Code::RateLimitExceeded,
            format!(
                "The limit of {} requests per {} is reached. Try again in {} s.",
                full.limit,
                full.window.as_str(),
                full.retry_after.as_secs_f64().ceil(),
            ),
        )
        .window(full.window.as_str())
        .retry_after(full.retry_after),
        Denied::Concurrency { limit, .. } => Refusal::new(
            Code::ConcurrencyLimitExceeded,
            format!("The limit of {limit} requests at once is reached."),
        )
        .window("concurrent")
        .retry_after(Duration::from_secs(1)),
        Denied::Quota { limit, month, .. } => Refusal::new(
            Code::InsufficientQuota,
            format!(
                "The quota of {limit} requests a month is used up. It is renewed at {}.",
                month.ends,
            ),
        )
        .window("month"),
    }
}

fn standing(standing: &Standing) -> RateStanding {
    RateStanding { limit: standing.limit, remaining: standing.remaining, reset: standing.reset }
}
