//! Renewing an answer that was given past its time: a call whose reader is the
//! cache, and whoever asks for the same and wants it fresh.
//!
//! It never takes anything from a customer: it has a slot only where one is free and
//! nobody waits, fails over only as far as that slot goes, and its record charges
//! nothing.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, StatusCode, request};
use tokio::time::Instant;

use crate::admission::queue::CallSlot;
use crate::app::{App, Snapshot};
use crate::auth::keyring::Identity;
use crate::base::money::Money;
use crate::cache::renewals::Renewal;
use crate::config::Class;
use crate::exchange::Exchange;
use crate::intake::endpoint::Endpoint;
use crate::intake::request::Request;
use crate::ledger::record::Outcome;
use crate::meter::quote::Quote;
use crate::pipeline::bill::{Bill, Order};
use crate::pipeline::reading;
use crate::pipeline::recall::Keeping;
use crate::pipeline::relay::course::Course;
use crate::pipeline::relay::pilot::Flying;
use crate::pipeline::relay::upstream_headers;
use crate::route::catalog::Route;
use crate::share::{Boarding, End, FlightKey, Passenger, Pilot};

/// A request that is answered with what is to be renewed.
pub(in crate::pipeline) struct Renewed<'r> {
    pub(in crate::pipeline) app: &'r Arc<App>,
    pub(in crate::pipeline) snapshot: &'r Arc<Snapshot>,
    pub(in crate::pipeline) caller: &'r Arc<Identity>,
    pub(in crate::pipeline) exchange: &'r Exchange,
    pub(in crate::pipeline) request: &'r Request,
    pub(in crate::pipeline) head: &'r request::Parts,
}

/// What a renewal needs when the request is gone.
struct Work {
    app: Arc<App>,
    snapshot: Arc<Snapshot>,
    caller: Arc<Identity>,
    class: Arc<Class>,
    endpoint: Endpoint,
    route: Route,
    request: Request,
    headers: HeaderMap,
    query: Option<String>,
    keeping: Keeping,
}

/// Begins to renew the answer that `of`, whose bill is `bill`, is given, unless that
/// is being done already, or no call can go out at once.
pub(in crate::pipeline) fn renew(of: &Renewed<'_>, bill: &Bill<'_>, keeping: Keeping) {
    let Renewed { app, request, .. } = *of;
    let Some(class) = of.exchange.class.clone() else { return };
    let key = keeping.key;
    let Some(once) = app.cache.renew(key) else { return };
    let Some(slot) = app.calls.spare() else { return };
    let now = app.clock.monotonic();
    let renewed = || app.cache.get(&key, now).filter(|entry| now < entry.expires);
    let flight = FlightKey { request: *key.as_bytes(), stream: request.stream };
    let Boarding::Lead(pilot, passenger) = app.flights.board(flight, false, false, renewed) else {
        return;
    };
    let work = Work {
        app: app.clone(),
        snapshot: of.snapshot.clone(),
        caller: of.caller.clone(),
        class,
        endpoint: bill.endpoint,
        route: bill.route.clone(),
        request: request.clone(),
        headers: upstream_headers(&of.head.headers, of.exchange.class.as_deref()),
        query: of.head.uri.query().map(str::to_owned),
        keeping,
    };
    tokio::spawn(work.run(pilot, passenger, slot, once));
}

impl Work {
    async fn run(self, pilot: Pilot, passenger: Passenger, slot: CallSlot, _once: Renewal) {
        let (app, snapshot) = (&*self.app, &*self.snapshot);
        let exchange = app.exchange(None);
        let order = Order {
            caller: &self.caller,
            class: &self.class,
            quote: Quote::flat(Money::ZERO, self.caller.plan.billing),
            endpoint: self.endpoint,
            route: self.route.clone(),
            request: &self.request,
            text_hash: snapshot
                .config
                .log_text_hash
                .then(|| reading::text_hash(app, self.endpoint, self.request.body(), None)),
            cache_key: Some(self.keeping.key.to_hex()),
        };
        let mut bill = Bill::open(app, &exchange, order);
        let mut calls = bill.calls();
        calls.call_in(slot);
        // What comes after each target was tried once would wait in the queue.
        let course = Course::new(snapshot, self.endpoint, &self.request).once_each();
        let mut flying = Flying {
            app,
            snapshot,
            request: &self.request,
            endpoint: self.endpoint,
            route: self.route,
            headers: self.headers,
            query: self.query.as_deref(),
            calls,
            course,
            keeping: Some(self.keeping),
            first_target: true,
            pilot,
            waited: Duration::ZERO,
        };
        let deadline = Instant::now() + snapshot.config.routing.timeout;
        let (flown, status) = tokio::join!(flying.fly(deadline), read(passenger));
        let landing = flown.end.landing();
        if !landing.called && bill.void() {
            return;
        }
        bill.answered_by(&landing.provider, landing.prices);
        bill.waited(landing.waited);
        bill.bear(flown.share);
        let used = || (landing.tokens, landing.estimated);
        if bill.settle(Outcome::Revalidation, status.as_u16(), used).await.is_err() {
            tracing::warn!("a renewal of the cache could not be recorded");
        }
    }
}

/// Reads an answer to its end, as the one who has ordered it; gives its status.
async fn read(mut passenger: Passenger) -> StatusCode {
    let status = match passenger.head().await {
        Ok(head) => head.status,
        Err(End::Refused(refusal, _)) => return refusal.status,
        Err(End::Landed(_)) => return StatusCode::BAD_GATEWAY,
    };
    while let Ok(step) = passenger.next().await {
        if step.end.is_some() {
            break;
        }
    }
    status
}
