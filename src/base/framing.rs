//! The body of a message of HTTP/1, taken out of the bytes behind its head
//! (RFC 9112 §6, §7).

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use http::header::CONNECTION;

/// Most bytes of a trailer.
const TRAILER: usize = 32 * 1024;
/// Pieces up to this size, in bytes, are copied: a slice would keep the whole buffer
/// for as long as it lives.
const COPIED: usize = 2 * 1024;

/// Longest line that tells the size of a chunk, with all its extensions.
const LONGEST_SIZE: usize = 4 * 1024;
/// Digits of the largest chunk.
const DIGITS: usize = 15;

/// What is still to come of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// So many bytes.
    Length(u64),
    /// Chunks: the size of the next one.
    Size,
    /// So many bytes of a chunk.
    Data(u64),
    /// The end of a chunk.
    DataEnd,
    /// The trailer, of which so many bytes may come; it is not looked at.
    Trailer(usize),
    /// Nothing.
    Done,
}

/// What the bytes that are there amount to.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// The next piece.
    Piece(Bytes),
    /// The body has ended.
    End,
    /// More must come first.
    More,
    /// They are not what was announced.
    Broken,
}

impl Body {
    /// A body of `length` bytes.
    pub const fn of(length: u64) -> Self {
        if length == 0 { Self::Done } else { Self::Length(length) }
    }

    /// A body in chunks.
    pub const fn chunked() -> Self {
        Self::Size
    }

    /// Whether nothing of it is to come any more.
    pub const fn is_done(self) -> bool {
        matches!(self, Self::Done)
    }

    /// How much of it may be read at once, in bytes.
    pub fn expected(self) -> usize {
        match self {
            Self::Length(left) | Self::Data(left) => usize::try_from(left).unwrap_or(usize::MAX),
            Self::Size | Self::DataEnd | Self::Trailer(_) | Self::Done => 0,
        }
    }

    /// Takes the next piece out of `ahead`.
    pub fn take(&mut self, ahead: &mut BytesMut) -> Step {
        loop {
            match *self {
                Self::Done => return Step::End,
                Self::Length(_) | Self::Data(_) if ahead.is_empty() => return Step::More,
                Self::Length(left) => {
                    let (piece, left) = split(ahead, left);
                    *self = Self::of(left);
                    return Step::Piece(piece);
                }
                Self::Data(left) => {
                    let (piece, left) = split(ahead, left);
                    *self = if left == 0 { Self::DataEnd } else { Self::Data(left) };
                    return Step::Piece(piece);
                }
                Self::DataEnd => match ahead.get(..2) {
                    Some(b"\r\n") => {
                        ahead.advance(2);
                        *self = Self::Size;
                    }
                    Some(_) => return Step::Broken,
                    None => return Step::More,
                },
                Self::Size => {
                    if digits(ahead) > DIGITS {
                        return Step::Broken;
                    }
                    let line = match line(ahead, LONGEST_SIZE) {
                        Ok(line) => line,
                        Err(step) => return step,
                    };
                    *self = match size(&line) {
                        None => return Step::Broken,
                        Some(0) => Self::Trailer(TRAILER),
                        Some(size) => Self::Data(size),
                    };
                }
                Self::Trailer(left) => {
                    let line = match line(ahead, left) {
                        Ok(line) => line,
                        Err(step) => return step,
                    };
                    *self = match line.len() {
                        0 => Self::Done,
                        length => Self::Trailer(left.saturating_sub(length + 2)),
                    };
                }
            }
        }
    }
}

/// Whether the connection may take another message after the one with these
/// `headers` (RFC 9112 §9.3).
pub fn keeps(headers: &HeaderMap, is_http11: bool) -> bool {
    let mut keeps = is_http11;
    for value in headers.get_all(CONNECTION) {
        for option in value.as_bytes().split(|byte| *byte == b',').map(trim) {
            if option.eq_ignore_ascii_case(b"close") {
                return false;
            }
            keeps |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }
    keeps
}

/// `text` without the spaces and tabs around it, which alone may stand there
/// (RFC 9110 §5.6.3): what else some take for white space is an end of line to others.
pub const fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = text {
        text = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

/// The first `count` bytes of `ahead`, taken out of it.
pub fn piece(ahead: &mut BytesMut, count: usize) -> Bytes {
    match ahead.get(..count) {
        Some(few) if count <= COPIED => {
            let copy = Bytes::copy_from_slice(few);
            ahead.advance(count);
            copy
        }
        _ => ahead.split_to(count.min(ahead.len())).freeze(),
    }
}

/// At most `left` bytes of `ahead`, and how many are left then.
fn split(ahead: &mut BytesMut, left: u64) -> (Bytes, u64) {
    let count = usize::try_from(left).unwrap_or(usize::MAX).min(ahead.len());
    (piece(ahead, count), left - count as u64)
}

/// The next line of `ahead` without its end, which must be CR LF.
fn line(ahead: &mut BytesMut, longest: usize) -> Result<BytesMut, Step> {
    let end = match memchr::memchr(b'\n', ahead) {
        Some(end) if end <= longest => end,
        None if ahead.len() <= longest => return Err(Step::More),
        _ => return Err(Step::Broken),
    };
    let mut line = ahead.split_to(end + 1);
    if !line.ends_with(b"\r\n") {
        return Err(Step::Broken);
    }
    line.truncate(end - 1);
    Ok(line)
}

/// How many hexadecimal digits `line` begins with.
fn digits(line: &[u8]) -> usize {
    line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count()
}

/// The size that a chunk's first line tells; its extensions are ignored.
fn size(line: &[u8]) -> Option<u64> {
    let (digits, rest) = line.split_at_checked(digits(line))?;
    let rest = trim(rest);
    if !(1..=DIGITS).contains(&digits.len()) || !(rest.is_empty() || rest.starts_with(b";")) {
        return None;
    }
    // A carriage return within it would be an end of line to others.
    if rest.contains(&b'\r') {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What `text`, which comes in pieces that end at `cuts`, amounts to: the body and
    /// what is behind it; `None` if it is broken or not whole.
    fn read(mut body: Body, text: &[u8], cuts: &[usize]) -> Option<(Vec<u8>, Vec<u8>)> {
        let (mut ahead, mut whole, mut from) = (BytesMut::new(), Vec::new(), 0);
        for cut in cuts.iter().copied().chain([text.len()]) {
            let cut = cut.clamp(from, text.len());
            ahead.extend_from_slice(&text[from..cut]);
            from = cut;
            loop {
                match body.take(&mut ahead) {
                    Step::Piece(piece) => whole.extend_from_slice(&piece),
                    Step::End => {
                        ahead.extend_from_slice(&text[from..]);
                        return Some((whole, ahead.to_vec()));
                    }
                    Step::More => break,
                    Step::Broken => return None,
                }
            }
        }
        None
    }

    #[test]
    fn a_body_ends_where_it_says() {
        for (body, text, whole, rest) in [
            (Body::of(0), "GET", "", "GET"),
            (Body::of(3), "abcGET", "abc", "GET"),
            (Body::chunked(), "3\r\nabc\r\n0\r\n\r\nGET", "abc", "GET"),
            (Body::chunked(), "1;x=y\r\na\r\n2 \r\nbc\r\n0\r\na: b\r\nc: d\r\n\r\n", "abc", ""),
            (Body::chunked(), "0a\r\n0123456789\r\n000\r\n\r\n", "0123456789", ""),
        ] {
            let (found, behind) = read(body, text.as_bytes(), &[]).unwrap();
            assert_eq!((&*found, &*behind), (whole.as_bytes(), rest.as_bytes()), "{text:?}");
        }
    }

    #[test]
    fn what_is_no_chunk_breaks_the_body() {
        for text in [
            "\r\n",
            "x\r\n",
            "-1\r\n",
            "1\na\n",
            "1\r\nab\r\n",
            "1 x\r\na\r\n",
            "0x1\r\na\r\n",
            "1;\r\r\na\r\n",
            "1\r\r\na\r\n",
            "1\u{c}\r\na\r\n",
            "fffffffffffffffff\r\n",
            "0000000000000000",
            "1\r\na\r\n0\r\na\n\r\n",
        ] {
            assert_eq!(read(Body::chunked(), text.as_bytes(), &[]), None, "{text:?}");
            let (mut body, mut ahead) = (Body::chunked(), BytesMut::from(text));
            let broken = std::iter::from_fn(|| Some(body.take(&mut ahead)))
                .find(|step| !matches!(step, Step::Piece(_)));
            assert_eq!(broken, Some(Step::Broken), "{text:?}");
        }
        let endless = [b"1;".to_vec(), vec![b'x'; LONGEST_SIZE]].concat();
        assert_eq!(Body::chunked().take(&mut BytesMut::from(&*endless)), Step::Broken);
        let trailer = [b"0\r\n".to_vec(), b"a: b\r\n".repeat(TRAILER / 6 + 1)].concat();
        assert_eq!(Body::chunked().take(&mut BytesMut::from(&*trailer)), Step::Broken);
    }

    proptest! {
        #[test]
        fn the_pieces_in_which_a_body_comes_change_nothing(
            chunks in prop::collection::vec("[a-z\r\n]{1,20}", 0..5),
            trailer in prop::collection::vec("[a-z]: [a-z]", 0..3),
            mut cuts in prop::collection::vec(0_usize..200, 0..8),
        ) {
            let mut text = String::new();
            for chunk in &chunks {
                text.push_str(&format!("{:x}\r\n{chunk}\r\n", chunk.len()));
            }
            text.push_str("0\r\n");
            trailer.iter().for_each(|line| text.push_str(&format!("{line}\r\n")));
            text.push_str("\r\nGET");
            cuts.sort_unstable();
            let (whole, rest) = read(Body::chunked(), text.as_bytes(), &cuts).unwrap();
            prop_assert_eq!(whole, chunks.concat().into_bytes());
            prop_assert_eq!(rest, b"GET");
        }

        #[test]
        fn no_bytes_make_it_panic(text in prop::collection::vec(any::<u8>(), 0..300)) {
            let _read = read(Body::chunked(), &text, &[1, 2, 3, 50]);
        }
    }
}
