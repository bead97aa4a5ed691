//! How answers are sealed.

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use crate::base::clock::Timestamp;

/// Bytes that make each message's key its own.
const SALT: usize = 32;
/// Microseconds of a day.
const DAY: u64 = 24 * 60 * 60 * 1_000_000;

/// Makes what is kept unreadable to whoever has only the store's files.
pub trait Seals: Send + Sync {
    /// Seals `plain`, made at `made` for `account`, so that it opens only in the
    /// same `context`; `None` if there is no key for it.
    fn seal(&self, account: &str, made: Timestamp, context: &[u8], plain: &[u8])
    -> Option<Vec<u8>>;

    /// Opens what [`Self::seal`] made of the same account, day and context; `None`
    /// if it is not that, or its key is gone.
    fn open(
        &self,
        account: &str,
        made: Timestamp,
        context: &[u8],
        sealed: &[u8],
    ) -> Option<Vec<u8>>;
}

/// Seals under one secret of the data directory: ChaCha20-Poly1305 (RFC 8439) with
/// a key for each message, which is derived from the secret, the account, the UTC
/// day and a random salt, so that a constant nonce is sound.
pub struct SecretSeals(pub [u8; 32]);

impl SecretSeals {
    fn key(&self, account: &str, made: Timestamp, salt: &[u8]) -> Option<LessSafeKey> {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(&(made.0 / DAY).to_be_bytes()).update(salt).update(account.as_bytes());
        UnboundKey::new(&CHACHA20_POLY1305, hasher.finalize().as_bytes()).ok().map(LessSafeKey::new)
    }
}

fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

impl Seals for SecretSeals {
    fn seal(
        &self,
        account: &str,
        made: Timestamp,
        context: &[u8],
        plain: &[u8],
    ) -> Option<Vec<u8>> {
        let salt: [u8; SALT] = rand::random();
        let key = self.key(account, made, &salt)?;
        let mut sealed = Vec::with_capacity(SALT + plain.len() + CHACHA20_POLY1305.tag_len());
        sealed.extend_from_slice(&salt);
        sealed.extend_from_slice(plain);
        let tag =
            key.seal_in_place_separate_tag(nonce(), Aad::from(context), sealed.get_mut(SALT..)?);
        sealed.extend_from_slice(tag.ok()?.as_ref());
        Some(sealed)
    }

    fn open(
        &self,
        account: &str,
        made: Timestamp,
        context: &[u8],
        sealed: &[u8],
    ) -> Option<Vec<u8>> {
        let (salt, rest) = sealed.split_at_checked(SALT)?;
        let mut rest = rest.to_vec();
        let key = self.key(account, made, salt)?;
        let length = key.open_in_place(nonce(), Aad::from(context), &mut rest).ok()?.len();
        rest.truncate(length);
        Some(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_account_day_and_context_open_it() {
        let seals = SecretSeals([1; 32]);
        let noon = Timestamp(DAY / 2);
        let sealed = seals.seal("ann", noon, b"name", b"an answer").unwrap();
        assert!(!sealed.windows(6).any(|part| part == b"answer"));
        assert_ne!(sealed, seals.seal("ann", noon, b"name", b"an answer").unwrap());
        let open = |seals: &SecretSeals, account, made, context, sealed: &[u8]| {
            seals.open(account, Timestamp(made), context, sealed)
        };
        assert_eq!(open(&seals, "ann", DAY - 1, b"name", &sealed).unwrap(), b"an answer");
        assert_eq!(open(&seals, "bob", DAY - 1, b"name", &sealed), None);
        assert_eq!(open(&seals, "ann", DAY, b"name", &sealed), None);
        assert_eq!(open(&seals, "ann", 0, b"Name", &sealed), None);
        assert_eq!(open(&SecretSeals([2; 32]), "ann", 0, b"name", &sealed), None);
        for at in 0..sealed.len() {
            let mut other = sealed.clone();
            other[at] ^= 1;
            assert_eq!(open(&seals, "ann", 0, b"name", &other), None);
            assert_eq!(open(&seals, "ann", 0, b"name", &sealed[..at]), None);
        }
    }
}
