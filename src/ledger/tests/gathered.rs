//! What the writer gathers for the index is what a reader finds in the segments.
//! Covers invariants 1 and 2.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::ledger::record::{TokenRates, Tokens};
use crate::ledger::testing::any_record;

/// The sidecars of `dir`.
fn sidecars(dir: &Path) -> BTreeMap<std::path::PathBuf, Vec<u8>> {
    let paths = fs::read_dir(dir.join("index")).unwrap().map(|entry| entry.unwrap().path());
    let paths = paths.filter(|path| path.extension().is_some_and(|name| name == "index"));
    paths.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

/// Any record, often of the account and class of another; no sum of a few is too large.
fn some_record() -> impl Strategy<Value = UsageRecord> {
    let shared = (0..3_usize, 0..3_usize, any::<bool>());
    (any_record(), shared).prop_map(|(record, (account, class, shared))| {
        let part = |money: Money| Money::from_picos(money.picos() >> 8);
        let record = UsageRecord { price: part(record.price), cost: part(record.cost), ..record };
        if !shared {
            return record;
        }
        let (account, endpoint) = (["", "a", "b"][account].into(), ["", "a", "c"][class].into());
        let (key_id, model_used) = ("k".into(), "a".into());
        UsageRecord { account, endpoint, key_id, model_used, ..record }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever the records are, and whichever of them are void: to the byte.
    #[test]
    fn what_is_gathered_is_what_is_read(
        records in prop::collection::vec(some_record(), 1..60),
        voids in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        segment_bytes in 300_u64..20_000,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { shards: 2, segment_bytes, ..Options::default() };
        let (ledger, _) = open(dir.path(), options);
        let mut voids: Vec<_> = voids.iter().map(|index| index.index(records.len())).collect();
        for (at, record) in records.iter().enumerate() {
            let _settled = ledger.settle(record).unwrap();
            if voids.contains(&at) {
                ledger.void(record.id);
            }
        }
        voids.sort_unstable();
        voids.dedup();
        let revenue = |ledger: &Ledger| -> Vec<_> {
            let rows = ledger.summary(&Filter::default(), By::Account).unwrap();
            rows.into_iter().map(|row| (row.by, row.requests, row.revenue, row.cost)).collect()
        };
        let before = revenue(&ledger);
        drop(ledger);
        let written = sidecars(dir.path());
        let found = Ledger::verify(dir.path(), &mut |_| {}).unwrap();
        prop_assert!(found.is_whole() && found.flaws.is_empty(), "{found:?}");
        Ledger::rebuild(dir.path()).unwrap();
        prop_assert!(sidecars(dir.path()) == written, "gathered and read differ");
        let (ledger, _) = open(dir.path(), one_shard());
        prop_assert_eq!(revenue(&ledger), before);
        for at in voids {
            let found = ledger.find(records[at].id).unwrap().unwrap();
            // What was never charged was not taken back.
            prop_assert_eq!((found.void, found.quantity), (records[at].quantity > 0, 0));
        }
    }
}

/// More accounts than a writer gathers sums of: the segment is read when it is full,
/// and nobody's sums are any other.
#[test]
fn more_sums_than_are_gathered_are_read() {
    const ACCOUNTS: u64 = 16_384 + 600;
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open(dir.path(), one_shard());
    let of = |number: u64| UsageRecord {
        account: format!("a{number}").into(),
        prepaid: number.is_multiple_of(2),
        ..record(at(number / 1_000))
    };
    let records: Vec<_> = (0..ACCOUNTS).chain(0..9).map(of).collect();
    for record in &records {
        let _settled = ledger.settle(record).unwrap();
    }
    let check = |ledger: &Ledger| {
        let rows = ledger.summary(&Filter::default(), By::Account).unwrap();
        assert_eq!(rows.len() as u64, ACCOUNTS);
        let twice: Vec<_> = rows.iter().filter(|row| row.requests == 2).collect();
        assert_eq!(twice.len(), 9);
        assert!(twice.iter().all(|row| row.revenue == record(at(0)).price.times(2)));
        for at in [0, 16_383, 16_384, records.len() - 1] {
            assert_eq!(ledger.find(records[at].id).unwrap().as_ref(), Some(&records[at]));
        }
    };
    check(&ledger);
    assert_eq!(segments(dir.path()).len(), 1, "all of them in one segment");
    drop(ledger);
    let found = Ledger::verify(dir.path(), &mut |_| {}).unwrap();
    assert!(found.is_whole() && found.flaws.is_empty(), "{found:?}");
    let (mut paid, mut payers) = (Money::ZERO, 0);
    let mut each = |_: &str, amount: Money| {
        (paid, payers) = (paid + amount, payers + 1);
    };
    let replay = Replay::none().paid(&mut each);
    let ledger = Ledger::open(dir.path(), Durability::Process, clock(), replay).unwrap();
    assert_eq!((payers, paid), (ACCOUNTS / 2, record(at(0)).price.times(ACCOUNTS / 2 + 5)));
    check(&ledger);
    for at in [5, 16_384] {
        let filter = Filter { account: Some(records[at].account.clone()), ..Filter::default() };
        let page = ledger.records(&filter, ALL).unwrap();
        assert!(page.records.contains(&records[at]) && page.damage.is_none());
    }
}

/// Records of before tokens were told apart by what the provider's cache did with
/// them are read, and a version of then reads those of now.
#[test]
fn records_without_cache_writes_are_those_of_before() {
    #[derive(Debug, PartialEq, minicbor::Encode, minicbor::Decode)]
    #[cbor(map)]
    struct Before {
        #[n(0)]
        input: u64,
        #[n(1)]
        cached_input: u64,
        #[n(2)]
        output: u64,
        #[n(3)]
        reasoning: u64,
    }
    #[derive(Debug, PartialEq, minicbor::Encode, minicbor::Decode)]
    #[cbor(map)]
    struct RatesBefore {
        #[n(0)]
        input: Money,
        #[n(1)]
        cached_input: Money,
        #[n(2)]
        output: Money,
    }
    let tokens = Tokens { input: 9, cached_input: 2, output: 4, reasoning: 1, cache_write: 0 };
    let before = || Before { input: 9, cached_input: 2, output: 4, reasoning: 1 };
    assert_eq!(minicbor::to_vec(tokens).unwrap(), minicbor::to_vec(before()).unwrap());
    let old = minicbor::to_vec(before()).unwrap();
    assert_eq!(minicbor::decode::<Tokens>(&old).unwrap(), tokens);
    let new = minicbor::to_vec(Tokens { cache_write: 7, ..tokens }).unwrap();
    assert_eq!(minicbor::decode::<Before>(&new).unwrap(), before());
    let [input, cached_input, output] = [3, 1, 8].map(Money::from_picos);
    let rates = TokenRates { input, cached_input, output, cache_write: None };
    let before = || RatesBefore { input, cached_input, output };
    assert_eq!(minicbor::to_vec(rates).unwrap(), minicbor::to_vec(before()).unwrap());
    let old = minicbor::to_vec(before()).unwrap();
    assert_eq!(minicbor::decode::<TokenRates>(&old).unwrap(), rates);
    let new = minicbor::to_vec(TokenRates { cache_write: Some(output), ..rates }).unwrap();
    assert_eq!(minicbor::decode::<RatesBefore>(&new).unwrap(), before());
}
