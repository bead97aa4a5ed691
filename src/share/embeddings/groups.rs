//! Which requests wait behind a running call of their kind, and who makes the
//! next call for them.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::deal::Deal;
use super::split::Kind;

/// Inputs of one call. Source: OpenAI API reference, "Create embeddings": an array
/// has at most 2,048 inputs.
pub const MOST_INPUTS: usize = 2_048;
/// Bytes of the inputs of one call. The same page allows 300,000 tokens; a token of
/// text is seldom under two bytes, one of an array never.
pub const MOST_BYTES: usize = 512 * 1024;
/// Longest that a request is held, so that a call that hangs does not take with it
/// all that come after it.
pub const LONGEST_HOLD: Duration = Duration::from_secs(10);

/// What requests of a kind have in common: the hash of all but their inputs, and
/// what these are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GroupKey {
    /// The hash, of which the account is a part.
    pub rest: [u8; 32],
    /// Texts or tokens.
    pub texts: bool,
}

impl GroupKey {
    /// The kind of requests whose parameters hash to `rest`.
    pub fn new(rest: [u8; 32], kind: Kind) -> Self {
        Self { rest, texts: kind == Kind::Text }
    }
}

/// The groups of every kind; clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Groups(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    groups: Mutex<HashMap<GroupKey, Group, ahash::RandomState>>,
    /// The number that the next fellow has: no two have the same.
    next: AtomicU64,
}

/// The requests of one kind.
#[derive(Debug, Default)]
struct Group {
    /// Calls that run.
    running: usize,
    /// What has gathered behind them, in order.
    gathered: Vec<Fellow>,
    inputs: usize,
    bytes: usize,
}

/// One request that has gathered.
#[derive(Debug)]
pub struct Fellow {
    number: u64,
    /// Its inputs.
    pub parts: Vec<Bytes>,
    /// Is over once its client has left.
    here: oneshot::Receiver<Infallible>,
    tell: oneshot::Sender<Turn>,
}

/// What a request that was held is told.
#[derive(Debug)]
pub enum Turn {
    /// To make the call, for these too.
    Lead(Running, Vec<Fellow>),
    /// What it gets of a call that another made.
    Dealt(Box<Deal>),
    /// The one who made the call is gone.
    Lost,
}

/// Where a request stands.
#[derive(Debug)]
pub enum Place {
    /// It makes its call at once.
    First(Running),
    /// It is held behind a call.
    Held(Held),
}

/// A call that runs. Dropping it says that it has ended.
#[derive(Debug)]
#[must_use = "dropped, it lets the next call begin"]
pub struct Running {
    groups: Groups,
    key: GroupKey,
}

/// A request that is held. Dropping it leaves the group.
#[derive(Debug)]
#[must_use = "dropped, it leaves the group"]
pub struct Held {
    groups: Groups,
    key: GroupKey,
    number: u64,
    until: Instant,
    here: Option<oneshot::Sender<Infallible>>,
    turn: oneshot::Receiver<Turn>,
}

impl Groups {
    /// Joins the requests of its kind: `parts` are its inputs. It is held if a
    /// call runs, unless it fills one by itself. What has gathered and has no room
    /// for it goes at once.
    pub fn join(&self, key: GroupKey, parts: Vec<Bytes>) -> Place {
        let bytes = parts.iter().map(Bytes::len).sum();
        let mut full = None;
        let place = {
            let mut groups = self.0.groups.lock();
            let group = groups.entry(key).or_default();
            if group.running == 0 || bytes > MOST_BYTES {
                group.running += 1;
                Place::First(self.running(key))
            } else {
                if !group.has_room(parts.len(), bytes) {
                    full = Some((self.running(key), group.depart()));
                }
                Place::Held(group.hold(self, key, parts, bytes))
            }
        };
        if let Some((running, fellows)) = full {
            running.appoint(fellows);
        }
        place
    }

    /// Counts a call that a request makes for itself alone.
    pub fn alone(&self, key: GroupKey) -> Running {
        self.0.groups.lock().entry(key).or_default().running += 1;
        self.running(key)
    }

    /// Kinds of which a call runs.
    pub fn kinds(&self) -> usize {
        self.0.groups.lock().len()
    }

    /// Requests that are held.
    pub fn held(&self) -> usize {
        self.0.groups.lock().values().map(|group| group.gathered.len()).sum()
    }

    fn running(&self, key: GroupKey) -> Running {
        Running { groups: self.clone(), key }
    }
}

impl Group {
    fn has_room(&self, inputs: usize, bytes: usize) -> bool {
        self.gathered.is_empty()
            || (self.inputs + inputs <= MOST_INPUTS && self.bytes + bytes <= MOST_BYTES)
    }

    fn hold(&mut self, groups: &Groups, key: GroupKey, parts: Vec<Bytes>, bytes: usize) -> Held {
        let number = groups.0.next.fetch_add(1, Ordering::Relaxed);
        self.inputs += parts.len();
        self.bytes += bytes;
        let (here, is_here) = oneshot::channel();
        let (tell, turn) = oneshot::channel();
        self.gathered.push(Fellow { number, parts, here: is_here, tell });
        let until = Instant::now() + LONGEST_HOLD;
        Held { groups: groups.clone(), key, number, until, here: Some(here), turn }
    }

    /// Takes what has gathered, for a call that counts from now on.
    fn depart(&mut self) -> Vec<Fellow> {
        self.running += 1;
        (self.inputs, self.bytes) = (0, 0);
        std::mem::take(&mut self.gathered)
    }

    /// Takes the fellow of this number out, if it is there still.
    fn take(&mut self, number: u64) -> Option<Fellow> {
        let place = self.gathered.iter().position(|fellow| fellow.number == number)?;
        let fellow = self.gathered.remove(place);
        self.inputs -= fellow.parts.len();
        self.bytes -= fellow.parts.iter().map(Bytes::len).sum::<usize>();
        Some(fellow)
    }
}

impl Running {
    /// Has the first of `fellows` that is there make the call for all.
    pub fn appoint(self, fellows: Vec<Fellow>) {
        let mut turn = (self, fellows);
        loop {
            let (running, mut fellows) = turn;
            if fellows.is_empty() {
                return;
            }
            let first = fellows.remove(0);
            match first.tell.send(Turn::Lead(running, fellows)) {
                Err(Turn::Lead(running, fellows)) => turn = (running, fellows),
                _ => return,
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let fellows = {
            let mut groups = self.groups.0.groups.lock();
            let Some(group) = groups.get_mut(&self.key) else { return };
            group.running -= 1;
            if group.running > 0 {
                return;
            }
            if group.gathered.is_empty() {
                groups.remove(&self.key);
                return;
            }
            group.depart()
        };
        self.groups.running(self.key).appoint(fellows);
    }
}

impl Fellow {
    /// Whether its client has left.
    pub fn has_left(&mut self) -> bool {
        self.here.try_recv() == Err(oneshot::error::TryRecvError::Closed)
    }

    /// Resolves when its client has left; to be awaited once.
    pub async fn left(&mut self) {
        let _over = (&mut self.here).await;
    }

    /// Gives it its part of the call.
    pub fn deal(self, deal: Deal) {
        // One that is not there any more needs nothing.
        let _gone = self.tell.send(Turn::Dealt(Box::new(deal)));
    }
}

impl Held {
    /// Waits for the turn.
    pub async fn turn(&mut self) -> Turn {
        if self.until > Instant::now() {
            match tokio::time::timeout_at(self.until, &mut self.turn).await {
                Ok(turn) => return turn.unwrap_or(Turn::Lost),
                Err(_) => self.go(),
            }
        }
        (&mut self.turn).await.unwrap_or(Turn::Lost)
    }

    /// Leaves: true if it was held still, false if a call is made for it.
    pub fn leave(&mut self) -> bool {
        self.here = None;
        let mut groups = self.groups.0.groups.lock();
        groups.get_mut(&self.key).and_then(|group| group.take(self.number)).is_some()
    }

    /// Has what it gathered with make its call now.
    fn go(&self) {
        let fellows = {
            let mut groups = self.groups.0.groups.lock();
            let Some(group) = groups.get_mut(&self.key) else { return };
            if !group.gathered.iter().any(|fellow| fellow.number == self.number) {
                return;
            }
            group.depart()
        };
        self.groups.running(self.key).appoint(fellows);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.leave() {
            return;
        }
        self.turn.close();
        if let Ok(Turn::Lead(running, fellows)) = self.turn.try_recv() {
            running.appoint(fellows);
        }
    }
}

#[cfg(test)]
mod tests;
