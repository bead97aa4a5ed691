//! Which provider calls were open when the index was brought up to date.
//!
//! After the end of the process only the segments that the checkpoint does not
//! cover are read to find the calls that nothing settled.

use super::sidecar::Identity;
use crate::ledger::journal::segment::Segment;

const MAGIC: &[u8; 8] = b"tollgchk";

/// The calls of the covered segments that were open.
#[derive(Clone, Debug, Default, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub(in crate::ledger) struct Checkpoint {
    /// Segments that are written no more, and whose frames are all accounted for, by
    /// number.
    #[n(0)]
    pub(in crate::ledger) covered: Vec<Identity>,
    /// Attempts in them that nothing had settled: segment and offset.
    #[n(1)]
    pub(in crate::ledger) open: Vec<(u64, u64)>,
}

impl Checkpoint {
    /// Of `segments`, in whichever order they ended, and the calls among `open` whose
    /// attempts stand in them.
    pub(in crate::ledger) fn of(segments: &[Segment], mut open: Vec<(u64, u64)>) -> Self {
        let mut covered: Vec<Identity> = segments.iter().map(Identity::of).collect();
        covered.sort_unstable_by_key(|identity| identity.number);
        let number = |identity: &Identity| identity.number;
        open.retain(|(segment, _)| covered.binary_search_by_key(segment, number).is_ok());
        Self { covered, open }
    }

    pub(super) fn encode(&self) -> Option<Vec<u8>> {
        let body = minicbor::to_vec(self).ok()?;
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
        bytes.extend_from_slice(&body);
        Some(bytes)
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (crc, body) = bytes.strip_prefix(MAGIC)?.split_first_chunk()?;
        let whole = crc32fast::hash(body) == u32::from_le_bytes(*crc);
        minicbor::decode(body).ok().filter(|_| whole)
    }
}
