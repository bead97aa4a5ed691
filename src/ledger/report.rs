//! What was found when a ledger was opened or verified.

use std::path::PathBuf;

use super::index::Flaw;
use super::index::summary::Summary;
use super::journal::scan::{Damage, Fault};

/// How many places of damage are kept; of more, only the number.
const DAMAGES: usize = 100;

/// What was found. An opening reads the segments that the index does not cover;
/// a verification reads all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Segment files.
    pub segments: usize,
    /// Settled records, each counted once.
    pub settled: u64,
    /// Settlements of a record that was settled before; they count for nothing.
    pub repeated: u64,
    /// Records with provider calls that nothing settled.
    pub lost: usize,
    /// Segments that end in a frame whose writing was interrupted.
    pub torn: u64,
    /// How many of them a start or a rebuilding has already met.
    pub torn_known: u64,
    /// Places of damage, torn ends apart.
    pub damaged: u64,
    /// Frames of a kind that this version does not know.
    pub unknown: u64,
    /// Segment files whose numbers are left out.
    pub missing_segments: u64,
    /// Frames whose numbers are left out.
    pub missing_frames: u64,
    /// The first hundred places of damage, torn ends included.
    pub damages: Vec<Damage>,
    /// What is wrong with the index.
    pub flaws: Vec<IndexFlaw>,
}

/// A part of the index with which something is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexFlaw {
    /// Its file.
    pub path: PathBuf,
    /// What.
    pub flaw: Flaw,
}

impl Report {
    /// Adds what summing a segment up found.
    pub(super) fn take(&mut self, summary: Summary) {
        self.settled += summary.ids.len() as u64;
        self.repeated += summary.repeated;
        self.unknown += summary.unknown;
        summary.damages.into_iter().for_each(|damage| self.add(damage));
    }

    pub(super) fn add(&mut self, damage: Damage) {
        let count = if damage.fault == Fault::Torn { &mut self.torn } else { &mut self.damaged };
        *count += 1;
        if self.damages.len() < DAMAGES {
            self.damages.push(damage);
        }
    }

    /// Whether the journal is as it was written and the index is the journal's.
    /// A part of the index that is absent, or older than this version, is none of that:
    /// it is made anew. Nor is a torn end that a start has met: the process was cut off
    /// there.
    pub fn is_whole(&self) -> bool {
        let harmless = |found: &IndexFlaw| matches!(found.flaw, Flaw::Absent | Flaw::Older);
        let flawed = !self.flaws.iter().all(harmless);
        self.torn == self.torn_known && self.damaged == 0 && !flawed
    }
}
