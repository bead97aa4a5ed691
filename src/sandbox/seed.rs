//! What makes an answer differ from another: a hash of what was asked.

use serde_json::Value;

/// Hash of a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seed(blake3::Hash);

impl Seed {
    /// The seed of `prompt` for `model` at the endpoint `path`. White space and
    /// the order of members make no difference.
    pub(super) fn of(path: &str, model: &str, prompt: &Value) -> Self {
        let mut hasher = blake3::Hasher::new();
        for part in [path, model, &prompt.to_string()] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        Self(hasher.finalize())
    }

    /// The seed of the answer's choice `index`.
    pub(super) fn choice(self, index: usize) -> Self {
        let mut hasher = blake3::Hasher::new_keyed(self.0.as_bytes());
        hasher.update(&(index as u64).to_le_bytes());
        Self(hasher.finalize())
    }

    /// A number below `bound`, or 0 if that is 0.
    pub(super) fn below(self, bound: usize) -> usize {
        let low = self
            .0
            .as_bytes()
            .iter()
            .take(4)
            .fold(0_usize, |sum, byte| sum * 256 + usize::from(*byte));
        low.checked_rem(bound).unwrap_or(0)
    }

    /// An identifier such as `chatcmpl-1f0a…`, with 24 hexadecimal digits.
    pub(super) fn id(self, prefix: &str) -> String {
        format!("{prefix}{:.24}", self.0.to_hex().as_str())
    }

    /// As many bytes as `bytes` takes.
    pub(super) fn fill(self, bytes: &mut [u8]) {
        blake3::Hasher::new_keyed(self.0.as_bytes()).finalize_xof().fill(bytes);
    }
}
