//! HTTP/2 as frames, for what no client library would send.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::eventually::within;

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;
pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

/// A frame's bytes.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// A header block of literal fields (RFC 7541 §6.2.2).
pub(super) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            // A 7-bit prefix: longer lengths go on in the next byte (§5.1).
            let short = text.len().min(127);
            block.push(u8::try_from(short).unwrap());
            if short == 127 {
                block.push(
                    u8::try_from(text.len() - short).ok().filter(|rest| *rest < 128).unwrap(),
                );
            }
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// What a client sends first.
pub(super) fn greeting() -> Vec<u8> {
    [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()
}

/// A frame that came.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Frame {
    /// Whether nothing of `stream` comes after it.
    pub(super) fn ends_stream(&self, stream: u32) -> bool {
        let last = matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0;
        self.is_goaway() || (self.stream == stream && (last || self.kind == RST_STREAM))
    }

    pub(super) fn is_goaway(&self) -> bool {
        // NO_ERROR is a goodbye, not a refusal.
        self.kind == GOAWAY && self.payload.get(4..8) != Some(&[0; 4])
    }

    /// The status of a head, where the static table has it (RFC 7541 §A).
    pub(super) fn status(&self) -> Option<u16> {
        let first = self.payload.first().filter(|_| self.kind == HEADERS)?;
        [(0x88, 200), (0x8c, 400), (0x8d, 404)].iter().find(|it| it.0 == *first).map(|it| it.1)
    }
}

/// A connection that speaks frames.
pub(super) struct H2 {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl H2 {
    /// Connects and greets.
    pub(super) async fn open(to: SocketAddr) -> Self {
        let mut stream = within("a connection", TcpStream::connect(to)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream.write_all(&greeting()).await.unwrap();
        Self { stream, unread: Vec::new() }
    }

    /// Sends these bytes at once.
    pub(super) async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// Sends a frame.
    pub(super) async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.write(&frame(kind, flags, stream, payload)).await;
    }

    /// Sends a frame if the other side still takes it.
    pub(super) async fn try_send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        drop(self.stream.write_all(&frame(kind, flags, stream, payload)).await);
    }

    /// The frames that come up to the first that is `last`, or to the end.
    pub(super) async fn until(&mut self, last: impl Fn(&Frame) -> bool) -> Vec<Frame> {
        let mut frames = Vec::new();
        loop {
            while let Some(frame) = self.next() {
                frames.push(frame);
                if frames.last().is_some_and(&last) {
                    return frames;
                }
            }
            let read = within("frames", self.stream.read_buf(&mut self.unread)).await;
            if !matches!(read, Ok(1..)) {
                return frames;
            }
        }
    }

    fn next(&mut self) -> Option<Frame> {
        let (frame, length) = parse(&self.unread)?;
        self.unread.drain(..length);
        Some(frame)
    }
}

fn parse(bytes: &[u8]) -> Option<(Frame, usize)> {
    let head = bytes.get(..9)?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
    let payload = bytes.get(9..9 + length)?.to_vec();
    let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
    Some((Frame { kind: head[3], flags: head[4], stream, payload }, 9 + length))
}
