//! The key of an answer: a keyed BLAKE3 hash of everything that can change it, the
//! hash of the request's body among it.
//!
//! The body is hashed in a canonical form that is injective. Every value
//! begins with a tag; texts and numbers then have their length, so no value can
//! be read as another one, or as two.
//!
//! | value  | canonical form |
//! |--------|----------------|
//! | null, true, false | a tag |
//! | number | tag, length, the spelling: 1, 1.0 and 1e0 are three values |
//! | text   | tag, length, the decoded text, whatever escapes spelt it |
//! | array  | tag, the elements in order, an end tag |
//! | object | tag, the members ordered by name, an end tag |
//!
//! What is longer than 1 KB in this form stands there as a tag of its
//! own and its BLAKE3 hash. That bounds the work: however deep a text nests and
//! however its members are ordered, only short runs are copied about.
//!
//! White space and the order of members do not matter; unknown fields do. An
//! object that repeats a name has no meaning that all parsers agree on, and a
//! text with half a surrogate pair is none: such a body has no key.
//!
//! The key is keyed with a secret of the data directory, because records name
//! the key and must not let anybody test guesses of a prompt.

mod form;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

pub use form::Form;

use crate::base::json::reader;

/// Fields of a body that cannot change the answer, and so are no part of the
/// key. Source: OpenAI API reference, "Create chat completion".
///
/// - `stream`: how the answer is delivered; it is cached once and given in
///   either form.
/// - `user`, `safety_identifier`: whose request it is, for abuse detection.
/// - `prompt_cache_key`, `prompt_cache_retention`: how the provider speeds up
///   the reading of the prompt.
/// - `metadata`: labels of a stored answer; a request that asks for storage is
///   not answered from the cache.
///
/// `stream_options` is left out too where it says nothing but `include_usage`.
/// Everything else stays, `service_tier` included: the answer names the tier.
pub const WITHOUT_EFFECT: [&str; 6] = [
    "stream",
    "user",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "metadata",
];

/// Headers of a request that a provider sees and that can change its answer.
const WITH_EFFECT: [HeaderName; 3] = [
    HeaderName::from_static("openai-beta"),
    HeaderName::from_static("anthropic-beta"),
    HeaderName::from_static("anthropic-version"),
];

/// What identifies a cached answer.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key([u8; 32]);

impl Key {
    /// The key that is stored under `name`.
    pub(super) const fn named(name: &[u8; 32]) -> Self {
        Self(*name)
    }

    /// How long an answer under this key is kept that may be kept for `lifetime`:
    /// up to a twentieth less, always the same, so that what was made at once does
    /// not have to be made anew at once.
    pub fn jittered(&self, lifetime: Duration) -> Duration {
        let [.., high, low] = self.0;
        let share = u32::from(u16::from_be_bytes([high, low]));
        lifetime.saturating_sub(lifetime / 20 * share / u32::from(u16::MAX))
    }

    /// All 32 bytes of the hash.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first 16 bytes in hexadecimal, as records and operators write it.
    pub fn to_hex(&self) -> Arc<str> {
        let mut text = [0; 32];
        for (byte, pair) in self.0.iter().zip(text.chunks_exact_mut(2)) {
            pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
        }
        // ASCII throughout.
        std::str::from_utf8(&text).map(Arc::from).unwrap_or_default()
    }
}

/// The hexadecimal digit of `value`, which is below 16.
const fn digit(value: u8) -> u8 {
    if value < 10 { b'0' + value } else { b'a' + value - 10 }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

/// What besides the body decides about an answer.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The path under the class prefix.
    pub endpoint: &'a str,
    /// The class's name.
    pub class: &'a str,
    /// The account whose answers these are; `None` for those that all share.
    pub account: Option<&'a str>,
    /// The model's public name.
    pub model: &'a str,
    /// The provider that is to answer.
    pub provider: &'a str,
    /// Its own name of the model; `None` if the body's stays.
    pub provider_model: Option<&'a str>,
    /// The most answer tokens that the class allows.
    pub max_output: Option<u64>,
    /// The request's headers; `WITH_EFFECT` of them count.
    pub headers: &'a HeaderMap,
    /// Headers that the class sets.
    pub set: &'a [(HeaderName, HeaderValue)],
    /// The request's query string.
    pub query: Option<&'a str>,
}

/// Which fields of a body count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fields {
    /// All but [`WITHOUT_EFFECT`].
    WithEffect,
    /// All: the answer repeats the others, or its form is no matter of delivery.
    All,
}

/// The hash of a body in its canonical form. It is without a secret, so nobody may
/// see it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BodyHash([u8; 32]);

impl BodyHash {
    /// The hash of `body`; `None` if it is no JSON object or has no one meaning (see
    /// the module).
    pub fn of(body: &[u8], fields: Fields) -> Option<Self> {
        let mut form = Form::new(body.len(), fields);
        reader::read(body, &mut form).ok()?;
        form.finish()
    }

    /// All 32 bytes of the hash.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for BodyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BodyHash")
    }
}

/// The key of a request with a body of this hash.
pub fn key(secret: &[u8; 32], context: &Context<'_>, body: &BodyHash) -> Key {
    let mut form = context.form();
    form.extend_from_slice(&body.0);
    Key(*blake3::keyed_hash(secret, &form).as_bytes())
}

impl Context<'_> {
    /// A form of it that is injective: each part has its length before it, and lists
    /// the number of their elements.
    fn form(&self) -> Vec<u8> {
        let mut form = Vec::with_capacity(512);
        let max_output = self.max_output.map(u64::to_be_bytes);
        let parts = [
            Some(self.endpoint.as_bytes()),
            Some(self.class.as_bytes()),
            self.account.map(str::as_bytes),
            Some(self.model.as_bytes()),
            Some(self.provider.as_bytes()),
            self.provider_model.map(str::as_bytes),
            max_output.as_ref().map(<[u8; 8]>::as_slice),
            self.query.map(str::as_bytes),
        ];
        parts.into_iter().for_each(|part| put(&mut form, part));
        for name in &WITH_EFFECT {
            let values = self.headers.get_all(name);
            form.extend_from_slice(&values.iter().count().to_le_bytes());
            values.iter().for_each(|value| put(&mut form, Some(value.as_bytes())));
        }
        form.extend_from_slice(&self.set.len().to_le_bytes());
        for (name, value) in self.set {
            put(&mut form, Some(name.as_str().as_bytes()));
            put(&mut form, Some(value.as_bytes()));
        }
        form
    }
}

/// Puts a part that may be absent, which its length tells from an empty one.
fn put(form: &mut Vec<u8>, part: Option<&[u8]>) {
    let length = part.map_or(usize::MAX, <[u8]>::len);
    form.extend_from_slice(&length.to_le_bytes());
    form.extend_from_slice(part.unwrap_or_default());
}

#[cfg(test)]
pub(super) mod tests;
