//! A streamed answer: passed on event by event as it comes, metered on the way.
//!
//! Invariant: the settlement is in the journal before the last event (`[DONE]`
//! and its kin) leaves, so a client that has it has been recorded.

use std::ops::Range;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};

use crate::base::sse::{self, Piece, Splitter};
use crate::cache::entry::{Answer, Cut, Recorder};
use crate::exchange::{AnswerHead, Client, Ending};
use crate::ledger::record::Outcome;
use crate::meter::stream::{Observed, StreamMeter};
use crate::meter::{estimate, strip};
use crate::pipeline::relay::{CLIENT_CLOSED, Relay};
use crate::pipeline::unless_gone;
use crate::refusal::Refusal;
use crate::upstream::{BodyError, Reply};

/// Largest event that is looked into, in bytes; a larger one passes unread.
const LARGEST_EVENT: usize = 4 * 1024 * 1024;
/// How long the end of a stream is waited for after its last event.
const TAIL: Duration = Duration::from_millis(500);

impl<C: Client> Relay<'_, C> {
    /// Hands a stream over.
    pub(super) async fn stream(&mut self, reply: Reply) -> Result<Ending, Refusal> {
        let Reply { status, headers, mut body } = reply;
        self.bill.waited(self.exchange.waited);
        let head = AnswerHead { status, headers: self.headers(&headers, true) };
        // What Tollgate asked for itself is taken out again.
        let strip = self.bill.endpoint.usage_on_request() && !self.request.asks_usage();
        let keeps = self.keeping.is_some() && status == StatusCode::OK;
        let mut sieve = Sieve::new(strip, keeps.then(|| self.recording()));
        if self.client.send_head(head).await.is_err() {
            drop(body);
            return self.gone(sieve).await;
        }
        let mut ended = false;
        let mut to_learn = self.makes();
        loop {
            let next = async {
                if !ended {
                    return body.next().await;
                }
                // The answer is whole; a provider that does not end it keeps
                // nobody waiting.
                tokio::time::timeout(TAIL, body.next()).await.unwrap_or(Ok(None))
            };
            match unless_gone(&mut *self.client, next).await {
                None => {
                    drop(body);
                    return self.gone(sieve).await;
                }
                Some(Ok(Some(chunk))) => {
                    let sifted = sieve.sift(chunk);
                    if to_learn {
                        to_learn = !self.learn_events(&sifted.bytes).await?;
                    }
                    if sifted.last && !ended {
                        ended = true;
                        self.complete(&mut sieve, status.as_u16(), sifted.bytes.len()).await?;
                        self.keep_stream(&mut sieve, &headers);
                    }
                    if !self.pass(sifted.bytes).await {
                        drop(body);
                        return self.gone(sieve).await;
                    }
                }
                Some(Ok(None)) => {
                    let rest = sieve.rest();
                    if !ended && body.is_close_delimited() {
                        self.pass(rest).await;
                        return self.cut(sieve, status.as_u16()).await;
                    }
                    if !ended {
                        self.complete(&mut sieve, status.as_u16(), rest.len()).await?;
                    }
                    let whole = self.pass(rest).await && self.client.finish().await.is_ok();
                    return Ok(if whole { Ending::Complete } else { Ending::Cut });
                }
                // What comes after the last event is no part of the answer.
                Some(Err(_)) if ended => {
                    let whole = self.client.finish().await.is_ok();
                    return Ok(if whole { Ending::Complete } else { Ending::Cut });
                }
                Some(Err(BodyError::Cut | BodyError::TimedOut)) => {
                    let rest = sieve.rest();
                    self.pass(rest).await;
                    return self.cut(sieve, status.as_u16()).await;
                }
            }
        }
    }

    /// Sends what there is of a piece; false if the client has left.
    async fn pass(&mut self, bytes: Bytes) -> bool {
        if bytes.is_empty() {
            return true;
        }
        self.bill.sent(bytes.len());
        self.client.send(bytes).await.is_ok()
    }

    /// Settles a stream whose end has come, before that end is passed on.
    async fn complete(
        &mut self,
        sieve: &mut Sieve,
        status: u16,
        pending: usize,
    ) -> Result<(), Refusal> {
        let usage = sieve.meter().finish();
        // An error that the provider sends within the stream ends it unfinished.
        let outcome = if usage.failed { Outcome::Cut } else { Outcome::Ok };
        self.bill.sending(pending);
        let (path, asked) = (self.bill.endpoint.path(), self.request.body());
        self.bill
            .settle(outcome, status, || usage.settle(|| estimate::prompt_tokens(path, asked)))
            .await
    }

    /// A recording of a stream that may be kept.
    fn recording(&self) -> Recording {
        let asks = self.bill.endpoint.usage_on_request();
        Recording { recorder: self.app.cache.record(), cuts: asks }
    }

    /// Keeps a stream whose end has come, before that end is passed on.
    fn keep_stream(&mut self, sieve: &mut Sieve, headers: &HeaderMap) {
        let recorded = sieve.recording.take().and_then(|recording| recording.recorder.finish());
        if let Some(stream) = recorded {
            self.keep(headers, Answer::Stream(stream));
        }
    }

    /// Settles a stream that the provider broke off.
    async fn cut(&mut self, sieve: Sieve, status: u16) -> Result<Ending, Refusal> {
        self.end(sieve, Outcome::Cut, status).await
    }

    /// Settles a stream whose client has left.
    async fn gone(&mut self, sieve: Sieve) -> Result<Ending, Refusal> {
        if self.bill.has_sent() {
            self.end(sieve, Outcome::ClientGoneLate, CLIENT_CLOSED).await
        } else {
            self.end(sieve, Outcome::ClientGoneEarly, CLIENT_CLOSED).await
        }
    }

    async fn end(
        &mut self,
        mut sieve: Sieve,
        outcome: Outcome,
        status: u16,
    ) -> Result<Ending, Refusal> {
        let usage = sieve.meter().finish();
        let (path, asked) = (self.bill.endpoint.path(), self.request.body());
        self.bill
            .settle(outcome, status, || usage.settle(|| estimate::prompt_tokens(path, asked)))
            .await?;
        Ok(Ending::Cut)
    }
}

/// Splits chunks into events, meters them, and takes out what the client did
/// not ask for.
struct Sieve {
    splitter: Splitter,
    meter: StreamMeter,
    strip: bool,
    /// What is to be kept in the cache.
    recording: Option<Recording>,
    /// Bytes of an event whose end has not come.
    held: usize,
}

/// A stream that is recorded while it passes.
struct Recording {
    recorder: Recorder,
    /// Whether its usage is there because it was asked for.
    cuts: bool,
}

impl Recording {
    fn take(&mut self, event: &Bytes, observed: Observed, null_usage: Option<&Range<usize>>) {
        if observed.is_error {
            return self.recorder.spoil();
        }
        // A comment keeps a connection alive: it is no part of the answer.
        if sse::fields(event).next().is_none() {
            return;
        }
        let cut = match null_usage {
            _ if !self.cuts => Cut::Nothing,
            _ if observed.is_usage_only => Cut::All,
            Some(part) => Cut::Part(part.clone()),
            None => Cut::Nothing,
        };
        self.recorder.event(event, cut, observed.is_terminal);
    }
}

/// What is to be passed on of one chunk.
struct Sifted {
    bytes: Bytes,
    /// Whether the last event of the answer is in it.
    last: bool,
}

impl Sieve {
    fn new(strip: bool, recording: Option<Recording>) -> Self {
        Self {
            splitter: Splitter::new(LARGEST_EVENT),
            meter: StreamMeter::new(),
            strip,
            recording,
            held: 0,
        }
    }

    /// The meter, with an empty one in its place.
    fn meter(&mut self) -> StreamMeter {
        std::mem::take(&mut self.meter)
    }

    fn sift(&mut self, chunk: Bytes) -> Sifted {
        let before = self.held + chunk.len();
        let untouched = (self.held == 0).then(|| chunk.clone());
        self.splitter.push(chunk);
        let mut out = Pieces::default();
        let (mut seen, mut last) = (0, false);
        while let Some(piece) = self.splitter.next_piece() {
            let event = match piece {
                Piece::Raw(bytes) => {
                    seen += bytes.len();
                    out.push(bytes);
                    if let Some(recording) = &mut self.recording {
                        recording.recorder.spoil();
                    }
                    continue;
                }
                Piece::Event(event) => event,
            };
            seen += event.len();
            let observed = self.meter.observe(&event);
            last |= observed.is_terminal;
            let looks = self.strip || self.recording.as_ref().is_some_and(|it| it.cuts);
            let null_usage = if looks { strip::null_usage(&event) } else { None };
            if let Some(recording) = &mut self.recording {
                recording.take(&event, observed, null_usage.as_ref());
            }
            if !self.strip {
                out.push(event);
            } else if !observed.is_usage_only {
                out.push(strip::without(&event, null_usage));
            }
        }
        self.held = before.saturating_sub(seen);
        // Most chunks hold whole events that need no change: they pass as they
        // came, without a copy.
        let bytes = match untouched {
            Some(chunk) if out.len == chunk.len() => chunk,
            _ => out.join(),
        };
        Sifted { bytes, last }
    }

    /// What the stream ended with, short of a whole event.
    fn rest(&mut self) -> Bytes {
        self.held = 0;
        match self.splitter.finish() {
            Some(Piece::Event(event)) => {
                self.meter.observe(&event);
                event
            }
            Some(Piece::Raw(bytes)) => bytes,
            None => Bytes::new(),
        }
    }
}

/// Pieces in order; joined only if there are several.
#[derive(Default)]
struct Pieces {
    pieces: Vec<Bytes>,
    len: usize,
}

impl Pieces {
    fn push(&mut self, piece: Bytes) {
        self.len += piece.len();
        self.pieces.push(piece);
    }

    fn join(mut self) -> Bytes {
        if self.pieces.len() <= 1 {
            return self.pieces.pop().unwrap_or_default();
        }
        let mut joined = BytesMut::with_capacity(self.len);
        for piece in &self.pieces {
            joined.extend_from_slice(piece);
        }
        joined.freeze()
    }
}
