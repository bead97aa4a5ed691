//! Reads the records of a segment, voided ones as they count.

use std::collections::HashSet;

use super::digest::{Digest, Replay};
use super::error::StorageError;
use super::index::Index;
use super::journal::frame::Kind;
use super::journal::merge::Merge;
use super::journal::scan::Scan;
use super::journal::segment::Segment;
use super::recent::Recent;
use super::record::UsageRecord;
use crate::base::id::RecordId;

/// Records whose answers could not be made durable and were not given out, and
/// the segments that hold them. There are hardly ever any.
#[derive(Clone, Debug, Default)]
pub(super) struct Voids {
    ids: HashSet<RecordId>,
    segments: HashSet<u64>,
}

impl Voids {
    /// Those that the segments name.
    ///
    /// # Errors
    /// [`StorageError::Unreadable`].
    pub(super) fn find(
        index: &Index,
        segments: &[Segment],
        ids: &[RecordId],
    ) -> Result<Self, StorageError> {
        let mut voids = Self::default();
        for segment in segments {
            let Some(span) = segment.span else { continue };
            let within: Vec<RecordId> = ids.iter().copied().filter(|id| span.holds(*id)).collect();
            if within.is_empty() {
                continue;
            }
            // All of them, as a checksum holds for all of them together.
            let places = index.places(segment, None)?;
            for id in within {
                if places.binary_search_by_key(&id, |(id, _)| *id).is_ok() {
                    voids.add(id, segment.number);
                }
            }
        }
        Ok(voids)
    }

    /// Adds the record `id`, which stands in the segment of this number.
    pub(super) fn add(&mut self, id: RecordId, segment: u64) {
        self.ids.insert(id);
        self.segments.insert(segment);
    }

    /// Whether the sums of `segment` count something that is void.
    pub(super) fn touch(&self, segment: &Segment) -> bool {
        self.segments.contains(&segment.number)
    }

    /// The record as it counts.
    pub(super) fn apply(&self, record: UsageRecord) -> UsageRecord {
        if self.ids.contains(&record.id) { record.voided() } else { record }
    }

    fn digest<'b>(&self, digest: Digest<'b>) -> Digest<'b> {
        if self.ids.contains(&digest.id) { digest.voided() } else { digest }
    }
}

/// Gives every record of `segment` to `each` once, as it counts.
///
/// # Errors
/// [`StorageError::Unreadable`]; damaged bytes are no error.
pub(super) fn scan(
    segment: &Segment,
    voids: &Voids,
    each: &mut dyn FnMut(&Digest<'_>),
) -> Result<(), StorageError> {
    let unreadable = |error| StorageError::unreadable(&segment.path, error);
    let mut seen: HashSet<RecordId, ahash::RandomState> = HashSet::default();
    let mut scan = Scan::open(segment).map_err(unreadable)?;
    // Damage is reported when the ledger is opened and verified.
    let mut damages = Vec::new();
    while let Some(found) = scan.next(&mut damages).map_err(unreadable)? {
        damages.clear();
        if found.kind != Some(Kind::Settle) {
            continue;
        }
        let Some(digest) = Digest::read(scan.payload()) else { continue };
        if seen.insert(digest.id) {
            each(&voids.digest(digest));
        }
    }
    Ok(())
}

/// Gives out what `replay` wants of `segments`.
///
/// # Errors
/// [`StorageError::Unreadable`].
pub(super) fn replay(
    index: &Index,
    segments: &[Segment],
    voids: &Voids,
    replay: &mut Replay<'_>,
) -> Result<(), StorageError> {
    for segment in segments {
        let Some(span) = segment.span else { continue };
        let summed = segment.index.is_some() && !voids.touch(segment);
        let mut paid = replay.paid.as_deref_mut();
        if summed && let Some(each) = paid.take() {
            index.paid(segment)?.iter().for_each(|(account, amount)| each(account, *amount));
        }
        let mut sums = replay
            .sums
            .as_mut()
            .filter(|(period, _)| span.latest >= period.start && span.earliest < period.end);
        if let Some((_, each)) = sums.take_if(|(period, _)| {
            summed && period.contains(&span.earliest) && period.contains(&span.latest)
        }) {
            index.totals(segment)?.sums().for_each(|(_, sum)| each(&sum));
        }
        if paid.is_none() && sums.is_none() {
            continue;
        }
        scan(segment, voids, &mut |digest| {
            if let (Some(each), Some(amount)) = (&mut paid, digest.paid()) {
                each(digest.account, amount);
            }
            if let Some((period, each)) = &mut sums
                && period.contains(&digest.time)
            {
                each(&digest.sum());
            }
        })?;
    }
    let Some((from, each)) = &mut replay.records else { return Ok(()) };
    let recent =
        segments.iter().filter(|segment| segment.span.is_some_and(|span| span.latest >= *from));
    let mut seen = Recent::default();
    let mut merge = Merge::new(recent.cloned().collect());
    while let Some(item) = merge.next()? {
        let Some(digest) = item.settled().and_then(Digest::read) else { continue };
        if digest.time >= *from && seen.insert(digest.id) {
            each(&voids.digest(digest));
        }
    }
    Ok(())
}
