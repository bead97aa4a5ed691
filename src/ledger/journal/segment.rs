//! A segment: its header, what is known about it, and the writing of it.
//!
//! The header is 96 bytes: the same 48 bytes twice, so that one damaged copy
//! does not cost the segment. Numbers are little-endian.
//!
//! ```text
//! magic "tollgjnl" | version u32 | process u128 | shard u32 | salt u32 | created u64 | crc u32
//! ```
//!
//! A later version keeps this layout, so that an older product can say that a
//! segment is too new for it.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::frame;
use super::media::{Media, Sink};
use crate::base::clock::Timestamp;
use crate::base::id::RecordId;
use crate::ledger::codec::timestamp;
use crate::ledger::harm::Harm;
use crate::ledger::index::Head;
use crate::ledger::index::gathered::Gathered;

/// The format that this version writes, and the newest that it reads.
pub(super) const VERSION: u32 = 1;

/// Bytes of a segment's header, both copies.
pub(in crate::ledger) const HEADER: usize = 2 * COPY;

const COPY: usize = 48;
const CHECKED: usize = COPY - 4;
const MAGIC: &[u8; 8] = b"tollgjnl";

/// Extension of a segment's file name.
const EXTENSION: &str = "journal";

/// What a segment says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ledger) struct Header {
    /// The process that wrote it, a UUIDv7.
    pub(in crate::ledger) process: u128,
    /// Which of the process's shards.
    pub(in crate::ledger) shard: u32,
    /// Where the checksum of each frame starts.
    pub(in crate::ledger) salt: u32,
    /// When it was created.
    pub(in crate::ledger) created: Timestamp,
}

/// Why a header cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ledger) enum BadHeader {
    /// The file ends before it: the process ended while it created the segment.
    Torn,
    /// Neither copy is intact.
    Broken,
    /// Written by a later version of the product, in this format.
    Newer(u32),
}

impl Header {
    fn encode(&self) -> [u8; HEADER] {
        let mut copy = Vec::with_capacity(COPY);
        copy.extend_from_slice(MAGIC);
        copy.extend_from_slice(&VERSION.to_le_bytes());
        copy.extend_from_slice(&self.process.to_le_bytes());
        copy.extend_from_slice(&self.shard.to_le_bytes());
        copy.extend_from_slice(&self.salt.to_le_bytes());
        copy.extend_from_slice(&self.created.0.to_le_bytes());
        copy.extend_from_slice(&crc32fast::hash(&copy).to_le_bytes());
        let mut bytes = [0; HEADER];
        for (to, from) in bytes.iter_mut().zip(copy.iter().chain(&copy)) {
            *to = *from;
        }
        bytes
    }

    /// Reads the header at the beginning of a segment.
    ///
    /// # Errors
    /// See [`BadHeader`].
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, BadHeader> {
        let copies = bytes.chunks_exact(COPY).take(2);
        match copies.filter_map(Self::decode_copy).next() {
            Some((_, version)) if version > VERSION => Err(BadHeader::Newer(version)),
            Some((header, _)) => Ok(header),
            None if bytes.len() < HEADER => Err(BadHeader::Torn),
            None => Err(BadHeader::Broken),
        }
    }

    fn decode_copy(copy: &[u8]) -> Option<(Self, u32)> {
        let (checked, crc) = copy.split_at_checked(CHECKED)?;
        if u32::from_le_bytes(crc.try_into().ok()?) != crc32fast::hash(checked) {
            return None;
        }
        let rest = checked.strip_prefix(MAGIC)?;
        let (version, rest) = rest.split_first_chunk()?;
        let (process, rest) = rest.split_first_chunk()?;
        let (shard, rest) = rest.split_first_chunk()?;
        let (salt, rest) = rest.split_first_chunk()?;
        let (created, _) = rest.split_first_chunk()?;
        let header = Self {
            process: u128::from_le_bytes(*process),
            shard: u32::from_le_bytes(*shard),
            salt: u32::from_le_bytes(*salt),
            created: Timestamp(u64::from_le_bytes(*created)),
        };
        Some((header, u32::from_le_bytes(*version)))
    }
}

/// The identifiers and times of the records that a segment settles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(array)]
pub(in crate::ledger) struct Span {
    /// Smallest identifier.
    #[n(0)]
    pub(in crate::ledger) first_id: RecordId,
    /// Greatest identifier.
    #[n(1)]
    pub(in crate::ledger) last_id: RecordId,
    /// Earliest time.
    #[n(2)]
    #[cbor(with = "timestamp")]
    pub(in crate::ledger) earliest: Timestamp,
    /// Latest time.
    #[n(3)]
    #[cbor(with = "timestamp")]
    pub(in crate::ledger) latest: Timestamp,
}

impl Span {
    /// `span` widened so that it holds the record `id` of `time`.
    pub(in crate::ledger) fn with(span: Option<Self>, id: RecordId, time: Timestamp) -> Self {
        let alone = Self { first_id: id, last_id: id, earliest: time, latest: time };
        let Self { first_id, last_id, earliest, latest } = span.unwrap_or(alone);
        Self {
            first_id: first_id.min(id),
            last_id: last_id.max(id),
            earliest: earliest.min(time),
            latest: latest.max(time),
        }
    }

    /// Whether `id` may be among its records.
    pub(in crate::ledger) fn holds(&self, id: RecordId) -> bool {
        (self.first_id..=self.last_id).contains(&id)
    }
}

/// What is known about a segment.
#[derive(Clone, Debug)]
pub(in crate::ledger) struct Segment {
    /// Its place in the order of creation.
    pub(in crate::ledger) number: u64,
    /// Its file.
    pub(in crate::ledger) path: Arc<Path>,
    /// Its header.
    pub(in crate::ledger) header: Header,
    /// How many bytes of it are whole frames (and the header).
    pub(in crate::ledger) length: u64,
    /// What it settles; none if nothing.
    pub(in crate::ledger) span: Option<Span>,
    /// What the index keeps of it, if it does.
    pub(in crate::ledger) index: Option<Arc<Head>>,
    /// Where records of it may be missing, as far as it was read.
    pub(in crate::ledger) harm: Option<Harm>,
}

/// The name of segment `number`.
pub(in crate::ledger) fn file_name(number: u64) -> String {
    format!("{number:010}.{EXTENSION}")
}

/// Whether `directory` has a file for segment `number`.
pub(in crate::ledger) fn exists(directory: &Path, number: u64) -> bool {
    directory.join(file_name(number)).exists()
}

/// The number in a segment's file name; none for other files.
pub(in crate::ledger) fn number_of(path: &Path) -> Option<u64> {
    if path.extension()? != EXTENSION {
        return None;
    }
    path.file_stem()?.to_str()?.parse().ok()
}

/// A segment that is being written.
pub(in crate::ledger) struct Active {
    /// What readers may see of it.
    pub(super) segment: Segment,
    /// Its file.
    pub(super) sink: Arc<dyn Sink>,
    /// Whether something was written that was not synced.
    pub(super) dirty: bool,
    /// Whether nothing more may be written to it.
    pub(super) condemned: bool,
    /// What the index will keep of it.
    pub(super) gathered: Gathered,
}

/// Bytes that a probe writes: more than most frames have.
const PROBE: usize = 16 * 1024;

impl Active {
    /// Creates segment `number` in `directory`.
    ///
    /// # Errors
    /// `AlreadyExists` if the number is taken; else what the kernel says, and
    /// nothing is left behind if it allows that.
    pub(super) fn create(
        media: &dyn Media,
        directory: &Path,
        number: u64,
        header: Header,
    ) -> io::Result<Self> {
        let path = directory.join(file_name(number));
        let sink = media.create(&path)?;
        if let Err(error) = sink.write_at(&header.encode(), 0) {
            // A file without a header is tolerated by every reader; removing it is tidiness.
            std::fs::remove_file(&path).ok();
            return Err(error);
        }
        let length = HEADER as u64;
        let path = Arc::from(path);
        let segment = Segment { number, path, header, length, span: None, index: None, harm: None };
        Ok(Self { segment, sink, dirty: true, condemned: false, gathered: Gathered::writing() })
    }

    /// Appends one encoded frame; gives its offset.
    ///
    /// # Errors
    /// What the kernel says. The segment is then as it was before, or, if it
    /// cannot be cut back, condemned.
    pub(super) fn append(&mut self, frame: &[u8]) -> io::Result<u64> {
        debug_assert!(frame.len() > frame::HEADER, "a frame has a payload");
        let offset = self.segment.length;
        if let Err(error) = self.sink.write_at(frame, offset) {
            self.condemned |= self.sink.truncate(offset).is_err();
            return Err(error);
        }
        self.segment.length += frame.len() as u64;
        self.dirty = true;
        Ok(offset)
    }

    /// Finds out whether a frame could be appended, and leaves nothing behind.
    ///
    /// # Errors
    /// What the kernel says; if the segment cannot be cut back, it is condemned.
    pub(super) fn probe(&mut self) -> io::Result<()> {
        let offset = self.segment.length;
        // Zeros after the last frame are what a crash may leave, too.
        let written = self.sink.write_at(&[0; PROBE], offset);
        let cut = self.sink.truncate(offset);
        self.condemned |= cut.is_err();
        written.and(cut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header { process: 7, shard: 3, salt: 0xfeed_beef, created: Timestamp(11) }
    }

    #[test]
    fn a_header_survives_one_flipped_bit_anywhere() {
        let bytes = header().encode();
        for at in 0..HEADER {
            for bit in 0..8 {
                let mut bytes = bytes;
                bytes[at] ^= 1 << bit;
                assert_eq!(Header::decode(&bytes), Ok(header()), "byte {at}");
            }
        }
    }

    #[test]
    fn a_damaged_or_cut_header_is_told_apart() {
        let bytes = header().encode();
        assert_eq!(Header::decode(&[]), Err(BadHeader::Torn));
        assert_eq!(Header::decode(&bytes[..COPY - 1]), Err(BadHeader::Torn));
        assert_eq!(Header::decode(&[1; HEADER + 20]), Err(BadHeader::Broken));
    }

    #[test]
    fn a_newer_format_is_named() {
        let mut bytes = header().encode();
        bytes[8] = 9;
        let crc = crc32fast::hash(&bytes[..CHECKED]);
        bytes[CHECKED..COPY].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(Header::decode(&bytes), Err(BadHeader::Newer(9)));
    }

    #[test]
    fn names_and_numbers_agree() {
        assert_eq!(number_of(Path::new(&file_name(42))), Some(42));
        assert_eq!(number_of(Path::new("0000000042.journal.bak")), None);
        assert_eq!(number_of(Path::new("notes.journal")), None);
    }
}
