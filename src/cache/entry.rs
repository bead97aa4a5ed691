//! One cached answer, and the recording of a stream that becomes one.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::ledger::record::Tokens;

/// Largest answer that is kept, in bytes.
pub const LARGEST: usize = 8 * 1024 * 1024;
/// Most bytes of streams that are being recorded at once; one for which there
/// is no room passes unrecorded.
pub const RECORDED: usize = 64 * 1024 * 1024;
/// What an entry takes besides its answer, roughly, in bytes.
const OVERHEAD: usize = 1024;

/// A complete answer of status 200, as the provider gave it.
#[derive(Clone, Debug)]
pub enum Answer {
    /// One JSON object.
    Whole(Bytes),
    /// A stream, its terminal event included.
    Stream(Stream),
}

/// The events of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// The events as the provider sent them.
    pub events: Bytes,
    /// The parts of them that exist because usage was asked for, in order.
    pub usage: Box<[Range<usize>]>,
}

impl Stream {
    /// The stream without its usage, as a client gets it that did not ask.
    pub fn without_usage(&self) -> Bytes {
        if self.usage.is_empty() {
            return self.events.clone();
        }
        let mut rest = BytesMut::with_capacity(self.events.len());
        let mut from = 0;
        for part in &self.usage {
            rest.extend_from_slice(self.events.get(from..part.start).unwrap_or_default());
            from = part.end;
        }
        rest.extend_from_slice(self.events.get(from..).unwrap_or_default());
        rest.freeze()
    }
}

/// One entry of the cache.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The account whose request made it.
    pub account: Arc<str>,
    /// Whether it answers all accounts of its class.
    pub shared: bool,
    /// The class's name.
    pub class: Arc<str>,
    /// The model's public name.
    pub model: Arc<str>,
    /// The provider that answered.
    pub provider: Arc<str>,
    /// The provider's headers that a customer may see.
    pub headers: HeaderMap,
    /// The answer.
    pub answer: Answer,
    /// What the provider's call used.
    pub tokens: Tokens,
    /// Whether `tokens` was counted here because the provider said nothing.
    pub estimated: bool,
    /// How old it was when it came into memory.
    pub aged: Duration,
    /// When it came into memory, on the monotonic clock.
    pub made: Duration,
    /// When its time is over, on the same clock.
    pub expires: Duration,
    /// How long after that it may still be of use.
    pub stale_for: Duration,
}

impl Entry {
    /// Whether it may be of use at `now`, past its time or not.
    pub fn is_kept(&self, now: Duration) -> bool {
        now < self.expires.saturating_add(self.stale_for)
    }

    /// How old it is.
    pub fn age(&self, now: Duration) -> Duration {
        self.aged.saturating_add(now.saturating_sub(self.made))
    }

    /// How long it may be of use from its coming into memory on.
    pub fn lifetime(&self) -> Duration {
        self.expires.saturating_sub(self.made).saturating_add(self.stale_for)
    }

    /// About how many bytes it takes.
    pub fn weight(&self) -> u32 {
        let answer = match &self.answer {
            Answer::Whole(body) => body.len(),
            Answer::Stream(stream) => {
                stream.events.len() + stream.usage.len() * size_of::<Range<usize>>()
            }
        };
        let header = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
            name.as_str().len() + value.len()
        };
        let headers: usize = self.headers.iter().map(header).sum();
        u32::try_from(answer + headers + OVERHEAD).unwrap_or(u32::MAX)
    }
}

/// Whether `body` is an answer that can be kept: a complete JSON object, within
/// [`LARGEST`], that is no error and no work in progress.
pub fn is_whole(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Envelope<'a> {
        #[serde(borrow, default)]
        error: Option<&'a RawValue>,
        /// Of a response: `completed`, `incomplete`, `failed`, `in_progress`,
        /// `queued` or `cancelled`. Source: OpenAI API reference, "The response
        /// object".
        #[serde(borrow, default)]
        status: Option<&'a RawValue>,
    }
    // An array would do for a structure too.
    if body.len() > LARGEST || !body.trim_ascii_start().starts_with(b"{") {
        return false;
    }
    let Ok(envelope) = serde_json::from_slice::<Envelope<'_>>(body) else { return false };
    let done = |status: &&RawValue| matches!(status.get(), "\"completed\"" | "\"incomplete\"");
    envelope.error.is_none() && envelope.status.as_ref().is_none_or(done)
}

/// What an event is to a client that did not ask for usage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Its own.
    Nothing,
    /// Its own without these bytes.
    Part(Range<usize>),
    /// Not for it.
    All,
}

/// The streams that are being recorded, all together; clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Recordings(Arc<AtomicUsize>);

impl Recordings {
    /// Begins to record a stream.
    pub fn begin(&self) -> Recorder {
        Recorder {
            events: BytesMut::new(),
            usage: Vec::new(),
            state: State::default(),
            all: self.clone(),
        }
    }
}

/// Records a stream while it passes.
#[derive(Debug)]
pub struct Recorder {
    events: BytesMut,
    usage: Vec<Range<usize>>,
    state: State,
    all: Recordings,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum State {
    /// Events are still to come.
    #[default]
    Open,
    /// The terminal event has come.
    Complete,
    /// The stream cannot be kept.
    Spoilt,
}

impl Recorder {
    /// Takes one whole event; what comes after the terminal one is no part of
    /// the answer.
    pub fn event(&mut self, event: &[u8], cut: Cut, is_terminal: bool) {
        if self.state != State::Open {
            return;
        }
        let before = self.all.0.fetch_add(event.len(), Ordering::Relaxed);
        if before + event.len() > RECORDED || self.events.len() + event.len() > LARGEST {
            self.all.0.fetch_sub(event.len(), Ordering::Relaxed);
            return self.spoil();
        }
        let start = self.events.len();
        self.events.extend_from_slice(event);
        match cut {
            Cut::Nothing => {}
            Cut::Part(part) => self.usage.push(start + part.start..start + part.end),
            Cut::All => self.usage.push(start..start + event.len()),
        }
        if is_terminal {
            self.state = State::Complete;
        }
    }

    /// Notes that the stream cannot be kept: an error, or bytes that are no
    /// event.
    pub fn spoil(&mut self) {
        if self.state == State::Open {
            self.state = State::Spoilt;
            self.free();
        }
    }

    fn free(&mut self) {
        self.all.0.fetch_sub(self.events.len(), Ordering::Relaxed);
        (self.events, self.usage) = (BytesMut::new(), Vec::new());
    }

    /// The stream, if it is complete.
    pub fn finish(mut self) -> Option<Stream> {
        // A copy of its own: the buffer that grew is larger than what is in it.
        (self.state == State::Complete).then(|| Stream {
            events: Bytes::copy_from_slice(&self.events),
            usage: std::mem::take(&mut self.usage).into_boxed_slice(),
        })
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.free();
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::cache) fn entry(account: &str, made: Duration, lifetime: Duration) -> Entry {
        Entry {
            account: account.into(),
            shared: false,
            class: "default".into(),
            model: "m".into(),
            provider: "p".into(),
            headers: HeaderMap::new(),
            answer: Answer::Whole(Bytes::from_static(b"{}")),
            tokens: Tokens::default(),
            estimated: false,
            aged: Duration::ZERO,
            made,
            expires: made + lifetime,
            stale_for: Duration::ZERO,
        }
    }

    #[test]
    fn only_a_complete_answer_is_whole() {
        for body in [
            r#"{"id":"x","choices":[]}"#,
            r#"{"error":null,"status":"completed"}"#,
            r#" {"status":"incomplete"} "#,
            r#"{"choices":[{"error":{"code":1},"status":"failed"}]}"#,
        ] {
            assert!(is_whole(body.as_bytes()), "{body}");
        }
        for body in [
            r#"{"error":{"message":"x"}}"#,
            r#"{"id":"x","choices":["#,
            r#"{"status":"in_progress"}"#,
            r#"{"status":"failed"}"#,
            r#"{"a":1}x"#,
            "[]",
            "",
            "<html>",
        ] {
            assert!(!is_whole(body.as_bytes()), "{body}");
        }
        let large = format!("{{\"a\":\"{}\"}}", "x".repeat(LARGEST));
        assert!(!is_whole(large.as_bytes()));
    }

    fn recorded(events: &[(&str, Cut, bool)]) -> Option<Stream> {
        let mut recorder = Recordings::default().begin();
        for (event, cut, is_terminal) in events {
            recorder.event(event.as_bytes(), cut.clone(), *is_terminal);
        }
        recorder.finish()
    }

    #[test]
    fn a_stream_is_kept_with_its_usage_and_given_without() {
        let stream = recorded(&[
            ("abc", Cut::Nothing, false),
            ("defg", Cut::Part(1..3), false),
            ("hi", Cut::All, false),
            ("j", Cut::Nothing, true),
            ("k", Cut::Nothing, false),
        ])
        .unwrap();
        assert_eq!(stream.events, "abcdefghij");
        assert_eq!(stream.without_usage(), "abcdgj");
        let plain = recorded(&[("abc", Cut::Nothing, true)]).unwrap();
        assert_eq!(plain.without_usage(), "abc");
    }

    #[test]
    fn what_is_not_complete_is_not_kept() {
        assert_eq!(recorded(&[("abc", Cut::Nothing, false)]), None);
        let mut recorder = Recordings::default().begin();
        recorder.event(b"abc", Cut::Nothing, false);
        recorder.spoil();
        recorder.event(b"abc", Cut::Nothing, true);
        assert_eq!(recorder.finish(), None);
        let half = "x".repeat(LARGEST / 2);
        let halves = |count: usize| {
            let mut recorder = Recordings::default().begin();
            (0..count).for_each(|_| recorder.event(half.as_bytes(), Cut::Nothing, false));
            recorder.event(b"", Cut::Nothing, true);
            recorder.finish().is_some()
        };
        assert!(halves(2));
        assert!(!halves(3));
    }

    /// Covers invariant 8.
    #[test]
    fn all_recordings_together_have_a_bound_and_give_their_room_back() {
        let all = Recordings::default();
        let piece = vec![b'x'; LARGEST];
        let mut recorders: Vec<Recorder> = (0..9).map(|_| all.begin()).collect();
        for recorder in &mut recorders {
            recorder.event(&piece, Cut::Nothing, true);
        }
        let last = recorders.pop().unwrap();
        assert!(last.finish().is_none(), "there was no room");
        assert!(recorders.pop().unwrap().finish().is_some());
        let mut next = all.begin();
        next.event(&piece, Cut::Nothing, true);
        assert!(next.finish().is_some());
        drop(recorders);
        assert_eq!(all.0.load(Ordering::Relaxed), 0);
    }
}
