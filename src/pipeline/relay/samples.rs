//! One call for several requests that want samples of one prompt.
//!
//! Invariants: what the call used and cost is borne by those that it was made for,
//! to the last unit, however each of them ends; whoever has begun it makes it, though
//! its own client leaves; whoever it has nothing for asks once more, for itself.

mod table;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::exchange::{Client, Ending};
use crate::ledger::record::{Outcome, Tokens};
use crate::pipeline::bounds;
use crate::pipeline::recall::Sampled;
use crate::pipeline::relay::Relay;
use crate::pipeline::relay::course::Course;
use crate::pipeline::relay::pilot::{Flown, Flying};
use crate::pipeline::relay::upstream_headers;
use crate::refusal::{Code, Refusal};
use crate::share::window::{Alone, Coming, Fellow, Turn};
use crate::share::{self, End, Pilot};
use crate::telemetry::metrics::labels::Scope;

use table::{Deal, Given, Seat, Table};

impl<C: Client> Relay<'_, C> {
    /// Waits for others that want the same, and hands the client its own answer of
    /// the call for all. `plain` is the answer without what Tollgate asks for itself.
    pub(in crate::pipeline) async fn sample(
        &mut self,
        sampled: Sampled,
        plain: bool,
        query: Option<&str>,
    ) -> Result<Ending, Refusal> {
        let (app, snapshot, request) = (self.app, self.snapshot, self.request);
        let Sampled { key, window, most } = sampled;
        let (pilot, passenger) = share::alone(plain, false);
        let now = app.clock.monotonic();
        let (coming, until) = (Coming { pilot, plain, now }, now + window);
        let count = || app.metrics.enter(Scope::Window);
        let (place, mut held) = app.windows.come(key, until, most, coming, count);
        let (endpoint, route) = (self.bill.endpoint, self.bill.route.clone());
        let headers = upstream_headers(&self.client.head().headers, self.exchange.class.as_deref());
        let calls = self.bill.calls();
        let flying = move |pilot: Pilot| Flying {
            app,
            snapshot,
            request,
            endpoint,
            route,
            headers,
            query,
            calls,
            course: Course::new(snapshot, endpoint, request),
            keeping: None,
            first_target: true,
            pilot,
            waited: app.clock.monotonic().saturating_sub(now),
        };
        let fly = pin!(async move {
            match held.turn(&*app.clock).await {
                Turn::Lead(pilot, fellows) => flying(pilot).sample(plain, fellows).await,
                Turn::Alone(pilot, alone) => flying(pilot).go_alone(alone).await,
                Turn::Left(pilot) => flying(pilot).give_up(),
                Turn::Over(end) => Flown { share: end.landing().cost, end: *end },
                // Its flight has ended with the same.
                Turn::Lost => {
                    let mut flying = flying(share::alone(plain, false).0);
                    let landing = flying.landing(Outcome::InternalError, Tokens::default(), false);
                    let message = "An internal error occurred.";
                    flying.end_without(Refusal::new(Code::InternalError, message), landing)
                }
            }
        });
        self.ride(fly, passenger, |_| !place.leave()).await
    }
}

impl Flying<'_> {
    fn deadline(&self) -> Instant {
        Instant::now() + self.snapshot.config.routing.timeout
    }

    /// Makes a call for the request and those of `fellows`, and gives each its part.
    async fn sample(&mut self, plain: bool, fellows: Vec<Fellow>) -> Flown {
        if fellows.is_empty() {
            return self.fly(self.deadline()).await;
        }
        let deals = self.ask_for_all(plain, &fellows).await;
        let mut deals = deals.into_iter();
        let own = deals.next();
        for (mut fellow, deal) in fellows.into_iter().zip(deals) {
            match deal {
                Deal::Last(last, landing) => {
                    let landing = Arc::new(landing);
                    fellow.pilot.land(last.clone(), last, Arc::clone(&landing));
                    fellow.over(End::Landed(landing));
                }
                Deal::Refused(refusal, landing) => {
                    let landing = Arc::new(landing);
                    fellow.pilot.refuse(refusal.clone(), Arc::clone(&landing));
                    fellow.over(End::Refused(Box::new(refusal), landing));
                }
                Deal::Alone(alone) => fellow.go_alone(alone),
            }
        }
        match own {
            Some(Deal::Last(last, landing)) => {
                self.calls.aim(&landing.provider, landing.prices);
                self.land(last.clone(), last, landing)
            }
            Some(Deal::Refused(refusal, landing)) => {
                self.calls.aim(&landing.provider, landing.prices);
                self.end_without(refusal, landing)
            }
            Some(Deal::Alone(alone)) => self.go_alone(alone).await,
            None => self.give_up(),
        }
    }

    /// Asks for the request alone, which a shared call had nothing for.
    async fn go_alone(&mut self, alone: Alone) -> Flown {
        self.calls.spend(alone.spent);
        if self.pilot.is_abandoned() {
            return self.give_up();
        }
        self.app.metrics.retried();
        let deadline = alone.deadline.unwrap_or_else(|| self.deadline());
        self.fly_after(&alone.past, deadline).await
    }

    /// Makes the call: the parts of the request and its fellows, in order. It is
    /// given up when all of them have left.
    async fn ask_for_all(&mut self, plain: bool, fellows: &[Fellow]) -> Vec<Deal> {
        let count = fellows.len() + 1;
        let request = self.request.sampling(count as u64);
        let samples = u32::try_from(count).unwrap_or(u32::MAX);
        let (pilot, passenger) = share::alone(false, false);
        let mut flying = Flying {
            app: self.app,
            snapshot: self.snapshot,
            request: &request,
            endpoint: self.endpoint,
            route: self.route.clone(),
            headers: self.headers.clone(),
            query: self.query,
            calls: self.calls.expecting(bounds::assumed(self.endpoint, &request)),
            course: self.course.anew().making(samples),
            keeping: None,
            first_target: true,
            pilot,
            waited: Duration::ZERO,
        };
        let own = Seat { pilot: &self.pilot, plain, since: None, before: self.waited };
        let others = fellows.iter().map(|fellow| Seat {
            pilot: &fellow.pilot,
            plain: fellow.plain,
            since: Some(fellow.since),
            before: Duration::ZERO,
        });
        let mut table = Table::new(self.app, std::iter::once(own).chain(others).collect());
        let deadline = self.deadline();
        let (mut end, mut given) = (None, None);
        {
            let left = table.left();
            let mut fly = pin!(flying.fly(deadline));
            let mut left = pin!(left);
            // Dropped, it lets the call be given up.
            let mut reading = Some(Box::pin(table.read(passenger)));
            while end.is_none() || reading.is_some() {
                tokio::select! {
                    biased;
                    flown = &mut fly, if end.is_none() => end = Some(flown.end),
                    read = async { reading.as_mut()?.await }, if reading.is_some() => {
                        (given, reading) = (read, None);
                    }
                    () = &mut left, if reading.is_some() => reading = None,
                }
            }
        }
        let Some(end) = end else { return Vec::new() };
        let landing = end.landing();
        let prompt = Tokens { output: 0, reasoning: 0, ..landing.tokens };
        let prompt = flying.calls.cost(&prompt);
        // What failed where no other target makes so many is asked for one by one.
        let further = || flying.course.past(self.app, &flying.route, count);
        let given = given.unwrap_or(Given::Nothing);
        let deals = table.deal(given, &end, prompt, deadline, further);
        self.waited += flying.waited;
        deals
    }
}
