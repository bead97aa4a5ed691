//! The keeping of a new answer.

use std::time::Duration;

use http::header::AGE;
use http::{HeaderMap, HeaderValue};

use crate::app::App;
use crate::cache::Epoch;
use crate::cache::entry::{Answer, Entry};
use crate::cache::key::Key;
use crate::ledger::record::{Attempt, Tokens};
use crate::respond;

/// Under what an answer is kept, and how long.
pub(in crate::pipeline) struct Keeping {
    pub(in crate::pipeline) key: Key,
    pub(super) lifetime: Duration,
    pub(super) stale_for: Duration,
    pub(super) shared: bool,
    pub(super) epoch: Epoch,
}

impl Keeping {
    /// Keeps the answer to the call that `frame` tells of, and what it used.
    pub(in crate::pipeline) fn keep(
        self,
        app: &App,
        frame: &Attempt,
        provider: &HeaderMap,
        answer: Answer,
        (tokens, estimated): (Tokens, bool),
    ) {
        let made = app.clock.monotonic();
        let entry = Entry {
            account: frame.account.clone(),
            shared: self.shared,
            class: frame.endpoint.clone(),
            model: frame.model_used.clone(),
            provider: frame.provider.clone(),
            headers: copied(&respond::returned(provider)),
            answer,
            tokens,
            estimated,
            aged: Duration::ZERO,
            made,
            expires: made.saturating_add(self.lifetime),
            stale_for: self.stale_for,
        };
        app.cache.insert(self.key, entry, self.epoch);
    }
}

/// `headers` with memory of their own: as they came, each keeps the buffer that
/// the whole head was read into.
fn copied(headers: &HeaderMap) -> HeaderMap {
    let mut copy = HeaderMap::with_capacity(headers.len() + 16);
    for (name, value) in headers.iter().filter(|(name, _)| **name != AGE) {
        if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
            copy.append(name.clone(), value);
        }
    }
    copy
}
