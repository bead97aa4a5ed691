//! One frame of a segment.
//!
//! ```text
//! length u32 | crc u32 | kind u8 | sequence u64 | payload (CBOR, `length` bytes)
//! ```
//!
//! Numbers are little-endian. The checksum is CRC-32 (ISO-HDLC, as in zlib)
//! over kind, sequence and payload, and starts from the segment's random salt:
//! text of a client that happens to look like a frame, or a frame left over
//! from another file, is never taken for one of this segment's.
//!
//! The sequence number counts the frames of one process over all its segments,
//! so that a reader can put them back into the order in which they were written.

/// Bytes before the payload.
pub(in crate::ledger) const HEADER: usize = 17;

/// Where the length is.
const LENGTH_AT: usize = 0;

/// Where the checksum is.
const CHECKSUM_AT: usize = 4;

/// Where the checksummed part begins.
const CHECKED_FROM: usize = 8;

/// Where the sequence number is.
const SEQUENCE_AT: usize = 9;

/// The longest payload, in bytes. It bounds what a reader holds in memory.
pub(super) const MAX_PAYLOAD: usize = 256 * 1024;

/// What a payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ledger) enum Kind {
    /// An [`Attempt`](crate::ledger::record::Attempt).
    Attempt,
    /// A [`UsageRecord`](crate::ledger::record::UsageRecord).
    Settle,
    /// A [`Void`](crate::ledger::record::Void).
    Void,
}

impl Kind {
    /// The kind's byte in a frame; never used again for something else.
    const fn code(self) -> u8 {
        match self {
            Self::Attempt => 1,
            Self::Settle => 2,
            Self::Void => 3,
        }
    }

    /// The kind of a frame; none if a later version of the product wrote it.
    const fn of(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Attempt),
            2 => Some(Self::Settle),
            3 => Some(Self::Void),
            _ => None,
        }
    }
}

/// Why a value does not fit a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Oversize;

/// Replaces what `buffer` holds by the frame of `value`, as far as it is the same in
/// every segment: [`seal`] does the rest.
///
/// # Errors
/// [`Oversize`] if the payload is longer than [`MAX_PAYLOAD`].
pub(super) fn draft<T: minicbor::Encode<()>>(
    buffer: &mut Vec<u8>,
    kind: Kind,
    value: &T,
) -> Result<(), Oversize> {
    buffer.clear();
    buffer.extend_from_slice(&[0; HEADER]);
    minicbor::encode(value, Payload(buffer)).map_err(|_| Oversize)?;
    let length = buffer.len() - HEADER;
    if length > MAX_PAYLOAD {
        return Err(Oversize);
    }
    let length = u32::try_from(length).map_err(|_| Oversize)?.to_le_bytes();
    fill(buffer, LENGTH_AT, &length);
    fill(buffer, CHECKED_FROM, &[kind.code()]);
    Ok(())
}

/// Where a payload is encoded: a record has a hundred writes of a few bytes, which
/// are worth inlining.
struct Payload<'b>(&'b mut Vec<u8>);

impl minicbor::encode::Write for Payload<'_> {
    type Error = std::convert::Infallible;

    #[inline]
    fn write_all(&mut self, bytes: &[u8]) -> Result<(), Self::Error> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

/// Makes a [`draft`] frame number `sequence` of the segment whose salt is `salt`.
pub(super) fn seal(frame: &mut [u8], salt: u32, sequence: u64) {
    fill(frame, SEQUENCE_AT, &sequence.to_le_bytes());
    let crc = checksum(salt, frame.get(CHECKED_FROM..).unwrap_or_default());
    fill(frame, CHECKSUM_AT, &crc.to_le_bytes());
}

fn fill(frame: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = frame.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

/// The whole frame of `value` in place of what `buffer` holds.
#[cfg(test)]
pub(super) fn encode<T: minicbor::Encode<()>>(
    buffer: &mut Vec<u8>,
    salt: u32,
    kind: Kind,
    sequence: u64,
    value: &T,
) -> Result<(), Oversize> {
    draft(buffer, kind, value)?;
    seal(buffer, salt, sequence);
    Ok(())
}

/// A whole frame at the beginning of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// None for a kind that this version does not know.
    pub(super) kind: Option<Kind>,
    /// The frame's place among those of its process.
    pub(super) sequence: u64,
    /// Length of the payload in bytes.
    pub(super) length: usize,
}

/// What stands at the beginning of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// A frame.
    Whole(Frame),
    /// Perhaps a frame: this many bytes are needed to tell.
    Short(usize),
    /// No frame.
    Bad,
}

/// Looks for a frame at the beginning of `bytes`. Accepts any bytes.
pub(super) fn look(bytes: &[u8], salt: u32) -> Look {
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else { return Look::Short(HEADER) };
    let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
    if length == 0 || length > MAX_PAYLOAD {
        return Look::Bad;
    }
    let need = HEADER + length;
    let Some((crc, checked)) = rest.split_first_chunk::<4>() else { return Look::Short(need) };
    let Some(checked) = checked.get(..need - CHECKED_FROM) else { return Look::Short(need) };
    if checksum(salt, checked) != u32::from_le_bytes(*crc) {
        return Look::Bad;
    }
    let Some((kind, rest)) = checked.split_first() else { return Look::Bad };
    let Some((sequence, _)) = rest.split_first_chunk::<8>() else { return Look::Bad };
    Look::Whole(Frame { kind: Kind::of(*kind), sequence: u64::from_le_bytes(*sequence), length })
}

fn checksum(salt: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(salt);
    hasher.update(bytes);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(salt: u32, sequence: u64, text: &str) -> Vec<u8> {
        let mut buffer = Vec::new();
        encode(&mut buffer, salt, Kind::Settle, sequence, &text).unwrap();
        buffer
    }

    #[test]
    fn a_payload_over_the_limit_is_refused() {
        let text = "x".repeat(MAX_PAYLOAD);
        let encoded = encode(&mut Vec::new(), 0, Kind::Settle, 0, &text.as_str());
        assert_eq!(encoded, Err(Oversize));
    }

    #[test]
    fn zeros_are_no_frame() {
        assert_eq!(look(&[0; 64], 0), Look::Bad);
    }

    #[test]
    fn a_frame_of_another_segment_is_no_frame() {
        assert_eq!(look(&frame(7, 1, "text"), 8), Look::Bad);
    }

    proptest! {
        #[test]
        fn what_is_framed_is_read_back(salt: u32, sequence: u64, text in ".{1,300}", after: Vec<u8>) {
            let mut bytes = frame(salt, sequence, &text);
            let whole = bytes.len();
            bytes.extend(after);
            let Look::Whole(found) = look(&bytes, salt) else { panic!("not whole") };
            prop_assert_eq!((found.kind, found.sequence), (Some(Kind::Settle), sequence));
            prop_assert_eq!(HEADER + found.length, whole);
            let payload = &bytes[HEADER..whole];
            prop_assert_eq!(minicbor::decode::<&str>(payload).unwrap(), text);
        }

        #[test]
        fn a_part_of_a_frame_is_short(salt: u32, text in ".{1,300}", part in 0.0_f64..1.0) {
            let bytes = frame(salt, 1, &text);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss,
                     clippy::cast_precision_loss, clippy::float_arithmetic, reason = "a test")]
            let cut = (bytes.len() as f64 * part) as usize;
            prop_assert!(matches!(look(&bytes[..cut], salt), Look::Short(_)));
        }

        #[test]
        fn a_flipped_bit_is_noticed(salt: u32, text in ".{1,80}", at: prop::sample::Index, bit in 0..8_u32) {
            let mut bytes = frame(salt, 1, &text);
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert!(!matches!(look(&bytes, salt), Look::Whole(_)));
        }

        #[test]
        fn any_bytes_are_looked_at_without_panic(salt: u32, bytes: Vec<u8>) {
            prop_assert!(!matches!(look(&bytes, salt), Look::Whole(_)));
        }
    }
}
