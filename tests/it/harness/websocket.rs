//! Just enough of WebSockets (RFC 6455) for both sides of a test.

use tokio::io::{AsyncRead, AsyncReadExt};

pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;

/// A frame, its payload without the mask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) opcode: u8,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// A text.
    pub(crate) fn text(text: &str) -> Self {
        Self { opcode: TEXT, payload: text.as_bytes().to_vec() }
    }

    /// The code of a close.
    #[track_caller]
    pub(crate) fn code(&self) -> u16 {
        assert_eq!(self.opcode, CLOSE, "{self:?}");
        u16::from_be_bytes([self.payload[0], self.payload[1]])
    }

    /// As a server sends it.
    pub(crate) fn plain(&self) -> Vec<u8> {
        self.bytes(None)
    }

    /// As a client sends it.
    pub(crate) fn masked(&self) -> Vec<u8> {
        self.bytes(Some([1, 2, 3, 4]))
    }

    fn bytes(&self, mask: Option<[u8; 4]>) -> Vec<u8> {
        let bit = if mask.is_some() { 0x80 } else { 0 };
        let mut bytes = vec![0x80 | self.opcode];
        match self.payload.len() {
            short @ 0..126 => bytes.push(bit | u8::try_from(short).unwrap()),
            middle @ 126..65_536 => {
                bytes.push(bit | 126);
                bytes.extend(u16::try_from(middle).unwrap().to_be_bytes());
            }
            long => {
                bytes.push(bit | 127);
                bytes.extend(u64::try_from(long).unwrap().to_be_bytes());
            }
        }
        bytes.extend(mask.into_iter().flatten());
        let mask = mask.unwrap_or_default().into_iter().cycle();
        bytes.extend(self.payload.iter().zip(mask).map(|(byte, mask)| byte ^ mask));
        bytes
    }
}

/// The next frame; none at the end.
pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Option<Frame> {
    let first = stream.read_u8().await.ok()?;
    let second = stream.read_u8().await.ok()?;
    let length = match second & 0x7f {
        126 => u64::from(stream.read_u16().await.ok()?),
        127 => stream.read_u64().await.ok()?,
        short => u64::from(short),
    };
    let mut mask = [0; 4];
    if second & 0x80 != 0 {
        stream.read_exact(&mut mask).await.ok()?;
    }
    let mut payload = vec![0; usize::try_from(length).unwrap()];
    stream.read_exact(&mut payload).await.ok()?;
    payload.iter_mut().zip(mask.into_iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
    Some(Frame { opcode: first & 0x0f, payload })
}
