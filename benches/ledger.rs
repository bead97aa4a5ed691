//! What a request's two journal frames cost: `cargo bench --bench ledger`.
//! The time is that of the whole process, its sync thread included.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a benchmark measures real time and reports to a person"
)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use tollgate::base::clock::{Clock, SystemClock};
use tollgate::base::id::RecordIds;
use tollgate::base::money::Money;
use tollgate::config::Durability;
use tollgate::ledger::record::{Attempt, Outcome, Tokens, UsageRecord};
use tollgate::ledger::{By, Filter, Ledger, Page};

const PAIRS: u32 = 200_000;

fn main() {
    for threads in [1, 2, 8] {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(SystemClock::new());
        let ledger =
            Ledger::open(dir.path(), Durability::Process, clock.clone(), &mut |_| {}).unwrap();
        let (cpu, wall) = (cpu_micros(), Instant::now());
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| pairs(&ledger, &*clock, PAIRS / threads));
            }
        });
        report(&format!("begin + settle, {threads} threads"), PAIRS, cpu, wall);

        if threads == 8 {
            let (cpu, wall) = (cpu_micros(), Instant::now());
            black_box(ledger.summary(&Filter::default(), By::Class).unwrap());
            report("summary, a record", PAIRS, cpu, wall);
            let (cpu, wall) = (cpu_micros(), Instant::now());
            let page = Page { after: None, limit: 100 };
            black_box(ledger.records(&Filter::default(), page).unwrap());
            report("page of 100, a record of the ledger", PAIRS, cpu, wall);
            drop(ledger);
            let (cpu, wall) = (cpu_micros(), Instant::now());
            let clock = Arc::new(SystemClock::new());
            let mut count = 0_u32;
            let replay = &mut |_: &UsageRecord| count += 1;
            black_box(Ledger::open(dir.path(), Durability::Process, clock, replay).unwrap());
            assert_eq!(count, PAIRS);
            report("reopen, a record", PAIRS, cpu, wall);
        }
    }
}

fn pairs(ledger: &Ledger, clock: &dyn Clock, count: u32) {
    let record = record(clock);
    let attempt = attempt(&record);
    for _ in 0..count {
        let id = RecordIds::default().next(clock.wall());
        let attempt = Attempt { record: id, ..attempt.clone() };
        let record = UsageRecord { id, time: clock.wall(), ..record.clone() };
        ledger.begin(black_box(&attempt)).unwrap();
        let _settled = black_box(ledger.settle(black_box(&record)).unwrap());
    }
}

fn report(what: &str, count: u32, cpu: u64, wall: Instant) {
    let (cpu, wall) = (cpu_micros() - cpu, wall.elapsed().as_micros());
    let each = |micros: u128| {
        let hundredths = micros * 100 / u128::from(count);
        format!("{}.{:02}", hundredths / 100, hundredths % 100)
    };
    println!("{what}: {} µs CPU, {} µs wall", each(u128::from(cpu)), each(wall));
}

/// CPU time of this process, user and system, in microseconds; in steps of 10 ms.
fn cpu_micros() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    ticks * 10_000
}

fn record(clock: &dyn Clock) -> UsageRecord {
    let text = Arc::<str>::from;
    let amount = Money::from_picos;
    UsageRecord {
        id: RecordIds::default().next(clock.wall()),
        time: clock.wall(),
        request_id: text("0192a5f4-7b1e-7c3a-9f00-1234567890ab"),
        account: text("acme"),
        key_id: text("key_7f3a9c"),
        plan: text("pro"),
        service: text("ai_api"),
        endpoint: text("code_suggestions"),
        path: text("/v1/chat/completions"),
        model_asked: text("gpt-4o-mini"),
        model_used: text("gpt-4o-mini"),
        provider: text("openai"),
        tier: text("simple"),
        status: 200,
        outcome: Outcome::Ok,
        cache: text("miss"),
        similarity: None,
        stream: false,
        attempts: 1,
        quantity: 1,
        unit_price: amount(20_000_000_000),
        list_price: amount(20_000_000_000),
        price: amount(20_000_000_000),
        cost: amount(123_450_000),
        unpriced: false,
        tokens: Tokens { input: 420, cached_input: 128, output: 97, reasoning: 0 },
        estimated: false,
        bytes_in: 1024,
        bytes_out: 640,
        duration_ms: 812,
        first_byte_ms: Some(230),
        text_hash: Some(text("9f86d081884c7d659a2feaa0c55ad015")),
        cache_key: Some(text("b5bb9d8014a0f9b1d61e21e796d78dcc")),
        complexity: None,
        metadata: None,
        rates: None,
    }
}

fn attempt(record: &UsageRecord) -> Attempt {
    Attempt {
        record: record.id,
        number: 1,
        time: record.time,
        request_id: record.request_id.clone(),
        account: record.account.clone(),
        key_id: record.key_id.clone(),
        plan: record.plan.clone(),
        endpoint: record.endpoint.clone(),
        path: record.path.clone(),
        model_asked: record.model_asked.clone(),
        model_used: record.model_used.clone(),
        provider: record.provider.clone(),
        tier: record.tier.clone(),
        stream: false,
        list_price: record.list_price,
        estimated_input: 400,
        estimated_cost: Money::from_picos(250_000_000),
        unpriced: false,
        bytes_in: 1024,
    }
}
