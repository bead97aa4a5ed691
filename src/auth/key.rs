//! API keys: how they look, how a request presents one, and the keyed hash that
//! is all that is kept of them.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use rand::distr::{Alphanumeric, SampleString};
use subtle::ConstantTimeEq;

use crate::base::secret::Secret;

/// What every key made here begins with.
const MADE_PREFIX: &str = "tg_live_";
/// Base-62 characters after the prefix: 190 bits.
const MADE_RANDOM: usize = 32;
/// Characters of a key that may be shown.
const SHOWN: usize = 12;
/// Shortest and longest key that is accepted.
const LENGTHS: std::ops::RangeInclusive<usize> = 8..=256;

/// Why a request presents no usable key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// Neither header holds a key.
    #[error("no API key was given: send `Authorization: Bearer KEY` or `x-api-key: KEY`")]
    Missing,
    /// Another scheme than Bearer, or no text of 8 to 256 visible ASCII characters.
    #[error("the API key is malformed: a key is 8 to 256 visible ASCII characters")]
    Malformed,
}

/// The keyed hash of an API key.
#[derive(Clone, Copy)]
pub struct KeyHash([u8; 32]);

/// Hashes keys with a secret of the deployment, so that hashes alone do not allow
/// a guess at a weak configured key to be checked.
#[derive(Clone)]
pub struct KeyHasher {
    secret: [u8; 32],
}

/// A new key from a cryptographically secure generator (seeded by the operating
/// system): `tg_live_` and 32 base-62 characters.
pub fn generate() -> Secret {
    let mut key = String::with_capacity(MADE_PREFIX.len() + MADE_RANDOM);
    key.push_str(MADE_PREFIX);
    Alphanumeric.append_string(&mut rand::rng(), &mut key, MADE_RANDOM);
    Secret::new(key)
}

/// Whether `text` may be a key: 8 to 256 visible ASCII characters.
pub fn is_acceptable(text: &[u8]) -> bool {
    LENGTHS.contains(&text.len()) && text.iter().all(u8::is_ascii_graphic)
}

/// The part of `key` that may be shown: its first 12 characters, fewer of a short
/// key, so that two thirds of any key stay unknown.
pub fn shown_prefix(key: &str) -> &str {
    key.get(..SHOWN.min(key.len() / 3)).unwrap_or("")
}

/// The key that a request presents: of `Authorization: Bearer KEY` (the scheme
/// in any case, RFC 9110 §11.1), else of `x-api-key: KEY`, given both headers'
/// values. Spaces around it are ignored and an empty header counts as none.
///
/// # Errors
/// [`BadKey`] where there is no key, or none that can be one.
pub fn presented<'a>(
    authorization: Option<&'a [u8]>,
    x_api_key: Option<&'a [u8]>,
) -> Result<&'a str, BadKey> {
    let given = |key: &&[u8]| !key.is_empty();
    let plain = x_api_key.map(<[u8]>::trim_ascii).filter(given);
    let key = match authorization.map(bearer) {
        Some(Ok(key)) if !key.is_empty() => key,
        Some(Err(bad)) => plain.ok_or(bad)?,
        _ => plain.ok_or(BadKey::Missing)?,
    };
    if !is_acceptable(key) {
        return Err(BadKey::Malformed);
    }
    std::str::from_utf8(key).map_err(|_| BadKey::Malformed)
}

/// The key among the `protocols` that a WebSocket's client offers: browsers can
/// set no other header of theirs.
pub fn of_protocols(protocols: &[u8]) -> Option<&[u8]> {
    let offered = protocols.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    offered.filter_map(|protocol| protocol.strip_prefix(b"openai-insecure-api-key.")).next()
}

/// The credentials of a Bearer `Authorization`; empty where it holds none.
fn bearer(value: &[u8]) -> Result<&[u8], BadKey> {
    let value = value.trim_ascii();
    let end = value.iter().position(u8::is_ascii_whitespace).unwrap_or(value.len());
    let (scheme, key) = value.split_at(end);
    if scheme.is_empty() || scheme.eq_ignore_ascii_case(b"bearer") {
        Ok(key.trim_ascii())
    } else {
        Err(BadKey::Malformed)
    }
}

impl KeyHasher {
    /// A hasher with the deployment's secret.
    pub const fn new(secret: [u8; 32]) -> Self {
        Self { secret }
    }

    /// The hash of `key`: BLAKE3 in keyed mode.
    pub fn hash(&self, key: &str) -> KeyHash {
        KeyHash(*blake3::keyed_hash(&self.secret, key.as_bytes()).as_bytes())
    }
}

impl fmt::Debug for KeyHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHasher(***)")
    }
}

impl KeyHash {
    /// A hash that was kept.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, for keeping.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key's public name: `key_` and the first 12 hexadecimal digits.
    pub fn key_id(&self) -> Arc<str> {
        let [a, b, c, d, e, f, ..] = self.0;
        format!("key_{a:02x}{b:02x}{c:02x}{d:02x}{e:02x}{f:02x}").into()
    }
}

impl PartialEq for KeyHash {
    /// Takes the same time wherever the hashes differ.
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for KeyHash {}

impl Hash for KeyHash {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Every part of a keyed hash is as good as random.
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        state.write_u64(u64::from_le_bytes([a, b, c, d, e, f, g, h]));
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyHash({}…)", self.key_id())
    }
}

#[cfg(test)]
mod tests;
