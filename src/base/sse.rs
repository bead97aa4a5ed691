//! Server-sent events, split and never changed.
//!
//! Source: WHATWG HTML, "Server-sent events", section 9.2.5 "Parsing an event
//! stream" and 9.2.6 "Interpreting an event stream". A line ends with LF, CR
//! or CRLF; a blank line ends an event; one byte order mark may come first.
//!
//! Invariant: the pieces that a [`Splitter`] gives, put together, are exactly
//! the bytes that it was given, and its events do not depend on how those
//! bytes were cut into chunks.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};

const LF: u8 = b'\n';
const CR: u8 = b'\r';
const BYTE_ORDER_MARK: [u8; 3] = [0xEF, 0xBB, 0xBF];

/// A part of an event stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// One whole event, the blank line that ends it included. An event without
    /// fields (a comment, or a blank line alone) is one too.
    Event(Bytes),
    /// Bytes to pass on unread: a byte order mark, a part of an event over the
    /// limit, or what the stream left unfinished. Never empty.
    Raw(Bytes),
}

impl Piece {
    /// The bytes, whatever they are.
    pub fn into_bytes(self) -> Bytes {
        match self {
            Self::Event(bytes) | Self::Raw(bytes) => bytes,
        }
    }
}

/// Where the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// At the start of a line.
    LineStart,
    /// Within a line.
    InLine,
    /// After a CR that ended a line with content; an LF would belong to it.
    AfterCr,
    /// After a CR that ended a blank line; an LF would belong to it.
    AfterBlankCr,
}

/// Splits a stream into events, chunk by chunk.
///
/// An event within one chunk is a slice of that chunk; an event over several
/// is copied once. At most `limit` bytes are held. Where a blank line ends with
/// a lone CR the event waits for the byte after it, which may be its LF.
///
/// ```
/// use bytes::Bytes;
/// use tollgate::base::sse::{Piece, Splitter};
///
/// let mut splitter = Splitter::new(1024);
/// splitter.push(Bytes::from_static(b"data: 1\n\ndata"));
/// assert_eq!(splitter.next_piece(), Some(Piece::Event(Bytes::from_static(b"data: 1\n\n"))));
/// assert_eq!(splitter.next_piece(), None);
/// assert_eq!(splitter.finish(), Some(Piece::Raw(Bytes::from_static(b"data"))));
/// ```
#[derive(Debug)]
pub struct Splitter {
    limit: usize,
    /// What has been pushed and not scanned yet.
    chunk: Bytes,
    /// The start of an event whose end is still to come.
    held: BytesMut,
    at: At,
    /// Whether a part of the current event has left already.
    oversize: bool,
    /// Whether a byte order mark may still come.
    starting: bool,
}

impl Splitter {
    /// A splitter at the start of a stream. Events of more than `limit` bytes
    /// come as [`Piece::Raw`].
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            chunk: Bytes::new(),
            held: BytesMut::new(),
            at: At::LineStart,
            oversize: false,
            starting: true,
        }
    }

    /// Takes the next chunk of the stream. Call [`Self::next_piece`] until it
    /// gives `None` before the next chunk; chunks that pile up are copied.
    pub fn push(&mut self, chunk: Bytes) {
        self.chunk = if self.chunk.is_empty() { chunk } else { join(&self.chunk, &chunk) };
    }

    /// The next piece, or `None` when more input is needed.
    pub fn next_piece(&mut self) -> Option<Piece> {
        if self.starting
            && let Some(mark) = self.start()
        {
            return Some(mark);
        }
        if self.chunk.is_empty() || self.starting {
            return None;
        }
        loop {
            let Some(end) = self.scan() else { return self.hold() };
            let tail = self.chunk.split_to(end);
            let whole = !std::mem::take(&mut self.oversize);
            let bytes = self.unite(tail);
            if whole && bytes.len() <= self.limit {
                return Some(Piece::Event(bytes));
            }
            if !bytes.is_empty() {
                return Some(Piece::Raw(bytes));
            }
        }
    }

    /// The end of the stream: what is left, if anything. It is an event only if
    /// its blank line is complete.
    pub fn finish(&mut self) -> Option<Piece> {
        let rest = std::mem::take(&mut self.chunk);
        let whole = rest.is_empty() && self.at == At::AfterBlankCr && !self.oversize;
        let bytes = self.unite(rest);
        match (bytes.is_empty(), whole) {
            (true, _) => None,
            (false, true) => Some(Piece::Event(bytes)),
            (false, false) => Some(Piece::Raw(bytes)),
        }
    }

    /// Looks for a byte order mark; `starting` stays set while it is undecided.
    fn start(&mut self) -> Option<Piece> {
        let chunk = std::mem::take(&mut self.chunk);
        self.chunk = self.unite(chunk);
        let same = BYTE_ORDER_MARK.iter().zip(&self.chunk).take_while(|(a, b)| a == b).count();
        if same == BYTE_ORDER_MARK.len() {
            self.starting = false;
            return Some(Piece::Raw(self.chunk.split_to(same)));
        }
        if same == self.chunk.len() {
            self.held.extend_from_slice(&std::mem::take(&mut self.chunk));
        } else {
            self.starting = false;
        }
        None
    }

    /// Scans the chunk for the end of the current event: the number of bytes of
    /// the chunk that belong to it. `None` once the whole chunk was read.
    fn scan(&mut self) -> Option<usize> {
        let bytes: &[u8] = &self.chunk;
        let mut read = 0;
        loop {
            let byte = *bytes.get(read)?;
            match self.at {
                At::AfterBlankCr => {
                    self.at = At::LineStart;
                    return Some(if byte == LF { read + 1 } else { read });
                }
                At::AfterCr => {
                    self.at = At::LineStart;
                    read += usize::from(byte == LF);
                }
                At::LineStart => match byte {
                    LF => return Some(read + 1),
                    CR => {
                        self.at = At::AfterBlankCr;
                        read += 1;
                    }
                    _ => self.at = At::InLine,
                },
                At::InLine => {
                    let rest = bytes.get(read..)?;
                    let length = memchr::memchr2(LF, CR, rest)?;
                    let lone = rest.get(length) == Some(&CR);
                    self.at = if lone { At::AfterCr } else { At::LineStart };
                    read += length + 1;
                }
            }
        }
    }

    /// Keeps the scanned chunk for later, or lets it go if it is too much.
    fn hold(&mut self) -> Option<Piece> {
        let rest = std::mem::take(&mut self.chunk);
        if rest.is_empty() {
            return None;
        }
        if self.oversize || self.held.len() + rest.len() > self.limit {
            self.oversize = true;
            return Some(Piece::Raw(self.unite(rest)));
        }
        self.held.extend_from_slice(&rest);
        None
    }

    /// What is held, followed by `tail`; without a copy if nothing is held.
    fn unite(&mut self, tail: Bytes) -> Bytes {
        if self.held.is_empty() {
            return tail;
        }
        self.held.extend_from_slice(&tail);
        self.held.split().freeze()
    }
}

fn join(first: &[u8], second: &[u8]) -> Bytes {
    let mut both = BytesMut::with_capacity(first.len() + second.len());
    both.extend_from_slice(first);
    both.extend_from_slice(second);
    both.freeze()
}

/// The fields of an event in their order: name and value, without the one space
/// that may follow the colon. Comments are left out.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

/// The fields of `event`, which is one event without a byte order mark.
pub const fn fields(event: &[u8]) -> Fields<'_> {
    Fields { rest: event }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            let length = memchr::memchr2(LF, CR, self.rest).unwrap_or(self.rest.len());
            let (line, rest) = self.rest.split_at_checked(length)?;
            // The LF of a CRLF is read as a blank line, which is no field.
            self.rest = rest.get(1..).unwrap_or_default();
            let (name, value) = match memchr::memchr(b':', line) {
                Some(colon) => (line.get(..colon)?, line.get(colon + 1..)?),
                None => (line, &[][..]),
            };
            if !name.is_empty() {
                return Some((name, value.strip_prefix(b" ").unwrap_or(value)));
            }
        }
        None
    }
}

/// The payload of `event`: its `data` values joined by LF, without a copy if
/// there is one; `None` if it has none, so that a browser would not dispatch it.
pub fn data(event: &[u8]) -> Option<Cow<'_, [u8]>> {
    let mut values = fields(event).filter_map(|(name, value)| (name == b"data").then_some(value));
    let first = values.next()?;
    let Some(second) = values.next() else { return Some(Cow::Borrowed(first)) };
    let mut joined = first.to_vec();
    for value in std::iter::once(second).chain(values) {
        joined.push(LF);
        joined.extend_from_slice(value);
    }
    Some(Cow::Owned(joined))
}

/// The type of `event`: its last `event` value, if it has one.
pub fn name(event: &[u8]) -> Option<&[u8]> {
    fields(event).filter_map(|(name, value)| (name == b"event").then_some(value)).last()
}

#[cfg(test)]
mod tests;
