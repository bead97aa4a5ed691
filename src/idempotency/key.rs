//! The key as the header gives it.

use http::HeaderMap;

use crate::base::headers::IDEMPOTENCY_KEY;
use crate::refusal::{Code, Refusal};

/// The header.
pub const HEADER: &str = "idempotency-key";
/// Longest key, in bytes.
const LONGEST: usize = 255;

/// A key that is well formed. It has no `Debug`: it is the client's own, and no
/// log's business.
pub struct IdempotencyKey(Box<[u8]>);

impl IdempotencyKey {
    /// The key in `headers`, if there is one.
    ///
    /// # Errors
    /// 400 `invalid_value` unless it is one value of 1 to 255 visible ASCII
    /// characters.
    pub fn read(headers: &HeaderMap) -> Result<Option<Self>, Refusal> {
        let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
        let Some(value) = values.next() else { return Ok(None) };
        let bytes = value.as_bytes();
        let sane = (1..=LONGEST).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic);
        if !sane || values.next().is_some() {
            let message = "The header idempotency-key must be one value of 1 to 255 visible ASCII \
                           characters.";
            return Err(Refusal::new(Code::InvalidValue, message).param(HEADER));
        }
        Ok(Some(Self(bytes.into())))
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for IdempotencyKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IdempotencyKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn read(values: &[&[u8]]) -> Option<Result<usize, Code>> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(HEADER, HeaderValue::from_bytes(value).unwrap());
        }
        let read = IdempotencyKey::read(&headers).map_err(|refusal| refusal.code);
        read.map(|key| key.map(|key| key.as_bytes().len())).transpose()
    }

    #[test]
    fn a_key_is_up_to_255_visible_characters() {
        assert_eq!(read(&[]), None);
        assert_eq!(read(&[b"~"]), Some(Ok(1)));
        assert_eq!(read(&[&[b'!'; 255]]), Some(Ok(255)));
        for bad in [&b""[..], b"a b", b"\xc3\xa9", b"a\tb", &[b'a'; 256]] {
            assert_eq!(read(&[bad]), Some(Err(Code::InvalidValue)), "{bad:?}");
        }
        assert_eq!(read(&[b"a", b"a"]), Some(Err(Code::InvalidValue)));
    }
}
