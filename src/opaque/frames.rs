//! The frames of a WebSocket (RFC 6455 §5.2), followed as their bytes pass.
//!
//! Nothing is held back but the few bytes of a frame's header: a message is
//! measured, and given piece by piece to whoever listens, and never kept.

/// Longest header of a frame, in bytes.
const LONGEST_HEADER: usize = 14;
/// Largest payload of a control frame, in bytes (§5.5).
const LARGEST_CONTROL: u64 = 125;
/// Bytes that are unmasked at once.
const AT_ONCE: usize = 1_024;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PONG: u8 = 10;

/// Which side sends: a client masks its payloads, a server does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The client.
    Client,
    /// The server.
    Server,
}

/// Why the bytes that follow are not passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// They are no frames, or use an extension that was not agreed upon.
    #[error("what was sent is no WebSocket frame")]
    Malformed,
    /// A message is larger than allowed.
    #[error("a message is too large")]
    TooLarge,
}

/// Hears the messages of one side, without their frames and masks: a server's
/// texts, and whatever a client says.
pub trait Listener {
    /// The next piece of a message.
    fn piece(&mut self, payload: &[u8]);

    /// The message is whole; it was a `text`, or bytes.
    fn end(&mut self, text: bool);
}

/// Hears nothing.
impl Listener for () {
    fn piece(&mut self, _payload: &[u8]) {}

    fn end(&mut self, _text: bool) {}
}

/// The frames of one side.
#[derive(Debug)]
pub struct Frames {
    side: Side,
    /// Largest message, in bytes.
    limit: u64,
    header: [u8; LONGEST_HEADER],
    /// How much of the header is there.
    have: usize,
    /// Payload bytes of the frame that are still to come.
    left: u64,
    /// What the frame is of the message that is being sent.
    part: Part,
    /// Whether the message that is being sent is heard, and whether it is a text.
    heard: bool,
    text: bool,
    /// The mask of the frame that is being sent, turned to its next byte.
    mask: [u8; 4],
    /// Payload bytes of that message so far, the frame's included.
    message: u64,
    /// Whether it goes on in a later frame.
    goes_on: bool,
    closing: bool,
}

/// What a frame is of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// No part: it stands between.
    Control,
    /// A part with others to follow.
    Inner,
    /// The last one.
    Last,
}

impl Frames {
    /// The frames that `side` will send, its messages of `limit` bytes at most.
    pub const fn of(side: Side, limit: u64) -> Self {
        Self {
            side,
            limit,
            header: [0; LONGEST_HEADER],
            have: 0,
            left: 0,
            part: Part::Control,
            heard: false,
            text: false,
            mask: [0; 4],
            message: 0,
            goes_on: false,
            closing: false,
        }
    }

    /// Whether nothing of a frame has come without its end: another frame may be put
    /// here.
    pub const fn is_between(&self) -> bool {
        self.have == 0 && self.left == 0
    }

    /// Whether the side has said that it closes.
    pub const fn is_closing(&self) -> bool {
        self.closing
    }

    /// Follows the next bytes.
    ///
    /// # Errors
    /// [`Fault`]; none of these bytes should then be passed on, and nothing that
    /// follows them is understood.
    pub fn follow(&mut self, mut bytes: &[u8], to: &mut impl Listener) -> Result<(), Fault> {
        while let Some((first, after)) = bytes.split_first() {
            if self.left > 0 {
                let count = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
                let (payload, rest) = bytes.split_at(count);
                self.left -= count as u64;
                bytes = rest;
                if self.heard && self.part != Part::Control {
                    self.tell(payload, to);
                }
                self.end_of_frame(to);
                continue;
            }
            if let Some(place) = self.header.get_mut(self.have) {
                *place = *first;
            }
            self.have += 1;
            bytes = after;
            if self.have >= self.header_length() {
                self.begin()?;
                self.have = 0;
                self.end_of_frame(to);
            }
        }
        Ok(())
    }

    fn tell(&mut self, payload: &[u8], to: &mut impl Listener) {
        if self.mask == [0; 4] {
            return to.piece(payload);
        }
        let mut plain = [0; AT_ONCE];
        for piece in payload.chunks(AT_ONCE) {
            let Some(plain) = plain.get_mut(..piece.len()) else { return };
            plain.copy_from_slice(piece);
            for four in plain.chunks_mut(4) {
                four.iter_mut().zip(self.mask).for_each(|(byte, mask)| *byte ^= mask);
            }
            to.piece(plain);
            self.mask.rotate_left(piece.len() % 4);
        }
    }

    fn end_of_frame(&self, to: &mut impl Listener) {
        if self.left == 0 && self.part == Part::Last && self.heard {
            to.end(self.text);
        }
    }

    /// How long the header is, as far as it tells.
    const fn header_length(&self) -> usize {
        let [_, second, ..] = self.header;
        let mask = if second & 0x80 == 0 { 0 } else { 4 };
        match (self.have, second & 0x7f) {
            (0 | 1, _) => 2,
            (_, 126) => 4 + mask,
            (_, 127) => 10 + mask,
            _ => 2 + mask,
        }
    }

    /// Takes up a frame whose header is there.
    fn begin(&mut self) -> Result<(), Fault> {
        let [first, second, a, b, c, d, e, f, g, h, ..] = self.header;
        let length = match second & 0x7f {
            126 => u64::from(u16::from_be_bytes([a, b])),
            127 => u64::from_be_bytes([a, b, c, d, e, f, g, h]),
            short => u64::from(short),
        };
        let (last, opcode) = (first & 0x80 != 0, first & 0x0f);
        let masked = second & 0x80 != 0;
        if first & 0x70 != 0 || masked != (self.side == Side::Client) {
            return Err(Fault::Malformed);
        }
        if opcode >= CLOSE {
            if opcode > PONG || !last || length > LARGEST_CONTROL {
                return Err(Fault::Malformed);
            }
            self.closing |= opcode == CLOSE;
            (self.part, self.left) = (Part::Control, length);
            return Ok(());
        }
        // A message begins with its kind, and goes on without.
        if opcode > BINARY || (opcode == 0) != self.goes_on {
            return Err(Fault::Malformed);
        }
        if opcode != 0 {
            self.text = opcode == TEXT;
            self.heard = self.text || self.side == Side::Client;
            self.message = 0;
        }
        if masked {
            let mask = self.header.get(self.have.saturating_sub(4)..self.have);
            self.mask = mask.and_then(|mask| mask.try_into().ok()).unwrap_or_default();
        }
        self.message = self.message.saturating_add(length);
        if self.message > self.limit {
            return Err(Fault::TooLarge);
        }
        self.goes_on = !last;
        self.part = if last { Part::Last } else { Part::Inner };
        self.left = length;
        Ok(())
    }
}

/// A frame of `side` that closes with `code` (§7.4.1) and says `reason`, of which
/// the first 123 bytes are kept.
pub fn close(side: Side, code: u16, reason: &str) -> Vec<u8> {
    let reason = reason.get(..reason.floor_char_boundary(123)).unwrap_or_default();
    let length = u8::try_from(2 + reason.len()).unwrap_or(2);
    let mask = if side == Side::Client { 0x80 } else { 0 };
    let mut frame = vec![0x80 | CLOSE, mask | length];
    if side == Side::Client {
        // A mask hides bytes from caches that take a WebSocket for HTTP; these are
        // the same each time, so any mask will do, and this one changes nothing.
        frame.extend([0; 4]);
    }
    frame.extend(code.to_be_bytes());
    frame.extend(reason.as_bytes());
    frame
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Default)]
    struct Heard {
        messages: Vec<Vec<u8>>,
        open: Vec<u8>,
    }

    impl Listener for Heard {
        fn piece(&mut self, payload: &[u8]) {
            self.open.extend_from_slice(payload);
        }

        fn end(&mut self, _text: bool) {
            self.messages.push(std::mem::take(&mut self.open));
        }
    }

    /// A frame; `first` is its first byte.
    fn frame(first: u8, payload: &[u8], masked: bool) -> Vec<u8> {
        let mask = if masked { 0x80 } else { 0 };
        let mut frame = vec![first];
        match payload.len() {
            short @ 0..126 => frame.push(mask | u8::try_from(short).unwrap()),
            middle @ 126..65_536 => {
                frame.push(mask | 126);
                frame.extend(u16::try_from(middle).unwrap().to_be_bytes());
            }
            long => {
                frame.push(mask | 127);
                frame.extend((long as u64).to_be_bytes());
            }
        }
        if masked {
            frame.extend([1, 2, 3, 4]);
        }
        let mask = if masked { [1, 2, 3, 4] } else { [0; 4] };
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        frame
    }

    fn server() -> Frames {
        Frames::of(Side::Server, 200_000)
    }

    fn client() -> Frames {
        Frames::of(Side::Client, 200_000)
    }

    proptest! {
        /// However the bytes are cut, the same messages are heard, and only the
        /// places between frames are taken for such.
        #[test]
        fn pieces_of_any_size_are_followed(
            lengths in proptest::collection::vec(prop_oneof![0..300_usize, 65_000..70_000_usize], 1..4),
            cuts in proptest::collection::vec(1..40_000_usize, 1..20),
            masked in proptest::bool::ANY,
        ) {
            let (mut bytes, mut messages, mut ends) = (Vec::new(), Vec::new(), vec![0]);
            for (number, length) in lengths.into_iter().enumerate() {
                let text = vec![u8::try_from(number).unwrap(); length];
                let (start, end) = text.split_at(length / 3);
                for part in [
                    frame(TEXT, start, masked),
                    frame(0x89, b"ping", masked),
                    frame(0x80, end, masked),
                    frame(0x80 | BINARY, &[7; 40], masked),
                ] {
                    bytes.extend(part);
                    ends.push(bytes.len());
                }
                messages.push(text);
                if masked {
                    // A client's sound may be an event.
                    messages.push(vec![7; 40]);
                }
            }
            let mut frames = if masked { client() } else { server() };
            let (mut heard, mut at) = (Heard::default(), 0);
            for cut in cuts.iter().cycle() {
                if at == bytes.len() {
                    break;
                }
                let end = bytes.len().min(at + cut);
                frames.follow(&bytes[at..end], &mut heard).unwrap();
                at = end;
                prop_assert_eq!(frames.is_between(), ends.contains(&at));
            }
            prop_assert_eq!(heard.messages, messages);
        }
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        for (bytes, side) in [
            (frame(0xC1, b"x", false), Side::Server),
            (frame(0x83, b"x", false), Side::Server),
            (frame(0x8B, b"x", false), Side::Server),
            (frame(0x80, b"x", false), Side::Server),
            (frame(0x08, b"", false), Side::Server),
            (frame(0x89, &[0; 126], false), Side::Server),
            (frame(0x81, b"x", true), Side::Server),
            (frame(0x81, b"x", false), Side::Client),
            ([frame(0x01, b"x", false), frame(0x81, b"y", false)].concat(), Side::Server),
        ] {
            let mut frames = Frames::of(side, 1_000);
            assert_eq!(frames.follow(&bytes, &mut ()), Err(Fault::Malformed), "{bytes:?}");
        }
    }

    #[test]
    fn a_message_is_measured_before_it_comes() {
        let head = |bytes: &[u8]| bytes[..4].to_vec();
        let mut frames = Frames::of(Side::Server, 1_000);
        assert_eq!(frames.follow(&frame(0x82, &[0; 1_000], false), &mut ()), Ok(()));
        let large = head(&frame(0x82, &[0; 1_001], false));
        assert_eq!(frames.follow(&large, &mut ()), Err(Fault::TooLarge));
        let mut frames = Frames::of(Side::Server, 1_000);
        assert_eq!(frames.follow(&frame(0x02, &[0; 600], false), &mut ()), Ok(()));
        let more = head(&frame(0x80, &[0; 401], false));
        assert_eq!(frames.follow(&more, &mut ()), Err(Fault::TooLarge));
    }

    #[test]
    fn a_close_is_a_frame_that_says_why() {
        for side in [Side::Client, Side::Server] {
            let mut frames = Frames::of(side, 1_000);
            frames.follow(&close(side, 1008, &"é".repeat(100)), &mut ()).unwrap();
            assert!(frames.is_closing() && frames.is_between());
        }
        assert_eq!(close(Side::Server, 1001, "bye"), b"\x88\x05\x03\xe9bye");
    }
}
