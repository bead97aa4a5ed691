//! Whatever the clock does, records stay ordered and unique, and days and months
//! hold what happened in them. Covers A4 and H1.

use std::collections::BTreeMap;

use jiff::ToSpan;
use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::*;
use crate::admission::quota::Calendar;
use crate::base::id::RecordIds;

const ZONES: [&str; 4] =
    ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia"];
/// Moments around which clocks are stepped: daylight saving that begins and ends in
/// each of the zones, a leap day, edges of months and years, a day that one left out.
const AROUND: [&str; 12] = [
    "2026-03-29T01:00:00Z",
    "2026-10-25T01:00:00Z",
    "2026-03-08T07:00:00Z",
    "2026-11-01T06:00:00Z",
    "2026-04-04T15:00:00Z",
    "2026-10-03T15:30:00Z",
    "2028-02-29T00:00:00Z",
    "2028-02-29T23:59:59Z",
    "2026-07-01T00:00:00Z",
    "2026-12-31T23:59:59.999999Z",
    "2026-11-01T04:00:00Z",
    "2011-12-30T10:00:00Z",
];
const HOUR: i64 = 3_600_000_000;

fn moment(text: &str) -> i64 {
    text.parse::<jiff::Timestamp>().unwrap().as_microsecond()
}

fn stamp(micros: i64) -> Timestamp {
    Timestamp(u64::try_from(micros).unwrap())
}

/// By how much the clock goes on before a request: mostly a little, sometimes a step,
/// forwards or backwards. And whether the process ends before it.
fn step() -> impl Strategy<Value = (i64, bool)> {
    let steps = prop_oneof![
        4 => 0..5_000_000_i64,
        1 => Just(0),
        2 => -2 * HOUR..2 * HOUR,
        1 => prop_oneof![Just(HOUR), Just(-HOUR), Just(HOUR / 2), Just(-HOUR / 2)],
        1 => -40 * 24 * HOUR..40 * 24 * HOUR,
    ];
    (steps, prop::bool::weighted(0.1))
}

/// The month that `at` lies in and its edges, asked of civil dates alone: its first
/// moment is the first one whose date is in it.
fn naive_month(at: Timestamp, zone: &TimeZone) -> (String, Timestamp, Timestamp) {
    const MONTH: i64 = 35 * 24 * HOUR;
    let at = i64::try_from(at.0).unwrap();
    let date =
        |micros: i64| zone.to_datetime(jiff::Timestamp::from_microsecond(micros).unwrap()).date();
    let edge = |first: jiff::civil::Date, mut before: i64, mut after: i64| {
        while after - before > 1 {
            let middle = before + (after - before) / 2;
            if date(middle) >= first { after = middle } else { before = middle }
        }
        stamp(after)
    };
    let first = date(at).first_of_month();
    let next = first.checked_add(1.month()).unwrap();
    let name = format!("{:04}-{:02}", first.year(), first.month());
    (name, edge(first, at - MONTH, at), edge(next, at, at + MONTH))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_clock_that_steps_disorders_nothing(
        around in 0..AROUND.len(),
        zone in 0..ZONES.len(),
        begin in -3 * HOUR..3 * HOUR,
        steps in prop::collection::vec(step(), 1..60),
        page in 1..7_usize,
    ) {
        let zone = TimeZone::get(ZONES[zone]).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let options = Options { segment_bytes: 1_500, ..one_shard() };
        let (mut ledger, _) = open(dir.path(), options.clone());
        let (mut ids, calendar) = (RecordIds::default(), Calendar::new(zone.clone()));
        let mut now = moment(AROUND[around]) + begin;
        let mut records: Vec<UsageRecord> = Vec::new();
        let mut since_start = 0;
        for (number, (step, restart)) in steps.into_iter().enumerate() {
            now += step;
            if restart {
                drop(ledger);
                (ledger, ids, since_start) =
                    (open(dir.path(), options.clone()).0, RecordIds::default(), records.len());
            }
            let time = stamp(now);
            let (name, begins, ends) = naive_month(time, &zone);
            let month = calendar.month(time);
            prop_assert_eq!((month.to_string(), month.begins, month.ends), (name, begins, ends));
            prop_assert!(begins <= time && time < ends);
            let price = Money::from_picos(1 << number);
            let record = UsageRecord { id: ids.next(time), price, ..record(time) };
            // In one process the order of the ids is that of the requests.
            let before = records[since_start..].last();
            prop_assert!(before.is_none_or(|before| before.id < record.id));
            settle(&ledger, &record);
            records.push(record);
        }

        // Every record once, in the order of the ids, however it is read.
        let mut sorted = records.clone();
        sorted.sort_by_key(|record| record.id);
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let part = ledger.records(&Filter::default(), Page { after, limit: page }).unwrap();
            found.extend(part.records);
            after = part.next;
            if after.is_none() {
                break;
            }
        }
        prop_assert!(found.windows(2).all(|pair| pair[0].id < pair[1].id));
        prop_assert_eq!(&found, &sorted);

        // Days in UTC, and months of the zone: now and as a start counts quotas.
        let mut days: BTreeMap<String, Money> = BTreeMap::new();
        let mut months: BTreeMap<(Timestamp, Timestamp), (u64, Money)> = BTreeMap::new();
        for record in &records {
            *days.entry(record.time.to_string().chars().take(10).collect()).or_default() += record.price;
            let (_, begins, ends) = naive_month(record.time, &zone);
            let month = months.entry((begins, ends)).or_default();
            *month = (month.0 + 1, month.1 + record.price);
        }
        let rows = ledger.summary(&Filter::default(), By::Day).unwrap();
        let rows: BTreeMap<_, _> = rows.into_iter().map(|row| (row.by, row.revenue)).collect();
        prop_assert_eq!(rows, days);
        let whole: u64 = months.values().map(|month| month.0).sum();
        prop_assert_eq!(whole, records.len() as u64);
        let mut ledger = Some(ledger);
        for ((from, to), wanted) in months {
            let filter = Filter { from: Some(from), to: Some(to), ..Filter::default() };
            let open = ledger.take().unwrap();
            let row = open.summary(&filter, By::Account).unwrap().remove(0);
            prop_assert_eq!((row.requests, row.revenue), wanted);
            drop(open);
            let mut counted = (0, Money::ZERO);
            let mut sum = |sum: &Sum<'_>| {
                counted = (counted.0 + sum.quantity, counted.1 + sum.price);
            };
            let replay = Replay::none().sums(from..to, &mut sum);
            ledger = Some(
                Ledger::open_with(dir.path(), Durability::Process, clock(), options.clone(), replay)
                    .unwrap(),
            );
            prop_assert_eq!(counted, wanted);
        }
    }
}
