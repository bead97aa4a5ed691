//! What a request's two journal frames cost, and what a large ledger answers:
//! `cargo bench --bench ledger`, and `-- --records 10000000` for the second,
//! which needs 7 GB in the temporary directory for ten million; and
//! `-- --invoices 3000000` for the invoices of a month over so many records.
//! CPU time is that of the whole process, its sync and index threads included.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a benchmark measures real time and reports to a person"
)]

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use tollgate::base::clock::{Clock, SystemClock, Timestamp};
use tollgate::base::id::RecordIds;
use tollgate::base::money::Money;
use tollgate::billing::calendar::Month;
use tollgate::billing::{Biller, Parts};
use tollgate::config::Durability;
use tollgate::ledger::record::{Attempt, Outcome, Tokens, UsageRecord};
use tollgate::ledger::{By, Digest, Filter, Ledger, Page, Replay, Sum};
use tollgate::store::Store;
use tollgate::store::accounts::Directory;
use tollgate::store::billing::{Assignment, Book, Choice, History, Standing};
use tollgate::telemetry::metrics::Metrics;
use tollgate::webhooks::Webhooks;

const PAIRS: u32 = 200_000;
const DAY: u64 = 86_400_000_000;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let given = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        Some(arguments[at + 1].parse().unwrap())
    };
    match (given("--records"), given("--invoices")) {
        (Some(records), _) => large_ledger(records),
        (None, Some(records)) => invoices(records),
        (None, None) => [1, 2, 8].into_iter().for_each(small_ledger),
    }
}

/// Drafts the invoices of a month, for 10,000 accounts with a plan.
fn invoices(count: u32) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tollgate.yaml");
    std::fs::write(&file, "").unwrap();
    let config = tollgate::config::load(&file).unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let month = Month::of(clock.wall(), &config.timezone).unwrap().previous();
    let span = month.span(&config.timezone).unwrap();
    println!("| a month of {count} records, 10,000 accounts | time | peak memory |\n|---|---|---|");
    let ledger = Arc::new(open(dir.path(), Replay::none()));
    std::thread::scope(|scope| {
        for half in 0..2 {
            let ledger = &ledger;
            scope.spawn(move || history(ledger, (span.from, span.to), count, 10_000, half));
        }
    });
    let store = Store::open(dir.path()).unwrap();
    let book = Arc::new(Book::new(&store).unwrap());
    for number in 0..10_000 {
        let assignment = Assignment {
            sequence: 1,
            at: span.from,
            plan: "pro".to_owned(),
            monthly_price: "29".parse().unwrap(),
            included: false,
            standing: Standing::Active,
        };
        book.append(&format!("account-{number}"), &assignment).unwrap();
    }
    let metrics = Arc::new(Metrics::new([]).unwrap());
    let biller = Biller::new(Parts {
        ledger,
        accounts: Arc::new(Directory::new(&store).unwrap()),
        history: book.clone(),
        adjustments: book.clone(),
        invoices: book.clone(),
        rates: Arc::default(),
        webhooks: Webhooks::of(&store, &config, &clock, &metrics).unwrap(),
        clock,
    });
    step("all drafts", || biller.draft_all(&config, month, false).unwrap());
    step("all drafts again, unchanged", || biller.draft_all(&config, month, false).unwrap());
    step("the draft of one account", || biller.draft(&config, month, "account-7", false).unwrap());
    let of = Choice { period: Some(month.to_string()), ..Choice::default() };
    let listed = step("a page of 100 of the month", || biller.invoices(&of, None, 100).unwrap());
    assert_eq!(listed.len(), 100);
    let drafts = biller.invoices(&of, None, usize::MAX).unwrap();
    assert_eq!(drafts.len(), 10_000);
    step("1,000 of them made final", || {
        for draft in drafts.iter().take(1_000) {
            biller.finalize(&config, &draft.content.id, None).unwrap();
        }
    });
}

fn small_ledger(threads: u32) {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(SystemClock::new());
    let ledger = open(dir.path(), Replay::none());
    let (cpu, wall) = (cpu_micros(), Instant::now());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| pairs(&ledger, &*clock, PAIRS / threads));
        }
    });
    report(&format!("begin + settle, {threads} threads"), PAIRS, cpu, wall);
    let (cpu, wall) = (cpu_micros(), Instant::now());
    drop(ledger);
    report("the end: sync and index of what is left, a record", PAIRS, cpu, wall);
}

fn open(dir: &Path, replay: Replay<'_>) -> Ledger {
    let clock = Arc::new(SystemClock::new());
    Ledger::open(dir, Durability::Process, clock, replay).unwrap()
}

/// Writes so many records of a thousand accounts over 30 days and puts the usual
/// questions to them.
fn large_ledger(count: u32) {
    let dir = tempfile::tempdir().unwrap();
    let now = SystemClock::new().wall();
    let begin = Timestamp(now.0 - 30 * DAY);
    println!(
        "| {count} records of 1,000 accounts over 30 days | time | peak memory |\n|---|---|---|"
    );
    let ledger = open(dir.path(), Replay::none());
    let (cpu, wall) = (cpu_micros(), Instant::now());
    std::thread::scope(|scope| {
        for half in 0..2 {
            let ledger = &ledger;
            scope.spawn(move || history(ledger, (begin, now), count, 1_000, half));
        }
    });
    let each = hundredths(u128::from(cpu_micros() - cpu), count);
    row(&format!("written, indexing included; {each} µs CPU a record"), wall);
    step("end of the process", || drop(ledger));
    let size = |part: &str| {
        let files = std::fs::read_dir(dir.path().join(part)).unwrap();
        files.map(|file| file.unwrap().metadata().unwrap().len()).sum::<u64>() / u64::from(count)
    };
    println!("| bytes a record: journal {}, index {} | | |", size("journal"), size("index"));

    let started = |what: &str| {
        let (mut summed, mut single) = (0, 0);
        let mut sum = |sum: &Sum<'_>| summed += sum.requests;
        let mut record = |_: &Digest<'_>| single += 1;
        let replay =
            Replay::none().sums(begin..now, &mut sum).records(Timestamp(now.0 - DAY), &mut record);
        let ledger = step(what, || open(dir.path(), replay));
        assert_eq!(summed, u64::from(count));
        assert!(single > 0);
        ledger
    };
    let ledger = started("start: month sums, and each record of the last day");
    questions(&ledger, now);
    drop(ledger);
    std::fs::remove_dir_all(dir.path().join("index")).unwrap();
    drop(started("start without an index, which it makes anew"));
    let verified = step("`ledger verify`", || Ledger::verify(dir.path(), &mut |_| {}).unwrap());
    assert!(verified.is_whole() && verified.settled == u64::from(count), "{verified:?}");
    step("`ledger rebuild`", || Ledger::rebuild(dir.path()).unwrap());
}

fn questions(ledger: &Ledger, now: Timestamp) {
    let all = Filter::default();
    let mine = Filter { account: Some("account-7".into()), ..Filter::default() };
    let part = Filter { from: Some(Timestamp(now.0 - 7 * DAY - 5)), ..Filter::default() };
    step("sums by class", || ledger.summary(&all, By::Class).unwrap());
    step("sums by account", || ledger.summary(&all, By::Account).unwrap());
    step("sums by day of one account", || ledger.summary(&mine, By::Day).unwrap());
    step("sums by model from the middle of a day on", || ledger.summary(&part, By::Model).unwrap());
    let page = Page { after: None, limit: 1000 };
    step("a page of 1,000 records", || ledger.records(&all, page).unwrap());
    let page =
        step("a page of 1,000 records of one account", || ledger.records(&mine, page).unwrap());
    step("every record of one account, in an invoice's pages", || read(ledger, &mine));
    step("every record of all accounts, in an invoice's pages", || read(ledger, &all));
    let record = &page.records[page.records.len() / 2];
    step("a record by its id", || ledger.find(record.id).unwrap().unwrap());
    step("a record by account and request id", || {
        ledger.find_request(&record.account, &record.request_id).unwrap().unwrap()
    });
}

/// Reads all that `filter` means as invoices do; how many there are.
fn read(ledger: &Ledger, filter: &Filter) -> usize {
    let (mut after, mut count) = (None, 0);
    loop {
        let page = ledger.records(filter, Page { after, limit: 5_000 }).unwrap();
        count += page.records.len();
        after = page.next;
        if after.is_none() {
            return count;
        }
    }
}

/// Runs `work` and prints how long it took and how much memory it needed.
fn step<T>(what: &str, work: impl FnOnce() -> T) -> T {
    // Makes the kernel forget the peak so far.
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let wall = Instant::now();
    let done = black_box(work());
    row(what, wall);
    done
}

fn row(what: &str, wall: Instant) {
    let micros = wall.elapsed().as_micros();
    let time = match micros {
        0..10_000 => format!("{micros} µs"),
        10_000..10_000_000 => format!("{} ms", micros / 1_000),
        _ => format!("{} s", micros / 1_000_000),
    };
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().split(' ').next().unwrap().parse().unwrap();
    println!("| {what} | {time} | {} MB |", peak / 1024);
}

/// One half of the history: every second record.
fn history(
    ledger: &Ledger,
    (begin, now): (Timestamp, Timestamp),
    count: u32,
    accounts: u32,
    half: u32,
) {
    let record = record(&SystemClock::new());
    let attempt = attempt(&record);
    let ids = RecordIds::default();
    let text = |prefix: &str, number: u32| Arc::<str>::from(format!("{prefix}-{number}"));
    let accounts: Vec<_> = (0..accounts).map(|number| text("account", number)).collect();
    let classes: Vec<_> = (0..4).map(|number| text("class", number)).collect();
    let models: Vec<_> = (0..3).map(|number| text("model", number)).collect();
    let pace = (now.0 - begin.0) / u64::from(count + 1);
    for number in (half..count).step_by(2) {
        let time = Timestamp(begin.0 + u64::from(number) * pace);
        let id = ids.next(time);
        // Strides without a common factor, so that every combination occurs.
        let pick = |list: &[Arc<str>], stride: u32| {
            list[(number.wrapping_mul(stride) >> 3) as usize % list.len()].clone()
        };
        let request_id: Arc<str> = format!("req_{}", id.0.simple()).into();
        let record = UsageRecord {
            id,
            time,
            request_id: request_id.clone(),
            account: pick(&accounts, 2_654_435_761),
            endpoint: pick(&classes, 40_503),
            model_used: pick(&models, 69_069),
            ..record.clone()
        };
        let attempt = Attempt {
            record: id,
            time,
            request_id,
            account: record.account.clone(),
            endpoint: record.endpoint.clone(),
            model_used: record.model_used.clone(),
            ..attempt.clone()
        };
        ledger.begin(&attempt).unwrap();
        let _settled = ledger.settle(&record).unwrap();
    }
}

fn pairs(ledger: &Ledger, clock: &dyn Clock, count: u32) {
    let mut record = record(clock);
    let mut attempt = attempt(&record);
    let ids = RecordIds::default();
    for _ in 0..count {
        record.time = clock.wall();
        record.id = ids.next(record.time);
        (attempt.record, attempt.time) = (record.id, record.time);
        ledger.begin(black_box(&attempt)).unwrap();
        let _settled = black_box(ledger.settle(black_box(&record)).unwrap());
    }
}

fn report(what: &str, count: u32, cpu: u64, wall: Instant) {
    let (cpu, wall) = (cpu_micros() - cpu, wall.elapsed().as_micros());
    let (cpu, wall) = (hundredths(u128::from(cpu), count), hundredths(wall, count));
    println!("{what}: {cpu} µs CPU, {wall} µs wall");
}

/// Microseconds a record, with two decimals.
fn hundredths(micros: u128, count: u32) -> String {
    let hundredths = micros * 100 / u128::from(count);
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
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
        tokens: Tokens { input: 420, cached_input: 128, output: 97, ..Tokens::default() },
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
        prepaid: false,
        saved: None,
        session: None,
        void: false,
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
        session: None,
    }
}
