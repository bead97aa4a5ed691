//! What the ledger's tests share: records, a disk that fails, a crash.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use proptest::prelude::*;
use tempfile::TempDir;

use super::journal::media::{Disk, Media, Sink};
use super::record::{Attempt, Outcome, TokenRates, Tokens, UsageRecord};
use super::savings::Savings;
use super::{Digest, Ledger, Options, Replay, Sum};
use crate::base::clock::{TestClock, Timestamp};
use crate::base::id::RecordIds;
use crate::base::money::Money;
use crate::config::Durability;

/// 2026-11-24T00:00:00Z.
pub(super) const MIDNIGHT: Timestamp = Timestamp(1_795_478_400_000_000);

/// `MIDNIGHT` and so many seconds.
pub(super) fn at(seconds: u64) -> Timestamp {
    Timestamp(MIDNIGHT.0 + seconds * 1_000_000)
}

/// A record of a charged request at `time`.
pub(super) fn record(time: Timestamp) -> UsageRecord {
    let text = Arc::<str>::from;
    UsageRecord {
        id: RecordIds::default().next(time),
        time,
        request_id: text("req-1"),
        account: text("acme"),
        key_id: text("key-1"),
        plan: text("pro"),
        service: text("ai_api"),
        endpoint: text("default"),
        path: text("/v1/chat/completions"),
        model_asked: text("gpt-4o-mini"),
        model_used: text("gpt-4o-mini"),
        provider: text("openai"),
        tier: text("simple"),
        status: 200,
        outcome: Outcome::Ok,
        cache: text("bypass"),
        similarity: None,
        stream: false,
        attempts: 1,
        quantity: 1,
        unit_price: Money::from_picos(20_000_000_000),
        list_price: Money::from_picos(20_000_000_000),
        price: Money::from_picos(20_000_000_000),
        cost: Money::from_picos(123_450_000),
        unpriced: false,
        tokens: Tokens { input: 120, cached_input: 20, output: 34, reasoning: 4, cache_write: 0 },
        estimated: false,
        bytes_in: 1024,
        bytes_out: 600,
        duration_ms: 812,
        first_byte_ms: Some(230),
        text_hash: Some(text("0123456789abcdef")),
        cache_key: None,
        complexity: None,
        metadata: None,
        rates: None,
        prepaid: false,
        saved: None,
        session: None,
        void: false,
    }
}

/// The attempt that belongs to `record`.
pub(super) fn attempt(record: &UsageRecord, number: u32) -> Attempt {
    Attempt {
        record: record.id,
        number,
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
        stream: record.stream,
        list_price: record.list_price,
        estimated_input: 100,
        estimated_cost: Money::from_picos(500),
        unpriced: false,
        bytes_in: record.bytes_in,
        session: record.session,
    }
}

const OUTCOMES: [Outcome; 8] = [
    Outcome::Ok,
    Outcome::ProviderError,
    Outcome::ClientGoneEarly,
    Outcome::ClientGoneLate,
    Outcome::Cut,
    Outcome::Lost,
    Outcome::InternalError,
    Outcome::Revalidation,
];

/// Any record.
pub(super) fn any_record() -> impl Strategy<Value = UsageRecord> {
    let texts = proptest::collection::vec(".{0,40}".prop_map(Arc::<str>::from), 12);
    let numbers = proptest::collection::vec(any::<u64>(), 9);
    let money = proptest::collection::vec(any::<i128>().prop_map(Money::from_picos), 4);
    let options = (
        any::<Option<u16>>(),
        any::<Option<u64>>(),
        any::<Option<u32>>(),
        proptest::option::of(".{0,20}".prop_map(Arc::<str>::from)),
    );
    (texts, numbers, money, options, any::<[bool; 3]>(), 0..8_usize).prop_map(
        |(texts, numbers, money, (similarity, first_byte_ms, complexity, text), flags, outcome)| {
            let text_of = |at: usize| texts[at].clone();
            let [
                input,
                cached_input,
                output,
                reasoning,
                cache_write,
                bytes_in,
                bytes_out,
                duration_ms,
                time,
            ] = numbers[..]
            else {
                unreachable!("nine numbers")
            };
            UsageRecord {
                id: RecordIds::default().next(Timestamp(time >> 16)),
                time: Timestamp(time >> 16),
                request_id: text_of(0),
                account: text_of(1),
                key_id: text_of(2),
                plan: text_of(3),
                service: text_of(4),
                endpoint: text_of(5),
                path: text_of(6),
                model_asked: text_of(7),
                model_used: text_of(8),
                provider: text_of(9),
                tier: text_of(10),
                status: u16::try_from(input % 600).unwrap(),
                outcome: OUTCOMES[outcome],
                cache: text_of(11),
                similarity,
                stream: flags[0],
                attempts: u32::try_from(output % 9).unwrap(),
                quantity: u32::try_from(input % 2).unwrap(),
                unit_price: money[0],
                list_price: money[1],
                price: money[2],
                cost: money[3],
                unpriced: flags[1],
                tokens: Tokens { input, cached_input, output, reasoning, cache_write },
                estimated: flags[2],
                bytes_in,
                bytes_out,
                duration_ms,
                first_byte_ms,
                text_hash: text.clone(),
                cache_key: text.clone(),
                complexity,
                metadata: text,
                rates: flags[0].then_some(TokenRates {
                    input: money[0],
                    cached_input: money[1],
                    output: money[2],
                    cache_write: flags[1].then_some(money[3]),
                }),
                prepaid: flags[1],
                saved: flags[1].then_some(Savings {
                    cache: money[3],
                    coalesce: money[1],
                    batch: money[0],
                }),
                session: flags[2].then(|| RecordIds::default().next(Timestamp(time >> 17))),
                void: false,
            }
        },
    )
}

/// Opens the ledger of `dir` and returns what it replayed, in that order.
pub(super) fn open(dir: &Path, options: Options) -> (Ledger, Vec<UsageRecord>) {
    let mut replayed = Vec::new();
    let (mut summed, mut requests) = (0, 0);
    let clock = Arc::new(TestClock::at(MIDNIGHT));
    let (mut in_sums, mut in_records) = (BTreeMap::new(), BTreeMap::new());
    let mut sum = |sum: &Sum<'_>| summed += sum.requests;
    let mut paid = |account: &str, amount| {
        *in_sums.entry(account.to_owned()).or_insert(Money::ZERO) += amount;
    };
    let mut record = |digest: &Digest<'_>| {
        replayed.push(digest.id);
        requests += u64::from(!digest.goes_on());
        if digest.prepaid && !digest.price.is_zero() {
            let account = digest.account.to_owned();
            *in_records.entry(account).or_insert(Money::ZERO) += digest.price;
        }
    };
    let replay = Replay::none()
        .sums(Timestamp(0)..Timestamp(u64::MAX), &mut sum)
        .paid(&mut paid)
        .records(Timestamp(0), &mut record);
    let ledger = Ledger::open_with(dir, Durability::Process, clock, options, replay).unwrap();
    assert_eq!(summed, requests, "sums and records agree");
    assert_eq!(in_sums, in_records, "so do payments");
    let found = replayed.into_iter().map(|id| ledger.find(id).unwrap().unwrap()).collect();
    (ledger, found)
}

/// One shard, so that a test knows which file it writes to.
pub(super) fn one_shard() -> Options {
    Options { shards: 1, ..Options::default() }
}

/// What is on the disk when the process ends at this instant.
pub(super) fn crash(dir: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    std::fs::create_dir(copy.path().join("journal")).unwrap();
    for segment in segments(dir) {
        let name = segment.file_name().unwrap();
        std::fs::copy(&segment, copy.path().join("journal").join(name)).unwrap();
    }
    copy
}

/// The same, with the index.
pub(super) fn crash_whole(dir: &Path) -> TempDir {
    // The index first: it may lag behind the segments, never run ahead of them.
    let copy = tempfile::tempdir().unwrap();
    for part in ["index", "journal"] {
        std::fs::create_dir(copy.path().join(part)).unwrap();
        for entry in std::fs::read_dir(dir.join(part)).unwrap() {
            let path = entry.unwrap().path();
            // What is being replaced just now may be gone.
            std::fs::copy(&path, copy.path().join(part).join(path.file_name().unwrap())).ok();
        }
    }
    copy
}

/// The segment files of `dir` in the order of their creation.
pub(super) fn segments(dir: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(dir.join("journal")).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// A disk whose faults a test turns on and off.
#[derive(Clone)]
pub(super) struct Faulty(Arc<Faults>);

pub(super) struct Faults {
    /// How many more bytes it takes.
    pub(super) room: AtomicU64,
    pub(super) cannot_truncate: AtomicBool,
    pub(super) cannot_sync: AtomicBool,
    /// How many of the next syncs fail.
    pub(super) failing_syncs: AtomicU64,
}

impl Faulty {
    pub(super) fn new() -> Self {
        Self(Arc::new(Faults {
            room: AtomicU64::new(u64::MAX),
            cannot_truncate: AtomicBool::new(false),
            cannot_sync: AtomicBool::new(false),
            failing_syncs: AtomicU64::new(0),
        }))
    }

    pub(super) fn faults(&self) -> &Faults {
        &self.0
    }

    pub(super) fn one_shard(&self) -> Options {
        Options { media: Arc::new(self.clone()), ..one_shard() }
    }
}

struct FaultyFile(Arc<dyn Sink>, Arc<Faults>);

impl Media for Faulty {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn Sink>> {
        if path.exists() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        Ok(Arc::new(FaultyFile(Disk.create(path)?, Arc::clone(&self.0))))
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        File::open(directory).map(|_| ())
    }
}

impl Sink for FaultyFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let room = usize::try_from(self.1.room.load(SeqCst)).unwrap();
        let part = bytes.len().min(room);
        self.0.write_at(&bytes[..part], offset)?;
        if part < bytes.len() {
            self.1.room.store(0, SeqCst);
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.1.room.fetch_sub(part as u64, SeqCst);
        Ok(())
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        if self.1.cannot_truncate.load(SeqCst) {
            return Err(io::ErrorKind::Other.into());
        }
        self.0.truncate(length)
    }

    fn sync(&self) -> io::Result<()> {
        let fails = |left: u64| left.checked_sub(1);
        let once = self.1.failing_syncs.fetch_update(SeqCst, SeqCst, fails).is_ok();
        if once || self.1.cannot_sync.load(SeqCst) {
            return Err(io::ErrorKind::Other.into());
        }
        self.0.sync()
    }
}
