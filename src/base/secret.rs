//! Text that must never be shown.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// A provider key, an API key or a token. `Debug` and serialisation mask it;
/// there is no `Display`.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Wraps `text`.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The text itself. Every call is a place to look at in a review.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether there is no text at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl serde::Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

/// A key of 256 bits; `Debug` masks it, there is no `Display`.
#[derive(Clone)]
pub struct Key(Arc<Zeroizing<[u8; 32]>>);

impl Key {
    /// The key with these bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Arc::new(Zeroizing::new(bytes)))
    }

    /// The key that `text` writes: 64 hexadecimal digits, or 32 bytes in base64 of
    /// either alphabet, padded or not.
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(hash) = blake3::Hash::from_hex(text) {
            return Some(Self::new(*hash.as_bytes()));
        }
        let either =
            GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
        [&alphabet::STANDARD, &alphabet::URL_SAFE].into_iter().find_map(|letters| {
            let bytes = Zeroizing::new(GeneralPurpose::new(letters, either).decode(text).ok()?);
            Some(Self::new(bytes.as_slice().try_into().ok()?))
        })
    }

    /// The key that is derived from `text`: as hard to guess as that is.
    pub fn derive(text: &str) -> Self {
        Self::new(blake3::derive_key("tollgate 2026-11 key of a text", text.as_bytes()))
    }

    /// The key itself. Every call is a place to look at in a review.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_slice().ct_eq(other.0.as_slice()).into()
    }
}

impl Eq for Key {}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_in_hexadecimal_and_base64() {
        let key = Key::new([0xfb; 32]);
        let standard = "+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/s=";
        for text in [
            "fb".repeat(32).as_str(),
            "FB".repeat(32).as_str(),
            standard,
            standard.trim_end_matches('='),
            standard.replace('+', "-").replace('/', "_").as_str(),
        ] {
            assert_eq!(Key::parse(text), Some(key.clone()), "{text}");
        }
        let short = "fb".repeat(31);
        for text in ["", "fb", &short, "hunter2 hunter2", standard.trim_start_matches("+/v7")] {
            assert_eq!(Key::parse(text), None, "{text}");
        }
        assert_eq!(format!("{key:?}"), "***");
    }
}
