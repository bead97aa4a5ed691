//! An answer as it is kept: what the client got, but for Tollgate's own headers.

use std::sync::Arc;

use bytes::Bytes;
use http::header::AGE;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use minicbor::decode::Error;
use minicbor::{Decoder, Encoder};

/// Largest body that is kept, in bytes.
pub const LARGEST: usize = 8 * 1024 * 1024;

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The provider that made it.
    pub provider: Arc<str>,
    /// The provider's headers that the client saw.
    pub headers: HeaderMap,
    /// The body, or the events of a stream, to the byte.
    pub body: Bytes,
}

impl Answer {
    /// The answer as bytes.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new(Vec::with_capacity(self.body.len() + 1024));
        // Writing into memory does not fail.
        let _infallible = self.write(&mut out);
        out.into_writer()
    }

    fn write(
        &self,
        out: &mut Encoder<Vec<u8>>,
    ) -> Result<(), minicbor::encode::Error<std::convert::Infallible>> {
        let headers = || self.headers.iter().filter(|(name, _)| **name != AGE);
        out.u16(self.status.as_u16())?.str(&self.provider)?.array(headers().count() as u64)?;
        for (name, value) in headers() {
            out.str(name.as_str())?.bytes(value.as_bytes())?;
        }
        out.bytes(&self.body)?;
        Ok(())
    }

    /// The answer that `bytes` are; `None` if they are none.
    pub(super) fn decode(bytes: Vec<u8>) -> Option<Self> {
        let bytes = Bytes::from(bytes);
        read(&bytes).ok()
    }
}

fn read(bytes: &Bytes) -> Result<Answer, Error> {
    let mut from = Decoder::new(bytes);
    let status = StatusCode::from_u16(from.u16()?).map_err(Error::message)?;
    let provider = Arc::from(from.str()?);
    let mut headers = HeaderMap::new();
    for _ in 0..from.array()?.unwrap_or_default() {
        let name = HeaderName::try_from(from.str()?).map_err(Error::message)?;
        headers.append(name, HeaderValue::from_bytes(from.bytes()?).map_err(Error::message)?);
    }
    let body = bytes.slice_ref(from.bytes()?);
    Ok(Answer { status, provider, headers, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_given_to_the_byte() {
        let mut headers = HeaderMap::new();
        headers.append("x-a", HeaderValue::from_static("1"));
        headers.append("x-a", HeaderValue::from_bytes(b"\xff").unwrap());
        let answer = Answer {
            status: StatusCode::CREATED,
            provider: "p".into(),
            headers: headers.clone(),
            body: Bytes::from_static(b"\0\xffdata: x\n\n"),
        };
        assert_eq!(Answer::decode(answer.encode()), Some(answer.clone()));
        headers.insert(AGE, HeaderValue::from_static("9"));
        let aged = Answer { headers, ..answer.clone() };
        assert_eq!(Answer::decode(aged.encode()), Some(answer.clone()), "an age is of its moment");
        let bytes = answer.encode();
        for end in 0..bytes.len() {
            assert_eq!(Answer::decode(bytes[..end].to_vec()), None);
        }
    }
}
