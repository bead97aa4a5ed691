//! What a realtime provider says of its responses, event by event.
//!
//! Most events are sound, and are large. So only the start of each is looked at,
//! and only the few that end a response are read whole.

use crate::ledger::record::Tokens;
use crate::meter::usage;
use crate::opaque::frames::Listener;

use serde_json::value::RawValue;

/// How much of an event is looked at for what it is, in bytes.
const START: usize = 256;
/// Largest event that is read, in bytes.
const LARGEST: usize = 256 * 1024;

/// Hears a provider's events.
#[derive(Default)]
pub(super) struct Heard {
    /// What is kept of the event that is being sent.
    event: Vec<u8>,
    state: State,
    /// Whether a response is being made.
    pub(super) busy: bool,
    /// What the responses used whose end was heard.
    pub(super) tokens: Tokens,
}

#[derive(Default)]
enum State {
    /// What the event is, is not known yet.
    #[default]
    Start,
    /// It is read.
    Read,
    /// It is not.
    Skip,
}

#[derive(serde::Deserialize)]
struct Event<'e> {
    #[serde(rename = "type")]
    kind: &'e str,
    #[serde(borrow)]
    response: &'e RawValue,
}

impl Heard {
    fn decide(&mut self) {
        let has = |name: &[u8]| memchr::memmem::find(&self.event, name).is_some();
        let (begun, done) = (has(b"\"response.created\""), has(b"\"response.done\""));
        self.busy |= begun;
        self.state = if done { State::Read } else { State::Skip };
    }

    fn read(&mut self) {
        let Ok(Event { kind: "response.done", response }) = serde_json::from_slice(&self.event)
        else {
            return;
        };
        self.busy = false;
        let Some(used) = usage::body_usage(response.get().as_bytes()) else { return };
        self.tokens += used;
    }
}

impl Listener for Heard {
    fn piece(&mut self, payload: &[u8]) {
        let most = match self.state {
            State::Start => START,
            State::Read => LARGEST,
            State::Skip => return,
        };
        let room = most.saturating_sub(self.event.len());
        let (taken, rest) = payload.split_at(room.min(payload.len()));
        self.event.extend_from_slice(taken);
        match self.state {
            State::Start if self.event.len() >= START => {
                self.decide();
                self.piece(rest);
            }
            State::Read if !rest.is_empty() => {
                // Too large to be read; the response is over all the same.
                (self.state, self.busy) = (State::Skip, false);
            }
            _ => {}
        }
    }

    fn end(&mut self, _text: bool) {
        if matches!(self.state, State::Start) {
            self.decide();
        }
        if matches!(self.state, State::Read) {
            self.read();
        }
        (self.event, self.state) = (Vec::new(), State::Start);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(heard: &mut Heard, event: &str, piece: usize) {
        event.as_bytes().chunks(piece).for_each(|piece| heard.piece(piece));
        heard.end(true);
    }

    fn done(padding: usize) -> String {
        format!(
            r#"{{"type":"response.done","response":{{"id":"resp_1","output":["{}"],"usage":
            {{"total_tokens":30,"input_tokens":20,"output_tokens":10,
            "input_token_details":{{"cached_tokens":5}}}}}}}}"#,
            "x".repeat(padding)
        )
    }

    #[test]
    fn the_ends_of_responses_tell_what_they_used() {
        for (padding, piece) in [(0, 1_000), (0, 7), (5_000, 100), (5_000, 10_000), (300, 256)] {
            let mut heard = Heard::default();
            say(&mut heard, r#"{"type":"response.created","response":{}}"#, piece);
            assert!(heard.busy);
            let sound = "A".repeat(100_000);
            say(
                &mut heard,
                &format!(r#"{{"type":"response.output_audio.delta","delta":"{sound}"}}"#),
                piece,
            );
            assert!(heard.event.is_empty());
            for _ in 0..2 {
                say(&mut heard, &done(padding), piece);
            }
            assert!(!heard.busy);
            let Tokens { input, cached_input, output, .. } = heard.tokens;
            assert_eq!((input, cached_input, output), (40, 10, 20), "{padding} {piece}");
        }
    }

    #[test]
    fn an_event_that_only_repeats_the_words_is_none() {
        let mut heard = Heard::default();
        say(&mut heard, r#"{"type":"x","text":"\"response.done\"","response":{}}"#, 1_000);
        say(&mut heard, r#"{"type":"x","text":["response.done"],"response":{"usage":{}}}"#, 1_000);
        say(&mut heard, "response.done", 3);
        assert_eq!(heard.tokens, Tokens::default());
    }

    #[test]
    fn what_is_too_large_is_not_kept() {
        let mut heard = Heard { busy: true, ..Heard::default() };
        for piece in done(LARGEST * 2).as_bytes().chunks(1_000) {
            heard.piece(piece);
            assert!(heard.event.len() <= LARGEST);
        }
        heard.end(true);
        assert_eq!((heard.tokens, heard.busy), (Tokens::default(), false));
    }
}
