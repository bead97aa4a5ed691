//! What the index will keep of a segment, gathered record by record: by the writer
//! as it writes them, so that nothing is read again, or by a reader.

use std::collections::{BTreeMap, HashMap};

use super::summary::{DAY, Line, Summary, Totals, request_hash};
use crate::base::id::RecordId;
use crate::base::money::Money;
use crate::ledger::digest::Digest;
use crate::ledger::journal::segment::Span;
use crate::ledger::record::Tokens;
use crate::ledger::savings::CacheSum;

/// The most sums of a segment that is written: some megabytes for each file. A
/// segment that has more is read again when it is sealed.
const MOST_LINES: usize = 16_384;

/// A record of a segment.
#[derive(Clone, Copy, Debug)]
pub(in crate::ledger) struct Written {
    /// Its identifier.
    pub(in crate::ledger) id: RecordId,
    /// See [`request_hash`].
    pub(in crate::ledger) request: u64,
    /// Where its frame begins.
    pub(in crate::ledger) place: u32,
    account: u32,
}

/// The records of a segment so far, in the order in which they stand in it.
#[derive(Debug)]
pub(in crate::ledger) struct Gathered {
    /// The most sums.
    most: usize,
    /// Whether there were more: then there is none.
    over: bool,
    names: HashMap<String, u32, ahash::RandomState>,
    lines: HashMap<[u64; 5], Line, ahash::RandomState>,
    paid: BTreeMap<String, Money>,
    records: Vec<Written>,
    voids: Vec<RecordId>,
    span: Option<Span>,
}

impl Gathered {
    /// Nothing yet of a segment that is read.
    pub(super) fn reading() -> Self {
        Self::of(usize::MAX)
    }

    /// Nothing yet of a segment that is written.
    pub(in crate::ledger) fn writing() -> Self {
        Self::of(MOST_LINES)
    }

    fn of(most: usize) -> Self {
        Self {
            most,
            over: false,
            names: HashMap::default(),
            lines: HashMap::default(),
            paid: BTreeMap::new(),
            records: Vec::new(),
            voids: Vec::new(),
            span: None,
        }
    }

    /// Adds a record whose frame begins at `offset`.
    pub(in crate::ledger) fn add(&mut self, digest: &Digest<'_>, offset: u64) {
        self.span = Some(Span::with(self.span, digest.id, digest.time));
        let account = if self.over { 0 } else { self.sum(digest) };
        self.records.push(Written {
            id: digest.id,
            request: request_hash(digest.account, digest.request_id),
            // A segment is never longer than 4 GiB.
            place: u32::try_from(offset).unwrap_or(u32::MAX),
            account,
        });
        if self.lines.len() > self.most {
            self.over = true;
            (self.names, self.lines) = (HashMap::default(), HashMap::default());
            self.paid.clear();
        }
    }

    /// Adds a record to its sum; the number of its account.
    fn sum(&mut self, digest: &Digest<'_>) -> u32 {
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
        line.cache += CacheSum::of(digest);
        if let Some(amount) = digest.paid() {
            *self.paid.entry(digest.account.to_owned()).or_default() += amount;
        }
        account
    }

    /// Adds that the record `id`, here or in a segment before, is void.
    pub(in crate::ledger) fn void(&mut self, id: RecordId) {
        self.voids.push(id);
    }

    /// The records, the newest last.
    pub(in crate::ledger) fn records(&self) -> &[Written] {
        &self.records
    }

    /// What the records span.
    pub(in crate::ledger) const fn span(&self) -> Option<Span> {
        self.span
    }

    /// The summary of a segment without damage; none where there were too many sums, or
    /// where a record stands in it twice, of which only the first counts.
    pub(in crate::ledger) fn finish(self) -> Option<Summary> {
        if self.over {
            return None;
        }
        let summary = self.into_summary(Summary::default());
        let next = summary.ids.iter().skip(1);
        let twice = summary.ids.iter().zip(next).any(|((one, _), (other, _))| one == other);
        (!twice).then_some(summary)
    }

    /// `summary` with what was gathered. No record was added twice.
    pub(super) fn into_summary(self, mut summary: Summary) -> Summary {
        let Self { names, lines, paid, mut records, voids, span, .. } = self;
        (summary.span, summary.voids) = (span, voids);
        summary.paid = paid.into_iter().collect();
        summary.requests = records.iter().map(|record| (record.request, record.place)).collect();
        summary.requests.sort_unstable();
        records.sort_unstable_by_key(|record| (record.id, record.place));
        summary.ids = records.iter().map(|record| (record.id, record.place)).collect();
        let rank = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        let ranks = records.iter().enumerate();
        let mut postings: Vec<(u32, u32)> =
            ranks.map(|(at, record)| (record.account, rank(at))).collect();
        postings.sort_unstable();
        let mut totals = Totals::default();
        for (account, rank) in postings {
            summary.postings.push(rank);
            match totals.accounts.last_mut() {
                Some((last, count)) if *last == account => *count += 1,
                _ => totals.accounts.push((account, 1)),
            }
        }
        let mut names: Vec<(String, u32)> = names.into_iter().collect();
        names.sort_unstable_by_key(|(_, number)| *number);
        totals.names = names.into_iter().map(|(name, _)| name).collect();
        let mut lines: Vec<([u64; 5], Line)> = lines.into_iter().collect();
        lines.sort_unstable_by_key(|(key, _)| *key);
        totals.lines = lines.into_iter().map(|(_, line)| line).collect();
        Summary { totals, ..summary }
    }

    fn name(&mut self, text: &str) -> u32 {
        if let Some(known) = self.names.get(text) {
            return *known;
        }
        let number = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        self.names.insert(text.to_owned(), number);
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Timestamp;
    use crate::ledger::testing::record;

    /// The sums of a writer are bounded; then the segment is read.
    #[test]
    fn a_segment_with_too_many_sums_has_none() {
        let of = |accounts: u64| {
            let mut gathered = Gathered::of(4);
            for number in 0..20 {
                let mut record = record(Timestamp(number));
                record.account = format!("a{}", number % accounts).into();
                gathered.add(&Digest::of(&record), number);
            }
            assert_eq!((gathered.records.len(), gathered.lines.len() > 4), (20, false));
            assert_eq!(gathered.span.map(|span| span.latest), Some(Timestamp(19)));
            gathered.finish()
        };
        assert_eq!(of(4).map(|summary| summary.ids.len()), Some(20));
        assert_eq!(of(5), None);
    }
}
