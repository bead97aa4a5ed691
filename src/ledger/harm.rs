//! Of which times damage may have taken records away. Whoever sums up what
//! customers owe asks before, for a sum over what is left looks like any other.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::index::Index;
use super::journal::scan::{Damage, Fault};
use super::journal::segment::Segment;
use crate::base::clock::Timestamp;

/// How long before it is settled a request may have come in, in microseconds: a
/// segment has records that are so much older than itself.
const LONGEST: u64 = 86_400_000_000;
/// Missing segments in a row whose index is looked at.
const LOOKED_AT: u64 = 1_000;

/// The first place of a segment at which records may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(array)]
pub(in crate::ledger) struct Harm {
    #[n(0)]
    offset: u64,
    #[n(1)]
    length: u64,
    #[n(2)]
    fault: Fault,
}

impl Harm {
    /// That of `damages` which harms. A torn end does not: no answer that was
    /// handed over belongs to it.
    pub(in crate::ledger) fn among(damages: &[Damage]) -> Option<Self> {
        let harms = |damage: &&Damage| !matches!(damage.fault, Fault::Torn | Fault::Duplicate);
        let Damage { offset, length, fault, .. } = *damages.iter().find(harms)?;
        Some(Self { offset, length, fault })
    }

    /// The end of a segment is gone, after `length` bytes.
    pub(in crate::ledger) const fn cut_off(length: u64) -> Self {
        Self { offset: length, length: 0, fault: Fault::Missing }
    }

    /// Whether the end is gone, which the segment itself does not show.
    pub(in crate::ledger) fn is_cut_off(&self) -> bool {
        self.fault == Fault::Missing
    }

    fn of(self, path: &Arc<Path>) -> Damage {
        let Self { offset, length, fault } = self;
        Damage { path: path.clone(), offset, length, fault }
    }
}

/// Segments in a row that are not there or cannot be read.
#[derive(Clone, Debug)]
pub(in crate::ledger) struct Hole {
    /// Their numbers.
    pub(in crate::ledger) numbers: Range<u64>,
    /// What is said of them.
    pub(in crate::ledger) damage: Damage,
}

/// What was lost before the ledger was opened, and when.
#[derive(Debug)]
pub(super) struct Harms {
    lost: Vec<(Range<Timestamp>, Damage)>,
    /// The first segment number of this process, and when it began.
    opened: (u64, Timestamp),
}

impl Harms {
    /// Those of `holes` between `segments`; `opened` is the first segment number
    /// that this process may use, and the moment.
    pub(super) fn of(
        index: &Index,
        segments: &[Segment],
        holes: Vec<Hole>,
        opened: (u64, Timestamp),
    ) -> Self {
        let time = |hole: &Hole| {
            known(index, &hole.numbers).unwrap_or_else(|| {
                let before = segments.iter().rfind(|one| one.number < hole.numbers.start);
                let from = before.map_or(Timestamp(0), |one| begin(one.header.created));
                let mut later = segments.iter().filter(|one| one.number >= hole.numbers.end);
                let next = later.next();
                // They are of the process before the hole or of the one after it.
                let other = later
                    .find(|one| next.is_some_and(|next| next.header.process != one.header.process));
                from..other.map_or(opened.1, |one| one.header.created)
            })
        };
        // A segment whose header was never whole had nothing, unless the index knows more.
        let harms =
            |hole: &Hole| hole.damage.fault != Fault::Torn || known(index, &hole.numbers).is_some();
        let holes = holes.into_iter().filter(harms);
        let lost = holes.map(|hole| (time(&hole), hole.damage)).collect();
        Self { lost, opened }
    }

    /// The first damage that may have taken away records of `period`, of what was
    /// lost at the opening and of what is known of `segments`, which are in order.
    pub(super) fn within(&self, period: &Range<Timestamp>, segments: &[Segment]) -> Option<Damage> {
        let meets = |time: &Range<Timestamp>| time.start < period.end && period.start < time.end;
        let lost = self.lost.iter().find(|(time, _)| meets(time)).map(|(_, damage)| damage.clone());
        lost.or_else(|| {
            let mut harmed = segments.iter().enumerate();
            harmed.find_map(|(at, segment)| {
                let damage = segment.harm?.of(&segment.path);
                let later = segments.get(at + 1..).unwrap_or_default();
                meets(&self.time(segment, later)).then_some(damage)
            })
        })
    }

    /// From when to when the records of `segment` may be, of those that are there
    /// and those that are not; `later` are the segments after it.
    fn time(&self, segment: &Segment, later: &[Segment]) -> Range<Timestamp> {
        let written = (segment.header.process, segment.header.shard);
        let next = later.iter().find(|one| {
            one.header.process != written.0 || (one.header.process, one.header.shard) == written
        });
        let (number, began) = self.opened;
        let sealed = if segment.number < number { began } else { Timestamp(u64::MAX) };
        let end = next.map_or(sealed, |next| next.header.created);
        let (from, to) = (begin(segment.header.created), end);
        let span = segment.span.map(|span| (span.earliest, Timestamp(span.latest.0 + 1)));
        let (earliest, latest) = span.unwrap_or((from, to));
        from.min(earliest)..to.max(latest)
    }
}

const fn begin(created: Timestamp) -> Timestamp {
    Timestamp(created.0.saturating_sub(LONGEST))
}

/// When the records of these segments are, if the index still has all of them.
fn known(index: &Index, numbers: &Range<u64>) -> Option<Range<Timestamp>> {
    if numbers.end - numbers.start > LOOKED_AT {
        return None;
    }
    let spans: Option<Vec<_>> = numbers.clone().map(|number| index.span(number)).collect();
    let spans = spans?;
    let from = spans.iter().flatten().map(|span| span.earliest).min();
    let to = spans.iter().flatten().map(|span| span.latest).max();
    let nothing = Timestamp(0)..Timestamp(0);
    Some(from.zip(to).map_or(nothing, |(from, to)| from..Timestamp(to.0 + 1)))
}
