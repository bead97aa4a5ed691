//! Reads many segments as one: in the order in which their frames were written.
//!
//! Every process numbers its frames over all its shards, and each shard writes
//! them in ascending order, so that a merge by that number restores the order;
//! it needs one open segment a shard. Processes follow each other.

use std::collections::VecDeque;

use super::frame::Kind;
use super::scan::{Damage, Fault, Found, Scan};
use super::segment::Segment;
use crate::ledger::error::StorageError;

/// One frame, in its place.
#[derive(Clone, Copy, Debug)]
pub(in crate::ledger) struct Item<'a> {
    /// The process that wrote it.
    pub(in crate::ledger) process: u128,
    /// Which of the process's shards did.
    pub(in crate::ledger) shard: u32,
    /// Number of its segment.
    pub(in crate::ledger) segment: u64,
    /// Where it begins there.
    pub(in crate::ledger) offset: u64,
    /// Its place among the frames of its process.
    pub(in crate::ledger) sequence: u64,
    /// None for a kind that this version does not know.
    pub(in crate::ledger) kind: Option<Kind>,
    /// CBOR.
    pub(in crate::ledger) payload: &'a [u8],
}

/// The frames of some segments, in order.
pub(in crate::ledger) struct Merge {
    processes: VecDeque<Vec<Chain>>,
    chains: Vec<Chain>,
    /// The chain whose head was handed out last.
    taken: Option<usize>,
    /// What was found damaged so far.
    pub(in crate::ledger) damages: Vec<Damage>,
}

/// The segments of one shard, in the order of their creation.
struct Chain {
    shard: u32,
    segments: VecDeque<Segment>,
    current: Option<(Segment, Scan, Found)>,
}

impl<'a> Item<'a> {
    /// The payload if it is a [`UsageRecord`](crate::ledger::record::UsageRecord).
    pub(in crate::ledger) fn settled(&self) -> Option<&'a [u8]> {
        (self.kind == Some(Kind::Settle)).then_some(self.payload)
    }
}

impl Merge {
    /// The frames of `segments`.
    pub(in crate::ledger) fn new(mut segments: Vec<Segment>) -> Self {
        segments.sort_by_key(|segment| segment.number);
        let mut processes: Vec<(u128, Vec<Chain>)> = Vec::new();
        for segment in segments {
            let (process, shard) = (segment.header.process, segment.header.shard);
            let at = processes.iter().position(|(known, _)| *known == process);
            let at = at.unwrap_or_else(|| {
                processes.push((process, Vec::new()));
                processes.len() - 1
            });
            let Some((_, chains)) = processes.get_mut(at) else { continue };
            match chains.iter_mut().find(|chain| chain.shard == shard) {
                Some(chain) => chain.segments.push_back(segment),
                None => chains.push(Chain { shard, segments: [segment].into(), current: None }),
            }
        }
        Self {
            processes: processes.into_iter().map(|(_, chains)| chains).collect(),
            chains: Vec::new(),
            taken: None,
            damages: Vec::new(),
        }
    }

    /// The next frame.
    ///
    /// # Errors
    /// [`StorageError::Unreadable`] if a file cannot be read; damaged bytes are
    /// no error.
    pub(in crate::ledger) fn next(&mut self) -> Result<Option<Item<'_>>, StorageError> {
        if let Some(chain) = self.taken.take().and_then(|at| self.chains.get_mut(at)) {
            chain.advance(&mut self.damages)?;
        }
        loop {
            let heads = self.chains.iter().enumerate();
            let heads = heads.filter_map(|(at, chain)| {
                chain.current.as_ref().map(|(_, _, found)| (found.sequence, at))
            });
            if let Some((_, at)) = heads.min() {
                self.taken = Some(at);
                break;
            }
            let Some(chains) = self.processes.pop_front() else { return Ok(None) };
            self.chains = chains;
            for chain in &mut self.chains {
                chain.advance(&mut self.damages)?;
            }
        }
        let head = self.taken.and_then(|at| self.chains.get(at)?.current.as_ref());
        Ok(head.map(|(segment, scan, found)| Item {
            process: segment.header.process,
            shard: segment.header.shard,
            segment: segment.number,
            offset: found.offset,
            sequence: found.sequence,
            kind: found.kind,
            payload: scan.payload(),
        }))
    }

    /// Reports the frame handed out last as damaged in this way.
    pub(in crate::ledger) fn refuse(&mut self, fault: Fault) {
        let head = self.taken.and_then(|at| self.chains.get(at)?.current.as_ref());
        if let Some((_, scan, found)) = head {
            self.damages.push(scan.damage(found, fault));
        }
    }
}

impl Chain {
    /// Moves to the next frame, in the next segment if need be.
    fn advance(&mut self, damages: &mut Vec<Damage>) -> Result<(), StorageError> {
        loop {
            let (segment, mut scan) = match self.current.take() {
                Some((segment, scan, _)) => (segment, scan),
                None => {
                    let Some(segment) = self.segments.pop_front() else { return Ok(()) };
                    let scan = Scan::open(&segment)
                        .map_err(|error| StorageError::unreadable(&segment.path, error))?;
                    (segment, scan)
                }
            };
            let found = scan
                .next(damages)
                .map_err(|error| StorageError::unreadable(&segment.path, error))?;
            if let Some(found) = found {
                self.current = Some((segment, scan, found));
                return Ok(());
            }
        }
    }
}
