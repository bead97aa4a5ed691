//! Telling others of events: signed POSTs as in the Standard Webhooks
//! specification, from an outbox that survives the process.
//!
//! An event is in the outbox, and that on the disk's side of the process, before
//! it is sent the first time; it stays there until every address has taken it or
//! it is given up. So an address may get an event twice, with the same id, and
//! never gets none for a crash's sake. A notice that is raised on the way of a
//! request is put down in memory and kept by a task of the control plane; what a
//! crash takes in between is found again at the next start, because the limits
//! that are used up still are and no mark says that they were announced.

mod deliver;
mod dispatch;
mod event;
mod lane;
mod sign;
mod view;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::base::clock::Clock;
use crate::base::id::{RecordId, RecordIds};
use crate::config::{Config, QUOTA_WARNING, Webhook};
use crate::notice::{Notice, Notices};
use crate::store::outbox::{EmbeddedOutbox, Entry, Once, Outbox, Recipient, Waiting};
use crate::store::{Store, StoreError};
use crate::telemetry::metrics::Metrics;

use deliver::Courier;
use lane::Lane;

pub use event::Event;
pub use view::{Last, Standing};

/// Most events that are kept, those that tell of money apart; the oldest go first.
const MOST: usize = 10_000;
/// Most notices that wait to be kept. What comes then is found again among the
/// limits that are used up.
const MOST_RAISED: usize = 1024;

/// Everybody who is told of events, and the events that they wait for.
pub struct Webhooks {
    outbox: Arc<dyn Outbox>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    ids: RecordIds,
    courier: Courier,
    state: Mutex<State>,
    /// Something may have become due.
    changed: Notify,
    raised: Mutex<VecDeque<Notice>>,
    /// There are notices to be kept.
    heard: Notify,
    /// Limits may be used up of which nobody was told.
    missed: AtomicBool,
    /// The month in which marks were forgotten last.
    forgot: Mutex<String>,
}

#[derive(Default)]
struct State {
    endpoints: Vec<Endpoint>,
    /// Every event that somebody waits for, but those that tell of money.
    events: BTreeSet<RecordId>,
    /// Those that do: none of them is thrown away to make room.
    of_money: BTreeSet<RecordId>,
}

/// One address.
struct Endpoint {
    recipient: Recipient,
    webhook: Arc<Webhook>,
    lane: Lane,
    /// Whether something is being delivered there.
    busy: bool,
    last: Option<Last>,
}

impl Webhooks {
    /// Those of `config`, and what `store` still holds for them. Blocks.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn of(
        store: &Store,
        config: &Config,
        clock: &Arc<dyn Clock>,
        metrics: &Arc<Metrics>,
    ) -> Result<Arc<Self>, StoreError> {
        let outbox = Arc::new(EmbeddedOutbox::open(store)?);
        Self::open(outbox, clock.clone(), metrics.clone(), &config.webhooks)
    }

    /// Those of `webhooks`, and what `outbox` still holds for them. Blocks.
    ///
    /// # Errors
    /// [`StoreError`].
    fn open(
        outbox: Arc<dyn Outbox>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        webhooks: &[Arc<Webhook>],
    ) -> Result<Arc<Self>, StoreError> {
        let opened = Self {
            outbox,
            clock,
            metrics,
            ids: RecordIds::default(),
            courier: Courier::default(),
            state: Mutex::default(),
            changed: Notify::new(),
            raised: Mutex::default(),
            heard: Notify::new(),
            missed: AtomicBool::new(false),
            forgot: Mutex::default(),
        };
        opened.configure(webhooks);
        let mut waiting = Vec::new();
        opened.outbox.waiting(&mut |one| waiting.push(one))?;
        opened.release(waiting);
        Ok(Arc::new(opened))
    }

    /// Puts other addresses in force. What waits for one that is gone is
    /// forgotten. Blocks.
    pub fn configure(&self, webhooks: &[Arc<Webhook>]) {
        if !webhooks.is_empty() {
            self.courier.prepare();
        }
        let mut state = self.state.lock();
        let mut before = std::mem::take(&mut state.endpoints);
        for webhook in webhooks {
            let recipient = recipient(webhook);
            let held = before.iter().position(|endpoint| endpoint.recipient == recipient);
            state.endpoints.push(match held {
                Some(place) => Endpoint { webhook: webhook.clone(), ..before.swap_remove(place) },
                None => Endpoint {
                    recipient,
                    webhook: webhook.clone(),
                    lane: Lane::default(),
                    busy: false,
                    last: None,
                },
            });
        }
        for gone in before {
            for id in gone.lane.ids() {
                self.finish(&mut state, id, gone.recipient);
            }
        }
        drop(state);
        self.missed.store(true, Ordering::Release);
        self.heard.notify_one();
        self.changed.notify_one();
    }

    /// An event that happens now.
    pub fn event(&self, kind: &'static str, data: Value) -> Event {
        let time = self.clock.wall();
        Event { kind, id: self.ids.next(time), time, data }
    }

    /// Keeps `event` for everybody who is to be told of it, and has it sent; once
    /// this is back, it outlives the process. How many are told: none if nobody
    /// wants it, or if what it announces was announced already. Blocks.
    ///
    /// # Errors
    /// [`StoreError`]; it may be kept all the same and be sent after the next
    /// start.
    pub fn post(&self, event: &Event, once: Option<&Once>) -> Result<usize, StoreError> {
        let waiting = self.keep(event, once)?;
        if waiting.is_empty() {
            return Ok(0);
        }
        self.outbox.flush()?;
        let told = waiting.len();
        self.release(waiting);
        Ok(told)
    }

    /// Tells every address of a test, whatever it wants to be told of. Gives the
    /// event's id and how many are told. Blocks.
    ///
    /// # Errors
    /// As [`Webhooks::post`].
    pub fn test(&self) -> Result<(String, usize), StoreError> {
        let event = self.event(event::TEST, json!({ "message": "This is a test." }));
        Ok((event::public_id(event.id), self.post(&event, None)?))
    }

    /// Keeps the notices that were raised and not kept yet. Blocks.
    pub fn keep_raised(&self) {
        let next = || self.raised.lock().pop_front();
        self.keep_notices(std::iter::from_fn(next));
    }

    /// Keeps notices of what is used up now and was not announced, if there may
    /// be any. Blocks.
    fn keep_missed(&self, used_up: &impl Fn() -> Vec<Notice>) {
        if !self.missed.swap(false, Ordering::AcqRel) || self.state.lock().endpoints.is_empty() {
            return;
        }
        self.keep_notices(used_up());
    }

    /// Forgets, once a month, what was announced before the two months that came
    /// before this one: of those somebody may still have something to say. `period`
    /// is what is announced now; what was kept back for long forgets nothing, or
    /// what comes after it might be announced twice.
    fn forget_marks(&self, period: &str) {
        let month: String = self.clock.wall().to_string().chars().take("2026-11".len()).collect();
        let mut forgot = self.forgot.lock();
        if period != month || *forgot == month {
            return;
        }
        let earliest = month_before(&month).and_then(|before| month_before(&before));
        match earliest.map_or(Ok(()), |earliest| self.outbox.forget_marks(&earliest)) {
            Ok(()) => *forgot = month,
            Err(error) => tracing::error!(%error, "what was announced long ago is not forgotten"),
        }
    }

    fn keep_notices(&self, notices: impl IntoIterator<Item = Notice>) {
        let mut kept = Vec::new();
        for notice in notices {
            let event = self.event(QUOTA_WARNING, event::notice_data(&notice));
            match self.keep(&event, Some(&event::notice_once(&notice))) {
                Ok(waiting) => kept.extend(waiting),
                Err(error) => {
                    tracing::error!(%error, "a notice is kept later");
                    self.missed.store(true, Ordering::Release);
                }
            }
        }
        if kept.is_empty() {
            return;
        }
        if let Err(error) = self.outbox.flush() {
            tracing::error!(%error, "notices are sent without being on the disk");
        }
        self.release(kept);
    }

    /// Keeps `event`, which is not sent before [`Webhooks::release`]. Gives those
    /// who wait for it then.
    fn keep(&self, event: &Event, once: Option<&Once>) -> Result<Vec<Waiting>, StoreError> {
        let wanted =
            |endpoint: &&Endpoint| event.kind == event::TEST || endpoint.webhook.wants(event.kind);
        let recipients: Vec<Recipient> = {
            let state = self.state.lock();
            state.endpoints.iter().filter(wanted).map(|endpoint| endpoint.recipient).collect()
        };
        if recipients.is_empty() {
            return Ok(Vec::new());
        }
        let entry = Entry {
            id: event.id,
            micros: event.time.0,
            kind: event.kind.to_owned(),
            data: event.data.to_string(),
            recipients,
        };
        let added = self.outbox.add(&entry, once)?;
        if let Some(once) = once {
            self.forget_marks(&once.period);
        }
        let (id, of_money) = (entry.id, entry.is_of_money());
        let waiting = entry.recipients.into_iter();
        let waiting = waiting.map(|recipient| Waiting { id, recipient, of_money });
        Ok(waiting.filter(|_| added).collect())
    }

    /// Has events of the outbox sent to those who wait for them.
    fn release(&self, waiting: Vec<Waiting>) {
        let mut state = self.state.lock();
        for Waiting { id, recipient, of_money } in waiting {
            if of_money { &mut state.of_money } else { &mut state.events }.insert(id);
            match state.endpoint(recipient) {
                Some(endpoint) => endpoint.lane.add(id, id.time()),
                None => self.finish(&mut state, id, recipient),
            }
        }
        self.make_room(&mut state);
        self.show_pending(&state);
        drop(state);
        self.changed.notify_one();
    }

    /// Throws the oldest events away where there are too many, and none that tells
    /// of money.
    fn make_room(&self, state: &mut State) {
        while state.events.len() > MOST
            && let Some(oldest) = state.events.pop_first()
        {
            for endpoint in &mut state.endpoints {
                endpoint.lane.remove(oldest);
            }
            self.metrics.webhooks().dropped();
            tracing::error!(event = event::public_id(oldest), "too many events wait: one is lost");
            if let Err(error) = self.outbox.remove(oldest) {
                tracing::error!(%error, "an event cannot be forgotten");
            }
        }
    }

    /// Notes that `recipient`, whose lane does not hold the event any more, is
    /// done with it.
    fn finish(&self, state: &mut State, id: RecordId, recipient: Recipient) {
        if let Err(error) = self.outbox.done(id, recipient) {
            tracing::error!(%error, "an event will be sent again after the next start");
        }
        if !state.endpoints.iter().any(|endpoint| endpoint.lane.holds(id)) {
            state.events.remove(&id);
            state.of_money.remove(&id);
        }
        self.show_pending(state);
    }

    fn show_pending(&self, state: &State) {
        self.metrics.webhooks().pending(state.events.len() + state.of_money.len());
    }
}

impl State {
    fn endpoint(&mut self, recipient: Recipient) -> Option<&mut Endpoint> {
        self.endpoints.iter_mut().find(|endpoint| endpoint.recipient == recipient)
    }
}

impl Notices for Webhooks {
    fn raise(&self, notice: Notice) {
        let mut raised = self.raised.lock();
        if raised.len() < MOST_RAISED {
            raised.push_back(notice);
        } else {
            self.missed.store(true, Ordering::Release);
        }
        drop(raised);
        self.heard.notify_one();
    }
}

/// An address as the outbox names it: 16 bytes of its BLAKE3 hash.
fn recipient(webhook: &Webhook) -> Recipient {
    let hash = blake3::hash(webhook.url.expose().as_bytes());
    let mut short = [0; 16];
    short.iter_mut().zip(hash.as_bytes()).for_each(|(to, from)| *to = *from);
    Recipient(short)
}

/// The month before `month`, both such as `2026-11`.
fn month_before(month: &str) -> Option<String> {
    let (year, number) = month.split_once('-')?;
    let (year, number): (u32, u32) = (year.parse().ok()?, number.parse().ok()?);
    let (year, number) = if number > 1 { (year, number - 1) } else { (year.checked_sub(1)?, 12) };
    Some(format!("{year:04}-{number:02}"))
}

#[cfg(test)]
mod tests;
