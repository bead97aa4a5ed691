//! Names that say nothing about whom they stand for, but to who has the key.

use std::fmt;

use bytes::Bytes;

/// Hexadecimal digits of a pseudonym.
const LENGTH: usize = 32;

/// What a pseudonym stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// An end user of a customer's.
    EndUser,
    /// What a customer groups prompts by in a provider's cache.
    PromptCache,
}

/// Makes pseudonyms: BLAKE3 in keyed mode over account, kind and name, its first
/// 16 bytes in hexadecimal. The same for the same end user of an account, whichever
/// field names it; of two accounts nobody can tell whether they mean the same
/// person.
pub struct Pseudonyms([u8; 32]);

impl Pseudonyms {
    /// Those under a key that is derived from `secret`.
    pub fn new(secret: &[u8; 32]) -> Self {
        Self(blake3::derive_key("tollgate 2026-11 pseudonym", secret))
    }

    /// The pseudonym of `name`, which is `account`'s.
    pub fn of(&self, account: &str, subject: Subject, name: &str) -> Pseudonym {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(&(account.len() as u64).to_be_bytes());
        hasher.update(account.as_bytes());
        hasher.update(&[match subject {
            Subject::EndUser => 0,
            Subject::PromptCache => 1,
        }]);
        hasher.update(name.as_bytes());
        let hash = hasher.finalize().to_hex();
        let mut digits = [b'0'; LENGTH];
        digits.iter_mut().zip(hash.bytes()).for_each(|(digit, of_hash)| *digit = of_hash);
        Pseudonym(digits)
    }
}

/// A name that stands for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pseudonym([u8; LENGTH]);

impl Pseudonym {
    /// It as a text in JSON.
    pub fn quoted(&self) -> Bytes {
        let mut quoted = [b'"'; LENGTH + 2];
        if let Some(inside) = quoted.get_mut(1..=LENGTH) {
            inside.copy_from_slice(&self.0);
        }
        Bytes::copy_from_slice(&quoted)
    }
}

impl fmt::Debug for Pseudonyms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Covers J5.
    #[test]
    fn a_pseudonym_is_stable_and_cannot_be_linked_between_accounts() {
        let names = Pseudonyms::new(&[7; 32]);
        let of = |account, name| names.of(account, Subject::EndUser, name);
        assert_eq!(of("a", "jo"), of("a", "jo"));
        let quoted = of("a", "jo").quoted();
        let name: String = serde_json::from_slice(&quoted).unwrap();
        assert_eq!(name.len(), 32);
        assert!(name.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let others = [
            of("b", "jo"),
            of("a", "jo2"),
            of("aj", "o"),
            names.of("a", Subject::PromptCache, "jo"),
            Pseudonyms::new(&[8; 32]).of("a", Subject::EndUser, "jo"),
        ];
        assert!(others.iter().all(|other| *other != of("a", "jo")));
    }
}
