//! What a client says in a WebSocket, message by message.
//!
//! Messages pass while they come; one that names what it must not is known at its
//! end, which is then not passed on.

use crate::opaque::Tenant;
use crate::opaque::frames::Listener;
use crate::opaque::skim::Skim;
use crate::refusal::Refusal;

/// Why a message may not be passed on.
#[derive(Debug)]
pub enum Wrong {
    /// It names what is not its account's, or that cannot be looked up.
    Refused(Refusal),
    /// More than [`LARGEST_JSON`](crate::opaque::LARGEST_JSON) of it could name things.
    TooLarge,
}

/// Hears a client's messages.
pub struct Said<'t> {
    tenant: Tenant<'t>,
    skim: Skim,
    state: State,
    wrong: Option<Wrong>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing of the message has told what it is.
    Start,
    /// It is JSON.
    Read,
    /// It is not: sound, say.
    Unread,
}

impl<'t> Said<'t> {
    /// Hears what `tenant` says.
    pub fn by(tenant: Tenant<'t>) -> Self {
        Self { tenant, skim: Skim::default(), state: State::Start, wrong: None }
    }

    /// What was wrong with a message since this was asked last.
    pub fn wrong(&mut self) -> Option<Wrong> {
        self.wrong.take()
    }
}

impl Listener for Said<'_> {
    fn piece(&mut self, payload: &[u8]) {
        // Some servers take UTF-16 as well: without its zeros, and its mark, it is
        // what it is in ASCII, as all identifiers are.
        for part in payload.split(|byte| *byte == 0) {
            if self.state == State::Unread {
                return;
            }
            if self.state == State::Start {
                let blank = |byte: &u8| byte.is_ascii_whitespace() || *byte >= 0x80;
                self.state = match part.iter().find(|byte| !blank(byte)) {
                    None => continue,
                    Some(b'{' | b'[') => State::Read,
                    Some(_) => State::Unread,
                };
            }
            if self.state == State::Read && self.skim.take(part).is_err() {
                self.wrong.get_or_insert(Wrong::TooLarge);
                self.state = State::Unread;
            }
        }
    }

    fn end(&mut self) {
        let read = self.state == State::Read;
        let checked = self.skim.end(|json| match read {
            true => self.tenant.check_event(json),
            false => Ok(()),
        });
        if let Err(refusal) = checked {
            self.wrong.get_or_insert(Wrong::Refused(refusal));
        }
        self.state = State::Start;
    }
}
