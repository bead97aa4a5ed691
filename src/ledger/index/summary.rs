//! What a segment holds, so that questions need not read it: made by reading it
//! once, from beginning to end.

use std::collections::HashSet;

use super::gathered::Gathered;
use crate::base::clock::Timestamp;
use crate::base::id::RecordId;
use crate::base::money::Money;
use crate::ledger::digest::{Digest, Sum};
use crate::ledger::error::StorageError;
use crate::ledger::journal::frame::Kind;
use crate::ledger::journal::scan::{Damage, Fault, Scan};
use crate::ledger::journal::segment::{Segment, Span};
use crate::ledger::record::{Tokens, Void};
use crate::ledger::savings::CacheSum;

/// A day, in microseconds.
pub(in crate::ledger) const DAY: u64 = 86_400_000_000;

/// The records of one account, key, class, model and UTC day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(array)]
pub(in crate::ledger) struct Line {
    /// The account: a place in [`Totals::names`], like the three that follow.
    #[n(0)]
    pub(super) account: u32,
    #[n(1)]
    pub(super) key_id: u32,
    #[n(2)]
    pub(super) endpoint: u32,
    #[n(3)]
    pub(super) model_used: u32,
    /// Days since 1970.
    #[n(4)]
    pub(in crate::ledger) day: u64,
    #[n(5)]
    pub(super) requests: u64,
    #[n(6)]
    pub(super) quantity: u64,
    #[n(7)]
    pub(super) tokens: Tokens,
    #[n(8)]
    pub(super) price: Money,
    #[n(9)]
    pub(super) cost: Money,
    #[n(10)]
    pub(super) cache: CacheSum,
}

/// The sums over a segment's records.
#[derive(Clone, Debug, Default, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub(in crate::ledger) struct Totals {
    #[n(0)]
    pub(super) names: Vec<String>,
    #[n(1)]
    pub(super) lines: Vec<Line>,
    /// Accounts in the order of their postings, and how many each has.
    #[n(2)]
    pub(super) accounts: Vec<(u32, u32)>,
}

impl Totals {
    /// Every sum, with its day.
    pub(in crate::ledger) fn sums(&self) -> impl Iterator<Item = (u64, Sum<'_>)> {
        let name = |at: u32| self.names.get(at as usize).map_or("", String::as_str);
        self.lines.iter().map(move |line| {
            let sum = Sum {
                account: name(line.account),
                key_id: name(line.key_id),
                endpoint: name(line.endpoint),
                model_used: name(line.model_used),
                requests: line.requests,
                quantity: line.quantity,
                tokens: line.tokens,
                price: line.price,
                cost: line.cost,
                cache: line.cache,
            };
            (line.day, sum)
        })
    }

    /// Which of the postings are those of `account`: first and number.
    pub(in crate::ledger) fn postings_of(&self, account: &str) -> Option<(usize, usize)> {
        let mut first = 0;
        for (name, count) in &self.accounts {
            let count = *count as usize;
            if self.names.get(*name as usize).is_some_and(|name| name == account) {
                return Some((first, count));
            }
            first += count;
        }
        None
    }
}

/// Everything that the index keeps of a segment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::ledger) struct Summary {
    /// What the records span; none without records.
    pub(in crate::ledger) span: Option<Span>,
    /// Settlements of a record that the segment had settled before.
    pub(in crate::ledger) repeated: u64,
    /// Records that were voided, here or in a segment before.
    pub(in crate::ledger) voids: Vec<RecordId>,
    /// Sums.
    pub(in crate::ledger) totals: Totals,
    /// Records by identifier, each with the place of its frame.
    pub(in crate::ledger) ids: Vec<(RecordId, u32)>,
    /// Hashes of account and request identifier, each with the place of the frame.
    pub(in crate::ledger) requests: Vec<(u64, u32)>,
    /// Places in `ids`, account by account.
    pub(in crate::ledger) postings: Vec<u32>,
    /// What accounts paid from their prepaid balances.
    pub(in crate::ledger) paid: Vec<(String, Money)>,
    /// What was found damaged.
    pub(in crate::ledger) damages: Vec<Damage>,
    /// Frames of a kind that this version does not know.
    pub(in crate::ledger) unknown: u64,
}

impl Summary {
    /// Reads `segment` as far as its length.
    ///
    /// # Errors
    /// [`StorageError::Unreadable`]; damaged bytes are no error.
    pub(in crate::ledger) fn of(segment: &Segment) -> Result<Self, StorageError> {
        let unreadable = |error| StorageError::unreadable(&segment.path, error);
        let mut scan = Scan::open(segment).map_err(unreadable)?;
        let mut gathered = Gathered::reading();
        let mut seen = HashSet::<RecordId, ahash::RandomState>::default();
        let mut summary = Self::default();
        let mut last = None;
        while let Some(found) = scan.next(&mut summary.damages).map_err(unreadable)? {
            if last.is_some_and(|last| found.sequence <= last) {
                let damage = scan.damage(&found, Fault::Misplaced);
                summary.damages.push(damage);
            }
            last = last.max(Some(found.sequence));
            let understood = match found.kind {
                Some(Kind::Attempt) => true,
                Some(Kind::Settle) => match Digest::read(scan.payload()) {
                    Some(digest) => {
                        match seen.insert(digest.id) {
                            true => gathered.add(&digest, found.offset),
                            false => summary.repeated += 1,
                        }
                        true
                    }
                    None => false,
                },
                Some(Kind::Void) => match minicbor::decode::<Void>(scan.payload()) {
                    Ok(void) => {
                        gathered.void(void.record);
                        true
                    }
                    Err(_) => false,
                },
                None => {
                    summary.unknown += 1;
                    true
                }
            };
            if !understood {
                let damage = scan.damage(&found, Fault::Undecodable);
                summary.damages.push(damage);
            }
        }
        Ok(gathered.into_summary(summary))
    }
}

/// The number of the UTC day of `time`.
pub(in crate::ledger) const fn day_of(time: Timestamp) -> u64 {
    time.0 / DAY
}

/// Under which number a request is found by what its account calls it: FNV-1a's
/// step over eight bytes of both at a time. What is found is compared with what was
/// asked for, so that two that meet cost a look and nothing else.
pub(in crate::ledger) fn request_hash(account: &str, request_id: &str) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    let step = |hash: u64, word: u64| {
        let hash = (hash ^ word).wrapping_mul(PRIME);
        hash ^ (hash >> 32)
    };
    [account, request_id].iter().fold(OFFSET, |hash, text| {
        let (words, rest) = text.as_bytes().as_chunks::<8>();
        let hash = words.iter().fold(hash, |hash, word| step(hash, u64::from_le_bytes(*word)));
        let mut last = [0; 8];
        last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        // Tells texts apart that differ in where one ends, or in zeros at the end.
        step(step(hash, u64::from_le_bytes(last)), text.len() as u64)
    })
}
