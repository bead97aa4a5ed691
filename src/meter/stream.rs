//! The tokens of a streamed answer, event by event.
//!
//! Each event is walked once, string by string, without parsing it. Only an
//! event that carries usage, an error or the end of a response is parsed. The
//! text of the deltas is kept, 64 KiB of it at most and about a thirtieth of
//! the stream, so that it can be counted if the provider reports no usage;
//! beyond that the bytes are counted and the tokens scaled.
//!
//! Sources: OpenAI API reference, "Chat completions: streaming events" and
//! "Responses: streaming events"; Anthropic API reference, "Streaming messages".

use bytes::Bytes;

use crate::base::sse;
use crate::ledger::record::Tokens;
use crate::meter::message::MessageUsage;
use crate::meter::text::{Text, is_end};
use crate::meter::usage::Envelope;

/// What one event is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// It carries usage and no choice: it exists because
    /// `stream_options.include_usage` was asked, and is not for a client that
    /// did not ask.
    pub is_usage_only: bool,
    /// It is the last event of a whole stream: `[DONE]`, `response.completed`,
    /// `response.failed`, `response.incomplete` or `message_stop`.
    pub is_terminal: bool,
    /// It carries the provider's error.
    pub is_error: bool,
}

/// What a stream used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamUsage {
    /// What the provider reported last, if it did.
    pub tokens: Option<Tokens>,
    /// Whether a part of `tokens` was counted here, as the provider had not
    /// reported all when the stream ended.
    pub counted: bool,
    /// Answer tokens: the reported ones, or else the text's, counted.
    pub output: u64,
    /// Whether the stream came to its end (see [`Observed::is_terminal`]).
    pub complete: bool,
    /// Whether the provider sent an error in it.
    pub failed: bool,
}

impl StreamUsage {
    /// The tokens to settle, and whether they are estimated. `input` counts the
    /// prompt; it is called only if the provider reported nothing.
    pub fn settle(&self, input: impl FnOnce() -> u64) -> (Tokens, bool) {
        match self.tokens {
            Some(tokens) => (tokens, self.counted),
            None => (Tokens { input: input(), output: self.output, ..Tokens::default() }, true),
        }
    }
}

/// Meters one stream.
#[derive(Debug, Default)]
pub struct StreamMeter {
    reported: Option<Tokens>,
    /// What a message has reported so far.
    message: MessageUsage,
    /// Whether that is what it said at its beginning alone.
    begun: bool,
    text: Text,
    complete: bool,
    failed: bool,
}

impl StreamMeter {
    /// A meter at the start of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes note of one whole event, as [`sse::Splitter`] gives it.
    pub fn observe(&mut self, event: &Bytes) -> Observed {
        let Some(data) = sse::data(event) else { return Observed::default() };
        if data.trim_ascii() == b"[DONE]" {
            self.complete = true;
            return Observed { is_terminal: true, ..Observed::default() };
        }
        if !self.text.collect(&data).notable {
            return Observed::default();
        }
        let envelope = Envelope::read(&data);
        let kind = envelope.kind();
        let observed = Observed {
            is_usage_only: envelope.is_usage_only(),
            is_terminal: is_end(kind.as_bytes()),
            is_error: envelope.has_error() || matches!(kind, "error" | "response.failed"),
        };
        if let Some(usage) = envelope.message_usage() {
            self.message.update(usage);
            self.begun = kind == "message_start";
            self.reported = self.message.tokens();
        } else {
            self.reported = envelope.tokens().or(self.reported);
        }
        self.complete |= observed.is_terminal;
        self.failed |= observed.is_error;
        observed
    }

    /// The end of the stream, whether it is whole or not. Counts the text if no
    /// usage was reported: some 10 µs for a usual answer.
    pub fn finish(self) -> StreamUsage {
        let (complete, failed) = (self.complete, self.failed);
        let output = match self.reported {
            // At its beginning a message reports the prompt, and of the answer a
            // token or so.
            Some(tokens) if self.begun => tokens.output.max(self.text.tokens()),
            Some(tokens) => tokens.output,
            None => self.text.tokens(),
        };
        let tokens = self.reported.map(|tokens| Tokens { output, ..tokens });
        StreamUsage { tokens, counted: self.begun, output, complete, failed }
    }
}

#[cfg(test)]
mod tests;
