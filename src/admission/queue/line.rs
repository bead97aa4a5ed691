//! The order of those who wait: a plain data structure, no threads in it.
//!
//! The waiters of one account and priority are a *flow*, first come, first
//! served. A flow stands in the ring of a level by its first waiter: 0 for a
//! dedicated plan, 1 for a preferred one, 2 for the others. The lowest level that
//! has a flow is served, its flows in turn: a flow that was served, or comes anew,
//! stands behind all others of its ring (round robin, which is deficit round robin
//! for calls that count one each).
//!
//! Ageing: for every `step` that its first waiter has waited a flow stands one
//! level lower in number, at the end of that ring.
//!
//! What follows, with `k` other flows in a ring when a flow comes to stand there:
//! - *Fairness.* The flow's first waiter has its slot after at most `k` grants to
//!   the ring, since whoever comes later stands behind it, and whoever was served
//!   too. Its `j`-th waiter, if nobody joins the ring, after at most `j × (k + 1)`.
//! - *No starvation.* A first waiter is in the ring 0 after `2 × step` at the
//!   latest, and no ring goes before that.
//!
//! Each operation costs O(log n) for n waiters; a waiter ages at most twice.
//! Memory follows the waiters.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::priority::Priority;

/// Ring of the level 0 for flows that may have reserved slots.
const DEDICATED: usize = 0;
/// Ring of the level 0 for flows that have aged.
const AGED: usize = 1;
/// Rings: the two of the level 0, which take turns with one another, and one each
/// for the levels 1 and 2.
const RINGS: usize = 4;

type Key = (Priority, Arc<str>);

/// Where a waiter stands, to be found again.
#[derive(Clone, Debug)]
pub(super) struct Place {
    key: Key,
    number: u64,
}

/// Those who wait; `T` is what is told to a waiter.
#[derive(Debug)]
pub(super) struct Line<T> {
    flows: HashMap<Key, Flow<T>, ahash::RandomState>,
    /// The flows of each ring by their turns.
    rings: [BTreeMap<u64, Key>; RINGS],
    /// When flows age, with the number of the waiter that does.
    ageing: BTreeMap<(Duration, u64), Key>,
    /// The flows of each priority by how many wait in them.
    sizes: [BTreeSet<(u32, Arc<str>)>; Priority::ALL.len()],
    /// The waiters of each priority.
    waiting: [u32; Priority::ALL.len()],
    arrivals: u64,
    turns: u64,
    step: Duration,
}

#[derive(Debug)]
struct Flow<T> {
    waiters: BTreeMap<u64, Waiter<T>>,
    ring: usize,
    turn: u64,
    /// Its entry in `ageing`, unless it is as high as it can be.
    ages: Option<(Duration, u64)>,
}

#[derive(Debug)]
struct Waiter<T> {
    since: Duration,
    told: T,
}

impl<T> Line<T> {
    /// Nobody; a flow moves up after each `step`, and never if that is zero.
    pub(super) fn new(step: Duration) -> Self {
        Self {
            flows: HashMap::default(),
            rings: Default::default(),
            ageing: BTreeMap::new(),
            sizes: Default::default(),
            waiting: Default::default(),
            arrivals: 0,
            turns: 0,
            step,
        }
    }

    /// Changes the step for flows from when they next move.
    pub(super) const fn set_step(&mut self, step: Duration) {
        self.step = step;
    }

    /// A new last waiter of the flow.
    pub(super) fn join(
        &mut self,
        priority: Priority,
        account: &Arc<str>,
        now: Duration,
        told: T,
    ) -> Place {
        self.age(now);
        let key = (priority, account.clone());
        let number = self.arrivals;
        self.arrivals += 1;
        let waiter = Waiter { since: now, told };
        let before = if let Some(flow) = self.flows.get_mut(&key) {
            let before = flow.waiters.len();
            flow.waiters.insert(number, waiter);
            before
        } else {
            self.stand(key.clone(), BTreeMap::from([(number, waiter)]), now);
            0
        };
        self.count(&key, before, before + 1);
        Place { key, number }
    }

    /// Takes out whoever is next; of those that may have reserved slots, if
    /// `reserved`.
    pub(super) fn next(&mut self, reserved: bool, now: Duration) -> Option<(Priority, T)> {
        self.age(now);
        let first = |ring: usize| self.rings.get(ring).and_then(BTreeMap::first_key_value);
        let (_, key) = if reserved {
            first(DEDICATED)?
        } else {
            let lowest = [first(DEDICATED), first(AGED)].into_iter().flatten();
            let lowest = lowest.min_by_key(|(turn, _)| **turn);
            lowest.or_else(|| (AGED + 1..RINGS).find_map(first))?
        };
        let key = key.clone();
        let mut flow = self.step_out(&key)?;
        let before = flow.waiters.len();
        let (_, waiter) = flow.waiters.pop_first()?;
        self.count(&key, before, before - 1);
        let priority = key.0;
        self.stand(key, flow.waiters, now);
        Some((priority, waiter.told))
    }

    /// Takes out a waiter that leaves; `None` if it is not there any more.
    pub(super) fn leave(&mut self, place: &Place, now: Duration) -> Option<T> {
        self.age(now);
        let flow = self.flows.get_mut(&place.key)?;
        let first =
            flow.waiters.first_key_value().is_some_and(|(number, _)| *number == place.number);
        let before = flow.waiters.len();
        let waiter = flow.waiters.remove(&place.number)?;
        self.count(&place.key, before, before - 1);
        if first {
            self.stand_again(&place.key, now);
        }
        Some(waiter.told)
    }

    /// Makes room for a newcomer where that is fairer than to refuse it: takes
    /// out the newest waiter of the account that has most waiters of the lowest
    /// priority, if the newcomer's priority is higher, or is the same and its
    /// account has, the newcomer counted, fewer waiters than that account.
    pub(super) fn make_room(
        &mut self,
        priority: Priority,
        account: &Arc<str>,
        now: Duration,
    ) -> Option<T> {
        let lowest = Priority::ALL.into_iter().rev().find(|of| self.sizes_of(*of).is_some())?;
        let (most, whose) = self.sizes_of(lowest)?.clone();
        let entitled = priority < lowest
            || (priority == lowest && self.waiting_of(priority, account) + 1 < most);
        let key = (lowest, whose);
        let number = *self.flows.get(&key)?.waiters.last_key_value()?.0;
        if entitled { self.leave(&Place { key, number }, now) } else { None }
    }

    /// How many go before a newcomer as things stand, at most: those of a higher
    /// priority, its account's own, and of the others of its priority so many as
    /// have turns meanwhile. What has aged into a higher priority is not counted.
    pub(super) fn ahead(&self, priority: Priority, account: &Arc<str>) -> u32 {
        let waiting = |of: Priority| self.waiting.get(of as usize).copied().unwrap_or(0);
        let higher: u32 = Priority::ALL.into_iter().filter(|of| *of < priority).map(waiting).sum();
        let own = self.waiting_of(priority, account);
        let flows = self.sizes.get(priority as usize).map_or(0, BTreeSet::len);
        let others = u32::try_from(flows).unwrap_or(u32::MAX) - u32::from(own > 0);
        let in_turn = others.saturating_mul(own.saturating_add(1));
        higher + own + in_turn.min(waiting(priority) - own)
    }

    /// The flow of `priority` with most waiters.
    fn sizes_of(&self, priority: Priority) -> Option<&(u32, Arc<str>)> {
        self.sizes.get(priority as usize).and_then(BTreeSet::last)
    }

    fn waiting_of(&self, priority: Priority, account: &Arc<str>) -> u32 {
        let flow = self.flows.get(&(priority, account.clone()));
        flow.map_or(0, |flow| u32::try_from(flow.waiters.len()).unwrap_or(u32::MAX))
    }

    /// Moves up what has waited long enough, whoever was due first first.
    fn age(&mut self, now: Duration) {
        while let Some(((due, _), key)) = self.ageing.first_key_value()
            && *due <= now
        {
            let (due, key) = (*due, key.clone());
            if let Some(flow) = self.step_out(&key) {
                // As of that moment, whenever it is noticed.
                self.stand(key, flow.waiters, due);
            }
        }
    }

    /// Takes a flow out of its ring.
    fn step_out(&mut self, key: &Key) -> Option<Flow<T>> {
        let flow = self.flows.remove(key)?;
        if let Some(ring) = self.rings.get_mut(flow.ring) {
            ring.remove(&flow.turn);
        }
        if let Some(ages) = flow.ages {
            self.ageing.remove(&ages);
        }
        Some(flow)
    }

    /// Puts a flow at the end of the ring where its first waiter belongs.
    fn stand(&mut self, key: Key, waiters: BTreeMap<u64, Waiter<T>>, now: Duration) {
        let Some((ring, ages)) = self.where_to(key.0, &waiters, now) else { return };
        let turn = self.turns;
        self.turns += 1;
        self.put(key, Flow { waiters, ring, turn, ages });
    }

    /// Puts a flow that has lost its first waiter where the next one belongs; it
    /// keeps its turn if that is the same ring.
    fn stand_again(&mut self, key: &Key, now: Duration) {
        let Some(flow) = self.step_out(key) else { return };
        match self.where_to(key.0, &flow.waiters, now) {
            Some((ring, ages)) if ring == flow.ring => self.put(key.clone(), Flow { ages, ..flow }),
            _ => self.stand(key.clone(), flow.waiters, now),
        }
    }

    fn put(&mut self, key: Key, flow: Flow<T>) {
        if let Some(ring) = self.rings.get_mut(flow.ring) {
            ring.insert(flow.turn, key.clone());
        }
        if let Some(ages) = flow.ages {
            self.ageing.insert(ages, key.clone());
        }
        self.flows.insert(key, flow);
    }

    /// The ring of a flow, and when it moves on; `None` if nobody waits in it.
    fn where_to(
        &self,
        priority: Priority,
        waiters: &BTreeMap<u64, Waiter<T>>,
        now: Duration,
    ) -> Option<(usize, Option<(Duration, u64)>)> {
        let (number, first) = waiters.first_key_value()?;
        let own = match priority {
            Priority::Dedicated => return Some((DEDICATED, None)),
            Priority::Preferred => 1,
            Priority::Standard => 2,
        };
        let waited = now.saturating_sub(first.since);
        let climbed = waited.as_micros().checked_div(self.step.as_micros()).unwrap_or(0);
        let climbed = u32::try_from(climbed).unwrap_or(own).min(own);
        let next = first.since.saturating_add(self.step.saturating_mul(climbed + 1));
        let ages = (climbed < own && !self.step.is_zero()).then_some((next, *number));
        Some((AGED + usize::try_from(own - climbed).unwrap_or(0), ages))
    }

    /// Notes that a flow has `after` waiters and no longer `before`.
    fn count(&mut self, (priority, account): &Key, before: usize, after: usize) {
        let size = |waiters: usize| u32::try_from(waiters).unwrap_or(u32::MAX);
        let (before, after) = (size(before), size(after));
        if let Some(sizes) = self.sizes.get_mut(*priority as usize) {
            sizes.remove(&(before, account.clone()));
            if after > 0 {
                sizes.insert((after, account.clone()));
            }
        }
        if let Some(waiting) = self.waiting.get_mut(*priority as usize) {
            *waiting = *waiting + after - before;
        }
    }
}

#[cfg(test)]
mod tests;
