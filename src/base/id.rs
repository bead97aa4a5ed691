//! Identifiers.

use std::fmt;

use crate::base::clock::Timestamp;

/// The identifier of one usage record: a UUIDv7, so that records sort by time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId(pub uuid::Uuid);

impl RecordId {
    /// A new identifier for a request received at `at`.
    pub fn at(at: Timestamp) -> Self {
        let micros = at.0 % 1_000_000;
        let nanos = u32::try_from(micros).unwrap_or(0) * 1_000;
        let stamp = uuid::Timestamp::from_unix(uuid::NoContext, at.as_secs(), nanos);
        Self(uuid::Uuid::new_v7(stamp))
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

impl fmt::Debug for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl serde::Serialize for RecordId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<C> minicbor::Encode<C> for RecordId {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.bytes(self.0.as_bytes())?.ok()
    }
}

impl<'b, C> minicbor::Decode<'b, C> for RecordId {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        uuid::Uuid::from_slice(d.bytes()?)
            .map(Self)
            .map_err(|_| minicbor::decode::Error::message("a record id is 16 bytes"))
    }
}
