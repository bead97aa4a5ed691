//! What identifying and admitting one request costs, and what an account, a
//! million addresses and a million wrong keys cost.
//!
//! Prints nanoseconds a step with 10 and with 100,000 accounts, with and without
//! a limit of tokens, and bytes of resident memory an account. Ends with status 1
//! over the budget: 3 µs an admission, 1 µs more with many accounts than with
//! few (1.5 with tokens), 2 kB an account and 0.6 kB more where its tokens are
//! limited, 8 MB for addresses however many there are, 4 MB for keys that nobody
//! has and nothing more for as many again.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::collections::VecDeque;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tollgate::admission::address::Addresses;
use tollgate::admission::queue::{Asked, CallSlots, Priority, Who};
use tollgate::admission::quota::{Allowance, Calendar};
use tollgate::admission::rate::Rates;
use tollgate::admission::state::AccountState;
use tollgate::admission::windows::WindowLimits;
use tollgate::auth::key::KeyHasher;
use tollgate::auth::keyring::{Identity, Keyring, Prepared};
use tollgate::base::clock::{Clock, SystemClock, Timestamp};
use tollgate::base::money::Money;
use tollgate::base::network::Networks;
use tollgate::config::{GlobalLimits, IpLimits, Plan, UserLimits};
use tollgate::store::accounts::{Account, Overrides, Status};

const DEFAULTS: UserLimits =
    UserLimits { per_minute: 60, per_hour: 1_000, per_day: 10_000, concurrent: 50 };
const SLOTS: GlobalLimits = GlobalLimits {
    connections: 10_000,
    requests: 2_000,
    concurrent: 500,
    reserved: 50,
    queue: 1_000,
    queue_timeout: Duration::from_secs(10),
};
const STEPS: u64 = 2_000_000;
const MANY: usize = 100_000;
const BUDGET_NANOS: u64 = 3_000;
/// What cache misses may add with many accounts.
const FLAT_NANOS: u64 = 1_000;
/// The same where tokens are limited, which is two more places in memory.
const FLAT_WITH_TOKENS: u64 = 1_500;
const BUDGET_BYTES: u64 = 2_048;
/// What the window of tokens may add.
const BUDGET_TOKENS: u64 = 640;
const ADDRESSES: u32 = 1_000_000;
const BUDGET_ADDRESSES: u64 = 8 << 20;
/// Wrong keys, each from an address of its own.
const WRONG_KEYS: u32 = 1_000_000;
const BUDGET_WRONG_KEYS: u64 = 4 << 20;
/// What as many again may add: the noise of the allocator.
const BUDGET_AS_MANY_AGAIN: u64 = 256 << 10;
const TOKENS_PER_MINUTE: u32 = 1_000_000;

fn main() -> ExitCode {
    let clock = SystemClock::new();
    // First, while no freed memory can hide the growth; and what has grown stays.
    let before = resident_bytes();
    let known = Addresses::new();
    let many_addresses = admit_address(&clock, &known, ADDRESSES);
    let grown = resident_bytes().saturating_sub(before);
    let start = Duration::from_secs(86_400);
    let before = resident_bytes();
    present_wrong_keys(&clock, &known, start);
    let grown_by_keys = resident_bytes().saturating_sub(before);
    let before = resident_bytes();
    let wrong_key = present_wrong_keys(&clock, &known, start + Duration::from_secs(100));
    let grown_again = resident_bytes().saturating_sub(before);
    let (bytes, kept) = bytes_per_account(None);
    let (bytes_with_tokens, kept_too) = bytes_per_account(Some(TOKENS_PER_MINUTE));
    assert!(kept.active() == kept_too.active(), "both were held");
    drop((kept, kept_too));
    let few = admit(&clock, 10, None);
    let many = admit(&clock, MANY, None);
    let few_with_tokens = admit(&clock, 10, Some(TOKENS_PER_MINUTE));
    let many_with_tokens = admit(&clock, MANY, Some(TOKENS_PER_MINUTE));
    let ring = [identify(&clock, 10), identify(&clock, MANY)];
    println!("admit     10 accounts  {few:>6} ns");
    println!("admit     {MANY} accounts {many:>5} ns");
    println!("admit     10 accounts, tokens limited {few_with_tokens:>6} ns");
    println!("admit     {MANY} accounts, tokens limited {many_with_tokens:>5} ns");
    println!("identify  10 keys      {:>6} ns", ring[0]);
    println!("identify  {MANY} keys  {:>6} ns", ring[1]);
    println!("identify  a key that nobody has, from a new address {wrong_key:>6} ns");
    println!("memory    {bytes} bytes an account that asks all day");
    println!("memory    {bytes_with_tokens} bytes the same, tokens limited");
    let addresses = [admit_address(&clock, &Addresses::new(), 1), many_addresses];
    println!("address   1 address, a suspect {:>4} ns", addresses[0]);
    println!("address   {ADDRESSES} addresses {:>4} ns", addresses[1]);
    println!("memory    {} kB for {ADDRESSES} addresses", grown / 1_024);
    println!("memory    {} kB for {WRONG_KEYS} wrong keys", grown_by_keys / 1_024);
    println!("memory    {} kB for as many again", grown_again / 1_024);
    let free = slot(&clock);
    let queued = [queue(&clock, 1), queue(&clock, 900)];
    println!("slot      free {free:>6} ns");
    println!("slot      waited for, 1 account, 999 waiting   {:>6} ns", queued[0]);
    println!("slot      waited for, 900 accounts, 999 waiting {:>5} ns", queued[1]);
    assert!(known.active() == 0, "no request of an address runs any more");
    let within = few.max(many) <= BUDGET_NANOS
        && many <= few + FLAT_NANOS
        && few_with_tokens.max(many_with_tokens) <= BUDGET_NANOS
        && many_with_tokens <= few_with_tokens + FLAT_WITH_TOKENS
        && bytes <= BUDGET_BYTES
        && bytes_with_tokens <= bytes + BUDGET_TOKENS
        && wrong_key <= BUDGET_NANOS
        && grown_by_keys <= BUDGET_WRONG_KEYS
        && grown_again <= BUDGET_AS_MANY_AGAIN
        && free.max(queued[0]).max(queued[1]) <= BUDGET_NANOS
        && addresses.iter().all(|nanos| *nanos <= BUDGET_NANOS)
        && grown <= BUDGET_ADDRESSES;
    if within { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn account(number: usize) -> Arc<str> {
    format!("account-{number}").into()
}

/// Nanoseconds of a lookup, an admission and its end, over accounts in turn.
/// Time passes so that windows fill, refuse and let go. Where `tokens` are
/// limited, they are reserved and settled too.
fn admit(clock: &SystemClock, accounts: usize, tokens: Option<u32>) -> u64 {
    let rates = Rates::new();
    let ids: Vec<_> = (0..accounts).map(account).collect();
    let calendar = Calendar::new(jiff::tz::TimeZone::UTC);
    let limits = WindowLimits::from(&DEFAULTS);
    let gap = Duration::from_secs(1) / u32::try_from(accounts).unwrap_or(1);
    let (key, class) = (Arc::from("key_0123456789ab"), Arc::from("default"));
    let price = Money::from_picos(20_000_000_000);
    let mut now = Duration::from_secs(86_400);
    let mut turn = ids.iter().cycle();
    let mut run = |steps: u64| {
        for id in turn.by_ref().zip(0..steps).map(|(id, _)| id) {
            now += gap;
            let month = calendar.month(Timestamp(1_795_496_400_000_000));
            let allowance = Allowance {
                month,
                limit: Some(u64::MAX),
                budget: Some(Money::MAX),
                counts: true,
                ..Allowance::NONE
            };
            let account = rates.account(id);
            if let Ok(mut admission) = account.admit(now, &limits, DEFAULTS.concurrent, &allowance)
            {
                // As a request that is billed does: reserved, settled, charged.
                let held = admission.hold(&key, price);
                admission.take_place(&class);
                drop(black_box((held, admission.charge(&key, price))));
                if let Some(limit) = tokens {
                    let _full = black_box(admission.reserve_tokens(now, limit, 600));
                    black_box(admission.settle_tokens(now, 200));
                }
                drop(black_box(admission));
            }
        }
    };
    run(STEPS);
    timed(clock, || run(STEPS))
}

fn ip_limits() -> IpLimits {
    IpLimits {
        per_minute: 1_000_000,
        per_hour: 2_000,
        concurrent: 100,
        connections: 256,
        failed_keys_per_minute: 60,
        exempt: Networks::default(),
    }
}

/// Nanoseconds of an address's admission and its end, over addresses in turn,
/// 10,000 requests a second.
fn admit_address(clock: &SystemClock, known: &Arc<Addresses>, addresses: u32) -> u64 {
    let limits = ip_limits();
    let mut now = Duration::from_secs(86_400);
    let mut turn = (0..addresses).cycle();
    let mut run = |steps: u64| {
        for number in turn.by_ref().zip(0..steps).map(|(number, _)| number) {
            now += Duration::from_micros(100);
            let address = IpAddr::from(Ipv4Addr::from_bits(number));
            drop(black_box(known.admit(address, &limits, now)));
        }
    };
    run(STEPS);
    timed(clock, || run(STEPS))
}

/// Nanoseconds of looking up a key that nobody has and of counting it, each from
/// an address of its own, from the moment `from` on.
fn present_wrong_keys(clock: &SystemClock, known: &Arc<Addresses>, from: Duration) -> u64 {
    let limits = ip_limits();
    let ring = Keyring::new(KeyHasher::new([7; 32]));
    let mut now = from;
    let start = clock.monotonic();
    for number in 0..WRONG_KEYS {
        now += Duration::from_micros(100);
        let key = format!("tg_live_{number:032}");
        if black_box(ring.identify(&key, Timestamp(0))).is_none() {
            let address = IpAddr::from(Ipv4Addr::from_bits(number));
            let _full = black_box(known.unknown_key(address, &limits, now));
        }
    }
    let passed = (clock.monotonic() - start).as_nanos() / u128::from(WRONG_KEYS);
    u64::try_from(passed).unwrap_or(u64::MAX)
}

/// Nanoseconds of taking a free slot for a call and giving it back.
fn slot(clock: &SystemClock) -> u64 {
    let slots = CallSlots::new(&SLOTS, Arc::new(SystemClock::new()));
    let who = Who { account: &account(0), priority: Priority::Standard };
    timed(clock, || {
        for _ in 0..STEPS {
            if let Ok(Asked::Slot(slot)) = slots.ask(who) {
                drop(black_box(slot));
            }
        }
    })
}

/// Nanoseconds of joining a queue of 999 others of `accounts` accounts, the slot
/// that comes free going to the first of them, who runs and makes way for the next.
fn queue(clock: &SystemClock, accounts: usize) -> u64 {
    let slots = CallSlots::new(&SLOTS, Arc::new(SystemClock::new()));
    let ids: Vec<_> = (0..accounts).map(account).collect();
    let mut asking = ids.iter().cycle().zip(Priority::ALL.into_iter().cycle());
    let mut ask = || {
        let (account, priority) = asking.next()?;
        slots.ask(Who { account, priority }).ok()
    };
    let mut running: VecDeque<_> = (0..SLOTS.concurrent).filter_map(|_| ask()).collect();
    let mut waiting: VecDeque<_> = (1..SLOTS.queue).filter_map(|_| ask()).collect();
    timed(clock, || {
        for _ in 0..STEPS {
            waiting.extend(ask());
            drop(black_box(running.pop_front()));
            // Some of them has the slot: whichever is dropped next, one leaves.
            running.extend(waiting.pop_front());
        }
    })
}

/// Nanoseconds of hashing a key and finding whose it is.
fn identify(clock: &SystemClock, keys: usize) -> u64 {
    let plan = Arc::new(Plan { requests_per_minute: Some(30), ..Plan::nothing("pro") });
    let hasher = KeyHasher::new([7; 32]);
    let texts: Vec<String> = (0..keys).map(|number| format!("tg_live_{number:032}")).collect();
    let identities = texts.iter().enumerate().map(|(number, text)| {
        let hash = hasher.hash(text);
        let account = Account {
            id: account(number).to_string(),
            name: String::new(),
            plan: "pro".to_owned(),
            status: Status::Active,
            external_id: None,
            overrides: Overrides::default(),
            created_at: Timestamp(0),
        };
        let identity = Identity::new(&account, Some(&plan), &DEFAULTS, hash.key_id());
        (hash, identity)
    });
    let Ok(prepared) = Prepared::new(identities) else { return u64::MAX };
    let ring = Keyring::new(hasher);
    ring.replace(prepared);
    let mut turn = texts.iter().cycle();
    let mut run = |steps: u64| {
        for key in turn.by_ref().zip(0..steps).map(|(key, _)| key) {
            drop(black_box(ring.identify(key, Timestamp(0))));
        }
    };
    run(STEPS / 10);
    timed(clock, || run(STEPS))
}

/// Nanoseconds a step of `run`, which takes `STEPS`.
fn timed(clock: &SystemClock, run: impl FnOnce()) -> u64 {
    let start = clock.monotonic();
    run();
    let passed = (clock.monotonic() - start).as_nanos() / u128::from(STEPS);
    u64::try_from(passed).unwrap_or(u64::MAX)
}

/// Growth of resident memory by an account that asks all day, with a limit of
/// `tokens` or without, 0 where the system does not tell; and the accounts, whose
/// memory is not to be used again before the next measurement.
fn bytes_per_account(tokens: Option<u32>) -> (u64, Rates) {
    let accounts: usize = 20_000;
    let limits = WindowLimits::from(&DEFAULTS);
    let admit = |state: &Arc<AccountState>, now| {
        let admitted = state.admit(now, &limits, DEFAULTS.concurrent, &Allowance::NONE);
        let Ok(mut admission) = admitted else { return };
        if let Some(limit) = tokens {
            let _full = black_box(admission.reserve_tokens(now, limit, 600));
            black_box(admission.settle_tokens(now, 200));
        }
        drop(black_box(admission));
    };
    let before = resident_bytes();
    let rates = Rates::new();
    for id in (0..accounts).map(account) {
        let state = rates.account(&id);
        // Enough over a day and a half to fill the rings of hour and day, then a
        // full minute.
        for step in 0..6_000 {
            let now = Duration::from_secs(86_400) + Duration::from_secs(20) * step;
            admit(&state, now);
        }
        let last = Duration::from_secs(86_400 + 20 * 6_000);
        for step in 0..300 {
            let now = last + Duration::from_secs(1) * step;
            admit(&state, now);
        }
    }
    let grown = resident_bytes().saturating_sub(before);
    assert!(rates.active() == accounts, "every account is held");
    (grown / u64::try_from(accounts).unwrap_or(1), rates)
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|rest| rest.split_ascii_whitespace().next());
    kilobytes.and_then(|figure| figure.parse::<u64>().ok()).unwrap_or(0) * 1_024
}
