//! A shard: the segments that some of the threads write to, one after the other.

use std::io;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::Writer;
use super::calls::Calls;
use super::frame::{self, Kind};
use super::media::Sink;
use super::segment::{Active, Header, Segment};
use crate::ledger::digest::Digest;
use crate::ledger::index::gathered::Written;
use crate::ledger::record::{Attempt, UsageRecord, Void};

/// What can be written.
pub(in crate::ledger) trait Entry: minicbor::Encode<()> {
    /// The kind of its frame.
    const KIND: Kind;

    /// The entry with its texts cut, so that it fits a frame.
    fn shortened(&self) -> Self;

    /// Notes that it now stands at `offset` of `active`.
    fn written(&self, active: &mut Active, offset: u64, calls: &Calls);
}

impl Entry for Attempt {
    const KIND: Kind = Kind::Attempt;

    fn shortened(&self) -> Self {
        self.shortened()
    }

    fn written(&self, active: &mut Active, offset: u64, calls: &Calls) {
        calls.open(self.record, (active.segment.number, offset));
    }
}

impl Entry for UsageRecord {
    const KIND: Kind = Kind::Settle;

    fn shortened(&self) -> Self {
        self.shortened()
    }

    fn written(&self, active: &mut Active, offset: u64, calls: &Calls) {
        active.gathered.add(&Digest::of(self), offset);
        active.segment.span = active.gathered.span();
        calls.close(self.id);
    }
}

impl Entry for Void {
    const KIND: Kind = Kind::Void;

    fn shortened(&self) -> Self {
        *self
    }

    fn written(&self, active: &mut Active, _: u64, _: &Calls) {
        active.gathered.void(self.record);
    }
}

/// One of several files that are written at the same time, so that threads
/// rarely wait for each other.
pub(super) struct Shard {
    index: u32,
    state: Mutex<State>,
}

pub(super) struct State {
    active: Option<Active>,
    /// The number of a frame that could not be written, for the next one: no
    /// number is left out, so that a reader can tell when frames are missing.
    unused: Option<u64>,
}

impl Shard {
    pub(super) fn new(index: u32) -> Self {
        let state = State { active: None, unused: None };
        Self { index, state: Mutex::new(state) }
    }

    /// Hands `entry`, whose draft frame is `frame`, to the kernel and returns the group
    /// that will sync it. `state` is the shard's own.
    ///
    /// # Errors
    /// What the kernel says; the shard is then as it was before.
    pub(super) fn append<E: Entry>(
        &self,
        mut state: MutexGuard<'_, State>,
        writer: &Writer,
        entry: &E,
        frame: &mut [u8],
    ) -> io::Result<u64> {
        let State { active, unused } = &mut *state;
        let active = self.writable(writer, active)?;
        let sequence = unused.take().unwrap_or_else(|| writer.sequence());
        frame::seal(frame, active.segment.header.salt, sequence);
        let offset = active.append(frame).inspect_err(|_| *unused = Some(sequence))?;
        entry.written(active, offset, &writer.calls);
        Ok(writer.groups.join())
    }

    /// Finds out whether a frame could be written.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn probe(&self, writer: &Writer) -> io::Result<()> {
        self.writable(writer, &mut self.state.lock().active)?.probe()
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

    /// What readers may see of the active segment, and the records in it that
    /// `wanted` wants, the newest first, at most `limit`.
    pub(super) fn written(
        &self,
        wanted: &dyn Fn(&Written) -> bool,
        limit: usize,
    ) -> Option<(Segment, Vec<Written>)> {
        let state = self.state.lock();
        let active = state.active.as_ref()?;
        let found =
            active.gathered.records().iter().rev().filter(|entry| wanted(entry)).take(limit);
        Some((active.segment.clone(), found.copied().collect()))
    }

    /// Keeps everybody from writing.
    pub(super) fn hold(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// The same, unless somebody writes just now.
    pub(super) fn try_hold(&self) -> Option<MutexGuard<'_, State>> {
        self.state.try_lock()
    }

    /// Ends the active segment.
    pub(super) fn seal(&self, writer: &Writer) {
        if let Some(active) = self.state.lock().active.take() {
            writer.retire(active);
        }
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
