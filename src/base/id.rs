//! Identifiers.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::base::clock::Timestamp;

/// The identifier of one usage record: a UUIDv7, so that records sort by time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId(pub uuid::Uuid);

/// Makes [`RecordId`]s that strictly increase, whatever the clock does.
///
/// RFC 9562 §6.2 method 3: the 12 bits after the milliseconds are their
/// fraction, and an identifier made in the same 1/4096 ms as the one before, or
/// after the clock stepped back, takes the next of those ticks.
#[derive(Debug, Default)]
pub struct RecordIds {
    /// The last tick used: 1/4096 ms since the epoch.
    last: AtomicU64,
}

impl RecordIds {
    /// The identifier of a request received at `at`.
    pub fn next(&self, at: Timestamp) -> RecordId {
        let ticks = (at.as_millis() << 12) | ((at.0 % 1_000) * 4_096 / 1_000);
        let next = |last: u64| Some(ticks.max(last.saturating_add(1)));
        let before =
            self.last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).unwrap_or_default();
        let tick = ticks.max(before.saturating_add(1));
        let random: u64 = rand::random();
        let high = (u128::from(tick >> 12) << 16) | 0x7000 | u128::from(tick & 0xFFF);
        let low = (random & 0x3FFF_FFFF_FFFF_FFFF) | 0x8000_0000_0000_0000;
        RecordId(uuid::Uuid::from_u128((high << 64) | u128::from(low)))
    }
}

impl RecordId {
    /// When it was made, to the millisecond.
    pub fn time(self) -> Timestamp {
        let millis = u64::try_from(self.0.as_u128() >> 80).unwrap_or_default();
        Timestamp(millis.saturating_mul(1_000))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_uuid_v7_and_strictly_increase() {
        let ids = RecordIds::default();
        let now = Timestamp(1_767_225_600_123_456);
        let first = ids.next(now);
        assert_eq!(first.0.get_version_num(), 7);
        assert_eq!(first.0.get_variant(), uuid::Variant::RFC4122);
        let (seconds, nanos) = first.0.get_timestamp().unwrap().to_unix();
        assert_eq!((seconds, nanos / 1_000_000), (1_767_225_600, 123));
        assert_eq!(first.time(), Timestamp(1_767_225_600_123_000));
        let mut last = first;
        for at in [now, now, Timestamp(0), Timestamp(now.0 + 1), Timestamp(now.0 + 2_000)] {
            let next = ids.next(at);
            assert!(next > last, "{next} is not after {last}");
            last = next;
        }
    }
}
