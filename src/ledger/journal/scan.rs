//! Reads one segment, frame by frame, whatever its bytes are.
//!
//! Memory is bounded by the longest frame. Where a frame is damaged, the next
//! intact one is looked for; the salted checksum makes it safe to trust it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::frame::{self, Frame, Kind, Look};
use super::segment::{self, BadHeader, Header, Segment};

/// How much is read at once, in bytes.
const CHUNK: usize = 64 * 1024;

/// What is wrong with some bytes of a segment.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode, strum::IntoStaticStr,
)]
#[strum(serialize_all = "snake_case")]
#[cbor(index_only)]
pub enum Fault {
    /// The last frame is not whole: its writing was interrupted. No answer that
    /// was handed over belongs to it, except after a power loss.
    #[n(0)]
    Torn,
    /// Bytes that are no frame.
    #[n(1)]
    Damaged,
    /// An intact frame whose content is not understood.
    #[n(2)]
    Undecodable,
    /// The header is damaged in both copies: nothing of the segment is readable.
    #[n(3)]
    Header,
    /// An intact frame that does not come after the one before it.
    #[n(4)]
    Misplaced,
    /// Another copy of a segment that is there; it is not read.
    #[n(5)]
    Duplicate,
    /// A segment is not there, or frames that must have been here are not.
    #[n(6)]
    Missing,
}

/// A place where a segment is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The segment's file.
    pub path: Arc<Path>,
    /// Where it begins, in bytes from the beginning of the file.
    pub offset: u64,
    /// How many bytes.
    pub length: u64,
    /// What is wrong.
    pub fault: Fault,
}

/// A frame that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ledger) struct Found {
    /// Where it begins in the file.
    pub(in crate::ledger) offset: u64,
    /// See [`Frame::kind`].
    pub(in crate::ledger) kind: Option<Kind>,
    /// See [`Frame::sequence`].
    pub(in crate::ledger) sequence: u64,
    length: usize,
}

/// A segment that is being read.
pub(in crate::ledger) struct Scan {
    file: File,
    path: Arc<Path>,
    salt: u32,
    /// Bytes of the file from `offset` on, after `start` unused ones.
    buffer: Vec<u8>,
    start: usize,
    offset: u64,
    end: u64,
    /// Bytes of the frame found last.
    found: usize,
}

/// Reads the header of the file at `path`, and the file's length.
///
/// # Errors
/// What the kernel says; or, inside, why the header cannot be used.
pub(in crate::ledger) fn header(path: &Path) -> io::Result<(Result<Header, BadHeader>, u64)> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(&file, segment::HEADER as u64), &mut bytes)?;
    Ok((Header::decode(&bytes), length))
}

impl Scan {
    /// Opens `segment` for reading as far as its `length`.
    ///
    /// # Errors
    /// What the kernel says.
    pub(in crate::ledger) fn open(segment: &Segment) -> io::Result<Self> {
        Ok(Self {
            file: File::open(&segment.path)?,
            path: Arc::clone(&segment.path),
            salt: segment.header.salt,
            buffer: Vec::new(),
            start: 0,
            offset: segment::HEADER as u64,
            end: segment.length,
            found: 0,
        })
    }

    /// The next frame; what is damaged before it is added to `damages`.
    ///
    /// # Errors
    /// What the kernel says.
    pub(in crate::ledger) fn next(
        &mut self,
        damages: &mut Vec<Damage>,
    ) -> io::Result<Option<Found>> {
        self.skip(self.found);
        self.found = 0;
        let mut damage: Option<Bad> = None;
        loop {
            let seen = self.look()?;
            if let Seen::Frame(frame) = seen {
                if let Some(bad) = damage {
                    damages.push(bad.until(&self.path, self.offset, false));
                }
                self.found = frame::HEADER + frame.length;
                let Frame { kind, sequence, length } = frame;
                return Ok(Some(Found { offset: self.offset, kind, sequence, length }));
            }
            let Some(byte) = self.buffer.get(self.start).copied() else {
                if let Some(bad) = damage {
                    damages.push(bad.until(&self.path, self.offset, true));
                }
                return Ok(None);
            };
            let overrun = seen == Seen::PastEnd;
            let bad = damage.get_or_insert(Bad { offset: self.offset, overrun, zeros: true });
            bad.zeros &= byte == 0;
            self.skip(1);
        }
    }

    /// The frame found last as a place of damage.
    pub(in crate::ledger) fn damage(&self, found: &Found, fault: Fault) -> Damage {
        let length = (frame::HEADER + self.payload().len()) as u64;
        Damage { path: Arc::clone(&self.path), offset: found.offset, length, fault }
    }

    /// The payload of the frame found last; empty before the first.
    pub(in crate::ledger) fn payload(&self) -> &[u8] {
        let end = self.start + self.found;
        self.buffer.get(self.start + frame::HEADER..end).unwrap_or_default()
    }

    /// The payload of the frame of `kind` that begins at `offset`; none if there
    /// is no such frame.
    ///
    /// # Errors
    /// What the kernel says.
    pub(in crate::ledger) fn frame_at(
        &mut self,
        offset: u64,
        kind: Kind,
    ) -> io::Result<Option<&[u8]>> {
        self.seek(offset);
        let Seen::Frame(frame) = self.look()? else { return Ok(None) };
        self.found = frame::HEADER + frame.length;
        Ok((frame.kind == Some(kind)).then(|| self.payload()))
    }

    /// Goes to `offset`; what was read and lies after it is kept.
    fn seek(&mut self, offset: u64) {
        self.found = 0;
        let ahead = offset.checked_sub(self.offset).and_then(|ahead| usize::try_from(ahead).ok());
        match ahead.filter(|ahead| self.start + ahead < self.buffer.len()) {
            Some(ahead) => self.skip(ahead),
            None => {
                self.buffer.clear();
                (self.start, self.offset) = (0, offset);
            }
        }
    }

    /// Looks at the bytes at `offset`.
    fn look(&mut self) -> io::Result<Seen> {
        let salt = self.salt;
        let mut need = frame::HEADER;
        loop {
            let view = self.view(need)?;
            match frame::look(view, salt) {
                Look::Whole(frame) => return Ok(Seen::Frame(frame)),
                Look::Bad => return Ok(Seen::Nothing),
                Look::Short(more) if view.len() < need || more <= need => return Ok(Seen::PastEnd),
                Look::Short(more) => need = more,
            }
        }
    }

    /// The bytes from `offset` on: `need` of them or more, fewer only at the end.
    fn view(&mut self, need: usize) -> io::Result<&[u8]> {
        let have = self.buffer.len() - self.start;
        if have < need {
            self.buffer.drain(..self.start);
            self.start = 0;
            let left = self.end.saturating_sub(self.offset + have as u64);
            let more = usize::try_from(left).unwrap_or(usize::MAX).min(need + CHUNK - have);
            self.buffer.resize(have + more, 0);
            let mut filled = have;
            while let Some(room) = self.buffer.get_mut(filled..).filter(|room| !room.is_empty()) {
                match self.file.read_at(room, self.offset + filled as u64) {
                    Ok(0) => break,
                    Ok(read) => filled += read,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            // The file may have become shorter than it was said to be.
            self.buffer.truncate(filled);
        }
        Ok(self.buffer.get(self.start..).unwrap_or_default())
    }

    fn skip(&mut self, bytes: usize) {
        self.start = (self.start + bytes).min(self.buffer.len());
        self.offset += bytes as u64;
    }
}

/// What stands at a place.
#[derive(PartialEq, Eq)]
enum Seen {
    Frame(Frame),
    Nothing,
    PastEnd,
}

/// Damage whose end is not known yet.
struct Bad {
    offset: u64,
    /// Whether a frame seems to begin there and to end after the file.
    overrun: bool,
    /// Whether it is all zeros, as after a power loss.
    zeros: bool,
}

impl Bad {
    fn until(&self, path: &Arc<Path>, end: u64, at_end: bool) -> Damage {
        let torn = at_end && (self.overrun || self.zeros);
        let fault = if torn { Fault::Torn } else { Fault::Damaged };
        Damage { path: Arc::clone(path), offset: self.offset, length: end - self.offset, fault }
    }
}
