//! CBOR of the shared types of records, for `#[cbor(with = …)]`.

use std::sync::Arc;

use crate::base::clock::Timestamp;

/// A [`Timestamp`]: microseconds since the epoch.
pub(super) mod timestamp {
    use super::Timestamp;
    use minicbor::decode::Error as DecodeError;
    use minicbor::encode::{Error as EncodeError, Write};
    use minicbor::{Decoder, Encoder};

    pub(in crate::ledger) fn encode<C, W: Write>(
        at: &Timestamp,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        e.u64(at.0)?.ok()
    }

    pub(in crate::ledger) fn decode<C>(
        d: &mut Decoder<'_>,
        _: &mut C,
    ) -> Result<Timestamp, DecodeError> {
        d.u64().map(Timestamp)
    }

    /// JSON: RFC 3339.
    pub(in crate::ledger) fn rfc3339<S: serde::Serializer>(
        at: &Timestamp,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(at)
    }
}

/// A number of which 0 takes no bytes.
pub(super) mod count {
    use minicbor::decode::Error as DecodeError;
    use minicbor::encode::{Error as EncodeError, Write};
    use minicbor::{Decoder, Encoder};

    pub(in crate::ledger) fn encode<C, W: Write>(
        count: &u64,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        e.u64(*count)?.ok()
    }

    pub(in crate::ledger) fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<u64, DecodeError> {
        d.u64()
    }

    pub(in crate::ledger) const fn nil() -> Option<u64> {
        Some(0)
    }

    pub(in crate::ledger) const fn is_nil(count: &u64) -> bool {
        *count == 0
    }
}

/// Shared text.
pub(super) mod text {
    use super::Arc;
    use minicbor::decode::Error as DecodeError;
    use minicbor::encode::{Error as EncodeError, Write};
    use minicbor::{Decoder, Encoder};

    pub(in crate::ledger) fn encode<C, W: Write>(
        text: &Arc<str>,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        e.str(text)?.ok()
    }

    pub(in crate::ledger) fn decode<C>(
        d: &mut Decoder<'_>,
        _: &mut C,
    ) -> Result<Arc<str>, DecodeError> {
        d.str().map(Arc::from)
    }
}

/// Shared text that may be absent; absence takes no bytes.
pub(super) mod optional_text {
    use super::Arc;
    use minicbor::decode::Error as DecodeError;
    use minicbor::encode::{Error as EncodeError, Write};
    use minicbor::{Decoder, Encoder};

    pub(in crate::ledger) fn encode<C, W: Write>(
        text: &Option<Arc<str>>,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        match text {
            Some(text) => e.str(text)?.ok(),
            None => e.null()?.ok(),
        }
    }

    pub(in crate::ledger) fn decode<C>(
        d: &mut Decoder<'_>,
        _: &mut C,
    ) -> Result<Option<Arc<str>>, DecodeError> {
        if d.datatype()? == minicbor::data::Type::Null {
            return d.null().map(|()| None);
        }
        d.str().map(|text| Some(Arc::from(text)))
    }

    pub(in crate::ledger) fn nil<T>() -> Option<Option<T>> {
        Some(None)
    }

    pub(in crate::ledger) fn is_nil<T>(text: &Option<T>) -> bool {
        text.is_none()
    }
}

/// JSON text as the JSON that it is; `null` if absent or not JSON.
pub(super) fn raw_json<S: serde::Serializer>(
    text: &Option<Arc<str>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    use serde::Serialize;
    let value: Option<&serde_json::value::RawValue> =
        text.as_deref().and_then(|text| serde_json::from_str(text).ok());
    value.serialize(serializer)
}
