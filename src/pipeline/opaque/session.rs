//! What a WebSocket has used so far, and what ends it besides its two sides.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::base::clock::Clock;
use crate::exchange::Client;
use crate::ledger::record::{Outcome, Tokens};
use crate::opaque::frames::Fault;
use crate::opaque::said::Wrong;
use crate::pipeline::opaque::Passage;
use crate::pipeline::opaque::heard::Heard;

/// How often it is looked whether the session may go on: far more often than each
/// second, in which one whose key is revoked has to end.
const LOOK: Duration = Duration::from_millis(200);
/// How often a record is written.
const PART: Duration = Duration::from_secs(60);
/// How long a session that is to end waits for the end of a frame.
const END_OF_FRAME: Duration = Duration::from_millis(400);
/// How long before the process quits sessions that are in the middle of an answer
/// are ended.
const BEFORE_QUITTING: Duration = Duration::from_secs(1);

/// Why a session is ended here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The key is revoked or over, or the account suspended or gone.
    Revoked,
    /// Both sides were silent for too long.
    Idle,
    /// The process ends.
    Stopping,
    /// It cannot be recorded any more.
    Unrecorded,
    /// What a side sent is no WebSocket.
    Malformed,
    /// A message is larger than allowed.
    TooLarge,
    /// A message of the client's names what is not its account's.
    Foreign,
    /// A text of the client's begins like JSON and is none.
    NotJson,
    /// Whose what a message names is cannot be looked up.
    Unknown,
}

impl Verdict {
    pub(super) const fn of(fault: Fault) -> Self {
        match fault {
            Fault::Malformed => Self::Malformed,
            Fault::TooLarge => Self::TooLarge,
        }
    }

    /// What a client is told that said something `wrong`.
    pub(super) const fn of_said(wrong: &Wrong) -> Self {
        match wrong {
            Wrong::TooLarge => Self::TooLarge,
            Wrong::NotJson => Self::NotJson,
            Wrong::Refused(refusal) if refusal.status.as_u16() < 500 => Self::Foreign,
            Wrong::Refused(_) => Self::Unknown,
        }
    }

    /// The close code (RFC 6455 §7.4.1, and 1013 of its registry) and the reason that
    /// both sides are told.
    pub(super) const fn said(self) -> (u16, &'static str) {
        match self {
            Self::Revoked => (1008, "The API key is not valid any more."),
            Self::Idle => (1001, "The session was idle for too long."),
            Self::Stopping => (1001, "The server is going away. Connect again."),
            Self::Unrecorded => (1013, "The session cannot be recorded at the moment."),
            Self::Malformed => (1002, "What was sent is no WebSocket frame."),
            Self::TooLarge => (1009, "A message is too large."),
            Self::Foreign => (1008, "A message names something that does not exist."),
            Self::NotJson => (1007, "A text is not JSON."),
            Self::Unknown => (1013, "What a message names cannot be looked up at the moment."),
        }
    }
}

/// What a session has used since its last record.
#[derive(Default)]
pub(super) struct Passed {
    /// Bytes from the client.
    pub(super) up: u64,
    /// Bytes to the client.
    pub(super) down: u64,
    pub(super) tokens: Tokens,
}

/// The state of a session that both ways and the watch share. All of them are one
/// task, so its lock is never waited for.
pub(super) struct Session {
    passed: Passed,
    heard: Heard,
    clock: Arc<dyn Clock>,
    verdict: Option<Verdict>,
    /// When something passed last, and when the last record was written, on the
    /// monotonic clock.
    last: Duration,
    recorded: Duration,
}

impl Session {
    /// A session that begins now.
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        let now = clock.monotonic();
        Self {
            passed: Passed::default(),
            heard: Heard::default(),
            clock,
            verdict: None,
            last: now,
            recorded: now,
        }
    }

    pub(super) fn passed_up(&mut self, bytes: usize) {
        self.passed.up += bytes as u64;
        self.last = self.clock.monotonic();
    }

    pub(super) fn passed_down(&mut self, bytes: usize) {
        self.passed.down += bytes as u64;
        self.last = self.clock.monotonic();
    }

    /// Who hears the provider's events.
    pub(super) const fn heard(&mut self) -> &mut Heard {
        &mut self.heard
    }

    /// What was used since this was asked last.
    pub(super) fn take(&mut self) -> Passed {
        let tokens = std::mem::take(&mut self.heard.tokens);
        Passed { tokens, ..std::mem::take(&mut self.passed) }
    }

    /// Ends it; the first reason stays.
    pub(super) fn end(&mut self, verdict: Verdict) {
        self.verdict.get_or_insert(verdict);
    }

    pub(super) const fn verdict(&self) -> Option<Verdict> {
        self.verdict
    }

    /// Whether a record is due at `now`.
    fn is_due(&mut self, now: Duration) -> bool {
        let due = now.saturating_sub(self.recorded) >= PART;
        if due {
            self.recorded = now;
        }
        due
    }

    /// Whether nothing passed for `idle` at `now`.
    fn is_idle(&self, now: Duration, idle: Duration) -> bool {
        now.saturating_sub(self.last) >= idle
    }
}

impl<C: Client> Passage<'_, C> {
    /// Writes a record each minute, and looks whether the session may go on; returns
    /// once it may not.
    pub(super) async fn watch(&mut self, session: &Mutex<Session>) -> Outcome {
        loop {
            tokio::time::sleep(LOOK).await;
            let now = self.app.clock.monotonic();
            let verdict = self.judge(&session.lock(), now);
            if let Some(verdict) = verdict {
                session.lock().end(verdict);
                // The way to the client ends it between two frames, if it gets there.
                tokio::time::sleep(END_OF_FRAME).await;
                return Outcome::Ok;
            }
            if session.lock().is_due(now) {
                let passed = session.lock().take();
                self.tab.received(passed.up);
                self.tab.sent(usize::try_from(passed.down).unwrap_or(usize::MAX));
                let status = http::StatusCode::SWITCHING_PROTOCOLS.as_u16();
                if self.tab.part(status, passed.tokens).await.is_err() {
                    session.lock().end(Verdict::Unrecorded);
                    return Outcome::InternalError;
                }
            }
        }
    }

    /// Why the session may not go on at `now`, if it may not.
    fn judge(&self, session: &Session, now: Duration) -> Option<Verdict> {
        let config = self.app.config();
        if !self.app.keyring.still_serves(self.caller, self.app.clock.wall()) {
            return Some(Verdict::Revoked);
        }
        if session.is_idle(now, config.opaque.socket_idle) {
            return Some(Verdict::Idle);
        }
        let stopping = now.saturating_sub(self.app.stopping_since()?);
        let over = stopping + BEFORE_QUITTING >= config.shutdown_grace;
        (over || !session.heard.busy).then_some(Verdict::Stopping)
    }
}
