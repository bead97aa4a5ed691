//! The file of the index that belongs to one segment.
//!
//! ```text
//! magic "tollgidx" | version u32 | length of head u32 | crc of head u32 | head (CBOR)
//! | totals (CBOR) | ids (16 + 4 bytes each) | requests (8 + 4 bytes each) | postings (4 bytes each)
//! | paid (CBOR; empty where nothing was paid from a balance)
//! ```
//!
//! Numbers are little-endian, identifiers and hashes big-endian so that their
//! bytes sort as they do. The head says how long the sections are and what
//! their checksums (CRC-32) are, and which segment they were made of.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::Flaw;
use super::summary::{Summary, Totals};
use crate::base::id::RecordId;
use crate::base::money::Money;
use crate::ledger::harm::Harm;
use crate::ledger::journal::segment::{Segment, Span};

/// The format that this version writes and reads; any other is made anew.
const VERSION: u32 = 4;
/// The first format whose head is this one's. Of an older sidecar the head is still
/// read: nothing else knows what its segment has lost.
const SAME_HEAD: u32 = 3;
const MAGIC: &[u8; 8] = b"tollgidx";
/// Bytes before the head.
const PREFIX: usize = 20;
/// The longest head, in bytes: a damaged length must not ask for gigabytes.
const MAX_HEAD: usize = 16 * 1024 * 1024;
const ID: usize = 20;
const REQUEST: usize = 12;
const POSTING: usize = 4;

/// Which segment, as it was when it was summed up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(array)]
pub(in crate::ledger) struct Identity {
    /// Its number.
    #[n(0)]
    pub(in crate::ledger) number: u64,
    /// Its salt: another file under the same number has another one.
    #[n(1)]
    pub(in crate::ledger) salt: u32,
    /// How many bytes it had.
    #[n(2)]
    pub(in crate::ledger) length: u64,
}

impl Identity {
    pub(in crate::ledger) fn of(segment: &Segment) -> Self {
        Self { number: segment.number, salt: segment.header.salt, length: segment.length }
    }
}

/// Length and checksum of a section.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(array)]
struct Section {
    #[n(0)]
    length: u64,
    #[n(1)]
    crc: u32,
}

impl Section {
    fn of(bytes: &[u8]) -> Self {
        Self { length: bytes.len() as u64, crc: crc32fast::hash(bytes) }
    }
}

/// What is held in memory of each segment.
#[derive(Clone, Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub(in crate::ledger) struct Head {
    /// Which segment.
    #[n(0)]
    pub(in crate::ledger) identity: Identity,
    /// What its records span.
    #[n(1)]
    pub(in crate::ledger) span: Option<Span>,
    /// How many records it settles.
    #[n(2)]
    pub(in crate::ledger) records: u64,
    /// See [`Summary::repeated`].
    #[n(3)]
    pub(in crate::ledger) repeated: u64,
    /// See [`Summary::voids`].
    #[n(4)]
    pub(in crate::ledger) voids: Vec<RecordId>,
    #[n(5)]
    totals: Section,
    #[n(6)]
    ids: Section,
    #[n(7)]
    requests: Section,
    #[n(8)]
    postings: Section,
    #[n(10)]
    paid: Section,
    /// Where records may be missing.
    #[n(11)]
    pub(in crate::ledger) harm: Option<Harm>,
    /// Where its head ends in the file.
    #[n(9)]
    start: u64,
}

/// The bytes of the sidecar of the segment `identity`, and its head.
pub(super) fn encode(
    identity: Identity,
    summary: &Summary,
    harm: Option<Harm>,
) -> Option<(Vec<u8>, Head)> {
    let totals = minicbor::to_vec(&summary.totals).ok()?;
    let mut ids = Vec::with_capacity(summary.ids.len() * ID);
    for (id, offset) in &summary.ids {
        ids.extend_from_slice(id.0.as_bytes());
        ids.extend_from_slice(&offset.to_le_bytes());
    }
    let mut requests = Vec::with_capacity(summary.requests.len() * REQUEST);
    for (hash, offset) in &summary.requests {
        requests.extend_from_slice(&hash.to_be_bytes());
        requests.extend_from_slice(&offset.to_le_bytes());
    }
    let postings: Vec<u8> = summary.postings.iter().flat_map(|rank| rank.to_le_bytes()).collect();
    let paid = match summary.paid.is_empty() {
        true => Vec::new(),
        false => minicbor::to_vec(&summary.paid).ok()?,
    };
    let mut head = Head {
        identity,
        span: summary.span,
        records: summary.ids.len() as u64,
        repeated: summary.repeated,
        voids: summary.voids.clone(),
        totals: Section::of(&totals),
        ids: Section::of(&ids),
        requests: Section::of(&requests),
        postings: Section::of(&postings),
        paid: Section::of(&paid),
        harm,
        start: 0,
    };
    let encoded = minicbor::to_vec(&head).ok()?;
    let mut bytes = Vec::with_capacity(PREFIX + encoded.len() + totals.len() + ids.len() * 2);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&u32::try_from(encoded.len()).ok()?.to_le_bytes());
    bytes.extend_from_slice(&crc32fast::hash(&encoded).to_le_bytes());
    bytes.extend_from_slice(&encoded);
    head.start = bytes.len() as u64;
    for section in [totals, ids, requests, postings, paid] {
        bytes.extend_from_slice(&section);
    }
    Some((bytes, head))
}

/// A sidecar that is open for reading.
pub(in crate::ledger) struct Sidecar {
    file: File,
    version: u32,
    /// Its head.
    pub(in crate::ledger) head: Head,
}

impl Sidecar {
    /// Reads the head of `file`; or, inside, says why that cannot be used.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn open(file: File) -> io::Result<Result<Self, Flaw>> {
        let damaged = Ok(Err(Flaw::Damaged));
        let length = file.metadata()?.len();
        let mut prefix = [0; PREFIX];
        if length < PREFIX as u64 {
            return damaged;
        }
        file.read_exact_at(&mut prefix, 0)?;
        let Some((version, size, crc)) = read_prefix(&prefix) else { return damaged };
        if (1..SAME_HEAD).contains(&version) {
            return Ok(Err(Flaw::Older));
        }
        let known = (SAME_HEAD..=VERSION).contains(&version);
        if !known || size > MAX_HEAD || length < (PREFIX + size) as u64 {
            return damaged;
        }
        let mut bytes = vec![0; size];
        file.read_exact_at(&mut bytes, PREFIX as u64)?;
        if crc32fast::hash(&bytes) != crc {
            return damaged;
        }
        let Ok(mut head) = minicbor::decode::<Head>(&bytes) else { return damaged };
        head.start = (PREFIX + size) as u64;
        let whole = head.paid_at().saturating_add(head.paid.length);
        if whole == length { Ok(Ok(Self { file, version, head })) } else { damaged }
    }

    /// Whether an older version wrote it, so that nothing but the head can be used.
    pub(super) const fn is_older(&self) -> bool {
        self.version != VERSION
    }

    /// The sums; none if they are damaged.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn totals(&self) -> io::Result<Option<Totals>> {
        let bytes = self.section(self.head.start, self.head.totals)?;
        Ok(bytes.and_then(|bytes| minicbor::decode(&bytes).ok()))
    }

    /// What accounts paid from their balances; none if that is damaged.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn paid(&self) -> io::Result<Option<Vec<(String, Money)>>> {
        let bytes = self.section(self.head.paid_at(), self.head.paid)?;
        Ok(bytes.and_then(|bytes| minicbor::decode(&bytes).ok()))
    }

    /// Every record by identifier, with its place.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn ids(&self) -> io::Result<Option<Vec<(RecordId, u32)>>> {
        let bytes = self.section(self.head.ids_at(), self.head.ids)?;
        Ok(bytes.map(|bytes| bytes.chunks_exact(ID).filter_map(read_id).collect()))
    }

    /// The `count` postings from `first` on, unchecked: they name places that
    /// are looked at.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn postings(&self, first: usize, count: usize) -> io::Result<Vec<u32>> {
        let mut bytes = vec![0; count * POSTING];
        self.file.read_exact_at(&mut bytes, self.head.postings_at() + (first * POSTING) as u64)?;
        let postings = bytes.chunks_exact(POSTING);
        Ok(postings.filter_map(|raw| Some(u32::from_le_bytes(raw.try_into().ok()?))).collect())
    }

    /// Where the record `id` may be, by binary search.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn place_of(&self, id: RecordId) -> io::Result<Option<u32>> {
        let table = Table { file: &self.file, at: self.head.ids_at(), width: ID };
        let count = self.head.ids.length / ID as u64;
        let at = table.first(count, id.0.as_bytes())?;
        let found = if at < count { read_id(&table.entry(at)?) } else { None };
        Ok(found.filter(|(found, _)| *found == id).map(|(_, place)| place))
    }

    /// Where the requests under `hash` may be, the last one first, at most
    /// `limit` of them.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn requests(&self, hash: u64, limit: usize) -> io::Result<Vec<u32>> {
        let table = Table { file: &self.file, at: self.head.requests_at(), width: REQUEST };
        let count = self.head.requests.length / REQUEST as u64;
        let mut next = match hash.checked_add(1) {
            Some(above) => table.first(count, &above.to_be_bytes())?,
            None => count,
        };
        let mut places = Vec::new();
        while places.len() < limit && next > 0 {
            next -= 1;
            match read_request(&table.entry(next)?) {
                Some((found, place)) if found == hash => places.push(place),
                _ => break,
            }
        }
        places.sort_unstable_by(|a, b| b.cmp(a));
        Ok(places)
    }

    /// Everything, for comparing.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn bytes(&self) -> io::Result<Vec<u8>> {
        let length = self.file.metadata()?.len();
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        self.file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    fn section(&self, at: u64, section: Section) -> io::Result<Option<Vec<u8>>> {
        let mut bytes = vec![0; usize::try_from(section.length).unwrap_or(0)];
        self.file.read_exact_at(&mut bytes, at)?;
        Ok((crc32fast::hash(&bytes) == section.crc).then_some(bytes))
    }
}

impl Head {
    const fn ids_at(&self) -> u64 {
        self.start.saturating_add(self.totals.length)
    }

    const fn requests_at(&self) -> u64 {
        self.ids_at().saturating_add(self.ids.length)
    }

    const fn postings_at(&self) -> u64 {
        self.requests_at().saturating_add(self.requests.length)
    }

    const fn paid_at(&self) -> u64 {
        self.postings_at().saturating_add(self.postings.length)
    }

    /// Whether anything was paid from a balance.
    pub(super) const fn has_paid(&self) -> bool {
        self.paid.length > 0
    }
}

/// A section with entries of one width that are sorted by their bytes.
struct Table<'f> {
    file: &'f File,
    at: u64,
    width: usize,
}

impl Table<'_> {
    fn entry(&self, number: u64) -> io::Result<Vec<u8>> {
        let mut entry = vec![0; self.width];
        self.file.read_exact_at(&mut entry, self.at + number * self.width as u64)?;
        Ok(entry)
    }

    /// The first of `count` entries that does not begin with less than `key`.
    fn first(&self, count: u64, key: &[u8]) -> io::Result<u64> {
        let (mut low, mut high) = (0, count);
        while low < high {
            let middle = low + (high - low) / 2;
            let entry = self.entry(middle)?;
            if entry.get(..key.len()).is_some_and(|found| found < key) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }
}

fn read_prefix(prefix: &[u8; PREFIX]) -> Option<(u32, usize, u32)> {
    let rest = prefix.strip_prefix(MAGIC)?;
    let (version, rest) = rest.split_first_chunk()?;
    let (size, rest) = rest.split_first_chunk()?;
    let (crc, _) = rest.split_first_chunk()?;
    let size = usize::try_from(u32::from_le_bytes(*size)).ok()?;
    Some((u32::from_le_bytes(*version), size, u32::from_le_bytes(*crc)))
}

fn read_id(entry: &[u8]) -> Option<(RecordId, u32)> {
    let (id, place) = entry.split_first_chunk::<16>()?;
    let id = RecordId(uuid::Uuid::from_bytes(*id));
    Some((id, u32::from_le_bytes(place.try_into().ok()?)))
}

fn read_request(entry: &[u8]) -> Option<(u64, u32)> {
    let (hash, place) = entry.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*hash), u32::from_le_bytes(place.try_into().ok()?)))
}
