//! A shard: the segments that some of the threads write to, one after the other.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use super::Writer;
use super::frame::{self, Kind};
use super::media::Sink;
use super::segment::{Active, Header, Segment, Span};
use crate::ledger::record::{Attempt, UsageRecord};

/// What a shard's buffer keeps between frames, in bytes.
const BUFFER: usize = 16 * 1024;

/// What can be written.
pub(in crate::ledger) trait Entry: minicbor::Encode<()> {
    /// The kind of its frame.
    const KIND: Kind;

    /// The entry with its texts cut, so that it fits a frame.
    fn shortened(&self) -> Self;

    /// What its segment settles once it is written.
    fn widen(&self, span: Option<Span>) -> Option<Span>;
}

impl Entry for Attempt {
    const KIND: Kind = Kind::Attempt;

    fn shortened(&self) -> Self {
        self.shortened()
    }

    fn widen(&self, span: Option<Span>) -> Option<Span> {
        span
    }
}

impl Entry for UsageRecord {
    const KIND: Kind = Kind::Settle;

    fn shortened(&self) -> Self {
        self.shortened()
    }

    fn widen(&self, span: Option<Span>) -> Option<Span> {
        Some(Span::with(span, self))
    }
}

/// One of several files that are written at the same time, so that threads
/// rarely wait for each other.
pub(super) struct Shard {
    index: u32,
    state: Mutex<State>,
}

struct State {
    buffer: Vec<u8>,
    active: Option<Active>,
}

impl Shard {
    pub(super) fn new(index: u32) -> Self {
        let state = State { buffer: Vec::with_capacity(BUFFER), active: None };
        Self { index, state: Mutex::new(state) }
    }

    /// Hands `entry` to the kernel and returns the group that will sync it.
    ///
    /// # Errors
    /// What the kernel says; the shard is then as it was before.
    pub(super) fn append<E: Entry>(&self, writer: &Writer, entry: &E) -> io::Result<u64> {
        let mut state = self.state.lock();
        let State { buffer, active } = &mut *state;
        let active = self.writable(writer, active)?;
        let salt = active.segment.header.salt;
        let sequence = writer.sequence();
        frame::encode(buffer, salt, E::KIND, sequence, entry)
            .or_else(|_| frame::encode(buffer, salt, E::KIND, sequence, &entry.shortened()))
            .map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        let written = active.append(buffer);
        buffer.shrink_to(BUFFER);
        written?;
        active.segment.span = entry.widen(active.segment.span);
        Ok(writer.groups.join())
    }

    /// The segment to write to: the active one, or a new one if that is full.
    fn writable<'a>(
        &self,
        writer: &Writer,
        active: &'a mut Option<Active>,
    ) -> io::Result<&'a mut Active> {
        let full = |active: &Active| active.segment.length >= writer.options.segment_bytes;
        if let Some(old) = active.take_if(|active| active.condemned || full(active)) {
            writer.retire(old);
        }
        match active {
            Some(active) => Ok(active),
            none => {
                let header = Header {
                    process: writer.process,
                    shard: self.index,
                    salt: rand::random(),
                    created: writer.clock.wall(),
                };
                Ok(none.insert(writer.create(header)?))
            }
        }
    }

    /// What readers may see of the active segment.
    pub(super) fn snapshot(&self) -> Option<Segment> {
        self.state.lock().active.as_ref().map(|active| active.segment.clone())
    }

    /// The active file if something in it is not synced; it then counts as synced.
    pub(super) fn take_dirty(&self) -> Option<Arc<dyn Sink>> {
        let mut state = self.state.lock();
        let active = state.active.as_mut()?;
        std::mem::take(&mut active.dirty).then(|| Arc::clone(&active.sink))
    }

    /// Ends the active segment if its file is `sink`, which could not be synced:
    /// the kernel forgets which of its pages are not on the disk.
    pub(super) fn condemn(&self, sink: &Arc<dyn Sink>) {
        if let Some(active) = &mut self.state.lock().active {
            active.condemned |= Arc::ptr_eq(&active.sink, sink);
        }
    }
}
