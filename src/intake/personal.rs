//! The fields of a request that may name an end user, and what an answer that
//! repeats the request says of what was changed.

use bytes::Bytes;

/// A field that may name an end user, or group the requests of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Personal {
    /// `user`.
    User,
    /// `safety_identifier`.
    SafetyIdentifier,
    /// `prompt_cache_key`.
    PromptCacheKey,
    /// `metadata.user_id`, which is the end user's id in Anthropic's API alone.
    MetadataUserId,
}

impl Personal {
    /// The field, dotted.
    pub const fn path(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::SafetyIdentifier => "safety_identifier",
            Self::PromptCacheKey => "prompt_cache_key",
            Self::MetadataUserId => "metadata.user_id",
        }
    }
}

/// What an answer that repeats a field of the request is to say there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Echo {
    /// The field.
    pub name: &'static str,
    /// The client's own value, in JSON.
    pub value: Bytes,
}
