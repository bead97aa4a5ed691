//! Whether a request may run: the process's cap, the address's concurrency and
//! windows, then the account's concurrency, quota and windows, taken together or
//! not at all.

pub mod address;
pub mod queue;
pub mod quota;
pub mod rate;
mod sketch;
mod sliding;
pub mod state;
mod suspects;
pub mod volume;
pub mod windows;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::base::slots::{Slot, Slots};
use crate::config::{IpLimits, UserLimits};
use crate::exchange::RateStanding;
use crate::refusal::{Code, Refusal};
use crate::telemetry::metrics::Metrics;
use address::{AddressAdmission, AddressDenied, Addresses};
use quota::Allowance;
use state::{AccountState, Admission, Denied};
use volume::Volume;
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
    let Some(global) = gates.requests.try_acquire() else {
        let refusal = Refusal::new(Code::Overloaded, "Too many requests run at the moment.")
            .window("requests")
            .retry_after(Duration::from_secs(1));
        return Err(refusal);
    };
    let user = WindowLimits::from(asking.user);
    let address = match admit_address(asking, gates, now) {
        Ok(address) => address,
        Err(AddressDenied::Rate { refusal: full, .. }) => {
            *stands = Some(standing(&full.standing));
            return Err(rate(&full, OF_ADDRESS).layer("ip"));
        }
        Err(AddressDenied::Concurrency { limit }) => {
            *stands = Some(standing(&asking.account.standing(now, &user)));
            return Err(concurrency(limit, OF_ADDRESS).layer("ip"));
        }
    };
    match asking.account.admit(now, &user, asking.user.concurrent, asking.allowance) {
        Ok(admission) => {
            *stands = Some(standing(admission.standing()));
            Ok(Permit { admission, address, _global: global })
        }
        Err(denied) => {
            if let Some(address) = address {
                address.refund();
            }
            *stands = Some(standing(denied.standing()));
            Err(refusal(&denied))
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

    /// Keeps the request's place in the quota: it is charged. A place that is
    /// not charged is free again once the permit is dropped.
    pub const fn charge(&mut self) {
        self.admission.charge();
    }

    /// How many requests of each class the account was charged for.
    pub fn volume(&self) -> &Volume {
        self.admission.volume()
    }

    /// Gives everything back: the request is refused at a later point.
    pub fn refund(self) {
        self.admission.refund();
        if let Some(address) = self.address {
            address.refund();
        }
    }
}

fn refusal(denied: &Denied) -> Refusal {
    match denied {
        Denied::Rate(full) => rate(full, ""),
        Denied::Concurrency { limit, .. } => concurrency(*limit, ""),
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

fn concurrency(limit: u32, whose: &str) -> Refusal {
    let message = format!("The limit of {limit} requests at once{whose} is reached.");
    Refusal::new(Code::ConcurrencyLimitExceeded, message)
        .window("concurrent")
        .retry_after(Duration::from_secs(1))
}

fn standing(standing: &Standing) -> RateStanding {
    RateStanding { limit: standing.limit, remaining: standing.remaining, reset: standing.reset }
}
