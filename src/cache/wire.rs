//! An entry as bytes: CBOR, every part in order.

use std::convert::Infallible;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use minicbor::decode::Error;
use minicbor::{Decoder, Encoder};

use crate::cache::entry::{Answer, Entry, Stream};
use crate::ledger::record::Tokens;

/// When an entry was made and how long it stays, on the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// Now.
    pub(super) now: Duration,
    /// How old it is.
    pub(super) age: Duration,
    /// When it is too old.
    pub(super) expires: Duration,
}

/// `entry` as bytes, without its times.
pub(super) fn encode(entry: &Entry) -> Vec<u8> {
    let mut out = Encoder::new(Vec::with_capacity(entry.weight() as usize));
    // Writing into memory does not fail.
    let _infallible = write(entry, &mut out);
    out.into_writer()
}

fn write(
    entry: &Entry,
    out: &mut Encoder<Vec<u8>>,
) -> Result<(), minicbor::encode::Error<Infallible>> {
    out.str(&entry.account)?.bool(entry.shared)?.str(&entry.class)?;
    out.str(&entry.model)?.str(&entry.provider)?;
    let Tokens { input, cached_input, output, reasoning, cache_write } = entry.tokens;
    out.u64(input)?.u64(cached_input)?.u64(output)?.u64(reasoning)?.u64(cache_write)?;
    out.bool(entry.estimated)?;
    out.array(entry.headers.len() as u64)?;
    for (name, value) in &entry.headers {
        out.str(name.as_str())?.bytes(value.as_bytes())?;
    }
    match &entry.answer {
        Answer::Whole(body) => out.bool(false)?.bytes(body)?,
        Answer::Stream(stream) => {
            out.bool(true)?.bytes(&stream.events)?.array(stream.usage.len() as u64)?;
            for part in &stream.usage {
                out.u64(part.start as u64)?.u64(part.end as u64)?;
            }
            out
        }
    };
    Ok(())
}

/// The entry that `bytes` are, with `times`; `None` if they are none.
pub(super) fn decode(bytes: Vec<u8>, times: Times) -> Option<Entry> {
    read(&Bytes::from(bytes), times).ok()
}

fn read(bytes: &Bytes, times: Times) -> Result<Entry, Error> {
    let mut from = Decoder::new(bytes);
    let (account, shared) = (Arc::from(from.str()?), from.bool()?);
    let (class, model) = (Arc::from(from.str()?), Arc::from(from.str()?));
    let provider = Arc::from(from.str()?);
    let tokens = Tokens {
        input: from.u64()?,
        cached_input: from.u64()?,
        output: from.u64()?,
        reasoning: from.u64()?,
        cache_write: from.u64()?,
    };
    let estimated = from.bool()?;
    let mut headers = HeaderMap::new();
    for _ in 0..from.array()?.unwrap_or_default() {
        let name = HeaderName::try_from(from.str()?).map_err(Error::message)?;
        headers.append(name, HeaderValue::from_bytes(from.bytes()?).map_err(Error::message)?);
    }
    let is_stream = from.bool()?;
    let body = bytes.slice_ref(from.bytes()?);
    let answer = match is_stream {
        false => Answer::Whole(body),
        true => {
            let usage = ranges(&mut from)?;
            Answer::Stream(Stream { events: body, usage })
        }
    };
    if from.position() != bytes.len() {
        return Err(Error::message("more than an entry"));
    }
    let Times { now, age, expires } = times;
    Ok(Entry {
        account,
        shared,
        class,
        model,
        provider,
        headers,
        answer,
        tokens,
        estimated,
        aged: age,
        made: now,
        expires,
        // What is past its time is removed from the disk.
        stale_for: Duration::ZERO,
    })
}

fn ranges(from: &mut Decoder<'_>) -> Result<Box<[Range<usize>]>, Error> {
    let mut ranges = Vec::new();
    for _ in 0..from.array()?.unwrap_or_default() {
        let mut place = || usize::try_from(from.u64()?).map_err(Error::message);
        ranges.push(place()?..place()?);
    }
    Ok(ranges.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::entry::tests::entry;

    const SECOND: Duration = Duration::from_secs(1);
    const TIMES: Times = Times { now: SECOND, age: SECOND, expires: SECOND };

    fn same(a: &Entry, b: &Entry) -> bool {
        let answers = match (&a.answer, &b.answer) {
            (Answer::Whole(a), Answer::Whole(b)) => a == b,
            (Answer::Stream(a), Answer::Stream(b)) => a == b,
            _ => false,
        };
        let names = |entry: &Entry| {
            [&entry.account, &entry.class, &entry.model, &entry.provider].map(Arc::clone)
        };
        answers
            && names(a) == names(b)
            && (a.shared, a.estimated, a.tokens) == (b.shared, b.estimated, b.tokens)
            && a.headers == b.headers
    }

    #[test]
    fn an_entry_comes_back_as_it_was_and_nothing_else_does() {
        let mut whole = entry("acme", SECOND, SECOND);
        whole.shared = true;
        whole.tokens =
            Tokens { input: 1, cached_input: 2, output: u64::MAX, reasoning: 4, cache_write: 5 };
        whole.headers.append("x-a", HeaderValue::from_static("1"));
        whole.headers.append("x-a", HeaderValue::from_bytes(b"\xff").unwrap());
        let mut streamed = whole.clone();
        let usage = vec![0..3, 4..5].into();
        let events = Bytes::from_static(b"data: \0\n\n");
        streamed.answer = Answer::Stream(Stream { events, usage });
        streamed.estimated = true;
        for entry in [whole, streamed] {
            let bytes = encode(&entry);
            assert!(same(&decode(bytes.clone(), TIMES).unwrap(), &entry));
            for end in 0..bytes.len() {
                assert!(decode(bytes[..end].to_vec(), TIMES).is_none(), "{end}");
            }
            assert!(decode([&bytes[..], b"\0"].concat(), TIMES).is_none());
        }
    }
}
