//! What has come of an answer, for readers at different places.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// One piece of an answer: whole events of a stream, or a whole body.
#[derive(Clone, Debug, Default)]
pub(super) struct Piece {
    /// As the provider sent it.
    pub(super) full: Bytes,
    /// Without what Tollgate had asked for itself.
    pub(super) plain: Bytes,
}

impl Piece {
    /// Bytes that it holds: those of its second form too, where that is a copy.
    pub(super) fn size(&self) -> usize {
        let same = self.plain.as_ptr() == self.full.as_ptr();
        self.full.len() + if same { 0 } else { self.plain.len() }
    }
}

/// Pieces in order, of which the oldest may have been let go.
#[derive(Debug, Default)]
pub(super) struct Log {
    pieces: VecDeque<Piece>,
    /// The number of the oldest piece that is still there.
    first: usize,
    /// Bytes of the pieces that are there.
    held: usize,
}

impl Log {
    /// The number that the next piece will have.
    pub(super) fn end(&self) -> usize {
        self.first + self.pieces.len()
    }

    /// Bytes held.
    pub(super) const fn held(&self) -> usize {
        self.held
    }

    pub(super) fn push(&mut self, piece: Piece) {
        self.held += piece.size();
        self.pieces.push_back(piece);
    }

    /// The pieces from number `from` on in one; `None` where some of them have
    /// been let go.
    pub(super) fn read(&self, from: usize, plain: bool) -> Option<Bytes> {
        let skip = from.checked_sub(self.first)?;
        let pick = |piece: &Piece| if plain { piece.plain.clone() } else { piece.full.clone() };
        let mut pieces = self.pieces.iter().skip(skip);
        let (Some(one), more) = (pieces.next().map(pick), pieces.len()) else {
            return Some(Bytes::new());
        };
        if more == 0 {
            return Some(one);
        }
        let size = one.len() + pieces.clone().map(|piece| piece.full.len()).sum::<usize>();
        let mut joined = BytesMut::with_capacity(size);
        joined.extend_from_slice(&one);
        pieces.for_each(|piece| joined.extend_from_slice(&pick(piece)));
        Some(joined.freeze())
    }

    /// Some pieces from number `from` on, `most` bytes or a single piece, and the
    /// number of the next; `None` where the first of them has been let go.
    pub(super) fn step(&self, from: usize, plain: bool, most: usize) -> Option<(Bytes, usize)> {
        let skip = from.checked_sub(self.first)?;
        let mut size = 0;
        let fits = |piece: &&Piece| {
            size += piece.full.len();
            size <= most
        };
        let count = self.pieces.iter().skip(skip).take_while(fits).count();
        let count = count.max(1).min(self.pieces.len().saturating_sub(skip));
        let pick = |piece: &Piece| if plain { piece.plain.clone() } else { piece.full.clone() };
        let mut pieces = self.pieces.iter().skip(skip).take(count).map(pick);
        let first = pieces.next().unwrap_or_default();
        if count <= 1 {
            return Some((first, from + count));
        }
        let mut joined = BytesMut::with_capacity(size);
        joined.extend_from_slice(&first);
        pieces.for_each(|piece| joined.extend_from_slice(&piece));
        Some((joined.freeze(), from + count))
    }

    /// Bytes from piece `from` on.
    pub(super) fn behind(&self, from: usize) -> usize {
        let skip = from.saturating_sub(self.first);
        self.pieces.iter().skip(skip).map(|piece| piece.full.len()).sum()
    }

    /// Lets go of what lies before piece `needed`, and of more where over `most`
    /// bytes would be held; the newest piece always stays.
    pub(super) fn trim(&mut self, needed: usize, most: usize) {
        while self.pieces.len() > 1 && (self.first < needed || self.held > most) {
            let Some(piece) = self.pieces.pop_front() else { return };
            self.held -= piece.size();
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(texts: &[&'static str]) -> Log {
        let mut log = Log::default();
        for text in texts {
            let full = Bytes::from_static(text.as_bytes());
            log.push(Piece { plain: full.slice(1..), full });
        }
        log
    }

    #[test]
    fn readers_get_what_lies_behind_their_place() {
        let log = log(&["ab", "cd", "ef"]);
        assert_eq!(log.read(0, false).unwrap(), "abcdef");
        assert_eq!(log.read(0, true).unwrap(), "bdf");
        assert_eq!(log.read(2, false).unwrap(), "ef");
        assert_eq!(log.read(3, false).unwrap(), "");
        assert_eq!((log.end(), log.held(), log.behind(1)), (3, 9, 4));
    }

    #[test]
    fn what_was_let_go_is_missed_only_by_those_who_need_it() {
        let mut log = log(&["ab", "cd", "ef"]);
        log.trim(1, 100);
        assert_eq!(log.read(0, false), None);
        assert_eq!(log.read(1, false).unwrap(), "cdef");
        log.trim(1, 3);
        assert_eq!(log.read(1, false), None);
        assert_eq!((log.read(2, false).unwrap(), log.held()), (Bytes::from("ef"), 3));
        log.trim(9, 0);
        assert_eq!((log.end(), log.held()), (3, 3), "the newest stays");
    }
}
