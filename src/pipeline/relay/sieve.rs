//! A stream on its way: split into events, metered, recorded for the cache, and
//! in two forms, with and without what Tollgate asked for itself.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use crate::base::sse::{self, Piece, Splitter};
use crate::cache::entry::{Cut, Recorder, Stream};
use crate::meter::stream::{Observed, StreamMeter};
use crate::meter::strip;
use crate::pipeline::relay::restore::Restore;

/// Largest event that is looked into, in bytes; a larger one passes unread.
const LARGEST_EVENT: usize = 4 * 1024 * 1024;

/// Splits chunks into events, meters and records them, and takes out what a
/// client that did not ask for usage must not see.
pub(super) struct Sieve {
    splitter: Splitter,
    meter: StreamMeter,
    /// Whether usage may be there because Tollgate asked for it.
    asked: bool,
    /// What is to be kept in the cache.
    recording: Option<Recording>,
    /// Bytes of an event whose end has not come.
    held: usize,
    /// What every event is to say instead.
    restore: Option<Restore>,
}

/// Gives every whole event of `stream`.
pub(super) fn events(stream: Bytes, mut each: impl FnMut(&Bytes)) {
    let mut splitter = Splitter::new(LARGEST_EVENT);
    splitter.push(stream);
    while let Some(piece) = splitter.next_piece() {
        if let Piece::Event(event) = piece {
            each(&event);
        }
    }
}

/// A stream that is recorded while it passes.
struct Recording {
    recorder: Recorder,
    /// Whether its usage is there because it was asked for.
    cuts: bool,
}

impl Recording {
    fn take(&mut self, event: &Bytes, observed: Observed, null_usage: Option<&Range<usize>>) {
        if observed.is_error {
            return self.recorder.spoil();
        }
        // A comment keeps a connection alive: it is no part of the answer.
        if sse::fields(event).next().is_none() {
            return;
        }
        let cut = match null_usage {
            _ if !self.cuts => Cut::Nothing,
            _ if observed.is_usage_only => Cut::All,
            Some(part) => Cut::Part(part.clone()),
            None => Cut::Nothing,
        };
        self.recorder.event(event, cut, observed.is_terminal);
    }
}

/// What is to be passed on of one chunk.
pub(super) struct Sifted {
    /// As it came.
    pub(super) full: Bytes,
    /// Without what Tollgate asked for.
    pub(super) plain: Bytes,
    /// Whether the last event of the answer is in it.
    pub(super) last: bool,
}

impl Sieve {
    /// A sieve for a stream in which Tollgate has `asked` for usage; what passes
    /// goes to `recorder` too.
    pub(super) fn new(asked: bool, recorder: Option<Recorder>) -> Self {
        Self {
            splitter: Splitter::new(LARGEST_EVENT),
            meter: StreamMeter::new(),
            asked,
            recording: recorder.map(|recorder| Recording { recorder, cuts: asked }),
            held: 0,
            restore: None,
        }
    }

    /// Puts the client's own into every event from now on.
    pub(super) fn restoring(&mut self, restore: Option<Restore>) {
        self.restore = restore;
    }

    /// The meter, with an empty one in its place.
    pub(super) fn meter(&mut self) -> StreamMeter {
        std::mem::take(&mut self.meter)
    }

    /// The recording, if there is one and the stream is whole.
    pub(super) fn recorded(&mut self) -> Option<Stream> {
        self.recording.take().and_then(|recording| recording.recorder.finish())
    }

    pub(super) fn sift(&mut self, chunk: Bytes) -> Sifted {
        let before = self.held + chunk.len();
        let untouched = (self.held == 0 && self.restore.is_none()).then(|| chunk.clone());
        self.splitter.push(chunk);
        let (mut full, mut plain) = (Pieces::default(), Pieces::default());
        let (mut seen, mut last) = (0, false);
        while let Some(piece) = self.splitter.next_piece() {
            let event = match piece {
                Piece::Raw(bytes) => {
                    seen += bytes.len();
                    plain.push(bytes.clone());
                    full.push(bytes);
                    if let Some(recording) = &mut self.recording {
                        recording.recorder.spoil();
                    }
                    continue;
                }
                Piece::Event(event) => event,
            };
            seen += event.len();
            let event = self.restored(event);
            let observed = self.meter.observe(&event);
            last |= observed.is_terminal;
            let null_usage = if self.asked { strip::null_usage(&event) } else { None };
            if let Some(recording) = &mut self.recording {
                recording.take(&event, observed, null_usage.as_ref());
            }
            full.push(event.clone());
            if !(self.asked && observed.is_usage_only) {
                plain.push(strip::without(&event, null_usage));
            }
        }
        self.held = before.saturating_sub(seen);
        // Most chunks hold whole events that need no change: they pass as they
        // came, without a copy.
        let same = plain.len == full.len;
        let full = match untouched {
            Some(chunk) if full.len == chunk.len() => chunk,
            _ => full.join(),
        };
        let plain = if same { full.clone() } else { plain.join() };
        Sifted { full, plain, last }
    }

    fn restored(&self, event: Bytes) -> Bytes {
        match &self.restore {
            Some(restore) => restore.event(&event),
            None => event,
        }
    }

    /// What the stream ended with, short of a whole event.
    pub(super) fn rest(&mut self) -> Bytes {
        self.held = 0;
        match self.splitter.finish() {
            Some(Piece::Event(event)) => {
                self.meter.observe(&event);
                self.restored(event)
            }
            Some(Piece::Raw(bytes)) => bytes,
            None => Bytes::new(),
        }
    }
}

/// Pieces in order; joined only if there are several.
#[derive(Default)]
struct Pieces {
    pieces: Vec<Bytes>,
    len: usize,
}

impl Pieces {
    fn push(&mut self, piece: Bytes) {
        self.len += piece.len();
        self.pieces.push(piece);
    }

    fn join(mut self) -> Bytes {
        if self.pieces.len() <= 1 {
            return self.pieces.pop().unwrap_or_default();
        }
        let mut joined = BytesMut::with_capacity(self.len);
        for piece in &self.pieces {
            joined.extend_from_slice(piece);
        }
        joined.freeze()
    }
}
