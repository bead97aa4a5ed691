//! Whether a request may run: the process's cap, the address's concurrency and
//! windows, then the account's concurrency, quota and windows, taken together or
//! not at all.

pub mod address;
pub mod balance;
pub mod queue;
pub mod quota;
pub mod rate;
mod sketch;
mod sliding;
pub mod spend;
pub mod state;
mod suspects;
pub mod tokens;
pub mod volume;
pub mod warnings;
pub mod windows;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::base::money::Money;
use crate::base::pace::Pace;
use crate::base::slots::{Slot, Slots};
use crate::config::{IpLimits, UserLimits};
use crate::exchange::RateStanding;
use crate::refusal::{Code, Refusal};
use crate::telemetry::metrics::Metrics;
use address::{AddressAdmission, AddressDenied, Addresses};
use quota::{Allowance, Month};
use spend::Purse;
use state::{AccountState, Admission, Denied, OverBudget, Taken};
use tokens::{TokenStanding, TokensDenied};
use warnings::Charged;
use windows::{Standing, WindowLimits};

/// Whose limit it is, in a message.
const OF_ADDRESS: &str = " of your address";

/// An admitted request: what it occupies is free again once this is dropped.
#[derive(Debug)]
#[must_use = "dropping the permit frees what the request occupies"]
pub struct Permit {
    admission: Admission,
    address: Option<AddressAdmission>,
    _global: Slot,
    _running: Run,
}

/// A request that runs, for the pace of the others.
#[derive(Debug)]
struct Run {
    pace: Arc<Pace>,
    since: Duration,
}

impl Drop for Run {
    fn drop(&mut self) {
        self.pace.ended(self.since);
    }
}

/// A request that only looks: it occupies its place among its address's and the
/// process's requests until dropped, and nothing of its account's.
#[derive(Debug)]
#[must_use = "dropping the visit frees what the request occupies"]
pub struct Visit {
    address: Option<AddressAdmission>,
    global: Slot,
}

/// Who asks, and what holds for them.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a> {
    /// The account.
    pub account: &'a Arc<AccountState>,
    /// Its limits.
    pub user: &'a UserLimits,
    /// Its quota.
    pub allowance: &'a Allowance,
    /// The client's address, where it has one.
    pub address: Option<IpAddr>,
    /// The limits of an address.
    pub ip: &'a IpLimits,
}

/// What is taken from besides the account.
#[derive(Clone, Copy)]
pub struct Gates<'a> {
    /// Requests at once, of all accounts together.
    pub requests: &'a Arc<Slots>,
    /// How long requests run.
    pub pace: &'a Arc<Pace>,
    /// The windows and concurrency of client addresses.
    pub addresses: &'a Arc<Addresses>,
    /// Where decisions are counted that no standing shows.
    pub metrics: &'a Metrics,
}

/// Admits one request at `now`, of the monotonic clock. Where the caller stands
/// then, for the answer's headers, goes into `stands` either way; a process that
/// is full does not say.
///
/// # Errors
/// 503 if the process is full, 429 if the address or the account is at its
/// concurrency or a window of either is full, or if the account's quota is used
/// up; nothing is then taken.
pub fn admit(
    asking: Asking<'_>,
    gates: Gates<'_>,
    now: Duration,
    stands: &mut Option<RateStanding>,
) -> Result<Permit, Refusal> {
    let user = WindowLimits::from(asking.user);
    let Visit { address, global } = visit(asking, gates, now, stands)?;
    match asking.account.admit(now, &user, asking.user.concurrent, asking.allowance) {
        Ok(admission) => {
            *stands = Some(standing(admission.standing()));
            let running = Run { since: gates.pace.began_at(now), pace: gates.pace.clone() };
            Ok(Permit { admission, address, _global: global, _running: running })
        }
        Err(denied) => {
            if let Some(address) = address {
                address.refund();
            }
            *stands = Some(standing(denied.standing()));
            Err(refusal(&denied, gates.pace))
        }
    }
}

/// Admits a request that only looks: the account's limits do not hold for it.
///
/// # Errors
/// 503 if the process is full, 429 if the address is at its concurrency or a
/// window of it is full; nothing is then taken.
pub fn visit(
    asking: Asking<'_>,
    gates: Gates<'_>,
    now: Duration,
    stands: &mut Option<RateStanding>,
) -> Result<Visit, Refusal> {
    let Some(global) = gates.requests.try_acquire() else {
        let refusal = Refusal::new(Code::Overloaded, "Too many requests run at the moment.")
            .window("requests")
            .retry_after(gates.pace.expected(0, gates.requests.cap()));
        return Err(refusal);
    };
    match admit_address(asking, gates, now) {
        Ok(address) => Ok(Visit { address, global }),
        Err(AddressDenied::Rate { refusal: full, .. }) => {
            *stands = Some(standing(&full.standing));
            Err(rate(&full, OF_ADDRESS).layer("ip"))
        }
        Err(AddressDenied::Concurrency { limit }) => {
            let user = WindowLimits::from(asking.user);
            *stands = Some(standing(&asking.account.standing(now, &user)));
            Err(concurrency(limit, OF_ADDRESS, gates.pace).layer("ip"))
        }
    }
}

/// Takes what the address may take, and counts what could only be estimated.
fn admit_address(
    asking: Asking<'_>,
    gates: Gates<'_>,
    now: Duration,
) -> Result<Option<AddressAdmission>, AddressDenied> {
    let Some(address) = asking.address else { return Ok(None) };
    let admitted = gates.addresses.admit(address, asking.ip, now);
    let estimated = match &admitted {
        Ok(admission) => admission.as_ref().is_some_and(AddressAdmission::is_estimated),
        Err(AddressDenied::Rate { estimated, .. }) => *estimated,
        Err(AddressDenied::Concurrency { .. }) => false,
    };
    if estimated {
        gates.metrics.address_estimated();
    }
    admitted
}

/// Counts a key that nobody has.
///
/// # Errors
/// 429 if `address` has presented too many.
pub fn unknown_key(
    addresses: &Addresses,
    address: Option<IpAddr>,
    limits: &IpLimits,
    now: Duration,
) -> Result<(), Refusal> {
    let Some(address) = address else { return Ok(()) };
    addresses.unknown_key(address, limits, now).map_err(|full| {
        let message = "Too many unknown API keys came from your address.";
        Refusal::new(Code::RateLimitExceeded, message)
            .layer("ip")
            .window("failed_keys")
            .retry_after(full.retry_after)
    })
}

impl Permit {
    /// Requests left in the account's month with this one taken; `None` where
    /// the month has no limit.
    pub const fn quota_left(&self) -> Option<u64> {
        self.admission.quota_left()
    }

    /// Whether the request may lie beyond the account's quota.
    pub const fn is_beyond(&self) -> bool {
        self.admission.is_beyond()
    }

    /// Reserves `most` dollars of the month's budgets of the account and of the
    /// key called `key`, and of the balance of an account that is prepaid,
    /// together or not at all. Call it once.
    ///
    /// # Errors
    /// 429 `insufficient_quota` if a budget or the balance does not allow it;
    /// nothing is then reserved.
    pub fn hold(&mut self, key: &Arc<str>, most: Money) -> Result<(), Refusal> {
        self.admission.hold(key, most).map_err(|over| over_budget(&over))
    }

    /// Whether what the request costs is paid from a prepaid balance.
    pub const fn is_prepaid(&self) -> bool {
        self.admission.is_prepaid()
    }

    /// The most dollars that may be charged for the request: what `hold` reserved of
    /// a budget or the balance; `None` where it spends none.
    pub fn ceiling(&self) -> Option<Money> {
        self.admission.ceiling()
    }

    /// Takes the request's place among the month's charged ones, and its number
    /// among those of `class`, as its record is about to be written.
    pub fn take_place(&mut self, class: &Arc<str>) -> Taken {
        self.admission.take_place(class)
    }

    /// The number that the next charged request of `class` would have.
    pub fn next_number(&self, class: &str) -> u64 {
        self.admission.next_number(class)
    }

    /// Undoes `take_place`: the record could not be written.
    pub fn return_place(&mut self) {
        self.admission.return_place();
    }

    /// Keeps the place that was taken for good, with what the request of the key
    /// called `key` costs. A place that is not charged, and what is reserved of
    /// budgets, are free again once the permit is dropped.
    pub fn charge(&mut self, key: &Arc<str>, price: Money) -> Charged {
        self.admission.charge(key, price)
    }

    /// The month that the request counts in.
    pub const fn month(&self) -> Month {
        self.admission.month()
    }

    /// Reserves `tokens` of the account's in any 60 s, at `now` under `limit`;
    /// what is not settled is given back once the permit is dropped. Where the
    /// account stands then goes into `stands` either way. Call it once.
    ///
    /// # Errors
    /// 429 if they do not fit, now or ever; nothing is then reserved.
    pub fn reserve_tokens(
        &mut self,
        now: Duration,
        limit: u32,
        tokens: u64,
        stands: &mut Option<RateStanding>,
    ) -> Result<(), Refusal> {
        match self.admission.reserve_tokens(now, limit, tokens) {
            Ok(standing) => {
                *stands = Some(standing.into());
                Ok(())
            }
            Err(denied) => {
                *stands = Some((*denied.standing()).into());
                Err(too_many_tokens(&denied, tokens))
            }
        }
    }

    /// Puts the `tokens` that were used in the place of those reserved, if any
    /// were. Gives where the account stands at `now`, with them.
    pub fn settle_tokens(&mut self, now: Duration, tokens: u64) -> Option<RateStanding> {
        self.admission.settle_tokens(now, tokens).map(RateStanding::from)
    }

    /// Gives everything back: the request is refused at a later point.
    pub fn refund(self) {
        self.admission.refund();
        if let Some(address) = self.address {
            address.refund();
        }
    }
}

fn refusal(denied: &Denied, pace: &Pace) -> Refusal {
    match denied {
        Denied::Rate(full) => rate(full, ""),
        Denied::Concurrency { limit, .. } => concurrency(*limit, "", pace),
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

fn over_budget(over: &OverBudget) -> Refusal {
    let OverBudget { purse, budget, most, month } = over;
    let whose = match purse {
        Purse::Account => "account",
        Purse::Key => "API key",
        Purse::Balance => {
            let message = format!(
                "The account's prepaid balance is used up: ${budget} is left, and this request \
                 may cost ${most}.",
            );
            return Refusal::new(Code::InsufficientQuota, message).window("balance");
        }
    };
    let message = format!(
        "The {whose}'s budget of ${budget} a month does not allow this request, which may cost \
         ${most}. It is renewed at {}.",
        month.ends,
    );
    Refusal::new(Code::InsufficientQuota, message).window("budget")
}

fn rate(full: &windows::Refusal, whose: &str) -> Refusal {
    let message = format!(
        "The limit of {} requests per {}{whose} is reached. Try again in {} s.",
        full.limit,
        full.window.as_str(),
        full.retry_after.as_secs_f64().ceil(),
    );
    Refusal::new(Code::RateLimitExceeded, message)
        .window(full.window.as_str())
        .retry_after(full.retry_after)
}

/// One of `limit` requests that run is expected to end within the mean time of a
/// request of anybody's, divided by `limit`.
fn concurrency(limit: u32, whose: &str, pace: &Pace) -> Refusal {
    let message = format!("The limit of {limit} requests at once{whose} is reached.");
    Refusal::new(Code::ConcurrencyLimitExceeded, message)
        .window("concurrent")
        .retry_after(pace.expected(0, limit))
}

fn too_many_tokens(denied: &TokensDenied, tokens: u64) -> Refusal {
    let limit = denied.standing().limit;
    match denied {
        TokensDenied::Full { retry_after, .. } => {
            let message = format!(
                "The limit of {limit} tokens per minute leaves no room for the {tokens} tokens \
                 that this request may use. Try again in {} s.",
                retry_after.as_secs_f64().ceil(),
            );
            Refusal::new(Code::RateLimitExceeded, message).retry_after(*retry_after)
        }
        TokensDenied::TooLarge { .. } => {
            let message = format!(
                "This request may use {tokens} tokens, more than the limit of {limit} tokens per \
                 minute: it can never be served. Send a shorter prompt or a smaller limit of \
                 answer tokens.",
            );
            Refusal::new(Code::RateLimitExceeded, message).in_vain()
        }
    }
    .window("tokens")
}

fn standing(standing: &Standing) -> RateStanding {
    RateStanding { limit: standing.limit, remaining: standing.remaining, reset: standing.reset }
}

impl From<TokenStanding> for RateStanding {
    fn from(standing: TokenStanding) -> Self {
        let TokenStanding { limit, remaining, reset } = standing;
        Self { limit, remaining, reset }
    }
}
