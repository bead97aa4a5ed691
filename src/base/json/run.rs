//! How far a text goes without anything that has to be looked at.

/// Bytes that are looked at in one step.
const STEP: usize = 16;
const WORD: usize = size_of::<u64>();

/// How many bytes from the first on stand for themselves in a text. Their bits are
/// added to `seen`.
pub(super) fn run(bytes: &[u8], seen: &mut u8) -> usize {
    let (steps, _) = bytes.as_chunks::<STEP>();
    let mut length = 0;
    for step in steps {
        // Without a branch inside, so that it becomes a few vector instructions.
        let stops = step.iter().fold(false, |stops, byte| stops | is_stop(*byte));
        let bits = step.iter().fold(0, |bits, byte| bits | byte);
        // Those after the stop too: bits too many only make the text be checked.
        *seen |= bits;
        if stops {
            return length + before_stop(step);
        }
        length += STEP;
    }
    for byte in bytes.get(length..).unwrap_or_default() {
        if is_stop(*byte) {
            break;
        }
        *seen |= byte;
        length += 1;
    }
    length
}

/// Whether `byte` ends a run: a quote, a backslash, or what no text may have.
const fn is_stop(byte: u8) -> bool {
    byte == b'"' || byte == b'\\' || byte < b' '
}

/// How many bytes of `step` come before the first that ends a run.
fn before_stop(step: &[u8; STEP]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([1; WORD]);
    const HIGHS: u64 = u64::from_ne_bytes([0x80; WORD]);
    let (words, _) = step.as_chunks::<WORD>();
    let mut before = 0;
    for word in words {
        let word = u64::from_le_bytes(*word);
        // The lowest bit that is set is that of the first byte below `least`; higher
        // ones may be wrong. Source: Warren, Hacker's Delight, "Find first 0-byte".
        let below = |word: u64, least: u8| word.wrapping_sub(ONES * u64::from(least)) & !word;
        let is = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
        let stops = (is(b'"') | is(b'\\') | below(word, b' ')) & HIGHS;
        if stops != 0 {
            return before + stops.trailing_zeros() as usize / 8;
        }
        before += WORD;
    }
    before
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wherever in a step it stands: what ends a run does, and nothing else.
    #[test]
    fn every_byte_is_told_in_every_place() {
        for place in 0..3 * STEP {
            for byte in 0..=u8::MAX {
                for after in [0, 1, STEP, 3 * STEP] {
                    let mut text = vec![b'x'; place];
                    text.push(byte);
                    text.extend(std::iter::repeat_n(b'y', after));
                    let mut seen = 0;
                    let length = run(&text, &mut seen);
                    let stops = byte == b'"' || byte == b'\\' || byte < 0x20;
                    assert_eq!(length, if stops { place } else { text.len() }, "{byte} at {place}");
                    assert_eq!(seen >= 0x80, byte >= 0x80, "{byte} at {place}");
                }
            }
        }
    }
}
