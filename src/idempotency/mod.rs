//! `idempotency-key`: a request that is sent again runs once, is charged once, and
//! has the same answer.
//!
//! A key is the account's, under one path and class. While the first request of a
//! key runs, equal ones join it; once it has ended whole with a 2xx its answer is
//! kept, sealed, for [`LIFETIME`] and given to those that come later. One of
//! another body is a conflict all that time. A first that ends in any other way
//! leaves the key free.
//!
//! Invariants: at most one request of a key runs at a time, and none while its
//! answer is kept; an answer that a client received whole is found again, also
//! after `kill -9`, because it is in the store before its last byte is sent.

mod answer;
mod key;
mod run;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::base::clock::Timestamp;
use crate::base::id::RecordId;
use crate::store::StoreError;
use crate::store::idempotency::{Answers, Kept, Name};
use crate::telemetry::metrics::KeptAnswer;
use crate::vault::{Day, Owner, Vault};

pub use answer::{Answer, LARGEST};
pub use key::{HEADER, IdempotencyKey};
pub use run::{Lead, Progress, Run};

/// How long an answer is given again.
pub const LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
/// Parts of the table of what runs, each with a lock of its own.
const SHARDS: usize = 16;

type Shard = Mutex<HashMap<Name, Arc<Run>, ahash::RandomState>>;

/// The keys of a process.
pub struct Idempotency {
    secret: [u8; 32],
    running: [Shard; SHARDS],
    answers: Arc<dyn Answers>,
    vault: Arc<Vault>,
}

/// A request that carries a key.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The account.
    pub account: &'a str,
    /// The path of the endpoint.
    pub path: &'a str,
    /// The class's name.
    pub class: &'a str,
    /// The key.
    pub key: &'a IdempotencyKey,
    /// The keyed hash of all that makes two requests the same.
    pub body: [u8; 32],
    /// Its record's identifier.
    pub id: RecordId,
}

/// What becomes of a request that carries a key.
pub enum Claim {
    /// It is the first one: it runs.
    First(Lead),
    /// An equal one runs.
    Running(Arc<Run>),
    /// An equal one has run: this is its answer, and when it was made.
    Again(Box<Answer>, Timestamp),
    /// Another body came, or runs, under the key.
    Conflict,
}

impl Idempotency {
    /// The keys whose answers are in `answers`, sealed by `vault`; names are hashed
    /// with `secret`.
    pub fn new(secret: [u8; 32], answers: Arc<dyn Answers>, vault: Arc<Vault>) -> Arc<Self> {
        Arc::new(Self { secret, running: Default::default(), answers, vault })
    }

    /// Claims the key of a request that came at `now`. A first one that is dropped
    /// without its answer being kept leaves the key free.
    ///
    /// # Errors
    /// [`StoreError`] where nobody can tell whether the key was used.
    pub fn claim(self: &Arc<Self>, asked: &Asked<'_>, now: Timestamp) -> Result<Claim, StoreError> {
        let name = self.name(asked);
        loop {
            let kept = {
                let mut running = self.shard(&name).lock();
                if let Some(run) = running.get(&name) {
                    return Ok(match run.body == asked.body {
                        true => Claim::Running(run.clone()),
                        false => Claim::Conflict,
                    });
                }
                // Under the lock: an answer is kept before its run is struck off.
                let kept = self.answers.get(&name)?.filter(|kept| now < kept.expires);
                let Some(kept) = kept else {
                    let run = Arc::new(Run::begin(name, asked));
                    running.insert(name, run.clone());
                    return Ok(Claim::First(Lead::new(self.clone(), run)));
                };
                kept
            };
            let made = Timestamp(kept.expires.0.saturating_sub(micros(LIFETIME)));
            let owner = Owner::Account(asked.account);
            let opened = self.vault.open(owner, Day::of(made), &context(&name), &kept.sealed);
            if let Some(answer) = opened.and_then(Answer::decode) {
                return Ok(match kept.body == asked.body {
                    true => Claim::Again(Box::new(answer), made),
                    false => Claim::Conflict,
                });
            }
            // Its key was destroyed, or it is damaged.
            self.answers.remove(&name)?;
        }
    }

    /// Keeps the answer of `run`, made at `now`; it can be had, and outlives the
    /// process, once this returns. Only the first call for a run does anything:
    /// the others wait for it, and get `None`.
    pub async fn keep(
        self: &Arc<Self>,
        run: &Arc<Run>,
        answer: Answer,
        now: Timestamp,
    ) -> Option<KeptAnswer> {
        let mut keeping = None;
        run.kept
            .get_or_init(async || {
                keeping = Some(self.store(run, answer, now).await);
                self.end(run);
            })
            .await;
        keeping
    }

    async fn store(self: &Arc<Self>, run: &Arc<Run>, answer: Answer, now: Timestamp) -> KeptAnswer {
        if answer.body.len() > LARGEST {
            return KeptAnswer::TooLarge;
        }
        let (this, run) = (self.clone(), run.clone());
        let stored = tokio::task::spawn_blocking(move || {
            let (name, plain) = (&run.name, answer.encode());
            let owner = Owner::Account(&run.account);
            let sealed = this.vault.seal(owner, Day::of(now), &context(name), &plain).ok()?;
            let expires = Timestamp(now.0.saturating_add(micros(LIFETIME)));
            this.answers.put(name, &Kept { expires, body: run.body, sealed }).ok()
        });
        let made_room = stored.await.ok().flatten();
        made_room.map_or(KeptAnswer::Failed, |made_room| KeptAnswer::Kept { made_room })
    }

    /// Clears away what has expired at `now`; gives how many answers are left.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn sweep(&self, now: Timestamp) -> Result<usize, StoreError> {
        self.answers.sweep(now)
    }

    /// Strikes `run` off: the key is free, or its answer is kept.
    fn end(&self, run: &Arc<Run>) {
        let mut running = self.shard(&run.name).lock();
        if running.get(&run.name).is_some_and(|listed| Arc::ptr_eq(listed, run)) {
            running.remove(&run.name);
        }
        drop(running);
        run.is_over();
    }

    /// The name of a key: a keyed hash of all that it is a key of. Each part but
    /// the last has its length before it.
    fn name(&self, asked: &Asked<'_>) -> Name {
        let mut hasher = blake3::Hasher::new_keyed(&self.secret);
        for part in [asked.account, asked.path, asked.class] {
            hasher.update(&(part.len() as u64).to_be_bytes()).update(part.as_bytes());
        }
        *hasher.update(asked.key.as_bytes()).finalize().as_bytes()
    }

    /// Always present: the remainder is below the number of shards.
    fn shard(&self, name: &Name) -> &Shard {
        let [first, ..] = name;
        let [zeroth, ..] = &self.running;
        self.running.get(usize::from(*first) % SHARDS).unwrap_or(zeroth)
    }
}

/// What a sealed answer is, and where it stands.
fn context(name: &Name) -> Vec<u8> {
    [b"idempotency ", &name[..]].concat()
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
