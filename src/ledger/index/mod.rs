//! The index: what makes questions to ten million records answerable without
//! reading them.
//!
//! Beside each segment that is written no more lies a sidecar with its sums and
//! its records' places, and one checkpoint says which provider calls were open.
//! Invariant: all of it is made of the segments alone and can be thrown away.
//! What is missing, damaged or of another state of the segment is made anew;
//! the index never decides whether a request is served.

mod checkpoint;
pub(super) mod gathered;
mod sidecar;
pub(super) mod summary;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(super) use self::checkpoint::Checkpoint;
use self::sidecar::Sidecar;
pub(super) use self::sidecar::{Head, Identity};
use self::summary::{Summary, Totals};
use super::error::StorageError;
use super::harm::Harm;
use super::journal::segment::{Segment, Span};
use crate::base::id::RecordId;
use crate::base::money::Money;

/// Extension of a sidecar's file name.
const EXTENSION: &str = "index";
const CHECKPOINT: &str = "checkpoint";

/// The index of one data directory.
#[derive(Clone, Debug)]
pub(super) struct Index {
    directory: PathBuf,
}

/// What is wrong with a part of the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Flaw {
    /// It is not there; after a crash that is as it should be.
    Absent,
    /// An older version of the product wrote it; the next start makes it anew.
    Older,
    /// It is damaged.
    Damaged,
    /// It belongs to another state of the segment.
    Differs,
    /// The segment was longer when it was summed up: its end is gone.
    Truncated,
    /// Its segment is not there.
    Orphaned,
}

impl Index {
    /// The index in the data directory `dir`. A directory that cannot be made is
    /// no error: every question is then answered from the segments.
    pub(super) fn in_directory(dir: &Path) -> Self {
        let index = Self::of(dir);
        if let Err(error) = fs::create_dir_all(&index.directory) {
            tracing::warn!(%error, "the ledger's index cannot be kept");
        }
        index
    }

    /// The same, for reading alone.
    pub(super) fn of(dir: &Path) -> Self {
        Self { directory: dir.join("index") }
    }

    /// Where it is.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The file of segment `number`.
    pub(super) fn path(&self, number: u64) -> PathBuf {
        self.directory.join(format!("{number:010}.{EXTENSION}"))
    }

    /// What the index keeps of `segment`.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub(super) fn head(&self, segment: &Segment) -> Result<Head, Flaw> {
        let sidecar = self.sidecar(segment.number)?;
        let now = Identity::of(segment);
        match sidecar.head.identity {
            then if then == now && sidecar.is_older() => Err(Flaw::Older),
            then if then == now => Ok(sidecar.head),
            then if then.salt == now.salt && then.length > now.length => Err(Flaw::Truncated),
            _ => Err(Flaw::Differs),
        }
    }

    /// Whether the end of `segment` is gone, as far as the index still shows it.
    pub(super) fn cut_off(&self, segment: &Segment) -> Option<Harm> {
        match self.head(segment) {
            Err(Flaw::Truncated) => Some(Harm::cut_off(segment.length)),
            Ok(Head { harm, .. }) => harm.filter(Harm::is_cut_off),
            Err(Flaw::Older) => {
                self.sidecar(segment.number).ok()?.head.harm.filter(Harm::is_cut_off)
            }
            Err(_) => None,
        }
    }

    /// What the records of segment `number` span, if the index has it: there may be
    /// none.
    pub(super) fn span(&self, number: u64) -> Option<Option<Span>> {
        Some(self.sidecar(number).ok()?.head.span)
    }

    /// Keeps what `segment` holds.
    ///
    /// # Errors
    /// What the kernel says; nothing is then changed.
    pub(super) fn put(&self, segment: &Segment, summary: &Summary) -> io::Result<Head> {
        let (bytes, head) = sidecar::encode(Identity::of(segment), summary, segment.harm)
            .ok_or(io::Error::from(io::ErrorKind::InvalidData))?;
        self.replace(&self.path(segment.number), &bytes)?;
        Ok(head)
    }

    /// Whether the sidecar of `segment` says what `summary` does, to the byte.
    pub(super) fn agrees(&self, segment: &Segment, summary: &Summary) -> Result<(), Flaw> {
        let sidecar = self.sidecar(segment.number)?;
        let harm = Harm::among(&summary.damages);
        let harm = sidecar.head.harm.filter(Harm::is_cut_off).or(harm);
        let expected = sidecar::encode(Identity::of(segment), summary, harm);
        let expected = expected.ok_or(Flaw::Damaged)?.0;
        let bytes = sidecar.bytes().map_err(|_| Flaw::Damaged)?;
        if bytes == expected { Ok(()) } else { Err(Flaw::Damaged) }
    }

    /// The numbers of the segments that have a sidecar.
    pub(super) fn numbers(&self) -> Vec<u64> {
        let entries = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let number = |path: &Path| {
            let index = path.extension()? == EXTENSION;
            path.file_stem()?.to_str()?.parse().ok().filter(|_| index)
        };
        entries.filter_map(|entry| number(&entry.path())).collect()
    }

    /// Throws everything away.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn clear(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::create_dir_all(&self.directory)
    }

    /// The checkpoint, if there is a whole one.
    pub(super) fn checkpoint(&self) -> Option<Checkpoint> {
        Checkpoint::decode(&fs::read(self.directory.join(CHECKPOINT)).ok()?)
    }

    /// Replaces the checkpoint.
    ///
    /// # Errors
    /// What the kernel says; the one before is then kept.
    pub(super) fn put_checkpoint(&self, checkpoint: &Checkpoint) -> io::Result<()> {
        let bytes = checkpoint.encode().ok_or(io::Error::from(io::ErrorKind::InvalidData))?;
        self.replace(&self.directory.join(CHECKPOINT), &bytes)
    }

    /// The sums of `segment`.
    ///
    /// # Errors
    /// [`StorageError::Unreadable`] if the segment cannot be read either.
    pub(super) fn totals(&self, segment: &Segment) -> Result<Totals, StorageError> {
        let kept = self.kept(segment).and_then(|sidecar| sidecar.totals().ok().flatten());
        kept.map_or_else(|| Ok(Summary::of(segment)?.totals), Ok)
    }

    /// What accounts paid from their balances by the records of `segment`. Where
    /// nothing was, no file is read.
    ///
    /// # Errors
    /// As [`Self::totals`].
    pub(super) fn paid(&self, segment: &Segment) -> Result<Vec<(String, Money)>, StorageError> {
        if segment.index.as_ref().is_some_and(|head| !head.has_paid()) {
            return Ok(Vec::new());
        }
        let kept = self.kept(segment).and_then(|sidecar| sidecar.paid().ok().flatten());
        kept.map_or_else(|| Ok(Summary::of(segment)?.paid), Ok)
    }

    /// The records of `segment` by identifier, each with its place: those of
    /// `account`, or all.
    ///
    /// # Errors
    /// As [`Self::totals`].
    pub(super) fn places(
        &self,
        segment: &Segment,
        account: Option<&str>,
    ) -> Result<Vec<(RecordId, u32)>, StorageError> {
        if let Some(places) = self.kept(segment).and_then(|sidecar| places(&sidecar, account)) {
            return Ok(places);
        }
        let summary = Summary::of(segment)?;
        let Some(account) = account else { return Ok(summary.ids) };
        let (first, count) = summary.totals.postings_of(account).unwrap_or_default();
        let ranks = summary.postings.get(first..first + count).unwrap_or_default();
        Ok(at(&summary.ids, ranks))
    }

    /// Where the record `id` may be in `segment`.
    ///
    /// # Errors
    /// As [`Self::totals`].
    pub(super) fn place_of(
        &self,
        segment: &Segment,
        id: RecordId,
    ) -> Result<Option<u32>, StorageError> {
        if let Some(place) = self.kept(segment).and_then(|sidecar| sidecar.place_of(id).ok()) {
            return Ok(place);
        }
        let ids = Summary::of(segment)?.ids;
        let found = ids.binary_search_by_key(&id, |(id, _)| *id);
        Ok(found.ok().and_then(|at| ids.get(at)).map(|(_, place)| *place))
    }

    /// Where requests under `hash` may be in `segment`, the last one first.
    ///
    /// # Errors
    /// As [`Self::totals`].
    pub(super) fn requests(
        &self,
        segment: &Segment,
        hash: u64,
        limit: usize,
    ) -> Result<Vec<u32>, StorageError> {
        let kept = self.kept(segment);
        if let Some(places) = kept.and_then(|sidecar| sidecar.requests(hash, limit).ok()) {
            return Ok(places);
        }
        let summary = Summary::of(segment)?;
        let found = summary.requests.iter().rev().filter(|(found, _)| *found == hash);
        Ok(found.map(|(_, place)| *place).take(limit).collect())
    }

    fn sidecar(&self, number: u64) -> Result<Sidecar, Flaw> {
        match File::open(self.path(number)).and_then(Sidecar::open) {
            Ok(found) => found,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                Err(Flaw::Absent)
            }
            Err(_) => Err(Flaw::Damaged),
        }
    }

    /// The sidecar of `segment`, if it is the one that the segment was given.
    fn kept(&self, segment: &Segment) -> Option<Sidecar> {
        let known = segment.index.as_ref()?;
        let sidecar = self.sidecar(segment.number).ok()?;
        (sidecar.head == **known).then_some(sidecar)
    }

    /// Replaces a file as a whole. It is not synced: what a power loss leaves of
    /// it has a wrong checksum, and is made anew.
    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let draft = path.with_extension("draft");
        let written = File::create(&draft).and_then(|mut file| file.write_all(bytes));
        let replaced = written.and_then(|()| fs::rename(&draft, path));
        if replaced.is_err() {
            // Space is what is short, most likely.
            fs::remove_file(&draft).ok();
        }
        replaced
    }
}

/// Sums `segment` up and keeps that, as far as it can be kept. A harm that it has
/// already stays.
///
/// # Errors
/// [`StorageError::Unreadable`].
pub(super) fn index(index: &Index, segment: &mut Segment) -> Result<Summary, StorageError> {
    let summary = Summary::of(segment)?;
    segment.span = summary.span;
    segment.harm = segment.harm.or_else(|| Harm::among(&summary.damages));
    keep(index, segment, &summary);
    Ok(summary)
}

/// Keeps `summary`, what `segment` holds, as far as it can be kept.
pub(super) fn keep(index: &Index, segment: &mut Segment, summary: &Summary) {
    match index.put(segment, summary) {
        Ok(head) => segment.index = Some(Arc::new(head)),
        Err(error) => tracing::warn!(%error, "a part of the ledger's index cannot be kept"),
    }
}

fn places(sidecar: &Sidecar, account: Option<&str>) -> Option<Vec<(RecordId, u32)>> {
    let Some(account) = account else { return sidecar.ids().ok().flatten() };
    let totals = sidecar.totals().ok().flatten()?;
    let Some((first, count)) = totals.postings_of(account) else { return Some(Vec::new()) };
    let ranks = sidecar.postings(first, count).ok()?;
    Some(at(&sidecar.ids().ok().flatten()?, &ranks))
}

fn at(ids: &[(RecordId, u32)], ranks: &[u32]) -> Vec<(RecordId, u32)> {
    ranks.iter().filter_map(|rank| ids.get(*rank as usize).copied()).collect()
}
