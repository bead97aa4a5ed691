//! What a segment holds, so that questions need not read it: made by reading it
//! once, from beginning to end.

use std::collections::{BTreeMap, HashMap, HashSet};

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
    account: u32,
    #[n(1)]
    key_id: u32,
    #[n(2)]
    endpoint: u32,
    #[n(3)]
    model_used: u32,
    /// Days since 1970.
    #[n(4)]
    pub(in crate::ledger) day: u64,
    #[n(5)]
    requests: u64,
    #[n(6)]
    quantity: u64,
    #[n(7)]
    tokens: Tokens,
    #[n(8)]
    price: Money,
    #[n(9)]
    cost: Money,
    #[n(10)]
    cache: CacheSum,
}

/// The sums over a segment's records.
#[derive(Clone, Debug, Default, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub(in crate::ledger) struct Totals {
    #[n(0)]
    names: Vec<String>,
    #[n(1)]
    lines: Vec<Line>,
    /// Accounts in the order of their postings, and how many each has.
    #[n(2)]
    accounts: Vec<(u32, u32)>,
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
        let mut builder = Builder::default();
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
                        builder.add(&mut summary, &digest, found.offset);
                        true
                    }
                    None => false,
                },
                Some(Kind::Void) => match minicbor::decode::<Void>(scan.payload()) {
                    Ok(void) => {
                        summary.voids.push(void.record);
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
        builder.finish(&mut summary);
        Ok(summary)
    }
}

#[derive(Default)]
struct Builder {
    names: HashMap<String, u32, ahash::RandomState>,
    lines: HashMap<[u64; 5], Line, ahash::RandomState>,
    seen: HashSet<RecordId, ahash::RandomState>,
    paid: BTreeMap<String, Money>,
    found: Vec<(RecordId, u32, u32)>,
}

impl Builder {
    fn add(&mut self, summary: &mut Summary, digest: &Digest<'_>, offset: u64) {
        if !self.seen.insert(digest.id) {
            summary.repeated += 1;
            return;
        }
        summary.span = Some(Span::with(summary.span, digest.id, digest.time));
        let account = self.name(digest.account);
        let key_id = self.name(digest.key_id);
        let endpoint = self.name(digest.endpoint);
        let model_used = self.name(digest.model_used);
        let day = digest.time.0 / DAY;
        let key = [account.into(), key_id.into(), endpoint.into(), model_used.into(), day];
        let line = self.lines.entry(key).or_insert_with(|| Line {
            account,
            key_id,
            endpoint,
            model_used,
            day,
            requests: 0,
            quantity: 0,
            tokens: Tokens::default(),
            price: Money::ZERO,
            cost: Money::ZERO,
            cache: CacheSum::default(),
        });
        line.requests += u64::from(!digest.goes_on());
        line.quantity += u64::from(digest.quantity);
        line.tokens += digest.tokens;
        line.price += digest.price;
        line.cost += digest.cost;
        if let Some(amount) = digest.paid() {
            *self.paid.entry(digest.account.to_owned()).or_default() += amount;
        }
        line.cache += CacheSum::of(digest);
        // A segment is never longer than 4 GiB.
        let offset = u32::try_from(offset).unwrap_or(u32::MAX);
        self.found.push((digest.id, offset, account));
        summary.requests.push((request_hash(digest.account, digest.request_id), offset));
    }

    fn name(&mut self, text: &str) -> u32 {
        if let Some(known) = self.names.get(text) {
            return *known;
        }
        let number = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        self.names.insert(text.to_owned(), number);
        number
    }

    fn finish(mut self, summary: &mut Summary) {
        let mut names: Vec<(String, u32)> = self.names.into_iter().collect();
        names.sort_unstable_by_key(|(_, number)| *number);
        summary.totals.names = names.into_iter().map(|(name, _)| name).collect();
        let mut lines: Vec<([u64; 5], Line)> = self.lines.into_iter().collect();
        lines.sort_unstable_by_key(|(key, _)| *key);
        summary.totals.lines = lines.into_iter().map(|(_, line)| line).collect();
        summary.paid = self.paid.into_iter().collect();
        self.found.sort_unstable();
        summary.ids = self.found.iter().map(|(id, offset, _)| (*id, *offset)).collect();
        summary.requests.sort_unstable();
        let ranks = self.found.iter().enumerate();
        let mut postings: Vec<(u32, u32)> = ranks
            .map(|(rank, (_, _, account))| (*account, u32::try_from(rank).unwrap_or(u32::MAX)))
            .collect();
        postings.sort_unstable();
        for (account, rank) in postings {
            summary.postings.push(rank);
            match summary.totals.accounts.last_mut() {
                Some((last, count)) if *last == account => *count += 1,
                _ => summary.totals.accounts.push((account, 1)),
            }
        }
    }
}

/// The number of the UTC day of `time`.
pub(in crate::ledger) const fn day_of(time: Timestamp) -> u64 {
    time.0 / DAY
}

/// Under which number a request is found by what its account calls it: FNV-1a
/// (64 bits) over both. What is found is compared with what was asked for, so
/// that two that meet cost a look and nothing else.
pub(in crate::ledger) fn request_hash(account: &str, request_id: &str) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    let bytes = account.bytes().chain([0xff]).chain(request_id.bytes());
    bytes.fold(OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME))
}
