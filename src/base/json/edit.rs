//! Changing a text where it stands: all bytes that no edit names stay.

use std::ops::Range;

use bytes::Bytes;

/// What stands at a place, and what is to stand there instead. An empty place is
/// an insertion.
pub type Edit = (Range<usize>, Bytes);

/// `body` with `edits`, which do not overlap, in pieces that share its bytes; none
/// is empty. What is inserted at one place stands there in the order of `edits`.
pub fn pieces(body: &Bytes, mut edits: Vec<Edit>) -> Vec<Bytes> {
    edits.sort_by_key(|(at, _)| (at.start, at.end));
    let mut pieces = Vec::with_capacity(edits.len() * 2 + 1);
    let mut from = 0;
    for (at, text) in edits {
        pieces.push(body.slice(from..at.start));
        pieces.push(text);
        from = at.end;
    }
    pieces.push(body.slice(from..));
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

/// The same in one piece; `body` itself if there is no edit.
pub fn joined(body: &Bytes, edits: Vec<Edit>) -> Bytes {
    match edits.is_empty() {
        true => body.clone(),
        false => Bytes::from(pieces(body, edits).concat()),
    }
}
