//! What a client says in a WebSocket, message by message.
//!
//! Messages pass while they come; one that names what it must not is known at its
//! end, which is then not passed on.

use crate::opaque::Tenant;
use crate::opaque::frames::Listener;
use crate::opaque::list::is_json;
use crate::opaque::skim::Skim;
use crate::refusal::Refusal;

/// Why a message may not be passed on.
#[derive(Debug)]
pub enum Wrong {
    /// It names what is not its account's, or that cannot be looked up.
    Refused(Refusal),
    /// More than [`LARGEST_JSON`](crate::opaque::LARGEST_JSON) of it could name things.
    TooLarge,
    /// It is a text that begins like JSON and is none: names could hide in it.
    NotJson,
}

/// Hears a client's messages.
pub struct Said<'t> {
    tenant: Tenant<'t>,
    skim: Skim,
    state: State,
    /// Whether the message has zeros in it.
    zeros: bool,
    wrong: Option<Wrong>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing of the message has told what it is.
    Start,
    /// It begins like JSON.
    Read,
    /// It does not: it is sound, say.
    Unread,
}

impl<'t> Said<'t> {
    /// Hears what `tenant` says.
    pub fn by(tenant: Tenant<'t>) -> Self {
        Self { tenant, skim: Skim::default(), state: State::Start, zeros: false, wrong: None }
    }

    /// What was wrong with a message since this was asked last.
    pub fn wrong(&mut self) -> Option<Wrong> {
        self.wrong.take()
    }
}

impl Listener for Said<'_> {
    fn piece(&mut self, payload: &[u8]) {
        // Some servers take UTF-16 in bytes: without its zeros, and its mark, it is
        // what it is in ASCII, as all identifiers are.
        self.zeros |= payload.contains(&0);
        for part in payload.split(|byte| *byte == 0) {
            if self.state == State::Unread {
                return;
            }
            if self.state == State::Start {
                let blank = |byte: &u8| byte.is_ascii_whitespace() || *byte >= 0x80;
                self.state = match part.iter().find(|byte| !blank(byte)) {
                    None => continue,
                    // Some servers take JSON behind a comment.
                    Some(b'{' | b'[' | b'/') => State::Read,
                    Some(_) => State::Unread,
                };
            }
            if self.state == State::Read && self.skim.take(part).is_err() {
                self.wrong.get_or_insert(Wrong::TooLarge);
                self.state = State::Unread;
            }
        }
    }

    fn end(&mut self, text: bool) {
        let (state, zeros) = (self.state, self.zeros);
        let checked = self.skim.end(|json| match state {
            State::Start | State::Unread => Ok(()),
            State::Read if text && (zeros || !is_json(json)) => Err(Wrong::NotJson),
            State::Read => self.tenant.check_event(json).map_err(Wrong::Refused),
        });
        if let Err(wrong) = checked {
            self.wrong.get_or_insert(wrong);
        }
        (self.state, self.zeros) = (State::Start, false);
    }
}
