//! One sealed message: ChaCha20-Poly1305 under a key of its own.
//!
//! A message's key is the keyed BLAKE3 hash of 24 random bytes, which stand in
//! front of it; so a key is never used twice, as with XChaCha20, however many
//! messages a day has: two of 2^80 messages share their random bytes with a
//! probability below 2^-32. Cipher: RFC 8439, section 2.8.

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

/// The form of a message: it is authenticated with the rest.
const VERSION: u8 = 1;
/// Random bytes of a message.
const SALT: usize = 24;
/// Bytes of the cipher's tag.
const TAG: usize = 16;
/// What sealing adds to a message, in bytes.
pub(super) const ADDED: usize = 1 + SALT + TAG;

/// `plain` under `key`, bound to `associated`.
pub(super) fn seal(key: &[u8; 32], associated: &[u8], plain: &[u8]) -> Option<Vec<u8>> {
    let salt: [u8; SALT] = rand::random();
    let mut sealed = Vec::with_capacity(plain.len() + ADDED);
    sealed.push(VERSION);
    sealed.extend_from_slice(&salt);
    sealed.extend_from_slice(plain);
    let message = sealed.get_mut(1 + SALT..)?;
    let tag =
        cipher(key, &salt)?.seal_in_place_separate_tag(nonce(), aad(associated), message).ok()?;
    sealed.extend_from_slice(tag.as_ref());
    Some(sealed)
}

/// What was sealed; `None` if anything differs.
pub(super) fn open(key: &[u8; 32], associated: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let (version, rest) = sealed.split_first()?;
    let (salt, message) = rest.split_first_chunk::<SALT>()?;
    if *version != VERSION {
        return None;
    }
    let mut message = message.to_vec();
    let plain = cipher(key, salt)?.open_in_place(nonce(), aad(associated), &mut message).ok()?;
    let length = plain.len();
    message.truncate(length);
    Some(message)
}

fn cipher(key: &[u8; 32], salt: &[u8; SALT]) -> Option<LessSafeKey> {
    let key = blake3::keyed_hash(key, salt);
    UnboundKey::new(&CHACHA20_POLY1305, key.as_bytes()).ok().map(LessSafeKey::new)
}

/// The key is the message's alone, so its nonce may be the same always.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

fn aad(associated: &[u8]) -> Aad<&[u8]> {
    Aad::from(associated)
}
