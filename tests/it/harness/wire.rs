//! HTTP/1.1 as bytes: one reader for the mock provider and the test client, so
//! that a test can say exactly what was on the wire.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// A message head: everything up to and including the empty line.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    /// The request line or the status line.
    pub(crate) start: String,
    /// Names in lower case, in the order of the wire.
    pub(crate) headers: Vec<(String, String)>,
}

impl Head {
    fn parse(raw: &[u8]) -> Self {
        let text = String::from_utf8_lossy(raw);
        let mut lines = text.split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        Self { start, headers }
    }

    /// The first value of a header; `name` is lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The `n`-th word of the first line.
    pub(crate) fn word(&self, n: usize) -> &str {
        self.start.split(' ').nth(n).unwrap_or_default()
    }

    /// The status of an answer.
    #[track_caller]
    pub(crate) fn status(&self) -> u16 {
        self.word(1).parse().unwrap_or_else(|_| panic!("no status line: {:?}", self.start))
    }

    /// How the body of a request or answer with this head ends.
    pub(crate) fn framing(&self, otherwise: Framing) -> Framing {
        let chunked = self.header("transfer-encoding").is_some_and(|value| value == "chunked");
        match self.header("content-length").and_then(|value| value.parse().ok()) {
            _ if chunked => Framing::Chunked,
            Some(length) => Framing::Length(length),
            None => otherwise,
        }
    }
}

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// After this many bytes.
    Length(u64),
    /// With the empty chunk.
    Chunked,
    /// With the connection.
    Close,
}

/// What is left of the body being read.
#[derive(Clone, Copy, Debug)]
enum Left {
    Nothing,
    Bytes(u64),
    /// Bytes of the current chunk; `None` before a size line.
    Chunk(Option<u64>),
    UntilClose,
}

/// A reader of messages that remembers every byte it consumed.
#[derive(Debug)]
pub(crate) struct Wire<R> {
    reader: R,
    buffer: BytesMut,
    consumed: BytesMut,
    left: Left,
}

impl<R: AsyncRead + Unpin> Wire<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self { reader, buffer: BytesMut::new(), consumed: BytesMut::new(), left: Left::Nothing }
    }

    /// Reads once; `false` at the end of the connection. Safe to cancel.
    pub(crate) async fn fill(&mut self) -> io::Result<bool> {
        if self.buffer.capacity() - self.buffer.len() < 16 * 1024 {
            self.buffer.reserve(64 * 1024);
        }
        Ok(self.reader.read_buf(&mut self.buffer).await? > 0)
    }

    /// Bytes consumed since the last call, as they were on the wire.
    pub(crate) fn take_consumed(&mut self) -> Bytes {
        self.consumed.split().freeze()
    }

    /// Bytes that came but were not consumed yet.
    pub(crate) fn unread(&self) -> &[u8] {
        &self.buffer
    }

    fn take(&mut self, count: usize) -> Bytes {
        let taken = self.buffer.split_to(count).freeze();
        self.consumed.extend_from_slice(&taken);
        taken
    }

    async fn need(&mut self) -> io::Result<()> {
        match self.fill().await? {
            true => Ok(()),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// The next head, or `None` if the connection ended before its first byte.
    pub(crate) async fn head(&mut self) -> io::Result<Option<Head>> {
        let mut searched = 0;
        loop {
            let found = memchr::memmem::find(&self.buffer[searched..], b"\r\n\r\n");
            if let Some(at) = found {
                return Ok(Some(Head::parse(&self.take(searched + at + 4))));
            }
            searched = self.buffer.len().saturating_sub(3);
            if !self.fill().await? {
                return match self.buffer.is_empty() {
                    true => Ok(None),
                    false => Err(io::ErrorKind::UnexpectedEof.into()),
                };
            }
        }
    }

    /// Says how the body that comes now ends.
    pub(crate) fn expect_body(&mut self, framing: Framing) {
        self.left = match framing {
            Framing::Length(0) => Left::Nothing,
            Framing::Length(length) => Left::Bytes(length),
            Framing::Chunked => Left::Chunk(None),
            Framing::Close => Left::UntilClose,
        };
    }

    /// Body bytes that came together: at most one chunk of a chunked body.
    /// `None` once the body is whole; an error if it was cut.
    pub(crate) async fn data(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            match self.left {
                Left::Nothing => return Ok(None),
                Left::UntilClose => {
                    if self.buffer.is_empty() && !self.fill().await? {
                        self.left = Left::Nothing;
                        return Ok(None);
                    }
                    return Ok(Some(self.take(self.buffer.len())));
                }
                Left::Bytes(left) => {
                    let data = self.some_of(left).await?;
                    let rest = left - length_of(&data);
                    self.left = if rest == 0 { Left::Nothing } else { Left::Bytes(rest) };
                    return Ok(Some(data));
                }
                Left::Chunk(Some(0)) => {
                    self.line().await?;
                    self.left = Left::Chunk(None);
                }
                Left::Chunk(Some(left)) => {
                    let data = self.some_of(left).await?;
                    self.left = Left::Chunk(Some(left - length_of(&data)));
                    return Ok(Some(data));
                }
                Left::Chunk(None) => {
                    let line = self.line().await?;
                    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
                    let size = std::str::from_utf8(digits)
                        .ok()
                        .and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok())
                        .ok_or(io::ErrorKind::InvalidData)?;
                    if size == 0 {
                        while self.line().await?.len() > 2 {}
                        self.left = Left::Nothing;
                    } else {
                        self.left = Left::Chunk(Some(size));
                    }
                }
            }
        }
    }

    /// The rest of the body.
    pub(crate) async fn body(&mut self) -> io::Result<Bytes> {
        let mut whole = BytesMut::new();
        while let Some(data) = self.data().await? {
            whole.extend_from_slice(&data);
        }
        Ok(whole.freeze())
    }

    async fn some_of(&mut self, most: u64) -> io::Result<Bytes> {
        if self.buffer.is_empty() {
            self.need().await?;
        }
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        Ok(self.take(self.buffer.len().min(most)))
    }

    async fn line(&mut self) -> io::Result<Bytes> {
        loop {
            if let Some(at) = memchr::memmem::find(&self.buffer, b"\r\n") {
                return Ok(self.take(at + 2));
            }
            self.need().await?;
        }
    }
}

fn length_of(data: &Bytes) -> u64 {
    u64::try_from(data.len()).unwrap_or(u64::MAX)
}
