//! The way of one request among the targets of its model: who is asked, with which
//! key, whom its failure leads to, and what each attempt says of who was asked.
//!
//! Invariants: a target whose key was limited or refused is never asked again by a
//! retry before its rest is over; a retry is made only within the time, the number
//! and the budget that there are; the last target is never refused by its breaker.

mod leg;

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;

use crate::app::{App, Reach, Snapshot};
use crate::config::{Prefer, Target};
use crate::intake::endpoint::Endpoint;
use crate::intake::request::Request;
use crate::ledger::record::Tokens;
use crate::meter::price;
use crate::pipeline::relay::attempt::Called;
use crate::pipeline::relay::reach::Callee;
use crate::route::breaker::Trial;
use crate::route::catalog::Route;
use crate::route::choice::{self, Candidate};
use crate::route::health::{Health, Slot, Standing};
use crate::share::window::Past;
use crate::upstream::Failure;

use leg::{Leg, back_off};

/// The attempts of one request.
pub(super) struct Course<'a> {
    snapshot: &'a Snapshot,
    /// How many attempts may follow the first.
    retries: u32,
    /// Whether a target may be called more than once.
    repeats: bool,
    /// Whether only the first key of a provider will do.
    pinned: bool,
    /// How many samples a target must make in a call.
    samples: u32,
    /// Where there are several targets.
    wide: Option<Box<Wide>>,
    /// The places of targets that are never asked.
    left_out: Vec<usize>,
    /// Attempts so far.
    made: u32,
    /// The target of the first.
    first: usize,
    leg: Option<Leg<'a>>,
    /// The account's own provider that the route leads to; `None` if it is gone.
    pub(super) own: Option<Arc<Reach>>,
    /// Whether there is no time or no budget for a further attempt.
    over: bool,
}

/// What there is to know of several targets.
struct Wide {
    prefer: Prefer,
    /// Their groups, by place.
    groups: Vec<usize>,
    /// Their places, in the order in which they are to be asked.
    order: Vec<usize>,
    /// How often each was called, by place.
    calls: Vec<u32>,
}

/// What is known of a target.
struct Known<'a> {
    slot: Slot,
    reach: Option<Callee<'a>>,
    standing: Standing,
}

impl<'a> Course<'a> {
    /// The course of a request that has not begun. What a provider keeps can be found
    /// again with the key that it was made with alone.
    pub(super) fn new(snapshot: &'a Snapshot, endpoint: Endpoint, request: &Request) -> Self {
        let kept = request.stateful || request.store == Some(true);
        Self::with(snapshot, kept || endpoint == Endpoint::Responses)
    }

    fn with(snapshot: &'a Snapshot, pinned: bool) -> Self {
        Self {
            snapshot,
            retries: snapshot.config.routing.retries,
            repeats: true,
            pinned,
            samples: 1,
            wide: None,
            left_out: Vec::new(),
            made: 0,
            first: 0,
            leg: None,
            own: None,
            over: false,
        }
    }

    /// Never calls a target twice.
    pub(super) fn once_each(mut self) -> Self {
        self.repeats = false;
        self
    }

    /// Asks none that does not make so many samples in a call.
    pub(super) const fn making(mut self, samples: u32) -> Self {
        self.samples = samples;
        self
    }

    /// Whether `target` makes as many samples in a call as are wanted.
    pub(super) fn makes(&self, target: &Target) -> bool {
        target.provider.n_max >= self.samples
    }

    /// Never calls the targets at `places`; there are others.
    pub(super) fn leave_out(&mut self, places: Vec<usize>) {
        self.left_out = places;
    }

    /// The same, for another call of the same request.
    pub(super) fn anew(&self) -> Self {
        Self { repeats: self.repeats, ..Self::with(self.snapshot, self.pinned) }
    }

    /// Chooses the first target after the attempts of `past`; `assumed` is what the
    /// request is expected to use.
    pub(super) fn begin(&mut self, app: &App, route: &Route, assumed: &Tokens, past: &Past) {
        let now = app.clock.monotonic();
        if route.width() > 1 {
            let mut wide = self.sort(route, assumed, now);
            for (calls, before) in wide.calls.iter_mut().zip(&past.calls) {
                *calls = *before;
            }
            self.wide = Some(Box::new(wide));
        }
        self.made = past.made;
        self.leg = self.select(route, true, now);
        if let Some(leg) = &self.leg {
            let called = past.calls.iter().position(|calls| *calls > 0);
            self.first = called.unwrap_or(leg.place);
            if let Some(reach) = &leg.reach {
                reach.health.budget.request(now);
            }
        }
    }

    /// The present attempt.
    pub(super) const fn leg(&self) -> Option<&Leg<'a>> {
        self.leg.as_ref()
    }

    /// The call of the present attempt goes out.
    pub(super) fn called(&mut self, app: &App) {
        if let Some(leg) = &mut self.leg {
            leg.began = app.clock.monotonic();
        }
    }

    /// Whether the present attempt is at a target of the most preferred group.
    pub(super) fn is_preferred(&self) -> bool {
        match (&self.wide, &self.leg) {
            (Some(wide), Some(leg)) => wide.groups.get(leg.place) == Some(&0),
            _ => true,
        }
    }

    /// Why the present target, where it is not simply the first; else empty.
    pub(super) fn choice(&self) -> &'static str {
        let (Some(wide), Some(leg)) = (&self.wide, &self.leg) else { return "" };
        if self.made > 1 && leg.place != self.first {
            return "failover";
        }
        if wide.order.first() != Some(&leg.place) {
            return "health";
        }
        let group = |place: usize| wide.groups.get(place);
        let equals = wide.order.iter().filter(|place| group(**place) == group(leg.place)).count();
        match wide.prefer {
            _ if equals < 2 => "",
            Prefer::Order | Prefer::Weight => "weight",
            Prefer::Latency => "latency",
            Prefer::Cost => "cost",
        }
    }

    /// The attempts so far, for the courses of the `callers` that they were made for,
    /// where each may go on alone: at a target that makes too few for all. The retries
    /// that it takes are taken from the budget.
    pub(super) fn past(&self, app: &App, route: &Route, callers: usize) -> Option<Past> {
        let now = app.clock.monotonic();
        let narrower = |target: &Target| {
            !self.makes(target) && self.health(route, target, now).standing == Standing::Usable
        };
        let mut targets = (0..route.width()).filter_map(|place| route.target(place));
        if self.over || self.made > self.retries || !targets.any(narrower) {
            return None;
        }
        let share = self.snapshot.config.routing.retry_budget;
        let failed = self.leg.as_ref().and_then(|leg| leg.reach.as_ref());
        let paid =
            |reach: &Callee<'_>| (0..callers).all(|_| reach.health.budget.withdraw(share, now));
        if !failed.is_none_or(paid) {
            app.metrics.health().retry_withheld();
            return None;
        }
        let calls = self.wide.as_ref().map_or_else(Vec::new, |wide| wide.calls.clone());
        Some(Past { made: self.made, calls })
    }

    /// Chooses whom to ask after the present attempt has failed; false if nobody is
    /// to be asked any more.
    pub(super) fn go_on(&mut self, app: &App, route: &Route, deadline: Instant) -> bool {
        let now = app.clock.monotonic();
        let Some(failed) = &self.leg else { return false };
        let (place, key, rests) = (failed.place, failed.key, failed.rests);
        let reach = failed.reach.clone();
        let Some(reach) = reach.filter(|_| self.made <= self.retries) else { return false };
        let Some(mut leg) = self.select(route, false, now) else { return false };
        if rests && leg.place == place && leg.key != key {
            // It was the key's trouble, and this is another.
            leg.wait = Duration::ZERO;
        }
        self.over = Instant::now() + leg.wait >= deadline;
        if self.over {
            return false;
        }
        if !reach.health.budget.withdraw(self.snapshot.config.routing.retry_budget, now) {
            self.over = true;
            app.metrics.health().retry_withheld();
            return false;
        }
        app.metrics.retried();
        self.leg = Some(leg);
        true
    }

    /// How long to wait before the present attempt.
    pub(super) fn wait(&self) -> Duration {
        self.leg.as_ref().map_or(Duration::ZERO, |leg| leg.wait)
    }

    /// Learns from what the present attempt came to.
    pub(super) fn learn(&mut self, app: &App, called: &Called) {
        let Some(leg) = &mut self.leg else { return };
        let Some(reach) = leg.reach.clone() else { return };
        let (now, health) = (app.clock.monotonic(), &reach.health);
        let took = now.saturating_sub(leg.began);
        let failed = match called {
            Called::Gone | Called::Refused(_) => {
                leg.trial = None;
                return;
            }
            Called::Failed(failure) => {
                if *failure == Failure::TimedOut {
                    health.took(leg.slot, took, now);
                }
                true
            }
            Called::Reply(reply) => {
                leg.rests = leg.heed(app, &reach, reply, now);
                let failed = reply.status.is_server_error();
                if !(leg.rests || failed) {
                    health.took(leg.slot, took, now);
                    // A call that went out before its key was limited says nothing of that.
                    if leg.rested {
                        health.accepted(leg.key, leg.slot, now);
                    }
                }
                failed
            }
        };
        self.tell(app, failed, now);
        // It is decided: an answer that goes on for long must not keep others from the
        // next trial.
        if let Some(leg) = &mut self.leg {
            leg.trial = None;
        }
    }

    /// The answer to the present attempt broke off or stalled.
    pub(super) fn broke_off(&self, app: &App) {
        self.tell(app, true, app.clock.monotonic());
    }

    fn tell(&self, app: &App, failed: bool, now: Duration) {
        let Some(leg) = &self.leg else { return };
        let (Some(reach), Some(entry)) = (&leg.reach, leg.entry) else { return };
        let rule = &self.snapshot.config.routing.breaker;
        let change = reach.health.breaker.note(entry, failed, rule, now);
        reach.show(&app.metrics, change);
    }

    fn sort(&self, route: &Route, assumed: &Tokens, now: Duration) -> Wide {
        let prefer = route.prefer(self.snapshot.config.routing.prefer);
        let groups = route.groups(prefer);
        let candidates: Vec<Candidate> = groups
            .iter()
            .enumerate()
            .filter_map(|(place, group)| {
                let target = route.target(place)?;
                let health = self.seller(target).map(|reach| &reach.health);
                let slot = Slot::of(route.model_at(target));
                Some(Candidate {
                    group: *group,
                    weight: target.weight.unwrap_or(1),
                    load: health.map_or(0, |health| health.load(slot, now)),
                    cost: route.cost(target).map(|prices| price::cost(assumed, &prices)),
                })
            })
            .collect();
        let order = choice::order(&candidates, prefer, &mut rand::rng());
        Wide { prefer, calls: vec![0; groups.len()], groups, order }
    }

    fn seller(&self, target: &Target) -> Option<&'a Reach> {
        self.snapshot.providers.get(&target.provider.name).map(|reach| &**reach)
    }

    /// How `target` of `route` is reached: never by the seller's keys where it is the
    /// account's own.
    fn reach(&self, route: &Route, target: &Target) -> Option<Callee<'a>> {
        match route.own {
            None => self.seller(target).map(Callee::Seller),
            Some(_) => self.own.clone().map(Callee::Own),
        }
    }

    /// What is known of `target`.
    fn health(&self, route: &Route, target: &Target, now: Duration) -> Known<'a> {
        let slot = Slot::of(route.model_at(target));
        let reach = self.reach(route, target);
        let health = reach.as_ref().map(|reach| &*reach.health);
        let standing = health.map_or(Standing::Usable, |it| it.standing(slot, self.pinned, now));
        Known { slot, reach, standing }
    }

    /// Who is asked next: of those that can be called, who was asked least, then who
    /// is preferred; else one whose breaker is open that was not asked yet; at first
    /// also one that rests, so that somebody is asked.
    fn select(&mut self, route: &Route, first: bool, now: Duration) -> Option<Leg<'a>> {
        if route.own.is_some() && self.own.is_none() {
            return None;
        }
        let alone = [(self.made, 0)];
        let mut several = Vec::new();
        let order = match &self.wide {
            None => &alone[..],
            Some(wide) => {
                let calls = |place: &usize| wide.calls.get(*place).copied().unwrap_or(0);
                several.extend(wide.order.iter().map(|place| (calls(place), *place)));
                several.sort_by_key(|(calls, _)| *calls);
                &several[..]
            }
        };
        let (mut open, mut resting, mut narrower) = (None, None, false);
        for &(calls, place) in order.iter().filter(|(calls, _)| self.repeats || *calls == 0) {
            let Some(target) = route.target(place) else { continue };
            if self.left_out.contains(&place) {
                continue;
            }
            let Known { slot, reach, standing } = self.health(route, target, now);
            if !self.makes(target) {
                narrower |= standing == Standing::Usable;
                if narrower && !first {
                    // Its turn: those that the call is for ask it one by one.
                    return None;
                }
                continue;
            }
            let trial = match standing {
                Standing::Usable => None,
                Standing::HalfOpen => {
                    let seller = reach.as_ref().and_then(Callee::seller);
                    seller.and_then(|reach| reach.health.breaker.trial(now))
                }
                Standing::Open | Standing::Resting => None,
            };
            if standing == Standing::Usable || trial.is_some() {
                return Some(self.depart((target, reach), place, calls, trial, (slot, now)));
            }
            match standing {
                Standing::Resting if first => resting = resting.or(Some((place, calls))),
                Standing::Open | Standing::HalfOpen if calls == 0 => {
                    open = open.or(Some((place, calls)));
                }
                _ => {}
            }
        }
        // Rather one by one at one that is well than together at one that is not.
        let (place, calls) = open.or(resting).filter(|_| !narrower)?;
        let target = route.target(place)?;
        let slot = Slot::of(route.model_at(target));
        let reach = self.reach(route, target);
        Some(self.depart((target, reach), place, calls, None, (slot, now)))
    }

    /// An attempt at the target at `place`.
    fn depart(
        &mut self,
        (target, reach): (&Target, Option<Callee<'a>>),
        place: usize,
        turn: u32,
        trial: Option<Trial<'a>>,
        (slot, now): (Slot, Duration),
    ) -> Leg<'a> {
        self.made += 1;
        if let Some(calls) = self.wide.as_mut().and_then(|wide| wide.calls.get_mut(place)) {
            *calls += 1;
        }
        // A breaker has no say where there is one target: an account's own has none.
        let seller = reach.as_ref().and_then(Callee::seller);
        let health: Option<&'a Health> = seller.map(|reach| &*reach.health);
        let key = match health {
            Some(health) if !self.pinned => health.key(slot, now),
            _ => 0,
        };
        Leg {
            target: target.clone(),
            reach,
            key,
            rested: health.is_some_and(|health| health.is_resting(key, slot, now)),
            turn,
            place,
            slot,
            entry: health.map(|health| health.breaker.enter(now)),
            rests: false,
            wait: back_off(turn),
            began: now,
            trial,
            _running: health.map(Health::begin),
        }
    }
}

/// Whether another attempt may do better than an answer with `status`.
pub(super) fn is_worth_another(status: StatusCode) -> bool {
    // Cloudflare's 520 to 524 and Anthropic's 529 are as a 503; what 501 and 505 say
    // will not change.
    matches!(status.as_u16(), 401 | 403 | 429 | 500 | 502..=504 | 520..=524 | 529)
}
