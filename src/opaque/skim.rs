//! JSON that is too large to be held, without what cannot name anything.
//!
//! Strings that are longer than any identifier (texts, pictures, sound) are left
//! out as they pass, so that what is kept of a text is JSON still, and small.

use crate::opaque::LARGEST_JSON;
use crate::store::ownership::LONGEST_ID;

/// Longest string that is kept, in bytes: an identifier, all of it escaped.
const LONGEST_STRING: usize = LONGEST_ID * 6;
/// Room that is kept from one text to the next, in bytes.
const ROOM: usize = 16 * 1024;

/// More has to be kept of one text than [`LARGEST_JSON`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge;

/// What is kept of the text that is passing.
#[derive(Debug, Default)]
pub struct Skim {
    kept: Vec<u8>,
    state: State,
    /// Where the string begins that is passing, behind its quote.
    string: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Outside,
    Inside,
    /// Inside, behind a backslash.
    Escaped,
    /// In a string that is left out.
    Long,
    /// The same, behind a backslash.
    LongEscaped,
}

impl Skim {
    /// Takes the next bytes of the text.
    ///
    /// # Errors
    /// [`TooLarge`].
    pub fn take(&mut self, mut bytes: &[u8]) -> Result<(), TooLarge> {
        while !bytes.is_empty() {
            let plain = match self.state {
                State::Outside => memchr::memchr(b'"', bytes),
                State::Inside | State::Long => memchr::memchr2(b'"', b'\\', bytes),
                State::Escaped | State::LongEscaped => Some(0),
            };
            let (run, rest) =
                bytes.split_at_checked(plain.unwrap_or(bytes.len())).unwrap_or_default();
            self.keep(run);
            if let Some((byte, after)) = rest.split_first() {
                self.keep(&[*byte]);
                self.step(*byte);
                bytes = after;
            } else {
                bytes = rest;
            }
            if self.kept.len() > LARGEST_JSON {
                return Err(TooLarge);
            }
        }
        Ok(())
    }

    /// What was kept of the text, which is over; the next one begins.
    pub fn end<T>(&mut self, read: impl FnOnce(&[u8]) -> T) -> T {
        let read = read(&self.kept);
        self.kept.clear();
        self.kept.shrink_to(ROOM);
        self.state = State::Outside;
        read
    }

    fn keep(&mut self, run: &[u8]) {
        if !matches!(self.state, State::Long | State::LongEscaped) {
            self.kept.extend_from_slice(run);
        }
        if self.state == State::Inside && self.kept.len() - self.string > LONGEST_STRING + 1 {
            // No identifier is a space.
            self.kept.truncate(self.string);
            self.kept.push(b' ');
            self.state = State::Long;
        }
    }

    /// Goes on behind `byte`, where something may end or begin.
    fn step(&mut self, byte: u8) {
        self.state = match (self.state, byte) {
            (State::Outside, _) => {
                self.string = self.kept.len();
                State::Inside
            }
            (State::Inside, b'"') => State::Outside,
            (State::Inside, _) => State::Escaped,
            (State::Escaped, _) => State::Inside,
            (State::Long, b'"') => {
                self.kept.push(b'"');
                State::Outside
            }
            (State::Long, _) => State::LongEscaped,
            (State::LongEscaped, _) => State::Long,
        };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn skimmed(text: &str, piece: usize) -> String {
        let mut skim = Skim::default();
        text.as_bytes().chunks(piece).for_each(|piece| skim.take(piece).unwrap());
        skim.end(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
    }

    fn string() -> impl Strategy<Value = String> {
        prop_oneof![
            4 => "[a-z\"\\\\]{0,12}",
            1 => (1_000..3_000_usize, "[a\"\\\\]").prop_map(|(count, one)| one.repeat(count)),
        ]
    }

    proptest! {
        /// However a text is cut, it stays JSON, and only long strings are gone.
        #[test]
        fn only_long_strings_are_left_out(
            strings in proptest::collection::vec(string(), 1..6), piece in 1..4_000_usize,
        ) {
            let text = serde_json::to_string(&strings).unwrap();
            let kept: Vec<String> = serde_json::from_str(&skimmed(&text, piece)).unwrap();
            prop_assert_eq!(kept.len(), strings.len());
            for (kept, was) in kept.iter().zip(&strings) {
                let long = serde_json::to_string(was).unwrap().len() > LONGEST_STRING + 2;
                prop_assert_eq!(kept, if long { " " } else { was });
            }
        }
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut skim = Skim::default();
        for _ in 0..100 {
            let sound = format!("[\"{}\"]", "A".repeat(LARGEST_JSON));
            assert_eq!(skim.take(sound.as_bytes()), Ok(()));
        }
        assert_eq!(skim.take(&b"1,".repeat(LARGEST_JSON)), Err(TooLarge));
        skim.end(|_| ());
        assert_eq!(skim.take(b"[]"), Ok(()));
        assert!(skim.kept.capacity() <= ROOM);
    }
}
